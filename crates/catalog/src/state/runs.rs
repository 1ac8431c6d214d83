//! The checks that Tidings nodes make, by node: found without looking at all there are.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;

use crate::model::Check;

/// A check by its node, in lower case, and its id.
type Place = (Arc<str>, Arc<str>);

/// See the module's head.
#[derive(Debug, Clone, Default)]
pub(super) struct Runs(BTreeMap<Arc<str>, BTreeMap<Place, Arc<Check>>>);

fn is_run(check: &&Arc<Check>) -> bool {
    !check.agent.is_empty() && check.definition.is_some()
}

impl Runs {
    /// Some checks of a node are these now.
    pub(super) fn exchange<'a>(
        &mut self,
        node: &Arc<str>,
        were: impl IntoIterator<Item = &'a Arc<Check>>,
        are: impl IntoIterator<Item = &'a Arc<Check>>,
    ) {
        for check in were.into_iter().filter(is_run) {
            let Some(of_agent) = self.0.get_mut(&check.agent) else { continue };
            let place = (Arc::clone(node), Arc::clone(&check.check_id));
            // One that went over to another instance stays.
            if of_agent.get(&place).is_some_and(|run| run.service_id == check.service_id) {
                of_agent.remove(&place);
            }
            if of_agent.is_empty() {
                self.0.remove(&check.agent);
            }
        }
        for check in are.into_iter().filter(is_run) {
            let place = (Arc::clone(node), Arc::clone(&check.check_id));
            self.0.entry(Arc::clone(&check.agent)).or_default().insert(place, Arc::clone(check));
        }
    }

    /// The checks that a Tidings node makes.
    pub(super) fn of(&self, agent: &str) -> impl Iterator<Item = &Arc<Check>> + use<'_> {
        self.0.get(agent).into_iter().flat_map(BTreeMap::values)
    }
}
