//! Jobs without a server: what is taken, in which order it is made, what survives the end of a process.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use gallop::{
    cpu::Cpu,
    jobs::{
        Asked, Code, Given, JobId, JobRecord, JobStatus, Jobs, Limits, Operator, Page, Refusal,
        Sender, Snapshot, Submission, Worker,
    },
    pipeline::{Keep, Model, Session, Stage, request::Request},
};
use serde_json::{Value, json};

/// A state folder that goes when the test does.
struct State(PathBuf);

impl State {
    fn new(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("jobs-{name}"));
        drop(fs::remove_dir_all(&folder));
        Self(folder)
    }

    fn open(&self, limits: Limits) -> Jobs {
        self.try_open(limits).unwrap()
    }

    fn try_open(&self, limits: Limits) -> gallop::Result<Jobs> {
        let session = Session::new(Arc::new(Cpu), Model::miniature(), Keep::weights(1 << 30));
        let plan = Arc::new(|_: &Request, _: &_| {
            let stages = [Stage::Text, Stage::Base, Stage::DecodeVideo, Stage::Mux];
            stages.map(|stage| (stage, 1.0)).to_vec()
        });
        let plan: gallop::jobs::PlanShares = plan;
        let operator: Arc<dyn Operator> = Arc::new(Counter::default());
        Jobs::open(
            &self.0,
            vec![Worker {
                session,
                ops: Box::new(Vec::new),
            }],
            &Request::default(),
            &plan,
            limits,
            &operator,
        )
    }

    fn records(&self) -> Vec<Value> {
        let folders = fs::read_dir(self.0.join("jobs")).unwrap();
        let read = |folder: fs::DirEntry| fs::read(folder.path().join("job.json")).unwrap();
        let parse = |folder| serde_json::from_slice(&read(folder)).unwrap();
        folders.map(|folder| parse(folder.unwrap())).collect()
    }
}

impl Drop for State {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Counts jobs that ended.
#[derive(Default)]
struct Counter(AtomicUsize);

impl Operator for Counter {
    fn say(&self, _: &str) {}

    fn ended(&self, _: &JobRecord) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn asked(fields: Value) -> Result<Asked, Refusal> {
    let Value::Object(fields) = fields else {
        panic!("not an object")
    };
    Asked::of(
        fields
            .into_iter()
            .map(|(name, value)| (name, Given::Json(value))),
    )
}

/// A clip in a tenth of a second.
fn small(seed: u64) -> Value {
    json!({ "prompt": "a red ball", "size": "32x32", "seconds": 0.2, "seed": seed })
}

/// A clip that takes longer than any test.
fn long() -> Value {
    json!({ "prompt": "a red ball", "size": "448x256", "seconds": 10, "num_inference_steps": 1000 })
}

fn submit(jobs: &Jobs, fields: Value) -> Result<Snapshot, Refusal> {
    submit_as(jobs, fields, Sender::default())
}

fn submit_as(jobs: &Jobs, fields: Value, sender: Sender) -> Result<Snapshot, Refusal> {
    jobs.submit(Submission {
        asked: asked(fields)?,
        image: None,
        audio: None,
        sender,
    })
}

#[track_caller]
fn wait(jobs: &Jobs, id: JobId, is_there: impl Fn(&Snapshot) -> bool) -> Snapshot {
    let start = Instant::now();
    loop {
        let now = jobs.get(id).expect("the job");
        if is_there(&now) {
            return now;
        }
        assert!(start.elapsed() < Duration::from_secs(120), "{now:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn is_final(job: &Snapshot) -> bool {
    job.record.status.is_final()
}

#[test]
fn a_job_becomes_a_clip_and_says_how_far_it_is() {
    let state = State::new("clip");
    let jobs = state.open(Limits::default());
    let job = submit(&jobs, small(7)).unwrap();
    let id = job.record.id;
    assert_eq!(
        (job.record.resolved.width, job.record.resolved.seed),
        (32, 7)
    );
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let count = move || {
        counted.fetch_add(1, Ordering::Relaxed);
    };
    let watch = jobs.watch(id, Arc::new(count));
    let done = wait(&jobs, id, is_final);
    assert_eq!(done.record.status, JobStatus::Completed, "{done:?}");
    assert_eq!(done.live.progress, 100);
    let file = done.record.file.as_ref().unwrap();
    let clip = fs::read(jobs.path(id, "video.mp4")).unwrap();
    assert_eq!((clip.len() as u64, &clip[4..8]), (file.bytes, &b"ftyp"[..]));
    let thumbnail = fs::read(jobs.path(id, "thumbnail.webp")).unwrap();
    assert_eq!(&thumbnail[8..12], b"WEBP");
    assert!(calls.load(Ordering::Relaxed) > 0);
    drop(watch);
    // The same seed in another job: the same bytes.
    let again = submit(&jobs, small(7)).unwrap().record.id;
    wait(&jobs, again, is_final);
    assert_eq!(fs::read(jobs.path(again, "video.mp4")).unwrap(), clip);
    assert!(jobs.remove(id).is_ok() && jobs.get(id).is_none());
    assert_eq!(jobs.remove(id).unwrap_err().code, Code::NotFound);
    assert!(!jobs.path(id, "").exists());
}

#[test]
fn impossible_jobs_are_refused_before_they_are_kept() {
    let state = State::new("refused");
    let jobs = state.open(Limits::default());
    for (fields, code) in [
        (json!({"prompt": "a", "size": "1x1"}), Code::InvalidSize),
        (json!({"prompt": "a", "size": "big"}), Code::InvalidSize),
        (json!({"prompt": "a", "seconds": 1e9}), Code::InvalidValue),
        (json!({"prompt": "a", "steps": 5000}), Code::InvalidValue),
        (
            json!({"prompt": "a", "hold_audio": true}),
            Code::InvalidValue,
        ),
    ] {
        assert_eq!(
            submit(&jobs, fields.clone()).unwrap_err().code,
            code,
            "{fields}"
        );
    }
    assert!(state.records().is_empty());
}

#[test]
fn the_queue_has_an_end_and_waiting_and_running_jobs_can_be_cancelled() {
    let state = State::new("bound");
    let limits = Limits {
        waiting: 3,
        ..Limits::default()
    };
    let jobs = state.open(limits);
    let running = submit(&jobs, long()).unwrap().record.id;
    wait(&jobs, running, |job| {
        job.record.status == JobStatus::InProgress
    });
    let results: Vec<_> = thread::scope(|scope| {
        let tries: Vec<_> = (0..14)
            .map(|_| scope.spawn(|| submit(&jobs, long())))
            .collect();
        tries.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let taken: Vec<_> = results.iter().filter_map(|one| one.as_ref().ok()).collect();
    assert_eq!(taken.len(), 3);
    let is_full = |refusal: &Refusal| refusal.code == Code::QueueFull;
    assert_eq!(
        results
            .iter()
            .filter(|one| one.as_ref().is_err_and(is_full))
            .count(),
        11
    );
    let waiting = taken[1].record.id;
    let cancelled = jobs.cancel(waiting).unwrap();
    assert_eq!(cancelled.record.status, JobStatus::Cancelled);
    assert_eq!(jobs.cancel(waiting).unwrap().record, cancelled.record);
    let start = Instant::now();
    let cancelled = jobs.cancel(running).unwrap();
    assert_eq!(
        cancelled.record.status,
        JobStatus::Cancelled,
        "{:?}",
        start.elapsed()
    );
    let (page, has_more) = jobs.list(Page {
        after: None,
        limit: 2,
        ascending: true,
    });
    let shown: Vec<_> = page.iter().map(|job| job.record.id).collect();
    let first = taken.iter().map(|job| job.record.id).min();
    assert_eq!((shown, has_more), (vec![running, first.unwrap()], true));
    for job in [taken[0], taken[2]] {
        jobs.remove(job.record.id).unwrap();
    }
    // One of them had begun when the first was cancelled, and hears of its end a little later.
    jobs.drain(Duration::from_secs(10));
    assert_eq!(jobs.depth(), (0, 0));
}

#[test]
fn a_job_that_is_removed_as_it_begins_keeps_nobody() {
    let state = State::new("begins");
    let jobs = state.open(Limits::default());
    for wait in 0..50 {
        let id = submit(&jobs, long()).unwrap().record.id;
        // Beginning takes a few milliseconds, which are met somewhere else each time.
        thread::sleep(Duration::from_micros(100 * wait));
        jobs.remove(id).unwrap();
    }
    let end = Instant::now() + Duration::from_secs(60);
    while jobs.depth() != (0, 0) {
        assert!(Instant::now() < end, "{:?}", jobs.depth());
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_job_that_is_cancelled_while_it_is_removed_is_gone() {
    let state = State::new("both");
    let jobs = state.open(Limits::default());
    let running = submit(&jobs, long()).unwrap().record.id;
    for _ in 0..50 {
        let id = submit(&jobs, long()).unwrap().record.id;
        let cancelled = thread::scope(|scope| {
            let cancel = scope.spawn(|| jobs.cancel(id));
            jobs.remove(id).unwrap();
            cancel.join().unwrap()
        });
        let refused = cancelled.err();
        let is_gone = Refusal::not_found(&id.to_string());
        assert!(refused.is_none_or(|refusal| refusal == is_gone), "{id}");
        assert!(jobs.get(id).is_none() && !jobs.path(id, "").exists());
    }
    jobs.remove(running).unwrap();
}

#[test]
fn what_waits_and_what_ran_goes_on_after_a_restart() {
    let state = State::new("restart");
    let jobs = state.open(Limits::default());
    let refused = state
        .try_open(Limits::default())
        .err()
        .expect("one server a folder");
    assert!(refused.to_string().contains("another server"), "{refused}");
    let first = submit(&jobs, long()).unwrap().record.id;
    let second = submit(&jobs, small(3)).unwrap().record.id;
    wait(&jobs, first, |job| {
        job.record.status == JobStatus::InProgress
    });
    jobs.drain(Duration::ZERO);
    assert_eq!(submit(&jobs, small(4)).unwrap_err().code, Code::NotReady);
    assert_eq!(jobs.get(first).unwrap().record.status, JobStatus::Queued);
    assert_eq!(jobs.get(first).unwrap().record.attempts, 0);
    drop(jobs);
    let jobs = reopened(&state);
    jobs.remove(first).unwrap();
    let done = wait(&jobs, second, is_final);
    assert_eq!(done.record.status, JobStatus::Completed);
}

/// The state folder again, once the threads that had it are gone.
fn reopened(state: &State) -> Jobs {
    let start = Instant::now();
    loop {
        match state.try_open(Limits::default()) {
            Ok(jobs) => return jobs,
            Err(e) => assert!(start.elapsed() < Duration::from_secs(60), "{e}"),
        }
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_job_that_ended_the_server_twice_fails_and_broken_ones_stop_nobody() {
    let state = State::new("broken");
    let jobs = state.open(Limits::default());
    let id = submit(&jobs, small(1)).unwrap().record.id;
    wait(&jobs, id, is_final);
    jobs.drain(Duration::ZERO);
    drop(jobs);
    let record = state.0.join("jobs").join(id.to_string()).join("job.json");
    let mut json: Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    json["status"] = json!("in_progress");
    json["attempts"] = json!(2);
    fs::write(&record, json.to_string()).unwrap();
    for name in [".gone-x", ".coming-x"] {
        fs::create_dir_all(state.0.join("jobs").join(name).join("y")).unwrap();
    }
    let other = "video_01HZZZZZZZZZZZZZZZZZZZZZZZ";
    let broken = state.0.join("jobs").join(other);
    fs::create_dir_all(&broken).unwrap();
    fs::write(broken.join("job.json"), "{").unwrap();
    let jobs = reopened(&state);
    let failed = jobs.get(id).unwrap();
    assert_eq!(failed.record.status, JobStatus::Failed);
    assert!(
        failed
            .record
            .error
            .as_ref()
            .unwrap()
            .message
            .contains("twice")
    );
    assert!(jobs.get(other.parse().unwrap()).is_none());
    assert_eq!(fs::read_dir(state.0.join("broken")).unwrap().count(), 1);
    assert_eq!(state.records().len(), 1);
}

#[test]
fn the_same_request_twice_is_one_job() {
    let state = State::new("twice");
    let jobs = state.open(Limits::default());
    let keyed = |key: &str, content: &str| Sender {
        idempotency_key: Some(key.into()),
        content: content.into(),
        caller: "a".into(),
        retries: 0,
    };
    let ids: Vec<JobId> = thread::scope(|scope| {
        let one = || {
            submit_as(&jobs, small(1), keyed("k", "c"))
                .unwrap()
                .record
                .id
        };
        let six: Vec<_> = (0..6).map(|_| scope.spawn(one)).collect();
        six.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]));
    let other = submit_as(&jobs, small(2), keyed("k", "d"));
    assert_eq!(other.unwrap_err().code, Code::IdempotencyMismatch);
    let retried = |content: &str, retries| Sender {
        idempotency_key: None,
        content: content.into(),
        caller: "b".into(),
        retries,
    };
    let first = submit_as(&jobs, small(3), retried("e", 0))
        .unwrap()
        .record
        .id;
    let again = submit_as(&jobs, small(3), retried("e", 1))
        .unwrap()
        .record
        .id;
    assert_eq!(first, again);
    // After another answer it is a job of its own, as it is without a retry.
    submit_as(
        &jobs,
        json!({"prompt": "a", "size": "1x1"}),
        retried("f", 0),
    )
    .unwrap_err();
    let own = submit_as(&jobs, small(3), retried("e", 1))
        .unwrap()
        .record
        .id;
    assert_ne!(first, own);
    jobs.drain(Duration::from_secs(60));
    drop(jobs);
    let jobs = reopened(&state);
    let kept = submit_as(&jobs, small(1), keyed("k", "c"))
        .unwrap()
        .record
        .id;
    assert_eq!(kept, ids[0]);
}

#[test]
fn ended_jobs_go_after_their_time() {
    let state = State::new("expiry");
    let limits = Limits {
        keep: Duration::ZERO,
        ..Limits::default()
    };
    let jobs = state.open(limits);
    let id = submit(&jobs, small(1)).unwrap().record.id;
    let start = Instant::now();
    let is_kept = || fs::read_dir(state.0.join("jobs")).unwrap().count() > 0;
    while jobs.get(id).is_some() || is_kept() {
        assert!(start.elapsed() < Duration::from_secs(60));
        thread::sleep(Duration::from_millis(5));
    }
}
