//! Pictures: what is decoded has the pixels that its size says.

#![no_main]

use gallop::media::{MAX_PIXELS, decode_image};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(image) = decode_image(input, "picture") {
        let pixels = image.width * image.height;
        assert!((1..=MAX_PIXELS).contains(&(pixels as u64)));
        assert_eq!(image.rgb.len(), 3 * pixels);
    }
});
