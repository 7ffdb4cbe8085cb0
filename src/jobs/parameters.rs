//! What a job asks for: names and values as a client writes them, read strictly.
//!
//! One table for every door. A name that is not in it is an error that says the nearest one, because a parameter that is
//! silently ignored costs its user hours. Names that other servers document are in `foreign.rs`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    foreign::{ALIASES, GROUPS, WITHOUT_EFFECT, impossible},
    json::parse_json,
    reader::{Given, Reader},
    refusal::{Code, Refusal},
    warning::Warning,
};
use crate::pipeline::{
    EncodeOptions,
    request::{FPS, Input, Request, Size},
};

/// The largest number of frames per second that makes sense to ask for.
const FPS_MAX: f64 = 120.0;

/// Every parameter, the type of its value in JSON, and what it says.
pub const PARAMETERS: [(&str, &str, &str); 20] = [
    ("prompt", "string", "Content of the clip"),
    (
        "negative_prompt",
        "string",
        "What it should avoid; for models with guidance",
    ),
    (
        "model",
        "string",
        "Another name than the server's is a warning",
    ),
    (
        "size",
        "string",
        "WIDTHxHEIGHT, multiples of 32, or 256p, 540p, 1080p",
    ),
    ("width", "integer", "Pixels; needs `height`"),
    ("height", "integer", "Pixels; needs `width`"),
    (
        "scale",
        "integer",
        "Factor by which decoded frames are enlarged",
    ),
    ("seconds", "number", "Length, up to 10"),
    (
        "num_frames",
        "integer",
        "Length, at 25 frames per second, in place of `seconds`",
    ),
    (
        "seed",
        "integer",
        "Seed of all noise; -1 or none: a random one",
    ),
    ("num_inference_steps", "integer", "Steps of the base pass"),
    ("hold_audio", "boolean", "Keep the voice track as it is"),
    (
        "generate_audio",
        "boolean",
        "false leaves the sound out of the file",
    ),
    ("quality", "integer", "Of the encoded picture, 0 to 10"),
    ("fps", "number", "Clips have 25; another value is a warning"),
    ("encoder", "string", "auto or openh264"),
    (
        "input_reference",
        "string",
        "Picture of the first frame: a file in a form, a data: URL",
    ),
    (
        "audio_reference",
        "string",
        "Voice track: a file in a form, a data: URL",
    ),
    ("metadata", "object", "Given back as it is"),
    ("user", "string", "Given back as it is"),
];

/// What a job asks for.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Parameters {
    /// Content of the clip.
    pub prompt: String,
    /// What it should avoid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub negative_prompt: Option<String>,
    /// The model, as the client calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Size as text: `448x256` or a preset's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// Factor by which decoded frames are enlarged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<usize>,
    /// Length, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Seed of all noise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Steps of the base pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_inference_steps: Option<usize>,
    /// Keep the voice track as it is.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub hold_audio: bool,
    /// Leave the sound out of the file.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_silent: bool,
    /// Quality of the encoded picture, 0 to 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quality: Option<u8>,
    /// The client's own data, given back as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
    /// The client's name for whoever asks, given back as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// What a request gave, read.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Asked {
    /// Values.
    pub parameters: Parameters,
    /// The picture of the first frame, as a URL.
    pub image_url: Option<String>,
    /// The voice track, as a URL.
    pub audio_url: Option<String>,
    /// What was accepted and changes nothing.
    pub warnings: Vec<Warning>,
    width: Option<usize>,
    height: Option<usize>,
    frames: Option<usize>,
}

impl Asked {
    /// Reads the fields of a request, in their order.
    ///
    /// # Errors
    /// For a name that there is not, a value that is none of its kind, and what is impossible here.
    pub fn of(fields: impl IntoIterator<Item = (String, Given)>) -> Result<Self, Refusal> {
        let mut asked = Self::default();
        for (name, value) in fields {
            asked.take(&name, value)?;
        }
        asked.settle()?;
        Ok(asked)
    }

    fn take(&mut self, name: &str, value: Given) -> Result<(), Refusal> {
        if matches!(value, Given::Json(Value::Null)) {
            return Ok(());
        }
        if let Some((outer, inner)) = name.strip_suffix(']').and_then(|name| name.split_once('[')) {
            return self.take_member(name, (outer, inner), value);
        }
        if GROUPS.contains(&name) {
            return self.take_group(name, value);
        }
        let alias = ALIASES.iter().find(|(other, _)| *other == name);
        let own = alias.map_or(name, |(_, own)| own);
        let of = |table: &'static [(&str, &str)]| table.iter().find(|(known, _)| *known == own);
        if let Some(refusal) = impossible(own) {
            // Some clients send every name that they know, and nothing with it.
            return if value.is_empty() {
                Ok(())
            } else {
                Err(refusal)
            };
        }
        if let Some((_, reason)) = of(WITHOUT_EFFECT) {
            self.warn("no_effect", format!("`{name}` {reason}"));
            return Ok(());
        }
        let read = Reader { name, value };
        let to = &mut self.parameters;
        match own {
            "prompt" => to.prompt = read.text()?,
            "negative_prompt" => to.negative_prompt = Some(read.text()?),
            "model" => to.model = Some(read.text()?),
            "user" => to.user = Some(read.text()?),
            "metadata" => to.metadata = Some(read.any()?),
            "size" => to.size = Some(read.text()?),
            "width" => self.width = Some(read.whole()?),
            "height" => self.height = Some(read.whole()?),
            "scale" => to.scale = Some(read.whole()?),
            "seconds" => to.seconds = Some(read.number()?),
            "num_frames" => self.frames = Some(read.whole()?),
            "seed" => to.seed = read.seed()?,
            "num_inference_steps" => to.num_inference_steps = Some(read.whole()?),
            "hold_audio" => to.hold_audio = read.flag()?,
            "generate_audio" => to.is_silent = !read.flag()?,
            "quality" => to.quality = read.quality()?,
            "fps" => {
                let asked = read.number()?;
                if !(1.0..=FPS_MAX).contains(&asked) {
                    let problem = format!("must be 1 to {FPS_MAX}; given {asked}");
                    return Err(Refusal::of(Code::InvalidValue, name, problem));
                }
                if asked != FPS as f64 {
                    self.warn(
                        "fps",
                        format!("{asked} frames per second were asked for; clips have {FPS}"),
                    );
                }
            }
            "encoder" => read.one_of(&["auto", "openh264"])?,
            "n" => read.one_of(&["1"])?,
            "input_reference" => self.image_url = Some(read.url("image_url")?),
            "audio_reference" => self.audio_url = Some(read.url("audio_url")?),
            _ => return Err(unknown(name)),
        }
        Ok(())
    }

    /// A member of an object, as forms name it: `input_reference[image_url]`.
    fn take_member(
        &mut self,
        name: &str,
        (outer, inner): (&str, &str),
        value: Given,
    ) -> Result<(), Refusal> {
        if outer == "metadata" {
            return self.take_metadata(inner, value);
        }
        let is_here = |table: &[(&str, &str)]| table.iter().any(|(name, _)| *name == outer);
        if impossible(outer).is_some() || is_here(WITHOUT_EFFECT) {
            return self.take(outer, value);
        }
        let member = inner.split(']').next().unwrap_or_default();
        let is_url = ["image_url", "audio_url", "url"].contains(&member);
        let name = if is_url || GROUPS.contains(&outer) {
            if is_url { outer } else { inner }
        } else {
            return Err(unknown(name));
        };
        self.take(name, value)
    }

    /// A member of the client's own data, from a form: always a text.
    fn take_metadata(&mut self, member: &str, value: Given) -> Result<(), Refusal> {
        let name = "metadata";
        let text = Reader { name, value }.text()?;
        let mut members = match self.parameters.metadata.take() {
            None => Map::new(),
            Some(Value::Object(members)) => members,
            Some(_) => {
                let problem = "was given as a value and as members";
                return Err(Refusal::of(Code::InvalidValue, name, problem));
            }
        };
        members.insert(member.into(), Value::String(text));
        let value = Given::Json(Value::Object(members));
        self.parameters.metadata = Some(Reader { name, value }.any()?);
        Ok(())
    }

    fn take_group(&mut self, name: &str, value: Given) -> Result<(), Refusal> {
        let members = match value {
            Given::Json(Value::Object(members)) => Some(members),
            Given::Json(_) => None,
            Given::Text(text) => match parse_json(text.as_bytes()) {
                Ok(Value::Object(members)) => Some(members),
                _ => None,
            },
        };
        let problem = || Refusal::of(Code::InvalidValue, name, "must be a JSON object");
        for (inner, value) in members.ok_or_else(problem)? {
            // A group in a group would let a small text nest without end.
            if GROUPS.contains(&inner.as_str()) {
                return Err(unknown(&format!("{name}.{inner}")));
            }
            self.take(&inner, Given::Json(value))?;
        }
        Ok(())
    }

    /// Decides between the ways to say size and length.
    fn settle(&mut self) -> Result<(), Refusal> {
        let to = &mut self.parameters;
        match (self.width, self.height) {
            (None, None) => {}
            (Some(width), Some(height)) => {
                let pixels = format!("{width}x{height}");
                match &to.size {
                    Some(size) if *size != pixels => {
                        let problem = format!("is {pixels} by `width` and `height`; given {size}");
                        return Err(Refusal::of(Code::InvalidSize, "size", problem));
                    }
                    _ => to.size = Some(pixels),
                }
            }
            (width, _) => {
                let (has, lacks) = if width.is_some() {
                    ("width", "height")
                } else {
                    ("height", "width")
                };
                let problem = format!("needs `{lacks}` beside it");
                return Err(Refusal::of(Code::InvalidSize, has, problem));
            }
        }
        if let Some(frames) = self.frames {
            if to.seconds.is_some() {
                self.warn(
                    "no_effect",
                    "`num_frames` has no effect beside `seconds`".into(),
                );
            } else if frames == 0 {
                let problem = "must be at least 1; given 0";
                return Err(Refusal::of(Code::InvalidValue, "num_frames", problem));
            } else {
                to.seconds = Some(frames as f64 / FPS as f64);
            }
        }
        if self.parameters.prompt.trim().is_empty() {
            let problem = "must say what the clip shows; it is missing or empty";
            return Err(Refusal::of(Code::InvalidPrompt, "prompt", problem));
        }
        Ok(())
    }

    /// Adds a warning.
    pub fn warn(&mut self, code: &str, message: String) {
        self.warnings.push(Warning {
            code: code.into(),
            message,
        });
    }
}

impl Parameters {
    /// The request, with the inputs that came with it.
    ///
    /// # Errors
    /// For a size that is none.
    pub(super) fn request(
        &self,
        base: &Request,
        image: Option<Input>,
        audio: Option<Input>,
    ) -> Result<Request, Refusal> {
        let invalid = |problem: String| Refusal::of(Code::InvalidSize, "size", problem);
        let size = self.size.as_deref().map(str::parse::<Size>);
        Ok(Request {
            prompt: self.prompt.clone(),
            negative_prompt: self.negative_prompt.clone(),
            size: size.transpose().map_err(invalid)?,
            scale: self.scale,
            seconds: self.seconds,
            seed: self.seed,
            steps: self.num_inference_steps,
            hold_audio: self.hold_audio,
            image,
            audio,
            ..base.clone()
        })
    }

    /// How the clip is encoded.
    pub(super) fn encode(&self) -> EncodeOptions {
        let usual = EncodeOptions::default();
        EncodeOptions {
            quality: self.quality.unwrap_or(usual.quality),
            is_silent: self.is_silent,
            ..usual
        }
    }
}

fn unknown(name: &str) -> Refusal {
    Refusal::unknown(name, &PARAMETERS.map(|(name, ..)| name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of_json(object: Value) -> Result<Asked, Refusal> {
        let Value::Object(members) = object else {
            panic!("not an object")
        };
        Asked::of(
            members
                .into_iter()
                .map(|(name, value)| (name, Given::Json(value))),
        )
    }

    fn of_form(fields: &[(&str, &str)]) -> Result<Asked, Refusal> {
        let text = |(name, text): &(&str, &str)| ((*name).into(), Given::Text((*text).into()));
        Asked::of(fields.iter().map(text))
    }

    #[test]
    fn a_form_and_json_say_the_same() {
        let form = of_form(&[
            ("prompt", "a ball"),
            ("width", "448"),
            ("height", "256"),
            ("num_frames", "49"),
            ("fps", "25"),
            ("seed", "7"),
            ("generate_sound", "False"),
            ("extra_params", r#"{"steps": 4, "metadata": {"a": 1}}"#),
        ]);
        let json = of_json(json!({
            "prompt": "a ball", "size": "448x256", "seconds": "1.96", "seed": 7, "generate_audio": false,
            "num_inference_steps": 4, "metadata": {"a": 1}, "user": null,
        }));
        assert_eq!(form.unwrap().parameters, json.unwrap().parameters);
    }

    #[test]
    fn names_and_values_that_there_are_not_are_said() {
        let prompt = ("prompt", "a");
        for (name, value, code, words) in [
            ("second", "5", Code::UnknownField, "did you mean `seconds`"),
            ("zzzzzzzz", "5", Code::UnknownField, "there are prompt"),
            ("seconds", "NaN", Code::InvalidValue, "must be a number"),
            ("seconds", "1e999", Code::InvalidValue, "must be a number"),
            ("seed", "-2", Code::InvalidValue, "18446744073709551615"),
            ("seed", "1.5", Code::InvalidValue, "18446744073709551615"),
            ("width", "448", Code::InvalidSize, "needs `height`"),
            ("steps", "1e99", Code::InvalidValue, "a whole number"),
            ("fps", "0", Code::InvalidValue, "must be 1 to 120"),
            ("quality", "11", Code::InvalidValue, "0 to 10"),
            ("num_frames", "0", Code::InvalidValue, "at least 1"),
            ("encoder", "x264", Code::InvalidValue, "auto or openh264"),
            ("n", "2", Code::InvalidValue, "must be 1"),
            (
                "lora",
                r#"{"name":"a"}"#,
                Code::UnsupportedFeature,
                "without LoRA",
            ),
            ("extra_params", "[1]", Code::InvalidValue, "a JSON object"),
            ("extra_body[extra_body]", "{}", Code::InvalidValue, ""),
            (
                "generate_audio",
                "maybe",
                Code::InvalidValue,
                "true or false",
            ),
            ("prompt", " ", Code::InvalidPrompt, "missing or empty"),
        ] {
            let refusal = of_form(&[prompt, (name, value)]);
            if name.contains('[') {
                // One level is taken off; an empty object has nothing to say.
                assert!(refusal.is_ok());
                continue;
            }
            let refusal = refusal.unwrap_err();
            assert_eq!(refusal.code, code, "{name}");
            assert!(refusal.message.contains(words), "{}", refusal.message);
        }
        assert_eq!(of_form(&[]).unwrap_err().code, Code::InvalidPrompt);
        let lora = of_form(&[prompt, ("lora[name]", "a")]).unwrap_err();
        assert_eq!(lora.code, Code::UnsupportedFeature);
        let both = of_json(json!({"prompt": "a", "size": "64x64", "width": 32, "height": 32}));
        assert_eq!(both.unwrap_err().code, Code::InvalidSize);
        let nested = of_json(json!({"prompt": "a", "extra_body": {"extra_params": {}}}));
        assert_eq!(nested.unwrap_err().code, Code::UnknownField);
    }

    #[test]
    fn what_other_servers_can_and_this_cannot_is_said() {
        for name in [
            "input_references",
            "source_video",
            "frame_indices",
            "last_frame",
        ] {
            let refusal = of_form(&[("prompt", "a"), (name, "[1]")]).unwrap_err();
            assert_eq!(refusal.code, Code::UnsupportedFeature, "{name}");
            let start = format!("`{name}` is not possible: the model takes");
            assert!(refusal.message.starts_with(&start), "{}", refusal.message);
            let refusal = of_json(json!({"prompt": "a", "extra_body": {name: [{"a": 1}]}}));
            assert_eq!(
                refusal.unwrap_err().code,
                Code::UnsupportedFeature,
                "{name}"
            );
            let member = format!("{name}[0]");
            let refusal = of_form(&[("prompt", "a"), (&member, "x")]).unwrap_err();
            assert_eq!(refusal.code, Code::UnsupportedFeature, "{name}");
            for nothing in [json!(null), json!([]), json!(""), json!({})] {
                let asked = of_json(json!({"prompt": "a", name: nothing})).unwrap();
                assert_eq!(asked.warnings, [], "{name}");
            }
            assert!(of_form(&[("prompt", "a"), (name, "[]")]).is_ok(), "{name}");
        }
    }

    #[test]
    fn names_of_other_servers_give_a_warning() {
        let asked = of_form(&[
            ("prompt", "a"),
            ("guidance_scale_2", "4.0"),
            ("cfg_scale", "5"),
            ("fps", "24"),
            ("seconds", "4"),
            ("num_frames", "96"),
        ]);
        let asked = asked.unwrap();
        let said: Vec<&str> = asked.warnings.iter().map(|w| w.message.as_str()).collect();
        assert_eq!(said.len(), 4, "{said:?}");
        assert!(said[1].starts_with("`cfg_scale` has no effect"), "{said:?}");
        assert_eq!(asked.parameters.seconds, Some(4.0));
    }

    #[test]
    fn data_of_the_client_is_kept_as_it_is_or_refused() {
        let of = |value: Value| of_json(json!({"prompt": "a", "metadata": value}));
        let nested = |levels| (0..levels).fold(json!(1), |value, _| json!([value]));
        let kept = of(nested(16)).unwrap().parameters.metadata;
        assert_eq!(kept, Some(nested(16)));
        for value in [
            nested(17),
            json!("x".repeat(64 << 10)),
            json!(vec![0; 40_000]),
        ] {
            assert_eq!(of(value).unwrap_err().code, Code::InvalidValue);
        }
        let text = |text: &str| of_form(&[("prompt", "a"), ("metadata", text)]);
        let kept = |given| text(given).unwrap().parameters.metadata;
        assert_eq!(kept("{\"a\":1}"), Some(json!({"a": 1})));
        assert_eq!(kept("{a"), Some(json!("{a")));
        assert!(text(&"[".repeat(100_000)).is_err());
        // A form names the members one by one.
        let form = of_form(&[("prompt", "a"), ("metadata[a]", "1"), ("metadata[b]", "x")]);
        let kept = form.unwrap().parameters.metadata;
        assert_eq!(kept, Some(json!({"a": "1", "b": "x"})));
        let long = "x".repeat(40_000);
        let form = of_form(&[
            ("prompt", "a"),
            ("metadata[a]", &long),
            ("metadata[b]", &long),
        ]);
        assert_eq!(form.unwrap_err().code, Code::InvalidValue);
    }

    #[test]
    fn tables_name_each_thing_once() {
        let names = |table: &[(&'static str, &str)]| table.iter().map(|(name, _)| *name).collect();
        let all: Vec<Vec<&str>> = vec![names(ALIASES), names(WITHOUT_EFFECT), GROUPS.to_vec()];
        let mut all = all.concat();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
        assert!(all.iter().all(|name| impossible(name).is_none()));
    }

    #[test]
    fn urls_are_found_in_every_form_of_them() {
        let url = "data:image/png;base64,AAAA";
        for value in [
            json!(url),
            json!({"image_url": url}),
            json!({"url": url}),
            json!({"image_url": {"url": url}}),
        ] {
            let as_text = value.to_string();
            let json = of_json(json!({"prompt": "a", "input_reference": value})).unwrap();
            assert_eq!(json.image_url.as_deref(), Some(url));
            if value.is_object() {
                let form = of_form(&[("prompt", "a"), ("image_reference", &as_text)]).unwrap();
                assert_eq!(form.image_url.as_deref(), Some(url));
            }
        }
        let npm = of_form(&[("prompt", "a"), ("input_reference[image_url]", url)]).unwrap();
        assert_eq!(npm.image_url.as_deref(), Some(url));
        let none = of_json(json!({"prompt": "a", "input_reference": {"file_id": "x"}}));
        assert!(none.unwrap_err().message.contains("an object with"));
    }
}
