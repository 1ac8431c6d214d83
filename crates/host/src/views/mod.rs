//! The views that resources declare: each folded by a task of its own, and kept on disk as it goes.
//!
//! # Invariants
//! - What is declared is folded; what is declared no more is gone, its checkpoint too.
//! - A view that is declared otherwise is folded anew. Until that is done its readers have the one that was.
//! - A name of a view that is built in is not taken by a declared one.

mod checkpoint;
mod keeper;
mod meters;
mod presence;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use door::{Port, Views};
use event::{JsonPath, Pattern};
use parking_lot::Mutex;
use plan::{Declared, ViewSpec};
use ring::digest::{SHA256, digest};
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use view::rule::{Origin, Rule, When};
use view::{Bounds, ROW_BYTES};

use self::keeper::Keeper;
pub(crate) use self::meters::ViewCounts;

/// The folder of checkpoints, in the data directory.
const FOLDER: &str = "views";

/// What the names of checkpoints end with.
const EXTENSION: &str = "view";

/// Longest name of a view that names its file, in bytes; a file system takes 255.
const FILE_NAME_BYTES_MAX: usize = 120;

/// The views of a node.
pub(crate) struct DeclaredViews {
    views: Views,
    port: Port,
    folder: PathBuf,
    kept: Mutex<BTreeMap<String, Kept>>,
    end: CancellationToken,
}

/// A view that is folded.
struct Kept {
    spec: ViewSpec,
    end: CancellationToken,
    task: JoinHandle<()>,
}

impl DeclaredViews {
    /// Folds what is declared, now and whenever that changes. Must be called inside the executor.
    pub(crate) fn open(port: &Port, data: &Path, declared: watch::Receiver<Arc<Declared>>) -> Arc<Self> {
        let kept = Arc::new(DeclaredViews {
            views: Views::default(),
            port: port.clone(),
            folder: data.join(FOLDER),
            kept: Mutex::default(),
            end: CancellationToken::new(),
        });
        kept.take_up(&declared.borrow().clone());
        Handle::current().spawn(follow(Arc::clone(&kept), declared));
        kept
    }

    /// The views, as doors hold them.
    pub(crate) fn views(&self) -> Views {
        self.views.clone()
    }

    /// What there is to count.
    pub(crate) fn counts(&self) -> ViewCounts {
        ViewCounts::of(&self.views)
    }

    /// Shows who is in which room, of what the hub door lists; `told` says whenever that is another.
    pub(crate) fn show_presence(&self, list: impl Fn() -> Value + Send + Sync + 'static, told: watch::Receiver<u64>) {
        let (views, end) = (self.views.clone(), self.end.clone());
        Handle::current().spawn(presence::follow(views, list, told, keeper::epoch(), end));
    }

    fn take_up(&self, declared: &Declared) {
        let mut kept = self.kept.lock();
        let gone: Vec<String> = kept.keys().filter(|name| !declared.views().contains_key(*name)).cloned().collect();
        for name in gone {
            if let Some(kept) = kept.remove(&name) {
                kept.end.cancel();
                self.views.remove(&name);
                self.forget(&name, kept.task);
            }
        }
        for (name, spec) in declared.views() {
            if name == presence::NAME {
                warn!(view = name, "a view of this name is built in; declare yours under another");
                continue;
            }
            if kept.get(name).is_some_and(|kept| kept.spec == *spec) {
                continue;
            }
            let before = kept.remove(name).map(|kept| {
                kept.end.cancel();
                kept.task
            });
            let end = self.end.child_token();
            let path = self.folder.join(file_name(name));
            match Keeper::new(name, spec, path, &self.port, self.views.clone()) {
                Ok(keeper) => {
                    let task = tokio::spawn(keeper.run(before, end.clone()));
                    kept.insert(name.clone(), Kept { spec: spec.clone(), end, task });
                }
                // What was checked can be used.
                Err(reason) => warn!(view = name, reason, "the view cannot be folded"),
            }
        }
    }

    /// Removes a checkpoint, once nobody writes it any more.
    fn forget(&self, name: &str, task: JoinHandle<()>) {
        let path = self.folder.join(file_name(name));
        tokio::spawn(async move {
            // A task that broke writes nothing either.
            let _ended = task.await;
            // It may never have been written.
            let _absent = tokio::task::spawn_blocking(move || std::fs::remove_file(path)).await;
        });
    }

    /// Stops folding, with a checkpoint of each view.
    pub(crate) async fn close(&self) {
        self.end.cancel();
        let tasks: Vec<JoinHandle<()>> =
            std::mem::take(&mut *self.kept.lock()).into_values().map(|kept| kept.task).collect();
        for task in tasks {
            if let Err(error) = task.await {
                warn!(%error, "a view was not folded to its end");
            }
        }
    }
}

async fn follow(kept: Arc<DeclaredViews>, mut declared: watch::Receiver<Arc<Declared>>) {
    loop {
        tokio::select! {
            () = kept.end.cancelled() => return,
            changed = declared.changed() => if changed.is_err() {
                return;
            },
        }
        let now = Arc::clone(&declared.borrow_and_update());
        kept.take_up(&now);
    }
}

/// The name of a view's checkpoint.
fn file_name(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.len() <= FILE_NAME_BYTES_MAX && !name.starts_with('.') && name.bytes().all(plain) {
        return format!("{name}.{EXTENSION}");
    }
    let hash = digest(&SHA256, name.as_bytes());
    let hex: String = hash.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("~{hex}.{EXTENSION}")
}

/// The rule that a declaration says.
fn rule(spec: &ViewSpec) -> Result<Rule, String> {
    let patterns = |texts: &[String]| -> Result<Vec<Pattern>, String> {
        texts.iter().map(|text| Pattern::parse(text).map_err(|error| error.to_string())).collect()
    };
    let path = |text: &str| JsonPath::parse(text).map_err(|error| error.to_string());
    let key = &spec.key;
    let tokens = || key.tokens.iter().filter_map(|token| usize::try_from(*token).ok()).collect();
    let key = match (key.attribute.as_str(), key.header.as_str(), key.path.as_str()) {
        ("", "", "") => Origin::Subject(tokens()),
        (attribute, "", "") => Origin::Attribute(attribute.to_owned()),
        ("", header, "") => Origin::Header(header.to_owned()),
        (_, _, at) => Origin::Data(path(at)?),
    };
    let version = &spec.version;
    let version = match (version.attribute.as_str(), version.header.as_str(), version.path.as_str()) {
        ("", "", "") => None,
        (attribute, "", "") => Some(Origin::Attribute(attribute.to_owned())),
        ("", header, "") => Some(Origin::Header(header.to_owned())),
        (_, _, at) => Some(Origin::Data(path(at)?)),
    };
    Ok(Rule {
        key,
        put: When { types: patterns(&spec.put.types)?, subjects: patterns(&spec.put.subjects)? },
        remove: When { types: patterns(&spec.remove.types)?, subjects: patterns(&spec.remove.subjects)? },
        remove_empty: spec.remove.empty,
        ttl: spec.ttl.filter(|ttl| *ttl > Duration::ZERO),
        version,
        fields: spec.fields.iter().map(|field| path(field)).collect::<Result<_, _>>()?,
    })
}

/// The bounds that a declaration says.
fn bounds(spec: &ViewSpec) -> Bounds {
    let given = |limit: u64, or: usize| match limit {
        0 => or,
        limit => usize::try_from(limit).unwrap_or(usize::MAX),
    };
    let all = Bounds::default();
    Bounds {
        rows_max: given(spec.limits.rows, all.rows_max),
        bytes_max: given(spec.limits.bytes, all.bytes_max).max(ROW_BYTES),
        removals_max: given(spec.limits.removals, all.removals_max),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_of_views_become_names_of_files() {
        assert_eq!(file_name("users-1.x"), "users-1.x.view");
        for odd in ["a b", "../x", ".x", "é", &"x".repeat(500)] {
            let name = file_name(odd);
            assert!(name.starts_with('~') && name.len() == 38 && !name.contains('/'), "{odd}: {name}");
        }
    }

    /// A node's views over a journal in memory, declared one after the other.
    struct World {
        port: Port,
        declared: watch::Sender<Arc<Declared>>,
        views: Arc<DeclaredViews>,
        _folder: tempfile::TempDir,
    }

    impl World {
        fn new() -> Self {
            let journal: Arc<dyn journal::Journal> = Arc::new(journal::local::Local::new(Arc::new(crate::clock::now)));
            let live = Arc::new(crate::live::Live::default());
            let port = Port::new(journal, live, door::Access::open(), door::Limits::default());
            let (declared, folder) = (watch::channel(Arc::default()).0, tempfile::tempdir().unwrap());
            let views = DeclaredViews::open(&port, folder.path(), declared.subscribe());
            World { port, declared, views, _folder: folder }
        }

        async fn stream(&self, name: &str) {
            let config = journal::StreamConfig::new(name, vec![Pattern::parse(&format!("{name}.>")).unwrap()]);
            self.port.journal().stream_create(config).await.unwrap();
        }

        async fn publish(&self, subject: &str, payload: &str) {
            let message = event::Message::new(event::Subject::parse(subject).unwrap(), payload.to_owned());
            let who = door::Principal::anyone();
            self.port.publish(&who, journal::Append::new(message)).await.unwrap();
        }

        fn declare(&self, stream: Option<&str>) {
            let document = stream.map(|stream| plan::Document {
                api_version: plan::API_VERSION.to_owned(),
                kind: "View".to_owned(),
                name: "v".to_owned(),
                annotations: BTreeMap::new(),
                owner_refs: Vec::new(),
                spec: json!({"stream": stream, "key": {"tokens": [2]}}),
            });
            self.declared.send_replace(Arc::new(plan::check(document).unwrap()));
        }

        /// Waits until the view holds these keys and stands so.
        async fn comes_to(&self, expected: Option<(&[&str], &str)>) {
            let now = || {
                let view = self.views.views().get("v")?;
                let keys = view.read(|fold| fold.table().iter().map(|(key, _)| key.to_string()).collect::<Vec<_>>());
                Some((keys, format!("{:?}", view.standing())))
            };
            let fits = |now: Option<(Vec<String>, String)>| match (&now, expected) {
                (None, None) => true,
                (Some((keys, standing)), Some(expected)) => *keys == expected.0 && standing.contains(expected.1),
                _ => false,
            };
            for _ in 0..2_000 {
                if fits(now()) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            panic!("{:?}, expected {expected:?}", now());
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_view_that_is_declared_otherwise_keeps_its_rows_until_the_new_ones_stand() {
        let world = World::new();
        world.stream("one").await;
        world.publish("one.a", "1").await;
        world.declare(Some("one"));
        world.comes_to(Some((&["a"], "Ready"))).await;
        let before = world.views.views().get("v").unwrap();
        world.declare(Some("two"));
        world.comes_to(Some((&["a"], "the stream two is not there"))).await;
        assert!(Arc::ptr_eq(&before, &world.views.views().get("v").unwrap()));
        world.stream("two").await;
        world.publish("two.b", "1").await;
        world.comes_to(Some((&["b"], "Ready"))).await;
        assert_eq!(before.standing(), door::Standing::Over);
        let text = format!("{:?}", world.views.counts());
        assert!(text.contains("following: 1, rows: 1"), "{text}");
        // One that never stood gives way too, and what is declared no more is gone for good.
        world.declare(Some("three"));
        world.declare(Some("one"));
        world.comes_to(Some((&["a"], "Ready"))).await;
        world.declare(Some("three"));
        world.declare(None);
        world.comes_to(None).await;
        world.views.close().await;
        assert!(world.views.views().get("v").is_none());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn readers_are_judged_by_what_a_stream_captures_as_soon_as_it_does() {
        let world = World::new();
        world.stream("one").await;
        world.declare(Some("one"));
        world.comes_to(Some((&[], "Ready"))).await;
        let reader = door::Principal::new("r", vec![], vec![Pattern::parse("one.>").unwrap()], false);
        let view = world.views.views().get("v").unwrap();
        assert!(view.may_read(&reader));
        let mut config = world.port.journal().stream_info("one").await.unwrap().config;
        config.subjects.push(Pattern::parse("salaries.>").unwrap());
        world.port.journal().stream_update(config).await.unwrap();
        world.publish("salaries.ann", "1").await;
        world.comes_to(Some((&["ann"], "Ready"))).await;
        assert!(!view.may_read(&reader));
        world.views.close().await;
    }
}
