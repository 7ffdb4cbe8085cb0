//! The door of OpenRouter's videos API: what its clients send, what they read, and what they are refused.

use std::fs;

use serde_json::{Value, json};

use super::{
    Folder, Server,
    creating::{PICTURE, base64, serve_whole_model},
    until,
    wire::{Answer, Call},
};

const VIDEOS: &str = "/api/v1/videos";

fn create(body: &Value) -> Call {
    let call = Call::new("POST", VIDEOS).header("Content-Type", "application/json");
    call.body(body.to_string())
}

/// A clip in a moment.
fn small() -> Value {
    json!({ "model": "a/b", "prompt": "a red ball", "size": "32x32", "duration": 0.2, "seed": 7 })
}

fn with(name: &str, value: Value) -> Value {
    let mut body = small();
    body[name] = value;
    body
}

/// A refusal as these clients read it: a number and a text.
#[track_caller]
fn refused(answer: &Answer, status: u16) -> String {
    let json = answer.json();
    assert_eq!(
        (answer.status, &json["error"]["code"]),
        (status, &json!(status)),
        "{json}"
    );
    assert!(json["error"]["metadata"]["reason"].is_string(), "{json}");
    json["error"]["message"].as_str().unwrap().to_string()
}

fn path(url: &Value) -> String {
    let url = url.as_str().unwrap();
    url.strip_prefix("http://127.0.0.1").unwrap().into()
}

#[track_caller]
fn created(server: &Server, body: &Value) -> Value {
    let answer = server.ask(&create(body));
    let job = answer.json();
    assert_eq!(answer.status, 202, "{job}");
    assert!(job["id"].is_string() && job["error"].is_null(), "{job}");
    assert!(
        job["status"] == "pending" || job["status"] == "in_progress",
        "{job}"
    );
    job
}

#[track_caller]
fn wait(server: &Server, job: &Value, state: &str) -> Value {
    let get = || server.ask(&Call::get(path(&job["polling_url"]))).json();
    until(state, || {
        let found = get();
        let goes_on = found["status"] == "pending" || found["status"] == "in_progress";
        assert!(goes_on || found["status"] == state, "{found}");
        found["status"] == state
    });
    get()
}

#[test]
fn a_job_is_polled_at_its_url_and_read() {
    let folder = Folder::new("openrouter");
    let server = folder.serve(&["--openrouter"]);
    let job = created(&server, &small());
    let done = wait(&server, &job, "completed");
    assert_eq!(
        (&done["id"], &done["polling_url"]),
        (&job["id"], &job["polling_url"])
    );
    assert_eq!(
        (&done["urls"], done["urls"].as_array().unwrap().len()),
        (&done["unsigned_urls"], 1)
    );
    let clip = server.ask(&Call::get(path(&done["urls"][0])));
    assert_eq!((clip.status, &clip.body[4..8]), (200, &b"ftyp"[..]));
    let content = |query: &str| {
        let url = format!("{}/content{query}", path(&job["polling_url"]));
        server.ask(&Call::get(url))
    };
    assert!(content("").body == clip.body && content("?index=0").body == clip.body);
    refused(&content("?index=1"), 400);
    // The job is the same behind the other door.
    let same = server.job(job["id"].as_str().unwrap());
    assert_eq!(
        (&same["size"], &same["seconds"], &same["seed"]),
        (&json!("32x32"), &json!("0.2"), &json!(7))
    );
    let long =
        json!({ "prompt": "a", "size": "448x256", "duration": 10, "num_inference_steps": 1000 });
    let long = created(&server, &long);
    let early = server.ask(&Call::get(format!(
        "{}/content",
        path(&long["polling_url"])
    )));
    assert_eq!(early.status, 409);
    assert!(wait(&server, &long, "in_progress")["unsigned_urls"].is_null());
    let url = format!("/v1/videos/{}/cancel", long["id"].as_str().unwrap());
    server.ask(&Call::new("POST", url));
    let cancelled = wait(&server, &long, "cancelled");
    assert_eq!(cancelled["error"], "the job was cancelled");
}

#[test]
fn the_model_has_all_that_strict_clients_need() {
    let folder = Folder::new("openrouter-models");
    let server = folder.serve(&["--openrouter"]);
    let models = server.ask(&Call::get("/api/v1/videos/models")).json();
    let model = &models["data"][0];
    for name in ["id", "name", "canonical_slug"] {
        assert!(model[name].is_string(), "{name}: {model}");
    }
    assert!(model["created"].is_u64() && model["allowed_passthrough_parameters"].is_array());
    for name in [
        "creativity",
        "generate_audio",
        "seed",
        "supported_aspect_ratios",
        "supported_durations",
        "supported_frame_images",
        "supported_resolutions",
        "supported_sizes",
        "upscale_factor",
    ] {
        assert!(model.get(name).is_some(), "{name}: {model}");
    }
    assert_eq!(model["supported_frame_images"], json!(["first_frame"]));
}

#[test]
#[allow(clippy::too_many_lines, reason = "tables of values and their refusals")]
fn a_first_frame_is_taken_and_nothing_else_is_pretended() {
    let folder = Folder::new("openrouter-frames");
    drop(serve_whole_model(&folder));
    let server = folder.serve(&["--model", "model", "--openrouter"]);
    let url = format!("data:image/png;base64,{}", base64(PICTURE));
    let frame = |kind: &str| json!([{ "type": "image_url", "image_url": { "url": url }, "frame_type": kind }]);
    let clip = |body: &Value| {
        let done = wait(&server, &created(&server, body), "completed");
        server.ask(&Call::get(path(&done["unsigned_urls"][0]))).body
    };
    let framed = clip(&with("frame_images", frame("first_frame")));
    assert!(framed != clip(&small()), "the picture changed nothing");
    assert!(framed == clip(&with("input_reference", json!(url))));
    let two = [
        frame("first_frame")[0].clone(),
        frame("first_frame")[0].clone(),
    ];
    for (name, value, status, words) in [
        (
            "frame_images",
            frame("last_frame"),
            422,
            "takes no other frame",
        ),
        ("frame_images", json!(two), 400, "one first_frame"),
        ("frame_images", json!("a"), 400, "must be a list"),
        (
            "frame_images",
            json!([{ "frame_type": "first_frame" }]),
            400,
            "must be a list",
        ),
        (
            "input_references",
            frame("first_frame"),
            422,
            "one picture, the first frame",
        ),
        ("previous_job_id", json!("a"), 422, "takes no clip"),
        (
            "callback_url",
            json!("https://example.com"),
            422,
            "calls nobody",
        ),
        ("upscale_factor", json!(2), 422, "takes no clip"),
        (
            "resolution",
            json!("720p"),
            400,
            "cannot stand beside `size`",
        ),
        (
            "aspect_ratio",
            json!("16:9"),
            400,
            "cannot stand beside `size`",
        ),
        ("seconds", json!(1), 400, "given twice"),
        ("sead", json!(1), 400, "did you mean `seed`?"),
        ("size", json!("1x1"), 400, "32x32"),
        ("duration", json!("a"), 400, "`duration` must be a number"),
        ("prompt", json!(""), 400, "missing or empty"),
    ] {
        let said = refused(&server.ask(&create(&with(name, value))), status);
        assert!(said.contains(words), "{name}: {said}");
    }
    let linked = json!([{ "image_url": { "url": "https://example.com/a.png" } }]);
    let said = refused(&server.ask(&create(&with("frame_images", linked))), 422);
    assert!(said.contains("fetches nothing"), "{said}");
    for (name, value) in [
        ("frame_images", json!(null)),
        ("frame_images", json!([])),
        ("input_references", json!([])),
        ("callback_url", json!(null)),
        ("provider", json!({ "options": {} })),
        ("session_id", json!("a")),
        ("trace", json!({ "a": 1 })),
        ("user", json!("a")),
        ("generate_audio", json!(false)),
    ] {
        created(&server, &with(name, value));
    }
    let shaped =
        json!({ "prompt": "a", "resolution": "480p", "aspect_ratio": "1:1", "duration": 0.2 });
    let job = created(&server, &shaped);
    let size = server.job(job["id"].as_str().unwrap())["size"].clone();
    assert_eq!(size, "672x672");
}

#[test]
fn errors_have_a_number_and_both_doors_their_own() {
    let folder = Folder::new("openrouter-errors");
    fs::write(folder.0.join("keys"), "one\n").unwrap();
    let server = folder.serve(&["--openrouter", "--dashscope", "--keys", "keys"]);
    let ask = |method, path: &str| {
        server.ask(&Call::new(method, path).header("Authorization", "Bearer one"))
    };
    refused(&server.ask(&create(&small())), 401);
    refused(&server.ask(&Call::get("/api/v1/videos/models")), 401);
    refused(
        &ask("GET", "/api/v1/videos/video_00000000000000000000000000"),
        404,
    );
    refused(&ask("GET", "/api/v1/videos/a/b"), 404);
    refused(&ask("GET", VIDEOS), 405);
    refused(&ask("POST", VIDEOS), 400);
    assert_eq!(ask("GET", "/api/v1/nowhere").json()["code"], "InvalidURL");
    assert_eq!(ask("GET", "/api/v1/tasks").json()["total"], 0);
    ask("GET", "/v1/nowhere").error(404);
}
