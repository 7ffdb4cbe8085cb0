//! Requests that clients have sent, byte for byte as they were recorded in November 2026 from openai 6.49.0 (npm, node
//! 20) and 3.57.0 (Python), litellm 1.110.2, and aiohttp 3.14 with the forms of vLLM-Omni's ComfyUI nodes and of
//! SGLang's benchmark.

use serde_json::json;

use super::{Folder, creating::serve_whole_model, id, wire::Call};

macro_rules! recorded {
    ($($name:literal),*) => {
        [$(($name, &include_bytes!(concat!("recorded/", $name, ".http"))[..])),*]
    };
}

#[test]
fn requests_of_clients_become_jobs() {
    let folder = Folder::new("recorded");
    let server = serve_whole_model(&folder);
    let requests = recorded![
        "openai-npm",
        "openai-npm-url",
        "openai-npm-stream",
        "openai-python",
        "openai-python-file",
        "litellm-openai",
        "litellm-openai-file",
        "litellm-vllm",
        "litellm-vllm-file",
        "comfyui",
        "comfyui-file",
        "sglang",
        "sglang-file"
    ];
    let jobs = requests.map(|(name, bytes)| {
        let answer = server.raw(bytes);
        assert_eq!(answer.status, 200, "{name}: {}", answer.json());
        (name, id(&answer.json()).to_string())
    });
    for (name, job) in &jobs {
        let job = server.wait_completed(job);
        assert_eq!(
            (&job["size"], &job["seconds"]),
            (&json!("32x32"), &json!("0.2")),
            "{name}"
        );
        assert_eq!(
            (&job["prompt"], &job["seed"]),
            (&json!("a red ball"), &json!(7)),
            "{name}"
        );
        let stages = job["timings"].as_object().unwrap();
        let has_picture = ["-url", "-stream", "-file"]
            .iter()
            .any(|end| name.ends_with(end));
        assert_eq!(stages.contains_key("image"), has_picture, "{name}: {job}");
        let said = job["warnings"].to_string();
        for (foreign, is_said) in [
            ("guidance_scale_2", name.starts_with("comfyui")),
            (
                "`guidance_scale`",
                name.starts_with("comfyui") || *name == "sglang",
            ),
            (
                "24 frames",
                name.starts_with("comfyui") || name.starts_with("sglang"),
            ),
            ("is not here", !name.starts_with("openai")),
        ] {
            assert_eq!(said.contains(foreign), is_said, "{name}: {said}");
        }
    }
    // The nodes end with this, and read its answer as JSON.
    let text = String::from_utf8_lossy(include_bytes!("recorded/comfyui-delete.http"));
    let (_, job) = jobs.iter().find(|(name, _)| *name == "comfyui").unwrap();
    let answer = server.raw(text.replace("video_1", job).as_bytes());
    assert_eq!(
        (answer.status, &answer.json()["deleted"]),
        (200, &json!(true))
    );
    server
        .ask(&Call::get(format!("/v1/videos/{job}")))
        .error(404);
}
