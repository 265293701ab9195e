//! A client for one command at a time. Tests have a client of their own so that it shares no bug with the client under test.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long a reply may take. A server that takes longer counts as frozen.
const PATIENCE: Duration = Duration::from_secs(5);
/// The bounds of a reply, in bytes and in levels. No reply in the tests is larger or deeper.
const LARGEST: usize = 64 << 20;
const DEEPEST: usize = 8;

/// A server's reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// No value.
    Nil,
    /// A number.
    Integer(i64),
    /// Text. Bytes that are not UTF-8 are replaced.
    Text(String),
    /// An array of replies.
    Array(Vec<Reply>),
}

impl Reply {
    /// The text, or the number as text; none for `Nil` and arrays.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Integer(number) => Some(number.to_string()),
            Self::Nil | Self::Array(_) => None,
        }
    }

    /// The number, also if the reply is text.
    pub fn integer(&self) -> Option<i64> {
        self.text()?.parse().ok()
    }

    /// The elements of the array; none if the reply is something else.
    pub fn items(&self) -> &[Reply] {
        match self {
            Self::Array(items) => items,
            _ => &[],
        }
    }

    /// The value after `name` in an array of names and values.
    pub fn field(&self, name: &str) -> Option<&Reply> {
        let named = |pair: &&[Reply]| pair[0].text().as_deref() == Some(name);
        self.items().chunks_exact(2).find(named).map(|pair| &pair[1])
    }
}

/// Why there is no reply.
#[derive(Debug)]
pub enum Error {
    /// The server refused the command. The text is its message, such as `OOM command not allowed …`.
    Refused(String),
    /// The server is gone, or has not answered within 5 s.
    Silent(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(words) => f.write_str(words),
            Self::Silent(error) => write!(f, "no answer: {error}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Refused(_) => None,
            Self::Silent(error) => Some(error),
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Silent(error)
    }
}

/// A connection to a server's Unix socket, which works whatever the state of its ports, TLS and the network.
#[derive(Debug)]
pub(crate) struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    pub(crate) fn connect(socket: &Path) -> Result<Self, Error> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    pub(crate) fn command<W: AsRef<[u8]>>(&mut self, words: &[W]) -> Result<Reply, Error> {
        let mut request = format!("*{}\r\n", words.len()).into_bytes();
        for word in words.iter().map(AsRef::as_ref) {
            request.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            request.extend_from_slice(word);
            request.extend_from_slice(b"\r\n");
        }
        self.stream.get_mut().write_all(&request)?;
        read(&mut self.stream, 0)
    }
}

/// Reads one reply (RESP2, <https://redis.io/docs/latest/develop/reference/protocol-spec/>). An error within an array makes the
/// whole reply an error.
fn read(from: &mut impl BufRead, depth: usize) -> Result<Reply, Error> {
    let malformed = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    if depth > DEEPEST {
        return Err(malformed("arrays within arrays within arrays").into());
    }
    let mut line = String::new();
    from.by_ref().take(LARGEST as u64).read_line(&mut line)?;
    let Some(line) = line.strip_suffix("\r\n") else {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    };
    let (kind, rest) = line.split_at_checked(1).ok_or_else(|| malformed("an empty line"))?;
    let number = || rest.parse::<i64>().map_err(|_| malformed(line));
    match kind {
        "+" => Ok(Reply::Text(rest.to_owned())),
        "-" => Err(Error::Refused(rest.to_owned())),
        ":" => Ok(Reply::Integer(number()?)),
        "$" | "*" => match usize::try_from(number()?) {
            Err(_) => Ok(Reply::Nil),
            Ok(length) if length > LARGEST => Err(malformed(line).into()),
            Ok(length) if kind == "$" => {
                let mut bytes = vec![0; length + 2];
                from.read_exact(&mut bytes)?;
                bytes.truncate(length);
                Ok(Reply::Text(String::from_utf8_lossy(&bytes).into_owned()))
            }
            Ok(length) => (0..length)
                .map(|_| read(from, depth + 1))
                .collect::<Result<_, _>>()
                .map(Reply::Array),
        },
        _ => Err(malformed(line).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_of_every_kind() {
        let read = |text: &str| read(&mut text.as_bytes(), 0);
        assert_eq!(read("+OK\r\n").unwrap(), Reply::Text("OK".into()));
        assert_eq!(read("$5\r\na\r\nb!\r\n").unwrap(), Reply::Text("a\r\nb!".into()));
        assert_eq!(read("$-1\r\n").unwrap(), Reply::Nil);
        let nested = read("*3\r\n:1\r\n*1\r\n$1\r\nx\r\n*-1\r\n").unwrap();
        let inner = Reply::Array(vec![Reply::Text("x".into())]);
        assert_eq!(nested, Reply::Array(vec![Reply::Integer(1), inner, Reply::Nil]));
        assert!(matches!(read("-OOM no\r\n"), Err(Error::Refused(words)) if words == "OOM no"));
        for bad in ["", "+OK", "?\r\n", "$9999999999\r\n", ":x\r\n", "\r\n", "$2\r\nx"] {
            assert!(matches!(read(bad), Err(Error::Silent(_))), "{bad:?}");
        }
        assert!(read(&"*1\r\n".repeat(20)).is_err());
    }
}
