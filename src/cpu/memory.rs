//! Checks that a plan fits into memory, before anything is allocated.

use std::{fs, path::Path};

use rustix::process::{Resource, getrlimit};

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
    match available() {
        Some((have, limit)) if need > have => Err(Error::Memory {
            need_bytes: need,
            have_bytes: have,
            for_what: format!("activations on the CPU{limit}"),
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

/// Bytes of memory that this process may still take, and what limits them, to follow what they are for: nothing if
/// that is the machine's memory. `None` if the system tells nothing.
pub(crate) fn available() -> Option<(u64, &'static str)> {
    let left = |limit, taken| {
        let taken = bytes_of("/proc/self/status", taken)?;
        Some(getrlimit(limit).current?.saturating_sub(taken))
    };
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let all = [
        (bytes_of("/proc/meminfo", "MemAvailable:"), ""),
        (left(Resource::As, "VmSize:"), " (`ulimit -v` limits it)"),
        (left(Resource::Data, "VmData:"), " (`ulimit -d` limits it)"),
        (
            left_in_groups(Path::new("/sys/fs/cgroup"), &groups),
            " (this container or control group limits it)",
        ),
    ];
    let told = all.into_iter().filter_map(|(bytes, by)| Some((bytes?, by)));
    told.min_by_key(|(bytes, _)| *bytes)
}

/// Bytes of a line `NAME  NUMBER kB` of a system file.
pub(crate) fn bytes_of(file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Bytes left in the control groups that `groups`, a `/proc/PID/cgroup`, names, and in those around them; `root` is
/// where they are mounted, of both versions.
fn left_in_groups(root: &Path, groups: &str) -> Option<u64> {
    let mine = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, of, path) = (parts.next()?, parts.next()?, parts.next()?);
        let mounted = match of {
            "" if root.join("cgroup.controllers").is_file() => root.to_path_buf(),
            "" => root.join("unified"),
            of if of.split(',').any(|of| of == "memory") => root.join("memory"),
            _ => return None,
        };
        Some((mounted, path))
    });
    let all = mine.flat_map(|(mounted, path)| {
        let around = Path::new(path).ancestors();
        let folders = around.map(|at| mounted.join(at.strip_prefix("/").unwrap_or(at)));
        folders
            .filter_map(|folder| left_in_group(&folder))
            .collect::<Vec<_>>()
    });
    all.min()
}

/// Bytes left in one control group: its limit less what is in use and no cached file.
fn left_in_group(folder: &Path) -> Option<u64> {
    let read = |name| fs::read_to_string(folder.join(name)).ok();
    let number = |name| read(name)?.trim().parse::<u64>().ok();
    let limit = number("memory.max").or_else(|| number("memory.limit_in_bytes"))?;
    let used = number("memory.current").or_else(|| number("memory.usage_in_bytes"))?;
    let statistics = read("memory.stat").unwrap_or_default();
    let names = [
        "total_active_file ",
        "total_inactive_file ",
        "active_file ",
        "inactive_file ",
    ];
    let found = names.iter().filter_map(|name| {
        let line = statistics.lines().find_map(|line| line.strip_prefix(name));
        line?.parse::<u64>().ok()
    });
    // The first version counts the groups inside under other names, and both kinds stand in its file.
    let cached = found.take(2).fold(0, u64::saturating_add);
    Some(limit.saturating_sub(used.saturating_sub(cached)))
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
    fn the_tightest_group_says_what_is_left() {
        let root = std::env::temp_dir().join(format!("gallop-groups-{}", std::process::id()));
        let write = |name: &str, text: &str| {
            let path = root.join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("temporary folder");
            fs::write(path, text).expect("temporary file");
        };
        let groups = "4:cpu:/a\n3:pids,memory:/a/b\n0::/c/d\n";
        assert_eq!(left_in_groups(&root, groups), None);
        write("memory/a/b/memory.limit_in_bytes", "9223372036854771712\n");
        write("memory/a/b/memory.usage_in_bytes", "5000\n");
        write("memory/a/memory.limit_in_bytes", "9000\n");
        write("memory/a/memory.usage_in_bytes", "6000\n");
        let statistics = "active_file 1\ntotal_inactive_file 700\ntotal_active_file 300\n";
        write("memory/a/memory.stat", statistics);
        assert_eq!(left_in_groups(&root, groups), Some(4000));
        write("cgroup.controllers", "memory\n");
        write("c/d/memory.max", "max\n");
        write("c/d/memory.current", "10\n");
        write("c/memory.max", "3000\n");
        write("c/memory.current", "2000\n");
        write(
            "c/memory.stat",
            "file 900\ninactive_file 400\nactive_file 100\n",
        );
        assert_eq!(left_in_groups(&root, groups), Some(1500));
        write("c/memory.current", "9000\n");
        assert_eq!(left_in_groups(&root, groups), Some(0));
        fs::remove_dir_all(root).expect("temporary folder");
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
