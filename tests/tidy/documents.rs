//! Rules for what is not Rust: the top level, `Cargo.toml`, `PERF.md`, the README's commands, the scripts in `findings`.

use std::{collections::BTreeSet, fs, path::Path};

use crate::source::Finding;

/// The top level, complete.
const TOP_LEVEL: [&str; 11] = [
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "PERF.md",
    "README.md",
    "benches",
    "build.rs",
    "kernels",
    "src",
    "tests",
    "tools",
];
/// Scripts that show how tools of others behave, each for itself; there may be none.
pub(crate) const FINDINGS: &str = "findings";
const PROJECT: &str = "gallop";
const PERF_PARTS: [&str; 4] = ["Standing", "Kernels", "Queue", "Log"];
/// What may stand behind a README command that an ordinary machine cannot run.
const MARKS: [&str; 2] = ["# needs a GPU", "# needs weights"];

/// Names at the top of `root`; what is hidden or ignored by git is not looked at.
pub(crate) fn top_level(root: &Path) -> BTreeSet<String> {
    let ignored = fs::read_to_string(root.join(".gitignore")).unwrap_or_default();
    let is_ignored = |name: &str| {
        ignored.lines().any(|line| match line.strip_prefix('*') {
            Some(ending) => name.ends_with(ending),
            None => line.trim_matches('/') == name,
        })
    };
    let entries = fs::read_dir(root).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    names
        .filter(|name| !name.starts_with('.') && !is_ignored(name))
        .collect()
}

pub(crate) fn check_top_level(names: &BTreeSet<String>) -> Vec<Finding> {
    let allowed: BTreeSet<String> = TOP_LEVEL.iter().map(|&name| name.into()).collect();
    let more = names
        .difference(&allowed)
        .filter(|&name| name != FINDINGS)
        .map(|name| (name, "does not belong at the top level"));
    let less = allowed.difference(names).map(|name| (name, "is missing"));
    more.chain(less)
        .map(|(name, what)| Finding::new(name, 0, format!("top level: `{name}` {what}")))
        .collect()
}

/// A script in `findings` can be handed to anybody: it can be run (`runs`), it works in a folder of its own, and it
/// is not about this project.
pub(crate) fn check_finding_script(file: &str, text: &str, runs: bool) -> Vec<Finding> {
    let mut found = Vec::new();
    if !runs {
        found.push(Finding::new(file, 1, "findings: may be run: chmod +x"));
    }
    let code = |line: &str| !line.trim_start().starts_with('#') && line.contains("mktemp -d");
    if !text.lines().any(code) {
        let rule = "findings: works in a folder from `mktemp -d`";
        found.push(Finding::new(file, 1, rule));
    }
    for (index, line) in text.lines().enumerate() {
        if line.to_lowercase().contains(PROJECT) {
            let rule = format!("findings: stands for itself, without `{PROJECT}`");
            found.push(Finding::new(file, index + 1, rule));
        }
    }
    found
}

/// Every dependency has its reason in a comment line of its own, directly above.
pub(crate) fn check_dependencies(text: &str) -> Vec<Finding> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    let mut inside = false;
    for (index, line) in lines.iter().enumerate() {
        if line.starts_with('[') {
            inside = line.ends_with("dependencies]");
            continue;
        }
        let names = line.split('=').next().unwrap_or_default().trim();
        let is_name = !names.is_empty()
            && names
                .chars()
                .all(|c| c.is_alphanumeric() || "-_.".contains(c));
        let explained = index > 0 && lines[index - 1].starts_with("# ");
        if inside && is_name && line.contains('=') && !explained {
            let rule = format!("dependencies: a comment above `{names}` says what it is for");
            found.push(Finding::new("Cargo.toml", index + 1, rule));
        }
    }
    found
}

/// `PERF.md`: four parts in order; log entries numbered downwards, each with its four lines.
pub(crate) fn check_perf(text: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    let parts: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .collect();
    if parts != PERF_PARTS {
        found.push(Finding::new(
            "PERF.md",
            1,
            format!(
                "shape: the parts are {}, in this order",
                PERF_PARTS.join(", ")
            ),
        ));
    }
    let log_at = text.lines().position(|line| line == "## Log").unwrap_or(0);
    let entries = text
        .lines()
        .enumerate()
        .skip(log_at)
        .filter(|(_, line)| line.starts_with("### "));
    let mut previous = usize::MAX;
    for (index, head) in entries {
        let fields: Vec<&str> = head[4..]
            .split("  ")
            .map(str::trim)
            .filter(|f| !f.is_empty())
            .collect();
        let number = fields.first().and_then(|n| n.parse().ok());
        let verdict = fields.iter().any(|&f| f == "kept" || f == "dropped");
        if number.is_none_or(|n: usize| n >= previous) || !verdict {
            let rule =
                "log: an entry is `### NUMBER  Title  kept|dropped  date  commit`, newest first";
            found.push(Finding::new("PERF.md", index + 1, rule));
        }
        previous = number.unwrap_or(previous);
        let body: Vec<&str> = text
            .lines()
            .skip(index + 1)
            .take_while(|line| !line.starts_with("##"))
            .collect();
        for word in ["Think", "Change", "Measure", "Judge"] {
            if !body.iter().any(|line| line.starts_with(word)) {
                found.push(Finding::new(
                    "PERF.md",
                    index + 1,
                    format!("log: the entry lacks its line `{word}`"),
                ));
            }
        }
    }
    found
}

/// Line and text of every command in the ```sh blocks.
pub(crate) fn commands(readme: &str) -> Vec<(usize, &str)> {
    let mut inside = false;
    let mut found = Vec::new();
    for (index, line) in readme.lines().enumerate() {
        match line.trim_end() {
            "```sh" => inside = true,
            fence if fence.starts_with("```") => inside = false,
            command if inside && !command.is_empty() && !command.starts_with('#') => {
                found.push((index + 1, command));
            }
            _ => {}
        }
    }
    found
}

/// Every README command is one that `tools/readme.sh` hands to CI (`in_ci`), or is marked.
pub(crate) fn check_readme(readme: &str, in_ci: &[String]) -> Vec<Finding> {
    let mut found = Vec::new();
    let commands = commands(readme);
    if commands.is_empty() {
        found.push(Finding::new(
            "README.md",
            1,
            "commands: there are none; show them in ```sh blocks",
        ));
    }
    for (line, command) in commands {
        let marked = MARKS.iter().any(|mark| command.ends_with(mark));
        let run = in_ci.iter().any(|other| other == command);
        if marked == run {
            let rule = format!(
                "commands: `{command}` must run in CI or end in {}",
                MARKS.join(" or ")
            );
            found.push(Finding::new("README.md", line, rule));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(found: &[Finding]) -> Vec<&str> {
        found.iter().map(|f| f.place.as_str()).collect()
    }

    #[test]
    fn the_top_level_is_exactly_what_it_should_be() {
        let mut names: BTreeSet<String> = TOP_LEVEL.iter().map(|&name| name.into()).collect();
        assert!(check_top_level(&names).is_empty());
        names.insert("scratch.txt".into());
        names.remove("LICENSE");
        assert_eq!(
            lines(&check_top_level(&names)),
            ["scratch.txt:0", "LICENSE:0"]
        );
    }

    #[test]
    fn findings_may_be_at_the_top_level_or_not() {
        let mut names: BTreeSet<String> = TOP_LEVEL.iter().map(|&name| name.into()).collect();
        names.insert("findings".into());
        assert!(check_top_level(&names).is_empty());
        names.insert("finding".into());
        assert_eq!(lines(&check_top_level(&names)), ["finding:0"]);
    }

    #[test]
    fn scripts_in_findings_stand_for_themselves() {
        let good = "#!/usr/bin/env bash\nwork=$(mktemp -d)\n";
        assert!(check_finding_script("a.sh", good, true).is_empty());
        let broken = |text: &str, runs| lines(&check_finding_script("a.sh", text, runs)).join(" ");
        assert_eq!(broken(good, false), "a.sh:1");
        assert_eq!(broken("# mktemp -d\nwork=/tmp\n", true), "a.sh:1");
        assert_eq!(broken(&format!("{good}GALLOP_NVCC=x\n"), true), "a.sh:3");
    }

    #[test]
    fn dependencies_carry_their_reason() {
        let text = "[dependencies]\n# why\na = \"1\"\nb = \"1\"\n\n[dev-dependencies]\nc-d = { version = \"1\" }\n[profile.x]\ne = 1\n";
        assert_eq!(
            lines(&check_dependencies(text)),
            ["Cargo.toml:4", "Cargo.toml:7"]
        );
    }

    #[test]
    fn perf_has_four_parts_and_whole_entries() {
        let entry = |n: usize| {
            format!(
                "### {n}  Read once   kept   2026-03-04   a1b2c3d\nThink x\nChange x\nMeasure x\nJudge x\n"
            )
        };
        let frame = "# P\n## Standing\n## Kernels\n## Queue\n## Log\n";
        assert!(check_perf(frame).is_empty());
        assert!(check_perf(&(frame.to_string() + &entry(2) + &entry(1))).is_empty());
        assert_eq!(
            lines(&check_perf(&(frame.to_string() + &entry(1) + &entry(2)))),
            ["PERF.md:11"]
        );
        assert_eq!(
            lines(&check_perf(
                &(frame.to_string() + &entry(1).replace("Judge", "So"))
            )),
            ["PERF.md:6"]
        );
        assert_eq!(
            lines(&check_perf(
                &(frame.to_string() + &entry(1).replace("kept", "fine"))
            )),
            ["PERF.md:6"]
        );
        assert_eq!(
            lines(&check_perf("## Standing\n## Queue\n## Kernels\n## Log\n")),
            ["PERF.md:1"]
        );
    }

    #[test]
    fn readme_commands_run_in_ci_or_say_why_not() {
        let readme =
            "```sh\ncargo run\n\n# a remark\nx --gpu  # needs a GPU\n```\n```text\nnot me\n```\n";
        let ci =
            |names: &[&str]| -> Vec<String> { names.iter().map(|&name| name.into()).collect() };
        assert!(check_readme(readme, &ci(&["cargo run"])).is_empty());
        assert_eq!(lines(&check_readme(readme, &[])), ["README.md:2"]);
        assert_eq!(
            lines(&check_readme(
                readme,
                &ci(&["cargo run", "x --gpu  # needs a GPU"])
            )),
            ["README.md:5"]
        );
        assert_eq!(lines(&check_readme("no commands", &[])), ["README.md:1"]);
    }
}
