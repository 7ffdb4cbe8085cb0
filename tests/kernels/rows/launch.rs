//! Which kernel computes a case, on which grid, with which arguments: what the head of each kernel file says, as code.

use gallop::{
    plan::{Buf, Grid, Op, Plan},
    qualify::cases::{EMBED_SCALE, EPS, RowCase, RowOp},
};

use super::arena::Arena;
use crate::emulate::{Arg, Emulator, Launch, Run};

/// `THREADS` of all row kernels but `linear_f32`.
const THREADS: usize = 256;
/// `THREADS`, `TILE_M` and `TILE_N` of `linear_f32`.
const LINEAR_THREADS: usize = 256;
const TILE: [usize; 2] = [128, 64];
/// `HEADS_PER_BLOCK` of `norm_rope`.
const HEADS_PER_BLOCK: usize = 32;
/// `TOKENS` of `patch`.
const PATCH_TOKENS: usize = 32;
/// `INPUTS` of `combine`.
const INPUTS: usize = 5;

/// Computes `case` in `arena`.
pub(crate) fn launch(
    emulator: &Emulator,
    case: &RowCase,
    plan: &Plan,
    arena: &Arena<'_>,
    run: Run,
) -> Result<(), String> {
    let (kernel, [x, y], args) = call(case, plan, arena);
    let threads = if kernel == "linear_f32" {
        LINEAR_THREADS
    } else {
        THREADS
    };
    let sizes = Launch {
        grid: [x as u32, y as u32, 1],
        ..Launch::new(x, threads as u32)
    };
    emulator.launch(&kernel, &sizes, run, &args.list)
}

/// The kernel's name, blocks along x and y, and arguments.
fn call<'a>(case: &RowCase, plan: &Plan, arena: &'a Arena<'a>) -> (String, [usize; 2], Args<'a>) {
    let (rows, cols) = (case.rows(), case.cols);
    let first = &plan.steps()[0].reads[..];
    let y = plan.steps()[plan.steps().len() - 1].writes;
    let args = Args {
        arena,
        list: Vec::new(),
    };
    match case.op {
        RowOp::RmsNorm { x, y: out, width } => {
            let runs = cols / width;
            let (shape, blocks) = match runs {
                1 => ("rows", rows),
                _ => ("heads", (rows * runs).div_ceil(THREADS / 32)),
            };
            let args = args
                .at(&[y, first[0], first[1]])
                .ends()
                .sizes(&[rows, runs, width]);
            let args = args.pitches(&[first[0], y]).float(EPS);
            (format!("rms_norm_{shape}_{x}_{out}"), [blocks, 1], args)
        }
        RowOp::NormRope => {
            let (heads, table) = (cols / 128, plan.steps()[1].reads[1]);
            let args = args
                .at(&[y, first[0], first[1], table])
                .ends()
                .sizes(&[rows, heads]);
            let args = args.pitches(&[first[0], y]).float(EPS);
            let blocks = (rows * heads).div_ceil(HEADS_PER_BLOCK);
            ("norm_rope_bf16".into(), [blocks, 1], args)
        }
        RowOp::AddRmsNorm(z) => {
            let [sum, w] = [plan.steps()[0].writes, plan.steps()[1].reads[1]];
            let args = args.at(&[y, sum, first[0], first[1], w]).ends();
            let args = args.sizes(&[cols, arena.pitch(y)]).float(EPS);
            (format!("add_rms_norm_{z}"), [rows, 1], args)
        }
        RowOp::Linear { k, .. } => {
            let tiles = case.ends.iter().scan(0, |start, &end| {
                let rows = end - *start;
                *start = end;
                Some(rows.div_ceil(TILE[0]))
            });
            let grid = [cols.div_ceil(TILE[1]), tiles.sum()];
            let args = args
                .at(&[y, first[0], first[1]])
                .optional(first.get(2))
                .ends();
            let args = args.sizes(&[cols, k]).pitches(&[first[0], first[1], y]);
            ("linear_f32".into(), grid, args)
        }
        RowOp::Combine { groups, .. } => {
            let share = rows / groups;
            let inputs = (0..INPUTS).map(|i| first.get(1 + i));
            let args = inputs.fold(args.at(&[y, first[0]]), Args::optional);
            let args = args.sizes(&[share, cols, arena.pitch(y)]);
            ("combine_f32".into(), [blocks(share, cols), groups], args)
        }
        RowOp::Patchify(grid) => patch("patchify_f32", cols / 4, grid, args, [y, first[0]]),
        RowOp::Unpatchify(grid) => patch("unpatchify_f32", rows, grid, args, [y, first[0]]),
        _ => {
            let (kernel, args) = elements(case, args, y, first);
            (kernel, [blocks(rows, cols), 1], args)
        }
    }
}

/// Kernels that treat every element, or every head, alone.
fn elements<'a>(case: &RowCase, args: Args<'a>, y: Buf, reads: &[Buf]) -> (String, Args<'a>) {
    let size = [case.rows(), case.cols];
    let one = |args: Args<'a>| args.at(&[y, reads[0]]).sizes(&size).pitches(&[reads[0], y]);
    let two = |args: Args<'a>| {
        let args = args.at(&[y, reads[0], reads[1]]).sizes(&size);
        args.pitches(&[reads[0], reads[1], y])
    };
    match case.op {
        RowOp::Rope { x, head, half } => {
            let args =
                args.at(&[y, reads[0], reads[1]])
                    .sizes(&[size[0], size[1] / head, head, half]);
            (format!("rope_{x}"), args.pitches(&[reads[0], y, reads[1]]))
        }
        RowOp::SigmoidGate { head } => {
            let args = args
                .at(&[y, reads[0], reads[1]])
                .sizes(&[size[0], size[1], head]);
            (
                "sigmoid_gate_bf16".into(),
                args.pitches(&[reads[0], reads[1], y]),
            )
        }
        RowOp::SwiGlu7 => ("swiglu7_bf16".into(), one(args)),
        RowOp::Map(&Op::Clamp { low, high }) => {
            ("clamp_bf16".into(), one(args).float(low).float(high))
        }
        RowOp::Map(op) => (format!("{}_bf16", op.name()), one(args)),
        RowOp::Copy(x, y) => (format!("copy_{x}_{y}"), one(args)),
        RowOp::Mul => ("mul_bf16".into(), two(args)),
        RowOp::Add(x, z) => (format!("add_{x}_{z}"), two(args)),
        RowOp::Embed { y: out, .. } => {
            let args = args.at(&[y, reads[0], reads[1]]).sizes(&size);
            (
                format!("embed_{out}"),
                args.pitches(&[reads[1], y]).float(EMBED_SCALE),
            )
        }
        other => panic!("{other:?} is not of single elements"),
    }
}

fn patch<'a>(
    kernel: &str,
    channels: usize,
    grid: Grid,
    args: Args<'a>,
    [y, x]: [Buf; 2],
) -> (String, [usize; 2], Args<'a>) {
    let sizes = [channels, grid.frames, grid.height, grid.width];
    let args = args.at(&[y, x]).sizes(&sizes).pitches(&[x, y]);
    (
        kernel.into(),
        [grid.tokens().div_ceil(PATCH_TOKENS), 1],
        args,
    )
}

/// Blocks of threads with eight columns each.
fn blocks(rows: usize, cols: usize) -> usize {
    (rows * cols.div_ceil(8)).div_ceil(THREADS)
}

/// A kernel's arguments, in its order.
struct Args<'a> {
    arena: &'a Arena<'a>,
    list: Vec<Arg>,
}

impl Args<'_> {
    fn at(mut self, buffers: &[Buf]) -> Self {
        self.list
            .extend(buffers.iter().map(|&buf| self.arena.at(buf)));
        self
    }

    /// A buffer, or null.
    fn optional(mut self, buffer: Option<&Buf>) -> Self {
        let address = buffer.map_or(Arg::Pointer(0), |&buf| self.arena.at(buf));
        self.list.push(address);
        self
    }

    fn ends(mut self) -> Self {
        self.list.push(self.arena.ends());
        self
    }

    fn sizes(mut self, sizes: &[usize]) -> Self {
        self.list.extend(sizes.iter().map(|&size| Arg::int(size)));
        self
    }

    fn pitches(mut self, buffers: &[Buf]) -> Self {
        let pitches = buffers.iter().map(|&buf| Arg::int(self.arena.pitch(buf)));
        self.list.extend(pitches);
        self
    }

    fn float(mut self, value: f32) -> Self {
        self.list.push(Arg::Float(value));
        self
    }
}
