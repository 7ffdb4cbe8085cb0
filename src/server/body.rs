//! What a client sends: a form or JSON, in which pictures and sounds may lie. Read piece by piece, with an end to how much
//! and to how slowly; files go to the disk as they come, and so do long texts.

use std::io::Write;

use axum::{
    body::Bytes,
    extract::{
        FromRequest, Multipart, Request,
        multipart::{Field, MultipartError},
    },
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
};
use base64::{Engine as _, prelude::BASE64_STANDARD as BASE64};
use futures_util::{Stream, StreamExt};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tokio::{
    fs::File,
    io::AsyncWriteExt,
    sync::{Semaphore, SemaphorePermit},
};

use super::{
    answer::{Answer, blocking},
    limits::{Trouble, with_limits},
};
use crate::jobs::{Asked, Code, Given, Jobs, Refusal, Upload, parse_json};

/// Most parts of a form, far more than there are parameters.
const MAX_PARTS: usize = 100;
/// Bytes of a request's texts that stay in memory while it comes; longer ones go to the disk.
const ROOM: usize = 64 << 10;

/// For requests that take much memory while they are decoded: one has it, and one decodes beside it.
static HEAVY: Semaphore = Semaphore::const_new(2);

/// A request, read.
pub(super) struct Sent {
    pub(super) asked: Asked,
    pub(super) image: Option<Upload>,
    pub(super) audio: Option<Upload>,
    /// SHA-256 of the fields, to compare requests by.
    pub(super) fields: String,
    /// Of a request with files or long texts: held until it is a job.
    pub(super) heavy: Option<SemaphorePermit<'static>>,
}

/// A text or a file as it came.
enum Piece {
    Short(Vec<u8>),
    Long(Upload),
}

impl Piece {
    fn bytes(self) -> Result<Vec<u8>, Refusal> {
        match self {
            Self::Short(bytes) => Ok(bytes),
            Self::Long(upload) => std::fs::read(upload.path()).map_err(|e| disk(&e)),
        }
    }
}

/// Reads a request for a job.
pub(super) async fn read(jobs: &Jobs, request: Request) -> Result<Sent, Answer> {
    let kind = content_kind(request.headers());
    match kind.as_str() {
        "multipart/form-data" => {
            let (request, trouble) = with_limits(request);
            let form = Multipart::from_request(request, &()).await;
            let form = form.map_err(|e| trouble.answer(e.body_text()))?;
            read_form(jobs, form, &trouble).await
        }
        "application/x-www-form-urlencoded" => {
            let (request, trouble) = with_limits(request);
            let body = whole(jobs, request, &trouble).await?;
            finish(jobs, vec![body], Files::default(), |it| {
                alone(form_fields(it)?)
            })
            .await
        }
        // A body without a type is JSON to most who write one by hand.
        "application/json" | "" => {
            let json = |(name, value)| (name, Given::Json(value));
            let fields = move |members: Map<_, _>| alone(members.into_iter().map(json).collect());
            read_json(jobs, request, fields).await
        }
        other => {
            let message = format!(
                "the body is `{other}`; it must be application/json, multipart/form-data or \
                 application/x-www-form-urlencoded"
            );
            let refusal = Answer::from(Refusal::new(Code::InvalidValue, message));
            Err(refusal.with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE))
        }
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

/// A body that is one text; its name is not looked at.
async fn whole(
    jobs: &Jobs,
    request: Request,
    trouble: &Trouble,
) -> Result<(String, Piece), Answer> {
    let pieces = request.into_body().into_data_stream();
    let failed = |e: axum::Error| format!("the body cannot be read: {e}");
    let body = collect(jobs, pieces, Some(&mut ROOM.clone()), trouble, failed).await?;
    Ok((String::new(), body))
}

pub(super) type Fields = Vec<(String, Given)>;
/// The picture and the voice track.
pub(super) type Files = (Option<Upload>, Option<Upload>);

/// Fields without files.
fn alone(fields: Fields) -> Result<(Fields, Files), Refusal> {
    Ok((fields, Files::default()))
}

/// Reads a request whose JSON `translate` makes fields and files of.
pub(super) async fn read_json(
    jobs: &Jobs,
    request: Request,
    translate: impl FnOnce(Map<String, Value>) -> Result<(Fields, Files), Refusal> + Send + 'static,
) -> Result<Sent, Answer> {
    let (request, trouble) = with_limits(request);
    let (_, body) = whole(jobs, request, &trouble).await?;
    let text = (String::new(), body);
    let read = |texts: Vec<(String, Piece)>| {
        let bodies = texts.into_iter().map(|(_, body)| members(body));
        translate(
            bodies
                .collect::<Result<Vec<_>, _>>()?
                .into_iter()
                .flatten()
                .collect(),
        )
    };
    finish(jobs, vec![text], Files::default(), read).await
}

/// Reads a form whose part `file` is a file, whatever else it has.
pub(super) async fn read_file(jobs: &Jobs, request: Request) -> Result<Upload, Answer> {
    let (request, trouble) = with_limits(request);
    let form = Multipart::from_request(request, &()).await;
    let mut form = form.map_err(|e| trouble.answer(e.body_text()))?;
    let failed = |e: MultipartError| e.body_text();
    while let Some(part) = next_part(&mut form, &trouble).await? {
        if part.name() == Some("file")
            && let Piece::Long(file) = collect(jobs, part, None, &trouble, failed).await?
        {
            return Ok(file);
        }
    }
    Err(Refusal::of(Code::InvalidValue, "file", "is missing in the form").into())
}

async fn next_part<'a>(
    form: &'a mut Multipart,
    trouble: &Trouble,
) -> Result<Option<Field<'a>>, Answer> {
    let part = form.next_field().await;
    let part = part.map_err(|e| trouble.answer(e.body_text()))?;
    trouble.goes_on();
    Ok(part)
}

fn members(body: Piece) -> Result<Map<String, Value>, Refusal> {
    let invalid = |message: String| Refusal::new(Code::InvalidValue, message);
    match parse_json(&body.bytes()?) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(invalid("the body must be a JSON object".into())),
        Err(e) => Err(invalid(format!("the body is no JSON: {e}"))),
    }
}

fn form_fields(bodies: Vec<(String, Piece)>) -> Result<Fields, Refusal> {
    let invalid = |message: String| Refusal::new(Code::InvalidValue, message);
    let mut fields = Vec::new();
    for (_, body) in bodies {
        let bytes = body.bytes()?;
        if bytes.iter().filter(|byte| **byte == b'&').count() >= MAX_PARTS {
            return Err(invalid(format!("the form has more than {MAX_PARTS} parts")));
        }
        let pairs: Vec<(String, String)> = serde_urlencoded::from_bytes(&bytes)
            .map_err(|e| invalid(format!("the body is no form: {e}")))?;
        let text = |(name, text)| (name, Given::Text(text));
        fields.extend(pairs.into_iter().map(text));
    }
    Ok(fields)
}

/// The texts of a form with parts.
fn texts(parts: Vec<(String, Piece)>) -> Result<Fields, Refusal> {
    let text = |(name, part): (String, Piece)| {
        let text = String::from_utf8(part.bytes()?);
        let text =
            text.map_err(|_| Refusal::of(Code::InvalidValue, &name, "must be UTF-8 text"))?;
        Ok((name, Given::Text(text)))
    };
    parts.into_iter().map(text).collect()
}

async fn read_form(jobs: &Jobs, mut form: Multipart, trouble: &Trouble) -> Result<Sent, Answer> {
    let mut parts = Vec::new();
    let (mut image, mut audio) = (None, None);
    let (mut count, mut room) = (0, ROOM);
    let failed = |e: MultipartError| e.body_text();
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
            Some(place) => match collect(jobs, part, None, trouble, failed).await? {
                Piece::Long(file) => *place = Some(file),
                Piece::Short(_) => unreachable!("without room there is a file"),
            },
            None => {
                let text = collect(jobs, part, Some(&mut room), trouble, failed).await?;
                parts.push((name, text));
            }
        }
    }
    finish(jobs, parts, (image, audio), |it| alone(texts(it)?)).await
}

/// Reads a text into memory as long as it has `room` there; else, and without room, into a file.
async fn collect<E>(
    jobs: &Jobs,
    mut from: impl Stream<Item = Result<Bytes, E>> + Unpin,
    mut room: Option<&mut usize>,
    trouble: &Trouble,
    failed: impl Fn(E) -> String,
) -> Result<Piece, Answer> {
    let mut short = Vec::new();
    let open = || -> Result<(Upload, File), Refusal> {
        let (upload, file) = jobs.upload()?;
        Ok((upload, File::from_std(file)))
    };
    let mut long = match room {
        Some(_) => None,
        None => Some(open()?),
    };
    while let Some(piece) = from.next().await {
        let piece = piece.map_err(|e| trouble.answer(failed(e)))?;
        trouble.goes_on();
        match &mut room {
            Some(room) if long.is_none() && piece.len() <= **room => {
                **room -= piece.len();
                short.extend_from_slice(&piece);
            }
            _ => {
                if long.is_none() {
                    long = Some(open()?);
                }
                let (_, file) = long.as_mut().expect("just opened");
                short.extend_from_slice(&piece);
                file.write_all(&short).await.map_err(|e| disk(&e))?;
                short.clear();
            }
        }
    }
    let Some((upload, mut file)) = long else {
        return Ok(Piece::Short(short));
    };
    file.flush().await.map_err(|e| disk(&e))?;
    Ok(Piece::Long(upload))
}

fn disk(error: &std::io::Error) -> Refusal {
    let code = match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Code::StorageFull,
        _ => Code::Internal,
    };
    Refusal::new(code, format!("the server's disk refused it: {error}"))
}

/// Reads the fields of `texts`, and the files that lie in them as `data:` URLs.
async fn finish(
    jobs: &Jobs,
    texts: Vec<(String, Piece)>,
    (image, audio): Files,
    read: impl FnOnce(Vec<(String, Piece)>) -> Result<(Fields, Files), Refusal> + Send + 'static,
) -> Result<Sent, Answer> {
    let is_long = |(_, text): &(String, Piece)| matches!(text, Piece::Long(_));
    let is_heavy = image.is_some() || audio.is_some() || texts.iter().any(is_long);
    let heavy = match is_heavy {
        true => Some(HEAVY.acquire().await.expect("never closed")),
        false => None,
    };
    let jobs = jobs.clone();
    blocking(move || {
        let (fields, (own_image, own_audio)) = read(texts)?;
        let hash = hash(&fields);
        let mut asked = Asked::of(fields)?;
        let image = one_of(
            &jobs,
            "input_reference",
            image.or(own_image),
            asked.image_url.take(),
        )?;
        let audio = one_of(
            &jobs,
            "audio_reference",
            audio.or(own_audio),
            asked.audio_url.take(),
        )?;
        Ok(Sent {
            asked,
            image,
            audio,
            fields: hash,
            heavy,
        })
    })
    .await
}

fn hash(fields: &Fields) -> String {
    let mut hasher = Sha256::new();
    let mut add = |text: &str| {
        hasher.update(text.len().to_le_bytes());
        hasher.update(text);
    };
    for (name, value) in fields {
        add(name);
        match value {
            Given::Text(text) | Given::Json(Value::String(text)) => add(text),
            Given::Json(value) => add(&value.to_string()),
        }
    }
    let hash = hasher.finalize();
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn one_of(
    jobs: &Jobs,
    name: &str,
    file: Option<Upload>,
    url: Option<String>,
) -> Result<Option<Upload>, Refusal> {
    match (file, url) {
        (Some(_), Some(_)) => Err(Refusal::of(
            Code::InvalidValue,
            name,
            "was given twice, as a file and as a URL",
        )),
        (file, None) => Ok(file),
        (None, Some(url)) => {
            let data = data_url(name, &url)?;
            Ok(Some(store_base64(jobs, name, data)?))
        }
    }
}

/// Writes what base64 stands for to the disk.
pub(super) fn store_base64(jobs: &Jobs, name: &str, data: &str) -> Result<Upload, Refusal> {
    let invalid = |e| Refusal::of(Code::InvalidValue, name, format!("is no base64: {e}"));
    let bytes = BASE64.decode(data.trim()).map_err(invalid)?;
    let (upload, mut file) = jobs.upload()?;
    file.write_all(&bytes).map_err(|e| disk(&e))?;
    Ok(upload)
}

/// The base64 in a `data:` URL.
pub(super) fn data_url<'a>(name: &str, url: &'a str) -> Result<&'a str, Refusal> {
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
