//! Merging the latents of overlapping windows of a long voice track. Reference: `pipeline/video_process.py`,
//! `merge_overlapping_vae_features`.

/// Merges k windows f32 `[n, channels]`, each half overlapping the next, to `[(k - 1) * step + n, channels]` with an
/// overlap of `n / 2` latents (rounded down) and `step = n - overlap`. In the overlap the earlier window fades out
/// linearly; its weight is 1 at the first latent of the overlap.
///
/// # Panics
/// If a window differs in length from the first, or is not a whole number of latents.
pub fn merge_windows(windows: &[Vec<f32>], channels: usize) -> Vec<f32> {
    let Some(first) = windows.first() else {
        return Vec::new();
    };
    assert!(
        channels > 0 && first.len().is_multiple_of(channels),
        "{} values of {channels} channels",
        first.len()
    );
    let n = first.len() / channels;
    let overlap = n / 2;
    let step = n - overlap;
    let mut merged = vec![0.0; ((windows.len() - 1) * step + n) * channels];
    merged[..first.len()].copy_from_slice(first);
    for (b, window) in windows.iter().enumerate().skip(1) {
        assert_eq!(window.len(), first.len(), "length of window {b}");
        let out = &mut merged[b * step * channels..][..window.len()];
        let (faded, copied) = out.split_at_mut(overlap * channels);
        copied.copy_from_slice(&window[overlap * channels..]);
        for (i, (old, &new)) in faded.iter_mut().zip(window).enumerate() {
            let j = i / channels;
            let fade_out = (overlap - j) as f32 / overlap as f32;
            let fade_in = j as f32 / overlap as f32;
            *old = fade_out * *old + fade_in * new;
        }
    }
    merged
}
