//! Refusals in the words of the door that was called: each hosted service has its own form of an error, and its clients show
//! nothing of another one.

use axum::{
    Json,
    http::{StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::state::Site;
use crate::jobs::{Code, Refusal, random_token};

/// `response` to a call of `path`, in the words of its door if it is a refusal.
pub(super) fn in_their_words(site: &Site, path: &str, response: Response) -> Response {
    let is_under = |root: &str| {
        let rest = path.strip_prefix(root);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let Some(refusal) = response.extensions().get::<Refusal>() else {
        return response;
    };
    let status = response.status();
    let mut theirs = if site.openrouter && is_under("/api/v1/videos") {
        as_openrouter(status, refusal)
    } else if site.dashscope && is_under("/api/v1") {
        as_dashscope(status, refusal)
    } else {
        return response;
    };
    if let Some(seconds) = response.headers().get(RETRY_AFTER) {
        theirs.headers_mut().insert(RETRY_AFTER, seconds.clone());
    }
    theirs
}

fn as_openrouter(status: StatusCode, refusal: &Refusal) -> Response {
    let error = json!({
        "code": status.as_u16(),
        "message": refusal.message,
        "metadata": { "reason": refusal.code.name(), "param": refusal.field },
    });
    (status, Json(json!({ "error": error }))).into_response()
}

fn as_dashscope(status: StatusCode, refusal: &Refusal) -> Response {
    let (status, code) = match status {
        StatusCode::UNAUTHORIZED => (status, "InvalidApiKey"),
        StatusCode::FORBIDDEN => (status, "AccessDenied"),
        StatusCode::NOT_FOUND => (status, "InvalidURL"),
        StatusCode::METHOD_NOT_ALLOWED => (status, "UnsupportedOperation"),
        StatusCode::REQUEST_TIMEOUT => (status, "RequestTimeOut"),
        StatusCode::PAYLOAD_TOO_LARGE => (status, "InvalidParameter"),
        StatusCode::TOO_MANY_REQUESTS => (status, "Throttling.RateQuota"),
        StatusCode::SERVICE_UNAVAILABLE => (status, "ServiceUnavailable"),
        _ if status.is_server_error() => (status, "InternalError"),
        _ => (StatusCode::BAD_REQUEST, "InvalidParameter"),
    };
    flat(status, code, &refusal.message)
}

/// An error as DashScope's clients read it.
pub(super) fn flat(status: StatusCode, code: &str, message: &str) -> Response {
    let body = json!({ "request_id": random_token(), "code": code, "message": message });
    (status, Json(body)).into_response()
}

/// DashScope's word for why a job failed.
pub(super) fn task_code(code: Code) -> &'static str {
    match code {
        Code::Internal | Code::EncoderFailed | Code::StorageFull | Code::OutOfMemory => {
            "InternalError"
        }
        _ => "InvalidParameter",
    }
}
