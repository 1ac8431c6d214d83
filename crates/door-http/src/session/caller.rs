//! Who follows something for as long as he does: tokens and rules may change meanwhile, and are looked at again.
//!
//! # Invariants
//! - A change that came while the request was let in is not missed: who asks is looked up behind the moment from which
//!   changes are told.

use door::Principal;
use tokio::sync::watch;

use crate::problem::Problem;
use crate::serve::{Shared, bearer};
use crate::session::call::Call;
use crate::session::view_follow::changed_access;

/// See the module.
pub struct Caller {
    door: Shared,
    token: Option<String>,
    who: Principal,
    access: watch::Receiver<u64>,
}

impl Caller {
    /// Who sent a request.
    ///
    /// # Errors
    /// [`Problem`], where the token means nobody any longer.
    pub fn of(door: &Shared, call: &Call) -> Result<Self, Problem> {
        let (door, access) = (door.clone(), door.access.clone());
        let token = bearer(call.headers()).map(ToOwned::to_owned);
        let who = door.port.authenticate(token.as_deref())?;
        Ok(Caller { door, token, who, access })
    }

    /// Who it is now.
    pub fn who(&self) -> &Principal {
        &self.who
    }

    /// Waits until he may do more or less than before. Safe to drop while it waits.
    ///
    /// # Errors
    /// [`Problem`], where the token means nobody any longer.
    pub async fn changed(&mut self) -> Result<(), Problem> {
        loop {
            changed_access(&mut self.access).await;
            let before = std::mem::replace(&mut self.who, self.door.port.authenticate(self.token.as_deref())?);
            if !before.has_rights_of(&self.who) {
                return Ok(());
            }
        }
    }
}
