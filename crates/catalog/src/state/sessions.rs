//! Messages about sessions become what holds.

use alloc::sync::Arc;
use alloc::vec::Vec;

use event::Moment;

use super::fold::At;
use super::{State, Touch, Unfit};
use crate::address::lower;
use crate::model::{Check, Session, Status};
use crate::stored::{self, SessionRecord};

impl State {
    pub(super) fn fold_session(
        &mut self,
        at: At,
        id: &str,
        payload: &[u8],
        touched: &mut Vec<Touch>,
    ) -> Result<(), Unfit> {
        let record: SessionRecord<'_> = stored::read(payload)?;
        if !record.id.0.is_empty() && record.id.0 != id {
            return Err("the session's ID is not that of its subject".into());
        }
        let mut session = record.into_session(at.position, at.time, &mut self.texts)?;
        session.id = id.into();
        if let Some(old) = self.sessions.get(id) {
            session.created = old.value.created;
        }
        self.sessions.put(at.position, Arc::clone(&session.id), Arc::new(session));
        touched.push(Touch::Sessions);
        Ok(())
    }

    pub(super) fn remove_session(&mut self, at: At, id: &str, touched: &mut Vec<Touch>) {
        if self.sessions.remove(at.position, id).is_some() {
            touched.push(Touch::Sessions);
        } else {
            self.sessions.restore_removal(at.position, id.into());
        }
    }

    /// A check of a node or of an instance on it.
    pub fn check(&self, node: &str, check_id: &str) -> Option<&Arc<Check>> {
        let place = self.places.get(&*lower(node))?;
        let owner = place.owners.get(check_id)?;
        if owner.is_empty() {
            return find(place.checks.iter(), check_id);
        }
        find(place.instances.get(owner)?.health.own_checks(), check_id)
    }

    /// Whether a session cannot be any more: its node is gone, or one of its checks is, or is critical.
    pub fn is_session_broken(&self, session: &Session) -> bool {
        if !self.places.contains_key(&*lower(&session.node)) {
            return true;
        }
        session.checks().any(|id| self.check(&session.node, id).is_none_or(|check| check.status == Status::Critical))
    }

    /// When a session was recorded.
    pub fn session_began(&self, id: &str) -> Option<Moment> {
        self.session(id).map(|session| session.began)
    }

    /// The sessions that [cannot be any more](State::is_session_broken).
    pub fn broken_sessions(&self) -> impl Iterator<Item = &Arc<Session>> {
        self.sessions().filter(|session| self.is_session_broken(session))
    }
}

fn find<'a>(mut checks: impl Iterator<Item = &'a Arc<Check>>, id: &str) -> Option<&'a Arc<Check>> {
    checks.find(|check| *check.check_id == *id)
}
