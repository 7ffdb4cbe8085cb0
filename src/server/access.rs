//! Who may call: the name that a call was sent to, and the key that it carries.
//!
//! A page somewhere else must not reach a server on this machine by giving its own name this machine's address, so `Host`
//! must be a name that the server knows itself by. Keys are compared in a time that says nothing about them.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, header::AUTHORIZATION, header::HOST};
use sha2::{Digest, Sha256};

use crate::jobs::{Code, Refusal};

/// Who may call.
#[derive(Clone, Debug)]
pub struct Access {
    /// Hashes of the keys; without any none is asked for.
    keys: Vec<[u8; 32]>,
    /// The address that is listened on.
    listen: SocketAddr,
    /// The URL by which clients know the server, without a slash behind it.
    public_url: Option<String>,
}

impl Access {
    /// A server on `listen` for whoever has one of `keys`; without keys for everyone who reaches it.
    pub fn new(listen: SocketAddr, keys: &[String], public_url: Option<String>) -> Self {
        let hash = |key: &String| Sha256::digest(key.as_bytes()).into();
        Self {
            keys: keys.iter().map(hash).collect(),
            listen,
            public_url: public_url.map(|url| url.trim_end_matches('/').into()),
        }
    }

    /// Whether keys are asked for.
    pub(super) fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    /// The URL by which the sender of a call knows the server, if its `Host` is one of the server's names.
    ///
    /// # Errors
    /// Otherwise.
    pub(super) fn origin(&self, headers: &HeaderMap) -> Result<String, Refusal> {
        let mut hosts = headers.get_all(HOST).iter();
        let host = match (hosts.next(), hosts.next()) {
            (Some(host), None) => host.to_str().unwrap_or_default(),
            _ => "",
        };
        let name = host_name(host);
        let is_loopback = name.eq_ignore_ascii_case("localhost")
            || name
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback());
        let is_own = name
            .parse::<IpAddr>()
            .is_ok_and(|address| address == self.listen.ip());
        // Of a server that listens on all addresses every one is its own; a name is not.
        let is_any = self.listen.ip().is_unspecified() && name.parse::<IpAddr>().is_ok();
        let public = self.public_url.as_deref();
        let public_host = public
            .and_then(|url| url.split_once("://"))
            .map(|(_, rest)| rest);
        let public_name = public_host
            .and_then(|rest| rest.split('/').next())
            .map(host_name);
        let is_public = public_name.is_some_and(|public| public.eq_ignore_ascii_case(name));
        if !(is_loopback || is_own || is_any || is_public) {
            let shown: String = host.chars().take(80).collect();
            let message = format!(
                "the call was sent to `{shown}`, which is no name of this server; its operator may give it one as its public URL"
            );
            return Err(Refusal::new(Code::InvalidValue, message));
        }
        Ok(match public {
            Some(url) => url.into(),
            None => format!("http://{host}"),
        })
    }

    /// Whether the call carries a key, if one is asked for.
    ///
    /// # Errors
    /// If not.
    pub(super) fn check_key(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        if !self.has_keys() {
            return Ok(());
        }
        let given = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let given = given.and_then(|text| {
            let (scheme, key) = text.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
        });
        let Some(given) = given else {
            let message = "a key is needed: `Authorization: Bearer KEY`";
            return Err(Refusal::new(Code::InvalidApiKey, message));
        };
        let given: [u8; 32] = Sha256::digest(given.as_bytes()).into();
        // All keys and all their bytes are looked at, whatever they are.
        let differs = |key: &[u8; 32]| key.iter().zip(given).fold(0, |sum, (a, b)| sum | (a ^ b));
        let found = self
            .keys
            .iter()
            .fold(false, |found, key| found | (differs(key) == 0));
        match found {
            true => Ok(()),
            false => Err(Refusal::new(
                Code::InvalidApiKey,
                "the key is not one of this server's",
            )),
        }
    }

    /// What tells holders of different keys apart: a hash of the key.
    pub(super) fn account(headers: &HeaderMap) -> String {
        let key = headers.get(AUTHORIZATION);
        short_hash(key.map_or(&b""[..], |value| value.as_bytes()))
    }

    /// What tells callers apart: a hash of the key and the address.
    pub(super) fn caller(headers: &HeaderMap, peer: IpAddr) -> String {
        short_hash(format!("{} {peer}", Self::account(headers)).as_bytes())
    }
}

fn short_hash(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The name in a `Host`: without the port, and without the brackets of an IPv6 address. Empty if it is none.
fn host_name(host: &str) -> &str {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').unwrap_or_default(),
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let is_port = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|port| port.bytes().all(|c| c.is_ascii_digit()));
    if is_port { name } else { "" }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(name: axum::http::HeaderName, value: &str) -> HeaderMap {
        [(name, HeaderValue::from_str(value).unwrap())]
            .into_iter()
            .collect()
    }

    #[test]
    fn only_own_names_are_answered() {
        let local = Access::new("127.0.0.1:8190".parse().unwrap(), &[], None);
        let wide = Access::new(
            "0.0.0.0:80".parse().unwrap(),
            &[],
            Some("https://clips.example/a/".into()),
        );
        for (host, at_local, at_wide) in [
            ("127.0.0.1:8190", true, true),
            ("localhost", true, true),
            ("LocalHost:1", true, true),
            ("[::1]:8190", true, true),
            ("192.0.2.1:80", false, true),
            ("clips.example", false, true),
            ("clips.example.evil", false, false),
            ("evil.example:8190", false, false),
            ("127.0.0.1.evil.example", false, false),
            ("", false, false),
            ("localhost:", true, true),
            ("localhost:80/x", false, false),
            ("localhost:\"", false, false),
            ("[::1", false, false),
            ("[::1]x", false, false),
            ("::1", false, false),
            ("evil.example@localhost", false, false),
        ] {
            let asked = headers(HOST, host);
            assert_eq!(local.origin(&asked).is_ok(), at_local, "{host}");
            assert_eq!(wide.origin(&asked).is_ok(), at_wide, "{host}");
        }
        assert!(local.origin(&HeaderMap::new()).is_err());
        let mut two = headers(HOST, "localhost");
        two.append(HOST, HeaderValue::from_static("localhost"));
        assert!(local.origin(&two).is_err());
        let url = local.origin(&headers(HOST, "localhost:8190")).unwrap();
        assert_eq!(url, "http://localhost:8190");
        assert_eq!(
            wide.origin(&headers(HOST, "localhost")).unwrap(),
            "https://clips.example/a"
        );
    }

    #[test]
    fn one_of_the_keys_is_needed_if_there_are_any() {
        let keys = ["one".to_string(), "two".into()];
        let access = Access::new("127.0.0.1:1".parse().unwrap(), &keys, None);
        for (value, is_right) in [
            ("Bearer one", true),
            ("bearer two", true),
            ("Bearer on", false),
            ("Bearer one2", false),
            ("Basic one", false),
            ("one", false),
            ("Bearer ", false),
        ] {
            let given = headers(AUTHORIZATION, value);
            assert_eq!(access.check_key(&given).is_ok(), is_right, "{value}");
        }
        assert!(access.check_key(&HeaderMap::new()).is_err());
        let open = Access::new("127.0.0.1:1".parse().unwrap(), &[], None);
        assert!(open.check_key(&headers(AUTHORIZATION, "Bearer x")).is_ok());
    }
}
