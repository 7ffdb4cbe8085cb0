//! Layers in 8 bits: rounded as they are loaded, or stored so by `gallop pack`.
//!
//! Layer `X` in 8 bits is two tensors: `X.weight`, E4m3, and `X.weight_scale`, f32 `[1, rows]`, one positive number for
//! each row of the weight. The weight it stands for is their product.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use rayon::prelude::*;

use super::{
    rules::Rule,
    source::{Info, Source, Want, check_finite},
};
use crate::{
    DType, Error, Result, Tensor,
    tensor::{e4m3_from_f32, e4m3_scale, round_bf16},
};

const WEIGHT: &str = ".weight";
const SCALE: &str = ".weight_scale";

/// The layers that `source` stores in 8 bits.
pub fn stored(source: &dyn Source) -> BTreeSet<String> {
    let names = source.names();
    let layers = names.iter().filter_map(|name| {
        let layer = name.strip_suffix(WEIGHT)?;
        (source.info(name)?.dtype == DType::E4m3).then(|| layer.to_string())
    });
    layers.collect()
}

/// `wants` as `source` should store them: bf16 weights that it has in 8 bits, with their scales.
pub fn stored_wants(wants: Vec<Want>, source: &dyn Source) -> Vec<Want> {
    let layers = stored(source);
    let both = wants.into_iter().flat_map(|want| {
        let is_layer = |layer: &str| want.dtype == DType::Bf16 && layers.contains(layer);
        match want.name.strip_suffix(WEIGHT).filter(|name| is_layer(name)) {
            Some(layer) => {
                let scale = Want::new(
                    format!("{layer}{SCALE}"),
                    [1, want.shape.rows()],
                    DType::F32,
                );
                let dtype = DType::E4m3;
                vec![Want { dtype, ..want }, scale]
            }
            None => vec![want],
        }
    });
    both.collect()
}

/// `wants` of a plan with layers in 8 bits as they were before, and which layers those are.
pub fn full_wants(wants: Vec<Want>) -> (Vec<Want>, BTreeSet<String>) {
    let eight_bit = wants.iter().filter(|want| want.dtype == DType::E4m3);
    let layers = eight_bit.filter_map(|want| want.name.strip_suffix(WEIGHT));
    let layers: BTreeSet<String> = layers.map(str::to_string).collect();
    let is_scale = |want: &Want| {
        let layer = want.name.strip_suffix(SCALE);
        layer.is_some_and(|layer| layers.contains(layer))
    };
    let kept = wants.into_iter().filter(|want| !is_scale(want));
    let full = kept.map(|want| match want.dtype {
        DType::E4m3 => Want {
            dtype: DType::Bf16,
            ..want
        },
        _ => want,
    });
    (full.collect(), layers)
}

/// A source with some layers in 8 bits: passed on if it stores them so, else rounded as they are loaded.
pub struct Quantized {
    source: Box<dyn Source>,
    layers: BTreeSet<String>,
}

/// A tensor of a layer that is in 8 bits.
struct Part {
    /// Name of the layer's weight.
    weight: String,
    is_scale: bool,
    is_stored: bool,
}

impl Quantized {
    /// The tensors of `source`, `layers` in 8 bits.
    pub fn new(source: Box<dyn Source>, layers: BTreeSet<String>) -> Self {
        Self { source, layers }
    }

    fn part(&self, name: &str) -> Option<Part> {
        let of = |ending: &str| {
            let layer = name.strip_suffix(ending)?;
            self.layers.contains(layer).then_some(layer)
        };
        let (layer, is_scale) = match (of(WEIGHT), of(SCALE)) {
            (Some(layer), _) => (layer, false),
            (None, Some(layer)) => (layer, true),
            (None, None) => return None,
        };
        let weight = format!("{layer}{WEIGHT}");
        let info = self.source.info(&weight);
        Some(Part {
            is_stored: info.is_some_and(|info| info.dtype == DType::E4m3),
            weight,
            is_scale,
        })
    }

    /// The part that `name` is, if it is rounded as it is loaded.
    fn made(&self, name: &str) -> Option<Part> {
        self.part(name).filter(|part| !part.is_stored)
    }
}

impl Source for Quantized {
    fn names(&self) -> Vec<String> {
        let mut names = self.source.names();
        let known: BTreeSet<String> = names.iter().cloned().collect();
        let scales = self.layers.iter().map(|layer| format!("{layer}{SCALE}"));
        // A scale that should be stored and is not stays missing.
        names.extend(scales.filter(|name| !known.contains(name) && self.made(name).is_some()));
        names
    }

    fn info(&self, name: &str) -> Option<Info> {
        let Some(Part {
            weight, is_scale, ..
        }) = self.made(name)
        else {
            return self.source.info(name);
        };
        let info = self.source.info(&weight)?;
        if !matches!(info.dtype, DType::Bf16 | DType::F32) {
            return Some(info);
        }
        Some(if is_scale {
            Info {
                shape: [1, info.shape.rows()].into(),
                dtype: DType::F32,
            }
        } else {
            Info {
                dtype: DType::E4m3,
                ..info
            }
        })
    }

    fn load(&self, name: &str) -> Result<Tensor> {
        if let Some(Part {
            weight, is_scale, ..
        }) = self.made(name)
        {
            let full = self.source.load(&weight)?;
            if is_scale {
                return Ok(scales(&full));
            }
            check_finite(&self.source.path(&weight), &weight, &full)?;
            return Ok(values(&full));
        }
        let tensor = self.source.load(name)?;
        if let Some(Part { is_scale: true, .. }) = self.part(name) {
            check_scales(&tensor)
                .map_err(|problem| Error::tensor(self.source.path(name), name, problem))?;
        }
        Ok(tensor)
    }

    fn path(&self, name: &str) -> PathBuf {
        match self.made(name) {
            Some(part) => self.source.path(&part.weight),
            None => self.source.path(name),
        }
    }

    fn rule(&self, name: &str) -> Option<(u64, Rule)> {
        match self.made(name) {
            Some(_) => None,
            None => self.source.rule(name),
        }
    }

    fn unquantized(&self, name: &str) -> Option<(&dyn Source, String)> {
        match self.made(name) {
            Some(part) => Some((&*self.source, part.weight)),
            None => self.source.unquantized(name),
        }
    }
}

fn check_scales(tensor: &Tensor) -> std::result::Result<(), String> {
    let values = tensor.to_f32();
    let is_bad = |scale: &f32| !(*scale > 0.0 && scale.is_finite());
    match values.iter().position(is_bad) {
        None => Ok(()),
        Some(index) => Err(format!(
            "must hold positive numbers; element {index} is {}; the file is damaged, pack the model again",
            values[index]
        )),
    }
}

/// E4m3 values of the bf16 matrix that `full` is. Where that is stored as f32 it is rounded to bf16 first, so that both
/// precisions start from the same numbers.
pub fn values(full: &Tensor) -> Tensor {
    let cols = full.shape().cols();
    let mut values = vec![0_u8; full.count()];
    values
        .par_chunks_exact_mut(cols.max(1))
        .enumerate()
        .for_each_init(
            || vec![0.0; cols],
            |row, (index, values)| {
                read_row(full, index, row);
                let factor = 1.0 / e4m3_scale(row);
                for (value, v) in values.iter_mut().zip(row.iter()) {
                    *value = e4m3_from_f32(v * factor);
                }
            },
        );
    let bytes = 0..values.len();
    let shape = full.shape().clone();
    Tensor::shared(shape, DType::E4m3, Arc::new(values), bytes)
}

/// The scale of each row of [`values`].
pub fn scales(full: &Tensor) -> Tensor {
    let (rows, cols) = (full.shape().rows(), full.shape().cols());
    let scale = |row: &mut Vec<f32>, index| {
        read_row(full, index, row);
        e4m3_scale(row)
    };
    let rows = (0..rows).into_par_iter();
    let scales: Vec<f32> = rows.map_init(|| vec![0.0; cols], scale).collect();
    Tensor::from_f32([1, scales.len()], &scales)
}

/// Row `index` in bf16.
fn read_row(full: &Tensor, index: usize, row: &mut [f32]) {
    full.read_f32(index * row.len()..(index + 1) * row.len(), row);
    row.iter_mut().for_each(|v| *v = round_bf16(*v));
}
