//! What stays in a session from one clip to the next, and that no clip's bytes tell.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use gallop::{
    Error, Result, Tensor,
    cpu::Cpu,
    executor::{Cancel, Executor, Loaded, Needs, Prepare, Program},
    pipeline::{
        EncodeOptions, Encoder, Keep, Model, Notice, Output, Progress, Session, Stage, WeightCache,
        request::{Input, Request, Size},
    },
    plan::{Builder, Dense, Plan, TensorList},
    weights::{Info, Source, Weights},
};

/// The CPU, counting loads and programs; each network takes as many bytes as it has, mapped or not, of as many as
/// there are.
struct Counting {
    loads: AtomicUsize,
    programs: AtomicUsize,
    /// Bytes there are, and how many are taken.
    capacity: u64,
    used: Arc<Mutex<u64>>,
}

impl Counting {
    fn of(capacity: u64) -> Arc<Self> {
        Arc::new(Self {
            loads: AtomicUsize::new(0),
            programs: AtomicUsize::new(0),
            capacity,
            used: Arc::default(),
        })
    }

    /// Loads and programs since the last look.
    fn counts(&self) -> (usize, usize) {
        let taken = |count: &AtomicUsize| count.swap(0, Ordering::Relaxed);
        (taken(&self.loads), taken(&self.programs))
    }
}

struct Measured {
    loaded: Arc<dyn Loaded>,
    bytes: u64,
    used: Arc<Mutex<u64>>,
}

impl Loaded for Measured {
    fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        *self.used.lock().unwrap() -= self.bytes;
    }
}

fn bytes(tensors: &TensorList) -> u64 {
    let bytes = tensors.tensors().iter().map(|t| t.spec.bytes() as u64);
    bytes.sum()
}

impl Executor for Counting {
    fn name(&self) -> String {
        "counting".into()
    }

    fn check(&self, plan: &Plan, how: &Prepare) -> Result<Needs> {
        let needs = Cpu.check(plan, how)?;
        let (need_bytes, have_bytes) = (bytes(&TensorList::of(plan)), self.free_bytes()?);
        if need_bytes > have_bytes {
            return Err(Error::Memory {
                need_bytes,
                have_bytes,
                for_what: "weights".into(),
                hint: None,
            });
        }
        Ok(Needs {
            weights: need_bytes,
            values: 0,
            ..needs
        })
    }

    fn free_bytes(&self) -> Result<u64> {
        Ok(self.capacity - *self.used.lock().unwrap())
    }

    fn load(
        &self,
        weights: &Weights,
        tensors: &TensorList,
        reserve: u64,
        how: &Prepare,
    ) -> Result<Arc<dyn Loaded>> {
        self.loads.fetch_add(1, Ordering::Relaxed);
        let bytes = bytes(tensors);
        assert!(bytes <= self.free_bytes()?, "there was no check");
        *self.used.lock().unwrap() += bytes;
        Ok(Arc::new(Measured {
            loaded: Cpu.load(weights, tensors, reserve, how)?,
            bytes,
            used: self.used.clone(),
        }))
    }

    fn prepare(
        &self,
        plan: &Plan,
        loaded: &Arc<dyn Loaded>,
        how: &Prepare,
    ) -> Result<Box<dyn Program>> {
        self.programs.fetch_add(1, Ordering::Relaxed);
        let loaded: &dyn std::any::Any = &**loaded;
        Cpu.prepare(
            plan,
            &loaded.downcast_ref::<Measured>().unwrap().loaded,
            how,
        )
    }
}

struct Silent;

impl Progress for Silent {
    fn report(&self, _: Stage, _: usize, _: usize) {}

    fn notice(&self, _: &Notice) {}
}

fn request() -> Request {
    Request {
        prompt: "A red ball bounces on a grey floor.".into(),
        seed: Some(7),
        size: Some(Size::Exact(32, 32)),
        seconds: Some(1.0),
        ..Request::default()
    }
}

fn session(executor: &Arc<Counting>, keep: Keep) -> Session {
    Session::new(executor.clone(), Model::miniature(), keep)
}

fn mp4(session: &Session, request: &Request) -> Vec<u8> {
    let (mut bytes, encode) = (Vec::new(), EncodeOptions::default());
    let report = session.generate_to(request, &encode, &mut bytes, &Silent, &Cancel::default());
    assert!(report.unwrap().file.files.is_empty());
    bytes
}

fn file(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("gallop-session-{}-{name}", std::process::id()))
}

#[test]
fn the_second_clip_of_a_session_loads_nothing_and_has_the_bytes_of_a_first() {
    let executor = Counting::of(1 << 40);
    let kept = session(&executor, Keep::weights(1 << 40));
    let second = Request {
        seed: Some(8),
        ..request()
    };
    let larger = Request {
        size: Some(Size::Exact(64, 32)),
        prompt: "A blue star spins.".into(),
        ..request()
    };
    let requests = [request(), second, larger];
    // Text, base pass, two decoders; each has a program, and the prompt is encoded once.
    let counts = [(4, 4), (0, 3), (0, 4)];
    let clips = requests.each_ref().map(|request| mp4(&kept, request));
    let made = kept.loaded_bytes();
    assert!(made > 0 && made == *executor.used.lock().unwrap());
    assert_eq!(executor.counts(), (4, 11));
    drop(kept);
    assert_eq!(*executor.used.lock().unwrap(), 0);
    let kept = session(&executor, Keep::weights(1 << 40));
    for (index, request) in requests.iter().enumerate() {
        assert!(mp4(&kept, request) == clips[index], "clip {index}");
        assert_eq!(executor.counts(), counts[index], "clip {index}");
        let own = session(&executor, Keep::default());
        assert!(mp4(&own, request) == clips[index], "clip {index}");
        assert_eq!((own.loaded_bytes(), executor.counts().0), (0, 4));
    }
}

#[test]
fn with_a_small_budget_the_least_recently_used_goes() {
    let executor = Counting::of(1 << 40);
    let all = session(&executor, Keep::weights(1 << 40));
    mp4(&all, &request());
    let bytes = all.loaded_bytes();
    drop(all);
    executor.counts();
    // The text encoder, which is the first of each clip, goes when the last decoder ends; the rest stays.
    let kept = session(
        &executor,
        Keep {
            weight_bytes: bytes - 1,
            feature_bytes: 0,
        },
    );
    mp4(&kept, &request());
    assert_eq!(executor.counts(), (4, 4));
    assert!(kept.loaded_bytes() > 0 && kept.loaded_bytes() < bytes);
    // It comes back, and the base network goes for it, which comes back, and so on.
    mp4(&kept, &request());
    assert_eq!(executor.counts(), (4, 4));
}

#[test]
fn where_memory_is_short_what_is_kept_goes_before_an_error() {
    let executor = Counting::of(1 << 40);
    let all = session(&executor, Keep::weights(1 << 40));
    let clip = mp4(&all, &request());
    let bytes = all.loaded_bytes();
    drop(all);
    let short = Counting::of(bytes - 1);
    let kept = session(&short, Keep::weights(1 << 40));
    assert!(mp4(&kept, &request()) == clip);
    assert_eq!(short.counts(), (4, 4));
    // The text encoder went, but the features of the prompt are there.
    assert!(mp4(&kept, &request()) == clip);
    assert_eq!(short.counts(), (0, 3));
    let other = Request {
        prompt: "A blue star spins.".into(),
        ..request()
    };
    mp4(&kept, &other);
    assert_eq!(short.counts(), (4, 4));
    let none = Counting::of(1000);
    let error = session(&none, Keep::weights(1 << 40)).generate_to(
        &request(),
        &EncodeOptions::default(),
        &mut Vec::new(),
        &Silent,
        &Cancel::default(),
    );
    assert!(matches!(error, Err(Error::Memory { .. })));
}

/// One tensor under a name of its own, counted.
struct One(&'static str, Arc<AtomicUsize>);

impl Source for One {
    fn names(&self) -> Vec<String> {
        vec![format!("{}.weight", self.0)]
    }

    fn info(&self, name: &str) -> Option<Info> {
        let tensor = (self.names()[0] == name).then(tensor)?;
        Some(Info {
            shape: tensor.shape().clone(),
            dtype: tensor.dtype(),
        })
    }

    fn load(&self, _: &str) -> Result<Tensor> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Ok(tensor())
    }

    fn path(&self, _: &str) -> PathBuf {
        "memory".into()
    }
}

fn tensor() -> Tensor {
    Tensor::from_f32([2, 8], &[0.5; 16])
}

#[test]
fn the_cache_lets_go_in_the_order_of_the_last_use() {
    let networks = ["a", "b", "c"].map(|name| {
        let mut p = Builder::new();
        let x = p.input("x", [1, 8], gallop::DType::F32);
        let dense = Dense {
            rows: 2,
            bias: false,
            weight: gallop::DType::F32,
            out: gallop::DType::F32,
        };
        let y = p.linear(name, x, &[1], dense);
        p.output(y);
        let reads = Arc::new(AtomicUsize::new(0));
        let weights = Weights::new(Box::new(One(name, reads.clone())));
        (p.finish(), weights, reads)
    });
    // Room for two of 64 bytes.
    let cache = WeightCache::new(128);
    let use_of = |index: usize| {
        let (plan, weights, reads) = &networks[index];
        let before = reads.load(Ordering::Relaxed);
        let made = cache.prepare(&Cpu, plan, weights, &Prepare::default());
        assert!(made.is_ok());
        cache.release();
        reads.load(Ordering::Relaxed) > before
    };
    assert_eq!([0, 1, 0, 1].map(use_of), [true, true, false, false]);
    assert_eq!(cache.bytes(), 128);
    // The third takes the place of the first, which was used before the second.
    assert_eq!([2, 1, 2].map(use_of), [true, false, false]);
    assert_eq!([0, 2, 1].map(use_of), [true, false, true]);
}

#[test]
fn a_picture_and_a_voice_as_bytes_give_the_clip_of_their_files() {
    let (image, audio) = (file("image.png"), file("voice.wav"));
    let mut encoder = png::Encoder::new(fs::File::create(&image).unwrap(), 40, 40);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().unwrap();
    let pixels: Vec<u8> = (0..4800).map(|i| (i % 251) as u8).collect();
    writer.write_image_data(&pixels).unwrap();
    writer.finish().unwrap();
    fs::write(&audio, wav(51_200)).unwrap();
    let with = |input: &dyn Fn(&PathBuf) -> Input| Request {
        image: Some(input(&image)),
        audio: Some(input(&audio)),
        seconds: None,
        ..request()
    };
    let of_bytes = |path: &PathBuf| Input::Bytes {
        name: "upload".into(),
        bytes: fs::read(path).unwrap(),
    };
    // The built-in miniature refuses both; a folder with its weights does not.
    let model = Model::open(&crate::FOLDER).unwrap();
    let kept = Session::new(Counting::of(1 << 40), model, Keep::weights(1 << 40));
    let by_path = mp4(&kept, &with(&|path| Input::Path(path.clone())));
    let by_bytes = mp4(&kept, &with(&of_bytes));
    assert!(by_path == by_bytes && by_path != mp4(&kept, &request()));
    let bad = Request {
        image: Some(Input::Bytes {
            name: "upload 7".into(),
            bytes: b"no picture".to_vec(),
        }),
        ..request()
    };
    let encode = EncodeOptions::default();
    let mut sink = Vec::new();
    let error = kept.generate_to(&bad, &encode, &mut sink, &Silent, &Cancel::default());
    let error = error.unwrap_err();
    assert!(error.to_string().contains("upload 7"), "{error}");
    assert!(error.exit_code() == 3 && sink.is_empty());
    fs::remove_file(image).unwrap();
    fs::remove_file(audio).unwrap();
}

/// A mono WAV of a second at 51 200 Hz, 16 bits.
fn wav(rate: u32) -> Vec<u8> {
    let samples: Vec<u8> = (0..rate)
        .flat_map(|i| (((i * 37) % 2001) as i16 - 1000).to_le_bytes())
        .collect();
    let mut bytes = b"RIFF".to_vec();
    bytes.extend((36 + samples.len() as u32).to_le_bytes());
    bytes.extend(b"WAVEfmt ");
    bytes.extend(16_u32.to_le_bytes());
    bytes.extend([1, 0, 1, 0]);
    bytes.extend(rate.to_le_bytes());
    bytes.extend((2 * rate).to_le_bytes());
    bytes.extend([2, 0, 16, 0]);
    bytes.extend(b"data");
    bytes.extend((samples.len() as u32).to_le_bytes());
    bytes.extend(samples);
    bytes
}

#[test]
fn a_sink_gets_the_bytes_of_the_file_or_none() {
    let executor = Counting::of(1 << 40);
    let kept = session(&executor, Keep::weights(1 << 40));
    let path = file("clip.mp4");
    let report = kept.generate(&request(), &Output::new(&path), &Silent, &Cancel::default());
    assert_eq!(report.unwrap().file.files[0].path, path);
    assert!(fs::read(&path).unwrap() == mp4(&kept, &request()));
    fs::remove_file(path).unwrap();
    let mut sink = Vec::new();
    let raw = EncodeOptions {
        encoder: Encoder::Raw,
        ..EncodeOptions::default()
    };
    let cancelled = Cancel::default();
    cancelled.cancel();
    for (encode, cancel) in [
        (raw, Cancel::default()),
        (EncodeOptions::default(), cancelled),
    ] {
        let made = kept.generate_to(&request(), &encode, &mut sink, &Silent, &cancel);
        assert!(matches!(made.unwrap_err().exit_code(), 2 | 130));
        assert!(sink.is_empty());
    }
}

#[test]
fn frames_and_sound_are_handed_over_as_they_are_encoded() {
    let session = session(&Counting::of(1 << 40), Keep::default());
    let made = |path: Option<PathBuf>, encode: EncodeOptions, scale: usize| {
        let output = Output {
            path,
            content: true,
            ..Output::handed_over(encode)
        };
        let request = Request {
            scale: Some(scale),
            ..request()
        };
        let draft = session.draft(&request, &output, &Silent, &Cancel::default());
        let mut draft = draft.unwrap();
        let content = draft.take_content().unwrap();
        assert!(draft.take_content().is_none());
        if output.path.is_some() {
            draft.publish().unwrap();
        }
        content
    };
    let encode = EncodeOptions::default();
    let content = made(None, encode.clone(), 1);
    assert_eq!((content.width, content.height), (32, 32));
    assert_eq!(content.frames.len(), 25 * 32 * 32 * 3);
    // A second of stereo, although the decoder makes a little more.
    assert_eq!(content.audio.len(), 2 * 44_100);
    let raw = EncodeOptions {
        encoder: Encoder::Raw,
        ..encode.clone()
    };
    let path = file("content.rgb");
    assert_eq!(made(Some(path.clone()), raw, 1), content);
    assert!(fs::read(&path).unwrap() == content.frames);
    let wav = fs::read(path.with_extension("wav")).unwrap();
    let samples = gallop::media::pcm16(&content.audio);
    let samples: Vec<u8> = samples.iter().flat_map(|x| x.to_le_bytes()).collect();
    assert!(wav[44..] == samples);
    for end in ["rgb", "wav", "json"] {
        fs::remove_file(path.with_extension(end)).unwrap();
    }
    let silent = EncodeOptions {
        is_silent: true,
        ..encode
    };
    let large = made(None, silent, 2);
    assert_eq!((large.width, large.height, large.audio.len()), (64, 64, 0));
    assert_eq!(large.frames.len(), 4 * content.frames.len());
    let output = Output::handed_over(EncodeOptions::default());
    let draft = session.draft(&request(), &output, &Silent, &Cancel::default());
    assert!(draft.unwrap().take_content().is_none());
}
