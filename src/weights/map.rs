//! Mapped files, which may change under whoever reads them.
//!
//! A mapping shows what others write to its file, and what lies behind the end of a file that has been cut, or on a
//! disk that fails, raises SIGBUS. Here such a page becomes zeros, and [`Mapped::check_unchanged`] tells: whoever has read
//! a file asks it before the result is used. Files that are replaced by renaming stay as they were.

use std::{
    ffi::{c_int, c_void},
    fs::File,
    path::Path,
    ptr,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::SystemTime,
};

use memmap2::Mmap;
use nix::{
    libc::{self, siginfo_t},
    sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction},
};

use crate::{
    Error, Result,
    error::{GivenFile, stand_in},
};

/// Bytes of a file: mapped, or part of this program.
pub(super) enum Mapped {
    File(MappedFile),
    BuiltIn(&'static [u8]),
}

/// A mapped file as it was when it was mapped.
pub(super) struct MappedFile {
    map: Mmap,
    file: File,
    state: State,
    /// `None` if more files are mapped than there are places.
    guard: Option<&'static Guard>,
}

/// What changes when somebody writes to a file.
type State = (u64, Option<SystemTime>);

fn state(file: &File) -> std::io::Result<State> {
    let metadata = file.metadata()?;
    Ok((metadata.len(), metadata.modified().ok()))
}

impl Mapped {
    /// Maps a whole file.
    #[allow(
        unsafe_code,
        reason = "mapping is what makes a 61 GB checkpoint open at once"
    )]
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = GivenFile::Weights.open(path, u64::MAX)?;
        let state = state(&file).map_err(|e| Error::weights_io(path, e))?;
        if state.0 == 0 {
            return Err(Error::weights(path, "is empty; download it again"));
        }
        // SAFETY: the mapping is private and read-only, and `Mmap` owns it, so it outlives every slice of it. The bytes
        // stay the same as long as nobody writes to the file; results made of others are not used.
        let map = unsafe { Mmap::map(&file) }.map_err(|e| Error::weights_io(path, e))?;
        let bytes = &map[..map.len().min(1024)];
        if let Some(problem) = stand_in(bytes).or_else(|| no_checkpoint(bytes)) {
            return Err(Error::weights(path, problem));
        }
        Ok(Self::File(MappedFile {
            guard: Guard::over(&map),
            map,
            file,
            state,
        }))
    }

    /// That nobody has written to the file since it was mapped, and that all that was read of it could be. The error is
    /// what happened, to follow the file's name.
    pub(super) fn check_unchanged(&self) -> std::result::Result<(), &'static str> {
        let Self::File(mapped) = self else {
            return Ok(());
        };
        if !state(&mapped.file).is_ok_and(|now| now == mapped.state) {
            return Err("changed while it was read; run again once nobody writes to it");
        }
        match mapped.guard {
            Some(guard) if guard.is_damaged.load(Ordering::Relaxed) => {
                Err("could not be read to its end; is its disk failing?")
            }
            _ => Ok(()),
        }
    }
}

/// What a file is, by its first bytes, if it is known and no checkpoint that can be read; to follow its name.
fn no_checkpoint(head: &[u8]) -> Option<String> {
    const KINDS: [(&[u8], &str); 6] = [
        (b"GGUF", "a GGUF file"),
        (b"\x89HDF", "an HDF5 file"),
        (b"\x1f\x8b", "a gzip file"),
        (b"\x28\xb5\x2f\xfd", "a zstd file"),
        (b"7z\xbc\xaf", "a 7z file"),
        (
            b"\x80\x02",
            "a pickle, or a torch file of the kind before 1.6",
        ),
    ];
    let kind = KINDS.iter().find(|(magic, _)| head.starts_with(magic));
    if let Some((_, kind)) = kind {
        return Some(format!(
            "is {kind}; must be a safetensors file or one that torch 1.6 or later saved"
        ));
    }
    if head.iter().all(|byte| *byte == 0) {
        return Some("begins with zeros; its download has not been finished".into());
    }
    let is_text = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    let is_short = head.len() < 1024 && !head.contains(&b'{');
    if is_short && head.iter().all(is_text) {
        let text = String::from_utf8_lossy(head);
        return Some(format!(
            "is a text, not a checkpoint: {}",
            text.trim().replace('\n', " ")
        ));
    }
    None
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::File(mapped) => &mapped.map,
            Self::BuiltIn(bytes) => bytes,
        }
    }
}

impl Drop for MappedFile {
    fn drop(&mut self) {
        if let Some(guard) = self.guard {
            guard.end.store(0, Ordering::SeqCst);
            guard.start.store(0, Ordering::SeqCst);
        }
    }
}

/// Files that can be guarded at once; a model has up to fifty.
const GUARDS: usize = 1024;
static GUARDED: [Guard; GUARDS] = [const { Guard::free() }; GUARDS];

/// The addresses of a mapped file. The signal's handler reads them, so they are atomics in a fixed place.
struct Guard {
    /// 0 if the place is free.
    start: AtomicUsize,
    /// 0 until both are set.
    end: AtomicUsize,
    is_damaged: AtomicBool,
}

impl Guard {
    const fn free() -> Self {
        Self {
            start: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
            is_damaged: AtomicBool::new(false),
        }
    }

    /// Guards a mapping, until the place is freed; `None` if there is none, or if the system has no such signal.
    fn over(map: &Mmap) -> Option<&'static Self> {
        handler()?;
        let start = map.as_ptr() as usize;
        let guard = GUARDED.iter().find(|guard| {
            let taken = guard
                .start
                .compare_exchange(0, start, Ordering::SeqCst, Ordering::SeqCst);
            taken.is_ok()
        })?;
        guard.is_damaged.store(false, Ordering::SeqCst);
        guard.end.store(start + map.len(), Ordering::SeqCst);
        Some(guard)
    }

    fn holds(&self, address: usize) -> bool {
        let [start, end] = [&self.start, &self.end].map(|at| at.load(Ordering::SeqCst));
        (start..end).contains(&address)
    }
}

/// What handled the signal before, once this program does.
static BEFORE: OnceLock<Option<SigAction>> = OnceLock::new();

/// Handles SIGBUS from now on.
#[allow(unsafe_code, reason = "installing a signal handler")]
fn handler() -> Option<&'static SigAction> {
    let install = || {
        let flags = SaFlags::SA_SIGINFO | SaFlags::SA_ONSTACK;
        let ours = SigAction::new(SigHandler::SigAction(on_bus_error), flags, SigSet::empty());
        // SAFETY: the handler calls only `mmap` and `sigaction`, reads atomics and a cell that was set before.
        unsafe { sigaction(Signal::SIGBUS, &ours) }.ok()
    };
    BEFORE.get_or_init(install).as_ref()
}

/// Puts zeros where a mapped file cannot be read, and leaves every other fault to whom it belongs.
#[allow(unsafe_code, reason = "a signal handler that maps memory")]
extern "C" fn on_bus_error(_: c_int, info: *mut siginfo_t, _: *mut c_void) {
    /// A multiple of every page size.
    const PAGES: usize = 64 << 10;
    // SAFETY: the system passes a pointer to what it knows of the signal.
    let info = unsafe { &*info };
    // SAFETY: SIGBUS has an address.
    let address = unsafe { info.si_addr() } as usize;
    if let Some(guard) = GUARDED.iter().find(|guard| guard.holds(address)) {
        guard.is_damaged.store(true, Ordering::SeqCst);
        // Behind one page that is gone the others mostly are too. A mapping starts with a page, however large those are.
        let start = guard.start.load(Ordering::SeqCst);
        let first = start + (address - start) / PAGES * PAGES;
        let bytes = guard.end.load(Ordering::SeqCst).saturating_sub(first);
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        let at = ptr::with_exposed_provenance_mut(first);
        // SAFETY: the pages lie in a mapping that lives as long as its guard, and that nobody writes to.
        let zeros = unsafe { libc::mmap(at, bytes, libc::PROT_READ, flags, -1, 0) };
        if zeros != libc::MAP_FAILED {
            return;
        }
    }
    if let Some(Some(before)) = BEFORE.get() {
        // SAFETY: what was there before is there again, and the fault, repeated, goes to it.
        let _ = unsafe { sigaction(Signal::SIGBUS, before) };
    }
}
