//! The doors' common stories, as far as this protocol tells them: it has no positions, so the stream is asked.

use door::suite::{Seen, Street, published_through_one_is_read_through_the_other};
use door::{Port, Principal};
use event::{Message, Pattern, Subject};
use journal::{Append, Read, StreamConfig};

use crate::support::{Client, Served, usual};

/// A messenger in the room that a subject is.
struct Hub<'a>(&'a Served);

/// The port itself.
struct Direct<'a>(&'a Port);

fn room(subject: &str) -> Result<&str, String> {
    subject.strip_prefix("room.").ok_or_else(|| String::from("no room"))
}

async fn last(port: &Port) -> u64 {
    port.stream_info(&Principal::anyone(), "ROOMS").await.unwrap().state.last
}

impl Street for Hub<'_> {
    fn name(&self) -> &'static str {
        "hub"
    }

    async fn publish(&self, subject: &str, payload: &[u8]) -> Result<u64, String> {
        let before = last(&self.0.port).await;
        let mut client = Client::new(self.0.address, "/connect/messenger").await;
        client.binary([room(subject)?.as_bytes(), b"\n", payload].concat()).await;
        client.settle().await;
        while last(&self.0.port).await == before {
            tokio::task::yield_now().await;
        }
        Ok(before + 1)
    }

    async fn read(&self, _stream: &str, from: u64, limit: usize) -> Result<Vec<Seen>, String> {
        let mut client = Client::new(self.0.address, &format!("/connect/messenger?since={from}")).await;
        client.text(r#"{"rooms":["*"],"create":true}"#).await;
        let mut seen = Vec::new();
        for seq in (from..).take(limit) {
            let frame = client.heard_bytes().await;
            let end = frame.iter().position(|byte| *byte == b'\n').unwrap();
            let subject = format!("room.{}", String::from_utf8_lossy(&frame[..end]));
            seen.push(Seen { seq, subject, payload: frame[end + 1..].to_vec() });
        }
        Ok(seen)
    }
}

impl Street for Direct<'_> {
    fn name(&self) -> &'static str {
        "port"
    }

    async fn publish(&self, subject: &str, payload: &[u8]) -> Result<u64, String> {
        let message = Message::new(Subject::parse(subject).map_err(|error| error.to_string())?, payload.to_vec());
        let published = self.0.publish(&Principal::anyone(), Append::new(message)).await;
        published.map_err(|error| error.to_string())?;
        Ok(last(self.0).await)
    }

    async fn read(&self, stream: &str, from: u64, limit: usize) -> Result<Vec<Seen>, String> {
        let page = self.0.read(&Principal::anyone(), stream, Read::from(from, limit)).await;
        let seen = |stored: journal::Stored| Seen {
            seq: stored.seq,
            subject: stored.message.subject.to_string(),
            payload: stored.message.payload.to_vec(),
        };
        Ok(page.map_err(|error| error.to_string())?.messages.into_iter().map(seen).collect())
    }
}

#[tokio::test]
async fn what_is_published_through_this_door_is_read_through_others_and_the_other_way_round() {
    let served = usual().await;
    let config = StreamConfig::new("ROOMS", [Pattern::parse("room.*").unwrap()]);
    served.port.stream_create(&Principal::anyone(), config).await.unwrap();
    let (hub, direct) = (Hub(&served), Direct(&served.port));
    published_through_one_is_read_through_the_other(&hub, &direct, "ROOMS", "room").await;
    published_through_one_is_read_through_the_other(&direct, &hub, "ROOMS", "room").await;
}
