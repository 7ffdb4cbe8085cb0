//! The door of OpenRouter's videos API: the same jobs with other fields, under a prefix of its own.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Json, Router,
    extract::{ConnectInfo, Path, Request, State},
    http::{HeaderMap, StatusCode},
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Map, Value, json};

use super::{
    answer::Answer,
    body,
    guard::guard,
    job_object::clip_url,
    openai::{sender_of, submit_sent},
    shape::size_of,
    state::Shared,
};
use crate::jobs::{Code, Given, JobId, JobStatus, Refusal, Snapshot};

pub(super) fn routes(shared: &Arc<Shared>) -> Router<Arc<Shared>> {
    let routes = Router::new()
        .route("/api/v1/videos", post(create))
        .route("/api/v1/videos/models", get(models))
        .route("/api/v1/videos/{id}", get(retrieve));
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
    let read = move |members| {
        let json = |(name, value)| (name, Given::Json(value));
        let fields = translate(members, &own)?.into_iter().map(json);
        Ok((fields.collect(), body::Files::default()))
    };
    let sent = body::read_json(&shared.jobs, request, read).await?;
    let job = submit_sent(&shared, sender, sent).await?;
    Ok((StatusCode::ACCEPTED, Json(object(&job, &origin))).into_response())
}

/// The parameters of a job, from what this door calls them.
fn translate(members: Map<String, Value>, shared: &Shared) -> Result<Map<String, Value>, Refusal> {
    let mut fields = Map::new();
    let mut ratio = None;
    for (name, value) in members {
        match name.as_str() {
            "aspect_ratio" => ratio = Some(value),
            "duration" => drop(fields.insert("seconds".into(), value)),
            "frame_images" => {
                let image = first_frame(value)?;
                fields.extend(image.map(|image| ("input_reference".into(), image)));
            }
            "callback_url" if !value.is_null() => {
                let problem = "is not possible: this server calls nobody; poll the `polling_url`";
                return Err(Refusal::of(Code::UnsupportedFeature, &name, problem));
            }
            "callback_url" => {}
            _ => drop(fields.insert(name, value)),
        }
    }
    if !fields.contains_key("size") {
        let size = size_of(None, ratio.as_ref(), shared.site.defaults)?;
        fields.extend(size.map(|size| ("size".into(), size.into())));
    }
    Ok(fields)
}

/// The picture in a list of frames, which may have a first one alone.
fn first_frame(list: Value) -> Result<Option<Value>, Refusal> {
    let invalid = |problem: &str| Refusal::of(Code::InvalidValue, "frame_images", problem);
    let Value::Array(list) = list else {
        return Err(invalid("must be a list"));
    };
    let mut found = None;
    for one in list {
        let is_first = one["frame_type"].is_null() || one["frame_type"] == "first_frame";
        if !is_first || found.is_some() {
            return Err(invalid(
                "may have one first_frame; the model takes no other",
            ));
        }
        found = Some(one["image_url"].clone());
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

async fn models(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(json!({ "data": [shared.model_object()] }))
}
