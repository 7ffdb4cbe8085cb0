//! The page: the door for people, three files from the binary that ask nothing of another server.

use std::sync::Arc;

use axum::{
    Router,
    http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};

use super::state::Shared;

/// Nothing but the page's own files and what the server sends.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; \
    media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) fn routes() -> Router<Arc<Shared>> {
    let html = || async { file("text/html", include_str!("page/index.html")) };
    let script = || async { file("text/javascript", include_str!("page/app.js")) };
    let style = || async { file("text/css", include_str!("page/style.css")) };
    Router::new()
        .route("/", get(html))
        .route("/app.js", get(script))
        .route("/style.css", get(style))
}

fn file(kind: &str, text: &'static str) -> Response {
    let headers = [
        (CONTENT_TYPE, format!("{kind}; charset=utf-8")),
        (CONTENT_SECURITY_POLICY, POLICY.into()),
        // A newer binary has a newer page.
        (CACHE_CONTROL, "no-cache".into()),
    ];
    (headers, text).into_response()
}
