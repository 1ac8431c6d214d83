//! The engines, named here and nowhere else.

use std::sync::Arc;

use journal::Journal;

use crate::config::{Config, Engine};
use crate::error::StartError;

/// Opens the journal that the configuration names.
pub(crate) fn open(config: &Config) -> Result<Arc<dyn Journal>, StartError> {
    match config.engine {
        Engine::Disk => Err(StartError::invalid("engine", "must be memory")),
        Engine::Memory => Err(StartError::invalid("engine", "must be disk")),
    }
}
