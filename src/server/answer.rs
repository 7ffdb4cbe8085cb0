//! Answers that are errors: one object for all of them, with the status that makes clients do the right thing.
//!
//! Clients repeat a call by themselves after 408, 409, 429 and everything from 500. So a refusal that would be the same
//! again is none of these.

use axum::{
    Json,
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER},
    },
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use crate::jobs::{Code, Refusal};

/// A refusal on its way to a client.
pub(super) struct Answer {
    pub(super) refusal: Refusal,
    status: StatusCode,
    retry_after: Option<u64>,
}

impl Answer {
    /// With another status than the kind has.
    pub(super) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// Which names the seconds after which to ask again.
    pub(super) fn retry_after(mut self, seconds: u64) -> Self {
        // A client that is told more than 120 does not ask again at all.
        self.retry_after = Some(seconds.clamp(1, 120));
        self
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        let status = status(refusal.code);
        let answer = Self {
            refusal,
            status,
            retry_after: None,
        };
        match status {
            StatusCode::SERVICE_UNAVAILABLE => answer.retry_after(5),
            _ => answer,
        }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(object(&self.refusal))).into_response();
        if let Some(seconds) = self.retry_after {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        // Another door says it in other words.
        response.extensions_mut().insert(self.refusal);
        response
    }
}

/// Does what waits for the disk or for a lock on a thread where that is allowed.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Answer> {
    match spawn_blocking(work).await {
        Ok(done) => Ok(done?),
        Err(_) => {
            let message = "a fault of the server; its log has the line to report";
            Err(Refusal::new(Code::Internal, message).into())
        }
    }
}

/// The error object; its four members are always there.
pub(super) fn object(refusal: &Refusal) -> Value {
    json!({ "error": members(refusal) })
}

/// `response`, with the object if it is a refusal in the framework's own words.
pub(super) async fn in_our_words(response: Response) -> Response {
    const MAX_WORDS: usize = 4096;
    let kind = response.headers().get(CONTENT_TYPE);
    let is_text = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/plain"));
    let status = response.status();
    if !(status.is_client_error() && is_text) {
        return response;
    }
    let words = axum::body::to_bytes(response.into_body(), MAX_WORDS).await;
    let words = String::from_utf8_lossy(&words.unwrap_or_default()).into_owned();
    let answer = Answer::from(Refusal::new(Code::InvalidValue, words));
    answer.with_status(status).into_response()
}

/// What stands in it.
pub(super) fn members(refusal: &Refusal) -> Value {
    let kind = match status(refusal.code) {
        status if status.is_server_error() => "server_error",
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        _ => "invalid_request_error",
    };
    json!({
        "message": refusal.message,
        "type": kind,
        "param": refusal.field,
        "code": refusal.code.name(),
    })
}

fn status(code: Code) -> StatusCode {
    match code {
        Code::InvalidPrompt
        | Code::InvalidSize
        | Code::InvalidValue
        | Code::UnknownField
        | Code::InvalidImage
        | Code::InvalidAudio => StatusCode::BAD_REQUEST,
        Code::UnsupportedFeature
        | Code::IdempotencyMismatch
        | Code::OutOfMemory
        | Code::WeightsMissing
        | Code::Cancelled => StatusCode::UNPROCESSABLE_ENTITY,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::QueueFull => StatusCode::TOO_MANY_REQUESTS,
        Code::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::NotReady | Code::StorageFull => StatusCode::SERVICE_UNAVAILABLE,
        Code::EncoderFailed | Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        Code::InvalidApiKey => StatusCode::UNAUTHORIZED,
    }
}
