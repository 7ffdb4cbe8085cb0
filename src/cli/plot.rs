//! Numbers as a small SVG: one mark for each, on a logarithmic axis.

use std::path::Path;

use crate::{Result, pipeline::AtomicFile};

/// What is drawn.
pub(super) struct Plot<'a> {
    pub(super) title: &'a str,
    /// What the marks are, and what is in the order of the axis.
    pub(super) y: &'a str,
    pub(super) x: &'a str,
    /// A name and a number for each mark; zeros lie on the lower edge.
    pub(super) points: &'a [(String, f64)],
    /// A line across, if there is one to stay under, and its name.
    pub(super) limit: Option<(f64, &'a str)>,
}

/// Pixels.
const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 60.0;
/// Most numbers written along the lower axis.
const X_TICKS: usize = 20;

impl Plot<'_> {
    /// Writes the picture; a file that is there is replaced once it is whole.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let mut file = AtomicFile::create(path)?;
        file.write(self.svg().as_bytes())?;
        file.commit().map(drop)
    }

    fn svg(&self) -> String {
        let (low, high) = self.decades();
        let inside = [WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM];
        let count = self.points.len();
        let x = |index: usize| LEFT + inside[0] * (index as f64 + 0.5) / count.max(1) as f64;
        let y = |value: f64| {
            let share =
                (value.max(f64::MIN_POSITIVE).log10() - f64::from(low)) / f64::from(high - low);
            TOP + inside[1] * (1.0 - share.clamp(0.0, 1.0))
        };
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        );
        let mut text = |x: f64, y: f64, attributes: &str, words: &str| {
            let words = escape(words);
            svg.push_str(&format!(
                "<text x=\"{x:.1}\" y=\"{y:.1}\" {attributes}>{words}</text>\n"
            ));
        };
        let middle = "text-anchor=\"middle\"";
        text(
            WIDTH / 2.0,
            22.0,
            "text-anchor=\"middle\" font-size=\"15\"",
            self.title,
        );
        text(LEFT + inside[0] / 2.0, HEIGHT - 14.0, middle, self.x);
        let turned = format!("{middle} transform=\"rotate(-90 18 {0})\"", HEIGHT / 2.0);
        text(18.0, HEIGHT / 2.0, &turned, self.y);
        let ticks = ticks(low, high);
        for (tick, name) in &ticks {
            text(LEFT - 8.0, y(*tick) + 4.0, "text-anchor=\"end\"", name);
        }
        for index in (0..count).step_by(count.div_ceil(X_TICKS).max(1)) {
            text(x(index), HEIGHT - BOTTOM + 18.0, middle, &index.to_string());
        }
        if let Some((limit, name)) = self.limit {
            text(
                WIDTH - RIGHT - 4.0,
                y(limit) - 4.0,
                "text-anchor=\"end\" fill=\"#b00\"",
                name,
            );
        }
        let mut line = |y: f64, color: &str| {
            let right = WIDTH - RIGHT;
            svg.push_str(&format!(
                "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"{color}\"/>\n"
            ));
        };
        ticks.iter().for_each(|(tick, _)| line(y(*tick), "#ddd"));
        if let Some((limit, _)) = self.limit {
            line(y(limit), "#b00");
        }
        for (index, (name, value)) in self.points.iter().enumerate() {
            let (x, y, name) = (x(index), y(*value), escape(name));
            svg.push_str(&format!(
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"#05a\"><title>{name}: {value:.3e}</title>\
                 </circle>\n"
            ));
        }
        svg + "</svg>\n"
    }

    /// Powers of ten below and above all numbers.
    fn decades(&self) -> (i32, i32) {
        let limit = self.limit.map(|(limit, _)| limit);
        let values = self.points.iter().map(|(_, value)| *value).chain(limit);
        let logs = values.filter(|v| *v > 0.0 && v.is_finite()).map(f64::log10);
        let (low, high) = logs.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), log| {
            (low.min(log), high.max(log))
        });
        if low > high {
            return (-1, 0);
        }
        let low = low.floor() as i32;
        (low, (high.ceil() as i32).max(low + 1))
    }
}

/// Where lines go across, and their names: at powers of ten, and between few of those at twice and five times them.
fn ticks(low: i32, high: i32) -> Vec<(f64, String)> {
    let steps: &[i32] = if high - low > 2 { &[1] } else { &[1, 2, 5] };
    let all = (low..=high).flat_map(|decade| steps.iter().map(move |step| (*step, decade)));
    let inside = all.filter(|&(step, decade)| step == 1 || decade < high);
    inside
        .map(|(step, decade)| {
            (
                f64::from(step) * 10.0_f64.powi(decade),
                format!("{step}e{decade}"),
            )
        })
        .collect()
}

fn escape(text: &str) -> String {
    let text = text.replace('&', "&amp;");
    text.replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_a_mark_between_the_axes() {
        let points = [
            ("a < b & c".to_string(), 3e-3),
            ("zero".into(), 0.0),
            ("endless".into(), f64::INFINITY),
        ];
        let plot = Plot {
            title: "errors",
            y: "error",
            x: "layer",
            points: &points,
            limit: Some((1.0, "allowed")),
        };
        assert_eq!(plot.decades(), (-3, 0));
        let svg = plot.svg();
        assert_eq!(svg.matches("<circle").count(), 3);
        assert!(svg.contains("a &lt; b &amp; c: 3.000e-3") && svg.contains(">1e-3<"));
        let heights = svg
            .split("cy=\"")
            .skip(1)
            .map(|rest| rest.split('"').next());
        let heights: Vec<f64> = heights.map(|text| text.unwrap().parse().unwrap()).collect();
        assert!(
            heights.iter().all(|y| (TOP..=HEIGHT - BOTTOM).contains(y)),
            "{heights:?}"
        );
        assert!(heights[2] < heights[0] && heights[0] < heights[1]);
    }
}
