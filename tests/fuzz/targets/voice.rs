//! Sounds: what is decoded is no longer than asked for and of 16 bits. The last byte also says what is asked for.

#![no_main]

use gallop::media::{VOICE_RATE, decode_voice};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let asked = input.last().copied().unwrap_or(0);
    let seconds = f64::from(asked) / 16.0;
    if let Ok(voice) = decode_voice(input, "sound", seconds) {
        assert!(voice.samples.len() as f64 <= seconds * f64::from(VOICE_RATE));
        assert!(voice.seconds.is_finite());
        let is_16_bit = |x: &f32| (-1.0..1.0).contains(x) && (x * 32768.0).fract() == 0.0;
        assert!(voice.samples.iter().all(is_16_bit));
    }
});
