//! What a client reads: the job, lists of jobs, the clip, and events.

use std::{
    fs,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    Folder, id, long, small,
    wire::{Call, events},
};

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap().as_secs()
}

#[test]
fn a_job_has_the_members_and_types_that_strict_clients_need() {
    let folder = Folder::new("object");
    let server = folder.serve(&[]);
    let mut asked = small(7);
    asked["metadata"] = json!({ "mine": [1] });
    asked["user"] = json!("somebody");
    let first = server.ask(&Call::create(&asked));
    let created = first.json();
    let poll = first.header("openai-poll-after-ms").unwrap().to_string();
    assert!((250..=5000).contains(&poll.parse::<u64>().unwrap()));
    let url = format!("/v1/videos/{}", id(&created));
    let done = server.wait_completed(id(&created));
    let answer = server.ask(&Call::get(&url).header("Accept", "video/mp4"));
    assert_eq!(answer.header("openai-poll-after-ms"), Some(poll.as_str()));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    for job in [&created, &done] {
        assert_eq!(job["object"], "video");
        assert_eq!(
            (&job["seconds"], &job["size"]),
            (&json!("0.2"), &json!("32x32"))
        );
        assert_eq!(
            (&job["prompt"], &job["seed"]),
            (&json!("a red ball"), &json!(7))
        );
        assert_eq!(
            (&job["error"], &job["remixed_from_video_id"]),
            (&Value::Null, &Value::Null)
        );
        assert_eq!(
            (&job["metadata"], &job["user"]),
            (&asked["metadata"], &asked["user"])
        );
        assert!(now() - job["created_at"].as_u64().unwrap() < 60);
        assert!(job["model"].is_string() && job["warnings"].is_array());
    }
    assert!(["queued", "in_progress"].contains(&created["status"].as_str().unwrap()));
    assert!(created["completed_at"].is_null() && created["expires_at"].is_null());
    assert_eq!(done["progress"], 100);
    let completed = done["completed_at"].as_u64().unwrap();
    assert!(completed >= created["created_at"].as_u64().unwrap());
    assert!(done["expires_at"].as_u64().unwrap() - completed >= 86_399);
    assert!(done["timings"]["base"].as_f64().unwrap() > 0.0);
    let ops = done["ops"].as_array().unwrap();
    assert!(ops.iter().any(|op| op["op"] == "conv3d"), "{ops:?}");
    let seconds = |value: &Value| value.as_f64().unwrap();
    let in_ops: f64 = ops.iter().map(|op| seconds(&op["seconds"])).sum();
    let in_stages: f64 = done["timings"]
        .as_object()
        .unwrap()
        .values()
        .map(seconds)
        .sum();
    assert!(
        0.2 * in_stages < in_ops && in_ops < in_stages,
        "{ops:?} {}",
        done["timings"]
    );
    let failed = server.create(&long());
    let cancelled = server.ask(&Call::new(
        "POST",
        format!("/v1/videos/{}/cancel", id(&failed)),
    ));
    let cancelled = cancelled.json();
    assert_eq!(cancelled["status"], "failed", "{cancelled}");
    assert_eq!(cancelled["error"]["code"], "cancelled");
    assert_eq!(cancelled["error"].as_object().unwrap().len(), 4);
    assert_eq!(server.job(id(&failed)), cancelled);
}

#[test]
fn whatever_is_refused_has_the_error_object() {
    let folder = Folder::new("errors");
    let server = folder.serve(&[]);
    let url = "/v1/videos/video_00000000000000000000000000";
    let error = |path: &str, status| server.ask(&Call::get(path)).error(status);
    let none = error("/v1/videos/video_00000000000000000000000000", 404);
    assert_eq!(none["code"], "not_found");
    assert_eq!(
        error("/v1/videos/video_1/content", 404)["code"],
        "not_found"
    );
    for path in [
        "/v1/videos/%ff",
        "/v1/models/%ff",
        "/v1/videos?limit=1&limit=2",
    ] {
        error(path, 400);
    }
    assert_eq!(error("/v1/videos?limit=0", 400)["param"], "limit");
    assert_eq!(error("/v1/videos?order=up", 400)["param"], "order");
    for path in [
        "/nowhere",
        "/v1/videos/",
        "/v1/videos/edits",
        "/v1/videos/a/b/c",
    ] {
        error(path, 404);
    }
    for (method, path) in [("PUT", "/v1/videos"), ("POST", "/health"), ("PATCH", url)] {
        server.ask(&Call::new(method, path)).error(405);
    }
    let remix = format!("{url}/remix");
    server.ask(&Call::new("POST", remix)).error(404);
}

#[test]
fn the_model_says_what_it_can() {
    let folder = Folder::new("models");
    let server = folder.serve(&[]);
    let models = server.ask(&Call::get("/v1/models")).json();
    let model = models["data"][0]["id"].as_str().unwrap();
    let one = server.ask(&Call::get(format!("/v1/models/{model}"))).json();
    assert_eq!(one, models["data"][0]);
    assert!(one["created"].is_u64() && one["capabilities"]["sizes"].is_array());
    let modes = &one["capabilities"]["modes"];
    assert_eq!(modes, &json!(["text-to-video"]));
}

#[test]
fn the_model_names_what_its_folder_has_the_parts_for() {
    let folder = Folder::new("modes");
    let model = folder.0.join("model");
    let made = Command::new(env!("CARGO_BIN_EXE_gallop"))
        .args(["dev", "synth", "--config", "miniature", "-o"])
        .arg(&model)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let modes = || {
        let server = folder.serve(&["--model", model.to_str().unwrap()]);
        let models = server.ask(&Call::get("/v1/models")).json();
        models["data"][0]["capabilities"]["modes"].clone()
    };
    assert_eq!(
        modes(),
        json!(["text-to-video", "image-to-video", "audio-to-video"])
    );
    fs::remove_file(model.join("Wan2.2_VAE.safetensors")).unwrap();
    let manifest = model.join("gallop.json");
    let mut parts: Value = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
    parts.as_object_mut().unwrap().remove("wan_vae").unwrap();
    fs::write(&manifest, parts.to_string()).unwrap();
    assert_eq!(modes(), json!(["text-to-video", "audio-to-video"]));
}

#[test]
fn what_the_document_allows_in_a_query_is_taken_and_nothing_else() {
    let folder = Folder::new("document");
    let server = folder.serve(&[]);
    let document = server.ask(&Call::get("/openapi.json")).json();
    let schema = |name: &str| {
        let parameters = document["paths"]["/v1/videos"]["get"]["parameters"].as_array();
        let found = parameters.unwrap().iter().find(|one| one["name"] == name);
        found.unwrap()["schema"].clone()
    };
    let (limit, order) = (schema("limit"), schema("order"));
    let bound = |name: &str| limit[name].as_u64().unwrap();
    let (least, most) = (bound("minimum"), bound("maximum"));
    let words = order["enum"].as_array().unwrap();
    let mut allowed = vec![format!("limit={least}"), format!("limit={most}")];
    allowed.extend(
        words
            .iter()
            .map(|word| format!("order={}", word.as_str().unwrap())),
    );
    // The largest and the smallest id of the pattern, and one beyond it.
    assert_eq!(
        schema("after")["pattern"],
        "^(video_[0-7][0-9A-HJKMNP-TV-Z]{25})?$"
    );
    allowed.push(format!("after=video_7{}", "Z".repeat(25)));
    allowed.push(format!("after=video_{}", "0".repeat(26)));
    // Clients that ask for all pages begin so.
    allowed.push("after=".into());
    for query in allowed {
        let answer = server.ask(&Call::get(format!("/v1/videos?{query}")));
        assert_eq!(answer.status, 200, "{query}");
    }
    let beyond = format!("after=video_8{}", "0".repeat(25));
    let none = [
        format!("limit={}", least - 1),
        format!("limit={}", most + 1),
    ];
    for query in none.into_iter().chain([beyond, "order=up".into()]) {
        server
            .ask(&Call::get(format!("/v1/videos?{query}")))
            .error(400);
    }
}

#[test]
fn a_clip_is_sent_whole_in_ranges_and_not_again() {
    let folder = Folder::new("content");
    let server = folder.serve(&[]);
    let waits = server.create(&long());
    let other = server.create(&small(2));
    let url = |job: &Value| format!("/v1/videos/{}/content", id(job));
    let early = server.ask(&Call::get(url(&waits)));
    assert_eq!(early.error(409)["code"], "not_ready");
    assert_eq!(early.header("x-should-retry"), Some("false"));
    server.ask(&Call::new("DELETE", format!("/v1/videos/{}", id(&waits))));
    let job = server.wait_completed(id(&other));
    let whole = server.ask(&Call::get(url(&job)));
    assert_eq!(
        (whole.status, whole.header("content-type")),
        (200, Some("video/mp4"))
    );
    let clip = fs::read(folder.state().join("jobs").join(id(&job)).join("video.mp4")).unwrap();
    assert!(whole.body == clip && job["file"]["bytes"] == clip.len());
    let hash: String = Sha256::digest(&clip)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(job["file"]["sha256"], hash);
    assert_eq!(whole.header("accept-ranges"), Some("bytes"));
    let tag = whole.header("etag").unwrap();
    let head = server.ask(&Call::new("HEAD", url(&job)));
    let length = clip.len().to_string();
    assert_eq!(
        (head.status, head.header("content-length")),
        (200, Some(length.as_str()))
    );
    let ask = |name: &str, value: &str| server.ask(&Call::get(url(&job)).header(name, value));
    for (range, expected) in [
        ("bytes=0-9", &clip[..10]),
        ("bytes=100-", &clip[100..]),
        ("bytes=-7", &clip[clip.len() - 7..]),
    ] {
        let part = ask("Range", range);
        assert_eq!(part.status, 206, "{range}");
        assert!(part.body == expected, "{range}");
        assert!(
            part.header("content-range")
                .unwrap()
                .ends_with(&format!("/{length}"))
        );
    }
    let behind = ask("Range", &format!("bytes={length}-"));
    assert_eq!(behind.status, 416);
    assert_eq!(
        behind.header("content-range"),
        Some(format!("bytes */{length}").as_str())
    );
    assert_eq!(ask("If-None-Match", tag).status, 304);
    assert_eq!(ask("If-None-Match", "\"other\"").status, 200);
    let deleted = server
        .ask(&Call::new("DELETE", format!("/v1/videos/{}", id(&job))))
        .json();
    assert_eq!(
        deleted,
        json!({"id": id(&job), "object": "video.deleted", "deleted": true})
    );
    server.ask(&Call::get(url(&job))).error(404);
    server
        .ask(&Call::new("DELETE", format!("/v1/videos/{}", id(&job))))
        .error(404);
    assert!(folder.names("jobs").is_empty());
}

#[test]
fn a_clip_has_a_thumbnail_and_no_other_file_is_sent() {
    let folder = Folder::new("thumbnail");
    let server = folder.serve(&[]);
    let job = server.wait_completed(id(&server.create(&small(2))));
    let url = format!("/v1/videos/{}/content", id(&job));
    let thumbnail = server.ask(&Call::get(format!("{url}?variant=thumbnail")));
    assert_eq!(thumbnail.header("content-type"), Some("image/webp"));
    assert_eq!(
        (&thumbnail.body[..4], &thumbnail.body[8..12]),
        (&b"RIFF"[..], &b"WEBP"[..])
    );
    for variant in ["../job.json", "job.json", "", "%2e%2e%2fjob.json"] {
        let none = server.ask(&Call::get(format!("{url}?variant={variant}")));
        assert_eq!(none.error(400)["param"], "variant");
    }
}

#[test]
fn lists_have_pages_in_both_orders() {
    let folder = Folder::new("pages");
    let server = folder.serve(&[]);
    let jobs: Vec<String> = (0..5)
        .map(|_| id(&server.create(&long())).to_string())
        .collect();
    let page = |query: &str| server.ask(&Call::get(format!("/v1/videos?{query}"))).json();
    let ids = |page: &Value| -> Vec<String> {
        let rows = page["data"].as_array().unwrap();
        rows.iter().map(|row| id(row).to_string()).collect()
    };
    let all = page("");
    assert_eq!(
        (&all["object"], &all["has_more"]),
        (&json!("list"), &json!(false))
    );
    let newest: Vec<String> = jobs.iter().rev().cloned().collect();
    assert_eq!(ids(&all), newest);
    let first = page("limit=2");
    assert_eq!(
        (ids(&first), &first["has_more"]),
        (newest[..2].to_vec(), &json!(true))
    );
    assert_eq!(
        (&first["first_id"], &first["last_id"]),
        (&json!(newest[0]), &json!(newest[1]))
    );
    // The last row of a page may be deleted before the next page is asked for.
    server.ask(&Call::new("DELETE", format!("/v1/videos/{}", newest[1])));
    let next = page(&format!("limit=2&after={}", newest[1]));
    assert_eq!(
        (ids(&next), &next["has_more"]),
        (newest[2..4].to_vec(), &json!(true))
    );
    let last = page(&format!("limit=2&after={}", newest[3]));
    assert_eq!(
        (ids(&last), &last["has_more"]),
        (newest[4..].to_vec(), &json!(false))
    );
    let oldest = page("order=asc&limit=3");
    assert_eq!(ids(&oldest), jobs[..3]);
    let behind = page(&format!("order=asc&after={}", jobs[4]));
    assert_eq!((ids(&behind), &behind["last_id"]), (vec![], &Value::Null));
}

#[test]
fn events_tell_the_way_to_the_end() {
    let folder = Folder::new("events");
    let server = folder.serve(&[]);
    let mut asked = small(3);
    asked["seconds"] = json!(1);
    let job = server.create(&asked);
    let url = format!("/v1/videos/{}/events", id(&job));
    let answer = server.ask(&Call::get(&url));
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    assert_eq!(answer.header("x-accel-buffering"), Some("no"));
    let told = events(&answer);
    let of = |name: &'static str| told.iter().filter(move |event| event.name == name);
    let states: Vec<&str> = of("status")
        .map(|event| event.data["status"].as_str().unwrap())
        .collect();
    assert_eq!(states.last(), Some(&"completed"), "{told:?}");
    let mut progress: Vec<u64> = of("progress")
        .map(|event| event.data["progress"].as_u64().unwrap())
        .collect();
    assert!(
        progress.is_sorted() && progress.last() == Some(&100),
        "{told:?}"
    );
    progress.dedup();
    assert!(progress.len() > 2, "{told:?}");
    assert!(of("progress").any(|event| event.data["stage"] == "base"));
    assert!(of("warning").all(|event| event.data["code"].is_string()) && of("warning").count() > 0);
    let done = told.last().unwrap();
    assert_eq!((done.name.as_str(), &done.data["id"]), ("done", &job["id"]));
    assert!(done.data["file"]["sha256"].is_string());
    // A client that comes back hears of the end at once.
    let again = server.ask(&Call::get(&url).header("Last-Event-ID", &told[0].id));
    assert_eq!(events(&again).last().unwrap().name, "done");
    let long = server.create(&long());
    server.wait_running(id(&long));
    let mut connection = server.connect();
    let follow = Call::get(format!("/v1/videos/{}/events", id(&long)));
    connection.send(&follow.bytes()).unwrap();
    server.ask(&Call::new("DELETE", format!("/v1/videos/{}", id(&long))));
    let told = events(&connection.answer("GET").unwrap());
    assert_eq!(told.last().unwrap().data["deleted"], true, "{told:?}");
}
