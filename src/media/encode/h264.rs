//! H.264 by OpenH264: one closed group of pictures (GOP) at a time.
//!
//! Each GOP has an encoder of its own with one thread and no clock, so the bytes depend only on frames and settings,
//! and GOPs can be encoded in parallel. All encoders of one setting write the same parameter sets under the same id,
//! so their frames can be joined behind one `avcC`.
//!
//! Only this file of `media` contains `unsafe`: the library's interface is a table of C functions.

#![allow(
    unsafe_code,
    reason = "the OpenH264 library is C++ and has no safe interface that sets a fixed quantiser"
)]

use std::{
    os::raw::c_int,
    ptr::{self, NonNull},
    slice,
};

use openh264_sys2::{
    ASP_1x1, CM_BT709, CONSTANT_ID, CP_BT709, ENCODER_OPTION_TRACE_LEVEL, ISVCEncoder,
    ISVCEncoderVtbl, MEDIUM_COMPLEXITY, PRO_HIGH, RC_OFF_MODE, SEncParamExt, SFrameBSInfo,
    SLayerBSInfo, SM_SINGLE_SLICE, SSourcePicture, SSpatialLayerConfig, TRC_BT709, VF_UNDEF,
    source::APILoader, videoFormatI420,
};

use crate::{
    Error, Result,
    error::{Field, Hint},
    media::clip::{Color, FPS},
};

use super::yuv::{Yuv420, rgb_to_yuv420};

/// NAL unit types that are stored apart from the frames.
const NAL_SPS: u8 = 7;
const NAL_PPS: u8 = 8;
/// The library's log level that prints nothing.
const TRACE_QUIET: c_int = 0;

/// Settings of every GOP of a clip.
#[derive(Clone, Copy, Debug)]
pub struct H264Settings {
    /// Pixels in a row; a multiple of 2.
    pub width: usize,
    /// Rows; a multiple of 2.
    pub height: usize,
    /// Quantiser of every frame, 0 (finest) to 51.
    pub qp: u8,
    /// RGB to YCbCr, and how it is tagged.
    pub color: Color,
    /// Frames of a full GOP; the last one of a clip may be shorter.
    pub gop_frames: usize,
}

/// An encoded GOP.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gop {
    /// Sequence parameter set, without start code.
    pub sps: Vec<u8>,
    /// Picture parameter set, without start code.
    pub pps: Vec<u8>,
    /// Frames as MP4 stores them: each NAL unit after its 4-byte length. The first is a key frame.
    pub frames: Vec<Vec<u8>>,
}

/// Encodes `frames`, RGB u8 `[n, height, width, 3]`, as one closed GOP. `after_frame` is called after each frame; its
/// error stops the work.
///
/// # Errors
/// [`Error::Device`] if the library fails (out of memory, for example), or the error of `after_frame`.
///
/// # Panics
/// If `frames` is empty or not a whole number of frames.
pub fn encode_gop(
    frames: &[u8],
    settings: &H264Settings,
    after_frame: &dyn Fn() -> Result<()>,
) -> Result<Gop> {
    let frame_bytes = 3 * settings.width * settings.height;
    assert!(
        !frames.is_empty() && frames.len().is_multiple_of(frame_bytes),
        "{} bytes of {}x{} frames",
        frames.len(),
        settings.width,
        settings.height
    );
    let mut encoder = Encoder::new(settings)?;
    let mut gop = Gop {
        sps: Vec::new(),
        pps: Vec::new(),
        frames: Vec::new(),
    };
    for (index, rgb) in frames.chunks_exact(frame_bytes).enumerate() {
        let mut planes = rgb_to_yuv420(rgb, settings.width, settings.height, settings.color);
        let mut frame = Vec::new();
        encoder.encode(
            &mut planes,
            index,
            &mut |nal| match nal.first().map(|header| header & 0x1f) {
                Some(NAL_SPS) => gop.sps = nal.to_vec(),
                Some(NAL_PPS) => gop.pps = nal.to_vec(),
                _ => {
                    frame.extend((nal.len() as u32).to_be_bytes());
                    frame.extend(nal);
                }
            },
        )?;
        if frame.is_empty() {
            return Err(Error::device(format!("OpenH264 left out frame {index}")));
        }
        gop.frames.push(frame);
        after_frame()?;
    }
    Ok(gop)
}

/// An OpenH264 encoder, initialised; used by one thread at a time.
struct Encoder {
    raw: NonNull<ISVCEncoder>,
    calls: ISVCEncoderVtbl,
    width: c_int,
    height: c_int,
}

impl Encoder {
    fn new(settings: &H264Settings) -> Result<Self> {
        let mut raw = ptr::null_mut();
        // SAFETY: the function writes one pointer to the address it is given.
        let code = unsafe { APILoader::WelsCreateSVCEncoder(&mut raw) };
        let raw = match NonNull::new(raw) {
            Some(raw) if code == 0 => raw,
            _ => return Err(failed("WelsCreateSVCEncoder", code)),
        };
        // SAFETY: a created encoder starts with a pointer to its table of functions.
        let table = unsafe { *raw.as_ptr() };
        // SAFETY: the table is static data of the library.
        let calls = unsafe { *table };
        // From here on `Drop` frees the encoder.
        let encoder = Self {
            raw,
            calls,
            width: settings.width as c_int,
            height: settings.height as c_int,
        };
        encoder.initialize(settings)?;
        Ok(encoder)
    }

    fn initialize(&self, settings: &H264Settings) -> Result<()> {
        let raw = self.raw.as_ptr();
        let mut level = TRACE_QUIET;
        if let Some(set_option) = self.calls.SetOption {
            // SAFETY: `raw` is a live encoder, and this option reads one int at the address.
            unsafe { set_option(raw, ENCODER_OPTION_TRACE_LEVEL, (&raw mut level).cast()) };
        }
        let mut parameters = SEncParamExt::default();
        let code = match self.calls.GetDefaultParams {
            // SAFETY: `raw` is a live encoder; `parameters` is the struct this call fills.
            Some(get_default) => unsafe { get_default(raw, &mut parameters) },
            None => -1,
        };
        if code != 0 {
            return Err(failed("GetDefaultParams", code));
        }
        set_parameters(&mut parameters, settings);
        let code = match self.calls.InitializeExt {
            // SAFETY: `raw` is a live encoder; `parameters` is complete and only read.
            Some(initialize) => unsafe { initialize(raw, &parameters) },
            None => -1,
        };
        match code {
            0 => Ok(()),
            _ => Err(failed("InitializeExt", code)),
        }
    }

    /// Encodes one frame and hands each of its NAL units, without start code, to `on_nal`.
    fn encode(
        &mut self,
        planes: &mut Yuv420,
        index: usize,
        on_nal: &mut dyn FnMut(&[u8]),
    ) -> Result<()> {
        let mut picture = SSourcePicture {
            iColorFormat: videoFormatI420,
            iPicWidth: self.width,
            iPicHeight: self.height,
            uiTimeStamp: (index * 1000 / FPS) as i64,
            ..SSourcePicture::default()
        };
        picture.iStride = [self.width, self.width / 2, self.width / 2, 0];
        picture.pData = [
            planes.y.as_mut_ptr(),
            planes.u.as_mut_ptr(),
            planes.v.as_mut_ptr(),
            ptr::null_mut(),
        ];
        let mut info = SFrameBSInfo::default();
        let code = match self.calls.EncodeFrame {
            // SAFETY: the encoder is initialised for width x height; `rgb_to_yuv420` made the planes of exactly
            // that size, tightly packed as the strides say; they outlive the call, which does not keep them.
            Some(encode) => unsafe { encode(self.raw.as_ptr(), &picture, &mut info) },
            None => -1,
        };
        if code != 0 {
            return Err(failed("EncodeFrame", code));
        }
        for layer in info.sLayerInfo.iter().take(info.iLayerNum.max(0) as usize) {
            for_each_nal(layer, on_nal);
        }
        Ok(())
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        // SAFETY: `raw` came from WelsCreateSVCEncoder and is not used after this; destroying it also
        // uninitialises it.
        unsafe { APILoader::WelsDestroySVCEncoder(self.raw.as_ptr()) };
    }
}

/// Fixed quantiser, one thread, one slice, no clocks, no scene detection, no frame skipping.
fn set_parameters(parameters: &mut SEncParamExt, settings: &H264Settings) {
    let (width, height) = (settings.width as c_int, settings.height as c_int);
    parameters.iPicWidth = width;
    parameters.iPicHeight = height;
    parameters.fMaxFrameRate = FPS as f32;
    parameters.iRCMode = RC_OFF_MODE;
    parameters.iComplexityMode = MEDIUM_COMPLEXITY;
    parameters.uiIntraPeriod = settings.gop_frames as u32;
    parameters.iNumRefFrame = 1;
    parameters.eSpsPpsIdStrategy = CONSTANT_ID;
    parameters.iEntropyCodingModeFlag = 1;
    parameters.iMultipleThreadIdc = 1;
    parameters.bEnableFrameSkip = false;
    parameters.bEnableSceneChangeDetect = false;
    parameters.bEnableBackgroundDetection = false;
    parameters.bEnableAdaptiveQuant = false;
    parameters.bEnableDenoise = false;
    let layer: &mut SSpatialLayerConfig = &mut parameters.sSpatialLayers[0];
    layer.iVideoWidth = width;
    layer.iVideoHeight = height;
    layer.fFrameRate = FPS as f32;
    layer.uiProfileIdc = PRO_HIGH;
    layer.iDLayerQp = c_int::from(settings.qp);
    layer.sSliceArgument.uiSliceMode = SM_SINGLE_SLICE;
    layer.bAspectRatioPresent = true;
    layer.eAspectRatio = ASP_1x1;
    if settings.color == Color::Bt709 {
        layer.bVideoSignalTypePresent = true;
        layer.uiVideoFormat = VF_UNDEF as u8;
        layer.bFullRange = false;
        layer.bColorDescriptionPresent = true;
        layer.uiColorPrimaries = CP_BT709 as u8;
        layer.uiTransferCharacteristics = TRC_BT709 as u8;
        layer.uiColorMatrix = CM_BT709 as u8;
    }
}

fn for_each_nal(layer: &SLayerBSInfo, on_nal: &mut dyn FnMut(&[u8])) {
    if layer.pNalLengthInByte.is_null() || layer.pBsBuf.is_null() {
        return;
    }
    let count = layer.iNalCount.max(0) as usize;
    // SAFETY: after EncodeFrame a layer's array of lengths has iNalCount entries and stays until the next call.
    let lengths = unsafe { slice::from_raw_parts(layer.pNalLengthInByte, count) };
    let total: usize = lengths.iter().map(|&length| length.max(0) as usize).sum();
    // SAFETY: the layer's buffer holds its NAL units one after the other, as long as the lengths say, until the
    // next call.
    let mut bytes = unsafe { slice::from_raw_parts(layer.pBsBuf, total) };
    for &length in lengths {
        let (nal, rest) = bytes.split_at(length.max(0) as usize);
        on_nal(without_start_code(nal));
        bytes = rest;
    }
}

fn without_start_code(nal: &[u8]) -> &[u8] {
    nal.strip_prefix(&[0, 0, 0, 1])
        .or_else(|| nal.strip_prefix(&[0, 0, 1]))
        .unwrap_or(nal)
}

fn failed(call: &str, code: c_int) -> Error {
    let problem =
        format!("OpenH264's {call} failed with code {code}; a smaller size needs less memory");
    Error::device(problem).with_hint(Hint::Set(Field::Encoder, "none"))
}
