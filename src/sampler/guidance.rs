//! Classifier-free guidance: `v = v_negative + g (v_prompt - v_negative)`, with one factor g per latent frame.
//! Reference: `pipeline/video_generate.py`, `MagiEvaluator.evaluate_with_latent`.

/// Factor of the audio velocity at all steps of the base pass. (The super-resolution pass discards its audio.)
pub const AUDIO: f32 = 5.0;

/// Factors g of the video velocity in the base pass, `[frames]`, all equal: `scale` while `timestep`
/// ([`Schedule::timesteps`](super::Schedule::timesteps), 0 to 999) is above 500, then 2. Released scale: 5.
pub fn base_video(scale: f32, timestep: u32, frames: usize) -> Vec<f32> {
    vec![if timestep > 500 { scale } else { 2.0 }; frames]
}

/// Guidance of the super-resolution pass. The first frames are guided less.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SrGuidance {
    /// Factor for most frames.
    pub scale: f32,
    /// Number of latent frames at the start with `first_scale`; 0 treats all frames alike.
    pub first_frames: usize,
    /// Upper limit of the factor for those frames.
    pub first_scale: f32,
}

impl Default for SrGuidance {
    /// The reference's values: 3.5, and 2 for the first 13 frames.
    fn default() -> Self {
        Self {
            scale: 3.5,
            first_frames: 13,
            first_scale: 2.0,
        }
    }
}

/// Factors g of the video velocity in the super-resolution pass, `[frames]`, one per latent frame; the same at all
/// steps.
pub fn sr_video(guidance: &SrGuidance, frames: usize) -> Vec<f32> {
    let first = guidance.first_scale.min(guidance.scale);
    (0..frames)
        .map(|frame| match frame < guidance.first_frames {
            true => first,
            false => guidance.scale,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_switch_at_their_time_and_frame() {
        assert_eq!(base_video(5.0, 501, 2), [5.0, 5.0]);
        assert_eq!(base_video(5.0, 500, 1), [2.0]);
        let sr = sr_video(&SrGuidance::default(), 15);
        assert_eq!(sr[..13], [2.0; 13]);
        assert_eq!(sr[13..], [3.5; 2]);
        let all = SrGuidance {
            first_frames: 0,
            ..SrGuidance::default()
        };
        assert_eq!(sr_video(&all, 2), [3.5; 2]);
        let weak = SrGuidance {
            scale: 1.5,
            ..SrGuidance::default()
        };
        assert_eq!(sr_video(&weak, 14), [1.5; 14]);
    }
}
