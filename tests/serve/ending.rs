//! Ends of a server, by a signal and without one, and what the next one finds.

use serde_json::json;

use super::{Folder, id, is_final, long, small, until, wire::Call};

#[test]
fn a_server_that_is_told_to_end_lets_the_running_job_end_and_keeps_the_others() {
    let folder = Folder::new("drain");
    let server = folder.serve(&[]);
    // Long enough for the calls below.
    let mut running = small(1);
    running["num_inference_steps"] = json!(400);
    let running = server.create(&running);
    let mut waiting = small(2);
    waiting["metadata"] = (1..16).fold(json!(["deep"]), |value, _| json!([value]));
    let waiting = server.create(&waiting);
    server.wait_running(id(&running));
    server.signal("TERM");
    until("draining", || {
        server.ask(&Call::get("/ready")).status == 503
    });
    assert_eq!(server.ask(&Call::get("/health")).status, 200);
    let refused = server.ask(&Call::create(&small(3)));
    assert_eq!(refused.error(503)["code"], "not_ready");
    assert_eq!(refused.header("retry-after"), Some("5"));
    assert_eq!(server.job(id(&running))["status"], "in_progress");
    assert_eq!(server.job(id(&waiting))["status"], "queued");
    assert_eq!(server.exit_code(), Some(0));
    let server = folder.serve(&[]);
    assert_eq!(server.job(id(&running))["status"], "completed");
    let made = server.wait_completed(id(&waiting));
    assert_eq!(made["metadata"], waiting["metadata"]);
    let listed = server.ask(&Call::get("/v1/videos")).json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 2);
}

#[test]
fn what_takes_too_long_waits_for_the_next_server_and_a_second_signal_ends_at_once() {
    let folder = Folder::new("impatient");
    let server = folder.serve(&["--drain", "0"]);
    let job = server.create(&long());
    server.wait_running(id(&job));
    server.signal("TERM");
    assert_eq!(server.exit_code(), Some(0));
    let server = folder.serve(&[]);
    server.wait_running(id(&job));
    assert_eq!(server.job(id(&job))["attempts"], 1);
    server.signal("TERM");
    until("draining", || {
        server.ask(&Call::get("/ready")).status == 503
    });
    server.signal("TERM");
    assert_eq!(server.exit_code(), Some(130));
    let server = folder.serve(&[]);
    server.wait_running(id(&job));
    assert_eq!(server.job(id(&job))["attempts"], 2);
}

#[test]
fn a_job_whose_server_was_killed_becomes_the_same_clip() {
    let mut fields = small(11);
    fields["num_inference_steps"] = json!(60);
    let quiet = Folder::new("quiet");
    let server = quiet.serve(&[]);
    let expected = server.wait_completed(id(&server.create(&fields)));
    drop(server);
    let folder = Folder::new("killed");
    let server = folder.serve(&[]);
    let job = server.create(&fields);
    let waiting = server.create(&small(12));
    server.wait(id(&job), |job| {
        job["progress"].as_u64() > Some(0) && !is_final(job)
    });
    server.signal("KILL");
    assert_eq!(server.exit_code(), None);
    let server = folder.serve(&[]);
    let made = server.wait_completed(id(&job));
    assert_eq!(made["attempts"], 2);
    assert_eq!(made["file"]["sha256"], expected["file"]["sha256"]);
    assert!(made["file"]["sha256"].is_string());
    let other = server.wait_completed(id(&waiting));
    assert_eq!(other["attempts"], 1);
    // One server a folder.
    let second = folder.command(&[]).output().unwrap();
    assert_eq!(second.status.code(), Some(2), "{second:?}");
    let said = String::from_utf8_lossy(&second.stderr);
    let path = folder.state();
    assert!(
        said.contains("another server") && said.contains(path.to_str().unwrap()),
        "{said}"
    );
    assert_eq!(server.job(id(&job)), made);
}
