//! Pictures, frames and sound on the host against the reference's numbers, as `gallop verify` replays them.

use gallop::cpu::Cpu;

use crate::replay;

#[test]
fn the_host_steps_match_the_reference() {
    let kinds = [
        "audio.resample_441_512",
        "audio.merge_windows",
        "audio.pcm16",
        "image.preprocess",
        "video.to_u8",
        "video.rescale",
    ];
    replay("vae", &kinds, &Cpu);
}
