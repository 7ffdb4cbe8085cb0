//! Decodes our video with OpenH264, to compare it with what went in.

#![allow(unsafe_code, reason = "OpenH264's decoder has a C interface only")]

use std::{ptr, slice};

use openh264_sys2::{
    ISVCDecoder, SBufferInfo, SDecodingParam, VIDEO_BITSTREAM_AVC, source::APILoader,
};

/// The luma planes, tightly packed, of a stream of access units with start codes.
pub(crate) fn decode_luma(units: &[Vec<u8>], width: usize, height: usize) -> Vec<Vec<u8>> {
    let frames = decode(units, width, height).into_iter();
    frames.map(|[luma, _, _]| luma).collect()
}

/// All planes, tightly packed: luma, and at half the size both of chroma.
pub(crate) fn decode(units: &[Vec<u8>], width: usize, height: usize) -> Vec<[Vec<u8>; 3]> {
    let mut decoder: *mut ISVCDecoder = ptr::null_mut();
    // SAFETY: the function writes one pointer to the address it is given.
    let code = unsafe { APILoader::WelsCreateDecoder(&mut decoder) };
    assert!(code == 0 && !decoder.is_null());
    // SAFETY: a created decoder starts with a pointer to its table of functions.
    let table = unsafe { *decoder };
    // SAFETY: the table is static data of the library.
    let calls = unsafe { *table };
    let mut parameters = SDecodingParam::default();
    parameters.sVideoProperty.eVideoBsType = VIDEO_BITSTREAM_AVC;
    // SAFETY: the decoder is live; the parameters are only read.
    let code = unsafe { calls.Initialize.unwrap()(decoder, &parameters) };
    assert_eq!(code, 0);
    let mut frames = Vec::new();
    // The decoder holds frames back for reordering; it is asked for them at the end.
    for step in 0..2 * units.len() {
        let mut planes: [*mut u8; 3] = [ptr::null_mut(); 3];
        let mut info = SBufferInfo::default();
        let state = match units.get(step) {
            // SAFETY: the decoder is initialised; the unit is as long as said; `planes` and `info` are written.
            Some(unit) => unsafe {
                calls.DecodeFrameNoDelay.unwrap()(
                    decoder,
                    unit.as_ptr(),
                    unit.len() as i32,
                    planes.as_mut_ptr(),
                    &mut info,
                )
            },
            // SAFETY: as above, without a unit.
            None => unsafe { calls.FlushFrame.unwrap()(decoder, planes.as_mut_ptr(), &mut info) },
        };
        assert_eq!(state, 0, "step {step}");
        if info.iBufferStatus == 0 {
            continue;
        }
        // SAFETY: a buffer that is ready describes itself by this member of the union.
        let layout = unsafe { info.UsrData.sSystemBuffer };
        assert_eq!(
            (layout.iWidth, layout.iHeight),
            (width as i32, height as i32)
        );
        let plane = |index: usize| -> Vec<u8> {
            let part = if index == 0 { 1 } else { 2 };
            let (width, height) = (width / part, height / part);
            let stride = layout.iStride[index.min(1)] as usize;
            let length = stride * (height - 1) + width;
            // SAFETY: the plane has `height` rows, `stride` bytes apart, until the next call.
            let rows = unsafe { slice::from_raw_parts(planes[index], length) };
            let rows = rows.chunks(stride).flat_map(|row| &row[..width]);
            rows.copied().collect()
        };
        frames.push([0, 1, 2].map(plane));
    }
    // SAFETY: the decoder came from WelsCreateDecoder and is not used after this.
    unsafe { APILoader::WelsDestroyDecoder(decoder) };
    frames
}
