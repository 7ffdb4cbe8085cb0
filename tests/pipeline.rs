//! The whole way from a request to a file, with the built-in miniature on the CPU.

use std::path::Path;

use gallop::{
    cpu::Cpu,
    media::EncodeOptions,
    pipeline::{
        Context, Model, Output, Progress, Report, Stage, generate,
        request::{BaseVariant, Request, Size, VideoDecoder},
    },
};

struct Silent;

impl Progress for Silent {
    fn report(&self, _: Stage, _: usize, _: usize) {}
    fn notice(&self, _: &str) {}
}

fn request() -> Request {
    Request {
        prompt: "A red ball bounces on a grey floor.".into(),
        seed: Some(7),
        size: Some(Size::Exact(64, 64)),
        seconds: Some(1),
        ..Request::default()
    }
}

fn make(request: &Request, path: &Path) -> Report {
    let output = Output {
        path: path.to_path_buf(),
        force: true,
        encode: EncodeOptions::default(),
    };
    generate(
        &Context::new(&Cpu),
        &Model::miniature(),
        request,
        &output,
        &Silent,
    )
    .unwrap()
}

#[test]
fn default() {
    let dir = std::env::temp_dir().join(format!("gallop-pipeline-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    for (name, req) in [
        ("a", request()),
        (
            "default",
            Request {
                size: None,
                seconds: None,
                ..request()
            },
        ),
        (
            "base",
            Request {
                variant: BaseVariant::Base,
                steps: Some(4),
                ..request()
            },
        ),
        (
            "wan",
            Request {
                decoder: VideoDecoder::Wan,
                ..request()
            },
        ),
        (
            "256p",
            Request {
                size: Some(Size::P256),
                ..request()
            },
        ),
    ] {
        let start = std::time::Instant::now();
        let report = make(&req, &dir.join(format!("{name}.mp4")));
        println!(
            "{name}: {:?} {:?} {:?}",
            start.elapsed(),
            report.stages,
            report.file
        );
    }
}
