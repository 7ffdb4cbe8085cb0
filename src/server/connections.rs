//! Connections at a time. Where one more would be too many, the one that has been idle for longest makes room: whoever
//! opens many and says nothing keeps nobody out.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::task::AbortHandle;

/// Connections at a time. Each may have a file open too, and a process often may have 1,024 in all.
const MOST: usize = 400;
/// A call of which nothing was sent for so long makes room too, if nothing is idle: its client may read no more.
const STALE: Duration = Duration::from_secs(300);
/// How long to wait before looking again, where all are busy.
const PAUSE: Duration = Duration::from_millis(20);

/// What is known of a connection.
pub(super) struct Activity {
    calls: AtomicUsize,
    /// When something was sent last, or the connection began.
    since: Mutex<Instant>,
}

impl Activity {
    fn is_seen(&self) {
        *lock(&self.since) = Instant::now();
    }
}

/// The connections that are open.
#[derive(Default)]
pub(super) struct Connections(Vec<(Arc<Activity>, AbortHandle)>);

impl Connections {
    /// Returns when there is room for one more.
    pub(super) async fn make_room(&mut self) {
        loop {
            self.0.retain(|(_, task)| !task.is_finished());
            if self.0.len() < MOST {
                return;
            }
            let quiet = self.0.iter().filter_map(|(activity, task)| {
                let is_busy = activity.calls.load(Ordering::Relaxed) > 0;
                let since = *lock(&activity.since);
                let is_quiet = !is_busy || since.elapsed() > STALE;
                is_quiet.then_some((is_busy, since, task))
            });
            match quiet.min_by_key(|(is_busy, since, _)| (*is_busy, *since)) {
                Some((.., task)) => task.abort(),
                None => tokio::time::sleep(PAUSE).await,
            }
            tokio::task::yield_now().await;
        }
    }

    /// Runs a connection.
    pub(super) fn add<T>(&mut self, run: impl FnOnce(Arc<Activity>) -> T)
    where
        T: Future<Output = ()> + Send + 'static,
    {
        let activity = Arc::new(Activity {
            calls: AtomicUsize::new(0),
            since: Mutex::new(Instant::now()),
        });
        let task = tokio::spawn(run(activity.clone()));
        self.0.push((activity, task.abort_handle()));
    }
}

/// Is there while a call is answered.
pub(super) struct Busy(Arc<Activity>);

impl Busy {
    pub(super) fn new(activity: &Arc<Activity>) -> Self {
        activity.is_seen();
        activity.calls.fetch_add(1, Ordering::Relaxed);
        Self(activity.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.is_seen();
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A body whose connection is busy until it is sent.
pub(super) struct BusyBody {
    body: Body,
    busy: Option<Arc<Busy>>,
}

impl BusyBody {
    pub(super) fn new(body: Body, busy: Option<Arc<Busy>>) -> Self {
        Self { body, busy }
    }
}

impl HttpBody for BusyBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.busy.iter().for_each(|busy| busy.0.is_seen());
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn lock(since: &Mutex<Instant>) -> std::sync::MutexGuard<'_, Instant> {
    since.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quietest_makes_room() {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().build().unwrap();
        runtime.block_on(async {
            let mut connections = Connections::default();
            let mut busy = Vec::new();
            for _ in 0..MOST {
                connections.add(|activity| {
                    busy.push(Busy::new(&activity));
                    std::future::pending()
                });
            }
            let wait = Duration::from_millis(100);
            let full = tokio::time::timeout(wait, connections.make_room()).await;
            assert!(full.is_err(), "all are busy");
            let long_ago = Instant::now().checked_sub(2 * STALE);
            let long_ago = long_ago.expect("the machine runs for longer");
            *lock(&busy[7].0.since) = long_ago;
            let abort = |connections: &Connections, at: usize| connections.0[at].1.clone();
            let stale = abort(&connections, 7);
            let idle = abort(&connections, 9);
            busy.remove(9);
            connections.make_room().await;
            assert!(idle.is_finished() && !stale.is_finished());
            connections.add(|activity| {
                busy.push(Busy::new(&activity));
                std::future::pending()
            });
            connections.make_room().await;
            assert!(stale.is_finished());
        });
    }
}
