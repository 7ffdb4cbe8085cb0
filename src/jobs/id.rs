//! Names of jobs, and texts that nobody can guess.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::refusal::{Code, Refusal};

/// Crockford's base 32: no letter looks like another or like a digit.
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// First letters of an id.
const PREFIX: &str = "video_";
/// Digits of an id: 130 bits, of which the first two are 0.
const LENGTH: usize = 26;
/// Bits behind the time.
const RANDOM_BITS: u32 = 80;

/// Name of a job: 48 bits of time, milliseconds, and 80 random ones, so that names sort by age.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobId(u128);

impl JobId {
    /// A name given at `milliseconds` since 1970, behind `last` also if the clock went back.
    pub(super) fn next(milliseconds: u64, last: Option<Self>) -> Self {
        let random = u128::from_be_bytes(random_bytes()) >> (128 - RANDOM_BITS);
        let id = Self(u128::from(milliseconds) << RANDOM_BITS | random);
        match last {
            Some(last) if id <= last => Self(last.0.wrapping_add(1)),
            _ => id,
        }
    }

    /// The same 128 bits as a UUID.
    pub fn uuid(self) -> String {
        let hex = format!("{:032x}", self.0);
        let ends = [0..8, 8..12, 12..16, 16..20, 20..32];
        ends.map(|range| &hex[range]).join("-")
    }

    /// The job that has this UUID.
    pub fn of_uuid(text: &str) -> Option<Self> {
        let hex: String = text.split('-').collect();
        let number = u128::from_str_radix(&hex, 16).ok().map(Self);
        number.filter(|id| id.uuid().eq_ignore_ascii_case(text))
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digit = |at: usize| (self.0 >> (5 * (LENGTH - 1 - at)) & 31) as usize;
        let digits = (0..LENGTH).map(|at| char::from(DIGITS[digit(at)]));
        write!(f, "{PREFIX}{}", digits.collect::<String>())
    }
}

impl FromStr for JobId {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let value = |c: u8| DIGITS.iter().position(|digit| *digit == c);
        let digits = text.strip_prefix(PREFIX).map(str::as_bytes);
        let digits = digits.filter(|digits| digits.len() == LENGTH && digits[0] < b'8');
        let number = digits.and_then(|digits| {
            let mut values = digits.iter().map(|digit| value(*digit));
            values.try_fold(0_u128, |sum, value| Some(sum << 5 | value? as u128))
        });
        number.map(Self).ok_or_else(|| Refusal::not_found(text))
    }
}

impl TryFrom<String> for JobId {
    type Error = Refusal;

    fn try_from(text: String) -> Result<Self, Refusal> {
        text.parse()
    }
}

impl From<JobId> for String {
    fn from(id: JobId) -> Self {
        id.to_string()
    }
}

impl Refusal {
    /// There is no job of this name.
    pub fn not_found(name: &str) -> Self {
        let shown: String = name.chars().take(64).collect();
        Self::new(Code::NotFound, format!("there is no job `{shown}`"))
    }
}

/// A text of 128 random bits, hexadecimal, which stands for a right.
pub fn random_token() -> String {
    format!("{:032x}", u128::from_be_bytes(random_bytes()))
}

fn random_bytes() -> [u8; 16] {
    let mut bytes = [0; 16];
    let mut filled = 0;
    while filled < bytes.len() {
        let flags = rustix::rand::GetRandomFlags::empty();
        match rustix::rand::getrandom(&mut bytes[filled..], flags) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => panic!("the system gives no random numbers: {e}"),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_by_age_and_are_read_again() {
        let first = JobId::next(1_795_364_215_000, None);
        let same_time = JobId::next(1_795_364_215_000, Some(first));
        let back = JobId::next(1_000, Some(same_time));
        assert!(first < same_time && same_time < back);
        for id in [first, same_time, back, JobId(0), JobId(u128::MAX)] {
            let text = id.to_string();
            assert_eq!(text.len(), PREFIX.len() + LENGTH);
            assert_eq!(text.parse::<JobId>().unwrap(), id);
            assert_eq!(JobId::of_uuid(&id.uuid()), Some(id));
        }
        let mut texts = [first, same_time, back].map(|id| id.to_string());
        texts.sort();
        assert_eq!(texts[0], first.to_string());
    }

    #[test]
    fn other_texts_are_no_names() {
        let id = JobId(42).to_string();
        assert!(id.ends_with("01A"));
        for text in [
            "",
            "video_",
            &id[1..],
            &id.to_lowercase(),
            &format!("{id}0"),
            &id.replace("video_0", "video_8"),
            &id.replace('1', "U"),
            "video_../../../../../etc/passwd.",
        ] {
            assert_eq!(text.parse::<JobId>().unwrap_err().code, Code::NotFound);
        }
        assert_eq!(JobId::of_uuid(&JobId(1).uuid()[1..]), None);
        assert_eq!(JobId::of_uuid(&"0".repeat(32)), None);
    }

    #[test]
    fn tokens_differ() {
        assert_ne!(random_token(), random_token());
        assert_eq!(random_token().len(), 32);
    }
}
