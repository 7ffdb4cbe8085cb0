//! Which linear layers of the denoising networks are quantised: a policy of rules over passes, layers and matmuls.
//!
//! `fp8,layers.0-3=bf16,sr:mlp.down_proj=bf16`: a rule is a format, preceded by the place where it holds; of the rules
//! that hold for a place the last wins. This is about the operands of matmuls; where activations are rounded otherwise
//! is decided by [`super::Precision`].
//!
//! Activations in front of an FP8 matmul are scaled by row too, or by a constant behind a bounded activation function;
//! `gallop plan --precision fp8 --text base` shows every step of it. What FP8 costs depends on the model. On the golden
//! clip of the tiny network the latents' relative error against the run without rounding is 0.018 (video) and 0.016
//! (audio) in bf16, 0.21 and 0.22 in FP8: 11 and 14 times as much, of at most the 17 times that E4M3's four bits of
//! significand explain.

use std::{fmt, ops::RangeInclusive, str::FromStr};

use crate::{
    Error, Result,
    error::Field,
    model::dit,
    plan::Plan,
    tensor::{Format, LayerFormats},
    weights::Variant,
};

/// The matmuls of a layer in the order of computation, named as in rules and checkpoints.
const MATMULS: [&str; 5] = [
    "attention.linear_qkv",
    ATTENTION,
    "attention.linear_proj",
    "mlp.up_gate_proj",
    "mlp.down_proj",
];
/// The matmul without a weight.
const ATTENTION: &str = "attention.core";

/// A place and its format. `None` means everywhere, or the checkpoint's format.
#[derive(Clone, PartialEq, Eq, Debug)]
struct PolicyRule {
    text: String,
    is_sr: Option<bool>,
    layers: Option<RangeInclusive<usize>>,
    matmul: Option<&'static str>,
    format: Option<Format>,
}

/// The rules. Without rules every layer has the format in which it is stored: FP8 in a packed checkpoint, otherwise
/// bf16.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct QuantizationPolicy {
    rules: Vec<PolicyRule>,
}

impl FromStr for QuantizationPolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rules = text.split(',').map(|rule| {
            PolicyRule::parse(rule.trim()).map_err(|problem| format!("rule `{rule}`: {problem}"))
        });
        Ok(Self {
            rules: rules.collect::<Result<_, _>>()?,
        })
    }
}

impl fmt::Display for QuantizationPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rules: Vec<&str> = self.rules.iter().map(|rule| rule.text.as_str()).collect();
        match rules.as_slice() {
            [] => f.write_str("auto"),
            rules => f.write_str(&rules.join(",")),
        }
    }
}

impl PolicyRule {
    fn parse(text: &str) -> Result<Self, String> {
        let (is_sr, rest) = match text.split_once(':') {
            None => (None, text),
            Some(("base", rest)) => (Some(false), rest),
            Some(("sr", rest)) => (Some(true), rest),
            Some((other, _)) => {
                return Err(format!("the pass must be `base` or `sr`; found `{other}`"));
            }
        };
        let (place, value) = match rest.rsplit_once('=') {
            None => ("", rest),
            Some(("", _)) => return Err("a place must stand in front of `=`".into()),
            Some(pair) => pair,
        };
        let format = match value {
            "auto" => None,
            "bf16" => Some(Format::Bf16),
            "fp8" => Some(Format::FP8),
            _ => return Err(format!("must be bf16, fp8 or auto; found `{value}`")),
        };
        let (layers, matmul) = parse_place(place)?;
        if let (Some(ATTENTION), Some(Format::Fp8(_))) = (matmul, format) {
            return Err("FP8 attention is not there yet; leave attention.core at bf16".into());
        }
        Ok(Self {
            text: text.into(),
            is_sr,
            layers,
            matmul,
            format,
        })
    }

    fn holds(&self, is_sr: bool, layer: usize, matmul: &str) -> bool {
        self.is_sr.is_none_or(|own| own == is_sr)
            && self.layers.as_ref().is_none_or(|own| own.contains(&layer))
            && self.matmul.is_none_or(|own| own == matmul)
    }
}

/// `layers.4`, `layers.0-3`, `mlp.down_proj`, `layers.0-3.mlp.down_proj`, or nothing.
fn parse_place(
    text: &str,
) -> Result<(Option<RangeInclusive<usize>>, Option<&'static str>), String> {
    let matmul = |name: &str| {
        let names = MATMULS.join(", ");
        let problem =
            || format!("must name layers.A, layers.A-B or one of {names}; found `{name}`");
        let known = MATMULS.into_iter().find(|known| *known == name);
        known.map(Some).ok_or_else(problem)
    };
    if text.is_empty() {
        return Ok((None, None));
    }
    let Some(rest) = text.strip_prefix("layers.") else {
        return Ok((None, matmul(text)?));
    };
    let (range, name) = match rest.split_once('.') {
        None => (rest, None),
        Some((range, name)) => (range, matmul(name)?),
    };
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let number = |digits: &str| digits.parse::<usize>().ok();
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => Ok((Some(first..=last), name)),
        _ => Err(format!(
            "layers must be a number or an ascending range such as 0-3; found `{range}`"
        )),
    }
}

impl QuantizationPolicy {
    /// Formats of the layers of the network `variant` that are not bf16. `stored` are those that its checkpoint has
    /// quantised already.
    ///
    /// # Errors
    /// [`Error::Request`] if a rule names a layer that the network does not have, or a format to which a stored layer
    /// cannot be converted.
    pub fn resolve(
        &self,
        variant: Variant,
        config: &dit::DitConfig,
        stored: &LayerFormats,
    ) -> Result<LayerFormats> {
        let is_sr = matches!(variant, Variant::Sr540p | Variant::Sr1080p);
        let own = |rule: &&PolicyRule| rule.is_sr.is_none_or(|own| own == is_sr);
        for rule in self.rules.iter().filter(own) {
            let last = rule.layers.as_ref().map_or(0, |layers| *layers.end());
            if last >= config.num_layers {
                let problem = format!(
                    "rule `{}`: `{}` has layers 0 to {}",
                    rule.text,
                    variant.key(),
                    config.num_layers - 1
                );
                return Err(Error::request(Field::Precision, problem));
            }
        }
        let mut formats = LayerFormats::new();
        for (layer, matmul) in (0..config.num_layers).flat_map(|n| MATMULS.map(|name| (n, name))) {
            if matmul == ATTENTION {
                continue;
            }
            let name = format!("block.layers.{layer}.{matmul}");
            let rule = self.rules.iter().rfind(|r| r.holds(is_sr, layer, matmul));
            let wanted = rule.and_then(|rule| Some((rule, rule.format?)));
            match (stored.get(&name), wanted) {
                (Some(stored), Some((rule, wanted))) if *stored != wanted => {
                    let problem = format!(
                        "rule `{}`: `{name}` of `{}` is stored in {stored}; give the model it was packed from",
                        rule.text,
                        variant.key()
                    );
                    return Err(Error::request(Field::Precision, problem));
                }
                (Some(format), _) => drop(formats.insert(name, *format)),
                (None, Some((_, Format::Bf16)) | None) => {}
                (None, Some((_, format @ Format::Fp8(_)))) => drop(formats.insert(name, format)),
            }
        }
        Ok(formats)
    }
}

/// `plan` with layers quantised by `formats`.
pub fn quantized(plan: Plan, formats: &LayerFormats) -> Plan {
    if formats.is_empty() {
        plan
    } else {
        plan.quantized(|name| formats.get(name).copied().unwrap_or(Format::Bf16))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(text: &str, variant: Variant) -> Vec<String> {
        let formats: QuantizationPolicy = text.parse().unwrap();
        let config = dit::DitConfig::released(vec![]);
        let all = formats
            .resolve(variant, &config, &LayerFormats::new())
            .unwrap();
        all.into_keys().collect()
    }

    #[test]
    fn the_last_rule_that_holds_decides() {
        assert_eq!(layers("auto", Variant::Base).len(), 0);
        assert_eq!(layers("fp8", Variant::Base).len(), 160);
        let mixed = "fp8, layers.0-3=bf16,mlp.down_proj=bf16,sr:layers.38-39=bf16,layers.2.mlp.down_proj=fp8";
        assert_eq!(layers(mixed, Variant::Distill).len(), 36 * 3 + 1);
        let sr = layers(mixed, Variant::Sr1080p);
        assert_eq!(sr.len(), 34 * 3 + 1);
        assert!(sr.contains(&"block.layers.2.mlp.down_proj".into()));
        assert!(!sr.contains(&"block.layers.39.attention.linear_qkv".into()));
        assert_eq!(layers("fp8,bf16", Variant::Base).len(), 0);
        assert_eq!(
            layers("base:fp8,attention.core=bf16", Variant::Sr540p).len(),
            0
        );
        let formats: QuantizationPolicy = mixed.parse().unwrap();
        assert_eq!(formats.to_string().parse(), Ok(formats));
        assert_eq!(QuantizationPolicy::default().to_string(), "auto");
    }

    #[test]
    fn what_is_stored_decides_where_no_rule_does_and_cannot_be_widened() {
        let stored = LayerFormats::from([("block.layers.1.mlp.down_proj".into(), Format::FP8)]);
        let config = dit::DitConfig::released(vec![]);
        let of = |text: &str| {
            let formats: QuantizationPolicy = text.parse().unwrap();
            formats.resolve(Variant::Base, &config, &stored)
        };
        assert_eq!(of("auto").unwrap(), stored);
        assert_eq!(of("bf16,layers.1=auto").unwrap(), stored);
        assert_eq!(of("sr:bf16").unwrap(), stored);
        let problem = of("attention.linear_qkv=bf16,layers.0-5=bf16").unwrap_err();
        assert_eq!(problem.exit_code(), 2);
        let text = problem.to_string();
        assert!(
            text.contains("`layers.0-5=bf16`") && text.contains("layers.1.mlp"),
            "{text}"
        );
        let text = of("layers.40=fp8").unwrap_err().to_string();
        assert!(
            text.contains("0 to 39") && text.contains("layers.40"),
            "{text}"
        );
    }

    #[test]
    fn rules_that_cannot_be_meant_are_named() {
        for (rule, expected) in [
            ("", "bf16, fp8 or auto"),
            ("fp4", "`fp4`"),
            ("mlp.down=fp8", "mlp.down_proj"),
            ("=fp8", "in front"),
            ("layers.3-1=bf16", "`3-1`"),
            ("layers.x=bf16", "`x`"),
            ("layers.1.mlp=bf16", "`mlp`"),
            ("refiner:fp8", "`refiner`"),
            ("layers.=fp8", "ascending"),
            ("layers.2.attention.core=fp8", "not there yet"),
        ] {
            let problem = format!("bf16,{rule}")
                .parse::<QuantizationPolicy>()
                .unwrap_err();
            let names = problem.contains(&format!("rule `{rule}`"));
            assert!(names && problem.contains(expected), "{problem}");
        }
    }
}
