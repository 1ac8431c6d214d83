//! Those who keep messages for receivers that are away: they are found from any node, are told how a message came, and
//! hand it on within its segment alone.

use door::{Class, KEEPS_AHEAD, KEEPS_UNTAKEN, Listener, NOBODY, Parcel, Taker, Took, WITHIN_HEADER};
use parking_lot::Mutex;

use super::*;

/// The headers and payloads that it took.
#[derive(Default)]
struct Keeper(Mutex<Vec<(String, String)>>);

impl Taker for Keeper {
    fn take(&self, parcel: &Parcel<'_>) -> Took {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.0.lock().push((text(parcel.headers), text(parcel.payload)));
        Took::Yes
    }
}

fn join(station: &Station, queue: &str) -> (Arc<Keeper>, door::ListenerId) {
    let (keeper, patterns) = (Arc::new(Keeper::default()), vec![Pattern::parse("slim.x").unwrap()]);
    let taker = Arc::clone(&keeper) as Arc<dyn Taker>;
    let listener = Listener { patterns, queue: Some(queue.into()), connection: 7, class: Class::Client, taker };
    (keeper, station.live.join(listener))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_keeps_what_nobody_takes_is_found_two_domains_away_and_told_the_segment() {
    let stations = chain(&["a", "b", "c"], 1).await;
    let (untaken, _) = join(&stations[2], KEEPS_UNTAKEN);
    let keepers = || stations[0].live.keepers("slim.x", Class::Client);
    until(async || keepers().untaken.is_some()).await;
    assert!(stations[0].live.way("slim.x").is_empty(), "no way leads to who keeps");
    assert!(stations[0].live.keepers("slim.x", Class::Remote).untaken.is_none(), "what others bring does not go on");
    let offer = |way: Option<Arc<door::Way>>, payload: &str| {
        let headers = format!("{WITHIN_HEADER}: other\r\n");
        let parcel = Parcel { headers: headers.as_bytes(), ..Parcel::new("slim.x", payload.as_bytes()) };
        way.unwrap().offer(&parcel, NOBODY, &mut |taker| taker.wake())
    };
    assert_eq!(offer(keepers().untaken, "one"), (1, 0));
    until(async || !untaken.0.lock().is_empty()).await;
    let expected = format!("{WITHIN_HEADER}: s\r\n{WITHIN_HEADER}: other\r\n");
    assert_eq!(*untaken.0.lock(), [(expected, "one".to_owned())], "what a publisher makes up stands behind");

    // What goes ahead is known by one word everywhere.
    assert_eq!(KEEPS_AHEAD, ::mesh::envelope::AHEAD);

    // While something is kept, it goes ahead of who has come.
    let (ahead, id) = join(&stations[2], KEEPS_AHEAD);
    let (_owner, _) = join(&stations[1], "slim");
    until(async || keepers().ahead.is_some() && !stations[0].live.way("slim.x").is_empty()).await;
    assert_eq!(offer(keepers().ahead, "two"), (1, 0));
    until(async || ahead.0.lock().len() == 1).await;
    stations[2].live.leave(id);
    until(async || keepers().ahead.is_none()).await;

    // In another domain it goes ahead of nobody who is here, and what is on its way when it ends is not lost.
    let (again, id) = join(&stations[2], KEEPS_AHEAD);
    until(async || keepers().ahead.is_some()).await;
    let way = keepers().ahead;
    let (_near, near) = join(&stations[0], "slim");
    until(async || keepers().ahead.is_none()).await;
    stations[0].live.leave(near);
    stations[2].live.leave(id);
    assert_eq!(offer(way, "three"), (1, 0));
    until(async || again.0.lock().len() + untaken.0.lock().len() == 2).await;

    // What came in a segment goes to nobody of another.
    let within = |segment| stations[2].live.way_within("slim.x", segment).hops().count();
    until(async || within(None) == 1).await;
    assert_eq!((within(Some("s")), within(Some("other"))), (1, 0));
}
