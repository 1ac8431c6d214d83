//! A node's HTTP door over a view that is fed by hand, and a table.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use client::replica::{Column, ReplicaSpec};
use door::suite::Plain;
use door::{Access, Limits, Port, Standing, View, ViewParts, Views};
use event::{Message, Moment, Pattern, Subject};
use journal::local::Local;
use journal::{Journal, Stored};
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use view::rule::{Origin, Rule};
use view::{Bounds, Fold};

pub fn columns() -> Vec<Column> {
    let name = Column { required: true, unique: true, ..Column::new("name") };
    vec![Column::new("id").from("$key"), name]
}

pub struct World {
    views: Views,
    view: Arc<View>,
    seq: u64,
    epoch: u32,
    address: SocketAddr,
    serving: Option<(CancellationToken, JoinHandle<()>)>,
    folder: TempDir,
}

fn made(views: &Views, epoch: u32) -> Arc<View> {
    let fold = Fold::new(Rule { key: Origin::Subject(vec![2]), ..Rule::default() }, Bounds::default());
    let patterns = vec![Pattern::parse("u.>").unwrap()];
    let view = Arc::new(View::new(ViewParts { name: "users".into(), stream: "S".into(), patterns, epoch, fold }));
    view.stand(Standing::Ready);
    views.put(Arc::clone(&view));
    view
}

impl World {
    pub async fn new() -> Self {
        let views = Views::default();
        let view = made(&views, 1);
        let folder = tempfile::tempdir().unwrap();
        let address = "127.0.0.1:0".parse().unwrap();
        let mut world = World { views, view, seq: 0, epoch: 1, address, serving: None, folder };
        world.start().await;
        world
    }

    pub async fn start(&mut self) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(self.address).unwrap();
        let listener = socket.listen(64).unwrap();
        self.address = listener.local_addr().unwrap();
        let journal: Arc<dyn Journal> = Arc::new(Local::new(Arc::new(|| Moment::EPOCH)));
        let clock = Box::new(|| Moment::EPOCH);
        let port = Port::with_clock(journal, Arc::new(Plain::default()), Access::open(), Limits::default(), clock);
        let shutdown = CancellationToken::new();
        let options =
            door_http::Options { views: self.views.clone(), shutdown: shutdown.clone(), ..Default::default() };
        let router = door_http::router(port, options);
        let task = tokio::spawn(door_http::serve(listener, None, router, shutdown.clone()));
        self.serving = Some((shutdown, task));
    }

    pub async fn stop(&mut self) {
        let (shutdown, task) = self.serving.take().unwrap();
        shutdown.cancel();
        task.await.unwrap();
    }

    /// The view is folded anew, from a stream that was made anew.
    pub async fn anew(&mut self) {
        self.epoch += 1;
        self.seq = 0;
        self.view = made(&self.views, self.epoch);
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn spec(&self) -> ReplicaSpec {
        let to = format!("sqlite:{}", self.path("users.db").display());
        let mut spec = ReplicaSpec::new("users", to, "users", columns());
        spec.server = format!("http://{}", self.address);
        spec
    }

    fn stored(&mut self, user: u64, payload: String) -> Stored {
        self.seq += 1;
        let message = Message::new(Subject::parse(&format!("u.{user}")).unwrap(), payload);
        Stored { seq: self.seq, time: Moment::EPOCH, message }
    }

    pub fn put_raw(&mut self, user: u64, payload: &str) {
        let stored = self.stored(user, payload.to_owned());
        self.view.change(|fold, touched| fold.fold(&stored, touched)).unwrap();
    }

    pub fn put(&mut self, user: u64, name: &str) {
        self.put_raw(user, &format!("{{\"name\":\"{name}\"}}"));
    }

    pub fn put_versioned(&mut self, user: u64, name: &str, version: u64) {
        self.put_raw(user, &format!("{{\"name\":\"{name}\",\"version\":{version}}}"));
    }

    pub fn put_many(&mut self, users: &[(u64, &str)]) {
        let all: Vec<Stored> =
            users.iter().map(|(user, name)| self.stored(*user, format!("{{\"name\":\"{name}\"}}"))).collect();
        self.view.change(|fold, touched| all.iter().for_each(|stored| fold.fold(stored, touched).unwrap()));
    }

    pub fn remove(&mut self, user: u64) {
        self.put_raw(user, "");
    }

    /// Names by key, as the view has them.
    pub fn view(&self) -> BTreeMap<String, String> {
        self.view.read(|fold| {
            let name = |bytes: &[u8]| {
                let value: serde_json::Value = serde_json::from_slice(bytes).unwrap();
                value["name"].as_str().unwrap_or_default().to_owned()
            };
            fold.table().iter().map(|(key, entry)| (key.to_string(), name(&entry.value.value))).collect()
        })
    }

    fn database(&self) -> Connection {
        let connection = Connection::open(self.path("users.db")).unwrap();
        connection.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
        connection
    }

    pub fn execute(&self, text: &str) {
        self.database().execute(text, []).unwrap();
    }

    pub fn count(&self, text: &str) -> u64 {
        self.database().query_row(text, [], |row| row.get::<_, i64>(0)).unwrap().try_into().unwrap()
    }

    /// Names by key, as the table has them.
    pub fn table(&self) -> BTreeMap<String, String> {
        let connection = self.database();
        let Ok(mut statement) = connection.prepare("SELECT id, name FROM users") else { return BTreeMap::new() };
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.map(Result::unwrap).collect()
    }

    /// The table is what the view held at the position beside it, as far as the view can still tell.
    pub fn check_position(&self) {
        let connection = self.database();
        let transaction = connection.unchecked_transaction().unwrap();
        let cursor = transaction.query_row("SELECT cursor FROM tidings_positions", [], |row| row.get::<_, String>(0));
        let Ok(cursor) = cursor else { return };
        let cursor: door::Cursor = cursor.parse().unwrap();
        if cursor.epoch != Some(self.epoch) {
            return;
        }
        let mut statement = transaction.prepare("SELECT id, name FROM users").unwrap();
        let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))).unwrap();
        let table: BTreeMap<String, String> = rows.map(Result::unwrap).collect();
        let view = self.view();
        self.view.read(|fold| {
            for (key, entry) in fold.table().iter() {
                if entry.changed <= cursor.index.raw() {
                    assert_eq!(table.get(&**key), view.get(&**key), "{key} at {cursor}");
                }
            }
            for key in table.keys() {
                let known = fold.table().get(key.as_str()).is_some();
                assert!(known || fold.table().changed_of(key.as_str()) > cursor.index.raw(), "{key} at {cursor}");
            }
        });
    }
}

/// A server that gives a list to who presents the secret.
pub async fn endpoint(secret: &'static str, body: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 4096];
            let count = stream.read(&mut request).await.unwrap();
            let request = String::from_utf8_lossy(&request[..count]).to_lowercase();
            let known = request.contains(&format!("x-service-key: {secret}\r\n"));
            let (status, body) = if known { ("200 OK", body) } else { ("401 Unauthorized", "no") };
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    address
}
