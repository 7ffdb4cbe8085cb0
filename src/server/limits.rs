//! An end to how long a body is and how slowly it comes; and what is done with the rest of one that nobody reads.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    body::{Body, BodyDataStream},
    extract::Request,
    http::StatusCode,
};
use futures_util::{StreamExt, stream};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout, timeout_at},
};

use super::answer::Answer;
use crate::jobs::{Code, Refusal};

/// Most bytes of a body.
pub(super) const MAX_BYTES: u64 = 64 << 20;
/// Most bytes of a form before its first part, or of the head of one.
const MAX_HEAD: usize = 1 << 20;
/// A client that sends nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes per second, over the whole body, below which a client is given up too.
const RATE: u64 = 16 << 10;

/// Why a body ended early, and how much of it nothing was made of yet.
#[derive(Clone, Default)]
pub(super) struct Trouble(Arc<(AtomicU8, AtomicUsize)>);

impl Trouble {
    const TOO_LONG: u8 = 1;
    const TOO_SLOW: u8 = 2;
    const NO_PART: u8 = 3;

    fn set(&self, what: u8) -> std::io::Error {
        self.0.0.store(what, Ordering::Relaxed);
        std::io::ErrorKind::InvalidData.into()
    }

    /// Something was made of what was read.
    pub(super) fn goes_on(&self) {
        self.0.1.store(0, Ordering::Relaxed);
    }

    /// The answer for it, or for another error of reading.
    pub(super) fn answer(&self, otherwise: impl Into<String>) -> Answer {
        let invalid = |message: String| Answer::from(Refusal::new(Code::InvalidValue, message));
        match self.0.0.load(Ordering::Relaxed) {
            Self::TOO_LONG => {
                let message = format!("the body is longer than {} MiB", MAX_BYTES >> 20);
                Answer::from(Refusal::new(Code::TooLarge, message))
            }
            Self::TOO_SLOW => {
                let message = format!(
                    "the body came too slowly: nothing for {} seconds, or less than {} KiB a second",
                    PATIENCE.as_secs(),
                    RATE >> 10
                );
                invalid(message).with_status(StatusCode::REQUEST_TIMEOUT)
            }
            Self::NO_PART => invalid(format!("the form has {MAX_HEAD} bytes without a part")),
            _ => invalid(otherwise.into()),
        }
    }
}

/// What of a body nobody has read.
pub(super) struct Rest(Arc<Mutex<BodyDataStream>>);

impl Rest {
    /// `body`, and what will be left of it.
    pub(super) fn of(body: Body) -> (Body, Self) {
        let pieces = Arc::new(Mutex::new(body.into_data_stream()));
        let rest = Self(pieces.clone());
        let next = |pieces: Arc<Mutex<BodyDataStream>>| async move {
            let piece = pieces.lock().await.next().await?;
            Some((piece, pieces))
        };
        (Body::from_stream(stream::unfold(pieces, next)), rest)
    }

    /// Reads it and throws it away, with an end to how much: a client that is still sending does not hear an answer.
    pub(super) async fn discard(self) {
        let mut pieces = self.0.lock().await;
        let mut read = 0;
        let reading = async {
            while let Some(Ok(piece)) = pieces.next().await
                && read < MAX_BYTES
            {
                read += piece.len() as u64;
            }
        };
        // The answer goes out in any case.
        drop(timeout(PATIENCE, reading).await);
    }
}

/// `body` with an end to its length and to its slowness.
fn limited(body: Body, trouble: Trouble) -> Body {
    let begin = Instant::now();
    let state = (body.into_data_stream(), 0_u64, trouble);
    Body::from_stream(stream::try_unfold(
        state,
        move |(mut pieces, read, trouble)| async move {
            // The reader of forms takes in all that is there at once, and looks at it only when there is no more.
            tokio::task::yield_now().await;
            let slowest = begin + PATIENCE + Duration::from_secs(read / RATE);
            let end = slowest.min(Instant::now() + PATIENCE);
            let piece = match timeout_at(end, pieces.next()).await {
                Err(_) => return Err(trouble.set(Trouble::TOO_SLOW)),
                Ok(None) => return Ok(None),
                Ok(Some(piece)) => piece.map_err(std::io::Error::other)?,
            };
            let read = read + piece.len() as u64;
            let unseen = trouble.0.1.fetch_add(piece.len(), Ordering::Relaxed);
            if read > MAX_BYTES {
                return Err(trouble.set(Trouble::TOO_LONG));
            }
            if unseen > MAX_HEAD {
                return Err(trouble.set(Trouble::NO_PART));
            }
            Ok(Some((piece, (pieces, read, trouble))))
        },
    ))
}

/// `request`, with an end to the length of its body and to its slowness.
pub(super) fn with_limits(request: Request) -> (Request, Trouble) {
    let trouble = Trouble::default();
    let (parts, body) = request.into_parts();
    let request = Request::from_parts(parts, limited(body, trouble.clone()));
    (request, trouble)
}
