//! The engines, named here and nowhere else.

use std::sync::Arc;
use std::time::Duration;

use journal::Journal;
use journal::local::Local;
use tokio::runtime::Runtime;
use tokio::time::sleep;

use crate::clock;
use crate::config::{Config, Engine};
use crate::error::StartError;

/// How long the journal in memory may oversleep what an earlier verb has made due.
const TICK_MAX: Duration = Duration::from_millis(20);

/// Opens the journal that the configuration names.
pub(crate) fn open(config: &Config, runtime: &Runtime) -> Result<Arc<dyn Journal>, StartError> {
    match config.engine {
        Engine::Disk => Err(StartError::invalid("engine", "must be memory")),
        Engine::Memory => Ok(open_memory(runtime)),
    }
}

fn open_memory(runtime: &Runtime) -> Arc<dyn Journal> {
    let local = Local::new(Arc::new(clock::now));
    let ticked = local.clone();
    runtime.spawn(async move {
        loop {
            let due = ticked.wake_at().map_or(TICK_MAX, |at| at.since(clock::now()));
            sleep(due.clamp(Duration::from_millis(1), TICK_MAX)).await;
            ticked.tick();
        }
    });
    Arc::new(local)
}
