//! The door of DashScope: what its clients send, what they read, and what they are refused.

use std::{
    fs, thread,
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};

use super::{
    Folder, Server,
    creating::{PICTURE, VOICE, base64, serve_whole_model},
    until,
    wire::{Answer, Call, Form},
};

const CREATE: &str = "/api/v1/services/aigc/video-generation/video-synthesis";

fn serve(folder: &Folder) -> Server {
    folder.serve(&["--dashscope"])
}

fn create(body: &Value) -> Call {
    let call = Call::new("POST", CREATE).header("Content-Type", "application/json");
    let call = call.header("X-DashScope-Async", "enable");
    call.body(body.to_string())
}

/// A clip in a moment.
fn small() -> Value {
    json!({
        "model": "happyhorse-1.0-t2v",
        "input": { "prompt": "a red ball" },
        "parameters": { "size": "32*32", "duration": 0.2, "seed": 7 },
    })
}

/// A clip that takes longer than any test.
fn long() -> Value {
    json!({
        "model": "happyhorse-1.0-t2v",
        "input": { "prompt": "a red ball" },
        "parameters": { "size": "448*256", "duration": 10 },
    })
}

fn with(group: &str, name: &str, value: Value) -> Value {
    let mut body = small();
    body[group][name] = value;
    body
}

/// A refusal as these clients read it: flat, with its code and its text.
#[track_caller]
fn refused(answer: &Answer, status: u16, code: &str) -> String {
    let json = answer.json();
    let names: Vec<&String> = json.as_object().unwrap().keys().collect();
    assert_eq!(names, ["request_id", "code", "message"], "{json}");
    assert_eq!(
        (answer.status, json["code"].as_str()),
        (status, Some(code)),
        "{json}"
    );
    assert_eq!(answer.header("content-type"), Some("application/json"));
    json["message"].as_str().unwrap().to_string()
}

/// The output of an answer about one task; its id and its state are always there.
#[track_caller]
fn output(answer: &Answer) -> Value {
    let json = answer.json();
    assert_eq!(answer.status, 200, "{json}");
    assert!(json["request_id"].is_string(), "{json}");
    let output = &json["output"];
    assert!(
        output["task_id"].is_string() && output["task_status"].is_string(),
        "{json}"
    );
    output.clone()
}

#[track_caller]
fn created(server: &Server, body: &Value) -> String {
    let output = output(&server.ask(&create(body)));
    assert_eq!(output["task_status"], "PENDING");
    output["task_id"].as_str().unwrap().to_string()
}

fn task(server: &Server, id: &str) -> Answer {
    server.ask(&Call::get(format!("/api/v1/tasks/{id}")))
}

#[track_caller]
fn wait(server: &Server, id: &str, state: &str) -> Value {
    until(state, || {
        let found = output(&task(server, id))["task_status"].clone();
        assert!(
            found == state || found == "PENDING" || found == "RUNNING",
            "{found}"
        );
        found == state
    });
    task(server, id).json()
}

fn seconds_now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(since.unwrap().as_secs()).unwrap()
}

/// Seconds since 1970 of a time as the service writes it, in UTC+8.
fn seconds_of(time: &Value) -> i64 {
    let text = time.as_str().unwrap();
    assert_eq!(text.len(), "2026-11-23 00:16:55.042".len(), "{text}");
    let number = |range: std::ops::Range<usize>| text[range].parse::<i64>().unwrap();
    let (year, month, day) = (number(0..4), number(5..7), number(8..10));
    // Days since 1970 by the calendar of March-based years.
    let (y, m) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    let (hour, minute, second) = (number(11..13), number(14..16), number(17..19));
    86_400 * days + 3600 * hour + 60 * minute + second - 8 * 3600
}

#[test]
fn a_task_is_made_looked_at_and_read_without_a_key() {
    let folder = Folder::new("dashscope");
    fs::write(folder.0.join("keys"), "one\n").unwrap();
    let server = folder.serve(&["--dashscope", "--keys", "keys"]);
    let keyed = |call: Call| server.ask(&call.header("Authorization", "Bearer one"));
    let before = seconds_now();
    let new = output(&keyed(create(&small())));
    assert_eq!(new["task_status"], "PENDING");
    let id = new["task_id"].as_str().unwrap();
    let get = || keyed(Call::get(format!("/api/v1/tasks/{id}")));
    until("the clip", || output(&get())["task_status"] == "SUCCEEDED");
    let answer = get().json();
    let done = &answer["output"];
    assert_eq!(done["task_id"], id);
    assert_eq!(done["orig_prompt"], "a red ball");
    let times = ["submit_time", "scheduled_time", "end_time"].map(|name| seconds_of(&done[name]));
    assert!(
        before <= times[0] && times.is_sorted() && times[2] <= seconds_now(),
        "{times:?}"
    );
    // A client refuses the whole answer if one of these is of another type.
    let usage = json!({
        "duration": 0.2, "output_video_duration": 0.2, "video_count": 1, "fps": 25, "SR": 32, "size": "32*32",
        "ratio": "1:1",
    });
    assert_eq!(answer["usage"], usage);
    let url = done["video_url"].as_str().unwrap();
    let clip = server.ask(&Call::get(url.strip_prefix("http://127.0.0.1").unwrap()));
    assert_eq!((clip.status, &clip.body[4..8]), (200, &b"ftyp"[..]));
    let routes = [
        ("POST", CREATE.to_string()),
        ("GET", format!("/api/v1/tasks/{id}")),
        ("GET", "/api/v1/tasks".into()),
        ("POST", format!("/api/v1/tasks/{id}/cancel")),
        ("GET", "/api/v1/uploads?action=getPolicy".into()),
    ];
    for (method, path) in routes {
        for key in ["Bearer two", "one"] {
            let call = Call::new(method, &path).header("Authorization", key);
            refused(&server.ask(&call), 401, "InvalidApiKey");
        }
        refused(&server.ask(&Call::new(method, &path)), 401, "InvalidApiKey");
    }
    // The other doors are closed, and the first is as it was.
    server.ask(&Call::get("/v1/videos")).error(401);
    let upload = Call::new("POST", "/api/v1/uploads/00").header("Authorization", "Bearer one");
    refused(&server.ask(&upload), 401, "InvalidApiKey");
}

#[test]
fn without_being_asked_for_the_door_is_closed() {
    let folder = Folder::new("dashscope-closed");
    let server = folder.serve(&[]);
    server.ask(&create(&small())).error(404);
    server.ask(&Call::get("/api/v1/tasks")).error(404);
}

#[test]
fn refusals_are_flat_whatever_is_wrong() {
    let folder = Folder::new("dashscope-errors");
    let server = serve(&folder);
    let sent = |body: &str| server.ask(&create(&Value::Null).body(body));
    for body in [
        "",
        "{",
        "[]",
        "1",
        "\u{feff}{}",
        r#"{"input":{"prompt":"\ud800"}}"#,
    ] {
        refused(&sent(body), 400, "InvalidParameter");
    }
    let plain = Call::new("POST", CREATE).body(small().to_string());
    for call in [plain.clone(), plain.header("X-DashScope-Async", "disable")] {
        let said = refused(&server.ask(&call), 403, "AccessDenied");
        assert!(
            said.contains("does not support synchronous calls"),
            "{said}"
        );
    }
    for (method, path, status, code) in [
        ("GET", "/api/v1", 404, "InvalidURL"),
        ("GET", "/api/v1/", 404, "InvalidURL"),
        ("GET", "/api/v1/nowhere", 404, "InvalidURL"),
        (
            "POST",
            "/api/v1/services/aigc/text-generation/generation",
            404,
            "InvalidURL",
        ),
        ("GET", "/api/v1/tasks/a/b", 404, "InvalidURL"),
        ("GET", "/api/v1/videos", 404, "InvalidURL"),
        ("GET", CREATE, 405, "UnsupportedOperation"),
        ("DELETE", "/api/v1/tasks", 405, "UnsupportedOperation"),
        ("GET", "/api/v1/tasks/%ff", 400, "InvalidParameter"),
        (
            "GET",
            "/api/v1/tasks?page_no=1&page_no=2",
            400,
            "InvalidParameter",
        ),
        ("GET", "/api/v1/uploads", 400, "InvalidParameter"),
        ("GET", "/api/v1/uploads?action=put", 400, "InvalidParameter"),
    ] {
        let said = refused(&server.ask(&Call::new(method, path)), status, code);
        assert!(!said.is_empty(), "{path}");
    }
    let foreign = Call::get("/api/v1/tasks").header("Host", "evil.example");
    refused(&server.ask(&foreign), 403, "AccessDenied");
    server.ask(&Call::get("/api/v10/tasks")).error(404);
    let much = create(&Value::Null).body(vec![b' '; 70_000_000]);
    let said = refused(&server.ask(&much), 413, "InvalidParameter");
    assert!(said.contains("64 MiB"), "{said}");
    let key = create(&small()).header("Idempotency-Key", "a key");
    assert_eq!(server.ask(&key).status, 200);
    let other = with("parameters", "seed", json!(8));
    let other = create(&other).header("Idempotency-Key", "a key");
    refused(&server.ask(&other), 400, "InvalidParameter");
}

#[test]
#[allow(clippy::too_many_lines, reason = "tables of values and their refusals")]
fn every_parameter_is_taken_or_named() {
    let folder = Folder::new("dashscope-names");
    let server = serve(&folder);
    let of = |group: &str, name: &str, value: Value| server.ask(&create(&with(group, name, value)));
    // What clients add by themselves, and what this server has no need of.
    for (group, name, value) in [
        ("input", "extend_prompt", json!(true)),
        ("input", "function", json!("video-synthesis")),
        ("input", "template", json!("a")),
        ("input", "negative_prompt", json!(null)),
        ("input", "img_url", json!(null)),
        ("input", "media", json!(null)),
        ("input", "media", json!([])),
        ("parameters", "watermark", json!(false)),
        ("parameters", "prompt_extend", json!(true)),
        ("parameters", "shot_type", json!("single")),
        ("parameters", "audio", json!(false)),
        ("parameters", "size", json!("32x32")),
        ("parameters", "resolution", json!(null)),
    ] {
        let answer = of(group, name, value);
        assert_eq!(answer.status, 200, "{name}: {}", answer.json());
    }
    for (group, name, value, words) in [
        (
            "parameters",
            "sead",
            json!(1),
            "`sead` is no parameter; did you mean `seed`?",
        ),
        (
            "parameters",
            "enable_thinking",
            json!(true),
            "`enable_thinking` is no parameter",
        ),
        ("parameters", "steps", json!(4), "`steps` is no parameter"),
        ("input", "promt", json!("a"), "did you mean `prompt`?"),
        ("input", "seed", json!(1), "`seed` is no parameter"),
        (
            "input",
            "last_frame_url",
            json!("https://a/b"),
            "a first frame alone",
        ),
        (
            "input",
            "reference_urls",
            json!(["https://a/b"]),
            "one picture, the first frame",
        ),
        (
            "input",
            "reference_video_urls",
            json!(["a"]),
            "takes no clip",
        ),
        ("input", "prompt", json!(" "), "missing or empty"),
        ("input", "prompt", json!(["a"]), "must be a text"),
        ("input", "media", json!("a"), "must be a list"),
        ("input", "media", json!(["a"]), "must be a list"),
        (
            "input",
            "media",
            json!([{"type": "last_frame", "url": "a"}]),
            "not `last_frame`",
        ),
        ("input", "media", json!([{"url": "a"}]), "takes first_frame"),
        (
            "input",
            "media",
            json!([{"type": "first_frame"}]),
            "must have a URL",
        ),
        (
            "parameters",
            "duration",
            json!("five"),
            "`duration` must be a number",
        ),
        (
            "parameters",
            "duration",
            json!(11),
            "`duration` must be at most 10; given 11",
        ),
        (
            "parameters",
            "duration",
            json!("10.1"),
            "must be at most 10",
        ),
        ("parameters", "size", json!("1*1"), "32x32"),
        ("parameters", "seed", json!(-2), "-1 for a random one"),
        ("parameters", "audio", json!("maybe"), "true or false"),
        (
            "parameters",
            "resolution",
            json!("720P"),
            "cannot stand beside `size`",
        ),
        (
            "parameters",
            "ratio",
            json!("16:9"),
            "cannot stand beside `size`",
        ),
    ] {
        let said = refused(&of(group, name, value), 400, "InvalidParameter");
        assert!(said.contains(words), "{name}: {said}");
    }
    for (body, words) in [
        (
            json!({"input": {"prompt": "a"}, "parameter": {}}),
            "did you mean `parameters`?",
        ),
        (
            json!({"input": [], "parameters": {}}),
            "`input` must be an object",
        ),
        (
            json!({"input": {"prompt": "a"}, "parameters": {"resolution": "4K"}}),
            "720P",
        ),
        (
            json!({"input": {"prompt": "a"}, "parameters": {"ratio": "adaptive"}}),
            "16:9",
        ),
        (
            json!({"model": 1, "input": {"prompt": "a"}}),
            "`model` must be a text",
        ),
        (json!({}), "missing or empty"),
    ] {
        let said = refused(&server.ask(&create(&body)), 400, "InvalidParameter");
        assert!(said.contains(words), "{said}");
    }
    // The route for names with `kf2v`.
    let other = "/api/v1/services/aigc/image2video/video-synthesis";
    let call = Call::new("POST", other).header("X-DashScope-Async", "enable");
    output(&server.ask(&call.body(small().to_string())));
}

#[test]
fn pictures_come_by_url_by_base64_and_by_upload() {
    let folder = Folder::new("dashscope-files");
    let made = serve_whole_model(&folder);
    drop(made);
    let server = folder.serve(&["--model", "model", "--dashscope"]);
    let bare = base64(PICTURE);
    let url = format!("data:image/png;base64,{bare}");
    let uploaded = upload(&server, PICTURE);
    let frame = |url: &str| json!([{"type": "first_frame", "url": url}]);
    let mut made: Vec<Value> = Vec::new();
    let voice = format!("data:audio/flac;base64,{}", base64(VOICE));
    for body in [
        small(),
        with("input", "img_url", json!(bare)),
        with("input", "img_url", json!(url)),
        with("input", "first_frame_url", json!(url)),
        with("input", "head_frame", json!(url)),
        with("input", "media", frame(&url)),
        with("input", "media", frame(&uploaded)),
        with("input", "img_url", json!(uploaded)),
        with("input", "audio_url", json!(voice)),
        with(
            "input",
            "media",
            json!([{"type": "driving_audio", "url": upload(&server, VOICE)}]),
        ),
    ] {
        let id = created(&server, &body);
        let done = wait(&server, &id, "SUCCEEDED");
        let link = done["output"]["video_url"].as_str().unwrap();
        let path = link.strip_prefix("http://127.0.0.1").unwrap();
        made.push(json!(server.ask(&Call::get(path)).body));
    }
    assert!(
        made[1..8].iter().all(|clip| *clip == made[1]),
        "one picture, one clip"
    );
    assert!(made[0] != made[1] && made[8] != made[0] && made[8] != made[1]);
    assert!(made[9] == made[8], "one voice, one clip");
    for (url, words) in [
        (
            "https://example.com/a.png",
            "fetches nothing from other addresses",
        ),
        (
            "http://127.0.0.1/a.png",
            "fetches nothing from other addresses",
        ),
        ("file:///etc/passwd", "must be a file or a data: URL"),
        (
            "/nowhere/first frame.png",
            "is not a URL: /nowhere/first frame.png",
        ),
        ("oss://0123/a.png", "no file that was uploaded here"),
        ("oss://oss://0123", "no file that was uploaded here"),
        ("oss://", "no file that was uploaded here"),
        ("data:image/png,a", "`;base64,`"),
        ("bm8gcGljdHVyZQ==", "expected a PNG, JPEG or WebP"),
    ] {
        let answer = server.ask(&create(&with("input", "img_url", json!(url))));
        let said = refused(&answer, 400, "InvalidParameter");
        assert!(said.contains(words), "{url}: {said}");
        if !url.starts_with("bm8") {
            assert!(said.contains("`img_url`"), "{url}: {said}");
        }
    }
    let mut twice = with("input", "img_url", json!(url));
    twice["input"]["media"] = frame(&url);
    let said = refused(&server.ask(&create(&twice)), 400, "InvalidParameter");
    assert!(said.contains("given twice"), "{said}");
}

/// What `GET /api/v1/uploads` answers: texts all, or its client cannot build the form.
fn policy(server: &Server) -> Value {
    let asked = Call::get("/api/v1/uploads?action=getPolicy&model=happyhorse-1.0-i2v");
    let policy = server.ask(&asked).json()["data"].clone();
    for name in [
        "policy",
        "signature",
        "upload_dir",
        "upload_host",
        "oss_access_key_id",
        "x_oss_object_acl",
        "x_oss_forbid_overwrite",
    ] {
        assert!(policy[name].is_string(), "{name}: {policy}");
    }
    policy
}

/// The form that the client posts there; the file is its last part.
fn post(policy: &Value, content: &[u8]) -> Call {
    let host = policy["upload_host"].as_str().unwrap();
    let path = host.strip_prefix("http://127.0.0.1").unwrap();
    let text = |name: &str| policy[name].as_str().unwrap();
    let form = Form::default()
        .text("OSSAccessKeyId", text("oss_access_key_id"))
        .text("Signature", text("signature"))
        .text("policy", text("policy"))
        .text("key", &format!("{}/a.png", text("upload_dir")))
        .text("x-oss-object-acl", text("x_oss_object_acl"))
        .text("x-oss-forbid-overwrite", text("x_oss_forbid_overwrite"))
        .text("success_action_status", "200")
        .text("x-oss-content-type", "image/png");
    Call::form(form.file("file", "a.png", "", content)).to(path)
}

fn upload(server: &Server, content: &[u8]) -> String {
    let policy = policy(server);
    let answer = server.ask(&post(&policy, content));
    assert_eq!(
        answer.status,
        200,
        "{}",
        String::from_utf8_lossy(&answer.body)
    );
    format!("oss://{}/a.png", policy["upload_dir"].as_str().unwrap())
}

#[test]
fn a_token_takes_one_file_and_needs_no_key() {
    let folder = Folder::new("dashscope-uploads");
    let server = serve(&folder);
    let place = policy(&server);
    let much = vec![7; 66 << 20];
    refused(&server.ask(&post(&place, &much)), 413, "InvalidParameter");
    let none = Call::form(Form::default().text("key", "a"));
    let host = place["upload_host"].as_str().unwrap();
    let none = none.to(host.strip_prefix("http://127.0.0.1").unwrap());
    let said = refused(&server.ask(&none), 400, "InvalidParameter");
    assert!(said.contains("`file` is missing"), "{said}");
    // Of two that come at once one is taken.
    let states: Vec<u16> = thread::scope(|scope| {
        let send = || server.ask(&post(&place, PICTURE)).status;
        let four: Vec<_> = (0..4).map(|_| scope.spawn(send)).collect();
        four.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let taken = states.iter().filter(|status| **status == 200).count();
    assert_eq!(
        (
            taken,
            states.iter().filter(|status| **status == 401).count()
        ),
        (1, 3)
    );
    refused(&server.ask(&post(&place, PICTURE)), 401, "InvalidApiKey");
    assert_ne!(policy(&server)["upload_dir"], place["upload_dir"]);
    until("one file", || folder.names("uploads").len() == 1);
}

#[test]
fn tasks_are_cancelled_while_they_can_be_and_unknown_ones_are_no_error() {
    let folder = Folder::new("dashscope-cancel");
    let server = folder.serve(&["--dashscope", "--queue", "2"]);
    let running = created(&server, &long());
    wait(&server, &running, "RUNNING");
    let waiting = created(&server, &long());
    created(&server, &long());
    let full = server.ask(&create(&small()));
    refused(&full, 429, "Throttling.RateQuota");
    let seconds: u64 = full.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=120).contains(&seconds), "{seconds}");
    assert_eq!(output(&task(&server, &waiting))["task_status"], "PENDING");
    let cancel = |id: &str| server.ask(&Call::new("POST", format!("/api/v1/tasks/{id}/cancel")));
    for id in [&waiting, &running] {
        let answer = output(&cancel(id));
        assert_eq!(answer["task_id"], id.as_str());
        let done = wait(&server, id, "CANCELED");
        assert!(
            done["usage"].is_null() && done["output"]["end_time"].is_string(),
            "{done}"
        );
        assert!(
            done["output"]["video_url"].is_null() && done["output"]["code"].is_null(),
            "{done}"
        );
        let said = refused(&cancel(id), 400, "UnsupportedOperation");
        assert!(said.contains("this one has ended"), "{said}");
    }
    let unknown = "00000000-0000-0000-0000-000000000000";
    for id in [
        unknown,
        "a",
        "video_00000000000000000000000000",
        &waiting.replace('-', ""),
    ] {
        let answer = task(&server, id).json();
        assert_eq!(
            answer["output"],
            json!({"task_id": id, "task_status": "UNKNOWN"})
        );
        let said = refused(&cancel(id), 400, "UnsupportedOperation");
        assert!(said.contains("there is no task"), "{said}");
    }
}

#[test]
fn lists_have_pages_and_filters() {
    let folder = Folder::new("dashscope-list");
    let server = serve(&folder);
    let list = |query: &str| server.ask(&Call::get(format!("/api/v1/tasks?{query}")));
    let ids = |page: &Value| -> Vec<String> {
        let rows = page["data"].as_array().unwrap().iter();
        rows.map(|row| row["task_id"].as_str().unwrap().into())
            .collect()
    };
    let none = list("").json();
    let facts = |page: &Value| {
        ["total", "total_page", "page_no", "page_size"].map(|name| page[name].as_u64().unwrap())
    };
    assert_eq!((facts(&none), ids(&none)), ([0, 0, 1, 10], vec![]));
    let done = created(&server, &small());
    wait(&server, &done, "SUCCEEDED");
    let mut jobs = vec![done.clone()];
    for _ in 0..4 {
        // Two jobs of one millisecond are ordered too; their times are the same.
        thread::sleep(Duration::from_millis(2));
        jobs.insert(0, created(&server, &long()));
    }
    let first = list("page_no=1&page_size=2").json();
    assert_eq!(
        (facts(&first), ids(&first)),
        ([5, 3, 1, 2], jobs[..2].to_vec())
    );
    assert!(first["request_id"].is_string());
    let last = list("page_no=3&page_size=2").json();
    assert_eq!(ids(&last), jobs[4..]);
    assert_eq!(last["data"][0]["task_status"], "SUCCEEDED");
    assert!(ids(&list("page_no=4&page_size=2").json()).is_empty());
    let found = |query: &str| ids(&list(query).json());
    assert_eq!(found("status=SUCCEEDED"), jobs[4..]);
    assert!(found("status=FAILED").is_empty());
    assert_eq!(found("model_name=happyhorse-1.0-t2v"), jobs);
    assert!(found("model_name=other").is_empty());
    let time = |row: usize| list("").json()["data"][row]["submit_time"].clone();
    let newest = time(0).as_str().unwrap()[..19].to_string();
    let digits: String = newest.chars().filter(char::is_ascii_digit).collect();
    assert!(found(&format!("start_time={digits}")).contains(&jobs[0]));
    assert_eq!(
        found(&format!("end_time={}", newest.replace(' ', "%20"))),
        jobs
    );
    assert_eq!(
        found(&format!(
            "start_time={}&end_time={}",
            &digits[..8],
            &digits[..8]
        ))
        .len(),
        5
    );
    assert!(found("end_time=20200101").is_empty() && found("start_time=29990101000000").is_empty());
    for query in [
        "page_no=0",
        "page_size=101",
        "page_size=a",
        "page_no=18446744073709551616",
        "status=succeeded",
        "start_time=yesterday",
        "end_time=2026",
        "region=cn-beijing",
        "api_key_id=1",
    ] {
        refused(&list(query), 400, "InvalidParameter");
    }
}
