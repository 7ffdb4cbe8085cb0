//! The door of DashScope, whose clients know the HappyHorse models: the same jobs in other words.
//!
//! Its clients poll for ever over a state in small letters, take times for UTC+8, and show nothing of an error that is not
//! flat; so all of these are as the hosted service has them.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Json, Router,
    extract::{ConnectInfo, Path, Query, Request, State},
    http::{HeaderMap, StatusCode, header::RETRY_AFTER},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    answer::{Answer, blocking},
    body, job_object, limits,
    openai::{sender_of, submit_sent},
    shape::size_of,
    state::Shared,
    uploads::Uploads,
};
use crate::{
    jobs::{Code, Given, JobId, JobStatus, Page, Refusal, Snapshot, Upload, random_token},
    pipeline::request::FPS,
};

const CREATE: &str = "/services/aigc/video-generation/video-synthesis";
const CREATE_FROM_FRAMES: &str = "/services/aigc/image2video/video-synthesis";
/// Names that the service's own client adds to every request.
const ADDED: [&str; 3] = ["extend_prompt", "function", "template"];
/// Most jobs of a page.
const PAGE_MAX: usize = 100;

pub(super) fn routes(shared: &Arc<Shared>) -> Router<Arc<Shared>> {
    let guarded = Router::new()
        .route(CREATE, post(create))
        .route(CREATE_FROM_FRAMES, post(create))
        .route("/tasks", get(list))
        .route("/tasks/{id}", get(retrieve))
        .route("/tasks/{id}/cancel", post(cancel))
        .route("/uploads", get(offer_upload));
    let guarded = guarded.layer(middleware::from_fn_with_state(shared.clone(), guard));
    let open = Router::new().route("/uploads/{token}", post(upload));
    Router::new().nest("/api/v1", guarded.merge(open))
}

/// A refusal as this door's clients read it.
struct Flat(Answer);

impl<E: Into<Answer>> From<E> for Flat {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Flat {
    fn into_response(self) -> Response {
        let refusal = &self.0.refusal;
        let (status, code) = match refusal.code {
            Code::InvalidApiKey => (StatusCode::UNAUTHORIZED, "InvalidApiKey"),
            Code::QueueFull => (StatusCode::TOO_MANY_REQUESTS, "Throttling.RateQuota"),
            Code::NotReady | Code::StorageFull => {
                (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable")
            }
            Code::Internal | Code::EncoderFailed => {
                (StatusCode::INTERNAL_SERVER_ERROR, "InternalError")
            }
            Code::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "InvalidParameter"),
            _ => (StatusCode::BAD_REQUEST, "InvalidParameter"),
        };
        let retry = self.0.seconds();
        let mut response = flat(status, code, &refusal.message);
        if let Some(seconds) = retry {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}

fn flat(status: StatusCode, code: &str, message: &str) -> Response {
    let body = json!({ "request_id": random_token(), "code": code, "message": message });
    (status, Json(body)).into_response()
}

async fn guard(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    match shared.site.access.check_key(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => Flat::from(refusal).into_response(),
    }
}

/// An answer about one job.
fn about(output: &Value) -> Json<Value> {
    Json(json!({ "request_id": random_token(), "output": output }))
}

async fn create(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Result<Response, Flat> {
    let asynchronous = request.headers().get("x-dashscope-async");
    if asynchronous.is_none_or(|value| value != "enable") {
        let message =
            "this server does not support synchronous calls; send X-DashScope-Async: enable";
        return Ok(flat(StatusCode::FORBIDDEN, "AccessDenied", message));
    }
    let sender = sender_of(peer, request.headers())?;
    let own = shared.clone();
    let read = move |members| {
        let mut fields = translate(members, &own)?;
        let image = take_file(&own, &mut fields, "input_reference")?;
        let audio = take_file(&own, &mut fields, "audio_reference")?;
        let json = |(name, value)| (name, Given::Json(value));
        Ok((fields.into_iter().map(json).collect(), (image, audio)))
    };
    let sent = body::read_json(&shared.jobs, request, read).await?;
    let job = submit_sent(&shared, sender, sent).await?;
    let output = json!({ "task_id": job.record.id.uuid(), "task_status": "PENDING" });
    Ok(about(&output).into_response())
}

/// The parameters of a job, from what this door calls them.
fn translate(members: Map<String, Value>, shared: &Shared) -> Result<Map<String, Value>, Refusal> {
    let invalid = |name: &str, problem: &str| Refusal::of(Code::InvalidValue, name, problem);
    let mut fields = Map::new();
    let (mut resolution, mut ratio) = (None, None);
    for (group, value) in members {
        let members = match (group.as_str(), value) {
            // It selects nothing: there is one model.
            ("model", _) => continue,
            ("input" | "parameters", Value::Object(members)) => members,
            ("input" | "parameters", _) => return Err(invalid(&group, "must be an object")),
            _ => {
                return Err(invalid(
                    &group,
                    "is no parameter; there are model, input, parameters",
                ));
            }
        };
        for (name, value) in members {
            let own = match (group.as_str(), name.as_str()) {
                ("input", name) if ADDED.contains(&name) => continue,
                ("input", "media") => {
                    for (name, url) in media(value)? {
                        fields.insert(name.into(), url);
                    }
                    continue;
                }
                ("input", "img_url" | "first_frame_url") => "input_reference",
                ("input", "audio_url") => "audio_reference",
                ("input", "prompt" | "negative_prompt") => name.as_str(),
                ("parameters", "resolution") => {
                    resolution = Some(value);
                    continue;
                }
                ("parameters", "ratio") => {
                    ratio = Some(value);
                    continue;
                }
                ("parameters", "duration") => "seconds",
                ("parameters", "audio") => "generate_audio",
                ("parameters", "size" | "seed" | "watermark" | "prompt_extend" | "shot_type") => {
                    name.as_str()
                }
                _ => return Err(invalid(&name, "is no parameter of this server")),
            };
            let value = match (own, value) {
                ("size", Value::String(size)) => size.replace('*', "x").into(),
                (_, value) => value,
            };
            fields.insert(own.into(), value);
        }
    }
    if !fields.contains_key("size") {
        let size = size_of(resolution.as_ref(), ratio.as_ref(), shared.site.defaults)?;
        fields.extend(size.map(|size| ("size".into(), size.into())));
    }
    Ok(fields)
}

/// The inputs of a `media` list, by the names of the parameters.
fn media(list: Value) -> Result<Vec<(&'static str, Value)>, Refusal> {
    let invalid = |problem: String| Refusal::of(Code::InvalidValue, "media", problem);
    let Value::Array(list) = list else {
        return Err(invalid(
            "must be a list of objects with `type` and `url`".into(),
        ));
    };
    let one = |one: Value| {
        let kind = one["type"].as_str().unwrap_or_default();
        let name = match kind {
            "first_frame" => "input_reference",
            "driving_audio" => "audio_reference",
            _ => {
                let shown: String = kind.chars().take(40).collect();
                let problem = format!("takes first_frame and driving_audio, not `{shown}`");
                return Err(invalid(problem));
            }
        };
        Ok((name, one["url"].clone()))
    };
    list.into_iter().map(one).collect()
}

/// The file that a field names: uploaded before, or as base64 without a scheme.
fn take_file(
    shared: &Shared,
    fields: &mut Map<String, Value>,
    name: &'static str,
) -> Result<Option<Upload>, Refusal> {
    let Some(Value::String(url)) = fields.get(name) else {
        return Ok(None);
    };
    let url = url.clone();
    if url.starts_with("oss://") {
        fields.remove(name);
        return shared.uploads.copy(&shared.jobs, name, &url).map(Some);
    }
    if !url.contains(':') {
        let upload = body::store_base64(&shared.jobs, name, &url);
        let problem = "is not a URL, nor base64; a file on another machine cannot be read";
        let upload = upload.map_err(|_| Refusal::of(Code::InvalidValue, name, problem))?;
        fields.remove(name);
        return Ok(Some(upload));
    }
    Ok(None)
}

async fn retrieve(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, Flat> {
    let origin = shared.site.access.origin(&headers)?;
    let job = JobId::of_uuid(&id).and_then(|id| shared.jobs.get(id));
    let Some(job) = job else {
        // Anything but this would end the client's wait with an error of its own.
        return Ok(about(&json!({ "task_id": id, "task_status": "UNKNOWN" })));
    };
    let mut answer = about(&output(&job, &origin));
    if job.record.status == JobStatus::Completed {
        answer["usage"] = usage(&job);
    }
    Ok(answer)
}

fn state(status: JobStatus) -> &'static str {
    match status {
        JobStatus::Queued => "PENDING",
        JobStatus::InProgress => "RUNNING",
        JobStatus::Completed => "SUCCEEDED",
        JobStatus::Failed => "FAILED",
        JobStatus::Cancelled => "CANCELED",
    }
}

fn output(job: &Snapshot, origin: &str) -> Value {
    let record = &job.record;
    let mut output = json!({
        "task_id": record.id.uuid(),
        "task_status": state(record.status),
        "submit_time": time_text(record.created_ms),
        "orig_prompt": record.asked.prompt,
    });
    if let Some(start) = record.started_ms {
        output["scheduled_time"] = time_text(start).into();
    }
    if let Some(end) = record.ended_ms {
        output["end_time"] = time_text(end).into();
    }
    if record.status == JobStatus::Completed {
        output["video_url"] = job_object::clip_url(record, origin).into();
    }
    if let Some(error) = &record.error {
        let code = match error.code {
            Code::Internal | Code::EncoderFailed | Code::StorageFull => "InternalError",
            _ => "InvalidParameter",
        };
        output["code"] = code.into();
        output["message"] = error.message.clone().into();
    }
    output
}

/// What a clip was: numbers where the service has numbers, or its clients refuse the whole answer.
fn usage(job: &Snapshot) -> Value {
    let resolved = &job.record.resolved;
    let (width, height) = (resolved.width, resolved.height);
    let common = (1..=width.min(height))
        .rev()
        .find(|n| width % n == 0 && height % n == 0)
        .unwrap_or(1);
    json!({
        "duration": resolved.seconds,
        "output_video_duration": resolved.seconds,
        "video_count": 1,
        "fps": FPS,
        "SR": width.min(height),
        "size": format!("{width}*{height}"),
        "ratio": format!("{}:{}", width / common, height / common),
    })
}

/// A time as the service writes it, in UTC+8, without saying so.
fn time_text(milliseconds: u64) -> String {
    let offset = time::UtcOffset::from_hms(8, 0, 0).expect("a real offset");
    let seconds = i64::try_from(milliseconds / 1000).unwrap_or(i64::MAX);
    let time = time::OffsetDateTime::from_unix_timestamp(seconds);
    let time = time
        .unwrap_or(time::OffsetDateTime::UNIX_EPOCH)
        .to_offset(offset);
    let (date, month) = (time.date(), u8::from(time.month()));
    let (hour, minute, second) = time.to_hms();
    let (year, day, rest) = (date.year(), date.day(), milliseconds % 1000);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{rest:03}")
}

async fn cancel(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
) -> Result<Response, Flat> {
    let known = JobId::of_uuid(&id).and_then(|id| shared.jobs.get(id));
    let known = known.filter(|job| !job.record.status.is_final());
    let Some(job) = known else {
        let message = "only a task that waits or runs can be cancelled";
        return Ok(flat(
            StatusCode::BAD_REQUEST,
            "UnsupportedOperation",
            message,
        ));
    };
    let jobs = shared.jobs.clone();
    let job = blocking(move || jobs.cancel(job.record.id)).await?;
    let output = json!({ "task_id": id, "task_status": state(job.record.status) });
    Ok(about(&output).into_response())
}

#[derive(Deserialize)]
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
) -> Result<Json<Value>, Flat> {
    let origin = shared.site.access.origin(&headers)?;
    let number = |name: &str, text: &Option<String>, usual: usize, most: usize| {
        let Some(text) = text else { return Ok(usual) };
        let number = text.parse().ok().filter(|n| (1..=most).contains(n));
        let problem = format!("must be 1 to {most}");
        number.ok_or_else(|| Refusal::of(Code::InvalidValue, name, problem))
    };
    let page = number("page_no", &query.page_no, 1, 1_000_000)?;
    let size = number("page_size", &query.page_size, 10, PAGE_MAX)?;
    // Both sides as digits, `YYYYMMDDhhmmss`, whatever stands between them.
    let digits =
        |text: &str| -> String { text.chars().filter(char::is_ascii_digit).take(14).collect() };
    let (start, end) = (query.start_time.as_deref(), query.end_time.as_deref());
    let fits = |job: &Snapshot| {
        let time = digits(&time_text(job.record.created_ms));
        query
            .status
            .as_deref()
            .is_none_or(|it| it == state(job.record.status))
            && query
                .model_name
                .as_deref()
                .is_none_or(|it| it == shared.site.model)
            && start.is_none_or(|start| digits(start) <= time)
            && end.is_none_or(|end| time <= digits(end))
    };
    let (all, _) = shared.jobs.list(Page {
        after: None,
        limit: usize::MAX - 1,
        ascending: false,
    });
    let found: Vec<&Snapshot> = all.iter().filter(|job| fits(job)).collect();
    let rows = found
        .iter()
        .skip((page - 1).saturating_mul(size))
        .take(size);
    let rows: Vec<Value> = rows.map(|job| output(job, &origin)).collect();
    Ok(Json(json!({
        "request_id": random_token(),
        "total": found.len(),
        "total_page": found.len().div_ceil(size),
        "page_no": page,
        "page_size": size,
        "data": rows,
    })))
}

#[derive(Deserialize)]
struct UploadQuery {
    action: Option<String>,
}

async fn offer_upload(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<UploadQuery>,
    headers: HeaderMap,
) -> Result<Json<Value>, Flat> {
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
) -> Result<StatusCode, Flat> {
    if !shared.uploads.is_free(&token) {
        let message = "there is no upload of this name that waits for its file";
        return Err(Refusal::new(Code::InvalidApiKey, message).into());
    }
    let file = body::read_file(&shared.jobs, request).await?;
    shared.uploads.fill(&token, file);
    Ok(StatusCode::OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_utc_plus_8() {
        assert_eq!(time_text(0), "1970-01-01 08:00:00.000");
        assert_eq!(time_text(1_795_364_215_042), "2026-11-23 00:16:55.042");
    }
}
