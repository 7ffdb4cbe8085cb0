//! The stages in order: text, denoise, upscale, decode, mux.
//!
//! Invariant: holds an executor and never asks which; each stage is a function from tensors to tensors.

pub mod decode;
pub mod denoise;
pub mod image;
pub mod request;
pub mod upscale;

use crate::{
    executor::{Cancel, Executor},
    plan::Plan,
};

/// Where activations are rounded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Precision {
    /// Where the reference rounds.
    #[default]
    Reference,
    /// Nowhere: f32 activations. The yardstick for everything else.
    F32,
}

/// What every stage runs with.
#[derive(Clone)]
pub struct Context<'a> {
    /// The device.
    pub executor: &'a dyn Executor,
    /// Stops the work when asked.
    pub cancel: Cancel,
    /// Where activations are rounded.
    pub precision: Precision,
}

impl<'a> Context<'a> {
    /// As the reference rounds, never interrupted.
    pub fn new(executor: &'a dyn Executor) -> Self {
        Self {
            executor,
            cancel: Cancel::default(),
            precision: Precision::default(),
        }
    }

    /// The same with f32 activations.
    #[must_use]
    pub fn in_f32(mut self) -> Self {
        self.precision = Precision::F32;
        self
    }

    /// `plan` in this precision.
    pub fn precise(&self, plan: Plan) -> Plan {
        match self.precision {
            Precision::Reference => plan,
            Precision::F32 => plan.in_f32(),
        }
    }
}
