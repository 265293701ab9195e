//! Reading clients' frames, with tungstenite as the oracle: it writes what is valid, and reads what may not be.

use std::io::{self, Read, Write};
use std::time::Duration;

use milepost_protocol::CloseCode;
use milepost_server::websocket::frame;
use milepost_server::websocket::inbound::{Inbound, Reader, Violation};
use proptest::collection::vec;
use proptest::prelude::*;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tungstenite::protocol::frame::{Frame, FrameHeader};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

const LIMIT: usize = 1_000;

/// What a client may say.
#[derive(Clone, Debug)]
enum Sent {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
}

fn sent() -> impl Strategy<Value = Sent> {
    let control = || vec(any::<u8>(), 0..=125);
    prop_oneof![
        3 => ".{0,240}".prop_map(Sent::Text),
        1 => "[a-é]{400,500}".prop_map(Sent::Text),
        2 => vec(any::<u8>(), 0..=LIMIT).prop_map(Sent::Binary),
        1 => control().prop_map(Sent::Ping),
        1 => control().prop_map(Sent::Pong),
    ]
}

fn close() -> impl Strategy<Value = Option<(u16, String)>> {
    // 1014 was registered later than tungstenite knows.
    let codes = prop_oneof![1000_u16..=1003, 1007_u16..=1013, 3000_u16..=4999];
    proptest::option::of((codes, "[a-zé]{0,60}"))
}

/// Cuts to make, each as a share of what is to be cut.
fn cuts() -> impl Strategy<Value = Vec<f64>> {
    vec(0.0..1.0, 0..6)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a place to cut at is not exact"
)]
fn cut<'b>(bytes: &'b [u8], cuts: &[f64]) -> Vec<&'b [u8]> {
    let mut places: Vec<usize> =
        cuts.iter().map(|share| (bytes.len() as f64 * share) as usize).collect();
    places.sort_unstable();
    let (mut pieces, mut from) = (Vec::new(), 0);
    for to in places.into_iter().chain([bytes.len()]) {
        pieces.push(&bytes[from..to]);
        from = to;
    }
    pieces
}

fn write(payload: &[u8], opcode: OpCode, is_final: bool, mask: [u8; 4], out: &mut Vec<u8>) {
    let header = FrameHeader { is_final, opcode, mask: Some(mask), ..FrameHeader::default() };
    Frame::from_payload(header, payload.to_vec().into()).format(out).unwrap();
}

/// A client's bytes for one message; a ping goes in between its fragments.
fn encode(sent: &Sent, cuts: &[f64], mask: [u8; 4], out: &mut Vec<u8>) {
    let (kind, payload) = match sent {
        Sent::Text(text) => (Data::Text, text.as_bytes()),
        Sent::Binary(bytes) => (Data::Binary, &bytes[..]),
        Sent::Ping(payload) => {
            return write(payload, OpCode::Control(Control::Ping), true, mask, out);
        }
        Sent::Pong(payload) => {
            return write(payload, OpCode::Control(Control::Pong), true, mask, out);
        }
    };
    let pieces = cut(payload, cuts);
    for (index, piece) in pieces.iter().enumerate() {
        let kind = if index == 0 { kind } else { Data::Continue };
        let is_last = index + 1 == pieces.len();
        write(piece, OpCode::Data(kind), is_last, mask, out);
        if !is_last {
            write(b"between", OpCode::Control(Control::Ping), true, mask, out);
        }
    }
}

/// All that a reader makes of bytes that come in such pieces.
fn read(pieces: &[&[u8]]) -> (Vec<Inbound>, Option<Violation>) {
    let (mut reader, mut heard) = (Reader::default(), Vec::new());
    for piece in pieces {
        let mut closed = false;
        let read = reader.read(piece, LIMIT, |message| {
            closed = matches!(message, Inbound::Close(_));
            heard.push(message);
            !closed
        });
        if let Err(violation) = read {
            return (heard, Some(violation));
        }
        if closed {
            break;
        }
    }
    (heard, None)
}

#[test]
fn a_deadline_is_of_one_message_with_all_its_fragments() {
    let at = Duration::from_secs(1);
    let mut reader = Reader::default();
    reader.set_deadline(at);
    assert_eq!(reader.deadline(), None, "nothing is incomplete");
    let fragment = |first: u8, last: &[u8]| [&[first, 0x81, 0, 0, 0, 0, b'a'], last].concat();
    let mut read = |bytes: &[u8], has_deadline: bool| {
        reader.read(bytes, LIMIT, |_| true).unwrap();
        assert!(!reader.is_idle());
        assert_eq!(reader.deadline().is_some(), has_deadline);
        reader.set_deadline(at);
    };
    read(&[0x01], false);
    read(&fragment(0x01, &[])[1..], true);
    // A whole ping, the half of another, and the next fragment: still the same message.
    read(&fragment(0x89, &[0x89]), true);
    read(&fragment(0x89, &[0x00])[1..], true);
    read(&fragment(0x00, &[])[1..], true);
    // The last fragment, and the beginning of the next message.
    read(&fragment(0x80, &[0x81]), false);
}

/// A client's bytes for tungstenite to read; what it answers is thrown away.
struct Wire<'b>(&'b [u8]);

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What tungstenite makes of the same bytes; whether it found fault with them.
fn oracle(bytes: &[u8]) -> (Vec<Inbound>, bool) {
    let config =
        WebSocketConfig::default().max_message_size(Some(LIMIT)).max_frame_size(Some(LIMIT));
    let mut socket = WebSocket::from_raw_socket(Wire(bytes), Role::Server, Some(config));
    let mut heard = Vec::new();
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => heard.push(Inbound::Text(text.to_string())),
            Ok(Message::Binary(_)) => heard.push(Inbound::Binary),
            Ok(Message::Ping(payload)) => heard.push(Inbound::Ping(payload.to_vec())),
            Ok(Message::Pong(_) | Message::Frame(_)) => {}
            Ok(Message::Close(close)) => {
                heard.push(Inbound::Close(close.map(|frame| frame.code.into())));
                return (heard, false);
            }
            Err(Error::Protocol(
                tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
            )) => {
                return (heard, false);
            }
            Err(_) => return (heard, true),
        }
    }
}

fn expected(sent: &[(Sent, Vec<f64>, [u8; 4])]) -> Vec<Inbound> {
    let mut expected = Vec::new();
    for (message, cuts, _) in sent {
        match message {
            Sent::Ping(payload) => expected.push(Inbound::Ping(payload.clone())),
            Sent::Pong(_) => {}
            Sent::Text(_) | Sent::Binary(_) => {
                expected.extend(cuts.iter().map(|_| Inbound::Ping(b"between".to_vec())));
                expected.push(match message {
                    Sent::Text(text) => Inbound::Text(text.clone()),
                    _ => Inbound::Binary,
                });
            }
        }
    }
    expected
}

fn bytes_of(sent: &[(Sent, Vec<f64>, [u8; 4])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (message, cuts, mask) in sent {
        encode(message, cuts, *mask, &mut bytes);
    }
    bytes
}

fn conversation() -> impl Strategy<Value = Vec<(Sent, Vec<f64>, [u8; 4])>> {
    vec((sent(), cuts(), any::<[u8; 4]>()), 0..6)
}

/// Whether a frame begins here that says that it is larger than what may still come of its message.
fn violates_the_limit(bytes: &[u8]) -> bool {
    let (mut rest, mut message) = (bytes, 0_u64);
    loop {
        let mut cursor = io::Cursor::new(rest);
        let Ok(Some((header, len))) = FrameHeader::parse(&mut cursor) else { return false };
        if let OpCode::Data(kind) = header.opcode {
            message = if kind == Data::Continue { message.saturating_add(len) } else { len };
            if message > LIMIT as u64 {
                return true;
            }
        }
        let start = usize::try_from(cursor.position()).unwrap();
        let Some(next) =
            usize::try_from(len).ok().and_then(|len| rest.get(start.checked_add(len)?..))
        else {
            return false;
        };
        rest = next;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn valid_frames_are_read_however_they_are_cut(
        sent in conversation(), close in close(), chunks in vec(0.0..1.0, 0..40),
    ) {
        let mut bytes = bytes_of(&sent);
        let payload = close.as_ref().map_or_else(Vec::new, |(code, reason)| {
            [&code.to_be_bytes(), reason.as_bytes()].concat()
        });
        write(&payload, OpCode::Control(Control::Close), true, [1, 2, 3, 4], &mut bytes);
        let mut expected = expected(&sent);
        expected.push(Inbound::Close(close.map(|(code, _)| code)));
        let expected = (expected, None);
        prop_assert_eq!(&read(&cut(&bytes, &chunks)), &expected);
        let one_by_one: Vec<&[u8]> = bytes.chunks(1).collect();
        prop_assert_eq!(&read(&one_by_one), &expected);
        prop_assert_eq!(oracle(&bytes), (expected.0, false));
    }

    #[test]
    fn a_reader_is_idle_between_messages_and_only_then(sent in conversation()) {
        let mut reader = Reader::default();
        for one in sent {
            let bytes = bytes_of(&[one]);
            for (index, byte) in bytes.iter().enumerate() {
                prop_assert_eq!(reader.is_idle(), index == 0);
                reader.read(&[*byte], LIMIT, |_| true).unwrap();
            }
        }
        prop_assert!(reader.is_idle());
    }

    #[test]
    fn what_was_damaged_is_judged_like_the_oracle_does(
        sent in conversation(), damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        chunks in vec(0.0..1.0, 0..10),
    ) {
        let mut bytes = bytes_of(&sent);
        prop_assume!(!bytes.is_empty());
        for (place, value) in damage {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        // Completes whatever is not, and is itself a fault: frames without a mask.
        bytes.extend([0; 2 * LIMIT]);
        let whole = read(&[&bytes]);
        prop_assert_eq!(&read(&cut(&bytes, &chunks)), &whole, "cutting changes nothing");
        let (heard, violation) = whole;
        let (mut theirs, fault) = oracle(&bytes);
        let closed = heard.iter().any(|message| matches!(message, Inbound::Close(_)));
        prop_assert!(closed != violation.is_some());
        // What to answer a close frame with is judged elsewhere.
        let theirs_closed = theirs.pop_if(|last| matches!(last, Inbound::Close(_))).is_some();
        prop_assert!(theirs_closed != fault);
        let heard: Vec<_> =
            heard.into_iter().filter(|message| !matches!(message, Inbound::Close(_))).collect();
        prop_assert_eq!(heard, theirs);
    }

    #[test]
    fn any_bytes_are_judged_at_once_and_never_kept_beyond_the_limit(
        bytes in vec(prop_oneof![Just(0x80), Just(0x01), Just(0xff), Just(0xfe), any::<u8>()], 0..3_000),
        chunks in vec(0.0..1.0, 0..10),
    ) {
        let (heard, violation) = read(&cut(&bytes, &chunks));
        let too_long = |message: &Inbound| match message {
            Inbound::Text(text) => text.len() > LIMIT,
            Inbound::Ping(payload) => payload.len() > 125,
            _ => false,
        };
        prop_assert!(!heard.iter().any(too_long));
        prop_assert_eq!(read(&[&bytes]), (heard, violation));
    }

    /// The header is enough: nothing of such a message is kept while it comes in.
    #[test]
    fn a_message_over_the_limit_is_refused_by_its_header(
        earlier in vec(0..=LIMIT, 0..3), len in LIMIT as u64 + 1..=i64::MAX as u64, mask: [u8; 4],
    ) {
        let mut bytes = Vec::new();
        let mut sum = 0;
        for (index, len) in earlier.iter().enumerate() {
            let kind = if index == 0 { Data::Text } else { Data::Continue };
            write(&vec![b'x'; *len], OpCode::Data(kind), false, mask, &mut bytes);
            sum += len;
        }
        let kind = if earlier.is_empty() { Data::Binary } else { Data::Continue };
        let header = FrameHeader {
            is_final: true, opcode: OpCode::Data(kind), mask: Some(mask), ..FrameHeader::default()
        };
        let over = if sum > LIMIT { 0 } else { len };
        header.format(over, &mut bytes).unwrap();
        prop_assert!(violates_the_limit(&bytes));
        let (heard, violation) = read(&[&bytes]);
        prop_assert_eq!(heard, vec![]);
        prop_assert_eq!(violation.map(|violation| violation.code), Some(CloseCode::MessageTooLarge));
    }

    #[test]
    fn what_the_server_writes_is_read_by_the_oracle(
        text in ".{0,200}", times in prop_oneof![Just(1_usize), 2_usize..400],
        payload in vec(any::<u8>(), 0..=125), reason in ".{0,200}",
    ) {
        let text = text.repeat(times);
        let mut bytes = Vec::new();
        frame::text(&text, &mut bytes);
        frame::pong(&payload, &mut bytes);
        frame::close(CloseCode::BadRequest, &reason, &mut bytes);
        let mut socket = WebSocket::from_raw_socket(Wire(&bytes), Role::Client, None);
        prop_assert_eq!(socket.read().unwrap(), Message::text(text));
        prop_assert_eq!(socket.read().unwrap(), Message::Pong(payload.into()));
        let Message::Close(Some(close)) = socket.read().unwrap() else {
            return Err(TestCaseError::fail("a close frame"));
        };
        prop_assert_eq!(u16::from(close.code), 4400);
        let shown = close.reason.as_str();
        prop_assert!(reason.starts_with(shown) && (shown == reason || shown.len() > 119));
    }
}
