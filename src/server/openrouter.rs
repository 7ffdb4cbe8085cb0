//! The door of OpenRouter's videos API: the same jobs with other fields, under a prefix of its own.

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
use serde_json::{Map, Value, json};

use super::{
    answer::Answer,
    body::{self, Files},
    fields::Fields,
    guard::guard,
    job_object::clip_url,
    openai::{clip, sender_of, submit_sent},
    state::Shared,
};
use crate::{
    jobs::{Code, Given, JobId, JobStatus, PARAMETERS, Refusal, Snapshot},
    pipeline::request::{SECONDS_MAX, Size},
};

pub(super) fn routes(shared: &Arc<Shared>) -> Router<Arc<Shared>> {
    let routes = Router::new()
        .route("/api/v1/videos", post(create))
        .route("/api/v1/videos/models", get(models))
        .route("/api/v1/videos/{id}", get(retrieve))
        .route("/api/v1/videos/{id}/content", get(send_content));
    routes.layer(middleware::from_fn_with_state(shared.clone(), guard))
}

async fn create(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Result<Response, Answer> {
    let origin = shared.site.access.origin(request.headers())?;
    let sender = sender_of(peer, request.headers())?;
    let own = shared.clone();
    let read = move |members| read(members, &own);
    let sent = body::read_json(&shared.jobs, request, read).await?;
    let job = submit_sent(&shared, sender, sent).await?;
    Ok((StatusCode::ACCEPTED, Json(object(&job, &origin))).into_response())
}

/// The parameters of a job, from what this door calls them.
fn read(members: Map<String, Value>, shared: &Shared) -> Result<(body::Fields, Files), Refusal> {
    let mut fields = Fields::default();
    for (name, value) in members {
        match name.as_str() {
            "aspect_ratio" => fields.put_ratio(&name, value),
            "resolution" => fields.put_resolution(&name, value),
            "seconds" | "duration" => fields.put(&name, "duration", value)?,
            "frame_images" if value.is_null() => {}
            "frame_images" => {
                let image = first_frame(value)?.unwrap_or_default();
                fields.put(&name, "input_reference", image)?;
            }
            "callback_url" if !value.is_null() => {
                let problem = "is not possible: this server calls nobody; poll the `polling_url`";
                return Err(Refusal::of(Code::UnsupportedFeature, &name, problem));
            }
            "callback_url" => {}
            own => fields.put(own, own, value)?,
        }
    }
    let json = |(name, value)| (name, Given::Json(value));
    let fields = fields.finish(shared.site.defaults)?.into_iter().map(json);
    Ok((fields.collect(), Files::default()))
}

/// The picture in a list of frames, which may have a first one alone.
fn first_frame(list: Value) -> Result<Option<Value>, Refusal> {
    let of = |code, problem: &str| Refusal::of(code, "frame_images", problem);
    let no_list = || {
        let problem = "must be a list of objects with `frame_type` and `image_url`";
        of(Code::InvalidValue, problem)
    };
    let Value::Array(list) = list else {
        return Err(no_list());
    };
    let mut found = None;
    for one in list {
        let kind = &one["frame_type"];
        let url = one["image_url"].get("url").unwrap_or(&one["image_url"]);
        if !url.is_string() {
            return Err(no_list());
        }
        if !kind.is_null() && kind != "first_frame" {
            let problem = "is not possible with another frame_type than first_frame: the model takes no other frame";
            return Err(of(Code::UnsupportedFeature, problem));
        }
        if found.replace(url.clone()).is_some() {
            let problem = "may have one first_frame";
            return Err(of(Code::InvalidValue, problem));
        }
    }
    Ok(found)
}

async fn retrieve(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, Answer> {
    let origin = shared.site.access.origin(&headers)?;
    let job = shared.jobs.get(id.parse::<JobId>()?);
    let job = job.ok_or_else(|| Refusal::not_found(&id))?;
    Ok(Json(object(&job, &origin)))
}

fn object(job: &Snapshot, origin: &str) -> Value {
    let record = &job.record;
    let status = match record.status {
        JobStatus::Queued => "pending",
        status => status.name(),
    };
    let mut object = json!({
        "id": record.id,
        "polling_url": format!("{origin}/api/v1/videos/{}", record.id),
        "status": status,
    });
    if record.status == JobStatus::Completed {
        let urls = json!([clip_url(record, origin)]);
        object["urls"] = urls.clone();
        object["unsigned_urls"] = urls;
    }
    if let Some(error) = &record.error {
        object["error"] = error.message.clone().into();
    }
    object
}

#[derive(Deserialize)]
struct ContentQuery {
    index: Option<String>,
}

async fn send_content(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    Query(query): Query<ContentQuery>,
    headers: HeaderMap,
) -> Result<Response, Answer> {
    if query.index.is_some_and(|index| index != "0") {
        let problem = "must be 0: a job has one clip";
        return Err(Refusal::of(Code::InvalidValue, "index", problem).into());
    }
    let job = shared.jobs.get(id.parse::<JobId>()?);
    let job = job.ok_or_else(|| Refusal::not_found(&id))?;
    clip(&shared, &job, "video", &headers).await
}

/// The model, with all the members that this door's clients need.
async fn models(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let one_size = match shared.site.defaults.size {
        Size::Exact(width, height) => Some(vec![format!("{width}x{height}")]),
        _ => None,
    };
    let shapes = [
        "16:9", "9:16", "1:1", "4:3", "3:4", "3:2", "2:3", "21:9", "9:21",
    ];
    let rows = ["480p", "720p", "1080p"];
    let seconds: Vec<u32> = (1..=SECONDS_MAX as u32).collect();
    let own = shared.model_object();
    Json(json!({ "data": [{
        "id": own["id"],
        "canonical_slug": own["id"],
        "name": own["id"],
        "created": own["created"],
        "allowed_passthrough_parameters": PARAMETERS.map(|(name, ..)| name),
        "creativity": Value::Null,
        "generate_audio": true,
        "seed": true,
        "supported_aspect_ratios": one_size.is_none().then_some(shapes),
        "supported_durations": seconds,
        "supported_frame_images": ["first_frame"],
        "supported_resolutions": one_size.is_none().then_some(rows),
        "supported_sizes": one_size,
        "upscale_factor": Value::Null,
        "pricing_skus": {},
    }] }))
}
