//! Output to the user: results, notices, errors.

use std::{
    io::{self, ErrorKind, Write},
    process::exit,
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::stdio::{stderr, stdout};
use serde_json::{Value, json};

use super::words;
use crate::{Error, Result};

/// Whether standard output has an answer.
static HAS_ANSWERED: AtomicBool = AtomicBool::new(false);

/// Whether a failure is an answer too.
static ANSWERS_FAILURES: AtomicBool = AtomicBool::new(false);

/// Has failures printed to standard output, as JSON.
pub(super) fn answer_failures() {
    ANSWERS_FAILURES.store(true, Ordering::Relaxed);
}

/// Whether a failure is to be printed: if wanted, and if standard output has no answer, which says so too.
fn owes_answer() -> bool {
    ANSWERS_FAILURES.load(Ordering::Relaxed) && !HAS_ANSWERED.load(Ordering::Relaxed)
}

/// Writes `text`, the answer or its last part, to standard output. A reader that stops early (`| head`) is no error.
pub(super) fn print(text: &str) -> Result<()> {
    HAS_ANSWERED.store(true, Ordering::Relaxed);
    write_out(text)
}

fn write_out(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match written {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(Error::output_io("standard output", e)),
        _ => Ok(()),
    }
}

/// Writes one JSON document to standard output.
pub(super) fn print_json(value: &Value) -> Result<()> {
    print(&format!("{value:#}\n"))
}

/// Writes one JSON document of several as a line to standard output: a failure would have one too.
pub(super) fn print_json_line(value: &Value) -> Result<()> {
    write_out(&format!("{value}\n"))
}

/// Writes why a command failed as one line of JSON to standard output, if that is owed. Nothing can be done if that
/// fails.
pub(super) fn print_failure((exit_code, code): (i32, &str), message: &str) {
    if owes_answer() {
        drop(print_json_line(&json!({
            "status": "failed",
            "error": { "code": code, "exit_code": exit_code, "message": message },
        })));
    }
}

/// Ends the program because the system refused `bytes` of memory; allocates nothing. What the run was writing has no
/// name yet, and the next run removes it.
pub fn exit_out_of_memory(bytes: usize) -> ! {
    const EXIT_CODE: i32 = 5;
    let write = |to, [head, tail]: [&str; 2]| {
        let mut text = [0; 512];
        let mut rest = &mut text[..];
        let written = writeln!(
            rest,
            "{head}memory has run out: {bytes} bytes more were refused; free some, raise its limit (`ulimit -v`, \
             that of the container), or ask for a smaller clip{tail}"
        );
        let free = rest.len();
        drop(written.map(|()| rustix::io::write(to, &text[..text.len() - free])));
    };
    if owes_answer() {
        let head =
            r#"{"status":"failed","error":{"code":"out_of_memory","exit_code":5,"message":""#;
        write(stdout(), [head, r#""}}"#]);
    }
    write(stderr(), ["error: ", ""]);
    exit(EXIT_CODE)
}

/// Writes an answer as JSON or as text.
pub(super) fn answer(
    as_json: bool,
    json: impl FnOnce() -> Value,
    text: impl FnOnce() -> String,
) -> Result<()> {
    if as_json {
        return print_json(&json());
    }
    print(&text())
}

/// The end of a command that checked `total` cases, of which `failed` did not hold.
pub(super) fn verdict(failed: usize, total: usize, problem: &str) -> Result<()> {
    match failed {
        0 => Ok(()),
        _ => Err(Error::Failed {
            problem: format!("{failed} of {total} {problem}"),
        }),
    }
}

/// Writes a line to standard error. Nothing can be done if that fails.
pub(super) fn say(line: &str) {
    drop(writeln!(io::stderr().lock(), "{line}"));
}

/// Writes an error as one line to standard error.
pub(super) fn complain(error: &Error) {
    say(&format!("error: {}", words::error(error)));
}

/// A duration for people: `0.42 s`, `1 min 40 s`.
pub(super) fn human_seconds(seconds: f64) -> String {
    if seconds < 100.0 {
        return format!("{seconds:.2} s");
    }
    let whole = seconds.round() as u64;
    match whole / 3600 {
        0 => format!("{} min {:02} s", whole / 60, whole % 60),
        hours => format!("{hours} h {:02} min", whole % 3600 / 60),
    }
}
