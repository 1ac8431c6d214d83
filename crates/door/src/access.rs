//! Who is asking: tokens, and the principal that a token stands for.
//!
//! # Invariants
//! - A token's text is never kept, shown or logged: only its SHA-256 is, and not even that is shown.
//! - Authentication looks at every token, in time that does not depend on which one matches.

use std::fmt;
use std::sync::Arc;

use event::Pattern;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use thiserror::Error;

/// A token's SHA-256. Tokens are long random texts, so a plain hash is enough to hide them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of a token's text.
    pub fn of(token: &str) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, token.as_bytes());
        let mut hash = [0; 32];
        for (place, byte) in hash.iter_mut().zip(digest.as_ref()) {
            *place = *byte;
        }
        TokenHash(hash)
    }

    /// Reads 64 hexadecimal digits; `None` where they are not.
    pub fn from_hex(text: &str) -> Option<Self> {
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        let mut hash = [0; 32];
        for (place, pair) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
            *place = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(TokenHash(hash))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(…)")
    }
}

/// A token as it is configured.
#[derive(Debug, Clone)]
pub struct Token {
    /// Whose it is, as refusals and logs name it.
    pub name: String,
    /// The hash of its text.
    pub hash: TokenHash,
    /// What it may publish.
    pub publish: Vec<Pattern>,
    /// What it may read.
    pub read: Vec<Pattern>,
    /// Whether it may administer every stream and consumer.
    pub admin: bool,
}

/// Who is asking. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Principal(Arc<Rights>);

#[derive(Debug, PartialEq, Eq)]
struct Rights {
    name: Arc<str>,
    publish: Vec<Pattern>,
    read: Vec<Pattern>,
    publish_not: Vec<Pattern>,
    read_not: Vec<Pattern>,
    /// What rules close to it: no roundabout way of reading leads there either.
    closed: Vec<Pattern>,
    admin: bool,
    publish_all: bool,
    read_all: bool,
}

impl Principal {
    /// One who may do what the patterns say.
    pub fn new(name: &str, publish: Vec<Pattern>, read: Vec<Pattern>, admin: bool) -> Self {
        let all = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.as_str() == ">");
        let (publish_all, read_all) = (all(&publish), all(&read));
        let (publish_not, read_not, closed) = (Vec::new(), Vec::new(), Vec::new());
        let name = name.into();
        Principal(Arc::new(Rights { name, publish, read, publish_not, read_not, closed, admin, publish_all, read_all }))
    }

    fn of(rights: &Rights, publish: Vec<Pattern>, read: Vec<Pattern>, not: (Vec<Pattern>, Vec<Pattern>)) -> Self {
        let Principal(whole) = Principal::new(&rights.name, publish, read, rights.admin);
        let (publish_not, read_not) = not;
        let publish_all = whole.publish_all && publish_not.is_empty();
        let read_all = whole.read_all && read_not.is_empty();
        let (publish, read, admin) = (whole.publish.clone(), whole.read.clone(), whole.admin);
        let (name, closed) = (Arc::clone(&rights.name), rights.closed.clone());
        Principal(Arc::new(Rights { name, publish, read, publish_not, read_not, closed, admin, publish_all, read_all }))
    }

    /// The same, but what these match it may not publish, and may not read.
    #[must_use]
    pub fn denied(&self, publish: Vec<Pattern>, read: Vec<Pattern>) -> Self {
        Principal::of(&self.0, self.0.publish.clone(), self.0.read.clone(), (publish, read))
    }

    /// The same, but for what the rules close to it.
    #[must_use]
    pub fn within(&self, rules: &[NameRule]) -> Self {
        let closed = |allowed: fn(&NameRule) -> &Option<Vec<Arc<str>>>| -> Vec<Pattern> {
            let closes = |rule: &&NameRule| allowed(rule).as_ref().is_some_and(|names| !names.contains(self.name()));
            rules.iter().filter(closes).flat_map(|rule| rule.subjects.iter().cloned()).collect()
        };
        let (publish, read) = (closed(|rule| &rule.publish), closed(|rule| &rule.subscribe));
        if publish.is_empty() && read.is_empty() {
            return self.clone();
        }
        let Rights { publish_not, read_not, closed, .. } = &*self.0;
        let with = |old: &[Pattern], new: &[Pattern]| old.iter().chain(new).cloned().collect::<Vec<_>>();
        let Principal(mut ruled) = self.denied(with(publish_not, &publish), with(read_not, &read));
        if let Some(rights) = Arc::get_mut(&mut ruled) {
            rights.closed = with(closed, &read);
        }
        Principal(ruled)
    }

    /// Whether a rule closes anything to it that it might read.
    pub fn is_ruled(&self) -> bool {
        !self.0.closed.is_empty()
    }

    /// Whether no rule closes a subject to it: also where a message of that subject comes by another address, as a
    /// consumer delivers it.
    pub fn is_open_to(&self, subject: &str) -> bool {
        !self.0.closed.iter().any(|closed| closed.matches(subject))
    }

    /// The same, and these too it may publish, and read.
    #[must_use]
    pub fn also(&self, publish: &[Pattern], read: &[Pattern]) -> Self {
        let with = |own: &[Pattern], more: &[Pattern]| own.iter().chain(more).cloned().collect();
        let not = (self.0.publish_not.clone(), self.0.read_not.clone());
        Principal::of(&self.0, with(&self.0.publish, publish), with(&self.0.read, read), not)
    }

    /// Whether it may read a pattern and yet not all that the pattern matches.
    pub fn is_denied_some_of(&self, pattern: &Pattern) -> bool {
        self.0.read_not.iter().any(|not| not.overlaps(pattern))
    }

    /// One who may do everything: whoever reaches a door that is open.
    pub fn anyone() -> Self {
        Principal::new("anyone", vec![Pattern::all()], vec![Pattern::all()], true)
    }

    /// Whose token it is.
    pub fn name(&self) -> &Arc<str> {
        &self.0.name
    }

    /// Whether it may administer every stream and consumer.
    pub fn is_admin(&self) -> bool {
        self.0.admin
    }

    /// Whether it may publish to a subject.
    pub fn may_publish(&self, subject: &str) -> bool {
        self.0.publish_all
            || (self.0.publish.iter().any(|pattern| pattern.matches(subject))
                && !self.0.publish_not.iter().any(|pattern| pattern.matches(subject)))
    }

    /// Whether it may publish to every subject of a pattern.
    pub fn may_publish_all(&self, pattern: &Pattern) -> bool {
        self.0.publish_all
            || (self.0.publish.iter().any(|each| each.contains(pattern))
                && !self.0.publish_not.iter().any(|each| each.overlaps(pattern)))
    }

    /// Whether it may read a subject.
    pub fn may_read(&self, subject: &str) -> bool {
        self.0.read_all
            || (self.0.read.iter().any(|pattern| pattern.matches(subject))
                && !self.0.read_not.iter().any(|pattern| pattern.matches(subject)))
    }

    /// Whether it may read every subject of a pattern.
    pub fn may_read_all(&self, pattern: &Pattern) -> bool {
        self.0.read_all
            || (self.0.read.iter().any(|each| each.contains(pattern))
                && !self.0.read_not.iter().any(|each| each.overlaps(pattern)))
    }

    /// Whether it may listen to a pattern: each message is judged besides where some of it
    /// [is denied](Principal::is_denied_some_of).
    pub fn may_listen(&self, pattern: &Pattern) -> bool {
        self.0.read_all
            || (self.0.read.iter().any(|each| each.contains(pattern))
                && !self.0.read_not.iter().any(|each| each.contains(pattern)))
    }

    /// Whether it may read everything there is.
    pub fn reads_everything(&self) -> bool {
        self.0.read_all
    }

    /// Whether it may publish and read everything there is.
    pub fn does_everything(&self) -> bool {
        self.0.publish_all && self.0.read_all
    }

    /// Whether it may do just what another may.
    pub fn has_rights_of(&self, other: &Principal) -> bool {
        *self.0 == *other.0
    }

    /// Whether it may do all that another may.
    pub fn covers(&self, other: &Principal) -> bool {
        let (ours, theirs) = (&*self.0, &*other.0);
        // What is allowed must be allowed here; what is denied here must be denied there.
        let within = |inner: &[Pattern], outer: &[Pattern]| {
            inner.iter().all(|pattern| outer.iter().any(|each| each.contains(pattern)))
        };
        (ours.admin || !theirs.admin)
            && within(&theirs.publish, &ours.publish)
            && within(&theirs.read, &ours.read)
            && within(&ours.publish_not, &theirs.publish_not)
            && within(&ours.read_not, &theirs.read_not)
            && within(&ours.closed, &theirs.closed)
    }

    /// Whether any of its patterns touches a pattern.
    pub fn touches(&self, pattern: &Pattern) -> bool {
        self.0.publish.iter().chain(&self.0.read).any(|each| each.overlaps(pattern))
    }
}

/// Why nobody is known to be asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Unauthenticated {
    /// A token is needed and none was given.
    #[error("this node wants a bearer token")]
    Missing,
    /// The token is not one of the configured ones.
    #[error("this node does not know the token")]
    Unknown,
}

/// A rule that closes names to all but some: what it does not allow is taken out of what a principal may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameRule {
    /// The names.
    pub subjects: Vec<Pattern>,
    /// Names of the principals that may publish there; `None`: whoever may already.
    pub publish: Option<Vec<Arc<str>>>,
    /// Names of the principals that may read there; `None`: whoever may already.
    pub subscribe: Option<Vec<Arc<str>>>,
}

/// The tokens in force. Replaced as a whole by [`Port::set_access`](crate::Port::set_access).
#[derive(Debug, Clone)]
pub struct Access {
    known: Option<Vec<(TokenHash, Principal)>>,
    anyone: Principal,
}

impl Access {
    /// Open: whoever asks may do everything.
    pub fn open() -> Self {
        Access { known: None, anyone: Principal::anyone() }
    }

    /// Closed but for these tokens. With none, nobody is let in.
    pub fn tokens(tokens: impl IntoIterator<Item = Token>) -> Self {
        let principal = |token: Token| Principal::new(&token.name, token.publish, token.read, token.admin);
        let known = tokens.into_iter().map(|token| (token.hash, principal(token))).collect();
        Access { known: Some(known), anyone: Principal::anyone() }
    }

    /// The same, with what the rules close taken out of what each may do.
    #[must_use]
    pub fn within(&self, rules: &[NameRule]) -> Self {
        let known = self.known.as_ref();
        let known = known.map(|known| known.iter().map(|(hash, who)| (*hash, who.within(rules))).collect());
        Access { known, anyone: self.anyone.within(rules) }
    }

    /// Whether whoever asks may do everything, but for what [rules](Access::within) close.
    pub fn is_open(&self) -> bool {
        self.known.is_none()
    }

    /// The principal of a name, where there is a token of it; anyone, where access is open.
    pub fn principal(&self, name: &str) -> Option<Principal> {
        let Some(known) = &self.known else { return Some(self.anyone.clone()) };
        known.iter().map(|(_, who)| who).find(|who| **who.name() == *name).cloned()
    }

    /// Who presents a token. Where access is open, a token is not looked at.
    ///
    /// # Errors
    /// [`Unauthenticated`] where tokens are in force and this is none of them.
    pub fn authenticate(&self, token: Option<&str>) -> Result<Principal, Unauthenticated> {
        let Some(known) = &self.known else {
            return Ok(self.anyone.clone());
        };
        let presented = TokenHash::of(token.ok_or(Unauthenticated::Missing)?);
        let mut found = u64::MAX;
        for (place, (hash, _)) in (0_u64..).zip(known) {
            let same: Choice = hash.0.ct_eq(&presented.0);
            found = u64::conditional_select(&found, &place, same);
        }
        let place = usize::try_from(found).map_err(|_| Unauthenticated::Unknown)?;
        known.get(place).map(|(_, principal)| principal.clone()).ok_or(Unauthenticated::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(name: &str, text: &str) -> Token {
        let patterns = vec![Pattern::parse("a.>").unwrap()];
        Token { name: name.into(), hash: TokenHash::of(text), publish: patterns.clone(), read: patterns, admin: false }
    }

    #[test]
    fn a_token_names_its_principal() {
        let access = Access::tokens([token("first", "one"), token("second", "two")]);
        assert_eq!(&**access.authenticate(Some("two")).unwrap().name(), "second");
        assert_eq!(access.authenticate(Some("three")).unwrap_err(), Unauthenticated::Unknown);
        assert_eq!(access.authenticate(None).unwrap_err(), Unauthenticated::Missing);
        assert!(Access::open().authenticate(Some("whatever")).unwrap().is_admin());
        assert!(Access::tokens([]).authenticate(Some("")).is_err());
    }

    #[test]
    fn a_token_is_never_shown() {
        let shown = format!("{:?}", Access::tokens([token("first", "s3cret")]));
        assert!(!shown.contains("s3cret") && shown.contains("TokenHash(…)"), "{shown}");
        let hex = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed";
        assert_eq!(TokenHash::from_hex(hex), Some(TokenHash::of("one")));
        assert_eq!(TokenHash::from_hex("76"), None);
        assert_eq!(TokenHash::from_hex(&"é".repeat(32)), None);
    }

    #[test]
    fn what_is_denied_is_taken_out_of_what_is_allowed() {
        let p = |text| Pattern::parse(text).unwrap();
        let who = Principal::anyone().denied(vec![p("a.b")], vec![p("a.b")]);
        assert!(who.may_publish("a.c") && !who.may_publish("a.b") && !who.may_publish_all(&p("a.*")));
        assert!(who.may_read("a.c") && !who.may_read("a.b") && !who.reads_everything() && !who.does_everything());
        assert!(who.may_listen(&p("a.*")) && who.is_denied_some_of(&p("a.*")) && !who.may_read_all(&p("a.*")));
        assert!(!who.may_listen(&p("a.b")) && who.may_read_all(&p("b.>")));
        let more = Principal::new("p", vec![], vec![], false).also(&[p("x")], &[p("y")]);
        assert!(more.may_publish("x") && more.may_read("y") && !more.may_read("x"));
    }

    #[test]
    fn a_rule_closes_names_to_all_but_those_it_names() {
        let p = |text| Pattern::parse(text).unwrap();
        let rule = |publish: Option<&str>, subscribe: Option<&str>| NameRule {
            subjects: vec![p("a.secret.>")],
            publish: publish.map(|name| vec![name.into()]),
            subscribe: subscribe.map(|name| vec![name.into()]),
        };
        let access = Access::tokens([token("first", "one"), token("second", "two")]);
        let access = access.within(&[rule(Some("first"), None)]);
        let (first, second) = (access.authenticate(Some("one")).unwrap(), access.authenticate(Some("two")).unwrap());
        assert!(first.may_publish("a.secret.x") && !second.may_publish("a.secret.x"));
        assert!(second.may_publish("a.open") && second.may_read("a.secret.x"));
        let anyone = Access::open().within(&[rule(None, Some("first"))]).authenticate(None).unwrap();
        assert!(!anyone.may_read("a.secret.x") && anyone.may_publish("a.secret.x") && !anyone.reads_everything());
        assert!(Access::open().within(&[]).authenticate(None).unwrap().does_everything());
    }

    #[test]
    fn patterns_say_what_is_allowed() {
        let principal = Principal::new("p", vec![], vec![Pattern::parse("a.>").unwrap()], false);
        assert!(principal.may_read("a.b") && !principal.may_read("b") && !principal.may_publish("a.b"));
        assert!(principal.may_read_all(&Pattern::parse("a.*").unwrap()));
        assert!(!principal.may_read_all(&Pattern::parse(">").unwrap()));
        assert!(principal.touches(&Pattern::parse("*.b").unwrap()));
    }
}
