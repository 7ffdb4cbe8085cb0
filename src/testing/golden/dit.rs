//! Cases of the DiT.

use super::Case;
use crate::{Result, executor::Executor, testing::Check};

pub(super) fn forward(_case: &Case<'_>, _executor: &dyn Executor) -> Result<Vec<Check>> {
    todo!()
}
