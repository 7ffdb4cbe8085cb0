//! Golden cases: numbers of the reference implementation, replayed on an executor.
//!
//! A [`Suite`] is a folder with an `index.json` and files beside it, or the small one in the binary. A [`Case`]
//! is an entry of the index with its tensors. [`run`] replays a case of any known kind and says, for everything
//! the case holds, how far off we are and how far off we may be; the limits come from the index.

mod case;
mod dit;
mod video_vae;

pub use case::{Case, Suite, Tensors};

use super::Check;
use crate::{Error, Result, executor::Executor};

/// Replays `case` on `executor`.
///
/// # Errors
/// A kind that is not known, tensors or settings that the case lacks, or the executor's.
pub fn run(case: &Case<'_>, executor: &dyn Executor) -> Result<Vec<Check>> {
    match case.kind() {
        "dit_forward" => dit::forward(case, executor),
        "turbo_vaed.decode" => video_vae::turbo_decode(case, executor),
        "turbo_vaed.decoder_call" => video_vae::turbo_call(case, executor),
        "wan22.encode" => video_vae::wan_encode(case, executor),
        "wan22.decode" => video_vae::wan_decode(case, executor),
        kind => Err(Error::Failed {
            problem: format!("{}: unknown kind of case `{kind}`", case.name()),
        }),
    }
}
