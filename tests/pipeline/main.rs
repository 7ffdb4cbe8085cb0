//! The whole way from a request to a file, with the built-in miniature on the CPU.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod session;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{LazyLock, Mutex},
};

use gallop::{
    DType, Error, Tensor,
    cpu::Cpu,
    error::{Field, Hint},
    executor::{Cancel, Executor, Prepare},
    media::{self, Encoder},
    pipeline::{
        Context, Model, Notice, Output, Progress, Report, Stage, generate,
        image::encode_image,
        miniature::words,
        request::{BaseVariant, Request, Size, VideoDecoder},
    },
    plan::{Builder, Dense},
    weights::{Info, Safetensors, Source, Weights, Writer},
};
use world::{
    prompt::{Language, prompt},
    random::Random,
    scene::Attributes,
};

/// A folder of its own for each test, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("gallop-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
        let mut names: Vec<String> = entries
            .map(|entry| name(entry).into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Keeps what it is told; cancels when a stage reaches a step.
#[derive(Default)]
struct Listener {
    notices: Mutex<Vec<Notice>>,
    cancel: Option<(Stage, usize, Cancel)>,
}

impl Progress for Listener {
    fn report(&self, stage: Stage, done: usize, _: usize) {
        if let Some((_, _, cancel)) = self
            .cancel
            .as_ref()
            .filter(|(at, step, _)| (*at, *step) == (stage, done))
        {
            cancel.cancel();
        }
    }

    fn notice(&self, notice: &Notice) {
        self.notices.lock().unwrap().push(notice.clone());
    }
}

fn request() -> Request {
    Request {
        prompt: "A red ball bounces on a grey floor.".into(),
        seed: Some(7),
        size: Some(Size::Exact(64, 64)),
        seconds: Some(1.0),
        ..Request::default()
    }
}

/// The miniature as a folder, which the program writes: of pictures and voices it makes what its untrained encoders
/// make, where the built-in one refuses them.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pipeline-miniature");
    drop(fs::remove_dir_all(&path));
    let mut synth = Command::new(env!("CARGO_BIN_EXE_gallop"));
    let written = synth
        .args(["dev", "synth", "-o"])
        .arg(&path)
        .output()
        .unwrap();
    assert!(written.status.success(), "{written:?}");
    path
});

/// The miniature that does what `request` asks for.
fn model_for(request: &Request) -> Model {
    match request.image.is_some() || request.audio.is_some() {
        true => Model::open(&FOLDER).unwrap(),
        false => Model::miniature(),
    }
}

/// A safetensors file of one tensor.
fn write_tensor(path: &Path, name: &str, tensor: &Tensor) {
    let info = Info {
        shape: tensor.shape().clone(),
        dtype: tensor.dtype(),
    };
    let mut file = Vec::new();
    let mut sink = |bytes: &[u8]| {
        file.extend(bytes);
        Ok(())
    };
    let mut writer = Writer::new([(name, &info)], None, &mut sink).unwrap();
    writer.write(tensor.bytes()).unwrap();
    writer.finish();
    fs::write(path, file).unwrap();
}

fn try_make(request: &Request, path: PathBuf) -> gallop::Result<Report> {
    let listener = Listener::default();
    generate(
        &Context::new(&Cpu),
        &model_for(request),
        request,
        &Output::new(path),
        &listener,
    )
}

fn make(request: &Request, path: PathBuf) -> Report {
    try_make(request, path).unwrap()
}

/// The same, its latents saved.
fn make_saving(request: &Request, path: PathBuf, latents: &Path) -> Report {
    let output = Output {
        save_latents: Some(latents.into()),
        ..Output::new(path)
    };
    let context = Context::new(&Cpu);
    let model = model_for(request);
    generate(&context, &model, request, &output, &Listener::default()).unwrap()
}

fn stages(report: &Report) -> Vec<Stage> {
    report.stages.iter().map(|(stage, _)| *stage).collect()
}

fn on_threads<T: Send>(count: usize, work: impl FnOnce() -> T + Send) -> T {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(count);
    pool.build().unwrap().install(work)
}

#[test]
fn one_seed_makes_one_file_on_any_number_of_threads() {
    let dir = Folder::new("seed");
    let one = on_threads(1, || make(&request(), dir.path("one.mp4")));
    let two = on_threads(2, || make(&request(), dir.path("two.mp4")));
    assert_eq!(one.latents_sha256, two.latents_sha256);
    assert_eq!(
        fs::read(dir.path("one.mp4")).unwrap(),
        fs::read(dir.path("two.mp4")).unwrap()
    );
    let other = Request {
        seed: Some(8),
        ..request()
    };
    let other = make(&other, dir.path("other.mp4"));
    assert_ne!(one.latents_sha256, other.latents_sha256);
    assert_eq!((one.job.frames(), one.file.frames), (25, 25));
}

#[test]
fn a_clip_says_what_made_it_unless_told_not_to() {
    let dir = Folder::new("metadata");
    let path = dir.path("clip.mp4");
    let prompt = format!(
        "A red ball \"bounces\". 青い星 🐎\n{}",
        "gently, ".repeat(1_300)
    );
    let request = Request {
        prompt: prompt.clone(),
        seed: Some(u64::MAX),
        ..request()
    };
    for metadata in [true, false] {
        let output = Output {
            metadata,
            force: true,
            ..Output::new(&path)
        };
        let context = Context::new(&Cpu);
        generate(
            &context,
            &Model::miniature(),
            &request,
            &output,
            &Listener::default(),
        )
        .unwrap();
        let file = fs::read(&path).unwrap();
        let version = concat!("gallop ", env!("CARGO_PKG_VERSION"));
        let comment = format!("{{\"seed\":{},\"model\":\"miniature\"}}", u64::MAX);
        for text in [&prompt, version, &comment, "udta"] {
            let is_there = file.windows(text.len()).any(|part| part == text.as_bytes());
            assert_eq!(is_there, metadata, "{text}");
        }
    }
}

#[test]
fn both_variants_and_both_decoders_make_clips() {
    let dir = Folder::new("variants");
    let base = Request {
        variant: BaseVariant::Base,
        steps: Some(3),
        decoder: VideoDecoder::Wan,
        ..request()
    };
    let with = make(&base, dir.path("base.mp4"));
    let steered = Request {
        negative_prompt: Some("blue squares".into()),
        ..base.clone()
    };
    let without = make(&steered, dir.path("steered.mp4"));
    assert_ne!(with.latents_sha256, without.latents_sha256);
    let distill = make(&request(), dir.path("distill.mp4"));
    assert_ne!(with.latents_sha256, distill.latents_sha256);
}

fn write_picture(path: &Path, width: u32, height: u32, alpha: u8) {
    let file = fs::File::create(path).unwrap();
    let mut encoder = png::Encoder::new(file, width, height);
    encoder.set_color(png::ColorType::Rgba);
    let mut writer = encoder.write_header().unwrap();
    let pixels: Vec<u8> = (0..width * height)
        .flat_map(|i| [(i % width) as u8, (i / width) as u8, 128, alpha])
        .collect();
    writer.write_image_data(&pixels).unwrap();
}

fn saved(path: &Path, name: &str) -> Tensor {
    Safetensors::open(path).unwrap().load(name).unwrap()
}

#[test]
fn the_picture_is_the_first_latent_frame_in_both_orientations() {
    let dir = Folder::new("picture");
    for (name, width, height, alpha) in [("portrait", 45, 80, 255), ("landscape", 120, 50, 9)] {
        let picture = dir.path(&format!("{name}.png"));
        write_picture(&picture, width, height, alpha);
        let latents = dir.path(&format!("{name}.safetensors"));
        let with = Request {
            image: Some(picture.clone().into()),
            ..request()
        };
        let report = make_saving(&with, dir.path(&format!("{name}.mp4")), &latents);
        assert!(stages(&report).contains(&Stage::Image));
        let dropped = report.job.notices.contains(&Notice::AlphaDropped);
        assert_eq!(dropped, alpha < 255);
        let video = saved(&latents, "video");
        let wan = Model::miniature().wan().unwrap();
        let x = media::preprocess(&media::open_image(&picture).unwrap(), 64, 64).unwrap();
        let image = encode_image(&Context::new(&Cpu), &wan.weights, &wan.config, &x).unwrap();
        let (video, image) = (video.to_f32(), image.to_f32());
        let positions = video.len() / 48;
        let first: Vec<f32> = video
            .chunks_exact(positions)
            .flat_map(|channel| channel[..16].to_vec())
            .collect();
        assert_eq!(first, image.as_ref());
    }
}

/// A mono WAV of 16-bit samples: a tone.
fn write_voice(path: &Path, rate: u32, samples: u32) {
    let mut bytes = Vec::new();
    bytes.extend(b"RIFF");
    bytes.extend((36 + 2 * samples).to_le_bytes());
    bytes.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    bytes.extend(rate.to_le_bytes());
    bytes.extend((2 * rate).to_le_bytes());
    bytes.extend(b"\x02\0\x10\0data");
    bytes.extend((2 * samples).to_le_bytes());
    for i in 0..samples {
        let sample = (f64::from(i) * 440.0 * std::f64::consts::TAU / f64::from(rate)).sin();
        bytes.extend(((sample * 16_000.0) as i16).to_le_bytes());
    }
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_voice_track_decides_the_length_and_can_be_held() {
    let dir = Folder::new("voice");
    let voice = dir.path("voice.wav");
    write_voice(&voice, 8000, 8800);
    let audio_of = |name: &str, request: Request| {
        let latents = dir.path(&format!("{name}.safetensors"));
        let request = Request {
            audio: Some(voice.clone().into()),
            seconds: None,
            ..request
        };
        let report = make_saving(&request, dir.path(&format!("{name}.mp4")), &latents);
        assert!(stages(&report).contains(&Stage::Voice));
        // 1.1 s are 27 tokens; 7 latent frames make 25 frames.
        assert_eq!((report.job.audio_tokens, report.file.frames), (27, 25));
        saved(&latents, "audio").to_f32().into_owned()
    };
    let hold_audio = Request {
        hold_audio: true,
        ..request()
    };
    let held = audio_of("held", hold_audio);
    let guided = Request {
        variant: BaseVariant::Base,
        steps: Some(2),
        ..request()
    };
    assert_eq!(held, audio_of("guided", guided));
    assert_ne!(held, audio_of("renoised", request()));
}

#[test]
fn large_sizes_are_refined_by_a_second_pass() {
    let dir = Folder::new("refined");
    let large = Request {
        size: Some(Size::Exact(512, 480)),
        ..request()
    };
    let report = make(&large, dir.path("large.mp4"));
    assert!(stages(&report).contains(&Stage::SuperResolution));
    assert_eq!(report.job.pixels(), (512, 480));
    assert_eq!((report.job.base.height, report.job.base.width), (20, 22));
}

/// Looks at the folder when the preview is there.
struct Watcher<'a>(&'a Folder, Mutex<Vec<Vec<String>>>);

impl Progress for Watcher<'_> {
    fn report(&self, _: Stage, _: usize, _: usize) {}

    fn notice(&self, _: &Notice) {}

    fn preview(&self) {
        self.1.lock().unwrap().push(self.0.names());
    }
}

#[test]
fn a_clip_can_be_seen_before_it_is_refined() {
    let dir = Folder::new("preview");
    let make = |size: (usize, usize), names: [&str; 3]| {
        let request = Request {
            size: Some(Size::Exact(size.0, size.1)),
            ..request()
        };
        let [clip, preview, thumbnail] = names.map(|name| dir.path(name));
        let output = Output {
            preview: Some(preview),
            thumbnail: Some(thumbnail),
            ..Output::new(clip)
        };
        let watcher = Watcher(&dir, Mutex::default());
        let model = model_for(&request);
        let report = generate(&Context::new(&Cpu), &model, &request, &output, &watcher).unwrap();
        let seen = watcher.1.into_inner().unwrap();
        (report, seen)
    };
    let (report, seen) = make((512, 480), ["a.mp4", "b.mp4", "c.webp"]);
    let is_seen = |name: &str| seen[0].iter().any(|other| other == name);
    assert!(
        seen.len() == 1 && is_seen("b.mp4") && !is_seen("a.mp4"),
        "{seen:?}"
    );
    assert!(stages(&report).contains(&Stage::Preview));
    let preview = fs::read(dir.path("b.mp4")).unwrap();
    // Width and height of the picture, 16.16 numbers at the end of its track header.
    let base = [(16 * 22) << 16, (16 * 20) << 16]
        .map(u32::to_be_bytes)
        .concat();
    assert!(preview.windows(8).any(|bytes| bytes == base));
    assert_eq!(&fs::read(dir.path("c.webp")).unwrap()[8..12], b"WEBP");
    // What is not refined has no preview.
    let (_, seen) = make((64, 64), ["d.mp4", "e.mp4", "f.webp"]);
    assert!(seen.is_empty());
    let names = ["a.mp4", "b.mp4", "c.webp", "d.mp4", "f.webp"];
    assert_eq!(dir.names(), names);
}

#[test]
fn ready_features_take_the_place_of_the_encoder() {
    let dir = Folder::new("features");
    let path = dir.path("features.safetensors");
    let write = |name: &str, shape: [usize; 2]| {
        let features = Tensor::from_f32(shape, &vec![0.25; shape[0] * shape[1]]);
        write_tensor(&path, name, &features);
    };
    let with = Request {
        prompt: String::new(),
        text_features: Some(path.clone()),
        ..request()
    };
    write("features", [5, 128]);
    make(&with, dir.path("clip.mp4"));
    for (name, shape) in [
        ("other", [5, 128]),
        ("features", [5, 127]),
        ("features", [641, 128]),
    ] {
        write(name, shape);
        let error = try_make(&with, dir.path("none.mp4")).unwrap_err();
        assert_eq!(error.exit_code(), 3, "{error}");
        assert!(error.to_string().contains("features"), "{error}");
    }
}

#[test]
fn an_interrupted_run_leaves_nothing() {
    for (stage, step) in [(Stage::Base, 2), (Stage::DecodeVideo, 0), (Stage::Mux, 0)] {
        let dir = Folder::new(&format!(
            "interrupted-{}-{step}",
            stage.name().replace(' ', "-")
        ));
        let context = Context::new(&Cpu);
        let listener = Listener {
            cancel: Some((stage, step, context.cancel.clone())),
            ..Listener::default()
        };
        let output = Output::new(dir.path("clip.mp4"));
        let error = generate(
            &context,
            &Model::miniature(),
            &request(),
            &output,
            &listener,
        );
        let error = error.expect_err("it was interrupted");
        assert!(matches!(error, Error::Interrupted), "{error}");
        assert!(dir.names().is_empty(), "{:?}", dir.names());
    }
}

/// Work that looks at no flag is given up.
#[test]
fn watched_work_is_left_alone_or_given_up_at_once() {
    let cancel = Cancel::default();
    assert_eq!(cancel.watch(|| Ok(7)).unwrap(), 7);
    let failed = cancel.watch(|| Err::<(), _>(Error::device("a reason")));
    assert_eq!(failed.unwrap_err().to_string(), "a reason");
    let ended = std::panic::catch_unwind(|| Cancel::default().watch::<()>(|| panic!("a mistake")));
    assert_eq!(*ended.unwrap_err().downcast::<&str>().unwrap(), "a mistake");
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let other = cancel.clone();
    let canceller = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(100));
        other.cancel();
        std::time::Instant::now()
    });
    // Waits for what never comes.
    let given_up = cancel.watch(move || Ok(held.recv().is_ok()));
    let waited = canceller.join().unwrap().elapsed();
    assert!(matches!(given_up, Err(Error::Interrupted)));
    assert!(waited.as_millis() < 500, "{waited:?}");
    drop(hold);
    let later = cancel.watch(|| Ok(()));
    assert!(matches!(later, Err(Error::Interrupted)));
}

#[test]
fn what_cannot_be_written_is_refused_before_the_work() {
    let dir = Folder::new("refused");
    fs::write(dir.path("there.mp4"), "a film").unwrap();
    for path in [
        dir.path("there.mp4"),
        dir.path("no/folder.mp4"),
        dir.0.clone(),
    ] {
        let start = std::time::Instant::now();
        let error = try_make(&request(), path.clone()).unwrap_err();
        assert_eq!(error.exit_code(), 6, "{error}");
        assert!(
            error.to_string().contains(&path.display().to_string()),
            "{error}"
        );
        assert!(start.elapsed().as_millis() < 100, "it worked first");
    }
    assert_eq!(fs::read(dir.path("there.mp4")).unwrap(), b"a film");
}

#[test]
fn inputs_that_cannot_be_used_are_input_errors() {
    let dir = Folder::new("inputs");
    let bad = dir.path("bad.bin");
    fs::write(&bad, "neither picture nor sound").unwrap();
    let cases = [
        Request {
            prompt: "  \n".into(),
            ..request()
        },
        Request {
            image: Some(bad.clone().into()),
            ..request()
        },
        Request {
            audio: Some(bad.clone().into()),
            seconds: None,
            ..request()
        },
        Request {
            text_features: Some(bad.clone()),
            ..request()
        },
        Request {
            image: Some(dir.path("missing.png").into()),
            ..request()
        },
    ];
    for case in cases {
        let error = try_make(&case, dir.path("clip.mp4")).unwrap_err();
        assert_eq!(error.exit_code(), 3, "{error}");
    }
    assert_eq!(dir.names(), ["bad.bin"]);
}

#[test]
fn prompts_of_every_kind_become_clips_or_input_errors() {
    let dir = Folder::new("prompts");
    let prompts = [
        "A woman says \"Guten Morgen, wie geht es?\" and \"Ça va très bien.\"",
        "一 个 女 人 说 早 上 好 。 一 個 女 人 講 早 晨 。",
        "お は よ う ご ざ い ま す 。 안 녕 하 세 요 .",
        "👩🏽‍🚀 rides a 🐎 \u{1f1ea}\u{1f1fa} at dawn",
        "a NUL \0 in the middle, a tab \t and \r\n an end of line",
        "<bos><eos><pad> literal tokens",
    ];
    for (index, prompt) in prompts.iter().enumerate() {
        let request = Request {
            prompt: (*prompt).into(),
            size: Some(Size::Exact(32, 32)),
            ..request()
        };
        make(&request, dir.path(&format!("{index}.mp4")));
    }
    let start = std::time::Instant::now();
    let endless = Request {
        prompt: "sand ".repeat(200_000),
        ..request()
    };
    let error = try_make(&endless, dir.path("endless.mp4")).unwrap_err();
    assert_eq!(error.exit_code(), 3, "{error}");
    // Far more than it takes where other work runs beside, far less than to encode that.
    assert!(start.elapsed().as_secs() < 120);
}

#[test]
fn what_would_fail_late_fails_early() {
    let dir = Folder::new("early");
    let start = std::time::Instant::now();
    let mut missing = Output::new(dir.path("clip.mp4"));
    let ffmpeg = dir.path("no-ffmpeg");
    missing.encode.encoder = Encoder::X264 { ffmpeg };
    let (context, model, listener) = (Context::new(&Cpu), Model::miniature(), Listener::default());
    let error = generate(&context, &model, &request(), &missing, &listener).unwrap_err();
    assert_eq!(error.exit_code(), 2, "{error}");
    assert!(start.elapsed().as_secs() < 2, "it worked first");
    assert!(dir.names().is_empty());
}

/// One token cannot be stretched over a clip, as the second pass does with text: the reference refuses it as well.
#[test]
fn a_single_token_is_refused_before_the_text_is_encoded() {
    let dir = Folder::new("one-token");
    let features = dir.path("features.safetensors");
    write_tensor(
        &features,
        "features",
        &Tensor::from_f32([1, 128], &[0.25; 128]),
    );
    let picture = dir.path("picture.png");
    write_picture(&picture, 64, 64, 255);
    let of = |prompt: &str, size| Request {
        prompt: prompt.into(),
        size: Some(size),
        ..request()
    };
    let from_file = |size| Request {
        text_features: Some(features.clone()),
        ..of("", size)
    };
    let pictured = Request {
        image: Some(picture.into()),
        ..of("x", Size::P1080)
    };
    let avoiding = Request {
        negative_prompt: Some("x".into()),
        variant: BaseVariant::Base,
        ..of("a ball", Size::P540)
    };
    // Which stage is told of first.
    let reached = |request: &Request, stage| {
        let context = Context::new(&Cpu);
        let listener = Listener {
            cancel: Some((stage, 0, context.cancel.clone())),
            ..Listener::default()
        };
        let output = Output::new(dir.path("clip.mp4"));
        let made = generate(&context, &model_for(request), request, &output, &listener);
        made.expect_err("refused or interrupted")
    };
    for (request, what) in [
        (of("x", Size::P540), "prompt: "),
        (of("x", Size::P1080), "prompt: "),
        (of("x", Size::Exact(512, 480)), "prompt: "),
        (pictured, "prompt: "),
        (from_file(Size::P540), "features.safetensors: "),
    ] {
        let error = reached(&request, Stage::Text);
        let text = error.to_string();
        assert_eq!(error.exit_code(), 3, "{text}");
        assert!(
            text.contains(&format!("{what}must have at least two tokens")),
            "{text}"
        );
    }
    for request in [
        of("x", Size::P256),
        of("a ball", Size::P540),
        from_file(Size::P256),
        avoiding,
    ] {
        let error = reached(&request, Stage::Base);
        assert!(matches!(error, Error::Interrupted), "{error}");
    }
}

#[test]
fn a_weight_that_is_no_number_is_named_before_anything_runs() {
    let dir = Folder::new("nan");
    let path = dir.path("model.safetensors");
    for (value, is_good) in [(1.0, true), (f32::NAN, false), (f32::INFINITY, false)] {
        let tensor = Tensor::from_f32([2, 2], &[0.5, 0.5, 0.5, value]);
        write_tensor(&path, "layer.weight", &tensor);
        let mut p = Builder::new();
        let x = p.input("x", [1, 2], DType::F32);
        let dense = Dense {
            rows: 2,
            bias: false,
            weight: DType::F32,
            out: DType::F32,
        };
        let y = p.linear("layer", x, &[1], dense);
        p.output(y);
        let weights = Weights::new(Box::new(Safetensors::open(&path).unwrap()));
        let prepared = Cpu.load_and_prepare(&p.finish(), &weights, &Prepare::default());
        assert_eq!(prepared.is_ok(), is_good);
        if let Err(error) = prepared {
            assert_eq!(error.exit_code(), 4);
            assert!(error.to_string().contains("`layer.weight`"), "{error}");
        }
    }
}

#[test]
fn numbers_used_instead_are_told() {
    let dir = Folder::new("told");
    let off_grid = Request {
        size: Some(Size::Exact(70, 100)),
        prompt: "x".repeat(4000),
        ..request()
    };
    let listener = Listener::default();
    let output = Output::new(dir.path("clip.mp4"));
    let report = generate(
        &Context::new(&Cpu),
        &Model::miniature(),
        &off_grid,
        &output,
        &listener,
    );
    assert_eq!(report.unwrap().job.pixels(), (64, 96));
    let notices = listener.notices.lock().unwrap();
    let rounded = Notice::SizeRounded {
        asked: (70, 100),
        made: (64, 96),
    };
    assert!(notices.contains(&rounded), "{notices:?}");
    let texts: Vec<String> = notices.iter().map(ToString::to_string).collect();
    assert!(texts.join("\n").contains("640"), "{notices:?}");
}

#[test]
fn the_built_in_miniature_tells_its_limits() {
    let dir = Folder::new("limits");
    let notices = |request: &Request| {
        let report = make(request, dir.path("clip.mp4"));
        fs::remove_file(dir.path("clip.mp4")).unwrap();
        let codes: Vec<&str> = report.job.notices.iter().map(Notice::code).collect();
        (codes, report.is_trained())
    };
    let small = ["miniature", "beyond_training"];
    assert_eq!(notices(&request()), (small.to_vec(), true));
    let trained_for = Request {
        size: None,
        seconds: None,
        prompt: "A red cat on a skateboard bounces, a cat".into(),
        scale: Some(1),
        ..request()
    };
    let unknown = ["miniature", "unknown_words"];
    assert_eq!(notices(&trained_for), (unknown.to_vec(), true));
    let noise = Request {
        variant: BaseVariant::Base,
        steps: Some(1),
        decoder: VideoDecoder::Wan,
        ..request()
    };
    let untrained = [&small[..], &["untrained_part"; 2]].concat();
    assert_eq!(notices(&noise), (untrained, false));
    for (field, with) in [
        (
            Field::Image,
            Request {
                image: Some(PathBuf::from("none.png").into()),
                ..request()
            },
        ),
        (
            Field::Audio,
            Request {
                audio: Some(PathBuf::from("none.wav").into()),
                ..request()
            },
        ),
    ] {
        let output = Output::new(dir.path("clip.mp4"));
        let (context, model) = (Context::new(&Cpu), Model::miniature());
        match generate(&context, &model, &with, &output, &Listener::default()) {
            Err(Error::Request {
                field: found, hint, ..
            }) => {
                assert_eq!((found, hint), (field, Some(Hint::Give(Field::Model))));
            }
            other => panic!("{field:?}: {other:?}"),
        }
    }
    assert_eq!(dir.names(), [""; 0]);
}

/// The list in the program is what the world says, and finds the same words.
#[test]
fn the_words_of_the_miniature_are_those_it_was_trained_on() {
    let list = include_str!("../../src/pipeline/miniature/words.txt");
    let known: Vec<&str> = list.lines().collect();
    assert_eq!(
        known,
        world::prompt::known_words(),
        "write them anew: world vocabulary > src/pipeline/miniature/words.txt"
    );
    let mut random = Random::new(5, 0);
    let strange =
        "Cat; un chat, eine Straße? 一只猫在滑板上 고양이가 ネコちゃん 3 球's ÉTOILE x球y Ǆ";
    let (mut asked, mut named) = (0, 0);
    for _ in 0..60 {
        let attributes = Attributes::random(&mut random);
        for language in Language::ALL {
            let prompt = prompt(&attributes, language, &mut random);
            let letters: Vec<char> = prompt.chars().collect();
            let cut = &letters[..letters.len() * 2 / 3];
            // Whole, mixed with what nobody taught, and cut and turned around within words.
            for text in [
                prompt.clone(),
                format!("{prompt}{strange}"),
                cut.iter().collect(),
                cut.iter().rev().collect(),
            ] {
                let found = words::unknown(&text);
                assert_eq!(found, world::prompt::unknown_words(&text), "{text}");
                asked += 1;
                named += usize::from(!found.is_empty());
            }
            assert_eq!(words::unknown(&prompt), [""; 0], "{prompt}");
        }
    }
    assert!(
        asked == 60 * 7 * 4 && named > asked / 2,
        "{named} of {asked}"
    );
}
