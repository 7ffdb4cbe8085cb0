//! The weights of a network in the order that its steps read them: the same list for its plans of every size.

use std::collections::HashMap;

use super::{Op, Plan, Role, Spec};

/// Every weight that a network's steps read, in the order of first use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TensorList {
    tensors: Vec<ListedTensor>,
    positions: HashMap<String, usize>,
}

/// One tensor of the list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListedTensor {
    /// Name in the checkpoint, shape and element type.
    pub spec: Spec,
    /// The layer (index of the plan's segment), if only that layer reads the tensor. What a norm at the start of a
    /// layer reads belongs to none, because a kernel may fuse that norm with the end of the layer before.
    pub layer: Option<usize>,
}

impl TensorList {
    /// The tensors of the network that `plan` runs.
    pub fn of(plan: &Plan) -> Self {
        let mut list = Self {
            tensors: Vec::new(),
            positions: HashMap::new(),
        };
        for (index, step) in plan.steps().iter().enumerate() {
            let segment = plan.segment_of(index);
            let starts = segment.is_some_and(|at| plan.segments()[at].steps.start == index);
            let joins = starts && matches!(step.op, Op::RmsNorm(_));
            let layer = segment.filter(|_| !joins);
            let roots = step.reads.iter().map(|&buf| plan.spec(plan.root(buf)));
            for spec in roots.filter(|spec| spec.role == Role::Weight) {
                list.add(spec, layer);
            }
        }
        list
    }

    fn add(&mut self, spec: &Spec, layer: Option<usize>) {
        if let Some(&at) = self.positions.get(&spec.label) {
            let known = &mut self.tensors[at];
            known.layer = known.layer.filter(|_| known.layer == layer);
            return;
        }
        self.positions
            .insert(spec.label.clone(), self.tensors.len());
        self.tensors.push(ListedTensor {
            spec: spec.clone(),
            layer,
        });
    }

    /// All tensors.
    pub fn tensors(&self) -> &[ListedTensor] {
        &self.tensors
    }

    /// Index in [`TensorList::tensors`] of the tensor of this name.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.positions.get(name).copied()
    }

    /// Whether all tensors of `other` are in this list, with the same shapes, element types and layers.
    pub fn has_all_of(&self, other: &Self) -> bool {
        let has = |tensor: &ListedTensor| {
            let at = self.position(&tensor.spec.label);
            at.is_some_and(|at| self.tensors[at] == *tensor)
        };
        other.tensors.iter().all(has)
    }
}
