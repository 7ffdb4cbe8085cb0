//! Cases of single ops, each as a plan of one step.

use serde::Deserialize;

use super::{GoldenCase, Tensors, case::Given};
use crate::{
    DType::{self, Bf16, F32},
    Result, Tensor,
    executor::{Executor, Prepare},
    model::dit::{self, Coordinates, EPS, Sequence},
    plan::{Attention, Buf, Builder, Dense, Grid, MaskBlock, Norm, Op},
    qualify::{Check, relative_l2},
    sampler::{upsample, zero_snr},
    weights::Weights,
};

/// Single ops of the DiT, and of the sampling around it.
pub(super) fn ops(case: &GoldenCase<'_>, executor: &dyn Executor) -> Result<Vec<Check>> {
    let tensors = case.tensors()?;
    let run = Run {
        case,
        tensors: &tensors,
        executor,
    };
    let mut checks = run.activations()?;
    checks.extend(run.norms()?);
    checks.extend(run.linear()?);
    checks.extend(run.patches()?);
    checks.extend(run.rope()?);
    checks.extend(run.attention()?);
    checks.extend(run.host()?);
    Ok(checks)
}

/// A sequence whose table is stored.
#[derive(Deserialize)]
struct Item {
    name: String,
    #[serde(rename = "latent_T")]
    latent_t: usize,
    #[serde(rename = "latent_H")]
    latent_h: usize,
    #[serde(rename = "latent_W")]
    latent_w: usize,
    audio_tokens: usize,
    text_tokens: usize,
    coords_style: Coordinates,
}

/// Rotation tables and coordinates of several sequences.
pub(super) fn rope(case: &GoldenCase<'_>) -> Result<Vec<Check>> {
    let tensors = case.tensors()?;
    let bands = dit::BANDS.map(f32::from_bits);
    let mut checks = vec![tensors.max_abs("bands", &bands, "bands", 0.0)?];
    for item in case.field::<Vec<Item>>("items")? {
        let (name, style) = (item.name.as_str(), item.coords_style);
        let sequence = Sequence {
            grid: Grid::new(item.latent_t, item.latent_h, item.latent_w),
            audio: item.audio_tokens,
            text: item.text_tokens,
        };
        let table = super::dit::rope(case, sequence, style)?
            .to_f32()
            .into_owned();
        let coordinates: Vec<f32> = sequence.coordinates(style).into_iter().flatten().collect();
        let index = tensors.get(&format!("{name}.index"))?.to_i32();
        let pick = |rows: &[f32], cols: usize| -> Vec<f32> {
            index
                .iter()
                .flat_map(|&i| rows[i as usize * cols..(i as usize + 1) * cols].to_vec())
                .collect()
        };
        checks.push(tensors.max_abs(
            format!("{name}.coords"),
            &pick(&coordinates, 9),
            &format!("{name}.coords"),
            0.0,
        )?);
        let allowed = case.number(&["measured", name, "accept_f32_maxabs"])?;
        checks.push(tensors.max_abs(
            format!("{name}.rope"),
            &pick(&table, 96),
            &format!("{name}.rope.ref64"),
            allowed,
        )?);
    }
    Ok(checks)
}

struct Run<'a, 'b> {
    case: &'a GoldenCase<'b>,
    tensors: &'a Tensors,
    executor: &'a dyn Executor,
}

impl Run<'_, '_> {
    fn activations(&self) -> Result<Vec<Check>> {
        let swiglu = |p: &mut Builder, x: Buf| p.swiglu7("y", x, F32);
        let gelu = |p: &mut Builder, x: Buf| p.map("y", Op::Gelu7, x, F32);
        let limit = |name| self.case.number(&["measured", name, "accept_f32_rel_l2"]);
        let mut checks = vec![
            self.unary("swiglu7", limit("swiglu7")?, swiglu)?,
            self.unary("gelu7", limit("gelu7")?, gelu)?,
            self.unary("swiglu7_edge", limit("swiglu7")?, swiglu)?,
            self.unary("gelu7_edge", limit("gelu7")?, gelu)?,
        ];
        // The case has no f64 result for the bf16 input; our f32 result, judged above, stands in for it.
        let input = [("swiglu7.in_bf16", Bf16)];
        let exact = self.run(&input, vec![], |p, x| p.swiglu7("y", x[0], F32))?;
        let rounded = self.run(&input, vec![], |p, x| p.swiglu7("y", x[0], Bf16))?;
        let theirs = self.tensors.get("swiglu7.out.up_bf16")?.to_f32();
        let allowed = 1.5 * relative_l2(&theirs, &exact);
        checks.push(Check::relative_l2(
            "swiglu7 (bf16)",
            &rounded,
            &exact,
            allowed,
        ));
        Ok(checks)
    }

    fn norms(&self) -> Result<Vec<Check>> {
        let mut checks = Vec::new();
        for name in ["rmsnorm3", "rmsnorm_small"] {
            let input = format!("{name}.in");
            let width = self.tensors.get(&input)?.shape().cols();
            let weight = (
                "y.weight".to_string(),
                self.tensors.get(&format!("{name}.weight"))?.clone(),
            );
            let ends = if name == "rmsnorm3" {
                self.ends("rmsnorm3.modality")?
            } else {
                vec![self.tensors.get(&input)?.shape().rows()]
            };
            let norm = Norm::new(width, EPS, Some(F32), F32);
            let got = self.run(&[(&input, F32)], vec![weight], |p, x| {
                p.rms_norm("y", x[0], &ends, norm)
            })?;
            checks.push(self.against(name, &got, "accept_f32_rel_l2")?);
        }
        Ok(checks)
    }

    fn linear(&self) -> Result<Vec<Check>> {
        let weight = self.tensors.get("linear3.weight")?;
        let ends = self.ends("rmsnorm3.modality")?;
        let dense = Dense::new(weight.shape().rows() / ends.len(), Bf16);
        let given = || vec![("y.weight".to_string(), weight.clone())];
        let run = |out: DType| {
            self.run(&[("linear3.in_bf16", Bf16)], given(), |p, x| {
                p.linear("y", x[0], &ends, Dense { out, ..dense })
            })
        };
        Ok(vec![
            self.tensors.relative_l2(
                "linear3 (f32)",
                &run(F32)?,
                "linear3.out.ref64",
                self.f32_limit()?,
            )?,
            self.against("linear3", &run(Bf16)?, "accept_bf16_rel_l2")?,
        ])
    }

    fn patches(&self) -> Result<Vec<Check>> {
        let shape = self.tensors.get("patchify.in")?.shape().clone();
        let grid = Grid::new(shape[2], shape[3], shape[4]);
        let got = self.execute(
            &[("patchify.in", F32, vec![48, grid.positions()])],
            vec![],
            |p, x| p.patchify("y", x[0], grid),
        )?;
        let tensors = self.tensors;
        let mut checks = vec![tensors.max_abs("patchify", &got, "patchify.out", 0.0)?];
        let rows = self.tensors.get("unpatchify.in")?.shape().rows();
        let got = self.execute(
            &[("unpatchify.in", F32, vec![rows, 192])],
            vec![],
            |p, x| {
                let video = p.rows(x[0], 0..grid.tokens());
                p.unpatchify("y", video, grid)
            },
        )?;
        checks.push(tensors.max_abs("unpatchify", &got, "unpatchify.video", 0.0)?);
        Ok(checks)
    }

    fn rope(&self) -> Result<Vec<Check>> {
        let shape = self.tensors.get("rope_apply.in")?.shape().clone();
        let (rows, heads, head) = (shape[0], shape[1], shape[2]);
        let inputs = [
            ("rope_apply.in", F32, vec![rows, heads * head]),
            ("rope_apply.rope", F32, vec![rows, 96]),
        ];
        let got = self.execute(&inputs, vec![], |p, x| p.rope("y", x[0], x[1], heads, F32))?;
        Ok(vec![self.tensors.relative_l2(
            "rope_apply",
            &got,
            "rope_apply.out.ref64",
            self.f32_limit()?,
        )?])
    }

    fn attention(&self) -> Result<Vec<Check>> {
        let shape = |label: &str| self.tensors.get(label).map(|t| t.shape().clone());
        let (q, k) = (shape("attn.q")?, shape("attn.k")?);
        let (rows, heads, kv_heads, head) = (q[0], q[1], k[1], q[2]);
        let full = vec![MaskBlock::new(0..rows, [0..rows])];
        let mut checks = Vec::new();
        for (name, windows) in [("attn.full", full), ("attn.local", self.windows(rows)?)] {
            for (path, out) in [("f32", F32), ("bf16", Bf16)] {
                let inputs = [
                    ("attn.q", Bf16, vec![rows, heads * head]),
                    ("attn.k", Bf16, vec![rows, kv_heads * head]),
                    ("attn.v", Bf16, vec![rows, kv_heads * head]),
                ];
                let op = Attention {
                    heads,
                    kv_heads,
                    scale: 1.0 / (head as f32).sqrt(),
                    softcap: None,
                    windows: windows.clone(),
                };
                let got = self.execute(&inputs, vec![], |p, x| {
                    p.attention("y", [x[0], x[1], x[2]], op, out)
                })?;
                let allowed = if out == F32 {
                    self.f32_limit()?
                } else {
                    self.case
                        .number(&["measured", name, "accept_bf16_rel_l2"])?
                };
                checks.push(self.tensors.relative_l2(
                    format!("{name} ({path})"),
                    &got,
                    &format!("{name}.ref64"),
                    allowed,
                )?);
            }
        }
        Ok(checks)
    }

    /// Steps of the sampling on the host.
    fn host(&self) -> Result<Vec<Check>> {
        let mut checks = Vec::new();
        for name in ["trilinear0", "trilinear1"] {
            let from = self.tensors.get(&format!("{name}.in"))?;
            let want = self.tensors.get(&format!("{name}.out.ref64"))?;
            let size = |t: &Tensor| (t.shape()[3], t.shape()[4]);
            let got = upsample(&from.to_f32(), size(from), size(want));
            checks.push(self.against(name, &got, "accept_f32_rel_l2")?);
        }
        // The reference computed its table in f32: entries are within one unit in the last place of 1.
        let want = self.tensors.get("zerosnr.signal_table")?.to_f32();
        checks.push(Check::max_abs(
            "zerosnr.signal_table",
            &zero_snr::signal_table(),
            &want,
            f64::from(f32::EPSILON),
        ));
        let level = zero_snr::DEFAULT_NOISE_VALUE;
        checks.push(Check::max_abs(
            "zerosnr level used",
            &[zero_snr::signal_table()[level]],
            &[want[level]],
            0.0,
        ));
        Ok(checks)
    }

    /// The index's limit for f32 ops, for ops without their own.
    fn f32_limit(&self) -> Result<f64> {
        self.case
            .number(&["measured", "gelu7", "accept_f32_rel_l2"])
    }

    /// Mask blocks from the case's rectangles of queries and keys.
    fn windows(&self, rows: usize) -> Result<Vec<MaskBlock>> {
        let pairs = |label: &str| self.tensors.get(label).map(Tensor::to_i32);
        let (queries, keys) = (pairs("attn.q_ranges")?, pairs("attn.k_ranges")?);
        let pairs = || {
            queries
                .as_chunks::<2>()
                .0
                .iter()
                .zip(keys.as_chunks::<2>().0)
        };
        let seen = |row: usize| {
            let its = pairs().filter(move |(q, _)| (q[0]..q[1]).contains(&(row as i32)));
            let mut keys: Vec<_> = its.map(|(_, k)| k[0] as usize..k[1] as usize).collect();
            keys.sort_by_key(|range| range.start);
            MaskBlock {
                queries: row..row + 1,
                keys,
            }
        };
        Ok((0..rows).map(seen).collect())
    }

    /// Group offsets: where the rows of each modality end.
    fn ends(&self, label: &str) -> Result<Vec<usize>> {
        let modality = self.tensors.get(label)?.to_i32();
        Ok((0..3)
            .map(|m| modality.partition_point(|&row| row <= m))
            .collect())
    }

    fn unary(
        &self,
        name: &str,
        allowed: f64,
        op: impl FnOnce(&mut Builder, Buf) -> Buf,
    ) -> Result<Check> {
        let got = self.run(&[(&format!("{name}.in"), F32)], vec![], |p, x| op(p, x[0]))?;
        let label = format!("{name}.out.ref64");
        self.tensors.relative_l2(name, &got, &label, allowed)
    }

    fn against(&self, name: &str, got: &[f32], limit: &str) -> Result<Check> {
        let allowed = self.case.number(&["measured", name, limit])?;
        let label = format!("{name}.out.ref64");
        self.tensors.relative_l2(name, got, &label, allowed)
    }

    fn run(
        &self,
        inputs: &[(&str, DType)],
        weights: Vec<(String, Tensor)>,
        op: impl FnOnce(&mut Builder, &[Buf]) -> Buf,
    ) -> Result<Vec<f32>> {
        let shaped: Result<Vec<_>> = inputs
            .iter()
            .map(|&(label, dtype)| {
                Ok((
                    label,
                    dtype,
                    self.tensors.get(label)?.shape().extents().to_vec(),
                ))
            })
            .collect();
        self.execute(&shaped?, weights, op)
    }

    fn execute(
        &self,
        inputs: &[(&str, DType, Vec<usize>)],
        weights: Vec<(String, Tensor)>,
        op: impl FnOnce(&mut Builder, &[Buf]) -> Buf,
    ) -> Result<Vec<f32>> {
        let mut p = Builder::new();
        let bufs: Vec<Buf> = inputs
            .iter()
            .map(|(label, dtype, shape)| p.input(label, shape.as_slice(), *dtype))
            .collect();
        let y = op(&mut p, &bufs);
        p.output(y);
        let weights = Weights::new(Box::new(Given {
            tensors: weights,
            rest: None,
        }));
        let mut program =
            self.executor
                .load_and_prepare(&p.finish(), &weights, &Prepare::default())?;
        for (buf, (label, ..)) in bufs.iter().zip(inputs) {
            program.write(*buf, self.tensors.get(label)?)?;
        }
        program.run()?;
        Ok(program.read(y)?.to_f32().into_owned())
    }
}
