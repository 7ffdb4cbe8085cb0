//! The text that a clip says about itself, as iTunes and ffmpeg lay it down: `udta`, `meta`, `ilst`. No times.

use crate::media::clip::Tags;

use super::boxes::{full_box, put, u32_be, words};

impl Tags {
    /// Those with a text: ffmpeg's name, the box's name, the text.
    pub(super) fn list(&self) -> impl Iterator<Item = (&'static str, &'static [u8; 4], &str)> {
        let all: [(_, &[u8; 4], &str); 3] = [
            ("encoding_tool", b"\xa9too", &self.tool),
            ("comment", b"\xa9cmt", &self.comment),
            ("description", b"desc", &self.description),
        ];
        all.into_iter().filter(|(_, _, text)| !text.is_empty())
    }

    /// Appends the box `udta`, if there is something to say.
    pub(super) fn write(&self, b: &mut Vec<u8>) {
        if self.list().next().is_none() {
            return;
        }
        put(b, b"udta", |b| {
            full_box(b, b"meta", 0, 0, |b| {
                full_box(b, b"hdlr", 0, 0, |b| {
                    u32_be(b, 0);
                    b.extend(b"mdirappl");
                    // reserved, and a name of no letters
                    b.extend([0; 9]);
                });
                put(b, b"ilst", |b| {
                    for (_, name, text) in self.list() {
                        put(b, name, |b| {
                            put(b, b"data", |b| {
                                // kind UTF-8, no language
                                words(b, [1, 0]);
                                b.extend(text.as_bytes());
                            });
                        });
                    }
                });
            });
        });
    }

    /// The same for ffmpeg's demuxer `ffmetadata`, whose texts end at a NUL.
    pub(super) fn for_ffmpeg(&self) -> String {
        let mut file = String::from(";FFMETADATA1\n");
        for (key, _, text) in self.list() {
            file.push_str(key);
            file.push('=');
            for letter in text.chars() {
                if matches!(letter, '=' | ';' | '#' | '\\' | '\n') {
                    file.push('\\');
                }
                file.push(if letter == '\0' { ' ' } else { letter });
            }
            file.push('\n');
        }
        file
    }
}
