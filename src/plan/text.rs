//! The plan as text, for people and for snapshots: one line per step.

use std::fmt;

use super::{Conv3d, MaskBlock, Op, Plan, Scaling};

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let label_width = self
            .steps()
            .iter()
            .map(|s| self.spec(s.writes).label.len())
            .max()
            .unwrap_or(0);
        for step in self.steps() {
            let spec = self.spec(step.writes);
            let reads: Vec<&str> = step
                .reads
                .iter()
                .map(|&buf| self.spec(buf).label.as_str())
                .collect();
            let shape = spec.shape.to_string();
            write!(
                f,
                "{:label_width$}  {shape:18} {:5} ",
                spec.label, spec.dtype
            )?;
            writeln!(f, "{}  <- {}", step.op, reads.join(", "))?;
        }
        Ok(())
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        match self {
            Self::Linear { ends, scaling } => write_linear(f, name, ends, *scaling),
            Self::Quantize { factor: None } => write!(f, "{name}{{scaling: rows}}"),
            Self::Quantize { factor: Some(by) } => write!(f, "{name}{{factor: {by}}}"),
            Self::RmsNorm(op) => {
                write!(
                    f,
                    "{name}{{eps: {:e}, width: {}, weight: {:?}, groups: {}}}",
                    op.eps,
                    op.width,
                    op.weight,
                    op.ends.len()
                )
            }
            Self::L2Norm { eps } => write!(f, "{name}{{eps: {eps:e}}}"),
            Self::Rope { heads } => write!(f, "{name}{{heads: {heads}}}"),
            Self::Attention(op) => {
                let (heads, windows) = (op.heads, describe(&op.windows));
                write!(
                    f,
                    "{name}{{heads: {heads}/{}, scale: {}, {windows}",
                    op.kv_heads, op.scale
                )?;
                op.softcap
                    .map_or(Ok(()), |cap| write!(f, ", softcap: {cap}"))?;
                f.write_str("}")
            }
            Self::Clamp { low, high } => write!(f, "{name}{{{low}..{high}}}"),
            Self::Embed { scale } => write!(f, "{name}{{scale: {scale}}}"),
            Self::Patchify(grid) | Self::Unpatchify(grid) => {
                write!(
                    f,
                    "{name}{{{}x{}x{}}}",
                    grid.frames, grid.height, grid.width
                )
            }
            Self::Conv3d(conv) => write_conv3d(f, name, conv),
            Self::Conv1d(conv) => {
                write!(
                    f,
                    "{name}{{stride: {}, dilation: {}, padding: {}}}",
                    conv.stride, conv.dilation, conv.padding
                )
            }
            Self::ConvTranspose1d { stride } => write!(f, "{name}{{stride: {stride}}}"),
            Self::PixelShuffle(order) | Self::PixelUnshuffle(order) => {
                write!(f, "{name}{{{order:?}}}")
            }
            Self::AverageDown { frames, space } | Self::DuplicateUp { frames, space } => {
                write!(f, "{name}{{frames: {frames}, space: {space}}}")
            }
            _ => f.write_str(name),
        }
    }
}

fn write_linear(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    ends: &[usize],
    scaling: Scaling,
) -> fmt::Result {
    let ends = (ends.len() > 1).then(|| format!("ends: {ends:?}"));
    let scaling = match scaling {
        Scaling::None => None,
        Scaling::Rows => Some("scaling: rows".into()),
        Scaling::Fixed(by) => Some(format!("factor: {by}")),
    };
    let attributes: Vec<String> = ends.into_iter().chain(scaling).collect();
    if attributes.is_empty() {
        return f.write_str(name);
    }
    write!(f, "{name}{{{}}}", attributes.join(", "))
}

fn write_conv3d(f: &mut fmt::Formatter<'_>, name: &str, conv: &Conv3d) -> fmt::Result {
    let Conv3d {
        stride,
        before,
        after,
        time_padding,
        depthwise,
    } = conv;
    write!(
        f,
        "{name}{{stride: {stride:?}, before: {before:?}, after: {after:?}, edge: {time_padding:?}"
    )?;
    f.write_str(if *depthwise { ", depthwise}" } else { "}" })
}

fn describe(windows: &[MaskBlock]) -> String {
    match windows {
        [one] if one.keys.len() == 1 => "full".into(),
        _ => {
            let pairs: usize = windows
                .iter()
                .map(|w| w.queries.len() * w.keys.iter().map(|k| k.len()).sum::<usize>())
                .sum();
            format!("{} windows, {pairs} pairs", windows.len())
        }
    }
}
