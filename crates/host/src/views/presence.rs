//! A topic that is built in: who is connected to which room of the hub door.
//!
//! The view `presence` has a row for each connection and room, under the key `<room>.<connection>`. When the door tells
//! that somebody came, went or changed rooms, what it lists is compared with what it listed before: what is new is put,
//! what is gone is removed. Nothing of it is recorded: after a restart everyone connects again. The name is taken: a view
//! that is declared under it is not folded.
//!
//! # Cost
//! Nothing while nobody comes or goes. Else a listing a second at most, and at most a fiftieth of a core however many are
//! connected: then it looks less often.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use door::{Standing, View, ViewParts, Views};
use event::{Message, Pattern, Subject, encode_token};
use journal::Stored;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::debug;
use view::rule::{Origin, Rule};
use view::{Bounds, Fold};

use crate::clock;

/// The view's name, and the first token of the subjects that it is made of.
pub(super) const NAME: &str = "presence";

/// How often the door is asked, at most.
const LOOK: Duration = Duration::from_secs(1);

/// What asking may take, of the time: one part in so many.
const SHARE: u32 = 50;

/// The rooms that may be read by who may see who is in them.
const ROOMS: &str = "room.>";

/// What is so, by subject: `presence.<room>.<connection>`.
type Rows = BTreeMap<String, Vec<u8>>;

/// Keeps the view until the end. `list` gives what the hub door lists, `told` says whenever that is another.
pub(crate) async fn follow(
    views: Views,
    list: impl Fn() -> Value + Send + Sync + 'static,
    mut told: watch::Receiver<u64>,
    epoch: u32,
    end: CancellationToken,
) {
    let Some(view) = view(epoch) else { return };
    views.put(Arc::clone(&view));
    let (list, mut known, mut position) = (Arc::new(list), Rows::new(), 0);
    loop {
        let began = Instant::now();
        // What is told from here on may not be in the listing.
        told.mark_unchanged();
        let asked = Arc::clone(&list);
        // A long listing would hold up who else is on the executor's thread.
        let Ok(now) = tokio::task::spawn_blocking(move || rows(&asked())).await else { return };
        view.change(|fold, touched| {
            for stored in changes(&known, &now, &mut position) {
                if let Err(unfit) = fold.fold(&stored, touched) {
                    debug!(%unfit, "a connection's presence is not shown");
                }
            }
        });
        known = now;
        view.stand(Standing::Ready);
        let pause = LOOK.max(began.elapsed() * SHARE);
        let another = async {
            tokio::time::sleep(pause).await;
            told.changed().await
        };
        tokio::select! {
            () = end.cancelled() => return,
            another = another => if another.is_err() {
                return;
            },
        }
    }
}

fn view(epoch: u32) -> Option<Arc<View>> {
    let rule = Rule { key: Origin::Subject(vec![2, 3]), ..Rule::default() };
    let patterns = vec![Pattern::parse(ROOMS).ok()?];
    let (name, fold) = (Arc::from(NAME), Fold::new(rule, Bounds::default()));
    let parts = ViewParts { stream: Arc::clone(&name), name, patterns, epoch, fold };
    Some(Arc::new(View::new(parts)))
}

/// Who is in which room, of what the door lists.
fn rows(listing: &Value) -> Rows {
    let connections = listing["connections"].as_array().into_iter().flatten();
    connections
        .flat_map(|connection| {
            let rooms = connection["rooms"].as_array().into_iter().flatten().filter_map(Value::as_str);
            rooms.filter_map(move |room| {
                let id = connection["id"].as_str()?;
                let row = json!({
                    "room": room,
                    "connection": id,
                    "kind": connection["kind"],
                    "token": connection["token"],
                    "since": connection["since"],
                });
                Some((format!("{NAME}.{}.{}", encode_token(room), encode_token(id)), row.to_string().into_bytes()))
            })
        })
        .collect()
}

/// What happened between two listings: rooms that were left, then those that were entered.
fn changes(before: &Rows, now: &Rows, position: &mut u64) -> Vec<Stored> {
    let left = before.keys().filter(|subject| !now.contains_key(*subject)).map(|subject| (subject, Vec::new()));
    let entered = now.iter().filter(|(subject, row)| before.get(*subject) != Some(row));
    let entered = entered.map(|(subject, row)| (subject, row.clone()));
    let messages = left.chain(entered).filter_map(|(subject, payload)| {
        *position += 1;
        // A name that is too long for a subject is not shown.
        let message = Message::new(Subject::parse(subject).ok()?, payload);
        Some(Stored { seq: *position, time: clock::now(), message })
    });
    messages.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(connections: &[(&str, &[&str])]) -> Value {
        let each = connections.iter().map(|(id, rooms)| json!({"id": id, "kind": "messenger", "rooms": rooms}));
        json!({ "connections": each.collect::<Vec<_>>() })
    }

    #[test]
    fn who_enters_is_put_and_who_leaves_is_removed() {
        let view = view(1).unwrap();
        let (mut known, mut position) = (Rows::new(), 0);
        let mut look = |connections: &[(&str, &[&str])]| {
            let now = rows(&listing(connections));
            let stored = changes(&known, &now, &mut position);
            view.change(|fold, touched| stored.iter().try_for_each(|stored| fold.fold(stored, touched))).unwrap();
            known = now;
            view.read(|fold| fold.table().iter().map(|(key, _)| key.to_string()).collect::<Vec<_>>())
        };
        assert_eq!(look(&[("1", &["a", "b.c"]), ("2", &["a"])]).len(), 3);
        let left = look(&[("2", &["a"])]);
        assert_eq!(left.len(), 1);
        assert_eq!(look(&[("2", &["a"])]), left);
        assert!(look(&[]).is_empty());
        assert_eq!(position, 6, "nothing is told twice");
    }

    #[tokio::test(start_paused = true)]
    async fn the_door_is_asked_when_somebody_came_or_went_and_at_no_other_time() {
        let (views, end) = (Views::default(), CancellationToken::new());
        let (roster, told) = watch::channel(0);
        let who = Arc::new(parking_lot::Mutex::new((0_u32, listing(&[("1", &["a"])]))));
        let list = {
            let who = Arc::clone(&who);
            move || {
                let mut who = who.lock();
                who.0 += 1;
                who.1.clone()
            }
        };
        let task = tokio::spawn(follow(views.clone(), list, told, 1, end.clone()));
        while views.get(NAME).is_none() {
            tokio::task::yield_now().await;
        }
        let view = views.get(NAME).unwrap();
        view.settled().await;
        tokio::time::sleep(LOOK * 60).await;
        assert_eq!((who.lock().0, view.read(|fold| fold.table().len())), (1, 1));
        let waiting = view.wait(door::ViewTouch::Any);
        who.lock().1 = listing(&[]);
        roster.send_modify(|roster| *roster += 1);
        waiting.await;
        assert_eq!((who.lock().0, view.read(|fold| fold.table().len())), (2, 0));
        // Many at once are one listing.
        for _ in 0..1_000 {
            roster.send_modify(|roster| *roster += 1);
        }
        tokio::time::sleep(LOOK * 60).await;
        assert_eq!(who.lock().0, 3);
        end.cancel();
        task.await.unwrap();
    }
}
