//! What stands before every call: its `Host`, and its key or the token of the clip that it reads.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{answer::Answer, state::Shared};

/// Lets calls through that carry a key, or the token of the clip that they read.
pub(super) async fn guard(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    if has_token(&shared, &request) {
        return next.run(request).await;
    }
    match shared.site.access.check_key(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => Answer::from(refusal).into_response(),
    }
}

/// Whether a call reads a clip with the clip's own token.
fn has_token(shared: &Shared, request: &Request) -> bool {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let path = request.uri().path();
    let id = path
        .strip_prefix("/v1/videos/")
        .and_then(|rest| rest.strip_suffix("/content"));
    let token = request
        .uri()
        .query()
        .and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("t=")));
    let (Some(id), Some(token), true) = (id, token, is_read) else {
        return false;
    };
    let job = id.parse().ok().and_then(|id| shared.jobs.get(id));
    job.is_some_and(|job| {
        let known = job.record.token.as_bytes();
        let differs = known
            .iter()
            .zip(token.bytes())
            .fold(0, |sum, (a, b)| sum | (a ^ b));
        known.len() == token.len() && differs == 0
    })
}

/// Refuses calls to names that are not the server's, and tells the browsers of one origin that they may read answers.
pub(super) async fn check_host(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    if let Err(refusal) = shared.site.access.origin(request.headers()) {
        return Answer::from(refusal)
            .with_status(StatusCode::FORBIDDEN)
            .into_response();
    }
    let cors = shared.site.cors.clone();
    let is_question = request.method() == Method::OPTIONS && cors.is_some();
    let mut response = match is_question {
        true => StatusCode::NO_CONTENT.into_response(),
        false => next.run(request).await,
    };
    if let Some(origin) = cors {
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        let methods = HeaderValue::from_static("GET, POST, DELETE");
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        let names =
            HeaderValue::from_static("authorization, content-type, idempotency-key, last-event-id");
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names);
    }
    response
}
