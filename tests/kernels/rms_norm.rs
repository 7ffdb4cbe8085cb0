//! `kernels/common/rms_norm.cu`: both types of x, rows and heads, groups of rows, widths on both sides of every edge.

use gallop::{
    DType,
    plan::{Builder, Norm},
};

use crate::{
    SEEDS,
    emulate::{Arg, Emulator, Launch, Memory, Run, each_run},
    random::Random,
    run::random_tensors,
    tolerance::{Expected, expected},
};

const THREADS: usize = 256;
const EPS: f32 = 1e-6;
/// Elements between the rows of x.
const GAP: usize = 8;

pub(crate) struct Case {
    pub(crate) x: DType,
    pub(crate) rows: usize,
    /// Times that a row is cut.
    pub(crate) runs: usize,
    pub(crate) cols: usize,
    pub(crate) ends: &'static [usize],
}

impl Case {
    fn kernel(&self) -> (&'static str, usize) {
        let all = self.rows * self.runs;
        match (self.runs > 1, self.x) {
            (false, DType::F32) => ("rms_norm_rows_f32", all),
            (false, _) => ("rms_norm_rows_bf16", all),
            (true, DType::F32) => ("rms_norm_heads_f32", all.div_ceil(THREADS / 32)),
            (true, _) => ("rms_norm_heads_bf16", all.div_ceil(THREADS / 32)),
        }
    }

    /// The op's plan and operands, and what it should give.
    pub(crate) fn prepare(&self) -> Prepared<'_> {
        let width = self.runs * self.cols;
        let mut p = Builder::new();
        // Rows lie further apart than they are long.
        let whole = p.input("x", [self.rows, width + GAP], self.x);
        let x = p.cols(whole, 0..width);
        let norm = Norm {
            width: self.cols,
            eps: EPS,
            weight: Some(DType::F32),
            out: DType::Bf16,
        };
        let y = p.rms_norm("norm", x, self.ends, norm);
        p.output(y);
        let plan = p.finish();
        let tensors = random_tensors(&plan, &mut Random::new(self.cols as u64));
        let ends: Vec<i32> = self.ends.iter().map(|&end| end as i32).collect();
        Prepared {
            case: self,
            expected: expected(&plan, y, &tensors),
            x: Memory::of(&tensors["x"]),
            w: Memory::of(&tensors["norm.weight"]),
            ends: Memory::of_ints(&ends),
        }
    }
}

/// A case with its operands in memory.
pub(crate) struct Prepared<'a> {
    case: &'a Case,
    expected: Expected,
    x: Memory,
    w: Memory,
    ends: Memory,
}

impl Prepared<'_> {
    /// Whether `emulator` computes the op.
    pub(crate) fn check(&self, emulator: &Emulator, run: Run) -> Result<(), String> {
        let case = self.case;
        let width = case.runs * case.cols;
        let y = Memory::poisoned(case.rows * width * 2);
        let mut args = vec![
            Arg::Pointer(y.address()),
            Arg::Pointer(self.x.address()),
            Arg::Pointer(self.w.address()),
            Arg::Pointer(self.ends.address()),
        ];
        args.extend([case.rows, case.runs, case.cols, width + GAP, width].map(Arg::int));
        args.push(Arg::Float(EPS));
        let (kernel, grid) = case.kernel();
        emulator.launch(kernel, &Launch::new(grid, 256), run, &args)?;
        self.expected
            .check(&y.tensor([case.rows, width], DType::Bf16)?)
    }
}

#[track_caller]
fn check(case: &Case) {
    let prepared = case.prepare();
    each_run(SEEDS, |run| prepared.check(Emulator::load(), run));
}

#[test]
fn rms_norm_of_rows() {
    for x in [DType::Bf16, DType::F32] {
        for cols in [8, 256, 2040, 2048, 2056, 5120, 6144] {
            check(&Case {
                x,
                rows: 5,
                runs: 1,
                cols,
                ends: &[2, 2, 5],
            });
        }
    }
}

#[test]
fn rms_norm_of_heads() {
    for x in [DType::Bf16, DType::F32] {
        for (runs, cols) in [(5, 128), (3, 256), (2, 264), (9, 768)] {
            check(&Case {
                x,
                rows: 7,
                runs,
                cols,
                ends: &[3, 7],
            });
        }
    }
}
