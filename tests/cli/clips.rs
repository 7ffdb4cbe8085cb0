//! Which clips a run makes: prompts from files, pipes and lines, several seeds, and what is left when one fails.

use std::{
    fs,
    io::Write,
    os::unix::{fs::symlink, net::UnixListener},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{Run, SMALL, Scratch, interrupt, wait_until};

const SIZE: [&str; 4] = ["--size", "64x64", "--seconds", "1"];

fn generate(scratch: &Scratch, arguments: &[&str]) -> Run {
    scratch.run(&[&["generate"][..], arguments, &SIZE].concat())
}

fn documents(run: &Run) -> Vec<Value> {
    let parse = |line| serde_json::from_str(line).unwrap();
    run.out.lines().map(parse).collect()
}

fn pipe(scratch: &Scratch) {
    let made = Command::new("mkfifo").arg(scratch.0.join("pipe")).status();
    assert!(made.unwrap().success());
}

#[test]
fn several_seeds_make_the_clips_that_each_makes_alone() {
    let scratch = Scratch::new("count");
    let sheet = ["--sheet", "s.png", "--save-latents", "l", "-o", "c.mp4"];
    let run = generate(
        &scratch,
        &[&["x", "--count", "2", "--seed", "5"][..], &sheet].concat(),
    );
    assert!(run.code == 0 && run.out.lines().count() == 2, "{run:?}");
    let names = ["c-1.mp4", "c-2.mp4", "l-1", "l-2", "s-1.png", "s-2.png"];
    assert_eq!(scratch.names(), names);
    assert!(run.err.contains("clip 2 of 2: c-2.mp4"), "{run:?}");
    assert_eq!(run.err.matches("does not know: x").count(), 1, "{run:?}");
    for (name, seed) in [("c-1.mp4", "5"), ("c-2.mp4", "6")] {
        let alone = generate(
            &scratch,
            &["x", "--seed", seed, "--force", "-o", "alone.mp4"],
        );
        assert_eq!(alone.code, 0, "{alone:?}");
        let read = |name| fs::read(scratch.0.join(name)).unwrap();
        assert!(read(name) == read("alone.mp4"), "{name}");
    }
}

#[test]
fn each_line_is_a_prompt_and_has_its_document() {
    let scratch = Scratch::new("lines");
    scratch.write("prompts", "\u{feff}A red ball\r\n\r\n  A blue star\n");
    let run = generate(&scratch, &["--prompts", "prompts", "--json", "-o", "c.mp4"]);
    assert!(run.code == 0 && run.err.is_empty(), "{run:?}");
    let made = documents(&run);
    assert_eq!(made.len(), 2);
    assert_eq!(made[0]["seed"], made[1]["seed"]);
    assert_eq!(made[1]["files"][0]["path"], "c-2.mp4");
    let seed = made[1]["seed"].to_string();
    let alone = generate(&scratch, &["A blue star", "--seed", &seed, "--json"]);
    assert_eq!(alone.json()["latents_sha256"], made[1]["latents_sha256"]);
    let mut piped = scratch.command(&["generate", "--prompts", "-", "--count", "2", "-o", "p"]);
    let input = fs::File::open(scratch.0.join("prompts")).unwrap();
    let run = Run::of(&piped.args(SMALL).stdin(input).output().unwrap());
    let seeds: Vec<&str> = run
        .out
        .lines()
        .map(|line| line.split("seed ").nth(1).unwrap())
        .collect();
    let starts = ["5 ", "6 ", "5 ", "6 "];
    assert_eq!(seeds.len(), 4, "{run:?}");
    assert!(
        seeds
            .iter()
            .zip(starts)
            .all(|(seed, start)| seed.starts_with(start)),
        "{run:?}"
    );
}

#[test]
fn what_several_clips_cannot_have_is_refused_before_the_first() {
    let scratch = Scratch::new("several");
    scratch.write("c-2.mp4", "mine");
    scratch.write("none", " \n\n");
    scratch.write("many", "x\n".repeat(501));
    scratch.write("d-1.mp4", "mine");
    symlink("d-1.mp4", scratch.0.join("d-2.mp4")).unwrap();
    let before = scratch.names();
    for (code, line) in [
        (6, "x --count 2 -o c.mp4"),
        (6, "x --count 2 -o d.mp4 --force"),
        (6, "x --count 2 -o nowhere/c.mp4"),
        (6, "x --count 3 -o c --profile c-3"),
        (2, "x --count 2 -o -"),
        (2, "x --count 0"),
        (2, "x --count 2 --seed 18446744073709551615"),
        (2, "--prompts many --count 2 -o e.mp4"),
        (2, "x --prompts many"),
        (3, "--prompts none"),
        (3, "--prompts nowhere"),
    ] {
        let run = generate(&scratch, &line.split(' ').collect::<Vec<_>>());
        assert_eq!(run.code, code, "{line}: {run:?}");
        assert!(run.out.is_empty() && !run.err.contains("base "), "{run:?}");
        assert_eq!(scratch.names(), before, "{line}");
    }
    assert_eq!(fs::read(scratch.0.join("c-2.mp4")).unwrap(), b"mine");
}

#[test]
fn an_interrupted_run_of_several_keeps_the_clips_that_are_whole() {
    let scratch = Scratch::new("several-interrupted");
    let mut command = scratch.command(&["generate", "x", "--count", "900", "--json", "-o", "c"]);
    command
        .args(SMALL)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    wait_until("the first clip", || scratch.0.join("c-1").exists());
    interrupt(&child);
    let run = Run::of(&child.wait_with_output().unwrap());
    assert_eq!(run.code, 130, "{run:?}");
    let made = scratch.names().len();
    let told = format!("{made} of 900 clips are made and stay");
    assert!(
        run.err.contains(&told) && !run.err.contains("nothing"),
        "{run:?}"
    );
    let lines = documents(&run);
    assert_eq!(lines.len(), made + 1);
    assert_eq!(lines[made]["error"]["code"], "cancelled");
    assert_eq!(&fs::read(scratch.0.join("c-1")).unwrap()[4..8], b"ftyp");
}

#[test]
fn a_pipe_is_read_as_a_prompt_and_what_has_no_end_is_refused() {
    let scratch = Scratch::new("pipes");
    pipe(&scratch);
    let path = scratch.0.join("pipe");
    let writer = std::thread::spawn(move || fs::write(path, "A red\r\nball\n").unwrap());
    let piped = generate(
        &scratch,
        &["--prompt-file", "pipe", "--json", "--seed", "5"],
    );
    writer.join().unwrap();
    let alone = generate(
        &scratch,
        &["A red\nball", "--json", "--seed", "5", "-o", "b.mp4"],
    );
    assert_eq!(
        piped.json()["latents_sha256"],
        alone.json()["latents_sha256"]
    );

    let path = scratch.0.join("pipe");
    // The reader goes away before all is written.
    let writer = std::thread::spawn(move || drop(fs::write(path, vec![b'x'; 17 << 20])));
    let long = generate(&scratch, &["--prompt-file", "pipe"]);
    writer.join().unwrap();
    assert!(long.code == 3 && long.err.contains("at most"), "{long:?}");

    let _listens = UnixListener::bind(scratch.0.join("socket")).unwrap();
    for (name, what) in [
        ("socket", "a socket"),
        ("/dev/zero", "a device"),
        (".", "a folder"),
    ] {
        for option in ["--prompt-file", "--prompts"] {
            let run = generate(&scratch, &[option, name]);
            assert!(run.code == 3 && run.err.contains(what), "{run:?}");
        }
    }
}

#[test]
fn the_first_interrupt_is_heard_while_a_prompt_is_awaited() {
    let scratch = Scratch::new("awaited");
    pipe(&scratch);
    for source in ["-", "/dev/stdin", "pipe"] {
        let mut command = scratch.command(&["generate", "--prompt-file", source]);
        command.stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // Something is typed, and no end of it follows.
        let mut typed = child.stdin.take().unwrap();
        typed.write_all(b"A red").unwrap();
        std::thread::sleep(Duration::from_millis(500));
        interrupt(&child);
        let start = Instant::now();
        let run = Run::of(&child.wait_with_output().unwrap());
        assert!(
            run.code == 130 && start.elapsed() < Duration::from_secs(3),
            "{run:?}"
        );
        drop(typed);
    }
    assert_eq!(scratch.names(), ["pipe"]);
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_json_file() {
    let scratch = Scratch::new("json-mark");
    assert_eq!(scratch.line("dev synth -o model").code, 0);
    for name in [
        "gallop.json",
        "dit.json",
        "t5gemma-9b-9b-ul2/tokenizer.json",
    ] {
        let path = scratch.0.join("model").join(name);
        let text = fs::read_to_string(&path).unwrap().replace('\n', "\r\n");
        fs::write(&path, format!("\u{feff}{text}")).unwrap();
    }
    let run = generate(&scratch, &["x", "--model", "model"]);
    assert_eq!(run.code, 0, "{run:?}");
}
