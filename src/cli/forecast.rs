//! How long a clip will take on the CPU, for `gallop generate`, which says it before a long one begins.

use std::path::PathBuf;

use super::plan::{NetworksChoice, estimate_on_cpu};
use crate::{
    Result,
    inspect::estimate::{Scenario, stages},
    pipeline::{
        Stage,
        request::{Job, Request},
    },
};

/// Work that no CPU is long at, FLOPs: the CPU is not even measured.
const SHORT_FLOPS: f64 = 3e11;
/// Bytes of text in a token, about, in any language.
const TOKEN_BYTES: usize = 4;

/// Estimates of the clips of one model.
pub(super) struct Forecast {
    networks: NetworksChoice,
}

impl Forecast {
    /// For the model in `folder`, or the miniature.
    pub(super) fn new(folder: Option<PathBuf>) -> Self {
        Self {
            networks: folder.map_or(NetworksChoice::Miniature, NetworksChoice::Folder),
        }
    }

    /// Seconds that `job` takes; `None` if it is a matter of seconds. What a picture and a voice track take beside the clip
    /// is left out.
    ///
    /// # Errors
    /// What the model's files bring.
    pub(super) fn of(&self, request: &Request, job: &Job) -> Result<Option<f64>> {
        let scenario = Scenario {
            text_tokens: 1 + request.prompt.len() / TOKEN_BYTES,
            variant: request.variant,
            steps: request.steps,
            decoder: request.decoder,
            policy: request.formats.clone(),
        };
        let mut work = stages(&self.networks.open()?, job, &scenario)?;
        work.retain(|work| work.stage != Stage::Text || request.text_features.is_none());
        let calls = work.iter().flat_map(|work| &work.calls);
        let flops = calls.map(|call| call.runs as f64 * call.plan.total_cost().flops);
        if flops.sum::<f64>() < SHORT_FLOPS {
            return Ok(None);
        }
        Ok(Some(estimate_on_cpu(&work)?.total_seconds()))
    }
}
