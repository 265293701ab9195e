//! One HTTP/1.1 connection that is kept alive, for workers' reports.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a worker waits for a response.
const PATIENCE: Duration = Duration::from_secs(2);
/// No answer to a report is longer.
const LARGEST: usize = 1 << 20;

#[derive(Debug)]
pub(crate) struct Connection {
    address: SocketAddr,
    stream: TcpStream,
    bytes: Vec<u8>,
    /// The key to send, if the server asks for one.
    key: Option<&'static str>,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = timeout(PATIENCE, TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        Ok(Self { address, stream, bytes: Vec::new(), key: None })
    }

    /// The same connection, with a key in each request.
    pub(crate) fn with_key(self, key: Option<&'static str>) -> Self {
        Self { key, ..self }
    }

    pub(crate) async fn post(&mut self, path: &str, body: &str) -> io::Result<Answer> {
        self.ask("POST", path, body).await
    }

    pub(crate) async fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.ask("GET", path, "").await
    }

    async fn ask(&mut self, method: &str, path: &str, body: &str) -> io::Result<Answer> {
        let exchange = async {
            self.send(method, path, body, body.len()).await?;
            self.answer().await
        };
        timeout(PATIENCE, exchange).await?
    }

    /// Sends a report and goes: as a worker that is killed while it reports. Of the body, `sent` bytes are sent.
    pub(crate) async fn post_and_die(mut self, path: &str, body: &str, sent: usize) {
        // Whoever is dead does not hear of it.
        let _ = timeout(PATIENCE, self.send("POST", path, body, sent)).await;
    }

    async fn send(&mut self, method: &str, path: &str, body: &str, sent: usize) -> io::Result<()> {
        let (address, length) = (self.address, body.len());
        let body = &body[..sent];
        let authorization = self.key.map(|key| format!("Authorization: Bearer {key}\r\n"));
        let authorization = authorization.unwrap_or_default();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\n{authorization}Content-Length: {length}\r\n\r\n{body}"
        );
        self.stream.write_all(request.as_bytes()).await
    }

    async fn answer(&mut self) -> io::Result<Answer> {
        loop {
            if let Some(answer) = self.whole()? {
                return Ok(answer);
            }
            let mut chunk = [0; 4096];
            let read = self.stream.read(&mut chunk).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.bytes.extend_from_slice(&chunk[..read]);
            if self.bytes.len() > LARGEST {
                return Err(malformed("a long answer"));
            }
        }
    }

    /// Takes a response out of the received bytes, once it is complete.
    fn whole(&mut self) -> io::Result<Option<Answer>> {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut response = httparse::Response::new(&mut headers);
        let head = match response.parse(&self.bytes) {
            Ok(httparse::Status::Complete(head)) => head,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(malformed("an answer that is not HTTP")),
        };
        let status = response.code.unwrap_or(0);
        let named = |name: &str| {
            let header = response.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name))?;
            std::str::from_utf8(header.value).ok()
        };
        let chunked = named("transfer-encoding").is_some();
        let length = named("content-length").and_then(|length| length.parse::<usize>().ok());
        let (body, taken) = match length {
            Some(length) => match self.bytes.get(head..head + length) {
                Some(body) => (body.to_vec(), head + length),
                None => return Ok(None),
            },
            None if chunked => match unchunk(&self.bytes[head..])? {
                Some((body, length)) => (body, head + length),
                None => return Ok(None),
            },
            None => return Err(malformed("an answer of unknown length")),
        };
        self.bytes.drain(..taken);
        let body = String::from_utf8_lossy(&body).into_owned();
        Ok(Some(Answer { status, body }))
    }
}

/// The body in chunks at the start of `bytes`, and its length with all that goes with them (RFC 9112, section 7.1).
fn unchunk(bytes: &[u8]) -> io::Result<Option<(Vec<u8>, usize)>> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let (size, length) = match httparse::parse_chunk_size(&bytes[at..]) {
            Ok(httparse::Status::Complete((start, size))) => (start, size),
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(malformed("a chunk without a size")),
        };
        let length = usize::try_from(length).map_err(|_| malformed("a long chunk"))?;
        let start = at + size;
        let Some(chunk) = bytes.get(start..start + length) else { return Ok(None) };
        body.extend_from_slice(chunk);
        at = start + length + 2;
        if at > bytes.len() {
            return Ok(None);
        }
        if length == 0 {
            return Ok(Some((body, at)));
        }
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_joined() {
        let whole = b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\nHTTP";
        assert_eq!(unchunk(whole).unwrap(), Some((b"abcde".to_vec(), whole.len() - 4)));
        for end in 0..whole.len() - 4 {
            assert_eq!(unchunk(&whole[..end]).unwrap(), None, "{end}");
        }
        assert!(unchunk(b"x\r\n").is_err());
    }
}
