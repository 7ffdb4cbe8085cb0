//! What a client should know about its job.

use serde::{Deserialize, Serialize};

use crate::{
    error::{neutral, quoted},
    pipeline::Notice,
};

/// Something the client should know.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Warning {
    /// A stable word.
    pub code: String,
    /// In words.
    pub message: String,
}

impl From<&Notice> for Warning {
    fn from(notice: &Notice) -> Self {
        // The model and its variant are for the operator to choose.
        let hint = match notice {
            Notice::Miniature | Notice::NegativePromptIgnored => None,
            _ => notice.hint(),
        };
        Self {
            code: notice.code().into(),
            message: neutral(notice.facts(quoted), hint),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_the_operator_can_change_is_not_advised() {
        let warning = Warning::from(&Notice::Miniature);
        assert_eq!(warning.code, "miniature");
        assert!(!warning.message.contains("model"), "{}", warning.message);
        let long = Notice::LongRun {
            seconds: 600.0,
            threads: 2,
        };
        assert!(Warning::from(&long).message.contains("size"));
    }
}
