//! An engine: a session, and a thread that makes one clip after the other.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use serde_json::{Map, Value, json};

use super::{
    job::{Made, Making, Order, is_telling},
    log::{self, GallopLogLevel},
    status::{Failure, GallopStatus},
};
use crate::{
    Error,
    jobs::PlanShares,
    pipeline::{Output, Report, SAMPLE_RATE, Session, request::FPS},
};

/// Jobs that wait, and the one that is being made.
#[derive(Default)]
struct Jobs {
    waiting: VecDeque<Arc<Making>>,
    running: Option<Arc<Making>>,
    is_closed: bool,
}

#[derive(Default)]
struct Queue {
    jobs: Mutex<Jobs>,
    changed: Condvar,
}

impl Queue {
    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next job, when there is one; none when the queue is closed.
    fn next(&self) -> Option<Arc<Making>> {
        let goes_on = |jobs: &mut Jobs| jobs.waiting.is_empty() && !jobs.is_closed;
        let jobs = self.changed.wait_while(self.jobs(), goes_on);
        let mut jobs = jobs.unwrap_or_else(PoisonError::into_inner);
        jobs.running = jobs.waiting.pop_front();
        jobs.running.clone()
    }
}

fn cancelled() -> Failure {
    Failure::new(GallopStatus::Cancelled, "the job was cancelled")
}

/// A job that an engine has taken.
pub(super) struct Taken {
    pub(super) making: Arc<Making>,
    queue: Arc<Queue>,
}

impl Taken {
    /// Ends the job at once if it waits, else as soon as the work looks.
    pub(super) fn cancel(&self) {
        self.making.cancel.cancel();
        let mut jobs = self.queue.jobs();
        let before = jobs.waiting.len();
        jobs.waiting
            .retain(|other| !Arc::ptr_eq(other, &self.making));
        let has_waited = jobs.waiting.len() < before;
        drop(jobs);
        if has_waited {
            self.making.end(Err(cancelled()));
        }
    }
}

/// Dropping it cancels its jobs and waits for the end of the one that is being made.
pub(super) struct Engine {
    pub(super) session: Arc<Session>,
    plan: PlanShares,
    queue: Arc<Queue>,
    worker: Option<JoinHandle<()>>,
}

impl Engine {
    /// Starts the thread; `plan` says what share of the work each stage of a job has.
    ///
    /// # Errors
    /// [`Error::Device`] if no thread can be started.
    pub(super) fn start(session: Session, plan: PlanShares) -> Result<Self, Failure> {
        let (session, queue) = (Arc::new(session), Arc::<Queue>::default());
        let (own, taken) = (session.clone(), queue.clone());
        let work = move || {
            while let Some(making) = taken.next() {
                work(&own, &making);
                taken.jobs().running = None;
            }
        };
        let thread = thread::Builder::new().name("gallop".into());
        let worker = thread.spawn(work);
        let worker =
            worker.map_err(|e| Error::device(format!("no thread could be started: {e}")))?;
        Ok(Self {
            session,
            plan,
            queue,
            worker: Some(worker),
        })
    }

    /// Takes a job, which is made when those before it are.
    pub(super) fn submit(&self, order: Order) -> Taken {
        let making = Arc::new(Making::new(order, &self.plan));
        self.queue.jobs().waiting.push_back(making.clone());
        self.queue.changed.notify_all();
        Taken {
            making,
            queue: self.queue.clone(),
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let mut jobs = self.queue.jobs();
        jobs.is_closed = true;
        let waiting = std::mem::take(&mut jobs.waiting);
        if let Some(running) = &jobs.running {
            running.cancel.cancel();
        }
        drop(jobs);
        self.queue.changed.notify_all();
        for making in waiting {
            making.end(Err(cancelled()));
        }
        // Who is told by the thread cannot wait for its end, which comes when they return.
        if let Some(worker) = self.worker.take().filter(|_| !is_telling()) {
            // It has ended with a panic of its own at worst, and there is nobody to tell.
            drop(worker.join());
        }
    }
}

fn work(session: &Session, making: &Making) {
    making.start();
    // A fault of ours fails this job alone.
    let made = catch_unwind(AssertUnwindSafe(|| make(session, making)));
    let made = made.unwrap_or_else(|payload| Err(Failure::panic(&*payload)));
    let line = match &made {
        Ok(_) => "a clip is made".into(),
        Err(failure) => format!("a clip is not made: {}", failure.text),
    };
    log::tell(GallopLogLevel::Info, &line);
    making.end(made);
}

fn make(session: &Session, making: &Making) -> Result<Made, Failure> {
    let output = Output {
        content: true,
        ..Output::handed_over(making.order.encode.clone())
    };
    let request = &making.order.request;
    let drafted = session.draft(request, &output, making, &making.cancel);
    let mut draft = drafted.map_err(|error| match error {
        Error::Interrupted => cancelled(),
        error => Failure::from(error),
    })?;
    let content = draft.take_content();
    let content = content.expect("the output asks for it");
    let mut mp4 = Vec::new();
    let report = draft.publish_to(&mut mp4, "the clip")?;
    let report = described(&report, making);
    Ok(Made {
        mp4,
        content,
        report,
    })
}

fn described(report: &Report, making: &Making) -> Value {
    let (width, height) = report.job.shown();
    let stages = report.stages.iter();
    let timings = stages.map(|(stage, time)| (stage.name().into(), json!(time.as_secs_f64())));
    json!({
        "status": "completed",
        "model": report.model,
        "trained": report.is_trained(),
        "device": report.device,
        "precision": report.formats.to_string(),
        "size": format!("{width}x{height}"),
        "width": width,
        "height": height,
        "seconds": report.job.seconds(),
        "frames": report.file.frames,
        "fps": FPS,
        "audio_samples": report.file.samples,
        "audio_rate": SAMPLE_RATE,
        "seed": report.job.seed,
        "encoder": report.file.encoder,
        "latents_sha256": report.latents_sha256,
        "timings": timings.collect::<Map<String, Value>>(),
        "warnings": making.warnings(),
        "version": env!("CARGO_PKG_VERSION"),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{
        super::{job::Listener, state::GallopJobStatus},
        *,
    };
    use crate::{
        Result,
        executor::{Executor, Loaded, Needs, Prepare, Program},
        pipeline::{EncodeOptions, Keep, Model, request::Request},
        plan::{Plan, TensorList},
        weights::Weights,
    };

    /// A device with a fault.
    struct Faulty;

    impl Executor for Faulty {
        fn name(&self) -> String {
            "faulty".into()
        }

        fn check(&self, _: &Plan, _: &Prepare) -> Result<Needs> {
            panic!("a fault of the device")
        }

        fn free_bytes(&self) -> Result<u64> {
            Ok(1 << 40)
        }

        fn load(
            &self,
            _: &Weights,
            _: &TensorList,
            _: u64,
            _: &Prepare,
        ) -> Result<Arc<dyn Loaded>> {
            panic!("a fault of the device")
        }

        fn prepare(&self, _: &Plan, _: &Arc<dyn Loaded>, _: &Prepare) -> Result<Box<dyn Program>> {
            panic!("a fault of the device")
        }
    }

    fn order() -> Order {
        Order {
            request: Request {
                prompt: "A red ball bounces".into(),
                ..Request::default()
            },
            encode: EncodeOptions::default(),
            warnings: Vec::new(),
            listener: Listener {
                function: None,
                user: std::ptr::null_mut(),
            },
        }
    }

    #[test]
    fn a_panic_fails_its_job_and_the_next_one_has_its_turn() {
        let session = Session::new(Arc::new(Faulty), Model::miniature(), Keep::default());
        let engine = Engine::start(session, Arc::new(|_, _| Vec::new())).unwrap();
        for _ in 0..2 {
            let taken = engine.submit(order());
            taken.making.wait(Some(Duration::from_secs(60))).unwrap();
            let failure = taken.making.made().err().unwrap();
            assert_eq!(failure.status, GallopStatus::Internal);
            assert!(failure.text.contains("a fault of the device"));
            assert_eq!(taken.making.state().status, GallopJobStatus::Failed);
        }
    }

    #[test]
    fn jobs_that_wait_end_with_their_engine() {
        let session = Session::new(Arc::new(Faulty), Model::miniature(), Keep::default());
        let engine = Engine::start(session, Arc::new(|_, _| Vec::new())).unwrap();
        let taken: Vec<Taken> = (0..3).map(|_| engine.submit(order())).collect();
        taken[2].cancel();
        taken[2].cancel();
        drop(engine);
        for taken in taken {
            taken.making.wait(Some(Duration::ZERO)).unwrap();
            assert!(taken.making.made().is_err());
        }
    }
}
