//! Offsets of a network's weights in their allocation, computed from its tensor list alone: first the resident ones, then,
//! if layers are streamed, two slots that the layers use in turn.

use std::ops::Range;

use super::arena::{ALIGNMENT, DeviceView};
use crate::plan::{ListedTensor, TensorList};

/// Weights that are copied together, to one range of bytes.
pub(in crate::cuda) struct Block {
    /// Positions in the list, in the order of their offsets, each at a multiple of [`ALIGNMENT`].
    pub(in crate::cuda) tensors: Vec<usize>,
    pub(in crate::cuda) range: Range<usize>,
}

/// Offsets of the weights.
pub(in crate::cuda) struct WeightLayout {
    tensors: TensorList,
    /// Of each tensor of the list, in bytes.
    offsets: Vec<usize>,
    /// The resident weights.
    fixed: Block,
    /// Weights that are copied in every run, by the layer that reads them: even entries share one slot, odd ones the
    /// other.
    streamed: Vec<(usize, Block)>,
    bytes: usize,
}

impl WeightLayout {
    /// Lays out `tensors`; `is_streamed` says whether those of layers share two slots.
    pub(in crate::cuda) fn new(tensors: &TensorList, is_streamed: bool) -> Self {
        let mut fixed = Vec::new();
        let mut layers: Vec<(usize, Vec<usize>)> = Vec::new();
        for (at, tensor) in tensors.tensors().iter().enumerate() {
            match tensor.layer.filter(|_| is_streamed) {
                None => fixed.push(at),
                Some(layer) => match layers.iter_mut().find(|(known, _)| *known == layer) {
                    Some((_, tensors)) => tensors.push(at),
                    None => layers.push((layer, vec![at])),
                },
            }
        }
        layers.sort_unstable_by_key(|(layer, _)| *layer);
        let size = |at: &usize| size(&tensors.tensors()[*at]);
        let mut offsets = vec![0; tensors.tensors().len()];
        let mut place = |tensors: Vec<usize>, start: usize| {
            let mut end = start;
            for at in &tensors {
                offsets[*at] = end;
                end += size(at);
            }
            let range = start..end;
            Block { tensors, range }
        };
        let fixed = place(fixed, 0);
        let slots = layers.iter().map(|(_, of)| of.iter().map(size).sum());
        let slot: usize = slots.max().unwrap_or(0);
        let streamed: Vec<(usize, Block)> = layers
            .into_iter()
            .enumerate()
            .map(|(number, (layer, of))| (layer, place(of, fixed.range.end + number % 2 * slot)))
            .collect();
        Self {
            bytes: fixed.range.end + streamed.len().min(2) * slot,
            tensors: tensors.clone(),
            offsets,
            fixed,
            streamed,
        }
    }

    /// Bytes that the weights take.
    pub(in crate::cuda) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of weights that are copied in every run: none if there are only two layers, which keep their slots.
    pub(in crate::cuda) fn copied_bytes(&self) -> usize {
        let blocks = self.streamed.iter().filter(|_| self.streamed.len() > 2);
        blocks.map(|(_, block)| block.range.len()).sum()
    }

    /// The resident weights.
    pub(in crate::cuda) fn fixed(&self) -> &Block {
        &self.fixed
    }

    /// The weights that are copied in every run, by the layer that reads them; even entries share one slot, odd ones the
    /// other.
    pub(in crate::cuda) fn streamed(&self) -> &[(usize, Block)] {
        &self.streamed
    }

    /// The tensors, in the order of their positions.
    pub(in crate::cuda) fn list(&self) -> &TensorList {
        &self.tensors
    }

    /// The tensor at a position of the list.
    pub(in crate::cuda) fn tensor(&self, at: usize) -> &ListedTensor {
        &self.tensors.tensors()[at]
    }

    /// Offset of the tensor at a position of the list.
    pub(in crate::cuda) fn offset(&self, at: usize) -> usize {
        self.offsets[at]
    }

    /// Whether the tensor of this name is on the device while `layer` runs: it is resident, streamed for that layer, or no
    /// weight.
    pub(in crate::cuda) fn is_there(&self, name: &str, layer: Option<usize>) -> bool {
        let tensor = self.tensors.position(name).map(|at| self.tensor(at));
        let of = tensor.and_then(|tensor| tensor.layer);
        self.streamed.is_empty() || of.is_none() || of == layer
    }

    /// A whole weight as kernels address it, if it is on the list; the weights start at `base`.
    pub(in crate::cuda) fn view(&self, name: &str, base: u64) -> Option<DeviceView> {
        let at = self.tensors.position(name)?;
        let spec = &self.tensor(at).spec;
        Some(DeviceView {
            address: base + self.offsets[at] as u64,
            rows: spec.shape.rows(),
            cols: spec.shape.cols(),
            pitch: spec.pitch(),
            dtype: spec.dtype,
        })
    }
}

fn size(tensor: &ListedTensor) -> usize {
    tensor.spec.bytes().next_multiple_of(ALIGNMENT)
}
