//! A request as the caller fills it in, and how it is read.

use std::{
    ffi::{c_char, c_void},
    ptr::null,
};

use serde_json::{Number, Value};

use super::{
    inputs,
    job::{Listener, Order},
    options::object,
    pointers::{text, values},
    state::GallopProgress,
    status::Failure,
};
use crate::{
    jobs::{Asked, Given, Parameters},
    pipeline::{
        EncodeOptions,
        request::{Input, Request, Size},
    },
};

/// What a clip is to be. gallop_request_init fills it in; whatever is left as it was then is decided by the model. All that
/// it points to is copied by the call that gets it, but for `user`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct GallopRequest {
    /// Bytes of this structure, as the caller knows it.
    pub struct_size: usize,
    /// Content of the clip: picture and speech.
    pub prompt: *const c_char,
    /// Pixels in a row, rounded down to a multiple of 32; with `height`.
    pub width: i32,
    /// Rows, rounded down to a multiple of 32; with `width`.
    pub height: i32,
    /// Length, up to 10.
    pub seconds: f64,
    /// Seed of all noise; -1: a random one.
    pub seed: i64,
    /// Steps of the base pass.
    pub steps: i32,
    /// Samples per second of `audio_samples`.
    pub audio_rate: i32,
    /// Picture of the first frame: a PNG, JPEG or WebP file.
    pub image_path: *const c_char,
    /// The same in memory, in place of a file: `[image_height][image_width][3]`, red, green and blue.
    pub image_rgb: *const u8,
    /// Pixels in a row of `image_rgb`.
    pub image_width: i32,
    /// Rows of `image_rgb`.
    pub image_height: i32,
    /// Voice track that drives the clip: a WAV, AIFF, CAF, MP3, AAC, M4A, FLAC or Ogg Vorbis file.
    pub audio_path: *const c_char,
    /// The same in memory, in place of a file: `[audio_frames][audio_channels]`, of nominal range -1 to 1.
    pub audio_samples: *const f32,
    /// Samples per channel of `audio_samples`.
    pub audio_frames: usize,
    /// Channels of `audio_samples`: 1 or 2.
    pub audio_channels: i32,
    /// Hears how far the job is.
    pub progress: GallopProgress,
    /// What `progress` gets. It must be there until the job has ended.
    pub user: *mut c_void,
    /// More parameters, by the names of the HTTP interface, as a JSON object: `{"scale": 2, "quality": 8}`. They go before the
    /// fields above.
    pub extra_json: *const c_char,
}

impl GallopRequest {
    /// Everything left to the model.
    pub(super) const fn empty() -> Self {
        Self {
            struct_size: size_of::<Self>(),
            prompt: null(),
            width: 0,
            height: 0,
            seconds: 0.0,
            seed: -1,
            steps: 0,
            audio_rate: 0,
            image_path: null(),
            image_rgb: null(),
            image_width: 0,
            image_height: 0,
            audio_path: null(),
            audio_samples: null(),
            audio_frames: 0,
            audio_channels: 0,
            progress: None,
            user: std::ptr::null_mut(),
            extra_json: null(),
        }
    }

    /// Writes an empty request of `size` bytes, as far as this version knows them.
    ///
    /// # Safety
    /// `request` is null, or so many bytes may be written there.
    pub(super) unsafe fn init(request: *mut Self, size: usize) -> Result<(), Failure> {
        if request.is_null() {
            return Err(Failure::argument("request", "must not be null"));
        }
        let empty = Self {
            struct_size: size,
            ..Self::empty()
        };
        let known = size.min(size_of::<Self>());
        // SAFETY: the caller's promise; not more is read than `empty` has.
        unsafe {
            request
                .cast::<u8>()
                .copy_from_nonoverlapping((&raw const empty).cast(), known);
        }
        let more = size - known;
        // SAFETY: `known` bytes of `size` that may be written.
        let end = unsafe { request.cast::<u8>().add(known) };
        // SAFETY: as above: the rest of `size` bytes.
        unsafe { end.write_bytes(0, more) };
        Ok(())
    }

    /// The request at `request`; fields that its caller does not know are as in an empty one.
    ///
    /// # Safety
    /// It is null, or it points to as many bytes as its `struct_size` says.
    pub(super) unsafe fn read(request: *const Self) -> Result<Self, Failure> {
        if request.is_null() {
            return Err(Failure::argument("request", "must not be null"));
        }
        // SAFETY: the size is what every version begins with.
        let size = unsafe { request.cast::<usize>().read() };
        let least = std::mem::offset_of!(Self, prompt) + size_of::<*const c_char>();
        if size < least || size > size_of::<Self>() {
            let problem = format!(
                "must be what gallop_request_init writes, {least} to {} for this library; found {size}",
                size_of::<Self>()
            );
            return Err(Failure::argument("struct_size", &problem));
        }
        let mut own = Self::empty();
        // SAFETY: so many bytes are there by the caller's promise, and not more than `own` has; every field may have any
        // bytes that another program wrote as a value of its type.
        unsafe {
            (&raw mut own)
                .cast::<u8>()
                .copy_from_nonoverlapping(request.cast(), size);
        }
        Ok(own)
    }

    /// What is asked for beyond `base`.
    ///
    /// # Safety
    /// Texts are null or end in a zero; pictures and sounds are null or as large as they are said to be.
    pub(super) unsafe fn order(&self, base: &Request) -> Result<Order, Failure> {
        // SAFETY: the caller's promise.
        let asked = Asked::of(unsafe { self.fields() }?)?;
        for (name, is_given, problem) in [
            (
                "model",
                asked.parameters.model.is_some(),
                "is what the engine was opened with",
            ),
            (
                "input_reference",
                asked.image_url.is_some(),
                "cannot be a URL here; set image_path",
            ),
            (
                "audio_reference",
                asked.audio_url.is_some(),
                "cannot be a URL here; set audio_path",
            ),
        ] {
            if is_given {
                return Err(Failure::argument(name, problem));
            }
        }
        let Asked {
            parameters,
            warnings,
            ..
        } = asked;
        let usual = EncodeOptions::default();
        let encode = EncodeOptions {
            quality: parameters.quality.unwrap_or(usual.quality),
            is_silent: parameters.is_silent,
            ..usual
        };
        // SAFETY: the caller's promise.
        let inputs = (unsafe { self.image() }?, unsafe { self.audio() }?);
        Ok(Order {
            request: request(parameters, inputs, base)?,
            encode,
            warnings,
            listener: Listener {
                function: self.progress,
                user: self.user,
            },
        })
    }

    /// What is given, by the names of requests.
    ///
    /// # Safety
    /// As [`GallopRequest::order`].
    unsafe fn fields(&self) -> Result<Vec<(String, Given)>, Failure> {
        // SAFETY: the caller's promise.
        let prompt = unsafe { text(self.prompt, "prompt") }?;
        let seconds = Number::from_f64(self.seconds);
        let seconds = seconds.ok_or_else(|| Failure::argument("seconds", "must be a number"))?;
        let number = |name: &'static str, value: i32, is_given: bool| {
            is_given.then(|| (name, Value::from(value)))
        };
        let own = [
            prompt.map(|prompt| ("prompt", Value::from(prompt))),
            number("width", self.width, self.width != 0),
            number("height", self.height, self.height != 0),
            (self.seconds != 0.0).then_some(("seconds", Value::Number(seconds))),
            number("num_inference_steps", self.steps, self.steps != 0),
            (self.seed != -1).then(|| ("seed", Value::from(self.seed))),
        ];
        let own = own.into_iter().flatten();
        let own = own.map(|(name, value)| (name.to_string(), value));
        // SAFETY: the caller's promise.
        let extra = unsafe { text(self.extra_json, "extra_json") }?;
        let extra = object("extra_json", extra)?;
        let all = own.chain(extra);
        Ok(all
            .map(|(name, value)| (name, Given::Json(value)))
            .collect())
    }

    /// The picture, if there is one.
    ///
    /// # Safety
    /// As [`GallopRequest::order`].
    unsafe fn image(&self) -> Result<Option<Input>, Failure> {
        // SAFETY: the caller's promise.
        let path = unsafe { text(self.image_path, "image_path") }?;
        if self.image_rgb.is_null() {
            return Ok(path.map(|path| Input::Path(path.into())));
        }
        check_alone("image_rgb", "image_path", path)?;
        let (width, height) = (
            positive("image_width", self.image_width)?,
            positive("image_height", self.image_height)?,
        );
        let bytes = (width as usize).checked_mul(height as usize);
        let bytes = bytes.and_then(|pixels| pixels.checked_mul(3));
        // SAFETY: the caller's promise; a product that overflows is refused there.
        let rgb = unsafe { values(self.image_rgb, "image_rgb", bytes.unwrap_or(usize::MAX)) }?;
        inputs::picture(rgb, width, height).map(Some)
    }

    /// The voice track, if there is one.
    ///
    /// # Safety
    /// As [`GallopRequest::order`].
    unsafe fn audio(&self) -> Result<Option<Input>, Failure> {
        // SAFETY: the caller's promise.
        let path = unsafe { text(self.audio_path, "audio_path") }?;
        if self.audio_samples.is_null() {
            return Ok(path.map(|path| Input::Path(path.into())));
        }
        check_alone("audio_samples", "audio_path", path)?;
        let rate = positive("audio_rate", self.audio_rate)?;
        if !(1..=2).contains(&self.audio_channels) {
            let problem = format!("must be 1 or 2; given {}", self.audio_channels);
            return Err(Failure::argument("audio_channels", &problem));
        }
        let channels = self.audio_channels as u16;
        let count = self.audio_frames.checked_mul(channels.into());
        let count = count.unwrap_or(usize::MAX);
        // SAFETY: the caller's promise; a product that overflows is refused there.
        let samples = unsafe { values(self.audio_samples, "audio_samples", count) }?;
        inputs::sound(samples, rate, channels).map(Some)
    }
}

/// One of two ways to give something.
fn check_alone(name: &str, other: &str, path: Option<&str>) -> Result<(), Failure> {
    match path {
        None => Ok(()),
        Some(_) => Err(Failure::argument(
            name,
            &format!("must be null where `{other}` is given"),
        )),
    }
}

fn positive(name: &str, value: i32) -> Result<u32, Failure> {
    let positive = u32::try_from(value).ok().filter(|&value| value > 0);
    positive.ok_or_else(|| Failure::argument(name, &format!("must be at least 1; given {value}")))
}

fn request(
    parameters: Parameters,
    (image, audio): (Option<Input>, Option<Input>),
    base: &Request,
) -> Result<Request, Failure> {
    let size = parameters.size.as_deref().map(str::parse::<Size>);
    let size = size.transpose();
    Ok(Request {
        size: size.map_err(|problem| Failure::argument("size", &problem))?,
        prompt: parameters.prompt,
        negative_prompt: parameters.negative_prompt,
        scale: parameters.scale,
        seconds: parameters.seconds,
        seed: parameters.seed,
        steps: parameters.num_inference_steps,
        hold_audio: parameters.hold_audio,
        image,
        audio,
        ..base.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(request: &GallopRequest) -> Result<Order, Failure> {
        // SAFETY: the requests of these tests point to what they say.
        let read = unsafe { GallopRequest::read(request) }?;
        // SAFETY: as above.
        unsafe { read.order(&Request::default()) }
    }

    fn asking() -> GallopRequest {
        GallopRequest {
            prompt: c"A red ball".as_ptr(),
            ..GallopRequest::empty()
        }
    }

    #[test]
    fn fields_and_the_rest_become_one_request() {
        let rgb = [9_u8; 12];
        let made = order(&GallopRequest {
            width: 64,
            height: 96,
            seconds: 1.5,
            seed: 7,
            steps: 3,
            image_rgb: rgb.as_ptr(),
            image_width: 2,
            image_height: 2,
            audio_path: c"voice.wav".as_ptr(),
            extra_json: c"{\"scale\":2,\"seed\":18446744073709551615,\"generate_audio\":false}"
                .as_ptr(),
            ..asking()
        });
        let Order {
            request, encode, ..
        } = made.ok().unwrap();
        assert_eq!(request.prompt, "A red ball");
        assert_eq!(request.size, Some(Size::Exact(64, 96)));
        assert_eq!((request.seconds, request.steps), (Some(1.5), Some(3)));
        assert_eq!((request.seed, request.scale), (Some(u64::MAX), Some(2)));
        assert!(encode.is_silent);
        let image = request.image.unwrap().open_image().unwrap();
        assert_eq!(image.rgb, rgb);
        assert_eq!(request.audio, Some(Input::Path("voice.wav".into())));
        let bare = order(&asking()).ok().unwrap().request;
        assert_eq!((bare.size, bare.seconds, bare.seed), (None, None, None));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let (pixel, sample) = ([0_u8; 3], [0_f32; 1]);
        let refused = |change: &dyn Fn(&mut GallopRequest), expected: &str| {
            let mut request = asking();
            change(&mut request);
            let failure = order(&request).err().unwrap();
            assert!(failure.text.contains(expected), "{}", failure.text);
        };
        refused(&|r| r.prompt = null(), "`prompt` must say");
        refused(&|r| r.prompt = c"\xff".as_ptr(), "`prompt` must be UTF-8");
        refused(&|r| r.struct_size = 3, "`struct_size` must be");
        refused(&|r| r.struct_size = 4096, "found 4096");
        refused(&|r| r.width = 64, "`height`");
        refused(&|r| (r.width, r.height) = (-1, 64), "`width` must");
        refused(&|r| r.seconds = f64::NAN, "`seconds` must be a number");
        refused(&|r| r.seed = -2, "`seed` must");
        refused(&|r| r.steps = -3, "`num_inference_steps` must");
        let extra = |text: &'static std::ffi::CStr, expected: &str| {
            refused(&|r| r.extra_json = text.as_ptr(), expected);
        };
        extra(c"[]", "`extra_json` must");
        extra(c"{\"sede\":1}", "did you mean `seed`");
        extra(c"{\"model\":\"x\"}", "`model` is what");
        extra(c"{\"image_url\":\"http://a\"}", "set image_path");
        let image = |width, height, path: *const c_char, expected: &str| {
            let change = |r: &mut GallopRequest| {
                (r.image_rgb, r.image_path) = (pixel.as_ptr(), path);
                (r.image_width, r.image_height) = (width, height);
            };
            refused(&change, expected);
        };
        image(1, 0, null(), "`image_height` must be at least 1; given 0");
        image(i32::MAX, i32::MAX, null(), "larger than any memory");
        let path = c"a.png".as_ptr();
        image(1, 1, path, "`image_rgb` must be null where `image_path`");
        let audio = |channels, frames, expected: &str| {
            let change = |r: &mut GallopRequest| {
                (r.audio_samples, r.audio_rate) = (sample.as_ptr(), 8000);
                (r.audio_channels, r.audio_frames) = (channels, frames);
            };
            refused(&change, expected);
        };
        audio(0, 1, "`audio_channels` must be 1 or 2");
        audio(2, usize::MAX, "`audio_samples` is larger");
        // SAFETY: a null pointer is allowed.
        assert!(unsafe { GallopRequest::read(null()) }.is_err());
    }

    #[test]
    fn a_caller_of_another_version_is_understood() {
        // An earlier one, which knows only the first fields: the rest is as if nothing was given.
        let prompt_only = std::mem::offset_of!(GallopRequest, width);
        let earlier = GallopRequest {
            struct_size: prompt_only,
            width: 64,
            seconds: f64::NAN,
            ..asking()
        };
        assert_eq!(order(&earlier).ok().unwrap().request.size, None);
        // A later one has room for more, which is cleared.
        let mut room = [0xff_u8; 512];
        let later: *mut GallopRequest = room.as_mut_ptr().cast();
        for size in [8, 512] {
            room.fill(0xff);
            // SAFETY: there are 512 bytes.
            unsafe { GallopRequest::init(later, size) }.unwrap();
            assert_eq!(room[..8], size.to_le_bytes());
            let rest = room[size.max(size_of::<GallopRequest>())..].iter();
            let cleared = if size == 512 { 0 } else { 0xff };
            assert!(rest.clone().all(|&byte| byte == cleared), "{size}");
        }
    }
}
