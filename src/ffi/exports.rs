//! The functions of the library. What they say of pointers in general is the head of `gallop.h`: they are null where that
//! is said to be allowed, else they point to what their type says; handles come from this library and are not freed yet.

#![allow(
    clippy::missing_safety_doc,
    reason = "the head of the header says it for all functions"
)]

use std::{
    ffi::{c_char, c_void},
    path::PathBuf,
    ptr::{null, null_mut},
    sync::Arc,
    time::Duration,
};

use serde_json::json;

use super::{
    engine::{Engine, Taken},
    job::is_telling,
    log::{self, GallopLog, GallopLogLevel},
    options::{Options, shares, stages_json},
    pointers::{borrowed, give, give_text, text},
    request::GallopRequest,
    state::GallopJobState,
    status::{Failure, GallopStatus, guarded, last_error},
};
use crate::{
    jobs::Warning,
    pipeline::{
        SAMPLE_RATE,
        networks::ModelConfigs,
        request::{FPS, Request},
    },
};

/// The version of this interface. A later library with the same number has all that this one has.
pub const GALLOP_ABI_VERSION: u32 = 1;

/// A device and a model that make one clip after the other. Several may be open at once and know nothing of one another.
pub struct GallopEngine {
    engine: Engine,
    networks: Arc<ModelConfigs>,
    base: Request,
}

/// A clip that was asked for.
pub struct GallopJob(Taken);

/// The frames of a clip.
#[repr(C)]
pub struct GallopFrames {
    /// `[count][height][width][3]`: red, green, blue. It lives as long as the job.
    pub rgb: *const u8,
    /// Number of frames.
    pub count: usize,
    /// Pixels in a row.
    pub width: i32,
    /// Rows.
    pub height: i32,
    /// Frames per second.
    pub fps: f64,
}

/// The sound of a clip, as long as its frames.
#[repr(C)]
pub struct GallopAudio {
    /// `[count][channels]`, of nominal range -1 to 1; null if the clip has no sound. It lives as long as the job.
    pub samples: *const f32,
    /// Samples per channel.
    pub count: usize,
    /// Samples per second.
    pub rate: i32,
    /// Channels.
    pub channels: i32,
}

/// The version of the interface that the library has; compare it with GALLOP_ABI_VERSION.
#[unsafe(no_mangle)]
pub extern "C" fn gallop_abi_version() -> u32 {
    GALLOP_ABI_VERSION
}

/// The version of the library. The text lives for ever.
#[unsafe(no_mangle)]
pub extern "C" fn gallop_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// Opens a device and the model in the folder `model_dir`, or with a null pointer the built-in miniature; weights are
/// loaded by the first job. `options_json` may be null, or a JSON object with any of `device` ("auto", "cpu", "cuda:0"),
/// `variant` ("distill", "base"), `decoder` ("turbo", "wan"), `precision` ("bf16", "fp8") and `weight_bytes` (what may stay
/// on the device between jobs). Close the engine with gallop_engine_close.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gallop_engine_open(
    model_dir: *const c_char,
    options_json: *const c_char,
    out: *mut *mut GallopEngine,
) -> GallopStatus {
    guarded(|| {
        // SAFETY: see the head of this file.
        unsafe { give(out, "out", null_mut()) }?;
        // SAFETY: as above.
        let dir = unsafe { text(model_dir, "model_dir") }?;
        // SAFETY: as above.
        let options = unsafe { text(options_json, "options_json") }?;
        let options = Options::read(options)?;
        let (session, networks) = options.open(dir.map(PathBuf::from))?;
        let line = format!("running on {}", session.device());
        let engine = GallopEngine {
            engine: Engine::start(session, shares(&networks))?,
            networks,
            base: options.base,
        };
        log::tell(GallopLogLevel::Info, &line);
        // SAFETY: as above.
        unsafe { give(out, "out", Box::into_raw(Box::new(engine))) }
    })
}

/// Cancels the jobs of an engine, waits for the end of the one that is being made, and frees the engine; null is allowed.
/// Jobs stay until they are freed. In a progress callback of one of its jobs it does not wait.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gallop_engine_close(engine: *mut GallopEngine) {
    guarded(|| {
        if !engine.is_null() {
            // SAFETY: it came from gallop_engine_open and is not used any more.
            drop(unsafe { Box::from_raw(engine) });
        }
        Ok(())
    });
}

/// What an engine has, as JSON: version, model, device, and what its clips are by default. `buf` and `len` as in gallop_last_error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gallop_engine_info_json(
    engine: *const GallopEngine,
    buf: *mut c_char,
    len: *mut usize,
) -> GallopStatus {
    guarded(|| {
        // SAFETY: see the head of this file.
        let engine = unsafe { borrowed(engine, "engine") }?;
        let session = &engine.engine.session;
        let defaults = session.model().defaults();
        let info = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "abi_version": GALLOP_ABI_VERSION,
            "model": session.model().name(),
            "device": session.device(),
            "precision": engine.base.formats.to_string(),
            "loaded_bytes": session.loaded_bytes(),
            "defaults": {
                "size": defaults.size.to_string(),
                "scale": defaults.scale,
                "seconds": defaults.seconds,
            },
        });
        // SAFETY: as above.
        unsafe { give_text(&info.to_string(), buf, len) }
    })
}

/// Fills in a request that asks for nothing; `struct_size` is sizeof(GallopRequest).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gallop_request_init(request: *mut GallopRequest, struct_size: usize) {
    // SAFETY: see the head of this file.
    guarded(|| unsafe { GallopRequest::init(request, struct_size) });
}

/// What a request would become, as JSON: size, length, what each stage takes, and what to know beforehand. Makes nothing.
/// `buf` and `len` as in gallop_last_error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gallop_plan_json(
    engine: *const GallopEngine,
    request: *const GallopRequest,
    buf: *mut c_char,
    len: *mut usize,
) -> GallopStatus {
    guarded(|| {
        // SAFETY: see the head of this file.
        let engine = unsafe { borrowed(engine, "engine") }?;
        // SAFETY: as above.
        let request = unsafe { GallopRequest::read(request) }?;
        // SAFETY: as above.
        let order = unsafe { request.order(&engine.base) }?;
        let job = engine.engine.session.resolve(&order.request)?;
        let (width, height) = job.shown();
        let mut warnings = order.warnings;
        warnings.extend(job.notices.iter().map(Warning::from));
        let plan = json!({
            "size": format!("{width}x{height}"),
            "width": width,
            "height": height,
            "seconds": job.seconds(),
            "frames": job.frames(),
            "fps": FPS,
            // A random one will be another.
            "seed": order.request.seed,
            "stages": stages_json(&engine.networks, &order.request, &job)?,
            "warnings": warnings,
        });
        // SAFETY: as above.
        unsafe { give_text(&plan.to_string(), buf, len) }
    })
}

/// Takes a request and returns at once; the clip is made when those before it are. What can be seen in the request alone is
/// refused here, the rest when its turn has come. Free the job with gallop_job_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gallop_submit(
    engine: *const GallopEngine,
    request: *const GallopRequest,
    out: *mut *mut GallopJob,
) -> GallopStatus {
    guarded(|| {
        // SAFETY: see the head of this file.
        unsafe { give(out, "out", null_mut()) }?;
        // SAFETY: as above.
        let engine = unsafe { borrowed(engine, "engine") }?;
        // SAFETY: as above.
        let request = unsafe { GallopRequest::read(request) }?;
        // SAFETY: as above.
        let order = unsafe { request.order(&engine.base) }?;
        let job = GallopJob(engine.engine.submit(order));
        // SAFETY: as above.
        unsafe { give(out, "out", Box::into_raw(Box::new(job))) }
    })
}

/// Waits for the end of a job: GALLOP_STATUS_OK if it made its clip, else why not. After `timeout_ms` it returns
/// GALLOP_STATUS_TIMEOUT, and with -1 it waits as long as it takes. Refused in a progress callback.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gallop_job_wait(job: *const GallopJob, timeout_ms: i64) -> GallopStatus {
    guarded(|| {
        // SAFETY: see the head of this file.
        let job = unsafe { borrowed(job, "job") }?;
        if is_telling() {
            let problem = "must not be waited for in a progress callback";
            return Err(Failure::argument("job", problem));
        }
        let timeout = u64::try_from(timeout_ms).ok().map(Duration::from_millis);
        job.0.making.wait(timeout)?;
        job.0.making.made().map(drop)
    })
}

/// How far a job is.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gallop_job_state(
    job: *const GallopJob,
    out: *mut GallopJobState,
) -> GallopStatus {
    guarded(|| {
        // SAFETY: see the head of this file.
        let job = unsafe { borrowed(job, "job") }?;
        // SAFETY: as above.
        unsafe { give(out, "out", job.0.making.state()) }
    })
}

/// Cancels a job, from any thread, at any time, as often as one likes; null is allowed. It ends soon after, which
/// gallop_job_wait says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gallop_job_cancel(job: *const GallopJob) {
    guarded(|| {
        // SAFETY: see the head of this file.
        if let Some(job) = unsafe { job.as_ref() } {
            job.0.cancel();
        }
        Ok(())
    });
}

/// The MP4 of a job that is completed. It lives as long as the job.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gallop_job_mp4(
    job: *const GallopJob,
    data: *mut *const u8,
    len: *mut usize,
) -> GallopStatus {
    guarded(|| {
        // SAFETY: see the head of this file.
        let job = unsafe { borrowed(job, "job") }?;
        let mp4 = &job.0.making.made()?.mp4;
        // SAFETY: as above.
        unsafe { give(data, "data", mp4.as_ptr()) }?;
        // SAFETY: as above.
        unsafe { give(len, "len", mp4.len()) }
    })
}

/// The frames of a job that is completed, as they were encoded.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gallop_job_frames(
    job: *const GallopJob,
    out: *mut GallopFrames,
) -> GallopStatus {
    guarded(|| {
        // SAFETY: see the head of this file.
        let job = unsafe { borrowed(job, "job") }?;
        let content = &job.0.making.made()?.content;
        let frames = GallopFrames {
            rgb: content.frames.as_ptr(),
            count: content.frames.len() / (3 * content.width * content.height),
            width: content.width as i32,
            height: content.height as i32,
            fps: FPS as f64,
        };
        // SAFETY: as above.
        unsafe { give(out, "out", frames) }
    })
}

/// The sound of a job that is completed, as it was encoded.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gallop_job_audio(
    job: *const GallopJob,
    out: *mut GallopAudio,
) -> GallopStatus {
    guarded(|| {
        // SAFETY: see the head of this file.
        let job = unsafe { borrowed(job, "job") }?;
        let audio = &job.0.making.made()?.content.audio;
        let audio = GallopAudio {
            samples: match audio.is_empty() {
                true => null(),
                false => audio.as_ptr(),
            },
            count: audio.len() / 2,
            rate: SAMPLE_RATE as i32,
            channels: 2,
        };
        // SAFETY: as above.
        unsafe { give(out, "out", audio) }
    })
}

/// What a job that is completed made and how, as JSON: size, seed, times, warnings. `buf` and `len` as in gallop_last_error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gallop_job_report_json(
    job: *const GallopJob,
    buf: *mut c_char,
    len: *mut usize,
) -> GallopStatus {
    guarded(|| {
        // SAFETY: see the head of this file.
        let job = unsafe { borrowed(job, "job") }?;
        let report = job.0.making.made()?.report.to_string();
        // SAFETY: as above.
        unsafe { give_text(&report, buf, len) }
    })
}

/// Cancels a job that has not ended, waits for its end, and frees it with all that was borrowed from it; null is allowed.
/// In a progress callback it does not wait.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gallop_job_free(job: *mut GallopJob) {
    guarded(|| {
        if job.is_null() {
            return Ok(());
        }
        // SAFETY: it came from gallop_submit and is not used any more.
        let job = unsafe { Box::from_raw(job) };
        job.0.cancel();
        if !is_telling() {
            job.0.making.wait(None)?;
        }
        Ok(())
    });
}

/// The sentence to the last failure of a call of this thread, "" before the first. Like all texts it is copied to `buf`, which has
/// room for `*len` bytes; `*len` becomes the bytes that it takes with its zero. With a null `buf` only that is said.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gallop_last_error(buf: *mut c_char, len: *mut usize) -> GallopStatus {
    let text = last_error();
    // SAFETY: see the head of this file.
    let given = unsafe { give_text(&text, buf, len) };
    // The sentence must not be replaced by one about the room for it.
    given.map_or_else(|failure| failure.status, |()| GallopStatus::Ok)
}

/// Gives the lines of the log of all engines to `log` from now on, or with a null pointer to nobody. A line that is being told
/// meanwhile may still arrive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gallop_set_log(log: GallopLog, user: *mut c_void) {
    guarded(|| {
        log::set(log, user);
        Ok(())
    });
}
