//! The words of the miniature's prompts, and which words of a prompt are none of them.

/// Words in lower case, one a line, the longest first; `world vocabulary` writes them.
const KNOWN: &str = include_str!("words.txt");

/// The words of `prompt` that the miniature was not trained on, in lower case, each once.
pub fn unknown(prompt: &str) -> Vec<String> {
    let lower = prompt.to_lowercase();
    let pieces = lower.split(|c: char| !c.is_alphanumeric() && c != '\'');
    let mut unknown: Vec<String> = Vec::new();
    for piece in pieces {
        let rest = if !is_spaced(piece) {
            // Words stand side by side: what remains when the known ones are taken out, the longest first.
            let known = KNOWN.lines().filter(|word| !is_spaced(word));
            known.fold(piece.to_string(), |rest, word| rest.replace(word, " "))
        } else if KNOWN.lines().any(|word| word == piece) {
            continue;
        } else {
            piece.to_string()
        };
        for word in rest.split_whitespace() {
            if !unknown.iter().any(|other| other == word) {
                unknown.push(word.to_string());
            }
        }
    }
    unknown
}

/// Whether a word is of a script that puts spaces between words: Latin letters and digits.
fn is_spaced(word: &str) -> bool {
    word.chars().all(|c| (c as u32) < 0x250 || c == '\'')
}
