//! The `gallop` program: arguments in, exit code out.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    process::ExitCode,
};

use gallop::cli;

fn main() -> ExitCode {
    cli::run(std::env::args_os())
}

#[global_allocator]
static ALLOCATOR: OrExit = OrExit;

/// The system's allocator, except that a refusal ends the program with a sentence and its exit code.
struct OrExit;

impl OrExit {
    fn given(memory: *mut u8, bytes: usize) -> *mut u8 {
        if memory.is_null() {
            cli::exit_out_of_memory(bytes);
        }
        memory
    }
}

// SAFETY: every call goes to the system's allocator as it came, and what that gives is returned unchanged.
#[allow(unsafe_code, reason = "an allocator's functions are unsafe")]
unsafe impl GlobalAlloc for OrExit {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps this function's contract, which is the same.
        Self::given(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        Self::given(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above; `memory` came from the system's allocator.
        Self::given(unsafe { System.realloc(memory, layout, size) }, size)
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above; `memory` came from the system's allocator.
        unsafe { System.dealloc(memory, layout) }
    }
}
