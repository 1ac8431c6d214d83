//! Messages about keys and user events become what holds.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use event::{Headers, Message, Moment};

use super::fold::At;
use super::header::{CREATED, FLAGS, LOCK_DELAY, LOCK_INDEX, NODE_FILTER, SERVICE_FILTER, SESSION, TAG_FILTER};
use super::{State, Touch, Unfit};
use crate::limits::{EVENTS_LISTED, LOCK_DELAY_MAX, VALUE_BYTES_MAX};
use crate::model::{Pair, UserEvent};

/// Most keys with a lock delay that are remembered: the delays are short.
const DELAYED_MAX: usize = 65_536;

fn number(headers: &Headers, name: &'static str) -> Result<u64, Unfit> {
    match headers.get(name) {
        None => Ok(0),
        Some(text) => text.parse().map_err(|_| Unfit(alloc::format!("its header {name} is not a number"))),
    }
}

impl State {
    pub(super) fn fold_key(
        &mut self,
        at: At,
        key: &str,
        message: &Message,
        touched: &mut Vec<Touch>,
    ) -> Result<(), Unfit> {
        if message.payload.len() > VALUE_BYTES_MAX {
            return Err("its value is too large".into());
        }
        let headers = &message.headers;
        let (flags, lock_index) = (number(headers, FLAGS)?, number(headers, LOCK_INDEX)?);
        let created = number(headers, CREATED)?;
        let session = headers.get(SESSION).filter(|id| !id.is_empty()).map(|id| self.texts.take(id));
        self.delay(at, key, headers);
        let old = self.keys.get(key).map(|entry| Arc::clone(&entry.value));
        let key: Arc<str> = old.as_ref().map_or_else(|| Arc::from(key), |old| Arc::clone(&old.key));
        self.hold(&key, old.as_ref().and_then(|old| old.session.as_ref()), session.as_ref());
        let created = match (&old, created) {
            (Some(old), _) => old.created,
            (None, 0) => at.position,
            (None, said) => said.min(at.position),
        };
        let pair = Pair {
            key: Arc::clone(&key),
            value: message.payload.clone(),
            flags,
            lock_index,
            session,
            created,
            changed: at.position,
        };
        self.keys.put(at.position, Arc::clone(&key), Arc::new(pair));
        touched.push(Touch::Key(key));
        Ok(())
    }

    pub(super) fn remove_key(&mut self, at: At, key: &str, headers: &Headers, touched: &mut Vec<Touch>) {
        self.delay(at, key, headers);
        if let Some(entry) = self.keys.remove(at.position, key) {
            let key = Arc::clone(&entry.value.key);
            self.hold(&key, entry.value.session.as_ref(), None);
            touched.push(Touch::Key(key));
        } else {
            // Where what is remembered begins with the removal, readers of the key still learn its position.
            self.keys.restore_removal(at.position, key.into());
        }
    }

    /// A key is held by another session than before, or by none.
    fn hold(&mut self, key: &Arc<str>, was: Option<&Arc<str>>, is: Option<&Arc<str>>) {
        if was == is {
            return;
        }
        if let Some(was) = was
            && let Some(keys) = self.held.get_mut(was)
        {
            keys.remove(key);
            if keys.is_empty() {
                self.held.remove(was);
            }
        }
        if let Some(is) = is {
            self.held.entry(Arc::clone(is)).or_default().insert(Arc::clone(key));
        }
    }

    fn delay(&mut self, at: At, key: &str, headers: &Headers) {
        let said = headers.get(LOCK_DELAY).and_then(|text| text.parse().ok());
        let Some(delay) = said.map(Duration::from_nanos).filter(|delay| !delay.is_zero()) else {
            return;
        };
        if self.delayed.len() >= DELAYED_MAX {
            self.delayed.retain(|_, until| *until > at.time);
        }
        if self.delayed.len() < DELAYED_MAX {
            self.delayed.insert(key.into(), at.time.after(delay.min(LOCK_DELAY_MAX)));
        }
    }

    /// Whether a key cannot be acquired yet, for its last holder's session was ended.
    pub fn is_delayed(&self, key: &str, now: Moment) -> bool {
        self.delayed.get(key).is_some_and(|until| now < *until)
    }

    pub(super) fn fold_event(&mut self, at: At, name: &str, id: &str, message: &Message, touched: &mut Vec<Touch>) {
        let mut text = |header| message.headers.get(header).map(|text| self.texts.take(text)).unwrap_or_default();
        let (node_filter, service_filter) = (text(NODE_FILTER), text(SERVICE_FILTER));
        let tag_filter = text(TAG_FILTER);
        let event = UserEvent {
            id: id.into(),
            name: self.texts.take(name),
            payload: message.payload.clone(),
            node_filter,
            service_filter,
            tag_filter,
            position: at.position,
            time: at.time,
        };
        self.events.push_back(Arc::new(event));
        if self.events.len() > EVENTS_LISTED {
            self.events.pop_front();
        }
        touched.push(Touch::Events);
    }
}
