//! Mutation tests of the row kernels: the cases must find every mistake.

use gallop::{
    plan::Op,
    qualify::cases::{RowOp, TESTS},
};

use crate::{
    emulate::{Edit, Emulator, runs},
    rows::{SEEDS, Trial, truth::inputs},
};

/// Whether some case of the `chosen` ops fails with the kernels of `source` after the edit.
#[track_caller]
fn is_found(source: &str, edit: Edit, chosen: impl Fn(RowOp) -> bool) {
    let emulator = Emulator::load_edited(source, &[edit]);
    let mut cases = TESTS.iter().filter(|case| chosen(case.op));
    let found = cases.any(|case| {
        let (plan, outputs) = case.plan();
        let tensors = inputs(case, &plan, 1);
        let trial = Trial::new(case, &plan, &outputs, &tensors);
        runs(SEEDS)
            .iter()
            .any(|&run| trial.check(emulator, run).is_err())
    });
    assert!(found, "nothing fails with {edit:?}");
}

#[test]
fn a_store_beyond_the_columns_is_found() {
    let edit = Edit {
        file: "common.cuh",
        find: "if (i < count) store_one(",
        replace: "store_one(",
    };
    is_found("copy.cu", edit, |op| matches!(op, RowOp::Copy(..)));
}

#[test]
fn a_rotation_the_wrong_way_round_is_found() {
    let edit = Edit {
        file: "norm_rope.cu",
        find: "x * cosine.v[k] - y * sine.v[k]",
        replace: "x * cosine.v[k] + y * sine.v[k]",
    };
    is_found("norm_rope.cu", edit, |op| op == RowOp::NormRope);
}

#[test]
fn weights_of_another_group_are_found() {
    let edit = Edit {
        file: "common.cuh",
        find: "while (row >= ends[group]) ++group;",
        replace: "(void)ends, (void)row;",
    };
    is_found("norm_rope.cu", edit, |op| op == RowOp::NormRope);
    is_found("add_rms_norm.cu", edit, |op| {
        matches!(op, RowOp::AddRmsNorm(_))
    });
    let edit = Edit {
        file: "linear_f32.cu",
        find: "w += (int64_t{rows.group} * n + col)",
        replace: "w += (int64_t{0} * n + col)",
    };
    is_found("linear_f32.cu", edit, |op| {
        matches!(op, RowOp::Linear { .. })
    });
}

#[test]
fn half_of_the_last_pairs_left_out_is_found() {
    let edit = Edit {
        file: "activation.cuh",
        find: "at.count > Vec8::SIZE / 2",
        replace: "at.count == Vec8::SIZE",
    };
    is_found("activation.cu", edit, |op| op == RowOp::SwiGlu7);
}

#[test]
fn maps_that_cancel_near_zero_or_overflow_far_away_are_found() {
    for replace in [
        "(u + 1.0f) * sigmoid(u) - sigmoid(u)",
        "u * fast_exp2(1.44269504f * u) * sigmoid(-u)",
    ] {
        let edit = Edit {
            file: "activation.cu",
            find: "u * sigmoid(u)",
            replace,
        };
        is_found("activation.cu", edit, |op| op == RowOp::Map(&Op::Silu));
    }
}

#[test]
fn history_that_was_never_written_and_is_read_is_found() {
    let edit = Edit {
        file: "combine.cu",
        find: "if (factor == 0.0f) continue;",
        replace: "",
    };
    is_found("combine.cu", edit, |op| matches!(op, RowOp::Combine { .. }));
}

#[test]
fn missing_barriers_are_found() {
    let edit = Edit {
        file: "linear_f32.cu",
        find: "__syncthreads();",
        replace: "",
    };
    is_found("linear_f32.cu", edit, |op| {
        matches!(op, RowOp::Linear { .. })
    });
    let edit = Edit {
        file: "common.cuh",
        ..edit
    };
    is_found("add_rms_norm.cu", edit, |op| {
        matches!(op, RowOp::AddRmsNorm(_))
    });
}

#[test]
fn mistakes_around_products_in_parts_are_found() {
    for (find, replace) in [
        ("fence_proxy_async();", ""),
        ("wgmma_fence();", ""),
        ("wgmma_wait<0>();", ""),
        ("s.w[stage ^ 1], w_next", "s.w[stage], w_next"),
        ("row / 4 % 2;", "0;"),
        ("part, i);", "part, 1);"),
        // Each of the smaller products left out.
        ("{{2, 0},", "{{2, 2},"),
        ("{1, 1},", "{2, 2},"),
        ("{0, 2},", "{2, 2},"),
    ] {
        let edit = Edit {
            file: "linear_f32.cu",
            find,
            replace,
        };
        is_found("linear_f32.cu", edit, |op| {
            matches!(op, RowOp::Linear { .. })
        });
    }
}

#[test]
fn patches_in_the_other_order_are_found() {
    let edit = Edit {
        file: "patch.cu",
        find: "&tile[lane][2 * dy * channels + channel]",
        replace: "&tile[lane][4 * channel + 2 * dy]",
    };
    is_found("patch.cu", edit, |op| matches!(op, RowOp::Unpatchify(_)));
}
