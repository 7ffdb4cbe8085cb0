//! Which products of the denoising networks are of 8 bits: a table of rules over passes, layers and kinds of op.
//!
//! `fp8,layers.0-3=bf16,sr:mlp.down_proj=bf16`: a rule is a value, with the place it holds for in front; of the rules
//! that hold for a place the last one decides. This is about what is multiplied; where activations are rounded
//! otherwise is [`super::Precision`]'s.

use std::{collections::BTreeSet, fmt, ops::RangeInclusive, str::FromStr};

use crate::{Error, Result, model::dit, plan::Plan, weights::Variant};

/// Element type of the two sides of a product.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// As the reference computes.
    Bf16,
    /// E4m3, scaled.
    Fp8,
}

/// A product of a layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Queries, keys, values and gates.
    LinearQkv,
    /// Scores, and their sum of values.
    Core,
    /// Out of attention.
    LinearProj,
    /// Into the MLP.
    UpGateProj,
    /// Out of the MLP.
    DownProj,
}

impl Kind {
    /// All of them, in the order in which a layer computes them.
    pub const ALL: [Self; 5] = [
        Self::LinearQkv,
        Self::Core,
        Self::LinearProj,
        Self::UpGateProj,
        Self::DownProj,
    ];

    /// Its name within a layer, in rules as in checkpoints.
    pub fn name(self) -> &'static str {
        match self {
            Self::LinearQkv => "attention.linear_qkv",
            Self::Core => "attention.core",
            Self::LinearProj => "attention.linear_proj",
            Self::UpGateProj => "mlp.up_gate_proj",
            Self::DownProj => "mlp.down_proj",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Which pass a network runs in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Pass {
    Base,
    Sr,
}

impl Pass {
    fn of(variant: Variant) -> Self {
        match variant {
            Variant::Base | Variant::Distill => Self::Base,
            Variant::Sr540p | Variant::Sr1080p => Self::Sr,
        }
    }
}

/// One rule: a place and what holds there. `None` is everywhere, or as the checkpoint stores it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Rule {
    text: String,
    pass: Option<Pass>,
    layers: Option<RangeInclusive<usize>>,
    kind: Option<Kind>,
    format: Option<Format>,
}

/// The table. Without rules every product is as its weight is stored: fp8 in a packed checkpoint, else bf16.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Formats {
    rules: Vec<Rule>,
}

impl FromStr for Formats {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rules = text.split(',').map(|rule| {
            Rule::parse(rule.trim()).map_err(|problem| format!("rule `{rule}`: {problem}"))
        });
        Ok(Self {
            rules: rules.collect::<Result<_, _>>()?,
        })
    }
}

impl fmt::Display for Formats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rules: Vec<&str> = self.rules.iter().map(|rule| rule.text.as_str()).collect();
        f.write_str(
            if rules.is_empty() {
                "auto".into()
            } else {
                rules.join(",")
            }
            .as_str(),
        )
    }
}

impl Rule {
    fn parse(text: &str) -> Result<Self, String> {
        let (pass, rest) = match text.split_once(':') {
            None => (None, text),
            Some(("base", rest)) => (Some(Pass::Base), rest),
            Some(("sr", rest)) => (Some(Pass::Sr), rest),
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
            "fp8" => Some(Format::Fp8),
            _ => return Err(format!("must be bf16, fp8 or auto; found `{value}`")),
        };
        let (layers, kind) = parse_place(place)?;
        if (kind, format) == (Some(Kind::Core), Some(Format::Fp8)) {
            let problem = "attention in 8 bits is not there yet; leave attention.core at bf16";
            return Err(problem.into());
        }
        Ok(Self {
            text: text.into(),
            pass,
            layers,
            kind,
            format,
        })
    }

    fn holds(&self, pass: Pass, layer: usize, kind: Kind) -> bool {
        self.pass.is_none_or(|own| own == pass)
            && self.layers.as_ref().is_none_or(|own| own.contains(&layer))
            && self.kind.is_none_or(|own| own == kind)
    }
}

/// `layers.4`, `layers.0-3`, `mlp.down_proj`, `layers.0-3.mlp.down_proj`, or nothing.
fn parse_place(text: &str) -> Result<(Option<RangeInclusive<usize>>, Option<Kind>), String> {
    let kind = |name: &str| {
        let names = Kind::ALL.map(Kind::name).join(", ");
        let problem =
            || format!("must name layers.A, layers.A-B or one of {names}; found `{name}`");
        Kind::named(name).map(Some).ok_or_else(problem)
    };
    if text.is_empty() {
        return Ok((None, None));
    }
    let Some(rest) = text.strip_prefix("layers.") else {
        return Ok((None, kind(text)?));
    };
    let (range, name) = match rest.split_once('.') {
        None => (rest, None),
        Some((range, name)) => (range, kind(name)?),
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

impl Formats {
    /// The layers of the network `variant` whose products are of 8 bits. `stored` are those that its checkpoint has
    /// in 8 bits already.
    ///
    /// # Errors
    /// [`Error::Request`] for rules about layers that the network does not have, and for bf16 products of weights that
    /// are stored in 8 bits.
    pub fn eight_bit(
        &self,
        variant: Variant,
        config: &dit::Config,
        stored: &BTreeSet<String>,
    ) -> Result<BTreeSet<String>> {
        let pass = Pass::of(variant);
        for rule in self
            .rules
            .iter()
            .filter(|rule| rule.pass.is_none_or(|own| own == pass))
        {
            let last = rule.layers.as_ref().map_or(0, |layers| *layers.end());
            if last >= config.num_layers {
                let problem = format!(
                    "rule `{}`: `{}` has layers 0 to {}",
                    rule.text,
                    variant.key(),
                    config.num_layers - 1
                );
                return Err(Error::request("--precision", problem));
            }
        }
        let mut layers = BTreeSet::new();
        for (layer, kind) in (0..config.num_layers).flat_map(|n| Kind::ALL.map(|kind| (n, kind))) {
            if kind == Kind::Core {
                continue;
            }
            let name = format!("block.layers.{layer}.{}", kind.name());
            let is_stored = stored.contains(&name);
            let rule = self
                .rules
                .iter()
                .rfind(|rule| rule.holds(pass, layer, kind));
            match rule.and_then(|rule| Some((rule, rule.format?))) {
                Some((rule, Format::Bf16)) if is_stored => {
                    let problem = format!(
                        "rule `{}`: `{name}` of `{}` is stored in 8 bits; give the model it was packed from",
                        rule.text,
                        variant.key()
                    );
                    return Err(Error::request("--precision", problem));
                }
                Some((_, Format::Fp8)) => drop(layers.insert(name)),
                None if is_stored => drop(layers.insert(name)),
                Some((_, Format::Bf16)) | None => {}
            }
        }
        Ok(layers)
    }
}

/// `plan` with these layers in 8 bits.
pub fn quantized(plan: Plan, layers: &BTreeSet<String>) -> Plan {
    if layers.is_empty() {
        plan
    } else {
        plan.quantized(|name| layers.contains(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(text: &str, variant: Variant) -> Vec<String> {
        let formats: Formats = text.parse().unwrap();
        let config = dit::Config::released(vec![]);
        let all = formats
            .eight_bit(variant, &config, &BTreeSet::new())
            .unwrap();
        all.into_iter().collect()
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
        let formats: Formats = mixed.parse().unwrap();
        assert_eq!(formats.to_string().parse(), Ok(formats));
        assert_eq!(Formats::default().to_string(), "auto");
    }

    #[test]
    fn what_is_stored_decides_where_no_rule_does_and_cannot_be_widened() {
        let stored = BTreeSet::from(["block.layers.1.mlp.down_proj".to_string()]);
        let config = dit::Config::released(vec![]);
        let of = |text: &str| {
            let formats: Formats = text.parse().unwrap();
            formats.eight_bit(Variant::Base, &config, &stored)
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
            let problem = format!("bf16,{rule}").parse::<Formats>().unwrap_err();
            let names = problem.contains(&format!("rule `{rule}`"));
            assert!(names && problem.contains(expected), "{problem}");
        }
    }
}
