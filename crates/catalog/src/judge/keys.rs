//! Keys: set, held, deleted, one by one and in transactions.
//!
//! Operations of a transaction see what those before them did. In the end each key that changed takes one message.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;
use event::{Headers, Moment};

use super::{done, headers, removal};
use crate::address::Address;
use crate::command::{Judged, KeyPut, Outcome, Refused, TxnAnswer, TxnError, TxnOperation, TxnResult, TxnVerb};
use crate::limits::{TXN_OPERATIONS_MAX, VALUE_BYTES_MAX};
use crate::model::Pair;
use crate::state::{State, header};
use crate::write::{Expectation, Write};

/// A position that no key has yet: of what this command changes.
const AHEAD: u64 = u64::MAX;

/// Which of the messages is whose.
type Places = BTreeMap<Arc<str>, usize>;

/// A key as it is to be.
#[derive(Debug, Clone)]
struct Planned {
    /// `None`: it goes.
    pair: Option<Arc<Pair>>,
    lock_delay: Duration,
}

/// Keys as they are to be, over those that are.
pub(super) struct Keys<'a> {
    state: &'a State,
    now: Moment,
    changed: BTreeMap<Arc<str>, Planned>,
}

impl<'a> Keys<'a> {
    pub(super) fn new(state: &'a State, now: Moment) -> Self {
        Keys { state, now, changed: BTreeMap::new() }
    }

    fn get(&self, key: &str) -> Option<&Arc<Pair>> {
        match self.changed.get(key) {
            Some(planned) => planned.pair.as_ref(),
            None => self.state.key(key).map(|entry| &entry.value),
        }
    }

    fn below(&self, prefix: &str) -> Vec<Arc<Pair>> {
        let held = self.state.keys(prefix).filter(|pair| !self.changed.contains_key(&pair.key)).cloned();
        let planned = self.changed.iter().filter(|(key, _)| key.starts_with(prefix));
        let mut all: Vec<_> = held.chain(planned.filter_map(|(_, planned)| planned.pair.clone())).collect();
        all.sort_by(|one, two| one.key.cmp(&two.key));
        all
    }

    /// A key is to be so. One that is so already is left alone.
    fn put(&mut self, mut pair: Pair) {
        let same = self.get(&pair.key).is_some_and(|old| {
            pair.changed = old.changed;
            **old == pair
        });
        if !same {
            pair.changed = AHEAD;
            let key = Arc::clone(&pair.key);
            self.changed.insert(key, Planned { pair: Some(Arc::new(pair)), lock_delay: Duration::ZERO });
        }
    }

    fn set(&mut self, key: &str, value: &Bytes, flags: u64) {
        let pair = match self.get(key) {
            Some(old) => Pair { value: value.clone(), flags, ..(**old).clone() },
            None => Pair {
                key: key.into(),
                value: value.clone(),
                flags,
                lock_index: 0,
                session: None,
                created: 0,
                changed: 0,
            },
        };
        self.put(pair);
    }

    fn delete(&mut self, key: &str) {
        self.delete_of(&Arc::from(key), Duration::ZERO);
    }

    /// A key goes with the session that held it.
    pub(super) fn delete_of(&mut self, key: &Arc<str>, lock_delay: Duration) {
        if self.state.key(key).is_some() {
            self.changed.insert(Arc::clone(key), Planned { pair: None, lock_delay });
        } else {
            self.changed.remove(key);
        }
    }

    /// A key is held by nobody, for its session ended.
    pub(super) fn take_from(&mut self, key: &str, lock_delay: Duration) {
        if let Some(old) = self.get(key) {
            let pair = Pair { session: None, changed: AHEAD, ..(**old).clone() };
            self.changed.insert(Arc::clone(&pair.key), Planned { pair: Some(Arc::new(pair)), lock_delay });
        }
    }

    /// Whether a key is, or was never, what an index says.
    fn is_at(&self, key: &str, index: u64) -> bool {
        self.get(key).map_or(0, |pair| pair.changed) == index
    }

    /// Sets a key and holds it; `false`: another holds it, or it cannot be held yet.
    fn lock(&mut self, key: &str, value: &Bytes, flags: u64, session: &str) -> Result<bool, String> {
        if session.is_empty() {
            return Err("missing session".into());
        }
        let Some(session) = self.state.session(session) else {
            return Err(format!("invalid session {session:?}"));
        };
        let old = self.get(key).cloned();
        let holder = old.as_ref().and_then(|old| old.session.clone());
        let is_ours = holder.as_ref() == Some(&session.id);
        if !is_ours && (holder.is_some() || self.state.is_delayed(key, self.now)) {
            return Ok(false);
        }
        let id = Arc::clone(&session.id);
        self.set(key, value, flags);
        if let Some(pair) = self.get(key) {
            let lock_index = pair.lock_index + u64::from(!is_ours);
            let pair = Pair { session: Some(id), lock_index, ..(**pair).clone() };
            self.put(pair);
        }
        Ok(true)
    }

    /// Sets a key and releases it; `false`: the session does not hold it.
    fn unlock(&mut self, key: &str, value: &Bytes, flags: u64, session: &str) -> Result<bool, String> {
        if session.is_empty() {
            return Err("missing session".into());
        }
        if self.get(key).and_then(|pair| pair.session.as_deref()) != Some(session) {
            return Ok(false);
        }
        self.set(key, value, flags);
        if let Some(pair) = self.get(key) {
            let pair = Pair { session: None, ..(**pair).clone() };
            self.put(pair);
        }
        Ok(true)
    }

    /// The messages, and which of them is whose.
    pub(super) fn writes(self) -> Result<(Vec<Write>, Places), Refused> {
        let (mut writes, mut places) = (Vec::new(), Places::new());
        for (key, planned) in &self.changed {
            places.insert(Arc::clone(key), writes.len());
            writes.push(self.write(key, planned)?);
        }
        Ok((writes, places))
    }

    fn write(&self, key: &str, planned: &Planned) -> Result<Write, Refused> {
        let address = Address::Key(key.into());
        let old = self.state.key(key).map(|entry| &entry.value);
        let delayed = |headers: Headers| match planned.lock_delay.as_nanos() {
            0 => Ok(headers),
            nanos => with(headers, header::LOCK_DELAY, &nanos.to_string()),
        };
        let (Some(pair), last) = (&planned.pair, old.map(|old| old.changed)) else {
            let mut write =
                removal(self.state, &address, header::KEY_REMOVED, old.map_or(0, |old| old.changed), self.now)?;
            write.headers = delayed(write.headers)?;
            return Ok(write);
        };
        let subject = address.subject(self.state.datacenter())?;
        let expect = self.state.expect(&subject, last, self.now);
        let mut headers = headers(self.state, &subject, "catalog.key.set", expect)?;
        headers = with(headers, header::FLAGS, &pair.flags.to_string())?;
        if let Some(session) = &pair.session {
            headers = with(headers, header::SESSION, session)?;
        }
        if pair.lock_index > 0 {
            headers = with(headers, header::LOCK_INDEX, &pair.lock_index.to_string())?;
        }
        if let Some(old) = old {
            headers = with(headers, header::CREATED, &old.created.to_string())?;
        }
        let headers = delayed(headers)?;
        Ok(Write { subject, headers, payload: pair.value.clone(), expect, removal: false, ttl: None })
    }
}

fn with(headers: Headers, name: &str, value: &str) -> Result<Headers, Refused> {
    headers.with(name, value).map_err(|why| Refused::invalid(why.to_string()))
}

fn sized(value: &Bytes) -> Result<(), Refused> {
    if value.len() > VALUE_BYTES_MAX {
        let size = value.len();
        return Err(Refused::too_large(format!(
            "Request body({size} bytes) too large, max size: {VALUE_BYTES_MAX} bytes"
        )));
    }
    Ok(())
}

fn flagged(keys: Keys<'_>, flag: bool) -> Result<Judged, Refused> {
    let writes = if flag { keys.writes()?.0 } else { Vec::new() };
    Ok(Judged { outcome: Outcome::Flag(flag), ..done(writes) })
}

pub(super) fn put(state: &State, put: &KeyPut, now: Moment) -> Result<Judged, Refused> {
    if put.key.is_empty() {
        return Err(Refused::invalid("Missing key name"));
    }
    sized(&put.value)?;
    let conditions = [put.cas.is_some(), put.acquire.is_some(), put.release.is_some()];
    if conditions.into_iter().filter(|given| *given).count() > 1 {
        return Err(Refused::invalid("Conflicting flags: cas, acquire and release exclude each other"));
    }
    let mut keys = Keys::new(state, now);
    let flags = put.flags.unwrap_or(0);
    let flag = match (put.cas, &put.acquire, &put.release) {
        (Some(index), ..) if !keys.is_at(&put.key, index) => false,
        (_, Some(session), _) => keys.lock(&put.key, &put.value, flags, session).map_err(Refused::failed)?,
        (.., Some(session)) => keys.unlock(&put.key, &put.value, flags, session).map_err(Refused::failed)?,
        _ => {
            keys.set(&put.key, &put.value, flags);
            true
        }
    };
    flagged(keys, flag)
}

pub(super) fn delete(
    state: &State,
    key: &str,
    recurse: bool,
    cas: Option<u64>,
    now: Moment,
) -> Result<Judged, Refused> {
    if key.is_empty() && !recurse {
        return Err(Refused::invalid("Missing key name"));
    }
    if recurse && cas.is_some() {
        return Err(Refused::invalid("Conflicting flags: cas and recurse exclude each other"));
    }
    let mut keys = Keys::new(state, now);
    if recurse {
        state.keys(key).for_each(|pair| keys.delete_of(&pair.key, Duration::ZERO));
        return Ok(Judged { atomic: false, ..flagged(keys, true)? });
    }
    // What is not there is deleted, whatever was expected of it.
    let flag = cas.is_none_or(|index| keys.get(key).is_none() || keys.is_at(key, index));
    keys.delete(key);
    flagged(keys, flag)
}

pub(super) fn transact(state: &State, operations: &[TxnOperation], now: Moment) -> Result<Judged, Refused> {
    if operations.len() > TXN_OPERATIONS_MAX {
        let count = operations.len();
        return Err(Refused::too_large(format!(
            "Transaction contains too many operations ({count} > {TXN_OPERATIONS_MAX})"
        )));
    }
    let mut keys = Keys::new(state, now);
    let mut answer = TxnAnswer::default();
    for (place, operation) in operations.iter().enumerate() {
        sized(&operation.value)?;
        if let Err(what) = apply(&mut keys, operation, &mut answer.results) {
            answer.errors.push(TxnError { operation: place, what });
        }
    }
    if !answer.errors.is_empty() {
        answer.results.clear();
        return Ok(Judged { outcome: Outcome::Txn(answer), ..done(Vec::new()) });
    }
    let (mut writes, places) = keys.writes()?;
    guard(state, operations, &mut writes);
    answer.writes = writes.len();
    for result in answer.results.iter_mut().filter(|result| result.pair.changed == AHEAD) {
        result.write = places.get(&result.pair.key).copied();
    }
    Ok(Judged { outcome: Outcome::Txn(answer), ..done(writes) })
}

/// What a transaction only looked at must still be so when it is recorded: then its first message asks that nothing at
/// all was recorded since.
fn guard(state: &State, operations: &[TxnOperation], writes: &mut [Write]) {
    let looks =
        |verb| matches!(verb, TxnVerb::CheckIndex | TxnVerb::CheckSession | TxnVerb::CheckNotExists | TxnVerb::Get);
    let looked = operations.iter().any(|operation| looks(operation.verb));
    if let Some(first) = writes.first_mut().filter(|_| looked) {
        first.expect = Expectation::Stream(state.position());
    }
}

fn apply(keys: &mut Keys<'_>, operation: &TxnOperation, results: &mut Vec<TxnResult>) -> Result<(), String> {
    let TxnOperation { key, value, flags, index, session, .. } = operation;
    let held =
        |flag: bool| if flag { Ok(()) } else { Err(format!("failed to lock key {key:?}, lock is already held")) };
    let stale = || format!("failed to set key {key:?}, index is stale");
    let missing = || format!("key {key:?} doesn't exist");
    if key.is_empty() && !matches!(operation.verb, TxnVerb::GetTree | TxnVerb::DeleteTree) {
        return Err("Must provide key".into());
    }
    let mut with_value = false;
    match operation.verb {
        TxnVerb::Set => keys.set(key, value, *flags),
        TxnVerb::Cas if keys.is_at(key, *index) => keys.set(key, value, *flags),
        TxnVerb::Cas => return Err(stale()),
        TxnVerb::Lock => held(keys.lock(key, value, *flags, session)?)?,
        TxnVerb::Unlock => {
            if !keys.unlock(key, value, *flags, session)? {
                return Err(format!("failed to unlock key {key:?}, lock isn't held, or is held by another session"));
            }
        }
        TxnVerb::Get | TxnVerb::GetOrEmpty => {
            if keys.get(key).is_none() && operation.verb == TxnVerb::Get {
                return Err(missing());
            }
            with_value = true;
        }
        TxnVerb::GetTree => {
            let all = keys.below(key).into_iter();
            results.extend(all.map(|pair| TxnResult { pair, with_value: true, write: None }));
            return Ok(());
        }
        TxnVerb::CheckIndex => match keys.get(key) {
            None => return Err(missing()),
            Some(pair) if pair.changed != *index => {
                return Err(format!("current modify index {} does not match {index}", pair.changed));
            }
            Some(_) => {}
        },
        TxnVerb::CheckSession => match keys.get(key) {
            None => return Err(format!("failed to check session, key {key:?} doesn't exist")),
            Some(pair) if pair.session.as_deref().unwrap_or_default() != session.as_str() => {
                return Err("failed session check for key \"".to_string() + key + "\", current session does not match");
            }
            Some(_) => {}
        },
        TxnVerb::CheckNotExists if keys.get(key).is_some() => return Err(format!("key {key:?} exists")),
        TxnVerb::CheckNotExists => return Ok(()),
        TxnVerb::Delete => {
            keys.delete(key);
            return Ok(());
        }
        TxnVerb::DeleteTree => {
            let all = keys.below(key);
            all.iter().for_each(|pair| keys.delete(&pair.key));
            return Ok(());
        }
        TxnVerb::DeleteCas if keys.get(key).is_none() || keys.is_at(key, *index) => {
            keys.delete(key);
            return Ok(());
        }
        TxnVerb::DeleteCas => return Err(format!("failed to delete key {key:?}, index is stale")),
    }
    if let Some(pair) = keys.get(key) {
        results.push(TxnResult { pair: Arc::clone(pair), with_value, write: None });
    }
    Ok(())
}
