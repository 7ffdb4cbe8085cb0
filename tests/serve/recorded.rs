//! Requests that clients have sent, byte for byte as they were recorded in November 2026 from openai 6.49.0 (npm, node
//! 20) and 3.57.0 (Python), litellm 1.110.2, and aiohttp 3.14 with the forms of vLLM-Omni's ComfyUI nodes and of
//! SGLang's benchmark; of other doors openrouter 1.3.84 (Python), @openrouter/sdk 1.3.19 and
//! @openrouter/ai-sdk-provider 2.10.0 (npm), dashscope 2.0.2, litellm, and @ai-sdk/alibaba 1.0.61.

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

#[test]
fn requests_of_other_doors_become_the_same_jobs() {
    let folder = Folder::new("recorded-doors");
    drop(serve_whole_model(&folder));
    let server = folder.serve(&["--model", "model", "--dashscope", "--openrouter"]);
    let hash = |name: &str, job: &str| {
        let job = server.wait_completed(job);
        assert_eq!(
            (&job["size"], &job["seconds"], &job["seed"], &job["prompt"]),
            (
                &json!("32x32"),
                &json!("1"),
                &json!(7),
                &json!("a red ball")
            ),
            "{name}"
        );
        let has_picture = job["timings"].get("image").is_some();
        assert_eq!(has_picture, name.ends_with("-file"), "{name}: {job}");
        job["file"]["sha256"].clone()
    };
    let framed = recorded![
        "openrouter-python-file",
        "openrouter-npm-file",
        "ai-openrouter-file"
    ];
    let framed = framed.map(|(name, bytes)| {
        let answer = server.raw(bytes);
        assert_eq!(answer.status, 202, "{name}: {}", answer.json());
        hash(name, id(&answer.json()))
    });
    let plain = recorded!["dashscope-python", "litellm-dashscope", "alibaba-npm"];
    let plain = plain.map(|(name, bytes)| {
        let answer = server.raw(bytes).json();
        let task = answer["output"]["task_id"].as_str();
        assert!(task.is_some(), "{name}: {answer}");
        let newest = server.ask(&Call::get("/v1/videos?limit=1")).json();
        hash(name, id(&newest["data"][0]))
    });
    assert!(framed.iter().all(|clip| *clip == framed[0]), "{framed:?}");
    assert!(plain.iter().all(|clip| *clip == plain[0]), "{plain:?}");
    assert_ne!(framed[0], plain[0]);
}
