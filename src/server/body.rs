//! What a client sends: a form or JSON, in which pictures and sounds may lie. Read piece by piece, with an end to how much
//! and to how slowly; files go to the disk as they come.

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, Multipart, Request, multipart::Field},
    http::{HeaderMap, header::CONTENT_TYPE},
};
use base64::{Engine as _, prelude::BASE64_STANDARD as BASE64};
use futures_util::{StreamExt, stream};
use serde_json::{Map, Value};
use tokio::time::timeout;

use super::answer::Answer;
use crate::jobs::{Asked, Code, Given, Jobs, Refusal, Upload};

/// Most bytes of a body.
pub(super) const MAX_BYTES: u64 = 64 << 20;
/// Most parts of a form, far more than there are parameters.
const MAX_PARTS: usize = 100;
/// Most bytes of a text in a form.
const MAX_TEXT: usize = 2 << 20;
/// A client that sends nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// A request, read.
pub(super) struct Sent {
    pub(super) asked: Asked,
    pub(super) image: Option<Upload>,
    pub(super) audio: Option<Upload>,
    /// The fields as one text, to compare requests by.
    pub(super) fields: String,
}

/// Why a body ended early.
#[derive(Clone, Default)]
struct Trouble(Arc<AtomicU8>);

impl Trouble {
    const TOO_LONG: u8 = 1;
    const TOO_SLOW: u8 = 2;

    fn set(&self, what: u8) {
        self.0.store(what, Ordering::Relaxed);
    }

    /// The answer for it, or for another error of reading.
    fn answer(&self, otherwise: impl Into<String>) -> Answer {
        match self.0.load(Ordering::Relaxed) {
            Self::TOO_LONG => too_large(),
            Self::TOO_SLOW => {
                let message = "the body did not go on for 30 seconds";
                let slow = Answer::from(Refusal::new(Code::InvalidValue, message));
                slow.with_status(axum::http::StatusCode::REQUEST_TIMEOUT)
            }
            _ => Answer::from(Refusal::new(Code::InvalidValue, otherwise)),
        }
    }
}

pub(super) fn too_large() -> Answer {
    let message = format!("the body is longer than {} MiB", MAX_BYTES >> 20);
    Answer::from(Refusal::new(Code::TooLarge, message))
}

/// `body` with an end to its length and to its pauses. Of one that is too long so much more is read and thrown away, since
/// a client that is still sending does not hear an answer.
fn limited(body: Body, trouble: Trouble) -> Body {
    let pieces = body.into_data_stream();
    let state = (pieces, 0_u64, trouble);
    Body::from_stream(stream::try_unfold(
        state,
        |(mut pieces, mut read, trouble)| async move {
            loop {
                let piece = match timeout(PATIENCE, pieces.next()).await {
                    Err(_) => {
                        trouble.set(Trouble::TOO_SLOW);
                        return Err(std::io::Error::from(std::io::ErrorKind::TimedOut));
                    }
                    Ok(Some(piece)) => piece.map_err(std::io::Error::other)?,
                    Ok(None) if read > MAX_BYTES => Bytes::new(),
                    Ok(None) => return Ok(None),
                };
                read += piece.len() as u64;
                if read <= MAX_BYTES {
                    return Ok(Some((piece, (pieces, read, trouble))));
                }
                if piece.is_empty() || read > 2 * MAX_BYTES {
                    trouble.set(Trouble::TOO_LONG);
                    return Err(std::io::Error::from(std::io::ErrorKind::FileTooLarge));
                }
            }
        },
    ))
}

/// Reads a request for a job.
pub(super) async fn read(jobs: &Jobs, request: Request) -> Result<Sent, Answer> {
    let kind = content_kind(request.headers());
    let trouble = Trouble::default();
    let (parts, body) = request.into_parts();
    let request = Request::from_parts(parts, limited(body, trouble.clone()));
    match kind.as_str() {
        "multipart/form-data" => {
            let form = Multipart::from_request(request, &()).await;
            let form = form.map_err(|e| trouble.answer(e.body_text()))?;
            read_form(jobs, form, &trouble).await
        }
        "application/x-www-form-urlencoded" => {
            let bytes = whole(request.into_body(), &trouble).await?;
            let fields = form_fields(&bytes)?;
            finish(jobs, fields, (None, None)).await
        }
        // A body without a type is JSON to most who write one by hand.
        "application/json" | "" => {
            let members = members(&whole(request.into_body(), &trouble).await?)?;
            let json = |(name, value)| (name, Given::Json(value));
            finish(jobs, members.into_iter().map(json).collect(), (None, None)).await
        }
        other => {
            let message = format!(
                "the body is `{other}`; it must be application/json, multipart/form-data or \
                 application/x-www-form-urlencoded"
            );
            let refusal = Answer::from(Refusal::new(Code::InvalidValue, message));
            Err(refusal.with_status(axum::http::StatusCode::UNSUPPORTED_MEDIA_TYPE))
        }
    }
}

/// Reads a body that must be a JSON object.
pub(super) async fn read_object(request: Request) -> Result<Map<String, Value>, Answer> {
    let trouble = Trouble::default();
    let body = limited(request.into_body(), trouble.clone());
    Ok(members(&whole(body, &trouble).await?)?)
}

/// Reads a form whose part `file` is a file, whatever else it has.
pub(super) async fn read_file(jobs: &Jobs, request: Request) -> Result<Upload, Answer> {
    let trouble = Trouble::default();
    let (parts, body) = request.into_parts();
    let request = Request::from_parts(parts, limited(body, trouble.clone()));
    let form = Multipart::from_request(request, &()).await;
    let mut form = form.map_err(|e| trouble.answer(e.body_text()))?;
    let mut file = None;
    while let Some(part) = next_part(&mut form, &trouble).await? {
        if part.name() == Some("file") {
            file = Some(store(jobs, part, &trouble).await?);
        }
    }
    let problem = "is missing in the form";
    Ok(file.ok_or_else(|| Refusal::of(Code::InvalidValue, "file", problem))?)
}

async fn next_part<'a>(
    form: &'a mut Multipart,
    trouble: &Trouble,
) -> Result<Option<Field<'a>>, Answer> {
    let part = form.next_field().await;
    part.map_err(|e| trouble.answer(e.body_text()))
}

fn members(bytes: &[u8]) -> Result<Map<String, Value>, Refusal> {
    let invalid = |message: String| Refusal::new(Code::InvalidValue, message);
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(invalid("the body must be a JSON object".into())),
        Err(e) => Err(invalid(format!("the body is no JSON: {e}"))),
    }
}

fn content_kind(headers: &HeaderMap) -> String {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let kind = kind
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default();
    kind.trim().to_ascii_lowercase()
}

async fn whole(body: Body, trouble: &Trouble) -> Result<Bytes, Answer> {
    let bytes = axum::body::to_bytes(body, usize::MAX).await;
    bytes.map_err(|e| trouble.answer(format!("the body cannot be read: {e}")))
}

fn form_fields(bytes: &[u8]) -> Result<Vec<(String, Given)>, Answer> {
    let fields: Vec<(String, String)> = serde_urlencoded::from_bytes(bytes).map_err(|e| {
        let message = format!("the body is no form: {e}");
        Answer::from(Refusal::new(Code::InvalidValue, message))
    })?;
    Ok(fields
        .into_iter()
        .map(|(name, text)| (name, Given::Text(text)))
        .collect())
}

async fn read_form(jobs: &Jobs, mut form: Multipart, trouble: &Trouble) -> Result<Sent, Answer> {
    let mut fields = Vec::new();
    let (mut image, mut audio) = (None, None);
    let mut count = 0;
    while let Some(part) = next_part(&mut form, trouble).await? {
        count += 1;
        if count > MAX_PARTS {
            let message = format!("the form has more than {MAX_PARTS} parts");
            return Err(Refusal::new(Code::InvalidValue, message).into());
        }
        let name = part.name().unwrap_or_default().to_string();
        let is_file = part.file_name().is_some();
        let own = match name.as_str() {
            "input_reference" | "image_reference" | "image" => Some(&mut image),
            "audio_reference" | "audio" => Some(&mut audio),
            _ => None,
        };
        match own.filter(|_| is_file) {
            Some(place) => *place = Some(store(jobs, part, trouble).await?),
            None => fields.push((name, Given::Text(text(part, trouble).await?))),
        }
    }
    finish(jobs, fields, (image, audio)).await
}

async fn text(mut part: Field<'_>, trouble: &Trouble) -> Result<String, Answer> {
    let name = part.name().unwrap_or_default().to_string();
    let mut bytes = Vec::new();
    while let Some(piece) = part
        .chunk()
        .await
        .map_err(|e| trouble.answer(e.body_text()))?
    {
        if bytes.len() + piece.len() > MAX_TEXT {
            let problem = format!("is longer than {MAX_TEXT} bytes");
            return Err(Refusal::of(Code::InvalidValue, &name, problem).into());
        }
        bytes.extend_from_slice(&piece);
    }
    String::from_utf8(bytes)
        .map_err(|_| Refusal::of(Code::InvalidValue, &name, "must be UTF-8 text").into())
}

/// Writes a file that comes to the disk.
async fn store(jobs: &Jobs, mut part: Field<'_>, trouble: &Trouble) -> Result<Upload, Answer> {
    let (upload, file) = jobs.upload()?;
    let mut file = tokio::fs::File::from_std(file);
    while let Some(piece) = part
        .chunk()
        .await
        .map_err(|e| trouble.answer(e.body_text()))?
    {
        let written = tokio::io::AsyncWriteExt::write_all(&mut file, &piece).await;
        written.map_err(|e| disk(&e))?;
    }
    tokio::io::AsyncWriteExt::flush(&mut file)
        .await
        .map_err(|e| disk(&e))?;
    Ok(upload)
}

fn disk(error: &std::io::Error) -> Answer {
    let code = match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Code::StorageFull,
        _ => Code::Internal,
    };
    Refusal::new(code, format!("the server's disk refused it: {error}")).into()
}

/// Reads the fields, and the files that lie in them as `data:` URLs.
pub(super) async fn finish(
    jobs: &Jobs,
    fields: Vec<(String, Given)>,
    (image, audio): (Option<Upload>, Option<Upload>),
) -> Result<Sent, Answer> {
    let text = format!("{fields:?}");
    let mut asked = Asked::of(fields)?;
    let image = one_of(jobs, "input_reference", image, asked.image_url.take())?;
    let audio = one_of(jobs, "audio_reference", audio, asked.audio_url.take())?;
    Ok(Sent {
        asked,
        image,
        audio,
        fields: text,
    })
}

fn one_of(
    jobs: &Jobs,
    name: &str,
    file: Option<Upload>,
    url: Option<String>,
) -> Result<Option<Upload>, Answer> {
    match (file, url) {
        (Some(_), Some(_)) => Err(Refusal::of(
            Code::InvalidValue,
            name,
            "was given twice, as a file and as a URL",
        )
        .into()),
        (file, None) => Ok(file),
        (None, Some(url)) => {
            let data = data_url(name, &url)?;
            Ok(Some(store_base64(jobs, name, data)?))
        }
    }
}

/// Writes what base64 stands for to the disk.
pub(super) fn store_base64(jobs: &Jobs, name: &str, data: &str) -> Result<Upload, Answer> {
    let invalid = |e| Refusal::of(Code::InvalidValue, name, format!("is no base64: {e}"));
    let bytes = BASE64.decode(data.trim()).map_err(invalid)?;
    let (upload, mut file) = jobs.upload()?;
    file.write_all(&bytes).map_err(|e| disk(&e))?;
    Ok(upload)
}

/// The base64 in a `data:` URL.
fn data_url<'a>(name: &str, url: &'a str) -> Result<&'a str, Refusal> {
    let shown: String = url.chars().take(60).collect();
    let scheme = url
        .split(':')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    match scheme.as_str() {
        "data" => {}
        "http" | "https" => {
            let problem =
                "must be a file or a data: URL; this server fetches nothing from other addresses";
            return Err(Refusal::of(Code::UnsupportedFeature, name, problem));
        }
        _ => {
            let problem = format!("must be a file or a data: URL; given {shown}");
            return Err(Refusal::of(Code::InvalidValue, name, problem));
        }
    }
    let (kind, data) = url.split_once(',').unwrap_or((url, ""));
    if !kind.to_ascii_lowercase().ends_with(";base64") {
        let problem = format!("must be a data: URL with `;base64,`; given {shown}");
        return Err(Refusal::of(Code::InvalidValue, name, problem));
    }
    Ok(data)
}
