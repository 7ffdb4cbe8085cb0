//! Checks that a plan fits into memory, before anything is allocated.

use crate::{
    Error, Result,
    error::Hint,
    executor::Needs,
    plan::{Plan, Role},
};

/// Refuses a plan whose values exceed the free memory. Where the system does not tell how much is free, nothing is
/// refused. Weights count nothing: their files are mapped.
///
/// # Errors
/// [`Error::Memory`].
pub(super) fn check(plan: &Plan) -> Result<Needs> {
    let need = peak_bytes(plan);
    match available_bytes() {
        Some(have) if need > have => Err(Error::Memory {
            need_bytes: need,
            have_bytes: have,
            for_what: "activations on the CPU".into(),
            hint: Some(Hint::SMALLER_CLIP),
        }),
        _ => Ok(Needs {
            values: need,
            ..Needs::default()
        }),
    }
}

/// Peak bytes of values: all buffers that outlive a run, those between first and last use, and the result of the
/// current step twice, once as tiles and once whole.
fn peak_bytes(plan: &Plan) -> u64 {
    let bytes = |index: usize| plan.buffers()[index].shape.count() as u64 * 4;
    let last_uses = plan.last_uses();
    let kept: u64 = (0..plan.buffers().len())
        .filter(|&i| plan.buffers()[i].part.is_none() && last_uses[i].is_none())
        .filter(|&i| plan.buffers()[i].role != Role::Weight)
        .map(bytes)
        .sum();
    let (mut alive, mut peak) = (vec![false; plan.buffers().len()], 0);
    let mut live = kept;
    for (index, step) in plan.steps().iter().enumerate() {
        let root = plan.root(step.writes).index();
        if last_uses[root].is_some() && !alive[root] {
            alive[root] = true;
            live += bytes(root);
        }
        peak = peak.max(live + bytes(step.writes.index()));
        for &buf in step.reads.iter().chain([&step.writes]) {
            let root = plan.root(buf).index();
            if last_uses[root] == Some(index) && alive[root] {
                alive[root] = false;
                live -= bytes(root);
            }
        }
    }
    peak
}

/// Memory that is available without swapping, if the system tells.
pub(crate) fn available_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        DType::F32,
        plan::{Builder, Op},
    };

    #[test]
    fn a_chain_holds_two_buffers_and_the_tiles_of_one() {
        let mut p = Builder::new();
        let x = p.input("x", [1000], F32);
        let mut y = p.map("y0", Op::Silu, x, F32);
        for i in 1..4 {
            y = p.map(&format!("y{i}"), Op::Silu, y, F32);
        }
        p.output(y);
        // The input, the last output, and while y2 is made y1, y2 and its tiles.
        assert_eq!(peak_bytes(&p.finish()), 4 * 1000 * 5);
    }

    #[test]
    fn what_cannot_fit_is_refused_with_numbers() {
        let mut p = Builder::new();
        let x = p.input("x", [1 << 40], F32);
        let y = p.map("y", Op::Silu, x, F32);
        p.output(y);
        let error = check(&p.finish()).expect_err("sixteen TiB");
        assert_eq!(error.exit_code(), 5);
        assert!(error.to_string().contains("GiB"), "{error}");
    }
}
