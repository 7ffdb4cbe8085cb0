//! Who may call: keys, links, names of the server, pages elsewhere.

use std::fs;

use super::{
    Folder, Server, id, small,
    wire::{Call, Form},
};

const PRIVATE: [(&str, &str); 7] = [
    ("POST", "/v1/videos"),
    ("POST", "/v1/videos/sync"),
    ("GET", "/v1/videos"),
    ("GET", "/v1/videos/video_00000000000000000000000000"),
    ("GET", "/v1/videos/video_00000000000000000000000000/events"),
    ("DELETE", "/v1/videos/video_00000000000000000000000000"),
    ("GET", "/v1/models"),
];

#[test]
fn keys_are_asked_for_everywhere_but_links_have_their_own() {
    let folder = Folder::new("keys");
    fs::write(folder.0.join("keys"), "one\n\n  two  \n").unwrap();
    let mut command = folder.command(&["--keys", "keys"]);
    command.env("GALLOP_API_KEY", "three");
    let server = Server::start(command, folder.0.join("log"));
    for (method, path) in PRIVATE {
        let error = server.ask(&Call::new(method, path)).error(401);
        assert_eq!(error["code"], "invalid_api_key");
        assert_eq!(error["type"], "authentication_error");
    }
    let with = |call: Call, key: &str| server.ask(&call.header("Authorization", key));
    let list = || Call::get("/v1/videos");
    for key in [
        "Bearer on",
        "Bearer one two",
        "Basic one",
        "one",
        "Bearer",
        "Bearer ",
    ] {
        with(list(), key).error(401);
    }
    for key in ["Bearer one", "bearer two", "Bearer three"] {
        assert_eq!(with(list(), key).status, 200, "{key}");
    }
    for path in ["/health", "/ready"] {
        assert_eq!(server.ask(&Call::get(path)).status, 200);
    }
    let get = |path: String| with(Call::get(path), "Bearer one").json();
    let job = with(Call::create(&small(1)), "Bearer one").json();
    let path = format!("/v1/videos/{}", id(&job));
    super::until("the clip", || get(path.clone())["status"] == "completed");
    let file = get(path.clone())["file"].clone();
    let link = file["url"].as_str().unwrap();
    assert!(link.starts_with("http://127.0.0.1/v1/videos/"), "{link}");
    let link = link.strip_prefix("http://127.0.0.1").unwrap();
    let clip = server.ask(&Call::get(link));
    assert_eq!(
        (clip.status, file["bytes"].as_u64()),
        (200, Some(clip.body.len() as u64))
    );
    assert_eq!(server.ask(&Call::new("HEAD", link)).status, 200);
    let token = link.split_once("?t=").unwrap().1;
    assert_eq!(token.len(), 32);
    for wrong in [
        format!("{path}/content"),
        format!("{path}/content?t="),
        format!("{path}/content?t={}", &token[1..]),
        format!("{path}/content?t={token}0"),
        format!(
            "{path}/content?t={}",
            token.replace(|c: char| c.is_ascii_digit(), "a")
        ),
        format!("{path}/content/?t={token}"),
        format!("{path}?t={token}"),
        format!("{path}/events?t={token}"),
        format!("/v1/videos?t={token}"),
        format!("/v1/videos/video_00000000000000000000000000/content?t={token}"),
    ] {
        assert_ne!(server.ask(&Call::get(&wrong)).status, 200, "{wrong}");
    }
    server.ask(&Call::new("DELETE", link)).error(405);
    server
        .ask(&Call::new("DELETE", format!("{path}?t={token}")))
        .error(401);
    // Whoever sends much hears why it was for nothing.
    let form = Form::default().file("input_reference", "a", "image/png", &vec![0; 20 << 20]);
    server.ask(&Call::form(form)).error(401);
    assert!(folder.names("uploads").is_empty());
}

#[test]
fn the_server_answers_to_its_own_names_only() {
    let folder = Folder::new("names");
    let server = folder.serve(&["--public-url", "https://clips.example/base/"]);
    let ask = |host: &str| server.ask(&Call::create(&small(1)).header("Host", host));
    for host in [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost\"",
        "localhost:80/x",
        "192.0.2.1",
    ] {
        let error = ask(host).error(403);
        // No key would help.
        assert_eq!(error["code"], "invalid_value");
        assert!(
            error["message"]
                .as_str()
                .unwrap()
                .contains("no name of this server")
        );
    }
    server
        .raw(b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n")
        .error(403);
    let two = b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    server.raw(two).error(403);
    for host in ["127.0.0.1", "localhost:1", "[::1]:8190", "clips.example"] {
        let job = ask(host).json();
        let job = server.wait_completed(id(&job));
        let link = job["file"]["url"].as_str().unwrap();
        assert!(
            link.starts_with("https://clips.example/base/v1/videos/"),
            "{link}"
        );
    }
}

#[test]
fn pages_elsewhere_may_call_only_if_they_were_named() {
    let folder = Folder::new("cors");
    let closed = folder.serve(&[]);
    let allowed = "access-control-allow-origin";
    let question = Call::new("OPTIONS", "/v1/videos")
        .header("Origin", "https://page.example")
        .header("Access-Control-Request-Method", "POST");
    let answer = closed.ask(&question);
    assert!(answer.header(allowed).is_none());
    answer.error(405);
    assert!(
        closed
            .ask(&Call::get("/v1/videos"))
            .header(allowed)
            .is_none()
    );
    drop(closed);
    let open = folder.serve(&["--cors", "https://page.example"]);
    for answer in [
        open.ask(&question),
        open.ask(&Call::get("/v1/videos")),
        open.ask(&Call::get("/x")),
    ] {
        assert_eq!(answer.header(allowed), Some("https://page.example"));
    }
    let headers = open.ask(&question);
    assert_eq!(headers.status, 204);
    let headers = headers.header("access-control-allow-headers").unwrap();
    assert!(headers.contains("authorization") && headers.contains("content-type"));
    drop(open);
    for (arguments, code) in [
        (&["--listen", "0.0.0.0:0"][..], 2),
        (&["--listen", "nowhere"], 2),
        (&["--keys", "missing"], 3),
        (&["--cors", "a\nb"], 2),
    ] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_gallop"));
        command.arg("serve").arg("--state").arg(folder.state());
        let output = command
            .args(arguments)
            .env_remove("GALLOP_API_KEY")
            .output()
            .unwrap();
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}: {output:?}"
        );
        assert_eq!(output.stdout, b"", "{output:?}");
    }
}
