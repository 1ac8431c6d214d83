//! Who a client is, and what it may do.
//!
//! A user of the door has the rights that NATS knows: what it may publish to and subscribe to.
//! Whoever may publish to a subject of the JetStream API may do what it asks. A node's token, in
//! contrast, has the rights that it has at every door, and the API's answers follow them.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use door::Principal;
use event::Pattern;
use parking_lot::RwLock;
use ring::signature::{ED25519, UnparsedPublicKey};
use subtle::ConstantTimeEq;

use super::shared::Shared;
use super::subscriber::Rights;
use crate::codec::Connect;
use crate::jwt::{Trust, USER, key as nkey};
use crate::options::{NatsPermissions, NatsUser, Secret};

/// Who a client is.
pub(crate) struct Admitted {
    /// Whom it publishes and subscribes as.
    pub(crate) who: Principal,
    /// Whom its JetStream requests are done as.
    pub(crate) api: Principal,
    /// What it is called.
    pub(crate) name: String,
    /// The version of the tokens and rules that it was judged by.
    version: u64,
    /// Its rights without rules of names, where the door itself knows it.
    own: Option<(Principal, Principal)>,
    /// Its rights, for those who judge each message.
    pub(crate) rights: Rights,
}

impl Admitted {
    /// A client that the door itself knows.
    fn own(who: Principal, api: Principal, name: &str) -> Self {
        let own = Some((who.clone(), api.clone()));
        let rights = Rights::new(RwLock::new(who.clone()));
        Admitted { who, api, name: name.to_owned(), version: 0, own, rights }
    }

    /// What its rights rest on from now on.
    pub(crate) fn standing(&self) -> Standing {
        let Admitted { who, api, version, own, rights, .. } = self;
        let (own, rights) = (own.clone(), Rights::clone(rights));
        Standing { version: *version, own, who: who.clone(), api: api.clone(), rights, grown: false }
    }
}

/// Subjects without which a client gets no answer.
const ANSWERS: [&str; 1] = ["_INBOX.>"];
/// Subjects on which a token's holder speaks to JetStream.
const REQUESTS: [&str; 4] = ["_INBOX.>", "$JS.API.>", "$JS.ACK.>", "$JS.FC.>"];

/// Who `connect` says it is, within the rules of names; `None` where it does not prove it.
pub(crate) fn admit(shared: &Shared, connect: &Connect, nonce: &str) -> Option<Admitted> {
    let version = shared.port.access_version();
    let admitted = proven(shared, connect, nonce)?;
    let (who, api) = within_rules(shared, &admitted.who, &admitted.api);
    *admitted.rights.write() = who.clone();
    Some(Admitted { who, api, version, ..admitted })
}

fn within_rules(shared: &Shared, who: &Principal, api: &Principal) -> (Principal, Principal) {
    (shared.port.within_name_rules(who), shared.port.within_name_rules(api))
}

/// What a client's rights rest on, for as long as it is connected.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    /// The version of the tokens and rules that it was last judged by.
    version: u64,
    /// Its rights without rules of names, where the door itself knows it; a token's are the node's to say.
    own: Option<(Principal, Principal)>,
    /// Its rights as they are in force.
    who: Principal,
    api: Principal,
    rights: Rights,
    /// Whether they grew, and its session has yet to hear of it.
    grown: bool,
}

impl Standing {
    /// Whether tokens and rules leave a client all the rights that it has; where they give it more, it has them from
    /// now on. Costs one load where neither changed.
    pub(crate) fn still_holds(&mut self, shared: &Shared) -> bool {
        let version = shared.port.access_version();
        if version == self.version {
            return true;
        }
        let now = match &self.own {
            Some((who, api)) => Some(within_rules(shared, who, api)),
            None => shared.port.principal(self.who.name()).map(|principal| {
                let token = of_token(&principal);
                within_rules(shared, &token.who, &token.api)
            }),
        };
        self.version = version;
        let Some((who, api)) = now.filter(|(who, api)| who.covers(&self.who) && api.covers(&self.api)) else {
            return false;
        };
        if !who.has_rights_of(&self.who) || !api.has_rights_of(&self.api) {
            *self.rights.write() = who.clone();
            (self.who, self.api, self.grown) = (who, api, true);
        }
        true
    }

    /// Whether there is something for [`Standing::grown`] to tell.
    pub(crate) fn has_grown(&self) -> bool {
        self.grown
    }

    /// The rights that a client has had since they grew, and that its session has not heard of.
    pub(crate) fn grown(&mut self) -> Option<(Principal, Principal)> {
        std::mem::take(&mut self.grown).then(|| (self.who.clone(), self.api.clone()))
    }
}

fn proven(shared: &Shared, connect: &Connect, nonce: &str) -> Option<Admitted> {
    let authentication = &shared.options.authentication;
    if let Some(trust) = &authentication.trust {
        return vouched(shared, trust, connect, nonce);
    }
    let silent = connect.user.is_none() && connect.auth_token.is_none() && connect.nkey.is_none();
    if let (true, Some(name)) = (silent, &authentication.no_auth_user) {
        return authentication.users.iter().find(|user| user.name == *name).map(of_user);
    }
    // Every user is looked at, so that time does not tell which name is known.
    let mut found = None;
    for user in &authentication.users {
        if proves(user, connect, nonce) {
            found = Some(user);
        }
    }
    if let Some(user) = found {
        return Some(of_user(user));
    }
    if shared.port.is_open() {
        return authentication.users.is_empty().then(anyone);
    }
    let token = connect.auth_token.as_deref().or(connect.pass.as_deref());
    let principal = shared.port.authenticate(token).ok()?;
    let named = connect.auth_token.is_some() || connect.user.as_deref() == Some(&**principal.name());
    named.then(|| of_token(&principal))
}

/// Whether [`admit`] may take long enough that it must not run where connections are served: hashes
/// of passwords are made to be slow.
pub(crate) fn is_slow(shared: &Shared) -> bool {
    shared.options.authentication.users.iter().any(|user| match &user.secret {
        Secret::Bcrypt(_) => true,
        Secret::Token(token) => token.starts_with("$2"),
        Secret::Password(_) | Secret::Nkey(_) => false,
    })
}

/// Whom an account vouches for.
fn vouched(shared: &Shared, trust: &Trust, connect: &Connect, nonce: &str) -> Option<Admitted> {
    const NANOS_PER_SECOND: u64 = 1_000_000_000;
    let now = shared.port.now().nanos() / NANOS_PER_SECOND;
    let user = trust.user(connect.jwt.as_deref()?, now)?;
    let proven = user.bearer || connect.sig.as_deref().is_some_and(|signature| signed(&user.key, nonce, signature));
    let name = if user.name.is_empty() { &user.key } else { &user.name };
    proven.then(|| with_rights(name, &user.permissions))
}

fn anyone() -> Admitted {
    Admitted::own(Principal::anyone(), Principal::anyone(), "")
}

fn patterns(texts: &[&str]) -> Vec<Pattern> {
    texts.iter().filter_map(|text| Pattern::parse(text).ok()).collect()
}

fn of_user(user: &NatsUser) -> Admitted {
    with_rights(&user.name, &user.permissions)
}

fn with_rights(name: &str, permissions: &NatsPermissions) -> Admitted {
    let NatsPermissions { publish_allow, publish_deny, subscribe_allow, subscribe_deny } = permissions;
    let or_all = |allow: &[Pattern]| if allow.is_empty() { vec![Pattern::all()] } else { allow.to_vec() };
    let who = Principal::new(name, or_all(publish_allow), or_all(subscribe_allow), true)
        .denied(publish_deny.clone(), subscribe_deny.clone());
    let api = Principal::new(name, vec![Pattern::all()], vec![Pattern::all()], true);
    Admitted::own(who, api, name)
}

fn of_token(principal: &Principal) -> Admitted {
    let who = principal.also(&patterns(&REQUESTS), &patterns(&ANSWERS));
    let rights = Rights::new(RwLock::new(who.clone()));
    Admitted { who, api: principal.clone(), name: principal.name().to_string(), version: 0, own: None, rights }
}

fn same(a: &str, b: &str) -> bool {
    a.as_bytes().ct_eq(b.as_bytes()).into()
}

fn proves(user: &NatsUser, connect: &Connect, nonce: &str) -> bool {
    let named = connect.user.as_deref().is_some_and(|name| same(name, &user.name));
    match &user.secret {
        Secret::Password(password) => named && connect.pass.as_deref().is_some_and(|pass| same(pass, password)),
        Secret::Bcrypt(hash) => {
            named && connect.pass.as_deref().is_some_and(|pass| bcrypt::verify(pass, hash).unwrap_or(false))
        }
        Secret::Token(token) if token.starts_with("$2") => {
            connect.auth_token.as_deref().is_some_and(|text| bcrypt::verify(text, token).unwrap_or(false))
        }
        Secret::Token(token) => connect.auth_token.as_deref().is_some_and(|text| same(text, token)),
        Secret::Nkey(key) => {
            connect.nkey.as_deref().is_some_and(|name| same(name, key))
                && connect.sig.as_deref().is_some_and(|signature| signed(key, nonce, signature))
        }
    }
}

/// Whether the nonce was signed by the holder of an NKEY.
fn signed(key: &str, nonce: &str, signature: &str) -> bool {
    let engines = [&URL_SAFE_NO_PAD, &URL_SAFE, &STANDARD, &STANDARD_NO_PAD];
    let Some(signature) = engines.iter().find_map(|engine| engine.decode(signature).ok()) else {
        return false;
    };
    nkey(key, USER)
        .is_some_and(|key| UnparsedPublicKey::new(&ED25519, key).verify(nonce.as_bytes(), &signature).is_ok())
}
