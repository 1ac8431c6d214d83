//! A controller that original SLIM nodes register with, in one process and without a journal: for trying and measuring.
//!
//! `cargo run -p door-slimctl --example controller -- SOUTH NORTH domain=secret…`, such as
//! `127.0.0.1:50052 127.0.0.1:50051 a=$(openssl rand -hex 32) b=…`.

#![allow(clippy::unwrap_used, reason = "what is tried here is told what is right")]

#[path = "../tests/door/board.rs"]
mod board;

use board::InMemory;
use door_slimctl::{Options, SlimControl};
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let told: Vec<String> = std::env::args().skip(1).collect();
    let [south, north, domains @ ..] = told.as_slice() else {
        return Err("controller SOUTH NORTH domain=secret…".into());
    };
    let domains: Vec<(&str, &str)> = domains.iter().filter_map(|each| each.split_once('=')).collect();
    let (south, north) = (TcpListener::bind(south).await?, TcpListener::bind(north).await?);
    let board = InMemory::new(&domains, None);
    let (door, at) = SlimControl::open(Some(south), Some(north), board, Options::default())?;
    let at: Vec<String> = at.iter().flatten().map(ToString::to_string).collect();
    println!("nodes {}, operators {}", at[0], at[1]);
    tokio::signal::ctrl_c().await?;
    door.close().await;
    Ok(())
}
