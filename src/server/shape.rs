//! Sizes as hosted services ask for them, by a number of rows and a shape, as those of the model.

use serde_json::Value;

use crate::{
    jobs::{Code, Refusal},
    pipeline::request::{Defaults, Size},
};

/// Rows and pixels of the sizes that the model was trained at.
const TRAINED: [(f64, f64); 3] = [
    (256.0, 448.0 * 256.0),
    (512.0, 896.0 * 512.0),
    (1088.0, 1920.0 * 1088.0),
];
/// Both sides are multiples of this.
const MULTIPLE: f64 = 32.0;

/// The size for a number of rows, such as `720P`, and a shape, such as `9:16`, each with the name by which it was given: as
/// many pixels as the nearest trained size has. `None` if neither says anything, or the model has one size alone.
///
/// # Errors
/// If one of them is none.
pub(super) fn size_of(
    resolution: Option<&(String, Value)>,
    ratio: Option<&(String, Value)>,
    defaults: Defaults,
) -> Result<Option<String>, Refusal> {
    let rows = resolution.map(rows_of).transpose()?;
    let shape = ratio.map(ratio_of).transpose()?;
    if (rows.is_none() && shape.is_none()) || matches!(defaults.size, Size::Exact(..)) {
        return Ok(None);
    }
    let distance = |trained: &f64| (trained - rows.unwrap_or(TRAINED[0].0)).abs();
    let nearest = TRAINED
        .into_iter()
        .min_by(|(a, _), (b, _)| distance(a).total_cmp(&distance(b)));
    let (_, pixels) = nearest.unwrap_or(TRAINED[0]);
    let shape = shape.unwrap_or(16.0 / 9.0);
    // The trained sizes are the nearest to 16:9 of multiples of 32, which rounding finds for other shapes too.
    let side = |exact: f64| (exact / MULTIPLE).round().max(1.0) * MULTIPLE;
    let (width, height) = (side((pixels * shape).sqrt()), side((pixels / shape).sqrt()));
    Ok(Some(format!("{width}x{height}")))
}

fn rows_of((name, value): &(String, Value)) -> Result<f64, Refusal> {
    let text = value.as_str().unwrap_or_default().to_ascii_lowercase();
    let rows = text.strip_suffix('p').and_then(|rows| rows.parse().ok());
    let rows = rows.filter(|rows| [480.0, 720.0, 1080.0].contains(rows));
    let problem = format!("must be 480P, 720P or 1080P; given {}", shown(value));
    rows.ok_or_else(|| Refusal::of(Code::InvalidSize, name, problem))
}

fn ratio_of((name, value): &(String, Value)) -> Result<f64, Refusal> {
    let text = value.as_str().unwrap_or_default();
    let sides = text.split_once(':');
    let side = |text: &str| text.parse::<u8>().ok().filter(|n| *n > 0).map(f64::from);
    let ratio = sides.and_then(|(width, height)| Some(side(width)? / side(height)?));
    let ratio = ratio.filter(|ratio| (0.25..=4.0).contains(ratio));
    let problem = format!("must be such as 16:9 or 9:16; given {}", shown(value));
    ratio.ok_or_else(|| Refusal::of(Code::InvalidSize, name, problem))
}

fn shown(value: &Value) -> String {
    value.to_string().chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_nearest_trained_size_has_the_shape_that_is_asked() {
        let of = |resolution: Option<&str>, ratio: Option<&str>| {
            let [resolution, ratio] = [resolution, ratio]
                .map(|text| text.map(|text| ("its name".to_string(), json!(text))));
            size_of(resolution.as_ref(), ratio.as_ref(), Defaults::FOLDER)
        };
        for (resolution, ratio, size) in [
            (Some("480P"), None, "896x512"),
            (Some("720p"), Some("16:9"), "896x512"),
            (Some("720P"), Some("9:16"), "512x896"),
            (Some("1080P"), Some("16:9"), "1920x1088"),
            (Some("1080P"), Some("9:16"), "1088x1920"),
            (Some("720P"), Some("1:1"), "672x672"),
            (None, Some("1:1"), "352x352"),
            (None, Some("16:9"), "448x256"),
        ] {
            let found = of(resolution, ratio).unwrap();
            assert_eq!(found.as_deref(), Some(size), "{resolution:?} {ratio:?}");
        }
        assert_eq!(of(None, None).unwrap(), None);
        for (resolution, ratio) in [
            (Some("4K"), None),
            (Some("1081P"), None),
            (None, Some("16x9")),
            (None, Some("0:9")),
            (None, Some("100:1")),
        ] {
            let refusal = of(resolution, ratio).unwrap_err();
            assert_eq!(refusal.code, Code::InvalidSize, "{refusal:?}");
            assert_eq!(refusal.field.as_deref(), Some("its name"));
        }
    }
}
