//! The server as its clients meet it: the program itself, and calls as bytes over a connection.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, where a panic is a failed test"
)]

mod access;
mod creating;
mod dashscope;
mod ending;
mod hostile;
mod openrouter;
mod reading;
mod recorded;
mod wire;

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use wire::{Answer, Call, Connection};

/// A folder that goes when the test does.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("serve-{name}"));
        drop(fs::remove_dir_all(&path));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn state(&self) -> PathBuf {
        self.0.join("state")
    }

    /// Names in a folder of the state.
    fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.state().join(folder)).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gallop"));
        let base = ["serve", "--listen", "127.0.0.1:0", "--state"];
        command.args(base).arg(self.state()).args(arguments);
        command.current_dir(&self.0).stdin(Stdio::null());
        for name in ["GALLOP_MODEL", "GALLOP_DEVICE", "GALLOP_API_KEY"] {
            command.env_remove(name);
        }
        command
    }

    fn serve(&self, arguments: &[&str]) -> Server {
        Server::start(self.command(arguments), self.0.join("log"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// A server that runs; it is killed when dropped.
struct Server {
    child: Child,
    address: SocketAddr,
    log: PathBuf,
}

impl Server {
    fn start(mut command: Command, log: PathBuf) -> Self {
        let errors = File::options().create(true).append(true).open(&log);
        command.stdout(Stdio::piped()).stderr(errors.unwrap());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        lines.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("http://");
        let address = address.and_then(|address| address.parse().ok());
        let said = || fs::read_to_string(&log).unwrap();
        let address = address.unwrap_or_else(|| panic!("no address: {line} {}", said()));
        Self {
            child,
            address,
            log,
        }
    }

    fn connect(&self) -> Connection {
        Connection::open(self.address)
    }

    #[track_caller]
    fn ask(&self, call: &Call) -> Answer {
        self.raw(&call.bytes())
    }

    /// The answer to bytes that were written down or are no right call.
    #[track_caller]
    fn raw(&self, bytes: &[u8]) -> Answer {
        let mut connection = self.connect();
        connection.send(bytes).unwrap();
        let method = if bytes.starts_with(b"HEAD ") {
            "HEAD"
        } else {
            ""
        };
        connection.answer(method).unwrap()
    }

    /// A job that was taken.
    #[track_caller]
    fn create(&self, fields: &Value) -> Value {
        let answer = self.ask(&Call::create(fields));
        assert_eq!(answer.status, 200, "{}", answer.json());
        answer.json()
    }

    #[track_caller]
    fn job(&self, id: &str) -> Value {
        self.ask(&Call::get(format!("/v1/videos/{id}"))).json()
    }

    /// A job once it is as `is_there` says.
    #[track_caller]
    fn wait(&self, id: &str, is_there: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            let job = self.job(id);
            if is_there(&job) {
                return job;
            }
            assert!(start.elapsed() < Duration::from_secs(120), "{job}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    #[track_caller]
    fn wait_completed(&self, id: &str) -> Value {
        let job = self.wait(id, is_final);
        assert_eq!(job["status"], "completed", "{job}");
        job
    }

    #[track_caller]
    fn wait_running(&self, id: &str) {
        self.wait(id, |job| job["status"] == "in_progress");
    }

    /// Sends a signal by its name.
    fn signal(&self, name: &str) {
        let line = format!("kill -{name} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &line]).status();
        assert!(status.unwrap().success());
    }

    /// Waits for the end and gives the exit code.
    fn exit_code(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        assert!(thread::panicking() || !log.contains("panicked"), "{log}");
    }
}

/// A clip in a moment.
fn small(seed: u64) -> Value {
    json!({ "prompt": "a red ball", "size": "32x32", "seconds": 0.2, "seed": seed })
}

/// A clip that takes longer than any test.
fn long() -> Value {
    json!({ "prompt": "a red ball", "size": "448x256", "seconds": 10, "num_inference_steps": 1000 })
}

fn is_final(job: &Value) -> bool {
    job["status"] == "completed" || job["status"] == "failed"
}

fn id(job: &Value) -> &str {
    job["id"].as_str().unwrap_or_else(|| panic!("{job}"))
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}
