//! The door of DashScope, whose clients know the HappyHorse models: the same jobs in other words.
//!
//! Its clients poll for ever over a state in small letters, take times for UTC+8, and show nothing of an error that is not
//! flat; so all of these are as the hosted service has them.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Json, Router,
    extract::{ConnectInfo, Path, Query, Request, State},
    http::{HeaderMap, StatusCode},
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    answer::{Answer, blocking},
    body, dashscope_request,
    dialect::flat,
    guard::guard,
    limits,
    openai::{sender_of, submit_sent},
    state::Shared,
    task_object::{state_word, task_object, time_text, usage},
    uploads::Uploads,
};
use crate::jobs::{Code, JobId, JobStatus, Page, Refusal, Snapshot, random_token};

const CREATE: &str = "/services/aigc/video-generation/video-synthesis";
const CREATE_FROM_FRAMES: &str = "/services/aigc/image2video/video-synthesis";
/// Most jobs of a page.
const PAGE_MAX: usize = 100;
/// The last page that there can be.
const PAGE_NO_MAX: usize = 1_000_000;

pub(super) fn routes(shared: &Arc<Shared>) -> Router<Arc<Shared>> {
    let guarded = Router::new()
        .route(CREATE, post(create))
        .route(CREATE_FROM_FRAMES, post(create))
        .route("/tasks", get(list))
        .route("/tasks/{id}", get(retrieve))
        .route("/tasks/{id}/cancel", post(cancel))
        .route("/uploads", get(offer_upload));
    let guarded = guarded.layer(middleware::from_fn_with_state(shared.clone(), guard));
    // The token in its path is its key.
    let open = Router::new().route("/uploads/{token}", post(upload));
    Router::new().nest("/api/v1", guarded.merge(open))
}

/// An answer about one job.
fn about(output: &Value) -> Json<Value> {
    Json(json!({ "request_id": random_token(), "output": output }))
}

async fn create(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Result<Response, Answer> {
    let asynchronous = request.headers().get("x-dashscope-async");
    if asynchronous.is_none_or(|value| value != "enable") {
        let message =
            "this server does not support synchronous calls; send X-DashScope-Async: enable";
        return Ok(flat(StatusCode::FORBIDDEN, "AccessDenied", message));
    }
    let sender = sender_of(peer, request.headers())?;
    let own = shared.clone();
    let read = move |members| dashscope_request::read(members, &own);
    let sent = body::read_json(&shared.jobs, request, read).await?;
    let job = submit_sent(&shared, sender, sent).await?;
    let output = json!({ "task_id": job.record.id.uuid(), "task_status": "PENDING" });
    Ok(about(&output).into_response())
}

async fn retrieve(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, Answer> {
    let origin = shared.site.access.origin(&headers)?;
    let job = JobId::of_uuid(&id).and_then(|id| shared.jobs.get(id));
    let Some(job) = job else {
        // Anything but this would end the client's wait with an error of its own.
        return Ok(about(&json!({ "task_id": id, "task_status": "UNKNOWN" })));
    };
    let mut answer = about(&task_object(&job, &origin));
    if job.record.status == JobStatus::Completed {
        answer["usage"] = usage(&job);
    }
    Ok(answer)
}

async fn cancel(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
) -> Result<Response, Answer> {
    let unsupported = |message: &str| {
        let status = StatusCode::BAD_REQUEST;
        Ok(flat(status, "UnsupportedOperation", message))
    };
    let Some(job) = JobId::of_uuid(&id).and_then(|id| shared.jobs.get(id)) else {
        let shown: String = id.chars().take(64).collect();
        return unsupported(&format!("there is no task `{shown}`"));
    };
    let ended = "only a task that waits or runs can be cancelled; this one has ended";
    if job.record.status.is_final() {
        return unsupported(ended);
    }
    let jobs = shared.jobs.clone();
    let job = blocking(move || jobs.cancel(job.record.id)).await?;
    let status = job.record.status;
    // It may have ended by itself at the last moment.
    if status.is_final() && status != JobStatus::Cancelled {
        return unsupported(ended);
    }
    let output = json!({ "task_id": id, "task_status": state_word(status) });
    Ok(about(&output).into_response())
}

/// A filter that is not here would be one that is not kept to.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    page_no: Option<String>,
    page_size: Option<String>,
    status: Option<String>,
    start_time: Option<String>,
    end_time: Option<String>,
    model_name: Option<String>,
}

async fn list(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<ListQuery>,
    headers: HeaderMap,
) -> Result<Json<Value>, Answer> {
    let origin = shared.site.access.origin(&headers)?;
    let page = number("page_no", query.page_no.as_ref(), 1, PAGE_NO_MAX)?;
    let size = number("page_size", query.page_size.as_ref(), 10, PAGE_MAX)?;
    let filter = Filter::of(&query)?;
    let (all, _) = shared.jobs.list(Page {
        after: None,
        limit: usize::MAX - 1,
        ascending: false,
    });
    let found: Vec<&Snapshot> = all
        .iter()
        .filter(|job| filter.fits(job, &shared.site.model))
        .collect();
    let rows = found
        .iter()
        .skip((page - 1).saturating_mul(size))
        .take(size);
    let rows: Vec<Value> = rows.map(|job| task_object(job, &origin)).collect();
    Ok(Json(json!({
        "request_id": random_token(),
        "total": found.len(),
        "total_page": found.len().div_ceil(size),
        "page_no": page,
        "page_size": size,
        "data": rows,
    })))
}

fn number(name: &str, text: Option<&String>, usual: usize, most: usize) -> Result<usize, Refusal> {
    let Some(text) = text else { return Ok(usual) };
    let number = text.parse().ok().filter(|n| (1..=most).contains(n));
    let problem = format!("must be 1 to {most}");
    number.ok_or_else(|| Refusal::of(Code::InvalidValue, name, problem))
}

/// Which jobs a list has.
struct Filter<'a> {
    status: Option<&'a str>,
    model: Option<&'a str>,
    /// Digits of times in UTC+8, `YYYYMMDDhhmmss` or the first of them.
    start: Option<String>,
    end: Option<String>,
}

impl<'a> Filter<'a> {
    fn of(query: &'a ListQuery) -> Result<Self, Refusal> {
        let words = JobStatus::ALL.map(state_word);
        let status = query.status.as_deref();
        if status.is_some_and(|status| !words.contains(&status)) {
            let problem = format!("must be {}", words.join(", "));
            return Err(Refusal::of(Code::InvalidValue, "status", problem));
        }
        let time = |name: &str, text: &Option<String>| {
            let Some(text) = text else { return Ok(None) };
            let digits = digits(text);
            let is_time = digits.len() >= 8 && text.chars().all(|c| "0123456789-: .T".contains(c));
            let problem = "must be such as 20261123001655 or 2026-11-23 00:16:55, in UTC+8";
            match is_time {
                true => Ok(Some(digits)),
                false => Err(Refusal::of(Code::InvalidValue, name, problem)),
            }
        };
        Ok(Self {
            status,
            model: query.model_name.as_deref(),
            start: time("start_time", &query.start_time)?,
            end: time("end_time", &query.end_time)?,
        })
    }

    fn fits(&self, job: &Snapshot, model: &str) -> bool {
        let time = digits(&time_text(job.record.created_ms));
        let begins = |until: &String| &time[..until.len()];
        let asked = job.record.asked.model.as_deref();
        self.status
            .is_none_or(|it| it == state_word(job.record.status))
            && self.model.is_none_or(|it| it == model || Some(it) == asked)
            && self.start.as_ref().is_none_or(|it| begins(it) >= &it[..])
            && self.end.as_ref().is_none_or(|it| begins(it) <= &it[..])
    }
}

/// The digits of a time up to its seconds.
fn digits(time: &str) -> String {
    time.chars().filter(char::is_ascii_digit).take(14).collect()
}

#[derive(Deserialize)]
struct UploadQuery {
    action: Option<String>,
}

async fn offer_upload(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<UploadQuery>,
    headers: HeaderMap,
) -> Result<Json<Value>, Answer> {
    if query.action.as_deref() != Some("getPolicy") {
        return Err(Refusal::of(Code::InvalidValue, "action", "must be getPolicy").into());
    }
    let origin = shared.site.access.origin(&headers)?;
    let token = shared.uploads.open()?;
    Ok(Json(json!({
        "request_id": random_token(),
        "data": {
            "policy": token,
            "signature": token,
            "upload_dir": token,
            "upload_host": format!("{origin}/api/v1/uploads/{token}"),
            "expire_in_seconds": Uploads::KEEP.as_secs(),
            "max_file_size_mb": limits::MAX_BYTES >> 20,
            "oss_access_key_id": "gallop",
            "x_oss_object_acl": "private",
            "x_oss_forbid_overwrite": "true",
        },
    })))
}

/// Takes one file; the token in the path is the key.
async fn upload(
    State(shared): State<Arc<Shared>>,
    Path(token): Path<String>,
    request: Request,
) -> Result<StatusCode, Answer> {
    let taken = || {
        let message = "there is no upload of this name that waits for its file; ask for a new one";
        Answer::from(Refusal::new(Code::InvalidApiKey, message))
    };
    if !shared.uploads.is_free(&token) {
        return Err(taken());
    }
    let file = body::read_file(&shared.jobs, request).await?;
    match shared.uploads.fill(&token, file) {
        true => Ok(StatusCode::OK),
        false => Err(taken()),
    }
}
