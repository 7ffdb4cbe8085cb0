//! Clusters: loads into two blocks at once, and signals from block to block.

use gallop::Tensor;

use crate::{
    SEEDS,
    emulate::{Arg, Emulator, Launch, MapType, Memory, Run, Swizzle, each_run},
};

const COLS: usize = 256;
const ROUNDS: usize = 10;

/// Runs the kernel on x [rounds, 256] with `emulator` and compares.
pub(crate) fn check(emulator: &Emulator, run: Run) -> Result<(), String> {
    let values: Vec<f32> = (0..ROUNDS * COLS).map(|i| (i * 37 % 101) as f32).collect();
    let x = Memory::of(&Tensor::from_f32([ROUNDS, COLS], &values));
    let y = Memory::poisoned(2 * COLS * 4);
    let dims = [COLS as u64, ROUNDS as u64];
    let map = emulator.tensor_map(
        (MapType::F32, x.address()),
        &dims,
        &[COLS as u64 * 4],
        &[128, 1],
        Swizzle::None,
    )?;
    let launch = Launch {
        cluster: 2,
        ..Launch::new(2, 160)
    };
    let args = [Arg::Pointer(y.address()), Arg::Map(map), Arg::int(ROUNDS)];
    emulator.launch("multicast", &launch, run, &args)?;
    let sum = |col: usize| values.iter().skip(col).step_by(COLS).sum::<f32>();
    for (i, &got) in y.floats()?.iter().enumerate() {
        let want = (i / COLS + 1) as f32 * sum(i % COLS);
        if got != want {
            return Err(format!(
                "block {}, column {}: {got}, expected {want}",
                i / COLS,
                i % COLS
            ));
        }
    }
    Ok(())
}

#[test]
fn blocks_of_a_cluster_share_their_loads() {
    each_run(SEEDS, |run| check(Emulator::load(), run));
}
