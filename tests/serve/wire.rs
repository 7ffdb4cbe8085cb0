//! HTTP as it goes over the wire: calls are written as bytes and answers are read from bytes, so that a test sees what a
//! client of any kind would.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::Value;

/// One call.
#[derive(Clone)]
pub(crate) struct Call {
    method: &'static str,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Call {
    pub(crate) fn new(method: &'static str, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new("GET", path)
    }

    /// A job, asked for by JSON.
    pub(crate) fn create(fields: &Value) -> Self {
        let call = Self::new("POST", "/v1/videos").header("Content-Type", "application/json");
        call.body(fields.to_string())
    }

    /// The same by a form.
    pub(crate) fn form(form: Form) -> Self {
        let kind = format!("multipart/form-data; boundary={BOUNDARY}");
        let call = Self::new("POST", "/v1/videos").header("Content-Type", &kind);
        call.body(form.end())
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// The same at another path.
    pub(crate) fn to(mut self, path: &str) -> Self {
        self.path = path.into();
        self
    }

    fn head(&self, length: &str) -> String {
        let has_host = self.headers.iter().any(|(name, _)| name == "Host");
        let host = if has_host { "" } else { "Host: 127.0.0.1\r\n" };
        let headers: String = self
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let (method, path) = (self.method, &self.path);
        format!("{method} {path} HTTP/1.1\r\n{host}{headers}{length}Connection: close\r\n\r\n")
    }

    /// As it is sent.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let length = match self.body.is_empty() {
            true => String::new(),
            false => format!("Content-Length: {}\r\n", self.body.len()),
        };
        [self.head(&length).as_bytes(), &self.body].concat()
    }

    /// The same without a length, in chunks.
    pub(crate) fn chunked(&self) -> Vec<u8> {
        let mut bytes = self.head("Transfer-Encoding: chunked\r\n").into_bytes();
        for chunk in self.body.chunks(100.max(self.body.len() / 100)) {
            bytes.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
            bytes.extend([chunk, b"\r\n"].concat());
        }
        bytes.extend(b"0\r\n\r\n");
        bytes
    }
}

const BOUNDARY: &str = "----gallop-boundary";

/// A form with parts.
#[derive(Default, Clone)]
pub(crate) struct Form(Vec<u8>);

impl Form {
    fn part(mut self, head: &str, content: &[u8]) -> Self {
        let head = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{head}\r\n\r\n");
        self.0.extend([head.as_bytes(), content, b"\r\n"].concat());
        self
    }

    pub(crate) fn text(self, name: &str, value: &str) -> Self {
        self.part(&format!("{name}\""), value.as_bytes())
    }

    pub(crate) fn file(self, name: &str, file: &str, kind: &str, content: &[u8]) -> Self {
        let head = format!("{name}\"; filename=\"{file}\"\r\nContent-Type: {kind}");
        self.part(&head, content)
    }

    /// What was written so far, as of a client that goes away.
    pub(crate) fn unfinished(self) -> Vec<u8> {
        self.0
    }

    fn end(self) -> Vec<u8> {
        [&self.0[..], format!("--{BOUNDARY}--\r\n").as_bytes()].concat()
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(other, _)| other == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {} {text}", self.status))
    }

    /// The error object, whose four members are always there.
    #[track_caller]
    pub(crate) fn error(&self, status: u16) -> Value {
        let json = self.json();
        assert_eq!(self.status, status, "{json}");
        let error = json["error"].as_object().expect("an error");
        let names: Vec<&str> = error.keys().map(String::as_str).collect();
        assert_eq!(names, ["message", "type", "param", "code"]);
        json["error"].clone()
    }
}

/// A connection.
pub(crate) struct Connection(BufReader<TcpStream>);

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        Self(BufReader::new(stream))
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.get_mut().write_all(bytes)
    }

    /// The answer to what was sent; a `HEAD` is answered without the body that is spoken of.
    pub(crate) fn answer(&mut self, method: &str) -> io::Result<Answer> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("no answer: {line:?}")))?;
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(": ") else {
                break;
            };
            headers.push((name.to_ascii_lowercase(), value.to_string()));
        }
        let mut answer = Answer {
            status,
            headers,
            body: Vec::new(),
        };
        let length = answer.header("content-length").map(str::parse::<u64>);
        if method == "HEAD" || [204, 304].contains(&status) {
            return Ok(answer);
        }
        match length {
            Some(length) => {
                let length = length.map_err(io::Error::other)?;
                (&mut self.0).take(length).read_to_end(&mut answer.body)?;
            }
            None if answer.header("transfer-encoding") == Some("chunked") => {
                while let Some(chunk) = self.chunk()? {
                    answer.body.extend(chunk);
                }
            }
            None => drop(self.0.read_to_end(&mut answer.body)?),
        }
        Ok(answer)
    }

    /// The next chunk of an answer without a length; `None` at its end.
    fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        let length = usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
        let mut chunk = vec![0; length + 2];
        self.0.read_exact(&mut chunk)?;
        chunk.truncate(length);
        Ok(Some(chunk).filter(|chunk| !chunk.is_empty()))
    }

    /// Whether the server has closed it, waiting at most `patience`.
    pub(crate) fn is_closed(&mut self, patience: Duration) -> bool {
        self.0.get_ref().set_read_timeout(Some(patience)).unwrap();
        match self.0.read(&mut [0]) {
            Ok(count) => count == 0,
            Err(e) => e.kind() == io::ErrorKind::ConnectionReset,
        }
    }
}

/// An event of a stream of them.
#[derive(Debug)]
pub(crate) struct ServerEvent {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) data: Value,
}

/// The events of a whole answer.
pub(crate) fn events(answer: &Answer) -> Vec<ServerEvent> {
    let text = String::from_utf8(answer.body.clone()).unwrap();
    let line = |block: &str, name: &str| {
        let mut lines = block.lines();
        let found = lines.find_map(|line| line.strip_prefix(&format!("{name}: ")));
        found.unwrap_or_default().to_string()
    };
    let blocks = text.split("\n\n").filter(|block| block.contains("data:"));
    blocks
        .map(|block| ServerEvent {
            name: line(block, "event"),
            id: line(block, "id"),
            data: serde_json::from_str(&line(block, "data")).unwrap(),
        })
        .collect()
}
