//! What a run writes: checked and opened before it begins, published together when everything is made.

use std::{
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Model, Notice, QuantizationPolicy, Stage,
    request::{Input, Job, Request},
};
use crate::{
    Error, Result,
    error::Field,
    media::{self, AtomicFile, EncodeOptions, Encoder},
};

/// Endings that ask for a format, each for another than the rest.
const FORMATS: &str = "3g2 3gp aac ac3 aif aiff apng asf avi avif bmp caf ckpt csv f4v flac flv gif heic jpeg jpg jpg \
    json jxl m2ts m4a m4v mka mkv mov mp3 mp4 mpeg mpg mts mxf npy npz oga ogg ogv opus pdf png ppm pt pth rgb rm \
    rmvb safetensors svg swf tif tiff ts vob wav weba webm webp wma wmv y4m yuv zip";

/// Where the clip goes and how it is encoded.
#[derive(Clone, Debug)]
pub struct Output {
    /// The file; without one [`Draft::publish_to`] hands the clip over.
    pub path: Option<PathBuf>,
    /// Replace files that are there.
    pub force: bool,
    /// Encoder, quality, colour.
    pub encode: EncodeOptions,
    /// Write into the clip what made it: prompt, seed, model and version.
    pub metadata: bool,
    /// Leave the clip's frames and sound in memory too, for [`Draft::take_content`].
    pub content: bool,
    /// Where to save the final latents too.
    pub save_latents: Option<PathBuf>,
    /// Where to draw frames and sound as one picture too, PNG.
    pub sheet: Option<PathBuf>,
    /// Where to store the frame in the middle too, WebP.
    pub thumbnail: Option<PathBuf>,
    /// Where to store what the base pass made too, MP4, if it is refined. It has its name long before the clip, and keeps it
    /// if the clip cannot be made.
    pub preview: Option<PathBuf>,
    /// What the caller writes with the clip: none of these files may be another.
    pub also_written: Vec<PathBuf>,
    /// What the request was read from: none of these files is written.
    pub also_read: Vec<PathBuf>,
}

impl Output {
    /// A new file at `path`, encoded as by default.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: Some(path.into()),
            ..Self::handed_over(EncodeOptions::default())
        }
    }

    /// No file.
    pub fn handed_over(encode: EncodeOptions) -> Self {
        Self {
            path: None,
            force: false,
            encode,
            metadata: true,
            content: false,
            save_latents: None,
            sheet: None,
            thumbnail: None,
            preview: None,
            also_written: Vec::new(),
            also_read: Vec::new(),
        }
    }

    /// The clip's own files.
    fn clip_files(&self) -> Vec<PathBuf> {
        let files = |path: &PathBuf| self.encode.encoder.files(path);
        self.path.iter().flat_map(files).collect()
    }

    /// All files.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let beside = [
            &self.save_latents,
            &self.sheet,
            &self.thumbnail,
            &self.preview,
        ];
        let beside = beside.into_iter().flatten().cloned();
        self.clip_files().into_iter().chain(beside).collect()
    }

    /// Opens all files, so that nothing is computed in vain.
    pub(super) fn open(&self, request: &Request, model: &Model) -> Result<Files> {
        let encoder = &self.encode.encoder;
        match &self.path {
            Some(_) => encoder.check()?,
            None => encoder.check_for_sink()?,
        }
        self.check_endings()?;
        let clip = self.clip_files();
        let inputs = [&request.image, &request.audio].into_iter().flatten();
        let inputs = inputs.filter_map(Input::path).map(Path::to_path_buf);
        let mut read = self.also_read.clone();
        read.extend(inputs.chain(request.text_features.clone()));
        read.extend(model.files());
        media::check_apart(&[self.files(), self.also_written.clone()].concat(), &read)?;
        let create = |path: &PathBuf| AtomicFile::create(path, self.force);
        Ok(Files {
            clip: clip.iter().map(create).collect::<Result<_>>()?,
            latents: self.save_latents.as_ref().map(create).transpose()?,
            sheet: self.sheet.as_ref().map(create).transpose()?,
            thumbnail: self.thumbnail.as_ref().map(create).transpose()?,
            preview: self.preview.as_ref().map(create).transpose()?,
        })
    }

    /// Refuses a name that asks for another format than the file will have.
    fn check_endings(&self) -> Result<()> {
        let clip: (&[&str], _) = match self.encode.encoder {
            Encoder::Raw => (
                &["rgb", "wav", "json", "mp4", "m4v"],
                "names raw frames, a WAV and a JSON, so it must end in .rgb or in nothing",
            ),
            Encoder::Embedded | Encoder::X264 { .. } => (
                &["mp4", "m4v"],
                "must end in .mp4: the clip is an MP4, of which ffmpeg makes other formats",
            ),
        };
        let latents: &[&str] = &["safetensors"];
        for (path, field, (own, expected)) in [
            (&self.path, Field::Output, clip),
            (
                &self.save_latents,
                Field::SaveLatents,
                (latents, "must end in .safetensors, which the file will be"),
            ),
            (
                &self.sheet,
                Field::Sheet,
                (&["png"], "must end in .png: the sheet is a PNG"),
            ),
        ] {
            let Some(path) = path else { continue };
            let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
            let is = |known: &str| ending == known;
            if FORMATS.split_whitespace().any(is) && !own.iter().copied().any(is) {
                return Err(Error::request(field, expected).found(path.display()));
            }
        }
        Ok(())
    }
}

/// The files of a run, open.
pub(super) struct Files {
    /// As [`Encoder::files`] says; none if the clip is handed over.
    pub(super) clip: Vec<AtomicFile>,
    pub(super) latents: Option<AtomicFile>,
    pub(super) sheet: Option<AtomicFile>,
    pub(super) thumbnail: Option<AtomicFile>,
    pub(super) preview: Option<AtomicFile>,
}

/// What was made.
#[derive(Clone, Debug)]
pub struct Report {
    /// The decided numbers, with the seed.
    pub job: Job,
    /// Time of each stage that ran, in order.
    pub stages: Vec<(Stage, Duration)>,
    /// SHA-256 of the final latents: the video's f32 bytes, then the audio's.
    pub latents_sha256: String,
    /// The encoder that ran and what it wrote.
    pub file: media::EncodeReport,
    /// The model's name.
    pub model: String,
    /// The device's name.
    pub device: String,
    /// In which formats the layers of the denoising networks were.
    pub formats: QuantizationPolicy,
}

impl Report {
    /// Whether all parts that ran were trained; else the clip is noise.
    pub fn is_trained(&self) -> bool {
        let is_untrained = |notice: &Notice| matches!(notice, Notice::UntrainedPart { .. });
        !self.job.notices.iter().any(is_untrained)
    }
}

/// A clip that is made, with all that goes with it, of which nothing has its name yet. Dropping it leaves nothing.
pub struct Draft {
    pub(super) report: Report,
    /// The clip last.
    pub(super) files: Vec<AtomicFile>,
    /// The clip's bytes, if it has no file.
    pub(super) clip: Vec<u8>,
    pub(super) content: Option<Content>,
}

/// What a clip shows and sounds like, as it was encoded.
#[derive(Clone, PartialEq, Debug)]
pub struct Content {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// u8 `[frames, height, width, 3]`, RGB, 25 per second.
    pub frames: Vec<u8>,
    /// f32 `[samples, 2]` at [`SAMPLE_RATE`](media::SAMPLE_RATE), nominal range [-1, 1]; empty for a clip without sound.
    pub audio: Vec<f32>,
}

impl Content {
    pub(super) fn new((width, height): (usize, usize), frames: Vec<u8>, audio: Vec<f32>) -> Self {
        Self {
            width,
            height,
            frames,
            audio,
        }
    }
}

impl Draft {
    /// Publishes `file` with the clip.
    pub fn add(&mut self, file: AtomicFile) {
        self.files.insert(0, file);
    }

    /// Frames and sound, once, if [`Output::content`] asks for them.
    pub fn take_content(&mut self) -> Option<Content> {
        self.content.take()
    }

    /// Gives all files their names, or none.
    ///
    /// # Errors
    /// [`Error::Output`]
    pub fn publish(self) -> Result<Report> {
        media::publish(self.files)?;
        Ok(self.report)
    }

    /// The same for a clip without a file: its bytes go to `sink`, which has the name `name`.
    ///
    /// # Errors
    /// [`Error::Output`]
    pub fn publish_to(mut self, sink: &mut dyn Write, name: &str) -> Result<Report> {
        let clip = std::mem::take(&mut self.clip);
        let report = self.publish()?;
        let written = sink.write_all(&clip).and_then(|()| sink.flush());
        written.map_err(|e| Error::output_io(name, e))?;
        Ok(report)
    }
}
