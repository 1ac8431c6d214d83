//! A node of the SLIM door alone, with everything in memory: `cargo run -p door-slim --example node -- 127.0.0.1:46357`.
//! It says where it listens, and ends with its standard input. `NODE=HOST:PORT` is a replica; this node is `node`.

use std::io::Read as _;
use std::sync::Arc;

use door::suite::Plain;
use door::{Access, Limits, Port};
use door_slim::{Options, Replica, SlimDoor};
use event::Moment;
use journal::local::Local;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let at = std::env::args().nth(1).unwrap_or_else(|| String::from("127.0.0.1:0"));
    let lax = std::env::args().any(|each| each == "--lax");
    let journal = Arc::new(Local::new(Arc::new(|| Moment::EPOCH)));
    let port = Port::new(journal, Arc::new(Plain::default()), Access::open(), Limits::default());
    let told = std::env::args().skip(2).collect::<Vec<_>>();
    let replicas = told.iter().filter_map(|each| each.split_once('='));
    let replicas =
        replicas.map(|(node, address)| Replica { node: node.to_owned(), address: address.to_owned(), tls: false });
    let options = Options {
        node: String::from("node"),
        require_header_mac: !lax,
        replicas: replicas.collect(),
        ..Options::default()
    };
    let door = SlimDoor::open(TcpListener::bind(at).await?, port, options)?;
    println!("{}", door.address());
    let ended = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    ended.await??;
    println!("{:#?}", door.counts());
    door.close().await;
    Ok(())
}
