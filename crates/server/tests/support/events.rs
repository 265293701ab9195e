use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::{Response, Server, within};

/// A stream of server-sent events.
pub(crate) struct Events {
    pub(crate) head: Response,
    reader: BufReader<TcpStream>,
    read: String,
}

/// One block of such a stream, as it was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) name: Option<String>,
    pub(crate) id: Option<String>,
    pub(crate) data: Option<String>,
    pub(crate) retry: Option<String>,
    pub(crate) comment: Option<String>,
}

impl Events {
    /// Asks for a stream, and gets the head of the answer.
    pub(crate) async fn open(server: &Server, path: &str, headers: &str) -> Self {
        let mut stream = server.connect().await;
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let read = within("the head", reader.read_line(&mut head)).await.unwrap();
            assert_ne!(read, 0, "{head}");
        }
        Self { head: Response::parse(head.as_bytes()), reader, read: String::new() }
    }

    /// The next event or comment; none when the stream has come to its proper end.
    pub(crate) async fn next_block(&mut self) -> Option<Event> {
        loop {
            if let Some((block, rest)) = self.read.split_once("\n\n") {
                let (event, rest) = (Event::parse(block), rest.to_owned());
                self.read = rest;
                return Some(event);
            }
            let chunk = within("an event", self.chunk()).await;
            if chunk.is_empty() {
                assert_eq!(self.read, "", "a torn event");
                return None;
            }
            self.read.push_str(&chunk);
        }
    }

    async fn chunk(&mut self) -> String {
        let mut size = String::new();
        self.reader.read_line(&mut size).await.unwrap();
        let size = usize::from_str_radix(size.trim(), 16).expect("a chunk's size");
        let mut chunk = vec![0; size + 2];
        self.reader.read_exact(&mut chunk).await.unwrap();
        chunk.truncate(size);
        String::from_utf8(chunk).unwrap()
    }

    /// The next event.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        let next = async {
            loop {
                let event = self.next_block().await?;
                if event.comment.is_none() {
                    return Some(event);
                }
            }
        };
        within("an event that is no comment", next).await
    }

    /// The next event's data.
    pub(crate) async fn data(&mut self) -> Value {
        self.next().await.expect("an event").json()
    }

    /// The states up to the one at that position, by their positions.
    pub(crate) async fn until(&mut self, position: &Value) -> Vec<Value> {
        let mut seen = Vec::new();
        while seen.last() != Some(position) {
            seen.push(self.data().await["position"].clone());
        }
        seen
    }
}

impl Event {
    fn parse(block: &str) -> Self {
        let mut event = Self::default();
        for line in block.lines() {
            let (field, value) = line.split_once(": ").expect("a field");
            let field = match field {
                "" => &mut event.comment,
                "event" => &mut event.name,
                "id" => &mut event.id,
                "data" => &mut event.data,
                "retry" => &mut event.retry,
                other => panic!("the field {other:?}"),
            };
            assert_eq!(field.replace(value.to_owned()), None, "{block}");
        }
        // ": keepalive" splits at its beginning: the field is empty.
        event
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(self.data.as_deref().expect("data")).unwrap()
    }
}
