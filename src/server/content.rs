//! The bytes of a finished clip: whole, a range of them, or that a client has them already.

use std::{io::SeekFrom, path::Path};

use axum::{
    body::{Body, Bytes},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{
            ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
            IF_NONE_MATCH, IF_RANGE, RANGE,
        },
    },
    response::{IntoResponse, Response},
};
use futures_util::stream;
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncSeekExt},
};

/// Bytes that are read and sent at once.
const PIECE: usize = 256 << 10;

/// Answers with the file at `path`, whose hash is `tag`.
pub(super) async fn send(
    path: &Path,
    tag: &str,
    kind: &'static str,
    asked: &HeaderMap,
) -> std::io::Result<Response> {
    let mut file = File::open(path).await?;
    let length = file.metadata().await?.len();
    let tag = format!("\"{tag}\"");
    let text = |name| {
        asked
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("private, max-age=0, must-revalidate"),
    );
    headers.insert(
        ETAG,
        HeaderValue::from_str(&tag).expect("hexadecimal digits in quotes"),
    );
    if text(IF_NONE_MATCH).is_some_and(|tags| matches(tags, &tag)) {
        return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    // A range of another version than the client's would not fit what it has.
    let is_same = text(IF_RANGE).is_none_or(|other| other == tag);
    let range = text(RANGE)
        .filter(|_| is_same)
        .and_then(|range| parse(range, length));
    let (status, first, count) = match range {
        None => (StatusCode::OK, 0, length),
        Some(None) => {
            let all = HeaderValue::from_str(&format!("bytes */{length}")).expect("digits");
            headers.insert(CONTENT_RANGE, all);
            headers.remove(CONTENT_TYPE);
            return Ok((StatusCode::RANGE_NOT_SATISFIABLE, headers).into_response());
        }
        Some(Some((first, last))) => {
            let range = format!("bytes {first}-{last}/{length}");
            headers.insert(
                CONTENT_RANGE,
                HeaderValue::from_str(&range).expect("digits"),
            );
            (StatusCode::PARTIAL_CONTENT, first, last - first + 1)
        }
    };
    headers.insert(CONTENT_LENGTH, HeaderValue::from(count));
    file.seek(SeekFrom::Start(first)).await?;
    Ok((status, headers, body(file, count)).into_response())
}

/// The next `count` bytes of a file.
fn body(file: File, count: u64) -> Body {
    Body::from_stream(stream::try_unfold(
        (file, count),
        |(mut file, left)| async move {
            if left == 0 {
                return Ok::<_, std::io::Error>(None);
            }
            let mut piece = vec![0; PIECE.min(usize::try_from(left).unwrap_or(PIECE))];
            let read = file.read(&mut piece).await?;
            if read == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            piece.truncate(read);
            Ok(Some((Bytes::from(piece), (file, left - read as u64))))
        },
    ))
}

/// Whether `tag` is among those of an `If-None-Match`.
fn matches(tags: &str, tag: &str) -> bool {
    let mut tags = tags.split(',').map(str::trim);
    tags.any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}

/// First and last byte of a `Range`. `None` for what is none, or several, which are answered with the whole file;
/// `Some(None)` for a range that lies behind the end.
fn parse(range: &str, length: u64) -> Option<Option<(u64, u64)>> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let number = |text: &str| -> Option<u64> {
        let is_number = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
        // More digits than a length has are behind the end.
        is_number.then(|| text.parse().unwrap_or(u64::MAX))
    };
    let (first, last) = (first.trim(), last.trim());
    let (first, last) = match (first, last) {
        ("", last) => {
            let count = number(last)?;
            if count == 0 {
                return Some(None);
            }
            (length.saturating_sub(count), length.saturating_sub(1))
        }
        (first, "") => (number(first)?, length.saturating_sub(1)),
        (first, last) => (number(first)?, number(last)?.min(length.saturating_sub(1))),
    };
    if first >= length {
        return Some(None);
    }
    (first <= last).then_some(Some((first, last)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_clients_write_them() {
        for (range, expected) in [
            ("bytes=0-0", Some(Some((0, 0)))),
            ("bytes=0-", Some(Some((0, 99)))),
            ("bytes=10-19", Some(Some((10, 19)))),
            ("bytes=90-1000", Some(Some((90, 99)))),
            ("bytes=-10", Some(Some((90, 99)))),
            ("bytes=-1000", Some(Some((0, 99)))),
            ("bytes=100-", Some(None)),
            ("bytes=100-101", Some(None)),
            ("bytes=-0", Some(None)),
            ("bytes=99999999999999999999999-", Some(None)),
            ("bytes=5-4", None),
            ("bytes=0-1,3-4", None),
            ("bytes=a-b", None),
            ("bytes=-", None),
            ("items=0-1", None),
            ("", None),
        ] {
            assert_eq!(parse(range, 100), expected, "{range}");
        }
        assert_eq!(parse("bytes=0-", 0), Some(None));
        assert!(matches("\"a\", W/\"b\"", "\"b\"") && matches("*", "\"a\""));
        assert!(!matches("\"ab\"", "\"b\""));
    }
}
