//! The program itself: what it prints where, its exit codes, and what it leaves behind. Every test runs the binary in
//! a folder of its own.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, where a panic is a failed test"
)]

mod clips;
mod limits;

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

/// A folder that goes away with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(test: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cli-{test}"));
        drop(fs::remove_dir_all(&path));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gallop"));
        command
            .args(arguments)
            .current_dir(&self.0)
            .stdin(Stdio::null());
        command
            .env_remove("GALLOP_MODEL")
            .env_remove("GALLOP_DEVICE");
        command
    }

    fn run(&self, arguments: &[&str]) -> Run {
        Run::of(&self.command(arguments).output().unwrap())
    }

    /// The same with arguments that have no spaces.
    fn line(&self, line: &str) -> Run {
        self.run(&line.split(' ').collect::<Vec<_>>())
    }

    /// Names in the folder, hidden ones included.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.0.join(name), bytes).unwrap();
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// What a run printed and how it ended.
#[derive(Debug)]
struct Run {
    code: i32,
    out: String,
    err: String,
}

impl Run {
    fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

/// Ends like Ctrl-C in a terminal, by the shell's own `kill`.
fn interrupt(child: &Child) {
    let status = Command::new("sh")
        .args(["-c", &format!("kill -INT {}", child.id())])
        .status();
    assert!(status.unwrap().success());
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "{what} did not happen"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

const SMALL: [&str; 6] = ["--size", "64x64", "--seconds", "1", "--seed", "5"];

#[test]
fn help_lists_exit_codes_and_every_subcommand_has_examples() {
    let scratch = Scratch::new("help");
    let help = scratch.run(&["--help"]);
    assert_eq!(help.code, 0);
    for code in [
        "0  done",
        "1  verify",
        "2  usage",
        "3  input",
        "4  model",
        "5  device",
        "6  output",
        "130",
    ] {
        assert!(help.out.contains(code), "{code}: {}", help.out);
    }
    for name in [
        "generate",
        "plan",
        "inspect",
        "pack",
        "verify",
        "doctor",
        "completions",
        "man",
        "dev",
        "dev compare",
        "dev bench",
        "dev instructions",
        "dev synth",
    ] {
        let arguments: Vec<&str> = name.split(' ').chain(["--help"]).collect();
        let mut narrow = scratch.command(&arguments);
        let help = Run::of(&narrow.env("COLUMNS", "60").output().unwrap());
        assert_eq!(help.code, 0, "{name}: {help:?}");
        // A line that is broken goes on without an indent.
        let examples = help
            .out
            .lines()
            .skip_while(|line| !line.starts_with("Example"));
        let mut examples = examples
            .skip(1)
            .take_while(|line| !line.is_empty())
            .peekable();
        assert!(examples.peek().is_some(), "{name}: {help:?}");
        for line in examples {
            assert!(line.starts_with("  ") && line.len() <= 60, "{name}: {line}");
        }
    }
    let help = scratch.run(&["generate", "--help"]);
    for heading in ["What to make:", "Model:", "Device:", "File and output:"] {
        assert!(help.out.lines().any(|line| line == heading), "{help:?}");
    }
    assert!(help.out.contains("GALLOP_MODEL") && help.out.contains("GALLOP_DEVICE"));
    assert_eq!(
        scratch.run(&["--version"]).out,
        format!("gallop {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn old_names_of_commands_work_and_say_so() {
    let scratch = Scratch::new("old-names");
    for (old, new) in [
        ("synth -o model --dry-run", "dev synth -o model --dry-run"),
        ("bench --stage sr", "dev bench --stage sr"),
        ("compare --stage sr", "dev compare --stage sr"),
        (
            "verify --instructions --device cpu --json",
            "dev instructions --device cpu --json",
        ),
    ] {
        let (old, new) = (scratch.line(old), scratch.line(new));
        assert_eq!((old.code, &old.out), (new.code, &new.out));
        let (notice, rest) = old.err.split_once('\n').unwrap();
        assert!(notice.contains("is now `gallop dev "), "{old:?}");
        assert_eq!(rest, new.err);
    }
    let help = scratch.run(&["--help"]).out;
    let is_listed = |name: &str| help.lines().any(|l| l.starts_with(&format!("  {name} ")));
    assert!(is_listed("generate") && is_listed("dev"), "{help}");
    assert!(
        !["compare", "bench", "synth"].into_iter().any(is_listed),
        "{help}"
    );
}

#[test]
fn usage_errors_are_2_and_name_the_nearest_option() {
    let scratch = Scratch::new("usage");
    let run = scratch.run(&["generate", "--secnods", "3"]);
    assert!(run.code == 2 && run.err.contains("--seconds"), "{run:?}");
    for (arguments, tip) in [
        (&["generate", "--duration", "3", "x"][..], "'--seconds'"),
        (&["generate", "--width", "64", "x"], "'--size'"),
        (&["generate", "a", "red", "ball"], "in quotes"),
        (&["a red ball"], "in quotes"),
        (&["genrate", "x"], "'generate'"),
    ] {
        let run = scratch.run(arguments);
        assert!(run.code == 2 && run.err.contains(tip), "{run:?}");
    }
    for arguments in [
        &["generate", "--size", "480p", "x"][..],
        &["generate", "--size", "12x", "x"],
        &["generate", "--size", "8x8", "x"],
        &["generate", "--seconds", "0", "x"],
        &["generate", "--seconds", "soon", "x"],
        &["generate", "--seconds", "nan", "x"],
        &["generate", "--seconds", "-inf", "x"],
        &["generate", "--seconds", "-1", "x"],
        &["generate", "--seconds", "1e9", "x"],
        &["generate", "--seconds", "1,5", "x"],
        &["generate", "--seconds", "2s", "x"],
        &["plan", "--seconds", "0.03"],
        &["generate", "--seed", "18446744073709551616", "x"],
        &["generate", "--seed", "-2", "x"],
        &["generate", "--steps", "0", "x"],
        &["generate", "--quality", "11", "x"],
        &["generate", "--hold-audio", "x"],
        &["generate", "--precision", "fp4", "x"],
        &["generate", "--precision", "layers.9=fp8", "x"],
        &["plan", "--precision", "layers.40=fp8"],
        &[
            "pack",
            "--precision",
            "attention.core=fp8",
            "--model",
            "a",
            "-o",
            "b",
        ],
        &["generate", "--prompt-file", "a", "x"],
        &["generate", "--device", "gpu", "x"],
        &["plan", "--gpu", "h300"],
        &["plan", "--gpu-memory", "nan"],
        &["plan", "--gpu-tflops", "0"],
        &["plan", "--size", "256p", "--text", "sr"],
        &["plan", "--json", "--text", "base"],
        &["plan", "--gpu", "h200", "--text", "base"],
        &["dev", "bench", "--kernels", "--runs", "2"],
        &["dev", "bench", "--kernels", "--profile", "a.json"],
        &["dev", "bench", "--kernels", "--precision", "fp8"],
        &["dev", "synth", "--config", "some.json", "-o", "out"],
        &["verify", "--filter", "nothing-has-this-name"],
        &["completions", "tcl"],
        &["unknown"],
        &[],
    ] {
        let run = scratch.run(arguments);
        assert_eq!(run.code, 2, "{arguments:?}: {run:?}");
        assert_eq!(run.out.is_empty(), !arguments.contains(&"--json"));
        assert!(!run.err.is_empty(), "{arguments:?}: {run:?}");
    }
    assert!(scratch.names().is_empty(), "{:?}", scratch.names());
}

#[test]
fn every_kind_of_error_has_its_code_and_leaves_nothing() {
    let scratch = Scratch::new("codes");
    scratch.write("latin1.txt", b"caf\xe9");
    scratch.write("file", "");
    let before = scratch.names();
    for (code, arguments) in [
        (3, &["generate", ""][..]),
        (3, &["generate", "  \n"]),
        (3, &["generate", "--prompt-file", "none.txt"]),
        (3, &["generate", "--prompt-file", "latin1.txt"]),
        (2, &["generate", "x", "--image", "none.png"]),
        (2, &["generate", "x", "--audio", "file"]),
        (2, &["generate", "x", "--scale", "0"]),
        (2, &["generate", "x", "--size", "256p", "--scale", "9"]),
        (2, &["generate", "x", "--scale", "18446744073709551615"]),
        (3, &["generate", "x", "--text-features", "none.safetensors"]),
        (3, &["verify", "none"]),
        (3, &["verify", "."]),
        (3, &["verify", "--tokenizer", "none.json"]),
        (
            3,
            &[
                "dev",
                "synth",
                "--network",
                "dit",
                "--config",
                "none.json",
                "-o",
                "out",
            ],
        ),
        (4, &["generate", "x", "--model", "none"]),
        (4, &["generate", "x", "--model", "."]),
        (4, &["inspect", "none"]),
        (4, &["inspect", "file"]),
        (3, &["plan", "--size", "540p", "--text-tokens", "1"]),
        (4, &["plan", "--model", "none"]),
        (5, &["generate", "x", "--device", "cuda:4096"]),
        (5, &["verify", "--device", "cuda:4096"]),
        (6, &["generate", "x", "-o", "none/out.mp4"]),
        (6, &["generate", "x", "-o", "file/out.mp4"]),
        (6, &["generate", "x", "-o", "."]),
        (
            6,
            &[
                "generate",
                "x",
                "--save-latents",
                "none/latents.safetensors",
            ],
        ),
        (6, &["dev", "synth", "-o", "none/out"]),
        (6, &["dev", "synth", "-o", "."]),
    ] {
        let run = scratch.run(arguments);
        assert_eq!(run.code, code, "{arguments:?}: {run:?}");
        let errors = run
            .err
            .lines()
            .filter(|line| line.starts_with("error: "))
            .count();
        assert_eq!(errors, 1, "{arguments:?}: {run:?}");
    }
    assert_eq!(scratch.names(), before);
}

#[test]
#[cfg(target_os = "linux")]
fn a_folder_that_takes_no_files_is_an_output_error() {
    let scratch = Scratch::new("read-only");
    // A folder that nobody can write to, whoever runs the test.
    let run = scratch.run(&["generate", "x", "-o", "/proc/out.mp4"]);
    assert!(
        run.code == 6 && run.err.contains("/proc/out.mp4"),
        "{run:?}"
    );
}

#[test]
fn an_existing_file_is_replaced_only_with_force() {
    let scratch = Scratch::new("force");
    scratch.write("out.mp4", "mine");
    let mut arguments = vec!["generate", "x", "--quiet"];
    arguments.extend(SMALL);
    let run = scratch.run(&arguments);
    assert!(run.code == 6 && run.err.contains("--force"), "{run:?}");
    assert_eq!(fs::read(scratch.0.join("out.mp4")).unwrap(), b"mine");
    arguments.push("--force");
    let run = scratch.run(&arguments);
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(&fs::read(scratch.0.join("out.mp4")).unwrap()[4..8], b"ftyp");
    assert_eq!(scratch.names(), ["out.mp4"]);

    // The same holds for what the name of the clip does not say.
    for (name, more) in [
        ("raw.wav", ["--encoder", "none"]),
        ("latents", ["--save-latents", "latents"]),
    ] {
        scratch.write(name, "mine");
        let run = scratch.run(&[&["generate", "x", "-o", "raw.mp4"][..], &SMALL, &more].concat());
        assert!(run.code == 6 && run.err.contains(name), "{run:?}");
        assert_eq!(fs::read(scratch.0.join(name)).unwrap(), b"mine");
    }
}

#[test]
fn files_of_one_run_are_apart() {
    let scratch = Scratch::new("apart");
    assert_eq!(scratch.line("dev synth -o model").code, 0);
    for name in ["in", "mine"] {
        scratch.write(name, "mine");
    }
    fs::hard_link(scratch.0.join("in"), scratch.0.join("hard")).unwrap();
    let before = scratch.names();
    for line in [
        "-o a --sheet a",
        "-o a --sheet ./A",
        "-o a --save-latents model/../a",
        "-o a --profile a",
        "-o b --sheet a --save-latents a",
        "-o a --sheet a.wav --encoder none",
        "-o a --sheet hard --image in",
        "-o in --audio hard",
        "-o a --profile in --prompt-file hard",
        "-o a --save-latents in --text-features in",
        "-o model/distill/model.safetensors --encoder none --sheet model/gallop.json",
    ] {
        let prompt = if line.contains("--prompt-file") {
            ""
        } else {
            " x"
        };
        let run = scratch.line(&format!("generate{prompt} --model model --force {line}"));
        assert!(matches!(run.code, 2 | 6), "{line}: {run:?}");
        assert_eq!(scratch.names(), before, "{line}");
    }
    assert_eq!(fs::read(scratch.0.join("in")).unwrap(), b"mine");

    // A trace takes no other file's place, and none at all where the run is refused.
    for line in [
        "generate x -o a.mp4 --profile mine",
        "generate x -o mine --profile trace",
        "generate x -o a.mp4 --model nowhere --force --profile mine",
        "generate x -o a.mp4 --model model --image nowhere --force --profile mine",
        "dev bench --runs 1 --profile mine",
    ] {
        let run = scratch.line(line);
        assert!(matches!(run.code, 3 | 4 | 6), "{line}: {run:?}");
        assert_eq!(fs::read(scratch.0.join("mine")).unwrap(), b"mine", "{line}");
        assert_eq!(scratch.names(), before, "{line}");
    }
}

#[test]
fn a_name_that_asks_for_another_format_is_refused() {
    let scratch = Scratch::new("endings");
    for line in [
        "-o a.avi",
        "-o a.WEBM",
        "-o a.mov",
        "-o a.png",
        "-o a.gif --encoder none",
        "-o a.mp4 --sheet a.jpg",
        "-o a.mp4 --sheet b.mp4",
        "-o a.mp4 --save-latents a.npy",
    ] {
        let run = scratch.line(&format!("generate x {line}"));
        assert!(
            run.code == 2 && run.err.contains("must end in ."),
            "{run:?}"
        );
        assert!(scratch.names().is_empty());
    }
    for name in ["a.MP4", "a.m4v", "scene.1", "plain"] {
        let run = scratch.run(&[&["generate", "x", "-o", name][..], &SMALL].concat());
        assert_eq!(run.code, 0, "{run:?}");
    }
}

#[test]
fn a_clip_for_standard_output_is_all_that_goes_there() {
    let scratch = Scratch::new("stdout");
    let run = |name: &str, more: &[&str]| {
        let arguments = [&["generate", "x", "-o", name][..], &SMALL, more].concat();
        scratch.command(&arguments).output().unwrap()
    };
    let streamed = run("-", &["--sheet", "sheet.png"]);
    assert!(String::from_utf8_lossy(&streamed.stderr).contains("seed 5"));
    assert_eq!(scratch.names(), ["sheet.png"]);
    assert!(run("a.mp4", &[]).status.success());
    assert!(streamed.stdout == fs::read(scratch.0.join("a.mp4")).unwrap());
    for more in [["--json"].as_slice(), &["--encoder", "none"]] {
        let refused = run("-", more);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert_eq!(refused.stdout.is_empty(), more[0] != "--json");
    }
    assert_eq!(run("b.mp4", &["--sheet", "-"]).status.code(), Some(6));
}

#[test]
fn paths_that_are_no_text_are_written_read_and_printed() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let scratch = Scratch::new("bytes");
    let name = OsStr::from_bytes(b"n\xff");
    let clip = OsStr::from_bytes(b"c\xff.mp4");
    let with = |line: &str, path: &OsStr, more: &[&str]| {
        let mut command = scratch.command(&line.split(' ').collect::<Vec<_>>());
        Run::of(&command.arg(path).args(more).output().unwrap())
    };
    assert_eq!(with("dev synth -o", name, &[]).code, 0);
    let run = with("inspect --json", name, &[]);
    assert!(run.code == 0 && run.json()["folder"].is_string(), "{run:?}");
    let run = with("generate x --json -o", clip, &SMALL);
    assert!(
        run.code == 0 && run.json()["files"][0]["path"].is_string(),
        "{run:?}"
    );
    assert!(scratch.0.join(clip).exists());
    let run = with("generate x -o model.mp4 --model", name, &SMALL);
    assert_eq!(run.code, 0, "{run:?}");
    let run = with("dev synth --network dit -o out --config", name, &[]);
    assert_eq!(run.code, 3, "{run:?}");
}

#[test]
fn a_file_that_may_not_become_so_large_is_an_output_error() {
    let scratch = Scratch::new("limit");
    let program = env!("CARGO_BIN_EXE_gallop");
    for line in [
        "generate x --seed 5 --size 64x64 --seconds 1",
        "dev synth -o model",
    ] {
        let script = format!("ulimit -f 1; exec {program} {line}");
        let mut command = Command::new("sh");
        let output = command
            .args(["-c", &script])
            .current_dir(&scratch.0)
            .output();
        let run = Run::of(&output.unwrap());
        assert!(run.code == 6 && run.err.contains("ulimit"), "{run:?}");
        assert!(scratch.names().is_empty(), "{:?}", scratch.names());
    }
}

#[test]
fn a_replaced_folder_keeps_its_mode_and_what_a_killed_run_left_is_removed() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new("replaced");
    let left = scratch.0.join(".gallop-0123.part");
    fs::create_dir(&left).unwrap();
    assert_eq!(scratch.line("dev synth -o model").code, 0);
    fs::set_permissions(scratch.0.join("model"), fs::Permissions::from_mode(0o700)).unwrap();
    let run = scratch.line("dev synth -o model");
    assert!(run.code == 6 && run.err.contains("--force"), "{run:?}");
    scratch.write("model/more", "");
    assert_eq!(scratch.line("dev synth -o model --force").code, 0);
    let mode = fs::metadata(scratch.0.join("model"))
        .unwrap()
        .permissions()
        .mode();
    assert!(mode & 0o777 == 0o700 && !scratch.0.join("model/more").exists());
    assert_eq!(scratch.names(), ["model"]);
}

#[test]
fn a_clip_is_one_line_and_the_rest_goes_to_standard_error() {
    let scratch = Scratch::new("streams");
    let mut arguments = vec!["generate"];
    arguments.extend(SMALL);
    let loud = scratch.run(&[&arguments[..], &["-o", "a.mp4"]].concat());
    assert_eq!(loud.code, 0, "{loud:?}");
    assert!(
        loud.out.starts_with("a.mp4  64x64  ") && loud.out.contains("seed 5"),
        "{loud:?}"
    );
    assert_eq!(loud.out.lines().count(), 1);
    for word in [
        "miniature",
        "built-in",
        "base ",
        "decode video",
        "mux",
        "seed",
        "sha256",
        "openh264",
    ] {
        assert!(loud.err.contains(word), "{word}: {}", loud.err);
    }
    let quiet = scratch.run(&[&arguments[..], &["-o", "b.mp4", "--quiet"]].concat());
    assert!(
        quiet.code == 0 && quiet.err.is_empty() && quiet.out.lines().count() == 1,
        "{quiet:?}"
    );

    let json = scratch.run(&[&arguments[..], &["-o", "c.mp4", "--json"]].concat());
    assert!(json.code == 0 && json.err.is_empty(), "{json:?}");
    let report = json.json();
    assert_eq!(report["seed"], 5);
    assert_eq!(
        (&report["width"], &report["height"]),
        (&64.into(), &64.into())
    );
    assert_eq!(report["trained"], true);
    assert!(report["timings"]["base"].as_f64().unwrap() > 0.0);
    assert!(report["warnings"].as_array().unwrap().len() > 1, "{report}");
    assert_eq!(report["files"][0]["path"], "c.mp4");
    let hash = report["files"][0]["sha256"].as_str().unwrap();
    assert!(
        loud.err.contains(hash),
        "another file from the same seed: {hash}, {}",
        loud.err
    );
}

#[test]
fn a_log_says_each_thing_once_and_the_miniature_last() {
    let scratch = Scratch::new("log");
    let run = scratch.run(&[&["generate", "x"][..], &SMALL].concat());
    for stage in ["text ", "base ", "decode video ", "decode audio ", "mux "] {
        let lines = run.err.lines().filter(|line| line.starts_with(stage));
        assert_eq!(lines.count(), 1, "{stage}: {run:?}");
    }
    let last = run.err.lines().last().unwrap();
    assert!(
        last.contains("help miniature") && last.len() < 160,
        "{run:?}"
    );
    assert_eq!(run.err.matches("miniature made this").count(), 1);
    let failed = scratch.run(&[&["generate", "x"][..], &SMALL].concat());
    assert!(
        failed.code == 6 && !failed.err.contains("miniature"),
        "{failed:?}"
    );
    let failed = scratch.run(&["generate", "", "-o", "other.mp4"]);
    assert!(
        failed.code == 3 && !failed.err.contains("help miniature"),
        "{failed:?}"
    );
    let report = scratch.run(&[&["generate", "x", "--json", "--force"][..], &SMALL].concat());
    let report = report.json();
    let warnings = report["warnings"].as_array().unwrap();
    assert!(
        warnings
            .iter()
            .all(|text| text.as_str().unwrap().len() < 160),
        "{report}"
    );
    if cfg!(target_os = "linux") {
        let bytes = report["peak_memory_bytes"].as_u64().unwrap();
        assert!((10 << 20..4 << 30).contains(&bytes), "{bytes}");
        assert!(
            run.err.lines().any(|line| line.starts_with("memory  ")),
            "{run:?}"
        );
    }
    let topic = scratch.line("help miniature");
    assert!(
        topic.code == 0 && topic.out.contains("triangle"),
        "{topic:?}"
    );
    assert_eq!(scratch.line("miniature").out, topic.out);
    assert!(scratch.line("help").out.contains("\n  miniature "));
}

#[test]
fn a_long_stage_shows_life_in_a_log() {
    let scratch = Scratch::new("life");
    let mut command = scratch.command(&["generate", "x", "--size", "448x256", "--seconds", "10"]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let is_life = |line: &str| {
        line.starts_with("base ") && line.contains("of 8 after ") && line.contains(" left")
    };
    assert!(lines.any(|line| is_life(&line.unwrap())));
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn a_run_of_minutes_says_so_before_it_begins() {
    let scratch = Scratch::new("long");
    let arguments = "generate red-ball --device cpu --size 896x512 --seconds 10";
    let mut command = scratch.command(&arguments.split(' ').collect::<Vec<_>>());
    // However many cores there are.
    command.env("RAYON_NUM_THREADS", "1").stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let before: Vec<String> = lines
        .map(Result::unwrap)
        .take_while(|line| !line.starts_with("text "))
        .collect();
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let is_told = |line: &String| {
        line.starts_with("note: a clip takes about ") && line.contains("smaller --size")
    };
    assert_eq!(before.iter().filter(|line| is_told(line)).count(), 1);
    let short = scratch.line("generate x --device cpu --size 64x64 --seconds 1 --json");
    assert!(short.code == 0 && short.json()["estimated_seconds"].is_null());
}

#[test]
fn options_without_effect_are_said() {
    let scratch = Scratch::new("idle");
    for (line, told) in [
        (
            "--encoder none --quality 3",
            "--quality has no effect with --encoder none",
        ),
        (
            "--encoder none --color reference",
            "--color has no effect with --encoder none",
        ),
        (
            "--ffmpeg other",
            "--ffmpeg has no effect with --encoder openh264",
        ),
        (
            "--device cpu --residency streamed",
            "--residency has no effect with --device cpu",
        ),
        (
            "--device cpu --no-graph",
            "--no-graph has no effect with --device cpu",
        ),
        (
            "--device cpu --no-fuse",
            "--no-fuse has no effect with --device cpu",
        ),
        ("--negative-prompt y", "ignores the negative prompt"),
        ("--quality 3 --color reference --scale 2", ""),
    ] {
        let line = format!("generate x --force --size 32x32 --seconds 0.2 {line}");
        let run = scratch.line(&line);
        assert!(run.code == 0 && run.err.contains(told), "{run:?}");
        assert_eq!(run.err.contains("no effect"), told.contains("no effect"));
        if !told.is_empty() {
            let report = scratch.line(&format!("{line} --json")).json();
            assert!(report["warnings"].to_string().contains(told), "{report}");
        }
    }
    for command in ["bench --runs 1", "compare"] {
        let line = "--stage audio --seconds 0.2 --device cpu --no-graph";
        let run = scratch.line(&format!("dev {command} {line}"));
        let told = "note: --no-graph has no effect with --device cpu";
        assert!(run.code == 0 && run.err.contains(told), "{run:?}");
    }
}

#[test]
fn a_failure_is_json_where_success_is() {
    let scratch = Scratch::new("failures");
    for (exit_code, code, arguments) in [
        (2, "invalid_value", ["--seconds", "0"]),
        (2, "invalid_value", ["--size", "0x0"]),
        (2, "invalid_value", ["--secnods", "3"]),
        (4, "invalid_weights", ["--model", "nofolder"]),
        (6, "output_failed", ["-o", "nofolder/a.mp4"]),
    ] {
        let run = scratch.run(&[&["generate", "x", "--json"][..], &arguments].concat());
        assert_eq!(run.code, exit_code, "{run:?}");
        let error = &run.json()["error"];
        assert_eq!(error["code"], code, "{run:?}");
        assert_eq!(error["exit_code"], exit_code, "{run:?}");
        assert!(
            error["message"]
                .as_str()
                .is_some_and(|text| !text.is_empty())
        );
        assert!(run.err.contains("error: "), "{run:?}");
    }
}

#[test]
fn a_prompt_file_is_the_prompt_that_a_user_sees_in_it() {
    let scratch = Scratch::new("prompts");
    let small = ["--json", "--encoder", "none", "--force", "-o", "o"];
    let hash = |command: &mut Command| {
        let output = command.args(small).args(SMALL).output().unwrap();
        Run::of(&output).json()["latents_sha256"].to_string()
    };
    let want = hash(&mut scratch.command(&["generate", "A red\nball"]));
    for (name, text) in [
        ("newline", "A red\nball\n"),
        ("windows", "A red\r\nball\r\n"),
        ("mark", "\u{feff}A red\nball"),
    ] {
        scratch.write(name, text);
        let got = hash(&mut scratch.command(&["generate", "--prompt-file", name]));
        assert_eq!(got, want, "{name}");
        let input = fs::File::open(scratch.0.join(name)).unwrap();
        let mut piped = scratch.command(&["generate", "--prompt-file", "-"]);
        assert_eq!(hash(piped.stdin(input)), want, "{name} as standard input");
    }
    let guided = [
        "generate",
        "A red ball",
        "--variant",
        "base",
        "--steps",
        "1",
    ];
    let negative = |option: &str, text: &str| {
        hash(&mut scratch.command(&[&guided[..], &[option, text]].concat()))
    };
    let want = negative("--negative-prompt", "A red\nball");
    assert_eq!(negative("--negative-prompt-file", "windows"), want);
    assert_ne!(negative("--negative-prompt", "blue"), want);
    let twice = "generate --prompt-file - --negative-prompt-file -";
    let refused = scratch.line(twice);
    assert!(
        refused.code == 2 && refused.err.contains("standard input"),
        "{refused:?}"
    );
    let both = scratch.line("generate x --negative-prompt y --negative-prompt-file windows");
    assert_eq!(both.code, 2, "{both:?}");
    scratch.write("wide", b"\xff\xfeA\0");
    let refused = scratch.run(&["generate", "--prompt-file", "wide"]);
    assert!(
        refused.code == 3 && refused.err.contains("UTF-16"),
        "{refused:?}"
    );
}

#[test]
fn plan_and_clip_say_the_same_length() {
    let scratch = Scratch::new("lengths");
    for (asked, frames, told) in [("0.04", 1, ""), ("1.5", 37, "1.48"), ("3", 73, "2.92")] {
        let length = ["--size", "32x32", "--seconds", asked, "--json"];
        let plan = [&["plan", "--model", "miniature"][..], &length].concat();
        let plan = scratch.run(&plan).json();
        let clip = scratch.run(&[&["generate", "x", "--force"][..], &length].concat());
        assert_eq!(clip.code, 0, "{clip:?}");
        for report in [plan, clip.json()] {
            assert_eq!(report["frames"], frames);
            assert_eq!(report["seconds"], f64::from(frames) / 25.0);
            let codes = report["warning_codes"].as_array().unwrap();
            assert_eq!(codes.contains(&"seconds_rounded".into()), !told.is_empty());
            assert!(report["warnings"].to_string().contains(told), "{report}");
        }
    }
}

#[test]
fn seeds_are_those_of_other_programs() {
    let scratch = Scratch::new("seeds");
    let seed = |text: &str| {
        let small = &SMALL[..4];
        let arguments = [
            &["generate", "x", "--json", "--force", "--seed", text][..],
            small,
        ];
        scratch.run(&arguments.concat()).json()["seed"].as_u64()
    };
    for most in [i64::MAX as u64 + 1, u64::MAX] {
        assert_eq!(seed(&most.to_string()), Some(most));
    }
    assert_ne!(seed("-1"), seed("-1"));
}

#[test]
fn one_seed_gives_one_file_with_any_number_of_threads() {
    let scratch = Scratch::new("threads");
    for threads in ["1", "2"] {
        let name = format!("{threads}.mp4");
        let mut command = scratch.command(&["generate", "x", "--quiet", "-o", &name]);
        let output = command
            .args(SMALL)
            .env("RAYON_NUM_THREADS", threads)
            .output()
            .unwrap();
        assert_eq!(Run::of(&output).code, 0, "{output:?}");
    }
    let read = |name| fs::read(scratch.0.join(name)).unwrap();
    assert!(read("1.mp4") == read("2.mp4"));
}

#[test]
fn an_interrupted_clip_leaves_nothing() {
    let scratch = Scratch::new("interrupt");
    let mut command = scratch.command(&["generate", "x", "--size", "448x256", "--seconds", "10"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut err = BufReader::new(child.stderr.take().unwrap());
    // The text stage has its line when the base pass begins.
    let mut line = String::new();
    while !line.starts_with("text") {
        line.clear();
        assert!(
            err.read_line(&mut line).unwrap() > 0,
            "the clip ended too early"
        );
    }
    interrupt(&child);
    let mut rest = String::new();
    err.read_to_string(&mut rest).unwrap();
    let run = Run::of(&child.wait_with_output().unwrap());
    assert!(run.code == 130 && run.out.is_empty(), "{run:?}");
    assert!(rest.contains("error: interrupted"), "{rest}");
    assert!(scratch.names().is_empty(), "{:?}", scratch.names());
}

#[test]
fn verify_replays_what_is_in_the_program() {
    let scratch = Scratch::new("verify");
    let all = scratch.run(&["verify"]);
    assert!(
        all.code == 0 && all.out.contains("25 passed, 0 failed, on cpu"),
        "{all:?}"
    );

    let some = scratch.run(&["verify", "--filter", "sampler", "--json"]);
    assert!(some.code == 0 && some.err.is_empty(), "{some:?}");
    let report = some.json();
    assert_eq!(
        (&report["passed"], &report["failed"]),
        (&5.into(), &0.into())
    );
    let case = &report["cases"][0];
    assert_eq!(
        (case["suite"].as_str(), case["verdict"].as_str()),
        (Some("dit"), Some("ok"))
    );
    let check = &case["checks"][0];
    assert!(
        check["error"].as_f64().unwrap() <= check["allowed"].as_f64().unwrap(),
        "{check}"
    );
    assert!(check["worst"]["index"].is_u64(), "{check}");
}

#[test]
fn what_verify_cannot_run_is_a_failure() {
    let scratch = Scratch::new("broken");
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/dit");
    let index: Value =
        serde_json::from_slice(&fs::read(golden.join("index.json")).unwrap()).unwrap();
    let whole = index["cases"]
        .as_array()
        .unwrap()
        .iter()
        .find(|c| c["name"] == "sampler_ddim8")
        .unwrap();
    let file = fs::read(golden.join("sampler_ddim8.safetensors")).unwrap();
    scratch.write("whole.safetensors", &file);
    scratch.write("cut.safetensors", &file[..file.len() - 100]);
    let mut changed = file;
    let end = changed.len();
    changed[end - 2] ^= 0x40;
    scratch.write("changed.safetensors", &changed);
    let case = |name: &str, kind: &str| {
        let mut case = whole.clone();
        case["name"] = name.into();
        case["kind"] = kind.into();
        case["file"] = format!("{name}.safetensors").into();
        case
    };
    let mut cases = vec![
        case("whole", "sampler_ddim"),
        case("cut", "sampler_ddim"),
        case("changed", "sampler_ddim"),
        case("absent", "sampler_ddim"),
        case("strange", "sampler_of_tomorrow"),
        case("vocabulary", "tokenizer_real_vocabulary"),
    ];
    let write = |cases: &[Value]| {
        scratch.write(
            "index.json",
            serde_json::json!({ "cases": cases }).to_string(),
        );
    };
    write(&cases);
    let run = scratch.run(&["verify", ".", "--json"]);
    assert_eq!(run.code, 1, "{run:?}");
    let report = run.json();
    let verdicts: Vec<&str> = report["cases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["verdict"].as_str().unwrap())
        .collect();
    assert_eq!(
        verdicts,
        ["ok", "fail", "fail", "fail", "fail", "not run"],
        "{report:#}"
    );
    assert!(run.err.contains("4 of 5 cases failed"), "{run:?}");

    // What is not run does not count.
    cases.drain(1..5);
    write(&cases);
    let run = scratch.run(&["verify", "."]);
    assert!(
        run.code == 0 && run.out.contains("1 passed, 0 failed, 1 not run"),
        "{run:?}"
    );
    // With a file it does.
    scratch.write("tokenizer.json", "{}");
    assert_eq!(
        scratch
            .run(&["verify", ".", "--tokenizer", "tokenizer.json"])
            .code,
        1
    );
}

#[test]
fn plan_gives_the_published_numbers() {
    let scratch = Scratch::new("plan");
    let run = scratch.run(&["plan", "--size", "1080p", "--json"]);
    assert!(run.code == 0 && run.err.is_empty(), "{run:?}");
    let plan = run.json();
    let stage = |name: &str| {
        let stages = plan["stages"].as_array().unwrap();
        stages
            .iter()
            .find(|stage| stage["stage"] == name)
            .unwrap()
            .clone()
    };
    let sr = stage("super-resolution");
    assert_eq!(sr["tokens"][0]["video"], 65_280);
    assert_eq!(sr["tokens"][0]["all"], 65_726);
    assert!(
        (sr["flops"].as_f64().unwrap() / 5.0 / 3.828e15 - 1.0).abs() < 0.005,
        "{sr}"
    );
    assert_eq!(stage("base")["runs"], 8);
    assert_eq!(
        (&plan["fits"], &plan["residency"]),
        (&true.into(), &"staged".into())
    );
    assert!(plan["assumptions"].as_str().unwrap().contains('%'));

    let small = scratch.run(&["plan", "--gpu-memory", "2"]);
    assert!(
        small.code == 0 && small.out.contains("does not fit"),
        "{small:?}"
    );
    let off_grid = scratch.run(&["plan", "--size", "480x272"]);
    assert!(off_grid.err.contains("480x256"), "{off_grid:?}");
    for stage in ["text", "base", "decode", "audio"] {
        let text = scratch.run(&["plan", "--model", "miniature", "--text", stage]);
        assert!(
            text.code == 0 && text.out.lines().count() > 20,
            "{stage}: {text:?}"
        );
    }
}

#[test]
fn plan_knows_this_cpu() {
    let scratch = Scratch::new("plan-cpu");
    let plan = |size| {
        let line = format!("plan --device cpu --model miniature --seconds 1 --json --size {size}");
        scratch.line(&line).json()
    };
    let (small, large) = (plan("64x64"), plan("1920x1088"));
    let seconds = |plan: &Value| plan["estimated_seconds"].as_f64().unwrap();
    // 500 times the pixels; how fast this machine is may differ by some times between two moments.
    assert!(seconds(&small) > 0.0 && seconds(&large) > 10.0 * seconds(&small));
    assert!(small["cpu"]["threads"].as_u64() >= Some(1) && small["gpu"].is_null());
    assert!(small["cpu"]["flops"].as_f64() > Some(1e8), "{small}");
    assert_eq!(
        (&small["fits"], &small["residency"]),
        (&true.into(), &"mapped".into())
    );
    let bytes = |plan: &Value| plan["peak_bytes"]["mapped"].as_u64().unwrap();
    assert!(bytes(&large) > 10 * bytes(&small));
    let text = scratch.line("plan --device cpu --size 256p --seconds 1");
    assert!(
        text.code == 0 && text.out.contains("on this CPU (") && text.out.contains("GFLOP/s"),
        "{text:?}"
    );
    for other in ["--gpu h100", "--gpu-memory 8"] {
        let both = scratch.line(&format!("plan --device cpu {other}"));
        assert!(both.code == 2 && both.err.contains("--device"), "{both:?}");
    }
}

#[test]
fn bench_times_every_step_of_a_stage() {
    let scratch = Scratch::new("bench");
    let arguments = [
        "dev",
        "bench",
        "--stage",
        "base",
        "--size",
        "64x64",
        "--seconds",
        "1",
        "--runs",
        "2",
        "--json",
    ];
    let report = scratch.run(&arguments).json();
    let call = &report["calls"][0];
    assert_eq!(call["runs_per_clip"], 8);
    assert_eq!(call["run_seconds"].as_array().unwrap().len(), 2);
    let of = |key: &str| -> f64 {
        let ops = call["ops"].as_array().unwrap();
        ops.iter().map(|op| op[key].as_f64().unwrap()).sum()
    };
    assert_eq!(of("flops"), call["flops"].as_f64().unwrap());
    assert!(of("seconds") > 0.0 && of("calls") > 10.0);
    let table = scratch.line("dev bench --stage audio --seconds 1 --runs 1");
    assert!(table.code == 0 && table.out.contains("snake"), "{table:?}");
    assert_eq!(scratch.run(&["dev", "bench", "--stage", "sr"]).code, 2);
    assert_eq!(scratch.run(&["dev", "bench", "--model", "none"]).code, 4);
}

#[test]
fn a_profile_covers_every_step_of_every_stage() {
    let scratch = Scratch::new("profile");
    let arguments = [
        "generate",
        "x",
        "--size",
        "64x64",
        "--seconds",
        "1",
        "--steps",
        "2",
        "--device",
        "cpu",
        "--profile",
        "trace.json",
        "--residency",
        "streamed",
        "--no-graph",
        "--no-fuse",
    ];
    let run = scratch.run(&arguments);
    assert!(run.code == 0 && run.err.contains("GFLOP/s"), "{run:?}");
    let text = std::fs::read_to_string(scratch.0.join("trace.json")).unwrap();
    let trace: Value = serde_json::from_str(&text).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    for stage in ["text", "base", "decode video", "decode audio"] {
        let of_stage: Vec<&Value> = events
            .iter()
            .filter(|e| e["ph"] == "X" && e["args"]["stage"] == stage)
            .collect();
        let runs = of_stage.iter().map(|e| e["args"]["run"].as_u64().unwrap());
        assert!(runs.max() >= Some(u64::from(stage == "base")), "{stage}");
        // Within a run one event begins where the one before it ended, and takes up the next step.
        for pair in of_stage.windows(2) {
            let [a, b] = [pair[0], pair[1]].map(|e| &e["args"]);
            if (pair[0]["tid"] == pair[1]["tid"]) && a["run"] == b["run"] {
                assert_eq!(a["steps"][1], b["steps"][0], "{stage}");
                let end = pair[0]["ts"].as_f64().unwrap() + pair[0]["dur"].as_f64().unwrap();
                assert!((end - pair[1]["ts"].as_f64().unwrap()).abs() < 1e-3);
            }
        }
    }
    assert_eq!(
        scratch
            .run(&["dev", "bench", "--profile", "none/trace.json"])
            .code,
        6
    );
}

#[test]
fn compare_judges_every_step_of_a_stage() {
    let scratch = Scratch::new("compare");
    let arguments = [
        "dev",
        "compare",
        "--device",
        "cpu",
        "--size",
        "64x64",
        "--seconds",
        "1",
        "--json",
    ];
    let run = scratch.run(&arguments);
    assert_eq!(run.code, 0, "{run:?}");
    let report = run.json();
    let checks = report["checks"].as_array().unwrap();
    assert!(checks.len() > 100 && checks.iter().all(|check| check["ok"] == true));
    assert_eq!(scratch.line("dev compare --stage sr").code, 2);
    let steps = scratch.line(&format!("{COMPARE} --precision fp8 --all"));
    let is_right = steps.code == 0 && steps.out.contains("row_scale");
    assert!(is_right, "{steps:?}");
}

const COMPARE: &str = "compare --device cpu --size 64x64 --seconds 1";

#[test]
fn compare_sets_two_precisions_against_each_other_layer_by_layer() {
    let scratch = Scratch::new("compare-precisions");
    let report = scratch.line(&format!("{COMPARE} --precision fp8 --against bf16 --json"));
    assert_eq!(report.code, 0, "{report:?}");
    let report = report.json();
    let layers = report["layers"].as_array().unwrap();
    let error = |label: &str| {
        let found = layers.iter().find(|layer| layer["what"] == label);
        let found = found.unwrap_or_else(|| panic!("{label} in {layers:?}"));
        found["error"].as_f64().unwrap()
    };
    let [first, last] = [0, 3].map(|n| error(&format!("block.layers.{n}.mlp_residual")));
    assert!(0.0 < first && first < last && last < 1.0, "{layers:?}");
    assert!(error("latent.video") < 1.0 && error("latent.audio") < 1.0);
    // Only the last layer differs.
    let last = scratch.line(&format!(
        "{COMPARE} --precision layers.3=fp8 --against bf16"
    ));
    let is_equal = |label: &str| {
        let line = last.out.lines().find(|line| line.starts_with(label));
        line.is_some_and(|line| line.ends_with(" 0.00e0"))
    };
    let is_right = is_equal("block.layers.2") && !is_equal("block.layers.3");
    assert!(is_right, "{last:?}");
    // The numbers of a folder are those of the files, which here are not the ones that are made up otherwise.
    assert_eq!(scratch.line("synth -o model --seed 9").code, 0);
    let packed = "pack --model model --network distill --precision layers.3=fp8 -o packed";
    assert_eq!(scratch.line(packed).code, 0);
    let of = |rules: &str| scratch.line(&format!("{COMPARE} --against bf16 {rules}"));
    let files = of("--model model --precision layers.3=fp8");
    assert!(files.code == 0 && files.out != last.out, "{files:?}");
    assert_eq!(of("--model packed").code, 2, "bf16 is not there any more");
    for rules in ["", "--stage decode --precision fp8"] {
        let run = of(rules.trim());
        assert!(run.code == 2, "{run:?}");
    }
}

#[test]
fn a_model_that_is_no_folder_is_said_to_be_none() {
    let scratch = Scratch::new("no-folder");
    scratch.write("file", "");
    for (name, found) in [("none", "nothing"), ("file", "a file")] {
        let run = scratch.line(&format!("inspect {name}"));
        let told = format!("must be a folder with model files; found {found}");
        assert!(run.code == 4 && run.err.contains(&told), "{run:?}");
        assert!(!run.err.contains("`gallop inspect`"), "{run:?}");
    }
}

#[test]
fn inspect_says_what_is_missing_and_where_it_is_published() {
    let scratch = Scratch::new("inspect");
    fs::create_dir(scratch.0.join("empty")).unwrap();
    let run = scratch.run(&["inspect", "empty"]);
    assert_eq!(run.code, 4, "{run:?}");
    for text in [
        "GAIR/daVinci-MagiHuman",
        "google/t5gemma-9b-9b-ul2",
        "accepting its licence",
        "1080p, base",
    ] {
        assert!(run.out.contains(text), "{text}: {}", run.out);
    }
    let report = scratch.run(&["inspect", "empty", "--json"]).json();
    let parts = report["parts"].as_array().unwrap();
    assert!(
        parts.len() == 9 && parts.iter().all(|part| part["state"] == "missing"),
        "{report}"
    );
    assert!(parts.iter().any(|part| part["gated"] == true), "{report}");
}

#[test]
fn the_miniature_says_what_it_cannot_show() {
    let scratch = Scratch::new("limits");
    for option in ["--image", "--audio"] {
        let run = scratch.run(&["generate", "a red ball bounces", option, "file"]);
        assert!(
            run.code == 2 && run.err.contains("full model") && run.err.contains(option),
            "{run:?}"
        );
    }
    assert!(scratch.names().is_empty(), "{:?}", scratch.names());
    let prompt = "A red cat on a skateboard bounces, a cat";
    let run = scratch.run(&[&["generate", prompt, "--json"][..], &SMALL].concat());
    let report = run.json();
    let warnings = report["warnings"].to_string();
    assert!(warnings.contains("know: cat, skateboard"), "{warnings}");
    assert!(!warnings.contains("words long"), "{warnings}");
    let base = ["--variant", "base", "--steps", "1", "-o", "base.mp4"];
    let run = scratch.run(&[&["generate", "A red ball", "--json"][..], &SMALL, &base].concat());
    let report = run.json();
    assert_eq!(report["trained"], false);
    assert!(
        report["warnings"].to_string().contains("untrained"),
        "{report}"
    );
}

#[test]
fn frames_are_enlarged_and_drawn_as_a_sheet() {
    let scratch = Scratch::new("sheet");
    let line = "generate --size 64x64 --seconds 1 --scale 3 --sheet sheet.png --json -o clip.mp4";
    let run = scratch.line(line);
    let report = run.json();
    assert_eq!(
        (&report["width"], &report["height"]),
        (&192.into(), &192.into())
    );
    let sheet = fs::read(scratch.0.join("sheet.png")).unwrap();
    assert_eq!(&sheet[1..4], b"PNG");
    assert_eq!(scratch.names(), ["clip.mp4", "sheet.png"]);
    let run = scratch.line(&line.replace("clip.mp4", "other.mp4"));
    assert!(run.code == 6 && run.err.contains("sheet.png"), "{run:?}");
}

#[test]
fn sound_can_be_left_out() {
    let scratch = Scratch::new("silent");
    let has_sound = |option: &str| {
        let line = format!("generate --size 64x64 --seconds 1 {option} --force -o clip.mp4");
        let run = scratch.line(line.trim());
        assert_eq!(run.code, 0, "{run:?}");
        let clip = fs::read(scratch.0.join("clip.mp4")).unwrap();
        clip.windows(4).any(|bytes| bytes == b"soun")
    };
    assert!(has_sound("--quiet"));
    assert!(!has_sound("--no-audio"));
    let run = scratch.line("generate --no-audio --full-audio -o other.mp4");
    assert_eq!(run.code, 2, "{run:?}");
}

#[test]
fn synth_makes_a_folder_that_inspect_and_generate_take() {
    let scratch = Scratch::new("synth");
    let dry = scratch.run(&["dev", "synth", "-o", "model", "--dry-run"]);
    assert!(
        dry.code == 0 && dry.out.lines().count() == 8 && scratch.names().is_empty(),
        "{dry:?}"
    );
    let run = scratch.run(&["dev", "synth", "-o", "model"]);
    assert!(run.code == 0 && run.err.is_empty(), "{run:?}");
    assert_eq!(scratch.names(), ["model"]);
    let run = scratch.run(&["inspect", "model"]);
    assert!(run.code == 0 && !run.out.contains("missing"), "{run:?}");
    let run = scratch.run(&["dev", "synth", "-o", "model"]);
    assert!(run.code == 6 && run.err.contains("empty folder"), "{run:?}");

    // The folder holds the miniature's own numbers, so both make the same file, but for the name of the model.
    for (name, model) in [
        ("folder.mp4", &["--model", "model"][..]),
        ("built-in.mp4", &[]),
    ] {
        let given = ["generate", "x", "--no-metadata", "-o", name];
        let run = scratch.run(&[&given[..], &SMALL, model].concat());
        assert_eq!(run.code, 0, "{run:?}");
    }
    let read = |name| fs::read(scratch.0.join(name)).unwrap();
    assert!(read("folder.mp4") == read("built-in.mp4"));

    // Without one network some sizes remain; a damaged one is told from a missing one.
    fs::remove_dir_all(scratch.0.join("model/distill")).unwrap();
    let run = scratch.run(&["inspect", "model"]);
    assert_eq!(run.code, 4, "the manifest names what is not there: {run:?}");
    fs::remove_file(scratch.0.join("model/gallop.json")).unwrap();
    let base = scratch.0.join("model/turbo_vae/model.safetensors");
    let bytes = fs::read(&base).unwrap();
    fs::write(&base, &bytes[..bytes.len() / 2]).unwrap();
    let run = scratch.run(&["inspect", "model"]);
    assert!(
        run.code == 4 && run.out.contains("damaged") && run.out.contains("missing"),
        "{run:?}"
    );
}

/// Where the bytes of `tensor` start in a safetensors file.
fn offset_of(file: &[u8], tensor: &str) -> usize {
    let length = usize::try_from(u64::from_le_bytes(file[..8].try_into().unwrap())).unwrap();
    let header: Value = serde_json::from_slice(&file[8..8 + length]).unwrap();
    let start = header[tensor]["data_offsets"][0].as_u64().unwrap();
    8 + length + usize::try_from(start).unwrap()
}

#[test]
fn a_packed_model_makes_the_same_clip_as_rounding_on_load() {
    let scratch = Scratch::new("pack");
    assert_eq!(scratch.line("dev synth -o model").code, 0);
    let rules = "fp8,layers.0=bf16";
    let run = scratch.line(&format!(
        "pack --model model --precision {rules} -o packed --json"
    ));
    assert!(run.code == 0 && run.err.is_empty(), "{run:?}");
    let report = run.json();
    let networks = report["networks"].as_array().unwrap();
    assert_eq!(networks.len(), 4);
    assert_eq!(networks[0]["eight_bit_layers"], 12);
    assert_eq!(scratch.names(), ["model", "packed"]);
    let run = scratch.line("inspect packed");
    let is_shown = run.out.contains("12 layers in FP8") && !run.out.contains("missing");
    assert!(run.code == 0 && is_shown, "{run:?}");

    let make = |name: &str, arguments: &[&str]| {
        let given = ["generate", "x", "--no-metadata", "-o", name];
        let run = scratch.run(&[&given[..], &SMALL, arguments].concat());
        assert_eq!(run.code, 0, "{run:?}");
        fs::read(scratch.0.join(name)).unwrap()
    };
    let packed = make("packed.mp4", &["--model", "packed"]);
    assert!(packed == make("on-load.mp4", &["--model", "model", "--precision", rules]));
    assert!(packed == make("built-in.mp4", &["--precision", rules]));
    assert!(packed != make("bf16.mp4", &["--model", "model"]));
    let run = scratch.line("plan --model packed --text base");
    assert!(run.out.contains("quantize{factor: 8}"), "{run:?}");
}

#[test]
fn pack_replaces_nothing_that_it_should_not() {
    let scratch = Scratch::new("pack-replaces");
    assert_eq!(scratch.line("dev synth -o model").code, 0);
    assert_eq!(scratch.line("pack --model model -o packed").code, 0);
    fs::create_dir(scratch.0.join("other")).unwrap();
    scratch.write("other/diary.txt", "not a model");
    for (line, code, text) in [
        ("pack --model model -o packed", 6, "empty folder"),
        ("pack --model model --force -o other", 6, "gallop.json"),
        ("pack --model packed --force -o packed", 6, "itself"),
        // Its other parts lie there.
        ("pack --model packed --force -o model", 6, "itself"),
        ("pack --model other -o new", 4, "no denoising network"),
        (
            "generate x --model packed --precision layers.1-2=bf16",
            2,
            "block.layers.1.attention",
        ),
    ] {
        let run = scratch.line(line);
        assert!(run.code == code && run.err.contains(text), "{run:?}");
    }
    assert_eq!(scratch.names(), ["model", "other", "packed"]);
    let run = scratch.line("pack --model model --network base --force -o packed");
    assert!(run.code == 0 && run.out.contains("16 layers"), "{run:?}");
    assert_eq!(scratch.line("inspect packed").code, 0);
}

#[test]
fn a_damaged_packed_model_is_refused_with_file_and_tensor() {
    let scratch = Scratch::new("pack-damaged");
    assert_eq!(scratch.run(&["dev", "synth", "-o", "model"]).code, 0);
    let run = scratch.run(&[
        "pack",
        "--model",
        "model",
        "--network",
        "distill",
        "-o",
        "packed",
    ]);
    assert_eq!(run.code, 0, "{run:?}");
    let path = scratch.0.join("packed/distill/model.safetensors");
    let whole = fs::read(&path).unwrap();
    let weight = "block.layers.2.mlp.down_proj.weight";
    let scale = &format!("{weight}_scale");
    let damages: [(&str, usize, &[u8], &str); 5] = [
        (weight, 3, &[0x7f], "element 3"),
        (weight, 1000, &[0xff], "element 1000"),
        (scale, 4, &0.0_f32.to_le_bytes(), "element 1 is 0"),
        (scale, 8, &(-1.0_f32).to_le_bytes(), "element 2 is -1"),
        (scale, 0, &f32::INFINITY.to_le_bytes(), "element 0 is inf"),
    ];
    for (tensor, within, bytes, text) in damages {
        let mut damaged = whole.clone();
        let start = offset_of(&damaged, tensor) + within;
        damaged[start..start + bytes.len()].copy_from_slice(bytes);
        fs::write(&path, damaged).unwrap();
        let run = scratch.run(&[&["generate", "x", "--model", "packed"][..], &SMALL].concat());
        let named = ["distill/model.safetensors", tensor, text];
        assert!(
            run.code == 4 && named.iter().all(|text| run.err.contains(text)),
            "{run:?}"
        );
        assert_eq!(scratch.names(), ["model", "packed"]);
    }
}

#[test]
fn an_interrupted_pack_leaves_nothing() {
    let scratch = Scratch::new("pack-interrupt");
    let config = r#"{"num_layers": 40, "hidden_size": 1024, "head_dim": 128, "num_heads_q": 8, "num_heads_kv": 1,
        "video_in_channels": 192, "audio_in_channels": 64, "text_in_channels": 8, "mm_layers": [],
        "gelu7_layers": [], "local_attn_layers": [], "post_norm_layers": [], "enable_attn_gating": true}"#;
    scratch.write("dit.json", config);
    let made = [
        "dev",
        "synth",
        "--network",
        "dit",
        "--config",
        "dit.json",
        "-o",
        "base",
    ];
    assert_eq!(scratch.run(&made).code, 0);
    scratch.write(
        "gallop.json",
        r#"{"base": {"path": "base", "config": "dit.json"}}"#,
    );
    let before = scratch.names();
    let mut command = scratch.command(&["pack", "--model", ".", "-o", "packed"]);
    let child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until("packing", || scratch.names() != before);
    interrupt(&child);
    let run = Run::of(&child.wait_with_output().unwrap());
    assert!(run.code == 130, "{run:?}");
    assert_eq!(scratch.names(), before);
}

#[test]
fn synth_writes_one_network_of_any_sizes() {
    let scratch = Scratch::new("synth-one");
    let dry = scratch.run(&[
        "dev",
        "synth",
        "--network",
        "dit",
        "--config",
        "released",
        "-o",
        "dit",
        "--dry-run",
    ]);
    assert!(
        dry.code == 0 && dry.out.contains("15299419152 parameters"),
        "{dry:?}"
    );
    let config = r#"{"num_layers": 1, "hidden_size": 128, "head_dim": 128, "num_heads_q": 1, "num_heads_kv": 1,
        "video_in_channels": 192, "audio_in_channels": 64, "text_in_channels": 8, "mm_layers": [],
        "gelu7_layers": [], "local_attn_layers": [], "post_norm_layers": [], "enable_attn_gating": true}"#;
    scratch.write("tiny.json", config);
    let run = scratch.run(&[
        "dev",
        "synth",
        "--network",
        "dit",
        "--config",
        "tiny.json",
        "--seed",
        "7",
        "-o",
        "dit",
    ]);
    assert_eq!(run.code, 0, "{run:?}");
    let mut names: Vec<_> = fs::read_dir(scratch.0.join("dit"))
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["config.json", "model.safetensors"]);
    scratch.write("bad.json", r#"{"num_layers": 1}"#);
    let run = scratch.run(&[
        "dev",
        "synth",
        "--network",
        "dit",
        "--config",
        "bad.json",
        "-o",
        "bad",
    ]);
    assert!(run.code == 4 && run.err.contains("bad.json"), "{run:?}");
}

#[test]
fn an_interrupted_synth_leaves_nothing() {
    let scratch = Scratch::new("synth-interrupt");
    let mut command = scratch.command(&[
        "dev",
        "synth",
        "--network",
        "dit",
        "--config",
        "released",
        "-o",
        "dit",
    ]);
    let child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until("writing", || !scratch.names().is_empty());
    interrupt(&child);
    let run = Run::of(&child.wait_with_output().unwrap());
    assert!(run.code == 130, "{run:?}");
    assert!(scratch.names().is_empty(), "{:?}", scratch.names());
}

/// A program in place of this one: it cannot verify instructions, knows no --residency, and answers the rest.
const STAND_IN: &str = r#"#!/bin/sh
case "$*" in
*--help*) echo "--precision RULES" ;;
*instructions*) echo '{"passed": 3, "failed": 1}'; exit 1 ;;
*--kernels*) echo '{"case": "copy/x", "median_ms": 1.5}' ;;
*bench*) echo '{"calls": [{"median_seconds": 0.25}]}' ;;
*) echo '{"passed": 7, "failed": 0}' ;;
esac
"#;

#[test]
fn the_gpu_script_goes_on_after_a_failure_and_sums_up() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new("gpu-script");
    let (stand_in, out) = (scratch.0.join("gallop"), scratch.0.join("out"));
    fs::write(&stand_in, STAND_IN).unwrap();
    fs::set_permissions(&stand_in, fs::Permissions::from_mode(0o755)).unwrap();
    let run = |groups: &[&str], dry: &str| {
        Command::new("bash")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tools/gpu.sh"))
            .args(groups)
            .env("GALLOP", &stand_in)
            .env("OUT", &out)
            .env("DRY", dry)
            .output()
            .unwrap()
    };
    let output = run(&["conformance", "golden", "bench", "rates"], "0");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let read = |file: &str| fs::read_to_string(out.join(file)).unwrap();
    let summary: serde_json::Value = serde_json::from_str(&read("summary.json")).unwrap();
    let rows = summary["steps"].as_array().unwrap();
    let of = |name: &str| rows.iter().find(|row| row["name"] == name).unwrap();
    assert_eq!(of("instructions")["result"], "exit 1");
    assert_eq!(of("instructions")["note"], "3 passed, 1 failed");
    assert_eq!(of("instructions-warps-")["result"], "exit 1");
    assert_eq!(of("verify")["note"], "7 passed, 0 failed");
    assert_eq!(of("sr-1080p-fp8")["note"], "one run 0.25 s");
    assert_eq!(of("sr-540p-streamed")["result"], "not run, no --residency");
    assert_eq!(read("rates.jsonl").lines().count(), 9);
    assert!(read("log.txt").contains("== verify-dit-d-real-width (ok)"));
    assert!(read("table.txt").contains("verify-dit-i-deep40"));
    assert!(out.join("steps.tar.gz").is_file());
    let dry = run(&[], "1");
    let text = String::from_utf8(dry.stdout).unwrap();
    assert!(dry.status.success() && text.lines().count() > 30 && text.contains("torch_rates.py"));
    assert_eq!(run(&["nonsense"], "1").status.code(), Some(2));
}

#[test]
fn what_needs_a_gpu_says_so_on_the_cpu() {
    let scratch = Scratch::new("needs-gpu");
    for arguments in [
        &["dev", "instructions", "--device", "cpu"][..],
        &["dev", "bench", "--kernels", "--device", "cpu", "--json"],
    ] {
        let run = scratch.run(arguments);
        assert_eq!(run.code, 5, "{run:?}");
        assert_eq!(run.out.is_empty(), !arguments.contains(&"--json"));
        assert!(
            run.err.contains("needs a GPU; give --device cuda:N"),
            "{run:?}"
        );
    }
    let run = scratch.run(&["dev", "bench", "--filter", "product"]);
    assert_eq!(run.code, 2, "{run:?}");
}

#[test]
fn doctor_completions_and_man_answer() {
    let scratch = Scratch::new("answers");
    let run = scratch.run(&["doctor", "--json"]);
    assert!(run.code == 0 && run.err.is_empty(), "{run:?}");
    let findings = run.json();
    let names: Vec<&str> = findings["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "version", "cpu", "vectors", "memory", "gpu", "kernels", "cublaslt", "device",
            "ffmpeg", "model"
        ]
    );
    assert_eq!(scratch.run(&["doctor"]).out.lines().count(), names.len());
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = scratch.run(&["completions", shell]);
        assert!(
            run.code == 0 && run.out.contains("save-latents"),
            "{shell}: {run:?}"
        );
    }
    let man = scratch.run(&["man"]);
    assert!(
        man.code == 0 && man.out.starts_with(".ie") && man.out.contains("hold\\-audio"),
        "{man:?}"
    );
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let scratch = Scratch::new("pipe");
    let mut command = scratch.command(&["completions", "zsh"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let run = Run::of(&child.wait_with_output().unwrap());
    assert!(run.code == 0 && run.err.is_empty(), "{run:?}");
}
