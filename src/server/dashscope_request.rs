//! A request as DashScope's clients send it, read as one for a job.

use serde_json::{Map, Value};

use super::{
    body::{self, Files},
    fields::Fields,
    state::Shared,
};
use crate::{
    jobs::{Code, Given, Refusal, Upload, impossible},
    pipeline::request::SECONDS_MAX,
};

/// Names that the service's own client adds to every request.
const ADDED: [&str; 3] = ["extend_prompt", "function", "template"];
/// Names in `input`, and the parameters that they are.
const INPUT: [(&str, &str); 7] = [
    ("prompt", "prompt"),
    ("negative_prompt", "negative_prompt"),
    ("img_url", IMAGE),
    ("first_frame_url", IMAGE),
    ("head_frame", IMAGE),
    ("audio_url", AUDIO),
    ("media", "media"),
];
/// Names in `parameters`, and the parameters that they are.
const PARAMETERS: [(&str, &str); 9] = [
    ("resolution", "resolution"),
    ("ratio", "ratio"),
    ("size", "size"),
    ("duration", "duration"),
    ("seed", "seed"),
    ("audio", "generate_audio"),
    ("watermark", "watermark"),
    ("prompt_extend", "prompt_extend"),
    ("shot_type", "shot_type"),
];
const IMAGE: &str = "input_reference";
const AUDIO: &str = "audio_reference";

/// The parameters of a job and its files, from what this door calls them.
///
/// # Errors
/// For a name that there is not, a value that is none of its kind, and a file that cannot be had.
pub(super) fn read(
    members: Map<String, Value>,
    shared: &Shared,
) -> Result<(body::Fields, Files), Refusal> {
    let mut fields = Fields::default();
    for (group, value) in members {
        match (group.as_str(), value) {
            // It selects nothing, since there is one model; the job keeps it.
            ("model", value) => fields.put("model", "model", value)?,
            ("input", Value::Object(members)) => take_input(&mut fields, members)?,
            ("parameters", Value::Object(members)) => take_parameters(&mut fields, members)?,
            ("input" | "parameters", _) => {
                let problem = "must be an object";
                return Err(Refusal::of(Code::InvalidValue, &group, problem));
            }
            _ => return Err(Refusal::unknown(&group, &["model", "input", "parameters"])),
        }
    }
    let image = take_file(shared, &mut fields, IMAGE)?;
    let audio = take_file(shared, &mut fields, AUDIO)?;
    let fields = fields.finish(shared.site.defaults)?;
    let json = |(name, value)| (name, Given::Json(value));
    Ok((fields.into_iter().map(json).collect(), (image, audio)))
}

/// The parameter that `name` is in one of the tables.
fn own_name(
    table: &'static [(&'static str, &'static str)],
    name: &str,
) -> Result<&'static str, Refusal> {
    let known = table.iter().find(|(theirs, _)| *theirs == name);
    let otherwise = || {
        let names: Vec<&str> = table.iter().map(|(theirs, _)| *theirs).collect();
        impossible(name).unwrap_or_else(|| Refusal::unknown(name, &names))
    };
    known.map(|(_, own)| *own).ok_or_else(otherwise)
}

fn take_input(fields: &mut Fields, members: Map<String, Value>) -> Result<(), Refusal> {
    for (name, value) in members {
        if ADDED.contains(&name.as_str()) || value.is_null() {
            continue;
        }
        match own_name(&INPUT, &name)? {
            "media" => take_media(fields, value)?,
            own @ (IMAGE | AUDIO) => fields.put(&name, own, file_of(&name, value)?)?,
            own => fields.put(&name, own, value)?,
        }
    }
    Ok(())
}

fn take_parameters(fields: &mut Fields, members: Map<String, Value>) -> Result<(), Refusal> {
    for (name, value) in members {
        match (own_name(&PARAMETERS, &name)?, value) {
            ("resolution", value) => fields.put_resolution(&name, value),
            ("ratio", value) => fields.put_ratio(&name, value),
            ("size", Value::String(size)) => {
                fields.put(&name, "size", size.replace('*', "x").into())?;
            }
            ("duration", value) if is_too_long(&value) => {
                // Elsewhere it becomes the longest, with a warning; here nobody would see that.
                let problem = format!("must be at most {SECONDS_MAX}; given {value}");
                return Err(Refusal::of(Code::InvalidValue, &name, problem));
            }
            (own, value) => fields.put(&name, own, value)?,
        }
    }
    Ok(())
}

fn is_too_long(duration: &Value) -> bool {
    let text = duration.as_str().map(str::trim);
    let seconds = text.map_or_else(|| duration.as_f64(), |text| text.parse().ok());
    seconds.is_some_and(|seconds| seconds > SECONDS_MAX)
}

/// The inputs of a `media` list.
fn take_media(fields: &mut Fields, list: Value) -> Result<(), Refusal> {
    let invalid = |problem: String| Refusal::of(Code::InvalidValue, "media", problem);
    let no_list = || invalid("must be a list of objects with `type` and `url`".into());
    let Value::Array(list) = list else {
        return Err(no_list());
    };
    for one in list {
        let Value::Object(members) = one else {
            return Err(no_list());
        };
        let kind = members.get("type").and_then(Value::as_str);
        let kind: String = kind.unwrap_or_default().chars().take(40).collect();
        let own = match kind.as_str() {
            "first_frame" => IMAGE,
            "driving_audio" => AUDIO,
            _ => {
                let problem = format!(
                    "takes first_frame and driving_audio, not `{kind}`: the model has no other inputs"
                );
                return Err(invalid(problem));
            }
        };
        let further = members
            .iter()
            .find(|(name, value)| !["type", "url"].contains(&name.as_str()) && !value.is_null());
        if let Some((name, _)) = further {
            return Err(Refusal::unknown(name, &["type", "url"]));
        }
        let url = members.get("url").cloned().unwrap_or_default();
        fields.put("media", own, file_of("media", url)?)?;
    }
    Ok(())
}

/// A file as text, with the name that it was given by.
fn file_of(given: &str, value: Value) -> Result<Value, Refusal> {
    match value {
        Value::String(url) => Ok(Value::Array(vec![given.into(), url.into()])),
        _ => {
            let problem = "must have a URL as text";
            Err(Refusal::of(Code::InvalidValue, given, problem))
        }
    }
}

/// The file that a field names: uploaded before, in a `data:` URL, or as base64 without one.
fn take_file(
    shared: &Shared,
    fields: &mut Fields,
    own: &'static str,
) -> Result<Option<Upload>, Refusal> {
    let Some(Value::Array(pair)) = fields.take(own) else {
        return Ok(None);
    };
    let [Value::String(given), Value::String(url)] = &pair[..] else {
        return Ok(None);
    };
    if url.starts_with("oss://") {
        return shared.uploads.copy(&shared.jobs, given, url).map(Some);
    }
    if url.contains(':') {
        let data = body::data_url(given, url)?;
        return body::store_base64(&shared.jobs, given, data).map(Some);
    }
    let stored = body::store_base64(&shared.jobs, given, url);
    let no_file = |refusal: Refusal| match refusal.code {
        Code::InvalidValue => {
            let shown: String = url.chars().take(60).collect();
            let problem = format!(
                "is not a URL: {shown}; it must be a data: URL, base64, or a file that was uploaded here"
            );
            Refusal::of(Code::InvalidValue, given, problem)
        }
        _ => refusal,
    };
    stored.map(Some).map_err(no_file)
}
