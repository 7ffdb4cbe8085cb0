//! Quantised layers: rounded on loading, or stored quantised.
//!
//! Layer `X` in FP8 is two tensors: `X.weight` E4M3 `[rows, cols]` (`F8_E4M3` in the file) and `X.weight_scale` f32
//! `[1, rows]`, one positive number per row: its largest magnitude over 448, or 1 for a row of zeros. The weight is their
//! product. All other tensors are as they were, and the header's metadata says `gallop.packed`. A packed network takes
//! half of its bf16 bytes, a quarter if it was stored as f32; a `gallop.json` beside it names the other parts where they
//! are.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use rayon::prelude::*;

use super::{
    origin::Origin,
    source::{Info, Source, TensorSpec, Weights, check_finite},
};
use crate::{
    DType, Error, Result, Tensor,
    tensor::{Format, Granularity, LayerFormats, e4m3_from_f32, e4m3_scale, round_bf16},
};

const WEIGHT: &str = ".weight";
const SCALE: &str = ".weight_scale";

/// The format of a layer whose weight is stored in `dtype`; `None` if that is not quantised.
fn format_of(dtype: DType) -> Option<Format> {
    match dtype {
        DType::E4m3 => Some(Format::FP8),
        DType::F32 | DType::Bf16 | DType::F16 | DType::U8 | DType::I16 | DType::I32 => None,
    }
}

/// The formats of the layers that `source` stores quantised.
pub fn stored(source: &dyn Source) -> LayerFormats {
    let names = source.names();
    let layers = names.iter().filter_map(|name| {
        let layer = name.strip_suffix(WEIGHT)?;
        Some((layer.to_string(), format_of(source.info(name)?.dtype)?))
    });
    layers.collect()
}

/// `specs` as `source` stores them: the bf16 weights that it has quantised become E4M3 with scales.
pub fn stored_specs(specs: Vec<TensorSpec>, source: &dyn Source) -> Vec<TensorSpec> {
    let formats = stored(source);
    let both = specs.into_iter().flat_map(|spec| {
        let layer = spec.name.strip_suffix(WEIGHT);
        let layer = layer.filter(|_| spec.dtype == DType::Bf16);
        match layer.and_then(|layer| Some((layer, formats.get(layer)?))) {
            Some((layer, Format::Fp8(scale))) => {
                let name = format!("{layer}{SCALE}");
                let scales = TensorSpec::new(name, scale.scales(&spec.shape), DType::F32);
                let dtype = DType::E4m3;
                vec![TensorSpec { dtype, ..spec }, scales]
            }
            Some((_, Format::Bf16)) | None => vec![spec],
        }
    });
    both.collect()
}

/// `specs` of a plan with quantised layers as they were before quantisation, and the formats of those layers.
pub fn unquantized_specs(specs: Vec<TensorSpec>) -> (Vec<TensorSpec>, LayerFormats) {
    let formats = specs.iter().filter_map(|spec| {
        let layer = spec.name.strip_suffix(WEIGHT)?;
        Some((layer.to_string(), format_of(spec.dtype)?))
    });
    let formats: LayerFormats = formats.collect();
    let is_scale = |spec: &TensorSpec| {
        let layer = spec.name.strip_suffix(SCALE);
        layer.is_some_and(|layer| formats.contains_key(layer))
    };
    let kept = specs.into_iter().filter(|spec| !is_scale(spec));
    let full = kept.map(|spec| match format_of(spec.dtype) {
        Some(_) => TensorSpec {
            dtype: DType::Bf16,
            ..spec
        },
        None => spec,
    });
    (full.collect(), formats)
}

/// A source with some layers quantised: passed through if stored so, otherwise rounded on loading.
pub struct Quantized {
    source: Arc<dyn Source>,
    formats: LayerFormats,
}

/// A tensor of an FP8 layer.
struct LayerTensor {
    /// Name of the layer's weight.
    weight: String,
    scale: Granularity,
    is_scale: bool,
    is_stored: bool,
}

impl Quantized {
    /// The tensors of `source`, with layers quantised by `formats`.
    pub fn new(source: Arc<dyn Source>, formats: LayerFormats) -> Self {
        Self { source, formats }
    }

    fn part(&self, name: &str) -> Option<LayerTensor> {
        let of = |ending: &str| {
            let layer = name.strip_suffix(ending)?;
            Some((layer, *self.formats.get(layer)?))
        };
        let (layer, format, is_scale) = match (of(WEIGHT), of(SCALE)) {
            (Some((layer, format)), _) => (layer, format, false),
            (None, Some((layer, format))) => (layer, format, true),
            (None, None) => return None,
        };
        let scale = match format {
            Format::Bf16 => return None,
            Format::Fp8(scale) => scale,
        };
        let weight = format!("{layer}{WEIGHT}");
        let info = self.source.info(&weight);
        Some(LayerTensor {
            is_stored: info.is_some_and(|info| format_of(info.dtype) == Some(format)),
            weight,
            scale,
            is_scale,
        })
    }

    /// The layer tensor that `name` is, if it is rounded on loading.
    fn made(&self, name: &str) -> Option<LayerTensor> {
        self.part(name).filter(|part| !part.is_stored)
    }
}

impl Source for Quantized {
    fn names(&self) -> Vec<String> {
        let mut names = self.source.names();
        let known: BTreeSet<String> = names.iter().cloned().collect();
        let scales = self.formats.keys().map(|layer| format!("{layer}{SCALE}"));
        // A scale that should be stored but is not stays missing.
        names.extend(scales.filter(|name| !known.contains(name) && self.made(name).is_some()));
        names
    }

    fn info(&self, name: &str) -> Option<Info> {
        let Some(part) = self.made(name) else {
            return self.source.info(name);
        };
        let info = self.source.info(&part.weight)?;
        if !matches!(info.dtype, DType::Bf16 | DType::F32) {
            return Some(info);
        }
        Some(if part.is_scale {
            Info {
                shape: part.scale.scales(&info.shape),
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
        if let Some(part) = self.made(name) {
            let full = self.source.load(&part.weight)?;
            return match (part.scale, part.is_scale) {
                (Granularity::Row, true) => Ok(scales(&full)),
                (Granularity::Row, false) => {
                    check_finite(&self.source.path(&part.weight), &part.weight, &full)?;
                    Ok(values(&full))
                }
            };
        }
        let tensor = self.source.load(name)?;
        if self.part(name).is_some_and(|part| part.is_scale) {
            check_scales(&tensor)
                .map_err(|problem| Error::tensor(self.source.path(name), name, problem))?;
        }
        Ok(tensor)
    }

    fn check_unchanged(&self) -> Result<()> {
        self.source.check_unchanged()
    }

    fn path(&self, name: &str) -> PathBuf {
        match self.made(name) {
            Some(part) => self.source.path(&part.weight),
            None => self.source.path(name),
        }
    }

    fn origin(&self, name: &str) -> Result<Origin> {
        match self.part(name) {
            Some(part) if !part.is_stored => {
                let full = self.source.origin(&part.weight)?;
                Ok(Origin::Quantized(Box::new(full)))
            }
            Some(_) => self.load(name).map(Origin::Stored),
            None => self.source.origin(name),
        }
    }
}

impl Weights {
    /// The weights with layers quantised by `formats`; see [`Quantized`].
    #[must_use]
    pub fn quantized(self, formats: LayerFormats) -> Self {
        self.over(|source| Arc::new(Quantized::new(source, formats)))
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

/// E4M3 values `[rows, cols]` of the weight `full`, bf16 or f32 `[rows, cols]`: each row over its scale. f32 is
/// rounded to bf16 first, so that both precisions start from the same numbers.
pub fn values(full: &Tensor) -> Tensor {
    let cols = full.shape().cols();
    let mut words = vec![0_u64; full.count().div_ceil(8)];
    bytemuck::cast_slice_mut::<_, u8>(&mut words)[..full.count()]
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
    Tensor::from_words(full.shape().clone(), DType::E4m3, words)
}

/// The scales of [`values`], f32 `[1, rows]`: `max |v| / 448` of each row, 1 for a row of zeros.
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

/// Row `index`, rounded to bf16.
fn read_row(full: &Tensor, index: usize, row: &mut [f32]) {
    full.read_f32(index * row.len()..(index + 1) * row.len(), row);
    row.iter_mut().for_each(|v| *v = round_bf16(*v));
}
