//! The C++ side: the emulator's objects once, and one shared library per kernel file. A file's name carries the hash
//! of all it was made from, so that what is there already is right, whichever test made it.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

const EMULATOR: &str = "tests/emulate";
const KERNELS: &str = "kernels";
const FLAGS: [&str; 5] = [
    "-std=c++17",
    "-fPIC",
    "-fvisibility=hidden",
    "-fno-strict-aliasing",
    "-Wno-psabi",
];
/// The emulator itself is always fast; it does nothing that contraction could change.
const EMULATOR_FLAGS: [&str; 2] = ["-O3", "-ffp-contract=fast"];
const KERNEL_FLAGS: [&str; 2] = ["-O2", "-ffp-contract=off"];
const SANITIZE: [&str; 3] = [
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=undefined",
    "-g",
];

/// A change to a source: `find` stands in `file` exactly once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Edit {
    pub(crate) file: &'static str,
    pub(crate) find: &'static str,
    pub(crate) replace: &'static str,
}

/// One library per kernel file.
pub(crate) fn all() -> Vec<PathBuf> {
    let objects = objects();
    each(&sources(), |source| library(source, &[], &objects))
}

/// A library of `source` (`gemm_bf16.cu`) whose text, and that of the headers of `kernels/`, was edited.
pub(crate) fn edited(source: &str, edits: &[Edit]) -> PathBuf {
    let all = sources();
    let path = all.iter().find(|path| path.ends_with(source));
    library(path.expect("a kernel file"), edits, &objects())
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All kernel files.
fn sources() -> Vec<PathBuf> {
    let folders = listed(&root().join(KERNELS), "");
    let folders = folders.iter().filter(|path| path.is_dir());
    folders.flat_map(|folder| listed(folder, "cu")).collect()
}

/// What has an ending, or none, in a folder, sorted.
fn listed(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = paths
        .filter(|path| path.extension().unwrap_or_default() == ending)
        .collect();
    found.sort();
    found
}

/// The emulator's object files.
fn objects() -> Vec<PathBuf> {
    let emulator = root().join(EMULATOR);
    let mut inputs: Vec<String> = listed(&emulator, "h").iter().map(|p| read(p)).collect();
    inputs.extend(flags(&EMULATOR_FLAGS));
    each(&listed(&emulator, "cc"), |source| {
        let text = read(source);
        let target = target(source, "o", inputs.iter().chain([&text]));
        make(&target, |output| {
            let mut command = compiler();
            command.args(flags(&EMULATOR_FLAGS)).arg("-c").arg(source);
            command.arg("-o").arg(output);
            command
        });
        target
    })
}

/// `make` of every source, on threads of their own: those of a pool may all be waiting for the result.
fn each(sources: &[PathBuf], make: impl Fn(&Path) -> PathBuf + Sync) -> Vec<PathBuf> {
    let make = &make;
    let at_once = thread::available_parallelism().map_or(1, usize::from);
    let mut made = Vec::new();
    for some in sources.chunks(at_once) {
        thread::scope(|scope| {
            let running: Vec<_> = some
                .iter()
                .map(|source| scope.spawn(move || make(source)))
                .collect();
            made.extend(running.into_iter().map(|thread| thread.join().unwrap()));
        });
    }
    made
}

/// The library of one kernel file. Edited texts lie in a folder of their own, which is searched first.
fn library(source: &Path, edits: &[Edit], objects: &[PathBuf]) -> PathBuf {
    let top = root().join(KERNELS);
    let folders = [&top, source.parent().unwrap()];
    let headers = |ending| folders.map(|folder| listed(folder, ending)).concat();
    let headers = ["cuh", "h"].map(headers).concat();
    let texts = [source.to_path_buf()].into_iter().chain(headers);
    let texts: Vec<(PathBuf, String)> = texts.map(|path| edit(path, edits)).collect();
    for edit in edits {
        let known = texts.iter().any(|(path, _)| path.ends_with(edit.file));
        assert!(known, "{} is not part of {}", edit.file, source.display());
    }
    let mut inputs = flags(&KERNEL_FLAGS);
    inputs.extend(objects.iter().map(|path| path.display().to_string()));
    inputs.extend(texts.iter().map(|(_, text)| text.clone()));
    let target = target(source, "so", inputs.iter());
    make(&target, |output| {
        let folder = output.with_extension("src");
        let mut main = source.to_path_buf();
        if !edits.is_empty() {
            // All of them: a header is looked for beside the file that includes it first.
            fs::create_dir_all(&folder).unwrap();
            for (path, text) in &texts {
                fs::write(folder.join(path.file_name().unwrap()), text).unwrap();
            }
            main = folder.join(source.file_name().unwrap());
        }
        let mut command = compiler();
        command.args(flags(&KERNEL_FLAGS)).arg("-shared");
        command.arg("-iquote").arg(&folder);
        for include in [KERNELS, EMULATOR] {
            command.arg("-iquote").arg(root().join(include));
        }
        command.args(["-x", "c++"]).arg(main).args(["-x", "none"]);
        command.args(objects).arg("-o").arg(output);
        command
    });
    target
}

/// The text of `path` after those edits that are for it.
fn edit(path: PathBuf, edits: &[Edit]) -> (PathBuf, String) {
    let mut text = read(&path);
    for edit in edits.iter().filter(|edit| path.ends_with(edit.file)) {
        let count = text.matches(edit.find).count();
        assert_eq!(count, 1, "`{}` in {}", edit.find, edit.file);
        text = text.replace(edit.find, edit.replace);
    }
    (path, text)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn flags(own: &[&str]) -> Vec<String> {
    let sanitize = env::var("KERNEL_SANITIZE").is_ok_and(|value| value == "1");
    let more: &[&str] = if sanitize { &SANITIZE } else { &[] };
    let all = FLAGS.iter().chain(own).chain(more);
    all.map(|&flag| flag.into()).collect()
}

fn compiler_name() -> String {
    let named = env::var("CXX").ok().filter(|name| !name.is_empty());
    named.unwrap_or_else(|| "c++".into())
}

fn compiler() -> Command {
    Command::new(compiler_name())
}

/// `target/tmp/emulate/STEM-HASH.ENDING`.
fn target<'a>(source: &Path, ending: &str, inputs: impl Iterator<Item = &'a String>) -> PathBuf {
    let mut hash = Fnv::START;
    hash.add(&compiler_name());
    // How it is made counts as well.
    hash.add(include_str!("compile.rs"));
    inputs.for_each(|text| hash.add(text));
    let stem = source.file_stem().unwrap().to_string_lossy();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("emulate");
    fs::create_dir_all(&folder).unwrap();
    folder.join(format!("{stem}-{:016x}.{ending}", hash.0))
}

/// Makes `target` by the command that `how` gives for a name of this process alone, unless it is there.
fn make(target: &Path, how: impl FnOnce(&Path) -> Command) {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    if target.is_file() {
        return;
    }
    let own = COUNT.fetch_add(1, Ordering::Relaxed);
    let unfinished = target.with_extension(format!("{}-{own}", process::id()));
    let mut command = how(&unfinished);
    let output = command.output().unwrap_or_else(|e| {
        panic!(
            "no C++ compiler `{}` ({e}): kernels are tested by compiling them for the CPU; \
             install g++ or name a compiler in CXX",
            compiler_name()
        )
    });
    assert!(
        output.status.success(),
        "{command:?}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    fs::rename(&unfinished, target).unwrap();
    // Sources of an edited kernel are kept only if it did not compile.
    let _ = fs::remove_dir_all(unfinished.with_extension("src"));
}

/// FNV-1a, 64 bits.
struct Fnv(u64);

impl Fnv {
    const START: Self = Self(0xcbf2_9ce4_8422_2325);

    fn add(&mut self, text: &str) {
        for byte in text.bytes().chain([0]) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
}
