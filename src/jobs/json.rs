//! JSON of a stranger: strings may be long in it, and nothing else.

use serde_json::Value;

/// Most values in one text: far more than a request has, far fewer than would fill the memory, where a value takes
/// many times the two bytes that it has here.
const VALUES_MAX: usize = 10_000;

/// Reads JSON.
///
/// # Errors
/// What is wrong with it.
pub fn parse_json(text: &[u8]) -> Result<Value, String> {
    let (mut values, mut in_text, mut is_escaped) = (0, false, false);
    for byte in text {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = in_text,
            b'"' => in_text = !in_text,
            b',' | b'[' | b'{' if !in_text => values += 1,
            _ => {}
        }
    }
    if values > VALUES_MAX {
        return Err(format!("it has more than {VALUES_MAX} values"));
    }
    serde_json::from_slice(text).map_err(|e| e.to_string())
}

/// How many arrays and objects are around the innermost value.
pub(super) fn depth(value: &Value) -> usize {
    let inner = match value {
        Value::Array(values) => values.iter().map(depth).max(),
        Value::Object(members) => members.values().map(depth).max(),
        _ => return 0,
    };
    1 + inner.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_and_strings_are_not() {
        let many = |count: usize| format!("[{}0]", "0,".repeat(count));
        assert!(parse_json(many(VALUES_MAX - 1).as_bytes()).is_ok());
        let refused = parse_json(many(VALUES_MAX).as_bytes()).unwrap_err();
        assert!(refused.contains("values"), "{refused}");
        let text = format!(r#"{{"a":"\"{}\\","b":"\\\"["}}"#, ",[{".repeat(VALUES_MAX));
        assert_eq!(parse_json(text.as_bytes()).unwrap()["b"], "\\\"[");
        assert!(parse_json(b"{").is_err() && parse_json(b"\xff").is_err());
        let nested = parse_json(br#"{"a":[[],[{}]],"b":1}"#).unwrap();
        assert_eq!((depth(&nested), depth(&Value::Null)), (4, 0));
    }
}
