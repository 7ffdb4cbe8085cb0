//! Doors to the jobs over HTTP: each call becomes one of the six of [`Jobs`], and its answer what the client knows.
//!
//! `openai.rs` is the door, `dashscope.rs` and `openrouter.rs` are further ones, whose refusals `dialect.rs` words; `page.rs`
//! is the one for people.
//! `guard.rs` and `access.rs` say who may call, `body.rs` reads what is sent, `content.rs` and `events.rs` send clips and
//! progress, `openapi.rs` says what there is. [`serve`] accepts connections, with an end to their number, their headers and
//! their idle time.

mod access;
mod answer;
mod body;
mod connections;
mod content;
mod dashscope;
mod dashscope_request;
mod dialect;
mod events;
mod fields;
mod guard;
mod job_object;
mod limits;
mod metrics;
mod openai;
mod openapi;
mod openrouter;
mod page;
mod shape;
mod state;
mod task_object;
mod uploads;

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use axum::{
    Json, Router,
    body::Body,
    extract::{DefaultBodyLimit, MatchedPath, Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use serde_json::json;
use tokio::sync::watch;
use tower::ServiceExt;

use crate::{
    Error, Result,
    jobs::{Code, Jobs, Refusal},
};
pub use access::Access;
use answer::{Answer, in_our_words};
use connections::{Activity, Busy, BusyBody, Connections};
use dialect::in_their_words;
use guard::{check_host, guard};
use limits::Rest;
pub use metrics::Metrics;
use openapi::{Gives, Operation, Route};
use state::Shared;
pub use state::Site;

/// Headers of a call.
const HEADERS: usize = 100;
/// Bytes of all headers of a call.
const HEADER_BYTES: usize = 64 << 10;
/// Within which a call's headers must come; also how long a connection may be idle.
const HEADER_TIME: Duration = Duration::from_secs(30);

/// Answers calls on `listener` until `stop` is true.
///
/// # Errors
/// [`Error::Device`] if no thread can be started or the listener fails.
pub fn serve(
    listener: TcpListener,
    jobs: &Jobs,
    site: Site,
    mut stop: watch::Receiver<bool>,
) -> Result<()> {
    let failed = |e: std::io::Error| Error::device(format!("the server cannot run: {e}"));
    listener.set_nonblocking(true).map_err(failed)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("http")
        .enable_all()
        .build()
        .map_err(failed)?;
    let shared = Arc::new(Shared::new(jobs.clone(), site));
    let app = app(&shared);
    runtime.block_on(async move {
        let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
        let mut connections = Connections::default();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
            };
            let Ok((stream, peer)) = accepted else {
                // So many files are open that no more can be: some will be closed.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            tokio::select! {
                () = connections.make_room() => {}
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
            }
            let app = app.clone();
            connections.add(|activity| answer_connection(stream, peer, app, activity));
        }
    })
}

async fn answer_connection(
    stream: tokio::net::TcpStream,
    peer: SocketAddr,
    app: Router,
    activity: Arc<Activity>,
) {
    drop(stream.set_nodelay(true));
    let service = app.map_request(move |mut request: hyper::Request<hyper::body::Incoming>| {
        let extensions = request.extensions_mut();
        extensions.insert(axum::extract::ConnectInfo(peer));
        extensions.insert(Arc::new(Busy::new(&activity)));
        request.map(axum::body::Body::new)
    });
    let mut builder = auto::Builder::new(hyper_util::rt::TokioExecutor::new()).http1_only();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_headers(HEADERS)
        .max_buf_size(HEADER_BYTES);
    // What goes wrong with a connection is its client's.
    drop(
        builder
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
            .await,
    );
}

fn app(shared: &Arc<Shared>) -> Router {
    let guarded = openai::routes().into_iter().chain(own_routes()).collect();
    let guarded = openapi::router(guarded).merge(openai::without());
    let open = openapi::router(open_routes())
        .merge(page::routes())
        .route("/openapi.json", get(openapi));
    let site = &shared.site;
    let further = [
        site.dashscope.then(|| dashscope::routes(shared)),
        site.openrouter.then(|| openrouter::routes(shared)),
    ];
    let further = further
        .into_iter()
        .flatten()
        .fold(Router::new(), Router::merge);
    let all = guarded
        .layer(middleware::from_fn_with_state(shared.clone(), guard))
        .merge(open)
        .merge(further)
        .layer(middleware::from_fn_with_state(shared.clone(), count))
        .fallback(missing)
        .method_not_allowed_fallback(not_allowed);
    // `body.rs` has its own limit, which a client can hear of.
    all.layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(shared.clone(), check_host))
        .layer(middleware::from_fn_with_state(shared.clone(), hear_out))
        .with_state(shared.clone())
}

/// What anyone may ask.
fn open_routes() -> Vec<Route> {
    let state = Gives::Object("State");
    let lives = Operation::new("get", "Whether the server lives", state);
    let takes_jobs = Operation::new("get", "Whether jobs are taken", state).errors(&[503]);
    vec![
        Route::new("/health", get(health), [lives]),
        Route::new("/ready", get(ready), [takes_jobs]),
    ]
}

/// What stands beside the jobs.
fn own_routes() -> Vec<Route> {
    let text = Gives::Bytes("text/plain");
    let figures = Operation::new("get", "Figures for Prometheus", text);
    let metrics = Route::new("/metrics", get(metrics), [figures]);
    openai::model_routes()
        .into_iter()
        .chain([metrics])
        .collect()
}

async fn openapi() -> Json<serde_json::Value> {
    let all = [openai::routes(), own_routes(), open_routes()];
    let all: Vec<Route> = all.into_iter().flatten().collect();
    Json(openapi::document(&all))
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let kind = "text/plain; version=1.0.0; charset=utf-8";
    let text = shared.site.metrics.text(&shared.jobs);
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

/// Counts calls by the pattern of their path.
async fn count(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("other", MatchedPath::as_str).to_string();
    let response = next.run(request).await;
    let code = response.status().as_u16();
    shared.site.metrics.answered(route, code);
    response
}

async fn health() -> Json<serde_json::Value> {
    Json(json!({ "status": "ok" }))
}

async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    match shared.jobs.is_open() {
        true => Json(json!({ "status": "ready" })).into_response(),
        false => {
            let draining = Json(json!({ "status": "draining" }));
            (StatusCode::SERVICE_UNAVAILABLE, draining).into_response()
        }
    }
}

async fn missing(request: Request) -> Answer {
    let path: String = request.uri().path().chars().take(80).collect();
    Refusal::new(Code::NotFound, format!("there is nothing at `{path}`")).into()
}

async fn not_allowed(request: Request) -> Answer {
    let path: String = request.uri().path().chars().take(80).collect();
    let message = format!("`{path}` does not take {}", request.method());
    let refusal = Answer::from(Refusal::new(Code::UnsupportedFeature, message));
    refusal.with_status(StatusCode::METHOD_NOT_ALLOWED)
}

/// Answers when the client listens: a refusal comes when the body has been heard out. Until the answer is out the
/// connection is busy.
async fn hear_out(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_string();
    let busy = request.extensions().get::<Arc<Busy>>().cloned();
    let (parts, body) = request.into_parts();
    let (body, rest) = Rest::of(body);
    let response = next.run(Request::from_parts(parts, body)).await;
    let response = in_our_words(response).await;
    let response = in_their_words(&shared.site, &path, response);
    let status = response.status();
    if (status.is_client_error() || status.is_server_error())
        && status != StatusCode::REQUEST_TIMEOUT
    {
        rest.discard().await;
    }
    response.map(|body| Body::new(BusyBody::new(body, busy)))
}
