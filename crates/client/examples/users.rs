//! A small service that keeps its cache of users in SQLite:
//! `cargo run -p client --features sqlite --example users -- http://127.0.0.1:7070 users.db`.
//!
//! Its cache is the view `users` of a node, a moment ago; it answers from the table alone, so it goes on while the
//! node is away. Lines of standard input are ids of users; each is answered with a name.

use std::time::Duration;

use client::replica::{Column, Replica, ReplicaSpec, ReplicaState};
use rusqlite::{Connection, OptionalExtension};
use tokio::task::spawn_blocking;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let usage = "usage: users SERVER DATABASE";
    let (server, database) = (words.next().ok_or(usage)?, words.next().ok_or(usage)?);
    let columns = vec![
        Column::new("user_id").from("$key"),
        Column { required: true, unique: true, ..Column::new("username") },
        Column { default: Some(String::new()), ..Column::new("display_name") },
    ];
    let mut spec = ReplicaSpec::new("users", format!("sqlite:{database}"), "user_cache", columns);
    (spec.server, spec.reconcile) = (server, Duration::from_secs(600));
    let replica = Replica::start(spec)?;
    tokio::spawn(warn(replica.states()));
    replica.caught_up().await;
    println!("ready");
    while let Some(id) = spawn_blocking(|| std::io::stdin().lines().next()).await?.transpose()? {
        let database = database.clone();
        let found = spawn_blocking(move || name_of(&database, id.trim())).await??;
        println!("{}", found.unwrap_or_else(|| "nobody".to_owned()));
    }
    println!("{:?}", replica.close().await);
    Ok(())
}

fn name_of(database: &str, id: &str) -> rusqlite::Result<Option<String>> {
    let text = "SELECT username FROM user_cache WHERE user_id = ?1";
    Connection::open(database)?.query_row(text, [id], |row| row.get(0)).optional()
}

/// Says when the cache grows old, and when it is fresh again.
async fn warn(mut states: tokio::sync::watch::Receiver<ReplicaState>) {
    let mut away = false;
    while states.changed().await.is_ok() {
        match states.borrow_and_update().clone() {
            ReplicaState::Away { reason, .. } if !away => {
                eprintln!("warning: the cache of users grows old: {reason}");
                away = true;
            }
            ReplicaState::Following { position } if away => {
                eprintln!("the cache of users is fresh again, at {position}");
                away = false;
            }
            _ => {}
        }
    }
}
