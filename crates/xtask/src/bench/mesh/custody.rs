//! A stream that is kept in another domain, whose node is killed while it comes and started again.

use std::thread;
use std::time::Duration;

use serde_json::json;

use super::Bench;
use super::site::{Mesh, resource};
use crate::api;
use crate::bench::spread::Spread;

/// Messages of a round.
const MESSAGES: u64 = 50_000;
const MESSAGES_QUICK: u64 = 5_000;
/// How long the far node is away.
const AWAY: Duration = Duration::from_millis(500);

/// Measures and prints.
pub fn run(bench: &Bench) -> Result<(), String> {
    let [mut kept, mut back] = [(); 2].map(|()| Spread::default());
    for _ in 0..bench.rounds {
        let mut mesh = Mesh::chain(&bench.binary, &bench.folder, &[("a", "a1"), ("b", "b1")])?;
        let messages = if bench.quick { MESSAGES_QUICK } else { MESSAGES };
        let first = &mesh.sites[0];
        api::create_stream(&mut first.node.connect()?, "ORDERS", &["orders.>"])?;
        let mut writer = first.wire()?;
        for number in 0..messages {
            writer.send(format!("PUB orders.{} 8\r\n{number:08}\r\n", number % 100).as_bytes())?;
            if number % 1_000 == 0 {
                writer.flush()?;
            }
        }
        writer.flush()?;
        let spec = json!({"stream": "ORDERS", "to": ["b"], "as": "COPY"});
        let accept = json!({"stream": "COPY", "accept": ["a"]});
        for (site, spec) in mesh.sites.iter().zip([spec, accept]) {
            let mirror = resource("Mirror", "orders", &spec);
            site.ask("POST", "/v1/resources", &json!({ "resources": [mirror] }))?;
        }
        mesh.until("some of the stream has come", || held(&mesh, 1).map(|count| count > messages / 20))?;
        let killed = mesh.sites.remove(1);
        let at = (killed.nats, killed.mesh);
        let launch = killed.kill()?;
        thread::sleep(AWAY);
        mesh.again(&launch, "b1", "b", at)?;
        let before = held(&mesh, 1)?;
        let took = mesh.until("all of the stream has come", || held(&mesh, 1).map(|count| count >= messages))?;
        check(&mesh, messages)?;
        kept.add((messages - before) as f64 / took.as_secs_f64());
        back.add(took.as_secs_f64());
    }
    kept.print_rate("messages kept, once each and in order, behind the kill", None);
    back.print_time("from when the far node is back until it has all", None);
    Ok(())
}

/// How many messages a node holds of the stream.
fn held(mesh: &Mesh, site: usize) -> Result<u64, String> {
    let Some(site) = mesh.sites.get(site) else { return Ok(0) };
    // Until the first message came there is no such stream.
    let info = api::done(&mut site.node.connect()?, "GET", "/v1/streams/COPY", &json!({}));
    Ok(info.ok().and_then(|info| info["state"]["messages"].as_u64()).unwrap_or(0))
}

/// Whether every message is there once, in order.
fn check(mesh: &Mesh, messages: u64) -> Result<(), String> {
    let Some(site) = mesh.sites.get(1) else { return Err("the node is gone".to_string()) };
    let (recorded, damaged) = api::read_all(&mut site.node.connect()?, "COPY", 1)?;
    if recorded.len() as u64 != messages || !damaged.is_empty() {
        return Err(format!("{} messages are kept of {messages}, {} damaged", recorded.len(), damaged.len()));
    }
    let wrong = recorded
        .iter()
        .zip(0..)
        .find(|(message, number): &(_, u64)| message.payload != format!("{number:08}").as_bytes());
    wrong.map_or(Ok(()), |(_, number)| Err(format!("message {number} is not in its place")))
}
