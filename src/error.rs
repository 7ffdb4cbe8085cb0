//! Errors from outside: a user's request, a file, a device. Bugs panic instead.
//!
//! Every message names the thing, what was expected, what was found and, if there is one, the remedy. The variant
//! decides the exit code ([`Error::exit_code`]), so a script can tell a typo from a full disk.
//!
//! Parameters are [`Field`]s and remedies [`Hint`]s: data, which each front end (command line, JSON) words itself.
//! `Display` uses the field names of JSON requests.

mod field;
mod given_file;

use std::{fmt, io, path::PathBuf};

pub use field::{Field, Hint};
pub(crate) use field::{neutral, quoted};
pub use given_file::{GivenFile, stand_in, text};

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error from outside; variants differ in what the reader can do about it.
#[derive(Debug)]
pub enum Error {
    /// An impossible option or value (exit code 2).
    Request {
        /// The parameter.
        field: Field,
        /// What was expected, phrased to follow the field's name: `must be 1 to 10`.
        expected: String,
        /// What was found instead.
        found: Option<String>,
        /// What to do.
        hint: Option<Hint>,
    },
    /// A prompt, image, audio or features file that cannot be used (exit code 3).
    Input {
        /// The file, or `prompt`.
        what: String,
        /// What was expected, what was found, what to do.
        problem: String,
        /// The system's error, if there was one.
        source: Option<io::Error>,
    },
    /// A model file that is missing, damaged or of another shape (exit code 4).
    Weights {
        /// The file or folder.
        path: PathBuf,
        /// The tensor, if the problem is about one.
        tensor: Option<String>,
        /// What was expected, what was found, what to do.
        problem: String,
        /// The system's error, if there was one.
        source: Option<io::Error>,
    },
    /// Not enough memory (exit code 5).
    Memory {
        /// Bytes needed.
        need_bytes: u64,
        /// Bytes available.
        have_bytes: u64,
        /// What they are needed for.
        for_what: String,
        /// How to need less.
        hint: Option<Hint>,
    },
    /// The system gave no more memory than it had given (exit code 5).
    OutOfMemory {
        /// What it was needed for.
        what: String,
        /// The system's error.
        source: io::Error,
    },
    /// No device, no driver, or a failing device (exit code 5).
    Device {
        /// What was expected, what was found, what to do.
        problem: String,
        /// What to use instead.
        hint: Option<Hint>,
    },
    /// An output that cannot be written (exit code 6).
    Output {
        /// The file or folder that was to be written.
        path: PathBuf,
        /// What was expected, what was found, what to do.
        problem: String,
        /// What else to do.
        hint: Option<Hint>,
        /// The system's error, if there was one.
        source: Option<io::Error>,
    },
    /// A check that ran and failed, such as `verify` (exit code 1).
    Failed {
        /// What failed.
        problem: String,
    },
    /// The user interrupted (exit code 130).
    Interrupted,
}

impl Error {
    /// An impossible option or value: `expected` follows the field's name.
    pub fn request(field: Field, expected: impl Into<String>) -> Self {
        Self::Request {
            field,
            expected: expected.into(),
            found: None,
            hint: None,
        }
    }

    /// Adds what was found to a request error; other variants stay as they are.
    #[must_use]
    pub fn found(mut self, value: impl fmt::Display) -> Self {
        if let Self::Request { found, .. } = &mut self {
            *found = Some(value.to_string());
        }
        self
    }

    /// Adds a remedy, if the variant has one.
    #[must_use]
    pub fn with_hint(mut self, way_out: Hint) -> Self {
        if let Self::Request { hint, .. }
        | Self::Memory { hint, .. }
        | Self::Device { hint, .. }
        | Self::Output { hint, .. } = &mut self
        {
            *hint = Some(way_out);
        }
        self
    }

    /// An unusable input.
    pub fn input(what: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Input {
            what: what.into(),
            problem: problem.into(),
            source: None,
        }
    }

    /// An input that could not be read.
    pub fn input_io(what: impl Into<String>, source: io::Error) -> Self {
        let what = what.into();
        if source.kind() == io::ErrorKind::OutOfMemory {
            return Self::OutOfMemory { what, source };
        }
        Self::Input {
            what,
            problem: "cannot be read".into(),
            source: Some(source),
        }
    }

    /// A bad model file.
    pub fn weights(path: impl Into<PathBuf>, problem: impl Into<String>) -> Self {
        Self::Weights {
            path: path.into(),
            tensor: None,
            problem: problem.into(),
            source: None,
        }
    }

    /// A bad tensor of a model file.
    pub fn tensor(
        path: impl Into<PathBuf>,
        tensor: impl Into<String>,
        problem: impl Into<String>,
    ) -> Self {
        Self::Weights {
            path: path.into(),
            tensor: Some(tensor.into()),
            problem: problem.into(),
            source: None,
        }
    }

    /// A model file that could not be read.
    pub fn weights_io(path: impl Into<PathBuf>, source: io::Error) -> Self {
        let path = path.into();
        if source.kind() == io::ErrorKind::OutOfMemory {
            let what = path.display().to_string();
            return Self::OutOfMemory { what, source };
        }
        Self::Weights {
            path,
            tensor: None,
            problem: "cannot be read".into(),
            source: Some(source),
        }
    }

    /// A missing or failing device.
    pub fn device(problem: impl Into<String>) -> Self {
        Self::Device {
            problem: problem.into(),
            hint: None,
        }
    }

    /// An output that cannot be written.
    pub fn output(path: impl Into<PathBuf>, problem: impl Into<String>) -> Self {
        Self::Output {
            path: path.into(),
            problem: problem.into(),
            hint: None,
            source: None,
        }
    }

    /// An output that the system refused to write.
    pub fn output_io(path: impl Into<PathBuf>, source: io::Error) -> Self {
        use io::ErrorKind as Kind;
        let path = path.into();
        let problem = match source.kind() {
            Kind::StorageFull | Kind::QuotaExceeded => {
                "the disk is full; free some space or choose another folder"
            }
            Kind::FileTooLarge => "is larger than a file may be here (`ulimit -f`)",
            Kind::PermissionDenied | Kind::ReadOnlyFilesystem => {
                "its folder may not be written; choose another one"
            }
            Kind::InvalidFilename => "has a name that cannot be had here; choose another one",
            Kind::OutOfMemory => {
                let what = path.display().to_string();
                return Self::OutOfMemory { what, source };
            }
            _ => "cannot be written",
        };
        Self::Output {
            path,
            problem: problem.into(),
            hint: None,
            source: Some(source),
        }
    }

    /// The process exit code; `gallop --help` lists them.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Failed { .. } => 1,
            Self::Request { .. } => 2,
            Self::Input { .. } => 3,
            Self::Weights { .. } => 4,
            Self::Memory { .. } | Self::OutOfMemory { .. } | Self::Device { .. } => 5,
            Self::Output { .. } => 6,
            Self::Interrupted => 130,
        }
    }

    /// A stable word for this kind of error, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Failed { .. } => "check_failed",
            Self::Request { .. } => "invalid_value",
            Self::Input { .. } => "invalid_input",
            Self::Weights { .. } => "invalid_weights",
            Self::Memory { .. } | Self::OutOfMemory { .. } => "out_of_memory",
            Self::Device { .. } => "device_failed",
            Self::Output {
                source: Some(e), ..
            } if matches!(
                e.kind(),
                io::ErrorKind::StorageFull
                    | io::ErrorKind::QuotaExceeded
                    | io::ErrorKind::FileTooLarge
            ) =>
            {
                "storage_full"
            }
            Self::Output { .. } => "output_failed",
            Self::Interrupted => "cancelled",
        }
    }

    /// The remedy, if there is one besides the facts.
    pub fn hint(&self) -> Option<Hint> {
        match self {
            Self::Request { hint, .. }
            | Self::Memory { hint, .. }
            | Self::Device { hint, .. }
            | Self::Output { hint, .. } => *hint,
            Self::Input { .. }
            | Self::Weights { .. }
            | Self::OutOfMemory { .. }
            | Self::Failed { .. }
            | Self::Interrupted => None,
        }
    }

    /// What is wrong; `name` is what the front end calls a field.
    pub fn facts(&self, name: fn(Field) -> String) -> String {
        match self {
            Self::Request {
                field,
                expected,
                found,
                ..
            } => match found {
                Some(found) => format!("{} {expected}; given {found}", name(*field)),
                None => format!("{} {expected}", name(*field)),
            },
            Self::Input { what, problem, .. } => format!("{what}: {problem}"),
            Self::Weights {
                path,
                tensor: None,
                problem,
                ..
            }
            | Self::Output { path, problem, .. } => format!("{}: {problem}", path.display()),
            Self::Weights {
                path,
                tensor: Some(tensor),
                problem,
                ..
            } => format!("{}: `{tensor}` {problem}", path.display()),
            Self::Memory {
                need_bytes,
                have_bytes,
                for_what,
                ..
            } => {
                let [need, have] = [*need_bytes, *have_bytes].map(human_bytes);
                format!("need {need} for {for_what}; {have} free")
            }
            Self::OutOfMemory { what, .. } => {
                format!("{what}: memory has run out; free some or raise its limit")
            }
            Self::Device { problem, .. } | Self::Failed { problem } => problem.clone(),
            Self::Interrupted => "interrupted; no file is left half-written".into(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&neutral(self.facts(quoted), self.hint()))
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Input { source, .. }
            | Self::Weights { source, .. }
            | Self::Output { source, .. } => source.as_ref().map(|e| e as _),
            Self::OutOfMemory { source, .. } => Some(source),
            Self::Request { .. }
            | Self::Memory { .. }
            | Self::Device { .. }
            | Self::Failed { .. }
            | Self::Interrupted => None,
        }
    }
}

/// Bytes for people: `71.2 GiB`, `3.4 MiB`, `17 B`.
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    for (unit, size) in UNITS {
        if bytes >= size {
            return format!("{:.1} {unit}", bytes as f64 / size as f64);
        }
    }
    format!("{bytes} B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_the_thing_and_kinds_have_their_codes() {
        let e = Error::tensor(
            "m.safetensors",
            "block.0.w",
            "must be bf16 [2, 3]; found f16 [2, 3]",
        );
        assert_eq!(
            e.to_string(),
            "m.safetensors: `block.0.w` must be bf16 [2, 3]; found f16 [2, 3]"
        );
        assert_eq!(e.exit_code(), 4);
        let e = Error::request(Field::HoldAudio, "needs a voice track");
        assert_eq!(e.to_string(), "`hold_audio` needs a voice track");
        assert_eq!(
            e.with_hint(Hint::Give(Field::Audio)).to_string(),
            "`hold_audio` needs a voice track; give `audio_reference`"
        );
        let e = Error::request(Field::Seconds, "must be 1 to 10").found(30);
        assert_eq!(e.to_string(), "`seconds` must be 1 to 10; given 30");
        assert_eq!((e.exit_code(), e.code()), (2, "invalid_value"));
        for (kind, code, words) in [
            (io::ErrorKind::StorageFull, "storage_full", "disk is full"),
            (io::ErrorKind::QuotaExceeded, "storage_full", "disk is full"),
            (io::ErrorKind::FileTooLarge, "storage_full", "ulimit -f"),
            (io::ErrorKind::PermissionDenied, "output_failed", "folder"),
            (io::ErrorKind::Other, "output_failed", "cannot be written"),
        ] {
            let e = Error::output_io("a", kind.into());
            assert_eq!((e.exit_code(), e.code()), (6, code));
            assert!(e.to_string().contains(words), "{e}");
        }
        let lack = || io::ErrorKind::OutOfMemory.into();
        for e in [
            Error::input_io("a", lack()),
            Error::weights_io("a", lack()),
            Error::output_io("a", lack()),
        ] {
            assert_eq!((e.exit_code(), e.code()), (5, "out_of_memory"));
        }
        let e = Error::device("no GPU").with_hint(Hint::Set(Field::Device, "cpu"));
        assert_eq!(e.to_string(), "no GPU; set `device` to cpu");
        assert_eq!(Error::Interrupted.exit_code(), 130);
        assert_eq!(human_bytes(3 << 29), "1.5 GiB");
    }
}
