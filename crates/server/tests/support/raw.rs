use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Response, Server, within};

/// A WebSocket whose client says what a test wants, byte by byte.
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
    read: Vec<u8>,
}

/// A frame of the server's.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) opcode: u8,
    pub(crate) payload: Vec<u8>,
}

/// A client's frame: `first` is its first byte.
pub(crate) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..126 => frame.push(0x80 | u8::try_from(len).unwrap()),
        len @ 126..0x1_0000 => {
            frame.push(0x80 + 126);
            frame.extend(u16::try_from(len).unwrap().to_be_bytes());
        }
        len => {
            frame.push(0x80 + 127);
            frame.extend(u64::try_from(len).unwrap().to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// The request that begins a WebSocket at `path`.
pub(crate) fn handshake(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
}

impl Raw {
    /// Connects and has shaken hands.
    pub(crate) async fn open(server: &Server, path: &str) -> Self {
        Self::over(server.connect().await, path, &[]).await
    }

    /// Shakes hands on a connection, and sends `behind` together with the request.
    pub(crate) async fn over(mut stream: TcpStream, path: &str, behind: &[u8]) -> Self {
        let request = [handshake(path).as_bytes(), behind].concat();
        stream.write_all(&request).await.unwrap();
        Self::answered(stream).await
    }

    /// A connection on which the handshake was asked for.
    pub(crate) async fn answered(stream: TcpStream) -> Self {
        let mut raw = Self { stream, read: Vec::new() };
        let head = within("the handshake's answer", raw.head()).await;
        assert_eq!(head.status, 101, "{head:?}");
        raw
    }

    async fn head(&mut self) -> Response {
        loop {
            if let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                let rest = self.read.split_off(end + 4);
                let head = std::mem::replace(&mut self.read, rest);
                return Response::parse(&head);
            }
            assert!(self.more().await, "the connection ended before the handshake did");
        }
    }

    async fn more(&mut self) -> bool {
        matches!(self.stream.read_buf(&mut self.read).await, Ok(1..))
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The same, where the server may have closed.
    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes).await
    }

    pub(crate) async fn say(&mut self, text: &str) {
        self.send(&masked(0x81, text.as_bytes())).await;
    }

    /// The next frame; none when the server has closed, or reset, the connection.
    pub(crate) async fn frame(&mut self) -> Option<Frame> {
        within("a frame", async {
            loop {
                if let Some(frame) = self.parse() {
                    return Some(frame);
                }
                if !self.more().await {
                    assert!(self.read.is_empty(), "torn: {:?}", self.read);
                    return None;
                }
            }
        })
        .await
    }

    fn parse(&mut self) -> Option<Frame> {
        let (first, second) = (*self.read.first()?, *self.read.get(1)?);
        assert_eq!(first & 0xf0, 0x80, "a final frame without reserved bits");
        let (len, start) = match second {
            126 => (u16::from_be_bytes(self.read.get(2..4)?.try_into().unwrap()).into(), 4),
            127 => (u64::from_be_bytes(self.read.get(2..10)?.try_into().unwrap()), 10),
            len => {
                assert!(len < 126, "a server's frames are not masked");
                (len.into(), 2)
            }
        };
        let end = start + usize::try_from(len).unwrap();
        if self.read.len() < end {
            return None;
        }
        let rest = self.read.split_off(end);
        let payload = std::mem::replace(&mut self.read, rest).split_off(start);
        Some(Frame { opcode: first & 0x0f, payload })
    }

    /// The next text message but keepalives, read.
    pub(crate) async fn next(&mut self) -> Value {
        let next = async {
            loop {
                let frame = self.frame().await.expect("an open socket");
                assert_eq!(frame.opcode, 1, "{frame:?}");
                let value: Value = serde_json::from_slice(&frame.payload).unwrap();
                if value["type"] != "ping" {
                    return value;
                }
            }
        };
        within("a message that is no keepalive", next).await
    }

    /// The code and the reason of the close frame, which comes before any other frame but text and pongs.
    /// Nothing follows it but the end of the connection.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        loop {
            let frame = self.frame().await.expect("a close frame");
            if frame.opcode != 8 {
                continue;
            }
            assert_eq!(self.frame().await, None, "nothing after the close frame");
            let Some((code, reason)) = frame.payload.split_first_chunk::<2>() else {
                // As RFC 6455 has it for a close frame without a code.
                return (1005, String::new());
            };
            return (u16::from_be_bytes(*code), String::from_utf8(reason.to_vec()).unwrap());
        }
    }

    /// Proves that the socket still works.
    pub(crate) async fn is_answered(&mut self) {
        self.say(r#"{"type":"ping"}"#).await;
        while self.next().await["type"] != "pong" {}
    }
}
