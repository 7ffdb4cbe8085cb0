//! Calls that no honest client makes: too much, too deep, half, or two at once. The server answers them, keeps nothing of
//! them, and goes on answering others.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    Folder, Server, id, small, until,
    wire::{Call, Connection, Form},
};

/// The most memory that the server has taken, MiB.
fn peak(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib >> 10
}

fn create(body: impl Into<Vec<u8>>) -> Call {
    Call::create(&Value::Null).body(body)
}

fn parts(content: impl Into<Vec<u8>>) -> Call {
    Call::form(Form::default()).body(content)
}

#[test]
fn too_much_is_refused_and_the_client_hears_of_it() {
    let folder = Folder::new("much");
    let server = folder.serve(&[]);
    let much = 70_000_000;
    let file = Form::default().file("input_reference", "a", "image/png", &vec![7; much]);
    for bytes in [create(vec![b' '; much]).bytes(), Call::form(file).chunked()] {
        assert_eq!(server.raw(&bytes).error(413)["code"], "too_large");
    }
    let lost = Call::new("POST", "/nowhere").body(vec![b' '; 10_000_000]);
    server.ask(&lost).error(404);
    let other = Call::new("POST", "/v1/videos").header("Content-Type", "text/plain");
    server.ask(&other.body(vec![b' '; 10_000_000])).error(415);
    // There is an end to how long the server listens.
    let mut stream = TcpStream::connect(server.address).unwrap();
    let head = "POST /v1/videos HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200000000\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let piece = vec![b' '; 1_000_000];
    let sent = (0..200)
        .take_while(|_| stream.write_all(&piece).is_ok())
        .count();
    assert!((67..190).contains(&sent), "{sent} MB were heard");
    let many = |count: usize| {
        format!(
            "{{\"prompt\":\"a\",\"metadata\":[{}0]}}",
            "0,".repeat(count)
        )
    };
    server.ask(&create(many(5_000_000))).error(400);
    let names: String = (0..300_000).map(|at| format!("\"a{at}\":1,")).collect();
    server
        .ask(&create(format!("{{{names}\"prompt\":\"a\"}}")))
        .error(400);
    let pairs = Call::new("POST", "/v1/videos")
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body("prompt=a&".repeat(300_000));
    server.ask(&pairs).error(400);
    server.ask(&create("[".repeat(1_000_000))).error(400);
    let name = "a".repeat(5_000_000);
    server
        .ask(&Call::form(Form::default().text(&name, "b")))
        .error(400);
    server.ask(&parts("a".repeat(5_000_000))).error(400);
    let form = (0..101).fold(Form::default(), |form, _| form.text("prompt", "a"));
    server.ask(&Call::form(form)).error(400);
    let texts = (0..20).fold(Form::default(), |form, _| {
        form.text("user", &"a".repeat(1 << 20))
    });
    server
        .ask(&Call::form(texts.text("prompt", "a").text("sead", "1")))
        .error(400);
    let peak = peak(&server);
    assert!(peak < 150, "{peak} MiB");
    assert!(folder.names("uploads").is_empty() && folder.names("jobs").is_empty());
}

#[test]
fn heads_that_are_too_large_or_say_two_things_are_refused() {
    let folder = Folder::new("heads");
    let server = folder.serve(&[]);
    let head = |lines: &str| format!("POST /v1/videos HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n");
    let many: String = (0..10_000).map(|at| format!("a{at}: b\r\n")).collect();
    let large = format!("a: {}\r\n", "b".repeat(1 << 20));
    let long = format!(
        "GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "a".repeat(1 << 20)
    );
    for (bytes, codes) in [
        (head(&many), &[431][..]),
        (head(&large), &[431]),
        (long, &[414, 431]),
        (head("Content-Length: -1\r\n"), &[400]),
        (head("Content-Length: 99999999999999999999999\r\n"), &[400]),
        (head("Content-Length: 5\r\nContent-Length: 6\r\n"), &[400]),
        (head("Content-Length: 5, 6\r\n"), &[400]),
        (head("Transfer-Encoding: xchunked\r\n"), &[400]),
        (head("Transfer-Encoding: chunked, gzip\r\n"), &[400]),
        ("\x16\x03\x01\r\n\r\n".into(), &[400]),
    ] {
        let mut stream = TcpStream::connect(server.address).unwrap();
        // A head that is too large is not read to its end.
        drop(stream.write_all(bytes.as_bytes()));
        let mut answer = String::new();
        drop(stream.read_to_string(&mut answer));
        let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
        let shown: String = bytes.chars().take(80).collect();
        assert!(
            code.is_some_and(|code: u16| codes.contains(&code)),
            "{shown}: {answer}"
        );
    }
    // With both lengths the body is in chunks, and what is behind it is no call.
    let both = "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n";
    let smuggled = "DELETE /v1/videos/x HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut connection = server.connect();
    let bytes = format!("{}0\r\n\r\n{smuggled}", head(both));
    connection.send(bytes.as_bytes()).unwrap();
    connection.answer("POST").unwrap().error(400);
    assert!(connection.is_closed(Duration::from_secs(5)));
    for path in [
        "/v1/videos/../../etc/passwd",
        "/v1/videos/..%2f..%2fetc%2fpasswd/content",
        "/v1/videos/%2e%2e/content",
        "/v1/videos/video_0000000000000000000000000%00/content",
        "//v1/videos",
    ] {
        server.ask(&Call::get(path)).error(404);
    }
}

#[test]
fn values_that_are_no_values_are_refused_by_name() {
    let folder = Folder::new("values");
    let server = folder.serve(&[]);
    let numbers = [
        "1e999",
        "-1",
        "1e99",
        "99999999999999999999999999",
        "\"NaN\"",
        "\"inf\"",
        "[]",
        "{}",
        "true",
        "\"\\u0000\"",
        "\"\"",
    ];
    for name in [
        "seconds",
        "width",
        "num_frames",
        "num_inference_steps",
        "quality",
        "scale",
        "seed",
    ] {
        for number in numbers {
            let seed = name == "seed" && number == "-1";
            if seed {
                continue;
            }
            let body = format!("{{\"prompt\":\"a\",\"size\":\"32x32\",\"{name}\":{number}}}");
            let answer = server.ask(&create(body));
            let error = answer.error(400);
            // A number that is none at all is no JSON either.
            let is_named = error["param"] == name || number == "1e999";
            assert!(is_named, "{name} {number}: {error}");
        }
    }
    for prompt in ["\"\\u0000\"", "\"\\ud800\"", "\" \"", "null", "1", "[]"] {
        server
            .ask(&create(format!("{{\"prompt\":{prompt}}}")))
            .error(400);
    }
    let deep = (0..17).fold(json!(1), |value, _| json!([value]));
    let mut fields = small(1);
    fields["metadata"] = deep;
    let error = server.ask(&Call::create(&fields)).error(400);
    assert_eq!(error["param"], "metadata");
}

#[test]
fn half_a_call_leaves_nothing() {
    let folder = Folder::new("half");
    let server = folder.serve(&[]);
    let form = Form::default().text("prompt", "a");
    let form = form.file("input_reference", "a", "image/png", &vec![7; 5_000_000]);
    let whole = Call::form(form.clone()).bytes();
    let mut connection = server.connect();
    connection.send(&whole[..3_000_000]).unwrap();
    until("a file", || !folder.names("uploads").is_empty());
    drop(connection);
    until("no file", || folder.names("uploads").is_empty());
    let unfinished = form.unfinished();
    let cut = Call::form(Form::default()).body(&unfinished[..3_000_000]);
    server.ask(&cut).error(400);
    assert!(folder.names("uploads").is_empty() && folder.names("jobs").is_empty());
}

#[test]
fn idle_connections_keep_nobody_out() {
    let folder = Folder::new("idle");
    let server = folder.serve(&[]);
    let mut follower = server.connect();
    let job = server.create(&super::long());
    server.wait_running(id(&job));
    let events = Call::get(format!("/v1/videos/{}/events", id(&job)));
    follower.send(&events.bytes()).unwrap();
    let mut idle: Vec<Connection> = (0..600).map(|_| server.connect()).collect();
    let start = Instant::now();
    assert_eq!(server.ask(&Call::get("/health")).status, 200);
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
    // Who follows a job is not idle.
    server.ask(&Call::new("DELETE", format!("/v1/videos/{}", id(&job))));
    let told = follower.answer("GET").unwrap();
    assert!(String::from_utf8_lossy(&told.body).contains("video.deleted"));
    assert!(
        idle[0].is_closed(Duration::from_secs(5)),
        "the first made room"
    );
}
