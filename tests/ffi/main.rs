//! The library for other languages, by a C program that is compiled here and linked with it.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails, and says what it leaves out"
)]

use std::{
    collections::BTreeSet,
    env, fs,
    mem::{offset_of, size_of},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::LazyLock,
};

use gallop::ffi::{
    GallopAudio, GallopFrames, GallopJobState, GallopJobStatus, GallopRequest, GallopStage,
    GallopStatus,
};

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The library of this build, which lies where this test does.
fn library(ending: &str) -> PathBuf {
    let folder = env::current_exe().unwrap();
    let path = folder.parent().unwrap().join(format!("libgallop.{ending}"));
    assert!(path.is_file(), "{} was not built", path.display());
    path
}

/// Whether a program is there; if not, that is said.
fn is_there(program: &str) -> bool {
    let is_there = Command::new(program).arg("--version").output().is_ok();
    if !is_there {
        println!("skipped: no {program}");
    }
    is_there
}

#[track_caller]
fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// The compiler as a user would call it.
fn compiler(folder: &Path) -> Command {
    let mut cc = Command::new("cc");
    cc.args(["-std=c11", "-D_POSIX_C_SOURCE=200809L", "-pedantic"]);
    cc.args(["-Wall", "-Wextra", "-Werror", "-pthread", "-o"]);
    cc.arg(folder.join("program"));
    cc.arg("-I").arg(source("src/ffi"));
    cc.arg(source("tests/ffi/program.c"));
    cc
}

/// A folder with the program and the names that linker and loader look for; none without a compiler.
static PROGRAM: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
    if !is_there("cc") {
        return None;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ffi");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    for name in ["libgallop.so", "libgallop.so.1"] {
        symlink(library("so"), folder.join(name)).unwrap();
    }
    let mut cc = compiler(&folder);
    run(cc.arg("-L").arg(&folder).arg("-lgallop"));
    Some(folder)
});

fn program(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(folder.join("program"));
    command.args(arguments).env("LD_LIBRARY_PATH", folder);
    command
}

/// What the program prints when it does `what`; empty without a compiler.
#[track_caller]
fn printed(what: &[&str]) -> String {
    let Some(folder) = &*PROGRAM else {
        return String::new();
    };
    let output = run(&mut program(folder, what));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_clip_is_made_and_outlives_its_engine() {
    // The second time beside another engine whose job is cancelled: the same clip.
    assert_eq!(printed(&["normal"]), printed(&["two"]));
}

#[test]
fn jobs_are_cancelled_from_any_thread_and_end_with_their_engine() {
    printed(&["thread"]);
}

#[test]
fn a_callback_cancels_and_may_call_the_library() {
    printed(&["callback"]);
}

#[test]
fn failures_have_a_status_and_a_sentence() {
    printed(&["errors", env!("CARGO_PKG_VERSION")]);
}

#[test]
fn c_and_rust_lay_structures_out_alike() {
    let text = printed(&["layout"]);
    if text.is_empty() {
        return;
    }
    let mut expected = Vec::new();
    macro_rules! layout {
        ($structure:ident: $($field:ident)*) => {
            expected.push((stringify!($structure).to_string(), size_of::<$structure>() as i64));
            $(expected.push((
                concat!(stringify!($structure), ".", stringify!($field)).into(),
                offset_of!($structure, $field) as i64,
            ));)*
        };
    }
    layout!(GallopRequest: prompt seconds audio_rate image_rgb audio_frames audio_channels progress extra_json);
    layout!(GallopJobState: progress);
    layout!(GallopFrames: fps);
    layout!(GallopAudio: channels);
    let last = [
        ("GALLOP_STATUS_INTERNAL", GallopStatus::Internal as i64),
        ("GALLOP_STAGE_MUX", GallopStage::Mux as i64),
        (
            "GALLOP_JOB_STATUS_CANCELLED",
            GallopJobStatus::Cancelled as i64,
        ),
    ];
    expected.extend(last.map(|(name, value)| (name.into(), value)));
    let expected = expected
        .iter()
        .map(|(name, value)| format!("{name} {value}\n"));
    assert_eq!(text, expected.collect::<String>());
}

#[test]
fn the_header_is_cpp_too() {
    if !is_there("c++") {
        return;
    }
    let mut compiler = Command::new("c++");
    compiler.args(["-std=c++17", "-pedantic", "-Wall", "-Wextra", "-Werror"]);
    compiler.args(["-fsyntax-only", "-x", "c++"]);
    run(compiler
        .arg(source("tests/ffi/program.cpp"))
        .arg("-I")
        .arg(source("src/ffi")));
}

#[test]
fn the_library_shows_what_is_in_its_header_and_nothing_else() {
    if !is_there("nm") || !is_there("readelf") {
        return;
    }
    let text = |output: Output| String::from_utf8(output.stdout).unwrap();
    let symbols = text(run(Command::new("nm")
        .args(["-D", "--defined-only"])
        .arg(library("so"))));
    let shown: BTreeSet<&str> = symbols
        .lines()
        .filter_map(|line| line.split(' ').next_back())
        .collect();
    let header = fs::read_to_string(source("src/ffi/gallop.h")).unwrap();
    let code = header.lines().filter(|line| !line.starts_with("//"));
    let code: String = code.flat_map(|line| [line, "\n"]).collect();
    let functions = code.match_indices('(').filter_map(|(at, _)| {
        let name = code[..at]
            .rsplit(|c: char| !c.is_alphanumeric() && c != '_')
            .next()?;
        name.starts_with("gallop_").then_some(name)
    });
    let functions: BTreeSet<&str> = functions.collect();
    assert!(functions.len() > 10);
    assert_eq!(shown, functions);
    let dynamic = text(run(Command::new("readelf").arg("-dW").arg(library("so"))));
    assert!(dynamic.contains("[libgallop.so.1]"), "{dynamic}");
}

/// What the README's section on the library has in its only block of `language`.
fn example(language: &str) -> String {
    let text = fs::read_to_string(source("README.md")).unwrap();
    let section = text.split("\n## As a library\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let fence = format!("\n```{language}\n");
    let mut blocks = section.split(&fence).skip(1);
    let block = blocks.next().unwrap().split("\n```").next().unwrap();
    assert!(blocks.next().is_none());
    block.into()
}

#[test]
fn the_readme_s_example_makes_a_clip_with_the_static_library() {
    if !is_there("cc") || !is_there("c++") {
        return;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ffi-example");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("clip.c"), example("c")).unwrap();
    let command = example("console");
    let mut words = command.strip_prefix("$ ").unwrap().split(' ');
    let mut cc = Command::new(words.next().unwrap());
    cc.args(["-Wall", "-Wextra", "-Werror"])
        .current_dir(source(""));
    for word in words {
        match word {
            "clip" | "clip.c" => cc.arg(folder.join(word)),
            "target/release/libgallop.a" => cc.arg(library("a")),
            word => cc.arg(word),
        };
    }
    run(&mut cc);
    run(Command::new(folder.join("clip")).current_dir(&folder));
    let clip = fs::read(folder.join("clip.mp4")).unwrap();
    assert_eq!(clip[4..8], *b"ftyp");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn nothing_is_lost_and_nothing_is_read_that_is_not_there() {
    let Some(folder) = PROGRAM.as_ref().filter(|_| is_there("valgrind")) else {
        return;
    };
    for what in [&["errors", env!("CARGO_PKG_VERSION")][..], &["shortest"]] {
        let own = program(folder, what);
        let mut valgrind = Command::new("valgrind");
        // Threads that compute live as long as the program, and their stacks with them.
        valgrind.args(["--quiet", "--error-exitcode=9", "--leak-check=full"]);
        valgrind.args([
            "--show-leak-kinds=definite,indirect",
            "--errors-for-leak-kinds=definite,indirect",
        ]);
        valgrind.arg(own.get_program()).args(own.get_args());
        run(valgrind
            .env("LD_LIBRARY_PATH", folder)
            .env("RAYON_NUM_THREADS", "2"));
    }
}
