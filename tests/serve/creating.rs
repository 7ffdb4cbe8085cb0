//! What a client sends: every form of a request, twice the same, more than there is room for, and the call that waits.

use std::{collections::BTreeSet, process::Command, thread};

use serde_json::{Value, json};

use super::{
    Folder, Server, id, is_final, long, small, until,
    wire::{Answer, Call, Form},
};

pub(super) const PICTURE: &[u8] = include_bytes!("../media/samples/gradient.png");
pub(super) const VOICE: &[u8] = include_bytes!("../media/samples/tone.flac");

/// A server with a model that takes pictures and voices.
pub(super) fn serve_whole_model(folder: &Folder) -> Server {
    let made = Command::new(env!("CARGO_BIN_EXE_gallop"))
        .args(["dev", "synth", "-o", "model"])
        .current_dir(&folder.0)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    folder.serve(&["--model", "model"])
}

fn form() -> Form {
    let form = Form::default();
    let form = form.text("prompt", "a red ball").text("size", "32x32");
    form.text("seconds", "0.2").text("seed", "7")
}

#[test]
fn every_form_of_a_request_is_the_same_job() {
    let folder = Folder::new("forms");
    let server = folder.serve(&[]);
    let json = server.create(&small(7));
    let pairs = "prompt=a+red%20ball&size=32x32&seconds=0.2&seed=7";
    let encoded = Call::new("POST", "/v1/videos")
        .header(
            "Content-Type",
            "application/x-www-form-urlencoded; charset=utf-8",
        )
        .body(pairs);
    let by_hand = Call::new("POST", "/v1/videos").body(small(7).to_string());
    let whole = form().text(
        "extra_body",
        r#"{"num_frames": 5, "width": 32, "height": 32}"#,
    );
    let calls = [
        server.ask(&Call::form(form())),
        server.raw(&Call::form(form()).chunked()),
        server.raw(&Call::create(&small(7)).chunked()),
        server.ask(&encoded),
        server.ask(&by_hand),
        server.ask(&Call::form(whole)),
    ];
    let first = server.wait_completed(id(&json));
    for answer in calls {
        assert_eq!(answer.status, 200, "{}", answer.json());
        let job = server.wait_completed(id(&answer.json()));
        for member in ["prompt", "size", "seconds", "seed"] {
            assert_eq!(job[member], first[member], "{member}");
        }
        assert_eq!(job["file"]["sha256"], first["file"]["sha256"]);
    }
    let refused = |form: Form, code: &str, field: Value| {
        let error = server.ask(&Call::form(form)).error(400);
        assert_eq!(
            (&error["code"], &error["param"]),
            (&json!(code), &field),
            "{error}"
        );
    };
    refused(form().text("sead", "1"), "unknown_field", json!("sead"));
    refused(
        form().text("seconds", "nan"),
        "invalid_value",
        json!("seconds"),
    );
    refused(
        form().text("size", "99999999x32"),
        "invalid_size",
        json!("size"),
    );
    refused(
        Form::default().text("seed", "1"),
        "invalid_prompt",
        json!("prompt"),
    );
    let lora = server
        .ask(&Call::form(form().text("lora", r#"{"name":"a"}"#)))
        .error(422);
    assert_eq!(lora["code"], "unsupported_feature");
    let kind = Call::new("POST", "/v1/videos").header("Content-Type", "text/plain");
    server.ask(&kind.body("x")).error(415);
    for body in ["", "{", "[]", "1", "\u{feff}{}", r#"{"prompt":"\ud800"}"#] {
        server
            .ask(&Call::create(&Value::Null).body(body))
            .error(400);
    }
}

#[test]
fn pictures_and_voices_come_in_every_form() {
    let folder = Folder::new("inputs");
    let server = serve_whole_model(&folder);
    let data = |kind: &str, bytes: &[u8]| format!("data:{kind};base64,{}", base64(bytes));
    let url = data("image/png", PICTURE);
    let stream = "application/octet-stream";
    let with = |name: &str, file: &str, kind: &str| form().file(name, file, kind, PICTURE);
    let with_url = |value: Value| {
        let mut fields = small(7);
        fields["input_reference"] = value;
        Call::create(&fields)
    };
    // A long text before the picture, which does not stay in memory.
    let long = format!("{}{}", " ".repeat(200_000), json!({ "image_url": url }));
    let calls = [
        Call::form(with("input_reference", "a.png", "image/png")).bytes(),
        Call::form(with("input_reference", "/tmp/../../a b.jpg", "image/jpeg")).bytes(),
        Call::form(with("image_reference", "", stream)).chunked(),
        Call::form(form().text("input_reference[image_url]", &url)).bytes(),
        Call::form(form().text("image_reference", &long)).bytes(),
        with_url(json!(url)).bytes(),
        with_url(json!({ "image_url": url })).chunked(),
    ];
    let plain = server.create(&small(7));
    let made: BTreeSet<String> = calls
        .iter()
        .map(|call| {
            let answer = server.raw(call);
            assert_eq!(answer.status, 200, "{}", answer.json());
            let job = server.wait_completed(id(&answer.json()));
            job["file"]["sha256"].as_str().unwrap().to_string()
        })
        .collect();
    assert_eq!(made.len(), 1, "the same picture gives the same clip");
    let plain = server.wait_completed(id(&plain));
    assert!(!made.contains(plain["file"]["sha256"].as_str().unwrap()));
    let voice = form().file("audio_reference", "a", stream, VOICE);
    let voice_url = json!({ "audio_url": data("audio/flac", VOICE) }).to_string();
    let spoken = [voice, form().text("audio_reference", &voice_url)].map(|form| {
        let answer = server.ask(&Call::form(form));
        assert_eq!(answer.status, 200, "{}", answer.json());
        server.wait_completed(id(&answer.json()))["file"]["sha256"].clone()
    });
    assert_eq!(spoken[0], spoken[1]);
    assert_ne!(spoken[0], plain["file"]["sha256"]);
    let text = form().file("input_reference", "a.png", "image/png", b"no picture");
    let refused = server.ask(&Call::form(text)).error(400);
    assert_eq!(
        (&refused["code"], &refused["param"]),
        (&json!("invalid_image"), &json!("input_reference"))
    );
    let refused = |value: &str, status| server.ask(&with_url(json!(value))).error(status);
    for value in [
        "",
        "x",
        "data:",
        "data:,a",
        "data:image/png;base64,@",
        "file:///etc/passwd",
    ] {
        refused(value, 400);
    }
    assert_eq!(
        refused("http://127.0.0.1/a.png", 422)["code"],
        "unsupported_feature"
    );
    let empty = form().file("input_reference", "a.png", "image/png", b"");
    server.ask(&Call::form(empty)).error(400);
    assert!(folder.names("uploads").is_empty());
}

pub(super) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |group: &[u8]| -> String {
        let bits = (0..3).fold(0, |bits, at| {
            bits << 8 | u32::from(*group.get(at).unwrap_or(&0))
        });
        let digit = |at: usize| match at <= group.len() {
            true => char::from(DIGITS[(bits >> (18 - 6 * at) & 63) as usize]),
            false => '=',
        };
        (0..4).map(digit).collect()
    };
    bytes.chunks(3).map(group).collect()
}

#[test]
fn the_queue_has_an_end_that_clients_wait_out() {
    let folder = Folder::new("full");
    let server = folder.serve(&["--queue", "3"]);
    let running = server.create(&long());
    server.wait_running(id(&running));
    let answers: Vec<Answer> = thread::scope(|scope| {
        let ask = || server.ask(&Call::create(&long()));
        let all: Vec<_> = (0..14).map(|_| scope.spawn(ask)).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let full: Vec<&Answer> = answers
        .iter()
        .filter(|answer| answer.status != 200)
        .collect();
    assert_eq!(full.len(), 11);
    for answer in full {
        assert_eq!(answer.error(429)["code"], "queue_full");
        let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=120).contains(&seconds), "{seconds}");
        assert!(answer.header("x-should-retry").is_none());
    }
    let listed = server.ask(&Call::get("/v1/videos")).json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 4);
    let positions = listed["data"].as_array().unwrap().iter();
    let positions: Vec<&Value> = positions.map(|job| &job["queue_position"]).collect();
    assert_eq!(positions, [3, 2, 1, 0]);
}

#[test]
fn the_same_request_twice_is_one_job() {
    let folder = Folder::new("twice");
    let server = folder.serve(&[]);
    let keyed = |server: &Server, fields: &Value| {
        server.ask(&Call::create(fields).header("Idempotency-Key", "a key"))
    };
    let ids: BTreeSet<String> = thread::scope(|scope| {
        let ask = || id(&keyed(&server, &small(1)).json()).to_string();
        let six: Vec<_> = (0..6).map(|_| scope.spawn(ask)).collect();
        six.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(ids.len(), 1, "{ids:?}");
    let other = keyed(&server, &small(2)).error(422);
    assert_eq!(other["code"], "idempotency_mismatch");
    let retried = |fields: &Value, count: &str| {
        let call = Call::create(fields).header("X-Stainless-Retry-Count", count);
        server.ask(&call)
    };
    let first = id(&retried(&small(3), "0").json()).to_string();
    assert_eq!(id(&retried(&small(3), "1").json()), first);
    assert_ne!(id(&retried(&small(3), "0").json()), first);
    retried(&json!({"prompt": "a", "size": "1x1"}), "0").error(400);
    assert_ne!(id(&retried(&small(3), "1").json()), first);
    drop(server);
    let server = folder.serve(&[]);
    let again = keyed(&server, &small(1)).json();
    assert!(ids.contains(id(&again)), "{again}");
}

#[test]
fn the_call_that_waits_gives_the_clip_and_ends_with_its_client() {
    let folder = Folder::new("sync");
    let server = folder.serve(&[]);
    let sync = |fields: &Value| {
        let call = Call::new("POST", "/v1/videos/sync");
        let call = call.header("Content-Type", "application/json");
        call.body(fields.to_string())
    };
    let clip = server.ask(&sync(&small(5)));
    assert_eq!(
        (clip.status, clip.header("content-type")),
        (200, Some("video/mp4"))
    );
    assert_eq!(&clip.body[4..8], b"ftyp");
    let jobs = || server.ask(&Call::get("/v1/videos")).json()["data"].clone();
    let made = jobs();
    let same = server.ask(&Call::get(format!("/v1/videos/{}/content", id(&made[0]))));
    assert!(same.body == clip.body && is_final(&made[0]));
    server.ask(&sync(&json!({}))).error(400);
    let mut connection = server.connect();
    connection.send(&sync(&long()).bytes()).unwrap();
    until("a second job", || jobs().as_array().unwrap().len() == 2);
    let second = id(&jobs()[0]).to_string();
    server.wait_running(&second);
    drop(connection);
    until("its end", || jobs().as_array().unwrap().len() == 1);
}
