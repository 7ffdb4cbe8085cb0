//! Times of a program by op and kernel, with the least time that a GPU's peak rates allow.

use std::time::Duration;

use super::estimate::GpuSpec;
use crate::{executor::UnitReport, plan::Cost};

/// All units of the same ops by the same kernels.
#[derive(Clone, Debug)]
pub struct ProfileRow {
    /// The ops.
    pub op: String,
    /// The kernels; none on the CPU.
    pub kernels: String,
    /// Number of units that ran.
    pub calls: usize,
    /// Their total time.
    pub time: Duration,
    /// Their total work.
    pub cost: Cost,
    /// The least seconds that the GPU's peak rates allow for it.
    pub floor: Option<f64>,
}

/// The rows of `units`, each unit with its number of runs and their time; the longest first.
pub fn rows<'a>(
    units: impl Iterator<Item = (&'a UnitReport, usize, Duration)>,
    gpu: Option<&GpuSpec>,
) -> Vec<ProfileRow> {
    let mut rows: Vec<ProfileRow> = Vec::new();
    for (unit, calls, time) in units {
        let kernels = unit.kernels.join("+");
        let floor = gpu.map(|gpu| calls as f64 * gpu.floor(&unit.cost, &kernels));
        let is_same = |row: &&mut ProfileRow| row.op == unit.op && row.kernels == kernels;
        let all = std::iter::repeat_n(unit.cost, calls);
        match rows.iter_mut().find(is_same) {
            Some(row) => {
                row.calls += calls;
                row.time += time;
                row.cost = [row.cost].into_iter().chain(all).sum();
                row.floor = row.floor.zip(floor).map(|(a, b)| a + b);
            }
            None => rows.push(ProfileRow {
                op: unit.op.clone(),
                cost: all.sum(),
                kernels,
                calls,
                time,
                floor,
            }),
        }
    }
    rows.sort_by_key(|row| std::cmp::Reverse(row.time));
    rows
}
