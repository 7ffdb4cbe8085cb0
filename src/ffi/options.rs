//! What an engine is opened with: a JSON object of the caller's.

use std::{path::PathBuf, sync::Arc};

use serde_json::{Map, Value, json};

use super::status::Failure;
use crate::{
    Result, device,
    inspect::estimate::{PlannedCall, Scenario, Work, stages},
    jobs::{PlanShares, parse_json},
    pipeline::{
        Keep, Model, Session, Stage, miniature,
        networks::ModelConfigs,
        request::{BaseVariant, Job, Request, VideoDecoder},
    },
    weights::folder,
};

/// The members that there are.
const MEMBERS: &str = "device, variant, decoder, precision, weight_bytes";
/// Bytes of text in a token, about, in any language.
const TOKEN_BYTES: usize = 4;
/// How much longer an operation of the video decoder takes than one of the transformer, on any device: its convolutions
/// have few channels.
const DECODER_WEIGHT: f64 = 2.5;

/// How an engine works.
pub(super) struct Options {
    /// auto, cpu or cuda:N.
    device: String,
    keep: Keep,
    /// What every request has in common.
    pub(super) base: Request,
}

impl Options {
    /// Reads the options, all of which may be left out.
    ///
    /// # Errors
    /// For a member that there is not, and a value that is none of its kind.
    pub(super) fn read(text: Option<&str>) -> Result<Self, Failure> {
        let mut options = Self {
            device: "auto".into(),
            keep: Keep::weights(u64::MAX),
            base: Request::default(),
        };
        for (name, value) in object("options_json", text)? {
            let refuse = |expected: &str| {
                Err(Failure::argument(
                    &name,
                    &format!("must be {expected}; given {value}"),
                ))
            };
            let text = value.as_str();
            match (name.as_str(), text) {
                ("device", Some(name)) => options.device = name.into(),
                ("device", None) => return refuse("auto, cpu or cuda:N"),
                ("variant", Some("distill")) => options.base.variant = BaseVariant::Distill,
                ("variant", Some("base")) => options.base.variant = BaseVariant::Base,
                ("variant", _) => return refuse("distill or base"),
                ("decoder", Some("turbo")) => options.base.decoder = VideoDecoder::Turbo,
                ("decoder", Some("wan")) => options.base.decoder = VideoDecoder::Wan,
                ("decoder", _) => return refuse("turbo or wan"),
                ("precision", Some(text)) => {
                    let formats = text.parse();
                    let invalid = |problem: String| Failure::argument("precision", &problem);
                    options.base.formats = formats.map_err(invalid)?;
                }
                ("precision", None) => return refuse("a text such as bf16 or fp8"),
                ("weight_bytes", _) => match value.as_u64() {
                    Some(bytes) => options.keep = Keep::weights(bytes),
                    None => return refuse("a number of bytes"),
                },
                _ => {
                    let problem = format!("is no option; there are {MEMBERS}");
                    return Err(Failure::argument(&name, &problem));
                }
            }
        }
        Ok(options)
    }

    /// Opens the device and the model in `dir`, or the built-in one.
    ///
    /// # Errors
    /// What opening both brings.
    pub(super) fn open(&self, dir: Option<PathBuf>) -> Result<(Session, Arc<ModelConfigs>)> {
        let networks = match &dir {
            Some(dir) => ModelConfigs::of(&folder::find(dir)?)?,
            None => miniature::networks(),
        };
        let model = dir.map_or_else(|| Ok(Model::miniature()), |dir| Model::open(&dir))?;
        let executor = device::open(&self.device, &device::Options::default())?;
        let session = Session::new(Arc::from(executor), model, self.keep);
        Ok((session, Arc::new(networks)))
    }
}

/// The members of the JSON object `text`, none without one.
///
/// # Errors
/// If it is no object.
pub(super) fn object(name: &str, text: Option<&str>) -> Result<Map<String, Value>, Failure> {
    let Some(text) = text else {
        return Ok(Map::new());
    };
    match parse_json(text.as_bytes()) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(Failure::argument(name, "must be a JSON object")),
        Err(problem) => Err(Failure::argument(
            name,
            &format!("must be a JSON object: {problem}"),
        )),
    }
}

fn work(networks: &ModelConfigs, request: &Request, job: &Job) -> Result<Vec<Work>> {
    let scenario = Scenario {
        text_tokens: 1 + request.prompt.len() / TOKEN_BYTES,
        variant: request.variant,
        steps: request.steps,
        decoder: request.decoder,
        policy: request.formats.clone(),
    };
    stages(networks, job, &scenario)
}

fn flops(work: &Work) -> f64 {
    let calls = work.calls.iter();
    let flops = calls.map(|call| call.runs as f64 * call.plan.total_cost().flops);
    flops.sum()
}

/// What share of a job each stage is, by the operations that it takes.
pub(super) fn shares(networks: &Arc<ModelConfigs>) -> PlanShares {
    let networks = networks.clone();
    Arc::new(move |request, job| {
        let share = |work: &Work| {
            let is_decoder = work.stage == Stage::DecodeVideo;
            let weight = if is_decoder { DECODER_WEIGHT } else { 1.0 };
            (work.stage, weight * flops(work))
        };
        // A bar without shares is better than no clip; what is wrong is said by the run.
        let work = work(&networks, request, job).unwrap_or_default();
        work.iter().map(share).collect()
    })
}

/// What each stage of `job` takes, whatever the device.
///
/// # Errors
/// For formats that a network cannot have.
pub(super) fn stages_json(
    networks: &ModelConfigs,
    request: &Request,
    job: &Job,
) -> Result<Value, Failure> {
    let describe = |work: &Work| {
        let most = |of: &dyn Fn(&PlannedCall) -> u64| work.calls.iter().map(of).max();
        json!({
            "stage": work.stage.name(),
            "tokens": work.tokens.iter().map(|tokens| tokens.all()).max(),
            "runs": work.calls.iter().map(|call| call.runs).sum::<usize>(),
            "flops": flops(work),
            "weight_bytes": most(&|call| call.plan.weight_bytes()),
            "value_bytes": most(&|call| call.plan.arena().bytes as u64),
        })
    };
    let work = work(networks, request, job)?;
    Ok(work.iter().map(describe).collect())
}

#[cfg(test)]
mod tests {
    use super::{super::status::GallopStatus, *};

    #[test]
    fn options_are_read_strictly() {
        let all = r#"{"device":"cpu","variant":"base","decoder":"wan","precision":"fp8","weight_bytes":0}"#;
        let options = Options::read(Some(all)).unwrap();
        assert_eq!(
            (options.device.as_str(), options.keep),
            ("cpu", Keep::weights(0))
        );
        assert_eq!(options.base.variant, BaseVariant::Base);
        assert_eq!(Options::read(None).unwrap().device, "auto");
        for (text, expected) in [
            ("[]", "JSON object"),
            ("{", "JSON object"),
            (r#"{"device":3}"#, "`device` must be auto"),
            (r#"{"variant":"x"}"#, "distill or base; given \"x\""),
            (r#"{"decoder":null}"#, "turbo or wan"),
            (r#"{"precision":"fp3"}"#, "`precision`"),
            (r#"{"precision":8}"#, "`precision`"),
            (r#"{"weight_bytes":-1}"#, "bytes; given -1"),
            (
                r#"{"devise":"cpu"}"#,
                "`devise` is no option; there are device",
            ),
        ] {
            let failure = Options::read(Some(text)).err().unwrap();
            assert_eq!(failure.status, GallopStatus::InvalidArgument);
            assert!(failure.text.contains(expected), "{}", failure.text);
        }
    }
}
