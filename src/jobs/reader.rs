//! One value of a request, from a form or from JSON, read as what it must be.

use serde_json::Value;

use super::{
    json::{depth, parse_json},
    refusal::{Code, Refusal},
};

/// The longest text of one parameter, bytes: far more than any prompt.
const TEXT_MAX: usize = 1 << 20;
/// The largest data of a client's own, bytes of JSON, and the deepest: the record of a job must be read again.
const METADATA_MAX: (usize, usize) = (64 << 10, 16);

/// A value as it came.
#[derive(Clone, PartialEq, Debug)]
pub enum Given {
    /// In a form, where everything is text.
    Text(String),
    /// In JSON.
    Json(Value),
}

impl Given {
    /// Whether nothing is said by it.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Text(text) => ["", "[]", "{}", "null"].contains(&text.trim()),
            Self::Json(Value::String(text)) => text.is_empty(),
            Self::Json(Value::Array(values)) => values.is_empty(),
            Self::Json(Value::Object(members)) => members.is_empty(),
            Self::Json(value) => value.is_null(),
        }
    }
}

/// One value, and the name that it was given.
pub(super) struct Reader<'a> {
    pub(super) name: &'a str,
    pub(super) value: Given,
}

impl Reader<'_> {
    pub(super) fn refuse(&self, expected: &str) -> Refusal {
        let text = match &self.value {
            Given::Text(text) => text.clone(),
            Given::Json(value) => value.to_string(),
        };
        let shown: String = text.chars().take(80).collect();
        let code = match self.name {
            "prompt" | "negative_prompt" => Code::InvalidPrompt,
            "size" | "width" | "height" => Code::InvalidSize,
            _ => Code::InvalidValue,
        };
        Refusal::of(
            code,
            self.name,
            format!("must be {expected}; given {shown}"),
        )
    }

    pub(super) fn text(self) -> Result<String, Refusal> {
        let text = match &self.value {
            Given::Text(text) | Given::Json(Value::String(text)) => text,
            Given::Json(_) => return Err(self.refuse("a text")),
        };
        if text.len() > TEXT_MAX {
            let problem = format!("is longer than {TEXT_MAX} bytes");
            return Err(Refusal::of(Code::InvalidValue, self.name, problem));
        }
        if text.contains('\0') {
            return Err(Refusal::of(
                Code::InvalidValue,
                self.name,
                "must be a text without NUL characters",
            ));
        }
        Ok(text.clone())
    }

    /// The client's own data; a text that is no JSON is a text.
    pub(super) fn any(self) -> Result<Value, Refusal> {
        let (bytes, levels) = METADATA_MAX;
        let value = match self.value {
            Given::Json(value) => value,
            Given::Text(text) => {
                parse_json(text.as_bytes()).unwrap_or_else(|_| Value::String(text))
            }
        };
        if depth(&value) > levels || value.to_string().len() > bytes {
            let problem = format!("must have at most {bytes} bytes and {levels} levels");
            return Err(Refusal::of(Code::InvalidValue, self.name, problem));
        }
        Ok(value)
    }

    /// The value as the text of a number, if it can be one.
    fn digits(&self) -> Option<String> {
        match &self.value {
            Given::Text(text) | Given::Json(Value::String(text)) => Some(text.trim().into()),
            Given::Json(Value::Number(number)) => Some(number.to_string()),
            Given::Json(_) => None,
        }
    }

    pub(super) fn number(self) -> Result<f64, Refusal> {
        let number = self.digits().and_then(|text| text.parse::<f64>().ok());
        let number = number.filter(|number| number.is_finite());
        number.ok_or_else(|| self.refuse("a number"))
    }

    pub(super) fn whole(self) -> Result<usize, Refusal> {
        /// More than any size, length or number of steps.
        const MOST: f64 = 1e6;
        let digits = self.digits();
        let number = digits.and_then(|text| text.parse::<f64>().ok());
        let number = number.filter(|n| n.fract() == 0.0 && (0.0..=MOST).contains(n));
        let whole = number.map(|number| number as usize);
        whole.ok_or_else(|| self.refuse("a whole number"))
    }

    /// `None` for -1, a random one.
    pub(super) fn seed(self) -> Result<Option<u64>, Refusal> {
        let digits = self.digits();
        if digits.as_deref() == Some("-1") {
            return Ok(None);
        }
        let number = digits.and_then(|text| text.parse().ok());
        let expected = "0 to 18446744073709551615, or -1 for a random one";
        number.map(Some).ok_or_else(|| self.refuse(expected))
    }

    pub(super) fn flag(self) -> Result<bool, Refusal> {
        let text = match &self.value {
            Given::Json(Value::Bool(flag)) => return Ok(*flag),
            Given::Json(value) => value.to_string(),
            Given::Text(text) => text.clone(),
        };
        match text.trim_matches('"').to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err(self.refuse("true or false")),
        }
    }

    /// 0 to 10, or a word by which other servers mean their usual one.
    pub(super) fn quality(self) -> Result<Option<u8>, Refusal> {
        let text = self.digits().unwrap_or_default();
        if ["auto", "default", "standard"].contains(&text.as_str()) {
            return Ok(None);
        }
        let number = text.parse().ok().filter(|quality| *quality <= 10);
        number.map(Some).ok_or_else(|| self.refuse("0 to 10"))
    }

    pub(super) fn one_of(self, known: &[&str]) -> Result<(), Refusal> {
        match self.digits() {
            Some(text) if known.contains(&text.as_str()) => Ok(()),
            _ => Err(self.refuse(&known.join(" or "))),
        }
    }

    /// A URL alone, or an object that has one as `member`; in a form as JSON text.
    pub(super) fn url(self, member: &str) -> Result<String, Refusal> {
        let value = match &self.value {
            Given::Text(text) if text.trim_start().starts_with('{') => {
                let parsed = parse_json(text.as_bytes());
                parsed.map_err(|_| self.refuse("a file, a URL or a JSON object with one"))?
            }
            Given::Text(text) => Value::String(text.clone()),
            Given::Json(value) => value.clone(),
        };
        let url = match &value {
            Value::String(url) => Some(url),
            Value::Object(members) => {
                let url = members.get(member).or_else(|| members.get("url"));
                match url {
                    Some(Value::String(url)) => Some(url),
                    // As chat messages have it.
                    Some(Value::Object(inner)) => match inner.get("url") {
                        Some(Value::String(url)) => Some(url),
                        _ => None,
                    },
                    _ => None,
                }
            }
            _ => None,
        };
        let expected = format!("a file, a URL or an object with `{member}`");
        url.cloned().ok_or_else(|| self.refuse(&expected))
    }
}
