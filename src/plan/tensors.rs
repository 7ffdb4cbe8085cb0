//! The tensors of a network in the order that its steps read them: the same list for its plans of any size.

use std::collections::HashMap;

use super::{Op, Plan, Role, Spec};

/// Every weight that a network's steps read, in the order they first do.
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
    /// The layer, by its number among the plan's segments, if nothing outside of it reads the tensor. What a norm at the
    /// start of a layer reads belongs to none: a kernel may run that norm together with the end of the layer before.
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
            let joins = starts && matches!(step.op, Op::RmsNorm { .. });
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

    /// All of them.
    pub fn tensors(&self) -> &[ListedTensor] {
        &self.tensors
    }

    /// Where in [`TensorList::tensors`] the tensor of this name is, if it is.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.positions.get(name).copied()
    }

    /// Whether all tensors of `other` are among these, with the same shapes, element types and layers.
    pub fn has_all_of(&self, other: &Self) -> bool {
        let has = |tensor: &ListedTensor| {
            let at = self.position(&tensor.spec.label);
            at.is_some_and(|at| self.tensors[at] == *tensor)
        };
        other.tensors.iter().all(has)
    }
}
