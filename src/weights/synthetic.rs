//! Checkpoints that nobody ships: every value follows from the tensor's name, its shape and a seed.
//!
//! `key = fnv1a64(name) ^ mix(seed)`, and element `i` is `offset + scale * u` with `u` in (-1, 1) from the
//! upper 24 bits of `mix(key + (i + 1) * GOLDEN)`, evaluated in f64 and rounded once to f32, then to the stored
//! type. So any element can be made alone, in any order, on any machine. Offsets and scales per network are in
//! [`rule`]. Tensors of another checkpoint can take the place of some ([`Synthetic::with`]): those of a network that
//! was trained in part.

use std::{
    collections::BTreeMap,
    ops::Range,
    path::{Path, PathBuf},
};

use half::bf16;
use rayon::prelude::*;

use super::{
    origin::Origin,
    source::{Info, Source, TensorSpec},
    write::{Writer, write_checkpoint},
};
pub use super::{
    random::{fnv1a64, key, key_from, mix},
    rules::{Architecture, Rule, rule},
};
use crate::{DType, Error, Result, Tensor};

/// Elements made at a time by one thread.
const BLOCK: usize = 1 << 16;

/// A made-up checkpoint of one network.
pub struct Synthetic {
    network: Architecture,
    seed: u64,
    tensors: BTreeMap<String, (Info, Rule)>,
    /// Tensors that are not made up, under their published names.
    given: Option<Box<dyn Source>>,
}

impl Synthetic {
    /// The tensors `required`, by the network's rule, which also decides how they are stored.
    ///
    /// # Errors
    /// If a name is none of the network's.
    pub fn new(network: Architecture, required: &[TensorSpec], seed: u64) -> Result<Self> {
        let shapes: BTreeMap<&str, &TensorSpec> = required
            .iter()
            .map(|want| (want.name.as_str(), want))
            .collect();
        let tensors = required.iter().map(|want| {
            let sibling = |name: &str| shapes.get(name).map(|want| want.shape.clone());
            let rule = rule(network, &want.name, &want.shape, sibling)
                .map_err(|problem| Error::tensor("synthetic weights", &want.name, problem))?;
            let info = Info {
                shape: want.shape.clone(),
                dtype: rule.dtype(),
            };
            Ok((want.name.clone(), (info, rule)))
        });
        Ok(Self {
            network,
            seed,
            tensors: tensors.collect::<Result<_>>()?,
            given: None,
        })
    }

    /// The same with those tensors of `source` that it has, as they are there; their published names.
    ///
    /// # Errors
    /// If a tensor there has another shape, or one there is not of this network.
    pub fn with(mut self, source: Box<dyn Source>) -> Result<Self> {
        for published in source.names() {
            let fail = |problem: &str| Error::tensor(source.path(&published), &published, problem);
            let ours = self
                .tensors
                .iter_mut()
                .find(|(name, _)| self.network.published(name) == published);
            let (_, (info, _)) = ours.ok_or_else(|| fail("is not of this network"))?;
            let theirs = source.info(&published);
            let theirs = theirs.ok_or_else(|| fail("has a type without use here"))?;
            if theirs.shape != info.shape {
                let problem = format!("must be {}; found {}", info.shape, theirs.shape);
                return Err(fail(&problem));
            }
            *info = theirs;
        }
        self.given = Some(source);
        Ok(self)
    }

    /// Where `name` is given, and its name there.
    fn given(&self, name: &str) -> Option<(&dyn Source, String)> {
        let published = self.network.published(name);
        let given = self.given.as_deref()?;
        given
            .info(&published)
            .is_some()
            .then_some((given, published))
    }

    /// Elements `range` (row-major) of a tensor as stored, widened to f32: rows of a large table, say.
    ///
    /// # Errors
    /// If there is no such tensor.
    ///
    /// # Panics
    /// If `range` leaves the tensor.
    pub fn values(&self, name: &str, range: Range<usize>) -> Result<Vec<f32>> {
        let (info, rule) = self.tensor(name)?;
        assert!(
            range.end <= info.shape.count(),
            "{range:?} of {}",
            info.shape
        );
        let key = self.key(name);
        let element = |i| info.dtype.round(rule.value(key, i as u64));
        Ok(range.into_par_iter().map(element).collect())
    }

    /// Writes all tensors, under their published names, as `model.safetensors` into `folder`; beyond
    /// `shard_bytes` as several files with an index. `progress` is told the bytes written and the bytes in
    /// all, and stops the writing by returning false. Files appear only when all are whole.
    ///
    /// # Errors
    /// If `folder` cannot be written to, or [`Error::Interrupted`].
    pub fn write(
        &self,
        folder: &Path,
        shard_bytes: u64,
        progress: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<()> {
        let tensors: Vec<(String, Info)> = self
            .tensors
            .iter()
            .map(|(name, (info, _))| (self.network.published(name), info.clone()))
            .collect();
        let names: Vec<&str> = self.tensors.keys().map(String::as_str).collect();
        let total = tensors.iter().map(|(_, info)| info.bytes()).sum();
        let mut written = 0;
        write_checkpoint(folder, &tensors, shard_bytes, None, &mut |index, writer| {
            self.write_tensor(names[index], writer, &mut |bytes| {
                written += bytes;
                progress(written, total)
            })
        })
    }

    fn write_tensor(
        &self,
        name: &str,
        writer: &mut Writer,
        progress: &mut dyn FnMut(u64) -> bool,
    ) -> Result<()> {
        /// Elements in memory at a time.
        const CHUNK: usize = 64 * BLOCK;
        let (info, rule) = self.tensor(name)?;
        if let Some((given, published)) = self.given(name) {
            writer.write(given.load(&published)?.bytes())?;
            return match progress(info.bytes()) {
                true => Ok(()),
                false => Err(Error::Interrupted),
            };
        }
        let count = info.shape.count();
        for start in (0..count).step_by(CHUNK) {
            let range = start..count.min(start + CHUNK);
            let bytes = range.len() * info.dtype.size();
            let words = generate(*rule, self.key(name), range);
            writer.write(&bytemuck::cast_slice(&words)[..bytes])?;
            if !progress(bytes as u64) {
                return Err(Error::Interrupted);
            }
        }
        Ok(())
    }

    fn tensor(&self, name: &str) -> Result<&(Info, Rule)> {
        self.tensors
            .get(name)
            .ok_or_else(|| Error::tensor(self.path(name), name, "is missing"))
    }

    fn key(&self, name: &str) -> u64 {
        key(&self.network.published(name), self.seed)
    }
}

impl Source for Synthetic {
    fn names(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }

    fn info(&self, name: &str) -> Option<Info> {
        Some(self.tensors.get(name)?.0.clone())
    }

    fn load(&self, name: &str) -> Result<Tensor> {
        if let Some((given, published)) = self.given(name) {
            return given.load(&published);
        }
        let (info, rule) = self.tensor(name)?;
        let count = info.shape.count();
        let words = generate(*rule, self.key(name), 0..count);
        Ok(Tensor::from_words(info.shape.clone(), info.dtype, words))
    }

    fn path(&self, _name: &str) -> PathBuf {
        PathBuf::from(format!("synthetic weights, seed {}", self.seed))
    }

    fn origin(&self, name: &str) -> Result<Origin> {
        match self.given(name) {
            Some((given, published)) => given.origin(&published),
            None => Ok(Origin::Rule(self.key(name), self.tensor(name)?.1)),
        }
    }
}

/// Elements `range` of a tensor in its stored type, packed; the last word may be filled up with zeros.
fn generate(rule: Rule, key: u64, range: Range<usize>) -> Vec<u64> {
    let dtype = rule.dtype();
    let count = range.len();
    let mut words = vec![0_u64; (count * dtype.size()).div_ceil(8)];
    match dtype {
        DType::Bf16 => fill(
            &mut bytemuck::cast_slice_mut::<_, u16>(&mut words)[..count],
            range.start,
            |i| bf16::from_f32(rule.value(key, i)).to_bits(),
        ),
        DType::F32 => fill(
            &mut bytemuck::cast_slice_mut::<_, f32>(&mut words)[..count],
            range.start,
            |i| rule.value(key, i),
        ),
        DType::F16 | DType::E4m3 | DType::U8 | DType::I16 | DType::I32 => {
            unreachable!("rules store f32 and bf16, not {dtype}")
        }
    }
    words
}

fn fill<T: Send>(out: &mut [T], start: usize, element: impl Fn(u64) -> T + Sync) {
    out.par_chunks_mut(BLOCK)
        .enumerate()
        .for_each(|(block, out)| {
            let first = start + block * BLOCK;
            for (i, out) in out.iter_mut().enumerate() {
                *out = element((first + i) as u64);
            }
        });
}
