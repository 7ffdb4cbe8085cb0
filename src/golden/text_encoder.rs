//! Cases of the text encoder: without and with soft-cap, each without and with rounding.

use std::path::Path;

use serde_json::Value;

use super::{GoldenCase, Tensors, case::Given};
use crate::{
    DType, Result, Tensor,
    executor::{Executor, Prepare, Program},
    model::text_encoder::{self, TextEncoderConfig},
    plan::Plan,
    qualify::{Check, relative_l2},
    weights::{Architecture, Source, Synthetic, Weights},
};

/// Elements of the largest embedding that is generated whole; of a larger one only the rows used.
const WHOLE_EMBEDDING: usize = 1 << 24;
const EMBEDDING: &str = "model.encoder.embed_tokens.weight";

/// `text_encoder`: every hidden state, tap and feature of the case, for all tokens except padding.
pub(super) fn encode(case: &GoldenCase<'_>, executor: &dyn Executor) -> Result<Vec<Check>> {
    let encoding = Encoding::new(case)?;
    let scale = text_encoder::embed_scale(encoding.config.hidden_size);
    let expected: f32 = case.field("embed_scale")?;
    let mut checks = vec![Check::max_abs("embed_scale", &[scale], &[expected], 0.0)];
    checks.extend(encoding.check_rows()?);
    for mode in [Mode::NoCap, Mode::Cap] {
        for rounded in [false, true] {
            if !rounded && !executor.runs_unrounded() {
                continue;
            }
            checks.extend(encoding.check(executor, mode, rounded)?);
        }
    }
    Ok(checks)
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    NoCap,
    Cap,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Self::NoCap => "nocap",
            Self::Cap => "cap",
        }
    }
}

/// A case with checked inputs.
struct Encoding<'a> {
    case: &'a GoldenCase<'a>,
    config: TextEncoderConfig,
    tensors: Tensors,
    /// Ids of each prompt without its padding.
    prompts: Vec<Vec<i32>>,
    /// Length of a prompt with its padding.
    padded: usize,
}

impl<'a> Encoding<'a> {
    fn new(case: &'a GoldenCase<'a>) -> Result<Self> {
        let (config, tensors) = (config(case)?, case.tensors()?);
        let ids = tensors.get("in.input_ids")?;
        let [batch, padded] = *ids.shape().extents() else {
            return Err(case.bad(format!(
                "`in.input_ids` must be [B, T]; found {}",
                ids.shape()
            )));
        };
        let lengths = if tensors.has("in.attention_mask") {
            let mask = tensors.get("in.attention_mask")?.to_f32();
            mask.chunks_exact(padded.max(1))
                .map(|row| row.iter().filter(|&&m| m != 0.0).count())
                .collect()
        } else {
            vec![padded; batch]
        };
        let ids: Vec<i32> = ids.to_f32().iter().map(|&id| id as i32).collect();
        let prompts: Vec<Vec<i32>> = ids
            .chunks_exact(padded.max(1))
            .zip(&lengths)
            .map(|(row, &length)| row[..length].to_vec())
            .collect();
        let usable = |id: &i32| usize::try_from(*id).is_ok_and(|id| id < config.vocab_size);
        if prompts.is_empty()
            || !prompts
                .iter()
                .all(|p| !p.is_empty() && p.iter().all(usable))
        {
            return Err(case.bad(format!(
                "every prompt must have ids from 0 to {}",
                config.vocab_size
            )));
        }
        Ok(Self {
            case,
            config,
            tensors,
            prompts,
            padded,
        })
    }

    /// Checks the embedding rows, if the case has them.
    fn check_rows(&self) -> Result<Option<Check>> {
        if !self.tensors.has("in.inputs_embeds") {
            return Ok(None);
        }
        let (plan, _) = text_encoder::encode(&self.config, 1, false);
        let rows = self.rows(
            &self.case.synthetic(Architecture::TextEncoder, &plan)?,
            &self.prompts[0],
        )?;
        let stored = self.tensors.get("in.inputs_embeds")?.to_f32();
        Ok(Some(Check::max_abs(
            "in.inputs_embeds",
            &rows,
            &stored,
            0.0,
        )))
    }

    /// Runs every prompt in one mode and checks all that the case has of it.
    fn check(&self, executor: &dyn Executor, mode: Mode, rounded: bool) -> Result<Vec<Check>> {
        let mut programs = Vec::new();
        for ids in &self.prompts {
            programs.push(self.run(executor, ids, mode, rounded)?);
        }
        let path = if rounded { "bf16" } else { "f32" };
        let mut checks = Vec::new();
        for label in self.tensors.labels() {
            let Some(name) = label
                .strip_suffix(".ref64")
                .filter(|name| is_of(name, mode))
            else {
                continue;
            };
            let Some(allowed) = self.allowed(name, rounded)? else {
                continue;
            };
            let stem = name
                .strip_suffix(mode.name())
                .map_or(name, |stem| stem.trim_end_matches('.'));
            let mut got = Vec::new();
            for (plan, program) in &mut programs {
                let buf = plan.find(&buffer(stem));
                let buf = buf.ok_or_else(|| {
                    self.case
                        .bad(format!("`{label}` is nothing the encoder has"))
                })?;
                got.extend_from_slice(&program.read(buf)?.to_f32());
            }
            checks.push(Check::relative_l2(
                format!("{name} ({path})"),
                &got,
                &self.valid(label)?,
                allowed,
            ));
        }
        if rounded
            && self
                .tensors
                .has(&format!("features.{}.up_bf16", mode.name()))
        {
            let (plan, program) = &mut programs[0];
            let output = plan
                .find(&buffer("output"))
                .expect("the plan's last buffer");
            checks.extend(self.check_features(mode, &program.read(output)?)?);
        }
        Ok(checks)
    }

    /// Checks the features: equal to the rule applied to the reference's output, and as close to ours as the output.
    fn check_features(&self, mode: Mode, output: &Tensor) -> Result<[Check; 2]> {
        let stored = |name: &str| self.tensors.get(&format!("{name}.{}.up_bf16", mode.name()));
        let theirs = text_encoder::features(stored("output")?);
        let features = stored("features")?.to_f32();
        let what = format!("features.{} (of up_bf16)", mode.name());
        let rule = Check::max_abs(what, &theirs.to_f32(), &features, 0.0);
        let exact = self
            .tensors
            .get(&format!("output.{}.ref64", mode.name()))?
            .to_f32();
        let exact = exact.get(..features.len()).unwrap_or_default();
        let got = text_encoder::features(output);
        let what = format!("features.{} (bf16)", mode.name());
        let allowed = 1.25 * relative_l2(&features, exact);
        Ok([
            rule,
            Check::relative_l2(what, &got.to_f32(), exact, allowed),
        ])
    }

    fn run(
        &self,
        executor: &dyn Executor,
        ids: &[i32],
        mode: Mode,
        rounded: bool,
    ) -> Result<(Plan, Box<dyn Program>)> {
        let mut config = self.config.clone();
        let mut ids = ids.to_vec();
        let few = config.vocab_size.saturating_mul(config.hidden_size) > WHOLE_EMBEDDING;
        let (plan, _) = text_encoder::encode(&config, 1, false);
        let synthetic = self.case.synthetic(Architecture::TextEncoder, &plan)?;
        let source: Box<dyn Source> = if few {
            let rows = Tensor::from_f32(
                [ids.len(), config.hidden_size],
                &self.rows(&synthetic, &ids)?,
            );
            config.vocab_size = ids.len();
            ids = (0..).take(ids.len()).collect();
            Box::new(Given {
                tensors: vec![(EMBEDDING.into(), rows.cast(DType::Bf16))],
                rest: Some(synthetic),
            })
        } else {
            Box::new(synthetic)
        };
        let (plan, ports) = text_encoder::encode(&config, ids.len(), mode == Mode::Cap);
        let plan = if rounded { plan } else { plan.in_f32() };
        let how = Prepare {
            taps: true,
            ..Prepare::default()
        };
        let mut program = executor.load_and_prepare(&plan, &Weights::new(source), &how)?;
        program.write(ports.ids, &Tensor::from_i32([ids.len()], &ids))?;
        program.write(ports.rope, &text_encoder::rope_table(&config, ids.len()))?;
        program.run()?;
        Ok((plan, program))
    }

    /// The embedding's rows `ids`.
    fn rows(&self, synthetic: &Synthetic, ids: &[i32]) -> Result<Vec<f32>> {
        let width = self.config.hidden_size;
        let mut rows = Vec::with_capacity(ids.len() * width);
        for &id in ids {
            let first = id as usize * width;
            rows.extend(synthetic.values(EMBEDDING, first..first + width)?);
        }
        Ok(rows)
    }

    /// The error allowed for `name`; `None` if the case does not have the reference's error.
    fn allowed(&self, name: &str, rounded: bool) -> Result<Option<f64>> {
        if !rounded {
            return Ok(Some(if self.padded > 100 { 2e-5 } else { 1e-5 }));
        }
        let reference = format!("{name}.up_bf16");
        if self.tensors.has(&reference) {
            let theirs = relative_l2(
                &self.valid(&reference)?,
                &self.valid(&format!("{name}.ref64"))?,
            );
            return Ok(Some((1.25 * theirs).max(1e-6)));
        }
        let measured = self.case.number(&["measured", name, "up_bf16_rel_l2"]);
        Ok(measured.ok().map(|theirs| 1.5 * theirs))
    }

    /// The rows of a stored tensor without padding.
    fn valid(&self, label: &str) -> Result<Vec<f32>> {
        let tensor = self.tensors.get(label)?;
        let values = tensor.to_f32();
        let rows = self.prompts.len() * self.padded;
        if !values.len().is_multiple_of(rows) {
            return Err(self.case.bad(format!(
                "`{label}` must hold {rows} rows; found {}",
                tensor.shape()
            )));
        }
        let prompts = values
            .chunks_exact(values.len() / self.prompts.len())
            .zip(&self.prompts);
        Ok(prompts
            .flat_map(|(rows, ids)| &rows[..rows.len() / self.padded * ids.len()])
            .copied()
            .collect())
    }
}

fn config(case: &GoldenCase<'_>) -> Result<TextEncoderConfig> {
    let mut value: Value = case.field("config")?;
    // Long lists are given as a phrase that means the default.
    if value["layer_types"] == "alternating, sliding first" {
        value["layer_types"] = Value::Null;
    }
    TextEncoderConfig::from_value(&value, Path::new(case.name()))
}

/// Whether a stored tensor belongs to the mode; the embedding belongs to both.
fn is_of(name: &str, mode: Mode) -> bool {
    name == "hidden.0" || name.rsplit('.').next() == Some(mode.name())
}

/// Our plan's label for a golden's name.
fn buffer(name: &str) -> String {
    let parts: Vec<&str> = name.split('.').collect();
    let part = match *parts.as_slice() {
        ["output"] => "norm".into(),
        ["hidden", "0"] => "embed_tokens".into(),
        ["hidden", count] => match count.parse::<usize>() {
            Ok(count) => format!("layers.{}", count.saturating_sub(1)),
            Err(_) => name.into(),
        },
        ["tap", layer, tap] => format!("layers.{layer}.{}", tapped(tap)),
        _ => name.into(),
    };
    format!("model.encoder.{part}")
}

fn tapped(tap: &str) -> &str {
    match tap {
        "attn_in" => "pre_self_attn_layernorm",
        "q" => "self_attn.q_proj",
        "k" => "self_attn.k_proj",
        "v" => "self_attn.v_proj",
        "q_rope" => "self_attn.q_rope",
        "k_rope" => "self_attn.k_rope",
        "attn_ctx" => "self_attn.context",
        "attn_out" => "self_attn.o_proj",
        "attn_post" => "post_self_attn_layernorm",
        "mlp_in" => "pre_feedforward_layernorm",
        "mlp_act" => "mlp.gated",
        "mlp_out" => "mlp.down_proj",
        "mlp_post" => "post_feedforward_layernorm",
        other => other,
    }
}
