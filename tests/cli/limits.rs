//! Too little memory, too few threads: exit code 5 and a sentence, whatever could not be had.

use serde_json::Value;

use super::{Run, Scratch};

/// The outcome of a command under a limit of the shell, `-v KIB` or `-u COUNT`.
fn limited(scratch: &Scratch, limit: &str, command: &str) -> Run {
    let gallop = env!("CARGO_BIN_EXE_gallop");
    let line = format!("ulimit {limit} && exec {gallop} {command}");
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &line]).current_dir(&scratch.0);
    // Stacks of more threads take more of what is limited.
    shell.env("RAYON_NUM_THREADS", "2");
    Run::of(&shell.output().unwrap())
}

#[test]
fn where_memory_runs_out_there_is_a_sentence() {
    let scratch = Scratch::new("memory");
    scratch.line("dev synth -o mini");
    let clip = "generate x --size 64x64 --seconds 1 --steps 1 --seed 1 --force -o a.mp4";
    let mut refused = 0;
    let steps = (36..60).step_by(4).chain((60..220).step_by(20));
    for kib in steps.map(|mib| 1024 * mib) {
        let limit = format!("-v {kib}");
        if limited(&scratch, &limit, "--version").code != 0 {
            continue;
        }
        for command in [
            clip,
            &format!("{clip} --model mini"),
            "inspect mini",
            "dev synth --force -o other",
        ] {
            let run = limited(&scratch, &limit, command);
            match run.code {
                0 => continue,
                5 => refused += 1,
                _ => panic!("{limit} {command}: {run:?}"),
            }
            assert!(run.err.contains("error: "), "{limit} {command}: {run:?}");
        }
    }
    assert!(refused > 5, "{refused} refusals");
    let names = scratch.names();
    assert!(names.iter().all(|name| !name.contains("part")), "{names:?}");
}

#[test]
fn without_threads_there_is_a_sentence() {
    let scratch = Scratch::new("threads");
    // The stacks of so many do not fit.
    let command = "plan --size 64x64 --json";
    let limit = "-v 400000 && export RAYON_NUM_THREADS=2000";
    let run = limited(&scratch, limit, command);
    assert_eq!(run.code, 5, "{run:?}");
    assert!(run.err.contains("no threads could be started"), "{run:?}");
    let answer: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(answer["error"]["code"], "device_failed");
}

#[test]
fn what_memory_ran_out_for_is_json_too() {
    let scratch = Scratch::new("memory-json");
    let run = limited(&scratch, "-v 130000", "verify --json");
    assert_eq!(run.code, 5, "{run:?}");
    let answer: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(answer["error"]["code"], "out_of_memory");
    assert_eq!(answer["error"]["exit_code"], 5);
}

#[test]
fn a_limit_on_memory_is_known_before_work_starts() {
    let scratch = Scratch::new("memory-known");
    let command = "generate ball.on.floor --size 512x512 --seconds 4 -o a.mp4 --json";
    // The allocator sets up to 64 MiB aside for each thread, or does not: with one arena the rest is known.
    let limit = "-v 250000 && export MALLOC_ARENA_MAX=1";
    let run = limited(&scratch, limit, command);
    assert_eq!(run.code, 5, "{run:?}");
    for words in ["need ", "`ulimit -v` limits it", "take a smaller --size"] {
        assert!(run.err.contains(words), "{words}: {run:?}");
    }
    assert!(scratch.names().is_empty());
}
