//! Reads the signatures of each `kernels/*/*.cu` and writes `stubs.rs`, which `src/cuda/gpu/kernels.rs` includes; compiles
//! each to a cubin and writes `cubins.rs`, which `src/cuda/gpu/cubins.rs` includes. Without an nvcc there are stubs but no
//! cubins: the build is CPU only and says so once, or fails with GALLOP_REQUIRE_CUDA=1. The GPU of this machine is never asked anything.

use std::{
    collections::BTreeSet,
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command},
};

#[path = "tools/build/entry_point.rs"]
mod entry_point;
#[path = "tools/build/signature.rs"]
mod signature;
#[path = "tools/build/stubs.rs"]
mod stubs;
#[path = "tools/build/tokens.rs"]
mod tokens;

/// What the kernels of each folder are compiled for, shared with the scripts in `tools/`.
const ARCHITECTURES: &str = "kernels/architectures";
const OLDEST_NVCC: (u32, u32) = (12, 8);
/// Variables that name a toolkit folder, in the order they are looked at.
const TOOLKITS: [&str; 4] = [
    "CUDA_HOME",
    "CUDA_PATH",
    "CUDA_ROOT",
    "CUDA_TOOLKIT_ROOT_DIR",
];
/// nvcc's options but for the architecture, shared with the scripts in `tools/`.
const FLAGS: &str = "kernels/nvcc.flags";

fn main() {
    // The number is that of the C interface, whose version 1 never loses anything.
    if variable("CARGO_CFG_TARGET_OS").is_some_and(|system| system == "linux") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libgallop.so.1");
    }
    let switches = [
        "GALLOP_NVCC",
        "GALLOP_NO_CUDA",
        "GALLOP_REQUIRE_CUDA",
        "GALLOP_CUDA_ARCH",
    ];
    for name in switches.iter().chain(&TOOLKITS) {
        println!("cargo:rerun-if-env-changed={name}");
    }
    for path in [
        "build.rs",
        "kernels",
        "tools/build/entry_point.rs",
        "tools/build/signature.rs",
        "tools/build/stubs.rs",
        "tools/build/tokens.rs",
    ] {
        println!("cargo:rerun-if-changed={path}");
    }
    // A watched path that does not exist would make every build run this again: who installs a first toolkit
    // touches `build.rs` as well.
    if Path::new(".cuda/READY").exists() {
        println!("cargo:rerun-if-changed=.cuda/READY");
    }
    let mut sources = kernel_files("cu");
    fs::write(output(Path::new("stubs"), "rs"), read(&sources)).expect("OUT_DIR can be written");
    let note = match build(&sources) {
        Ok(note) => note,
        Err(why) => {
            let is_required = variable("GALLOP_REQUIRE_CUDA").is_some_and(|value| value == "1");
            assert!(!is_required, "GALLOP_REQUIRE_CUDA=1, but no kernels{why}");
            sources.clear();
            format!("no kernels{why}: CPU only")
        }
    };
    let rows = sources.iter().map(|source| {
        format!(
            "({:?}, include_bytes!({:?})),\n",
            stem(source),
            output(source, "cubin")
        )
    });
    let rows: String = rows.collect();
    let table = format!(
        "/// Compiled kernels by file name.\npub(super) const CUBINS: &[(&str, &[u8])] = &[{rows}];\n\
         /// What was built, or why nothing was.\npub(super) const BUILD_NOTE: &str = {note:?};\n"
    );
    fs::write(output(Path::new("cubins"), "rs"), table).expect("OUT_DIR can be written");
}

/// The Rust side of the kernels' signatures; a kernel that cannot be read stops the build.
fn read(sources: &[PathBuf]) -> String {
    let text = |path: &Path| {
        fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    };
    let headers = kernel_files("cuh");
    let headers = headers
        .iter()
        .map(|path| (stem(path).to_string(), text(path)));
    let headers: Vec<(String, String)> = headers.collect();
    let structures = tokens::structures(&text(Path::new("kernels/params.h")));
    let read = |path: &PathBuf| {
        let text = text(path);
        let source = signature::parse(&text, &included(&text, &headers), &structures);
        (
            stem(path).to_string(),
            source.unwrap_or_else(|why| panic!("{}: {why}", path.display())),
        )
    };
    // What the headers' modules show; of their structures' constants only other constants are made.
    let shown = headers.iter().filter_map(|(name, text)| {
        let mut constants = signature::header_constants(text, &included(text, &headers));
        constants.retain(|(name, _)| !name.contains(':'));
        let kernels = Vec::new();
        let source = entry_point::Source { constants, kernels };
        (!source.constants.is_empty()).then_some((name.clone(), source))
    });
    stubs::stubs(&sources.iter().map(read).chain(shown).collect::<Vec<_>>())
}

/// The constants of the headers, texts by name, that `text` includes and of those that they include: two headers that
/// never meet may give one name two values.
fn included(text: &str, headers: &[(String, String)]) -> Vec<(String, i64)> {
    let includes = |name: &str| text.contains(&format!("#include \"{name}.cuh\""));
    let direct = headers.iter().filter(|(name, _)| includes(name));
    let each = |(_, header): &(String, String)| {
        let mut known = included(header, headers);
        known.extend(signature::header_constants(header, &known));
        known
    };
    direct.flat_map(each).collect()
}

/// Compiles everything and says what was built, or why nothing was; kernels that do not compile stop the build.
fn build(sources: &[PathBuf]) -> Result<String, String> {
    if sources.is_empty() {
        return Err(" in this build".into());
    }
    if variable("GALLOP_NO_CUDA").is_some_and(|value| value == "1") {
        return Err(" (GALLOP_NO_CUDA=1)".into());
    }
    let (nvcc, note) = find_nvcc().map_err(|why| {
        println!("cargo:warning=no GPU kernels: {why}; run tools/setup.sh cuda or set GALLOP_NVCC, and build again");
        format!(" ({why})")
    })?;
    let table =
        fs::read_to_string(ARCHITECTURES).map_err(|e| format!(" ({ARCHITECTURES}: {e})"))?;
    let archs: Vec<String> = sources.iter().map(|source| arch(&table, source)).collect();
    let running: Vec<Child> = sources
        .iter()
        .zip(&archs)
        .map(|(source, arch)| compile(&nvcc, arch, source))
        .collect();
    let results = running.into_iter().zip(sources);
    let problems: Vec<String> = results
        .filter_map(|(child, source)| problem(child, source))
        .collect();
    assert!(
        problems.is_empty(),
        "kernels do not compile cleanly:\n{}",
        problems.join("\n")
    );
    let archs: BTreeSet<String> = archs.into_iter().collect();
    let archs = archs.into_iter().collect::<Vec<_>>().join(" and ");
    Ok(format!("{} kernels for {archs}, {note}", sources.len()))
}

/// What a source is compiled for: GALLOP_CUDA_ARCH, or what the table says of its folder.
fn arch(table: &str, source: &Path) -> String {
    let folder = source.parent().and_then(Path::file_name);
    let row = table.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next().map(OsStr::new) == folder).then(|| words.next())?
    });
    variable("GALLOP_CUDA_ARCH")
        .or(row.map(String::from))
        .unwrap_or_else(|| panic!("{ARCHITECTURES} has no row for {}", source.display()))
}

/// The first nvcc of the search order and a note on it; one that is too old is refused, not passed over.
fn find_nvcc() -> Result<(PathBuf, String), String> {
    let homes = TOOLKITS
        .iter()
        .filter_map(|&name| Some((name, PathBuf::from(variable(name)?))));
    let path = env::var_os("PATH").unwrap_or_default();
    let found = variable("GALLOP_NVCC")
        .map(|file| ("GALLOP_NVCC", file.into()))
        .or_else(|| {
            homes
                .map(|(name, home)| (name, home.join("bin/nvcc")))
                .chain(fs::canonicalize(".cuda/nvidia/cu13/bin/nvcc").map(|file| (".cuda", file)))
                .chain(env::split_paths(&path).map(|folder| ("PATH", folder.join("nvcc"))))
                .chain([("its usual place", "/usr/local/cuda/bin/nvcc".into())])
                .find(|(_, file)| file.is_file())
        });
    let (by, file) = found.ok_or("no nvcc found")?;
    let shown = format!("{} by {by}", file.display());
    let output = Command::new(&file).arg("--version").output();
    let text = output.map_err(|e| format!("{shown}: {e}"))?.stdout;
    let version =
        version(&String::from_utf8_lossy(&text)).ok_or(format!("{shown} tells no version"))?;
    let ((major, minor), (least, point)) = (version, OLDEST_NVCC);
    if version < OLDEST_NVCC {
        return Err(format!(
            "{shown} is {major}.{minor}, {least}.{point} is needed"
        ));
    }
    Ok((file, format!("nvcc {major}.{minor} by {by}")))
}

/// `Cuda compilation tools, release 13.0, V13.0.88` to (13, 0).
fn version(text: &str) -> Option<(u32, u32)> {
    let release = text.split("release ").nth(1)?.split(',').next()?;
    let (major, minor) = release.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Starts nvcc on one source; what it and ptxas say is kept beside the cubin.
fn compile(nvcc: &Path, arch: &str, source: &Path) -> Child {
    // The crate knows how the host compiler is asked for (CXX, -ccbin); all other flags are ours.
    let mut tool = cc::Build::new();
    tool.cuda(true)
        .cudart("none")
        .no_default_flags(true)
        .warnings(false)
        .compiler(nvcc);
    let mut command = tool.get_compiler().to_command();
    let log = fs::File::create(output(source, "txt")).expect("OUT_DIR can be written");
    command
        .args(["--options-file", FLAGS])
        .arg(format!(
            "-gencode=arch={},code={arch}",
            arch.replace("sm_", "compute_")
        ))
        .arg("-o")
        .arg(output(source, "cubin"))
        .arg(source)
        .stdout(log.try_clone().expect("a second handle of the log"))
        .stderr(log);
    command
        .spawn()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"))
}

/// Why the kernel is refused: it fails to compile, spills registers, or ptxas serialised its wgmma (C75xx).
fn problem(mut child: Child, source: &Path) -> Option<String> {
    let status = child.wait().expect("nvcc was started");
    let text = fs::read_to_string(output(source, "txt")).unwrap_or_default();
    let spills = |part: &str| part.contains("bytes spill") && !part.trim_start().starts_with("0 ");
    let refused = |line: &&str| line.contains("(C75") || line.split(',').any(spills);
    let lines: Vec<&str> = text.lines().filter(refused).collect();
    let shown = if lines.is_empty() {
        text.clone()
    } else {
        lines.join("\n")
    };
    let clean = status.success() && lines.is_empty();
    (!clean).then(|| format!("{} ({status}):\n{shown}", source.display()))
}

/// The files of `kernels/` and its folders that end in `extension`, by name.
fn kernel_files(extension: &str) -> Vec<PathBuf> {
    let listed = |folder: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).expect("the folder kernels/ is part of the source");
        let path =
            |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry of kernels/").path();
        entries.map(path).collect()
    };
    let mut sources = listed(Path::new("kernels"));
    let folders: Vec<PathBuf> = sources
        .iter()
        .filter(|path| path.is_dir())
        .cloned()
        .collect();
    sources.extend(folders.iter().flat_map(|folder| listed(folder)));
    sources.retain(|path| path.extension().is_some_and(|e| e == extension));
    sources.sort_by(|a, b| a.file_name().cmp(&b.file_name()));
    sources
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn stem(source: &Path) -> &str {
    source
        .file_stem()
        .and_then(|name| name.to_str())
        .expect("kernels have plain names")
}

fn output(source: &Path, extension: &str) -> PathBuf {
    let folder = variable("OUT_DIR").expect("cargo sets OUT_DIR");
    Path::new(&folder)
        .join(stem(source))
        .with_extension(extension)
}
