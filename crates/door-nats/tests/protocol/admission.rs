//! Who may enter, and what he may do.

use std::time::Duration;

use crate::support::{Client, Served, serve, serve_with};
use door::{Access, NameRule, Token, TokenHash};
use door_nats::{Authentication, NatsPermissions, NatsUser, Options, Secret};
use event::Pattern;

fn user(name: &str, secret: Secret, permissions: NatsPermissions) -> NatsUser {
    NatsUser { name: name.into(), secret, permissions }
}

async fn with_users(users: Vec<NatsUser>) -> Served {
    let authentication = Authentication { users, ..Authentication::default() };
    let options = Options { authentication, auth_timeout: Duration::from_millis(300), ..Options::default() };
    serve(options).await
}

async fn refused(served: &Served, connect: &str) {
    let mut client = Client::silent(served).await;
    client.say(&format!("CONNECT {connect}\r\nPING\r\n")).await;
    client.is_told("Authorization Violation").await;
}

#[tokio::test]
async fn a_user_proves_who_it_is() {
    let served = with_users(vec![
        user("plain", Secret::Password("s3cret".into()), NatsPermissions::default()),
        user(
            "hashed",
            Secret::Bcrypt("$2y$04$4RfLPHOKkYrxOBZx7e8nr.5emQmBUV4o7DBqFCcVPgXzNtUgEOTsC".into()),
            NatsPermissions::default(),
        ),
        user("", Secret::Token("t0ken".into()), NatsPermissions::default()),
    ])
    .await;
    assert_eq!(Client::silent(&served).await.info["auth_required"], true);
    Client::new(&served, r#"{"verbose":false,"user":"plain","pass":"s3cret"}"#).await;
    Client::new(&served, r#"{"verbose":false,"auth_token":"t0ken"}"#).await;
    for bad in [
        "{}",
        r#"{"user":"plain"}"#,
        r#"{"user":"plain","pass":"wrong"}"#,
        r#"{"user":"hashed","pass":"s3cret"}"#,
        r#"{"user":"nobody","pass":"s3cret"}"#,
        r#"{"auth_token":"s3cret"}"#,
    ] {
        refused(&served, bad).await;
    }
    let mut early = Client::silent(&served).await;
    early.say("SUB a 1\r\n").await;
    early.is_told("Authorization Violation").await;
    Client::silent(&served).await.is_told("Authentication Timeout").await;
}

#[tokio::test]
async fn permissions_hold_for_both_directions() {
    let pattern = |text: &str| vec![Pattern::parse(text).unwrap()];
    let permissions = NatsPermissions {
        publish_allow: pattern("out.>"),
        publish_deny: pattern("out.secret"),
        subscribe_allow: pattern("in.>"),
        subscribe_deny: pattern("in.secret"),
    };
    let served = with_users(vec![
        user("few", Secret::Password("p".into()), permissions),
        user("all", Secret::Password("p".into()), NatsPermissions::default()),
    ])
    .await;
    let mut few = Client::new(&served, r#"{"verbose":false,"user":"few","pass":"p"}"#).await;
    let mut all = Client::new(&served, r#"{"verbose":false,"user":"all","pass":"p"}"#).await;
    few.say("SUB in.* 1\r\nSUB in.secret 2\r\nSUB other q 3\r\nPUB out.secret 0\r\n\r\n").await;
    few.hears("-ERR 'Permissions Violation for Subscription to \"in.secret\"'\r\n").await;
    few.hears("-ERR 'Permissions Violation for Subscription to \"other\" using queue \"q\"'\r\n").await;
    few.hears("-ERR 'Permissions Violation for Publish to \"out.secret\"'\r\n").await;
    all.say("SUB out.> 1\r\nPUB in.secret 1\r\ns\r\nPUB in.open 1\r\no\r\n").await;
    all.settle().await;
    few.hears("MSG in.open 1 1\r\no\r\n").await;
    few.say("PUB out.a 1\r\na\r\n").await;
    all.hears("MSG out.a 1 1\r\na\r\n").await;
}

#[tokio::test]
async fn a_nodes_token_is_good_here_too() {
    let patterns = vec![Pattern::parse("mine.>").unwrap()];
    let hash = TokenHash::of("n0de");
    let token = Token { name: "device".into(), hash, publish: patterns.clone(), read: patterns, admin: false };
    let served = serve_with(Options::default(), Access::tokens([token])).await;
    for good in [r#"{"verbose":false,"auth_token":"n0de"}"#, r#"{"verbose":false,"user":"device","pass":"n0de"}"#] {
        let mut client = Client::new(&served, good).await;
        client.say("SUB mine.a 1\r\nSUB _INBOX.x 2\r\nPUB mine.a 0\r\n\r\n").await;
        client.hears("MSG mine.a 1 0\r\n\r\n").await;
        client.say("SUB theirs 3\r\n").await;
        client.hears("-ERR 'Permissions Violation for Subscription to \"theirs\"'\r\n").await;
    }
    refused(&served, "{}").await;
    refused(&served, r#"{"user":"other","pass":"n0de"}"#).await;
}

#[tokio::test]
async fn whose_rights_are_taken_away_is_disconnected_and_the_others_stay() {
    let all = || vec![Pattern::all()];
    let token =
        |name: &str| Token { name: name.into(), hash: TokenHash::of(name), publish: all(), read: all(), admin: false };
    let served = serve_with(Options::default(), Access::tokens(["first", "second", "third"].map(token))).await;
    let connect = |name: &str| format!(r#"{{"verbose":false,"auth_token":"{name}"}}"#);
    let mut first = Client::new(&served, &connect("first")).await;
    let mut second = Client::new(&served, &connect("second")).await;
    let mut third = Client::new(&served, &connect("third")).await;
    // A token that is gone.
    served.port.set_access(Access::tokens(["first", "second"].map(token)));
    third.is_told("User Authentication Revoked").await;
    // A name that is closed to one of them.
    let publish = Some(vec!["first".into()]);
    served.port.set_name_rules(vec![NameRule {
        subjects: vec![Pattern::parse("a.secret").unwrap()],
        publish,
        subscribe: None,
    }]);
    second.is_told("User Authentication Revoked").await;
    first.settle().await;
    let mut again = Client::new(&served, &connect("second")).await;
    again.say("PUB a.secret 0\r\n\r\n").await;
    again.hears("-ERR 'Permissions Violation for Publish to \"a.secret\"'\r\n").await;
    first.say("PUB a.secret 0\r\n\r\n").await;
    first.hears_nothing().await;
}

#[tokio::test]
async fn whose_rights_become_more_has_them_and_stays_connected() {
    let all = || vec![Pattern::all()];
    let token =
        |name: &str| Token { name: name.into(), hash: TokenHash::of(name), publish: all(), read: all(), admin: false };
    let served = serve_with(Options::default(), Access::tokens(["first", "second"].map(token))).await;
    let closed = |subject: &str| NameRule {
        subjects: vec![Pattern::parse(subject).unwrap()],
        publish: Some(vec!["first".into()]),
        subscribe: Some(vec!["first".into()]),
    };
    served.port.set_name_rules(vec![closed("a.secret"), closed("b")]);
    let connect = |name: &str| format!(r#"{{"verbose":false,"auth_token":"{name}"}}"#);
    let mut second = Client::new(&served, &connect("second")).await;
    second.say("SUB a.> 1\r\nPUB a.secret 6\r\nbefore\r\n").await;
    second.hears("-ERR 'Permissions Violation for Publish to \"a.secret\"'\r\n").await;
    served.port.set_name_rules(vec![closed("b")]);
    let mut line = String::new();
    while line != "after" {
        second.say("PUB a.secret 5\r\nafter\r\nPING\r\n").await;
        // Until the rule is gone for it, it is told so each time.
        while line != "PONG" && line != "after" {
            line = second.line().await;
        }
        line = if line == "after" { line } else { String::new() };
    }
    second.until("PONG").await;
    second.say("PUB b 0\r\n\r\n").await;
    second.hears("-ERR 'Permissions Violation for Publish to \"b\"'\r\n").await;
    served.port.set_name_rules(vec![closed("b"), closed("c")]);
    second.is_told("User Authentication Revoked").await;
}

#[tokio::test]
async fn what_a_rule_closes_does_not_come_by_the_address_of_a_push_consumer() {
    let all = || vec![Pattern::all()];
    let token =
        |name: &str, admin| Token { name: name.into(), hash: TokenHash::of(name), publish: all(), read: all(), admin };
    let served = serve_with(Options::default(), Access::tokens([token("first", true), token("second", true)])).await;
    let connect = |name: &str| format!(r#"{{"verbose":false,"auth_token":"{name}","headers":true}}"#);
    let mut first = Client::new(&served, &connect("first")).await;
    first.say("SUB _INBOX.> 1\r\n").await;
    let ask = |subject: &str, body: &str| format!("PUB $JS.API.{subject} _INBOX.x {}\r\n{body}\r\n", body.len());
    first.say(&ask("STREAM.CREATE.S", r#"{"name":"S","subjects":["a.>"]}"#)).await;
    first.until("\"created\"").await;
    let push = |name: &str, to: &str| {
        let config = format!(r#"{{"durable_name":"{name}","deliver_subject":"{to}","ack_policy":"none"}}"#);
        ask(&format!("CONSUMER.DURABLE.CREATE.S.{name}"), &format!(r#"{{"stream_name":"S","config":{config}}}"#))
    };
    // One that is there before the rule.
    first.say(&push("early", "to.early")).await;
    first.until("\"created\"").await;
    served.port.set_name_rules(vec![NameRule {
        subjects: vec![Pattern::parse("a.secret").unwrap()],
        publish: None,
        subscribe: Some(vec!["first".into()]),
    }]);
    let mut second = Client::new(&served, &connect("second")).await;
    second.say("SUB _INBOX.> 1\r\nSUB to.> 2\r\n").await;
    second.say(&push("late", "to.late")).await;
    second.until("\"error\"").await;
    second.say("PUB a.open 5\r\nshown\r\n").await;
    second.until("shown").await;
    // Nobody who listens may have it: it waits at the consumer.
    second.say("PUB a.secret 6\r\nhidden\r\n").await;
    second.hears_nothing().await;
    first.say("SUB to.early 2\r\n").await;
    first.until("hidden").await;
    second.hears_nothing().await;
}
