//! `/v1/streams`: declaring, changing, emptying and deleting streams.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use event::Pattern;
use journal::limits::PAGE_MESSAGES_MAX;

use crate::codec::declare::{
    self, PurgeRequest, Purged, StreamDeclaration, StreamList, StreamView, SubjectList, SubjectView,
};
use crate::limits::LIST_DEFAULT;
use crate::problem::Problem;
use crate::serve::Shared;
use crate::session::call::{Call, json, subject};

/// Every stream that the token may see.
#[utoipa::path(get, path = "/v1/streams", tag = "streams",
    responses((status = 200, description = "The streams, by name", body = StreamList)))]
pub async fn list_streams(State(door): State<Shared>, call: Call) -> Result<Response, Problem> {
    call.no_query()?;
    let streams = door.port.streams(&call.who).await.into_iter().map(StreamView::from).collect();
    Ok(json(StatusCode::OK, &StreamList { streams }))
}

/// One stream.
#[utoipa::path(get, path = "/v1/streams/{stream}", tag = "streams",
    params(("stream" = String, Path, description = "The stream")),
    responses(
        (status = 200, description = "The stream", body = StreamView),
        (status = 404, description = "There is none", content_type = "application/problem+json"),
    ))]
pub async fn get_stream(State(door): State<Shared>, call: Call) -> Result<Response, Problem> {
    call.no_query()?;
    let info = door.port.stream_info(&call.who, call.param("stream")).await?;
    Ok(json(StatusCode::OK, &StreamView::from(info)))
}

/// Creates a stream, or changes it. What is left out takes its default, also in a change.
#[utoipa::path(put, path = "/v1/streams/{stream}", tag = "streams",
    params(("stream" = String, Path, description = "The stream")),
    request_body = StreamDeclaration,
    responses(
        (status = 200, description = "Changed", body = StreamView),
        (status = 201, description = "Created", body = StreamView),
        (status = 400, description = "A faulty field, named", content_type = "application/problem+json"),
        (status = 409, description = "Overlaps another stream, both named", content_type = "application/problem+json"),
    ))]
pub async fn put_stream(State(door): State<Shared>, mut call: Call) -> Result<Response, Problem> {
    call.no_query()?;
    let bytes = call.json_bytes().await?;
    let config = declare::body::<StreamDeclaration>(&bytes)?.named(call.param("stream"))?;
    let (info, created) = door.port.stream_put(&call.who, config).await?;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    Ok(json(status, &StreamView::from(info)))
}

/// Deletes a stream with its messages and its consumers.
#[utoipa::path(delete, path = "/v1/streams/{stream}", tag = "streams",
    params(("stream" = String, Path, description = "The stream")),
    responses(
        (status = 204, description = "Deleted"),
        (status = 404, description = "There is none", content_type = "application/problem+json"),
    ))]
pub async fn delete_stream(State(door): State<Shared>, call: Call) -> Result<Response, Problem> {
    call.no_query()?;
    door.port.stream_delete(&call.who, call.param("stream")).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// What a stream holds of each subject, in byte order.
#[utoipa::path(get, path = "/v1/streams/{stream}/subjects", tag = "streams",
    params(
        ("stream" = String, Path, description = "The stream"),
        ("filter" = Option<String>, Query, description = "Only subjects that this pattern matches"),
        ("after" = Option<String>, Query, description = "Only subjects after this one"),
        ("limit" = Option<u64>, Query, description = "At most so many; 100 if not given"),
    ),
    responses((status = 200, description = "The subjects", body = SubjectList)))]
pub async fn get_subjects(State(door): State<Shared>, call: Call) -> Result<Response, Problem> {
    let query = call.query(&["filter", "after", "limit"], &[])?;
    let pattern = query.patterns("filter")?.pop().unwrap_or_else(Pattern::all);
    let after = query.text("after").map(subject).transpose()?;
    let limit = query.count("limit", PAGE_MESSAGES_MAX)?.unwrap_or(LIST_DEFAULT);
    let subjects = door.port.subjects(&call.who, call.param("stream"), &pattern, after, limit).await?;
    let subjects = subjects.into_iter().map(SubjectView::from).collect();
    Ok(json(StatusCode::OK, &SubjectList { subjects }))
}

/// Removes messages: all, those of a pattern, those before a position, or all but the newest.
#[utoipa::path(post, path = "/v1/streams/{stream}/purge", tag = "streams",
    params(("stream" = String, Path, description = "The stream")),
    request_body = PurgeRequest,
    responses(
        (status = 200, description = "How many were removed", body = Purged),
        (status = 409, description = "The stream denies it", content_type = "application/problem+json"),
    ))]
pub async fn post_purge(State(door): State<Shared>, mut call: Call) -> Result<Response, Problem> {
    call.no_query()?;
    let purge = call.json::<PurgeRequest>().await?.judged()?;
    let purged = door.port.purge(&call.who, call.param("stream"), purge).await?;
    Ok(json(StatusCode::OK, &Purged { purged }))
}
