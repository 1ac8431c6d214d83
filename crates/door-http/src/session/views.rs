//! `/v1/views`: what is true now, read, waited for, followed.

use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use door::{Cursor, NotAllowed, Principal, Standing, Verb, View, ViewKey, ViewTouch};
use serde::Serialize;
use tokio::time::{Instant, sleep_until, timeout};
use utoipa::ToSchema;

use crate::codec::query::Query;
use crate::codec::view::{RowView, RowsView, Taken, row, rows};
use crate::limits::{VIEW_FOLD_WAIT, VIEW_ROWS_DEFAULT, VIEW_ROWS_MAX, VIEW_WAIT_DEFAULT, VIEW_WAIT_MAX};
use crate::problem::Problem;
use crate::serve::{Shared, bearer};
use crate::session::call::{Call, json, json_bytes};
use crate::session::follow::response;
use crate::session::view_follow::{Following, body, changed_access};

/// The header that says what to wait behind.
const INDEX: HeaderName = HeaderName::from_static("tidings-index");

/// How a view stands.
#[derive(Debug, Serialize, ToSchema)]
pub struct ViewView {
    /// Its name.
    name: String,
    /// The stream that it is folded from.
    stream: String,
    /// Which of its subjects.
    filters: Vec<String>,
    /// `folding`, `ready` or `ailing`.
    state: &'static str,
    /// Why it cannot follow its stream, or is not folded yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// What to wait behind, or to resume after.
    index: String,
    /// It is exact at this position of the stream.
    position: u64,
    /// Readers that were at or behind this position can resume.
    resumable_from: u64,
    /// Rows that it holds.
    rows: u64,
    /// Bytes of keys and values, with 256 a row.
    bytes: u64,
    /// Messages that put or removed.
    applied: u64,
    /// Messages that were not for it, or changed nothing.
    passed: u64,
    /// Messages with an older version than was held.
    old: u64,
    /// Messages that could not be understood.
    unfit: u64,
    /// Rows whose time was over.
    expired: u64,
    /// Rows let go of for want of room.
    evicted: u64,
}

/// All views.
#[derive(Debug, Serialize, ToSchema)]
pub struct ViewList {
    /// By name.
    views: Vec<ViewView>,
}

fn told(view: &View) -> ViewView {
    let (state, reason) = match view.standing() {
        Standing::Folding => ("folding", None),
        Standing::Stuck(reason) => ("folding", Some(reason.to_string())),
        Standing::Ready => ("ready", None),
        Standing::Ailing(reason) => ("ailing", Some(reason.to_string())),
        Standing::Over => ("over", None),
    };
    let filters = view.patterns().iter().map(ToString::to_string).collect();
    let epoch = Some(view.epoch());
    view.read(|fold| {
        let (index, counts) = (fold.index(), fold.told());
        let floor = view::Index::from_raw(fold.table().floor());
        ViewView {
            name: view.name().to_string(),
            stream: view.stream().to_string(),
            filters,
            state,
            reason,
            index: Cursor { index, epoch }.to_string(),
            position: index.position(),
            resumable_from: floor.position(),
            rows: fold.table().len() as u64,
            bytes: fold.bytes() as u64,
            applied: counts.applied,
            passed: counts.passed,
            old: counts.old,
            unfit: counts.unfit,
            expired: counts.expired,
            evicted: counts.evicted,
        }
    })
}

/// The view of a name.
pub fn find(door: &Shared, name: &str) -> Result<Arc<View>, Problem> {
    door.options.views.get(name).ok_or_else(|| {
        let shown: String = name.chars().take(64).collect();
        let detail = format!("there is no view '{shown}'; declare one with 'tidings view add'");
        Problem::new(StatusCode::NOT_FOUND, "no-view", "There is no such view", detail).with("view", shown)
    })
}

/// The view is not declared any more.
pub fn gone(name: &str) -> Problem {
    let shown: String = name.chars().take(64).collect();
    let detail = format!("the view '{shown}' is not declared any more");
    Problem::new(StatusCode::NOT_FOUND, "no-view", "There is no such view", detail).with("view", shown)
}

/// Whether somebody may read a view.
pub fn admit(who: &Principal, view: &View) -> Result<(), Problem> {
    if view.may_read(who) {
        return Ok(());
    }
    let patterns = view.patterns();
    let what = patterns.iter().find(|pattern| !who.may_read_all(pattern)).map_or(">".to_owned(), ToString::to_string);
    Err(NotAllowed { who: Arc::clone(who.name()), verb: Verb::Read, what }.into())
}

/// The views, and how they stand. Those that the token may not read are not among them.
#[utoipa::path(get, path = "/v1/views", tag = "views",
    responses((status = 200, description = "The views", body = ViewList)))]
pub async fn list_views(State(door): State<Shared>, call: Call) -> Result<Response, Problem> {
    call.no_query()?;
    let views = door.options.views.all();
    let views = views.iter().filter(|view| view.may_read(&call.who)).map(|view| told(view)).collect();
    Ok(json(StatusCode::OK, &ViewList { views }))
}

#[derive(Clone, Copy)]
enum Form {
    Json,
    Follow,
}

/// What a request waits for.
struct Wait {
    behind: Option<Cursor>,
    until: Instant,
}

fn wait(query: &Query<'_>) -> Result<Wait, Problem> {
    let behind = query.text("index").map(|text| cursor("index", text)).transpose()?;
    let span = query.span("wait")?;
    if span.is_some() && behind.is_none() {
        return Err(Problem::query("wait", "needs index: what is waited behind"));
    }
    let span = span.unwrap_or(if behind.is_some() { VIEW_WAIT_DEFAULT } else { Duration::ZERO });
    Ok(Wait { behind, until: Instant::now() + span.min(VIEW_WAIT_MAX) })
}

fn cursor(name: &str, text: &str) -> Result<Cursor, Problem> {
    text.parse().map_err(|()| Problem::query(name, "must be an index as an answer gave it, or a position"))
}

/// The view that is asked for, folded, with whoever asks allowed to read it.
async fn folded(door: &Shared, who: &Principal, name: &str) -> Result<Arc<View>, Problem> {
    let view = find(door, name)?;
    admit(who, &view)?;
    if timeout(VIEW_FOLD_WAIT, view.settled()).await.is_err() {
        let detail = format!("the view '{}' is being folded from its stream; try again", view.name());
        return Err(Problem::busy(detail).with("view", &**view.name()));
    }
    Ok(view)
}

/// Waits until the answer is another than it was behind the index, or for as long as it is waited for. Who the reader
/// is then: the token may mean another by now.
async fn waited(
    door: &Shared,
    who: Principal,
    token: Option<&str>,
    view: &Arc<View>,
    on: ViewTouch,
    wait: Wait,
) -> Result<Principal, Problem> {
    let Some(behind) = wait.behind else { return Ok(who) };
    let mut access = door.access.clone();
    access.mark_unchanged();
    loop {
        // Registered before it is looked: what happens in between is not missed.
        let waiting = view.wait(on.clone());
        if view.standing() == Standing::Over || !view.remembers(&behind) || changed(view, &on, &behind) {
            break;
        }
        tokio::select! {
            biased;
            () = door.options.shutdown.cancelled() => return Err(Problem::closed("the node is shutting down")),
            () = changed_access(&mut access) => admit(&door.port.authenticate(token)?, view)?,
            () = waiting => {}
            () = sleep_until(wait.until) => break,
        }
    }
    Ok(door.port.authenticate(token)?)
}

/// Whether what is waited for changed behind an index that the view remembers.
fn changed(view: &View, on: &ViewTouch, behind: &Cursor) -> bool {
    let index = behind.index.raw();
    view.read(|fold| match on {
        ViewTouch::Any => fold.table().changed() > index,
        ViewTouch::Key(key) => fold.table().changed_of(&**key) > index,
        ViewTouch::Prefix(prefix) => {
            let changes = fold.table().since(index, usize::MAX);
            changes.is_ok_and(|changes| changes.changes.iter().any(|change| change.key().starts_with(&**prefix)))
        }
    })
}

fn with_index(mut response: Response, cursor: &Cursor) -> Response {
    if let Ok(value) = HeaderValue::try_from(cursor.to_string()) {
        response.headers_mut().insert(INDEX, value);
    }
    response
}

/// Reads a view, or follows it.
///
/// As JSON its rows, by key; with `index`, once something changed behind that, or when the wait is over. As
/// `text/event-stream`: `snapshot`, a `put` for each row, `end`, and then each `put` and `remove` as it comes, resumed by
/// `Last-Event-ID` without a snapshot where that is remembered.
#[utoipa::path(get, path = "/v1/views/{view}", tag = "views",
    params(
        ("view" = String, Path, description = "The view"),
        ("prefix" = Option<String>, Query, description = "Only keys that begin so"),
        ("after" = Option<String>, Query, description = "Only keys after this one"),
        ("limit" = Option<u64>, Query, description = "At most so many rows; 10,000 if not given"),
        ("index" = Option<String>, Query, description = "Wait until something changed behind this index"),
        ("wait" = Option<String>, Query, description = "How long, such as `30s`; a minute if not given"),
        ("last_event_id" = Option<String>, Query, description = "As the header Last-Event-ID: after this index"),
        ("snapshot" = Option<bool>, Query, description = "Following: with a snapshot that is not older than that"),
    ),
    responses(
        (status = 200, description = "The rows, or what follows; the header Tidings-Index is what to wait behind",
            content((RowsView = "application/json"), (String = "text/event-stream"))),
        (status = 403, description = "The token may not read what it is folded from", content_type = "application/problem+json"),
        (status = 404, description = "There is no such view", content_type = "application/problem+json"),
        (status = 429, description = "It is being folded", content_type = "application/problem+json"),
    ))]
pub async fn get_view(State(door): State<Shared>, call: Call) -> Result<Response, Problem> {
    let query = call.query(&["prefix", "after", "limit", "index", "wait", "last_event_id", "snapshot"], &[])?;
    let form = call.accepts(&[("application/json", Form::Json), ("text/event-stream", Form::Follow)])?;
    let prefix = query.text("prefix").unwrap_or_default().to_owned();
    let token = bearer(call.headers()).map(ToOwned::to_owned);
    if let Form::Follow = form {
        let told = call.headers().get("last-event-id").map(|value| value.to_str().unwrap_or("?"));
        let after = query.text("last_event_id").or(told).filter(|text| !text.is_empty());
        let after = after.map(|text| cursor("last_event_id", text)).transpose()?;
        let view = find(&door, call.param("view"))?;
        admit(&call.who, &view)?;
        let name = view.name().to_string();
        let anew = query.flag("snapshot")?;
        let who = call.who.clone();
        return Ok(response(body(Following { door, who, token, name, prefix, after, anew }, view)));
    }
    let (wait, after) = (wait(&query)?, query.text("after").map(ToOwned::to_owned));
    let limit = query.count("limit", VIEW_ROWS_MAX)?.unwrap_or(VIEW_ROWS_DEFAULT);
    let (who, name) = (call.who.clone(), call.param("view").to_owned());
    let mut view = folded(&door, &who, &name).await?;
    let on = if prefix.is_empty() { ViewTouch::Any } else { ViewTouch::Prefix(ViewKey::from(&*prefix)) };
    let who = waited(&door, who, token.as_deref(), &view, on, wait).await?;
    if view.standing() == Standing::Over {
        view = folded(&door, &who, &name).await?;
    }
    let (cursor, mut taken) = page(&view, &prefix, after.as_deref(), limit);
    // Behind the look: subjects may have been added to what it is folded from.
    admit(&who, &view)?;
    let more = taken.len() > limit;
    taken.truncate(limit);
    let next = taken.last().filter(|_| more).map(|last| last.key.clone());
    let mut out = Vec::new();
    rows(&mut out, view.name(), &cursor, &taken, next.as_deref());
    Ok(with_index(json_bytes(StatusCode::OK, out), &cursor))
}

/// Rows of a page, and one more where there are more.
fn page(view: &View, prefix: &str, after: Option<&str>, limit: usize) -> (Cursor, Vec<Taken>) {
    let from = match after.filter(|after| *after >= prefix) {
        Some(after) => Bound::Excluded(after),
        None => Bound::Included(prefix),
    };
    view.read(|fold| {
        let rows = fold.table().range::<str, _>((from, Bound::Unbounded));
        let rows = rows.take_while(|(key, _)| key.starts_with(prefix)).take(limit + 1);
        let cursor = Cursor { index: fold.index(), epoch: Some(view.epoch()) };
        (cursor, rows.map(|(key, entry)| Taken::held(key, entry)).collect())
    })
}

/// One row of a view.
///
/// With `index`, once it changed behind that, its removal too, or when the wait is over. The header Tidings-Index, also of a
/// 404, is what to wait behind.
#[utoipa::path(get, path = "/v1/views/{view}/{key}", tag = "views",
    params(
        ("view" = String, Path, description = "The view"),
        ("key" = String, Path, description = "The key"),
        ("index" = Option<String>, Query, description = "Wait until the row changed behind this index"),
        ("wait" = Option<String>, Query, description = "How long, such as `30s`; a minute if not given"),
        ("raw" = Option<bool>, Query, description = "The value alone, as it was recorded"),
    ),
    responses(
        (status = 200, description = "The row", content((RowView = "application/json"), (Vec<u8> = "application/octet-stream"))),
        (status = 404, description = "There is no such view, or row", content_type = "application/problem+json"),
        (status = 429, description = "It is being folded", content_type = "application/problem+json"),
    ))]
pub async fn get_view_row(State(door): State<Shared>, call: Call) -> Result<Response, Problem> {
    let query = call.query(&["index", "wait", "raw"], &[])?;
    let (wait, as_it_is) = (wait(&query)?, query.flag("raw")?);
    let token = bearer(call.headers()).map(ToOwned::to_owned);
    let key = ViewKey::from(call.param("key"));
    let (who, name) = (call.who.clone(), call.param("view").to_owned());
    let mut view = folded(&door, &who, &name).await?;
    let who = waited(&door, who, token.as_deref(), &view, ViewTouch::Key(ViewKey::clone(&key)), wait).await?;
    if view.standing() == Standing::Over {
        view = folded(&door, &who, &name).await?;
    }
    let (index, found) =
        view.read(|fold| (fold.index(), fold.table().get(&*key).map(|entry| Taken::held(&key, entry))));
    // Behind the look: subjects may have been added to what it is folded from.
    admit(&who, &view)?;
    let cursor = Cursor { index, epoch: Some(view.epoch()) };
    let Some(taken) = found else {
        let shown: String = key.chars().take(64).collect();
        let detail = format!("the view '{}' has no row '{shown}'", view.name());
        let problem = Problem::new(StatusCode::NOT_FOUND, "no-row", "There is no such row", detail).with("key", shown);
        return Ok(with_index(problem.into_response(), &cursor));
    };
    let response = match taken.entry {
        Some(entry) if as_it_is => {
            let headers = [
                (header::CONTENT_TYPE, "application/octet-stream"),
                // A stranger's bytes must not become a page of this origin.
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
                (header::CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'"),
            ];
            (headers, entry.value.value).into_response()
        }
        entry => {
            let mut out = Vec::new();
            row(&mut out, &Taken { entry, ..taken });
            json_bytes(StatusCode::OK, out)
        }
    };
    Ok(with_index(response, &cursor))
}
