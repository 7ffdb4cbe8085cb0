//! Arguments that select one stage of a model, for `bench` and `compare`.

use clap::Args;

use super::plan::{LengthArguments, NetworksChoice, find};
use crate::{
    Result,
    inspect::{
        bench,
        estimate::{Scenario, Work, stages},
    },
    pipeline::{
        Model, QuantizationPolicy, Stage,
        request::{Job, VideoDecoder, resolve},
    },
    plan::Plan,
    weights::{Component, Weights},
};

#[derive(Args, Debug)]
pub(super) struct StageArguments {
    /// Sizes of the networks: a folder with a model, `published`, or the miniature
    #[arg(long, value_name = "DIR", default_value = "miniature")]
    model: NetworksChoice,
    /// The stage
    #[arg(long, value_enum, default_value_t = Stage::Base)]
    stage: Stage,
    #[command(flatten)]
    lengths: LengthArguments,
    /// Only the first layers of a denoising network
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=1000))]
    layers: Option<u16>,
}

impl StageArguments {
    /// The weights for `plan`, one of `work`: a folder's own for a denoising network, otherwise synthetic.
    pub(super) fn weights(
        &self,
        work: &Work,
        plan: &Plan,
        formats: &QuantizationPolicy,
    ) -> Result<Weights> {
        match (&self.model, work.part) {
            (NetworksChoice::Folder(dir), Component::Dit(variant)) => {
                Ok(Model::open(dir)?.network(variant, formats)?.weights.clone())
            }
            _ => bench::weights(work, plan),
        }
    }

    /// The model's name, the job, and the selected stage's work with linear layers in `formats`.
    pub(super) fn work(&self, formats: &QuantizationPolicy) -> Result<(String, Job, Work)> {
        let mut networks = self.model.open()?;
        if let Some(layers) = self.layers {
            networks = networks.cut_to(layers.into());
        }
        let request = self.lengths.request();
        let job = resolve(&request, networks.defaults, None)?;
        let scenario = Scenario {
            text_tokens: self.lengths.text_tokens.into(),
            variant: request.variant,
            steps: None,
            decoder: VideoDecoder::Turbo,
            policy: formats.clone(),
        };
        let work = find(self.stage, stages(&networks, &job, &scenario)?)?;
        Ok((networks.name, job, work))
    }
}
