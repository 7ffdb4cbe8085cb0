//! `gallop verify`: replays golden cases and prints the error of each with its limit.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::Instant,
};

use clap::Args;
use serde_json::{Value, json};

use super::{
    device::{open_device, waits_for_every_step},
    terminal, words,
};
use crate::{
    Error, Result,
    device::GemmChoice,
    error::{Field, GivenFile},
    executor::{Cancel, Executor, Prepare},
    golden::{self, GoldenCase, Suite},
    pipeline::profile::ConfiguredExecutor,
    qualify::{Check, Verdict},
};

const AFTER_HELP: &str = "\
Examples:
  gallop verify
  gallop verify shared/golden --filter dit
  gallop verify shared/golden/text --tokenizer FILE
  gallop verify --json

A case that cannot be run, or whose kind is not known, is a failure. The one exception is the published vocabulary, \
which is reported as not run and not counted without --tokenizer. The exit code is 1 if anything failed.";

#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Arguments {
    /// A folder with an index.json, or a folder of such folders [default: the cases in this program]
    dir: Option<PathBuf>,
    /// Only cases whose suite, name or kind contains this
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// auto, cpu or cuda:N
    #[arg(long, default_value = "auto", env = "GALLOP_DEVICE")]
    device: String,
    /// The published tokenizer.json, for the one case that needs it
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How a case ended.
enum Outcome {
    /// It ran.
    Ran(Vec<Check>),
    /// It could not run.
    Broken(String),
    /// It needs a file that was not given.
    NotRun(String),
}

struct Row<'a> {
    suite: String,
    case: GoldenCase<'a>,
    outcome: Outcome,
    seconds: f64,
}

impl Row<'_> {
    /// `None` for a case that does not count.
    fn passed(&self) -> Option<bool> {
        match &self.outcome {
            Outcome::Ran(checks) => Some(checks.iter().all(|c| c.verdict() == Verdict::Pass)),
            Outcome::Broken(_) => Some(false),
            Outcome::NotRun(_) => None,
        }
    }

    fn verdict(&self) -> &'static str {
        match self.passed() {
            Some(true) => "ok",
            Some(false) => "FAIL",
            None => "not run",
        }
    }
}

pub(super) fn run(arguments: &Arguments, cancel: &Cancel) -> Result<()> {
    let suites = match &arguments.dir {
        Some(dir) => open(dir)?,
        None => golden::embedded()?,
    };
    let (executor, _) = open_device(&arguments.device, GemmChoice::Own)?;
    let switches = Prepare {
        sync: waits_for_every_step(),
        ..Prepare::default()
    };
    let executor = ConfiguredExecutor::new(executor, switches);
    let tokenizer = arguments.tokenizer.as_deref().map(read).transpose()?;
    let mut rows = Vec::new();
    for suite in &suites {
        let name = short_name(suite);
        for case in suite
            .cases()
            .filter(|case| is_wanted(arguments, &name, case))
        {
            cancel.check()?;
            let start = Instant::now();
            let outcome = replay(&case, &executor, tokenizer.as_deref());
            let seconds = start.elapsed().as_secs_f64();
            let row = Row {
                suite: name.clone(),
                case,
                outcome,
                seconds,
            };
            if !arguments.json {
                terminal::print(&text(&row))?;
            }
            rows.push(row);
        }
    }
    if rows.is_empty() {
        let wanted = arguments.filter.as_deref().unwrap_or_default();
        let expected = "must be part of a case's suite, name or kind";
        return Err(Error::request(Field::Filter, expected).found(format!("`{wanted}`")));
    }
    summarise(arguments, &executor.name(), &rows)
}

fn summarise(arguments: &Arguments, device: &str, rows: &[Row<'_>]) -> Result<()> {
    let count = |passed: Option<bool>| rows.iter().filter(|row| row.passed() == passed).count();
    let (passed, failed, not_run) = (count(Some(true)), count(Some(false)), count(None));
    if arguments.json {
        let cases: Vec<Value> = rows.iter().map(json).collect();
        terminal::print_json(&json!({
            "device": device,
            "passed": passed,
            "failed": failed,
            "not_run": not_run,
            "cases": cases,
        }))?;
    } else {
        let beside = if not_run > 0 {
            format!(", {not_run} not run")
        } else {
            String::new()
        };
        terminal::print(&format!(
            "{passed} passed, {failed} failed{beside}, on {device}\n"
        ))?;
    }
    terminal::verdict(failed, passed + failed, "cases failed")
}

/// The suite in `dir`, or those in its folders.
fn open(dir: &Path) -> Result<Vec<Suite>> {
    if dir.join("index.json").is_file() {
        return Ok(vec![Suite::open(dir)?]);
    }
    let name = dir.display().to_string();
    let entries = std::fs::read_dir(dir).map_err(|e| Error::input_io(&name, e))?;
    let mut folders: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("index.json").is_file())
        .collect();
    folders.sort();
    if folders.is_empty() {
        return Err(Error::input(
            name,
            "must hold an index.json, itself or in its folders; found none",
        ));
    }
    folders.iter().map(|folder| Suite::open(folder)).collect()
}

fn read(path: &Path) -> Result<Vec<u8>> {
    GivenFile::Input.read(path, 1 << 30)
}

/// The last part of the suite's path.
fn short_name(suite: &Suite) -> String {
    let last = Path::new(suite.name()).file_name();
    last.map_or_else(
        || suite.name().into(),
        |name| name.to_string_lossy().into_owned(),
    )
}

fn is_wanted(arguments: &Arguments, suite: &str, case: &GoldenCase<'_>) -> bool {
    let Some(filter) = &arguments.filter else {
        return true;
    };
    format!("{suite}/{}", case.name()).contains(filter) || case.kind().contains(filter)
}

/// Runs a case; a panic means that it cannot run.
fn replay(case: &GoldenCase<'_>, executor: &dyn Executor, tokenizer: Option<&[u8]>) -> Outcome {
    let is_published_vocabulary = case.kind() == golden::PUBLISHED_VOCABULARY;
    if is_published_vocabulary && tokenizer.is_none() {
        return Outcome::NotRun("needs the published tokenizer; give --tokenizer FILE".into());
    }
    let work = || match tokenizer {
        Some(json) if is_published_vocabulary => golden::run_published_vocabulary(case, json),
        _ => golden::run(case, executor),
    };
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(checks)) if checks.is_empty() => Outcome::Broken("holds nothing to compare".into()),
        Ok(Ok(checks)) => Outcome::Ran(checks),
        Ok(Err(error)) => Outcome::Broken(words::error(&error)),
        Err(_) => {
            Outcome::Broken("the case does not fit the program; see the message above".into())
        }
    }
}

/// The case's check with the largest error over limit.
fn worst(checks: &[Check]) -> Option<&Check> {
    checks.iter().max_by(|a, b| a.ratio().total_cmp(&b.ratio()))
}

fn text(row: &Row<'_>) -> String {
    let head = format!(
        "{:7} {:34}",
        row.verdict(),
        format!("{}/{}", row.suite, row.case.name())
    );
    match &row.outcome {
        Outcome::Broken(why) | Outcome::NotRun(why) => format!("{head} {why}\n"),
        Outcome::Ran(checks) => {
            let mut text = format!("{head} {:3} checks, {:5.2} s", checks.len(), row.seconds);
            let failed = checks
                .iter()
                .filter(|check| check.verdict() == Verdict::Fail);
            let failed: Vec<&Check> = failed.collect();
            let shown = if failed.is_empty() {
                worst(checks).into_iter().collect()
            } else {
                failed
            };
            match shown.as_slice() {
                [one] => text.push_str(&format!(", {}\n", check_text(one))),
                many => {
                    text.push('\n');
                    many.iter().for_each(|check| {
                        text.push_str(&format!("        {}\n", check_text(check)));
                    });
                }
            }
            text
        }
    }
}

fn check_text(check: &Check) -> String {
    let Check {
        what,
        error,
        allowed,
        worst,
    } = check;
    let place = worst.as_ref().map_or_else(String::new, |worst| {
        format!(", worst [{}] {} for {}", worst.index, worst.got, worst.want)
    });
    format!("{what}: error {error:.2e}, allowed {allowed:.2e}{place}")
}

fn json(row: &Row<'_>) -> Value {
    let (checks, problem) = match &row.outcome {
        Outcome::Ran(checks) => (checks.iter().map(check_json).collect(), None),
        Outcome::Broken(why) | Outcome::NotRun(why) => (Vec::new(), Some(why)),
    };
    json!({
        "suite": row.suite,
        "name": row.case.name(),
        "kind": row.case.kind(),
        "verdict": row.verdict().to_lowercase(),
        "seconds": row.seconds,
        "problem": problem,
        "checks": checks,
    })
}

/// An infinite error, such as that of NaN, is null.
fn check_json(check: &Check) -> Value {
    let worst = check.worst.as_ref();
    json!({
        "what": check.what,
        "error": check.error,
        "allowed": check.allowed,
        "verdict": if check.verdict() == Verdict::Pass { "ok" } else { "fail" },
        "worst": worst.map(|w| json!({ "index": w.index, "got": w.got, "want": w.want })),
    })
}
