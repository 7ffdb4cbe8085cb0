//! Tokens of kernel sources, and the structures of a header that may be passed by value.
//!
//! `build.rs` includes this file for `signature.rs`.

/// A word, a number or a mark, and its line.
pub(crate) type Token<'a> = (&'a str, usize);

/// Splits the text, leaving out comments and preprocessor lines.
pub(crate) fn tokenise(text: &str) -> Result<Vec<Token<'_>>, String> {
    let mut tokens = Vec::new();
    let (mut rest, mut line, mut line_start) = (text, 1, true);
    while let Some(first) = rest.chars().next() {
        let length = if first == '\n' {
            (line, line_start) = (line + 1, true);
            rest = &rest[1..];
            continue;
        } else if first.is_whitespace() {
            rest = &rest[first.len_utf8()..];
            continue;
        } else if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/")
                .ok_or(format!("line {line}: a comment that does not end"))?
                + 2
        } else if first == '#' && line_start {
            directive(rest)
        } else if first == '"' {
            string(rest).ok_or(format!("line {line}: a string that does not end"))?
        } else {
            let word = |c: char| c.is_alphanumeric() || c == '_';
            let end = rest.find(|c| !word(c)).unwrap_or(rest.len());
            let length = if end == 0 { first.len_utf8() } else { end };
            tokens.push((&rest[..length], line));
            length
        };
        if first == '#' && rest[..length].contains("K_KERNEL") {
            return Err(format!(
                "line {line}: kernels made by a macro cannot be read; write each one out"
            ));
        }
        line += rest[..length].matches('\n').count();
        line_start = false;
        rest = &rest[length..];
    }
    Ok(tokens)
}

/// Length of a preprocessor line with its continuations.
fn directive(text: &str) -> usize {
    let mut from = 0;
    while let Some(end) = text[from..].find('\n').map(|n| from + n) {
        if !text[..end].trim_end_matches('\r').ends_with('\\') {
            return end;
        }
        from = end + 1;
    }
    text.len()
}

/// Length of the string literal at the start of `text`.
fn string(text: &str) -> Option<usize> {
    let mut escaped = false;
    let end = text.char_indices().skip(1).find(|&(_, c)| {
        let closes = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        closes
    });
    end.map(|(at, _)| at + 1)
}

/// The structures of a header that hold only ints, floats and one another, and so may be passed by value.
pub(crate) fn structures(text: &str) -> Vec<String> {
    let tokens = tokenise(text).unwrap_or_default();
    let words: Vec<&str> = tokens.iter().map(|&(word, _)| word).collect();
    let mut found: Vec<String> = Vec::new();
    for body in words.split(|&word| word == "struct").skip(1) {
        let Some(open) = body.iter().position(|&word| word == "{") else {
            continue;
        };
        let fields = body[open + 1..].split(|&word| word == ";");
        let mut fields = fields.take_while(|field| field.first() != Some(&"}"));
        let plain = |field: &[&str]| {
            let (of, rest) = field.split_first().unwrap_or((&"", &[]));
            let known = ["int", "float"].contains(of) || found.iter().any(|s| s == of);
            known && !rest.contains(&"*")
        };
        if open > 0 && fields.all(plain) {
            found.push(body[open - 1].into());
        }
    }
    found
}
