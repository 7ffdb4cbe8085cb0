//! The door of OpenAI's `/v1/videos`, in the dialect of vLLM-Omni: every call is one of the six of [`Jobs`].

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Json, Router,
    extract::{ConnectInfo, Path, Query, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{
    access::Access,
    answer::{Answer, blocking},
    body::{self, Sent},
    content, events,
    job_object::job_object,
    openapi::{Gives, Operation, QueryParameter, Route, Takes},
    state::Shared,
};
use crate::jobs::{
    Code, JobId, JobRecord, JobStatus, Jobs, Page, Refusal, Sender, Snapshot, Submission,
    content_hash,
};

/// Most jobs of a page.
const PAGE_MAX: usize = 100;
/// Jobs of a page if nothing is asked.
const PAGE: usize = 20;
/// Bounds of the time after which a client looks again, milliseconds.
const POLL_MS: (u64, u64) = (250, 5000);

const LIST_QUERY: &[QueryParameter] = &[
    QueryParameter {
        name: "limit",
        text: "Jobs of a page, 20 if nothing is said",
        takes: Takes::Whole(1, PAGE_MAX),
    },
    QueryParameter {
        name: "after",
        text: "Only jobs behind this one",
        takes: Takes::Id,
    },
    QueryParameter {
        name: "order",
        text: "The newest first, desc, if nothing is said",
        takes: Takes::OneOf(&["asc", "desc"]),
    },
];
const CLIP_QUERY: &[QueryParameter] = &[
    QueryParameter {
        name: "variant",
        text: "The clip, that of the base pass, or a picture of it",
        takes: Takes::OneOf(&["video", "preview", "thumbnail"]),
    },
    QueryParameter {
        name: "t",
        text: "The token of the link, in place of a key",
        takes: Takes::Text,
    },
];

pub(super) fn routes() -> Vec<Route> {
    let job = Gives::Object("Job");
    let get_job = Operation::new("get", "A job as it is now", job).errors(&[404]);
    vec![
        Route::new(
            "/v1/videos",
            post(create).get(list),
            [
                Operation::new("post", "Ask for a clip", job).takes_job(),
                Operation::new("get", "Jobs, the newest first", Gives::Object("JobList"))
                    .query(LIST_QUERY)
                    .errors(&[400, 404]),
            ],
        ),
        Route::new(
            "/v1/videos/sync",
            post(create_and_wait),
            [Operation::new("post", "Wait for a clip", Gives::Bytes("video/mp4")).takes_job()],
        ),
        Route::new(
            "/v1/videos/{id}",
            get(retrieve).delete(remove),
            [
                get_job,
                Operation::new(
                    "delete",
                    "Forget a job and its files",
                    Gives::Object("Deleted"),
                )
                .errors(&[404]),
            ],
        ),
        Route::new(
            "/v1/videos/{id}/cancel",
            post(cancel),
            [Operation::new("post", "Cancel a job, keep its record", job).errors(&[404])],
        ),
        Route::new(
            "/v1/videos/{id}/content",
            get(send_content),
            [Operation::new("get", "The clip", Gives::Bytes("video/mp4"))
                .query(CLIP_QUERY)
                .errors(&[400, 404, 409])],
        ),
        Route::new(
            "/v1/videos/{id}/events",
            get(follow),
            [Operation::new(
                "get",
                "Progress as it happens",
                Gives::Bytes("text/event-stream"),
            )
            .errors(&[404])],
        ),
    ]
}

pub(super) fn model_routes() -> Vec<Route> {
    vec![
        Route::new(
            "/v1/models",
            get(models),
            [Operation::new(
                "get",
                "The model",
                Gives::Object("ModelList"),
            )],
        ),
        Route::new(
            "/v1/models/{id}",
            get(model),
            [
                Operation::new("get", "The model, by its name", Gives::Object("Model"))
                    .errors(&[404]),
            ],
        ),
    ]
}

/// What other servers of this interface have and this one has not.
pub(super) fn without() -> Router<Arc<Shared>> {
    Router::new()
        .route("/v1/videos/edits", get(unsupported).post(unsupported))
        .route("/v1/videos/extensions", get(unsupported).post(unsupported))
        .route("/v1/videos/characters", get(unsupported).post(unsupported))
        .route("/v1/videos/characters/{id}", get(unsupported))
        .route("/v1/videos/{id}/remix", post(unsupported))
}

async fn unsupported() -> Answer {
    Refusal::new(Code::NotFound, "this is not supported by the model").into()
}

/// Who sent a call, without what is in it.
pub(super) fn sender_of(peer: SocketAddr, headers: &HeaderMap) -> Result<Sender, Refusal> {
    let header = |name: &str| headers.get(name)?.to_str().ok();
    let retries = header("x-stainless-retry-count").and_then(|count| count.parse().ok());
    let key = header("idempotency-key").filter(|key| !key.is_empty());
    if key.is_some_and(|key| key.len() > 255) {
        let message = "the idempotency key is longer than 255 bytes";
        return Err(Refusal::new(Code::InvalidValue, message));
    }
    Ok(Sender {
        idempotency_key: key.map(|key| format!("{}-{key}", Access::account(headers))),
        content: String::new(),
        caller: Access::caller(headers, peer.ip()),
        retries: retries.unwrap_or(0),
    })
}

async fn submit(
    shared: &Arc<Shared>,
    peer: SocketAddr,
    request: Request,
) -> Result<Snapshot, Answer> {
    let sender = sender_of(peer, request.headers())?;
    let sent = body::read(&shared.jobs, request).await?;
    submit_sent(shared, sender, sent).await
}

/// Takes a job that was read.
pub(super) async fn submit_sent(
    shared: &Arc<Shared>,
    mut sender: Sender,
    sent: Sent,
) -> Result<Snapshot, Answer> {
    let Sent {
        mut asked,
        image,
        audio,
        fields,
        heavy,
    } = sent;
    let own = &shared.site.model;
    if let Some(name) = asked.parameters.model.clone().filter(|name| name != own) {
        let shown: String = name.chars().take(80).collect();
        asked.warn("model", format!("`{shown}` is not here; `{own}` made it"));
    }
    let jobs = shared.jobs.clone();
    let submitted = blocking(move || {
        let inputs: Vec<_> = [&image, &audio].into_iter().flatten().collect();
        sender.content = content_hash(&fields, &inputs)
            .map_err(|e| Refusal::new(Code::Internal, format!("an upload is gone: {e}")))?;
        jobs.submit(Submission {
            asked,
            image,
            audio,
            sender,
        })
    });
    let submitted = submitted.await;
    drop(heavy);
    submitted.map_err(|answer| match answer.refusal.code {
        Code::QueueFull => answer.retry_after(shared.next_free_seconds()),
        _ => answer,
    })
}

async fn create(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Result<Response, Answer> {
    let origin = shared.site.access.origin(request.headers())?;
    let job = submit(&shared, peer, request).await?;
    Ok(answer(&job, &origin))
}

/// A job, and after which time to look again: the same in every answer, since clients keep the first.
fn answer(job: &Snapshot, origin: &str) -> Response {
    let mut response = Json(job_object(job, origin)).into_response();
    let (least, most) = POLL_MS;
    let milliseconds = (job.record.expected_ms / 20).clamp(least, most);
    let name = HeaderName::from_static("openai-poll-after-ms");
    response
        .headers_mut()
        .insert(name, HeaderValue::from(milliseconds));
    response
}

/// Cancels a job that nobody waits for any more.
struct Waiting(Jobs, JobId);

impl Drop for Waiting {
    fn drop(&mut self) {
        let (jobs, id) = (self.0.clone(), self.1);
        // Where the server is ending there is no runtime any more, and the job waits for the next start.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(move || drop(jobs.remove(id)));
        }
    }
}

async fn create_and_wait(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Result<Response, Answer> {
    let headers = HeaderMap::new();
    let job = submit(&shared, peer, request).await?;
    let id = job.record.id;
    let waiting = Waiting(shared.jobs.clone(), id);
    let changed = Arc::new(Notify::new());
    let tell = changed.clone();
    let _watch = shared.jobs.watch(id, Arc::new(move || tell.notify_one()))?;
    let ended = loop {
        let job = shared
            .jobs
            .get(id)
            .ok_or_else(|| Refusal::from(&crate::Error::Interrupted))?;
        if job.record.status.is_final() {
            break job;
        }
        changed.notified().await;
    };
    std::mem::forget(waiting);
    match ended.record.error.clone() {
        Some(refusal) => Err(refusal.into()),
        None => clip(&shared, &ended, "video", &headers).await,
    }
}

fn id_of(text: &str) -> Result<JobId, Answer> {
    Ok(text.parse::<JobId>()?)
}

fn job_of(shared: &Shared, text: &str) -> Result<Snapshot, Answer> {
    let job = shared.jobs.get(id_of(text)?);
    Ok(job.ok_or_else(|| Refusal::not_found(text))?)
}

async fn retrieve(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Answer> {
    let origin = shared.site.access.origin(&headers)?;
    Ok(answer(&job_of(&shared, &id)?, &origin))
}

#[derive(Deserialize)]
struct ListQuery {
    limit: Option<String>,
    after: Option<String>,
    order: Option<String>,
}

async fn list(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<ListQuery>,
    headers: HeaderMap,
) -> Result<Json<Value>, Answer> {
    let origin = shared.site.access.origin(&headers)?;
    let invalid = |field: &str, problem: String| Refusal::of(Code::InvalidValue, field, problem);
    let limit = match &query.limit {
        None => PAGE,
        Some(text) => {
            let number = text.parse().ok().filter(|n| (1..=PAGE_MAX).contains(n));
            number.ok_or_else(|| invalid("limit", format!("must be 1 to {PAGE_MAX}")))?
        }
    };
    let ascending = match query.order.as_deref() {
        None | Some("desc") => false,
        Some("asc") => true,
        Some(_) => return Err(invalid("order", "must be asc or desc".into()).into()),
    };
    let after = query.after.filter(|id| !id.is_empty());
    let after = after.map(|id| id.parse::<JobId>()).transpose();
    let after = after.map_err(|_| invalid("after", "must be the id of a job".into()))?;
    let (jobs, has_more) = shared.jobs.list(Page {
        after,
        limit,
        ascending,
    });
    let rows: Vec<Value> = jobs.iter().map(|job| job_object(job, &origin)).collect();
    Ok(Json(json!({
        "object": "list",
        "first_id": jobs.first().map(|job| job.record.id),
        "last_id": jobs.last().map(|job| job.record.id),
        "has_more": has_more,
        "data": rows,
    })))
}

async fn remove(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Answer> {
    let number = id_of(&id)?;
    let jobs = shared.jobs.clone();
    blocking(move || jobs.remove(number)).await?;
    Ok(Json(
        json!({ "id": id, "object": "video.deleted", "deleted": true }),
    ))
}

async fn cancel(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Answer> {
    let origin = shared.site.access.origin(&headers)?;
    let id = id_of(&id)?;
    let jobs = shared.jobs.clone();
    let job = blocking(move || jobs.cancel(id)).await?;
    Ok(answer(&job, &origin))
}

async fn follow(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Answer> {
    let origin = shared.site.access.origin(&headers)?;
    events::follow(&shared.jobs, id_of(&id)?, origin, &headers)
}

#[derive(Deserialize)]
struct ContentQuery {
    variant: Option<String>,
}

async fn send_content(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    Query(query): Query<ContentQuery>,
    headers: HeaderMap,
) -> Result<Response, Answer> {
    let job = job_of(&shared, &id)?;
    let variant = query.variant.unwrap_or_else(|| "video".into());
    clip(&shared, &job, &variant, &headers).await
}

/// Sends a clip, or what stands for it.
pub(super) async fn clip(
    shared: &Shared,
    job: &Snapshot,
    variant: &str,
    headers: &HeaderMap,
) -> Result<Response, Answer> {
    let record = &job.record;
    let is_made = record.status == JobStatus::Completed;
    let hash = record
        .file
        .as_ref()
        .filter(|_| is_made)
        .map(|file| &file.sha256);
    let (name, kind, is_there) = match variant {
        "video" => (JobRecord::CLIP, "video/mp4", is_made),
        "thumbnail" => (JobRecord::THUMBNAIL, "image/webp", is_made),
        "preview" => (JobRecord::PREVIEW, "video/mp4", record.has_preview),
        _ => {
            let problem = "must be video, preview or thumbnail";
            return Err(Refusal::of(Code::InvalidValue, "variant", problem).into());
        }
    };
    if !is_there {
        let message = match record.status {
            JobStatus::Queued | JobStatus::InProgress => format!("the {variant} is not made yet"),
            JobStatus::Completed => "the clip was not refined, so there is no preview".into(),
            status => format!("there is no {variant}: the job is {}", status.name()),
        };
        let refusal = Answer::from(Refusal::new(Code::NotReady, message));
        let mut response = refusal.with_status(StatusCode::CONFLICT).into_response();
        // Clients would ask again twice by themselves.
        let name = HeaderName::from_static("x-should-retry");
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static("false"));
        return Ok(response);
    }
    let path = shared.jobs.path(record.id, name);
    // What is there before the clip is known by the name of its job.
    let tag = match hash.filter(|_| variant != "preview") {
        Some(hash) => format!("{hash}-{variant}"),
        None => format!("{}-{variant}", record.id),
    };
    let sent = content::send(&path, &tag, kind, headers).await;
    // It was removed meanwhile.
    Ok(sent.map_err(|_| Refusal::not_found(&record.id.to_string()))?)
}

async fn models(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(json!({ "object": "list", "data": [shared.model_object()] }))
}

async fn model(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Answer> {
    match id == shared.site.model {
        true => Ok(Json(shared.model_object())),
        false => {
            let shown: String = id.chars().take(80).collect();
            let message = format!(
                "there is no model `{shown}`; there is `{}`",
                shared.site.model
            );
            Err(Refusal::new(Code::NotFound, message).into())
        }
    }
}
