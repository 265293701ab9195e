//! What a client's bytes are read as: the same however they are cut, and the same as tungstenite reads them.
#![no_main]

use std::io::{self, Read, Write};

use libfuzzer_sys::fuzz_target;
use milepost_server::websocket::inbound::{Inbound, Reader, Violation};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Message, WebSocket};

const LIMIT: usize = 300;

// The first two bytes say where to cut, the others are what the client sends.
fuzz_target!(|bytes: &[u8]| {
    let Some((&[first, second], input)) = bytes.split_first_chunk() else { return };
    let whole = read(&[input]);
    assert_eq!(whole, read(&input.chunks(1).collect::<Vec<_>>()));
    let first = usize::from(first).min(input.len());
    let second = (first + usize::from(second)).min(input.len());
    assert_eq!(whole, read(&[&input[..first], &input[first..second], &input[second..]]));
    compare_with_oracle(input, &whole);
});

/// The messages, and what was wrong with the rest.
fn read(pieces: &[&[u8]]) -> (Vec<Inbound>, Option<Violation>) {
    let mut reader = Reader::default();
    let mut messages = Vec::new();
    for piece in pieces {
        let read = reader.read(piece, LIMIT, |message| {
            let goes_on = !matches!(message, Inbound::Close(_));
            messages.push(message);
            goes_on
        });
        if let Err(violation) = read {
            return (messages, Some(violation));
        }
        if matches!(messages.last(), Some(Inbound::Close(_))) {
            break;
        }
    }
    (messages, None)
}

fn compare_with_oracle(input: &[u8], (messages, violation): &(Vec<Inbound>, Option<Violation>)) {
    let config =
        WebSocketConfig::default().max_message_size(Some(LIMIT)).max_frame_size(Some(LIMIT));
    let mut oracle = WebSocket::from_raw_socket(Client(input), Role::Server, Some(config));
    let mut theirs = Vec::new();
    let refused = loop {
        match oracle.read() {
            Ok(Message::Text(text)) => theirs.push(Inbound::Text(text.to_string())),
            Ok(Message::Binary(_)) => theirs.push(Inbound::Binary),
            Ok(Message::Ping(payload)) => theirs.push(Inbound::Ping(payload.to_vec())),
            Ok(Message::Close(_)) => {
                theirs.push(Inbound::Close(None));
                break false;
            }
            Ok(Message::Pong(_) | Message::Frame(_)) => {}
            Err(tungstenite::Error::Io(_) | tungstenite::Error::ConnectionClosed) => break false,
            Err(_) => break true,
        }
    };
    // It knows fewer codes than are registered by now (1014), and makes 1002 of the others.
    let ours: Vec<_> = messages.iter().map(without_code).collect();
    // What comes before the first violation is the same. A violation is seen by both, but one of them may see it
    // earlier: in the header, or within a fragment.
    let common = ours.len().min(theirs.len());
    assert_eq!(ours[..common], theirs[..common]);
    if violation.is_none() && !refused {
        assert_eq!(ours, theirs);
    }
}

fn without_code(message: &Inbound) -> Inbound {
    match message {
        Inbound::Text(text) => Inbound::Text(text.clone()),
        Inbound::Binary => Inbound::Binary,
        Inbound::Ping(payload) => Inbound::Ping(payload.clone()),
        Inbound::Close(_) => Inbound::Close(None),
    }
}

/// A client that has sent all that it will.
struct Client<'a>(&'a [u8]);

impl Read for Client<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 if !buffer.is_empty() => Err(io::ErrorKind::WouldBlock.into()),
            read => Ok(read),
        }
    }
}

impl Write for Client<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
