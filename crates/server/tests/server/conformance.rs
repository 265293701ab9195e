//! RFC 6455, case by case, numbered as Autobahn's test suite numbers them (sections 1 to 7, and 10). Its server echoes; this one answers
//! `{"type":"ping"}` with a pong message and ignores other texts, so a case whose message is only to be accepted ends with the
//! question whether the socket still works. Sections 9 (large messages, here over the limit) and 12 and 13 (compression, which this
//! server does not agree to) are in `frames.rs` and `handshake.rs`.

use crate::support::{Frame, Raw, Server, masked};

const PING: &[u8] = br#"{"type":"ping"}"#;
const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PINGED: u8 = 0x89;
const PONGED: u8 = 0x8a;
/// The first bytes of fragments.
const TEXT_BEGINS: u8 = 0x01;
const BINARY_BEGINS: u8 = 0x02;
const GOES_ON: u8 = 0x00;
const ENDS: u8 = 0x80;
/// The reserved bits.
const RSV: [u8; 7] = [0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70];

/// What the server says to a case, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Says {
    /// The message that answers `PING`.
    Answer,
    Pong(Vec<u8>),
    Closes(u16),
}

use Says::{Answer, Closes, Pong};

/// The bytes are sent at once, and again in pieces of that many bytes each.
struct Case {
    number: String,
    bytes: Vec<u8>,
    says: Vec<Says>,
    pieces: Option<usize>,
}

fn case(number: impl Into<String>, frames: &[Vec<u8>], says: &[Says]) -> Case {
    Case { number: number.into(), bytes: frames.concat(), says: says.to_vec(), pieces: None }
}

impl Case {
    fn in_pieces_of(self, len: usize) -> Self {
        Self { pieces: Some(len), ..self }
    }
}

async fn run(server: &Server, cases: Vec<Case>) {
    for case in cases {
        check(server, &case, case.bytes.len().max(1)).await;
        if let Some(len) = case.pieces {
            check(server, &case, len).await;
        }
    }
}

async fn check(server: &Server, case: &Case, piece: usize) {
    let Case { number, bytes, says, .. } = case;
    let mut raw = Raw::open(server, "/ws/jobs/a").await;
    assert_eq!(raw.next().await["type"], "connected", "{number}");
    raw.stream.set_nodelay(true).unwrap();
    for piece in bytes.chunks(piece) {
        // A server that fails fast may have closed.
        if raw.try_send(piece).await.is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    for expected in says {
        let said = match expected {
            Closes(_) => Closes(raw.closed().await.0),
            _ => match raw.frame().await {
                Some(Frame { opcode: 0xa, payload }) => Pong(payload),
                Some(Frame { opcode: 1, .. }) => Answer,
                other => panic!("{number} in pieces of {piece}: {other:?}"),
            },
        };
        assert_eq!(said, *expected, "{number} in pieces of {piece}");
    }
    if !matches!(says.last(), Some(Closes(_))) {
        raw.is_answered().await;
    }
}

/// A ping message of that many bytes.
fn ping_of(len: usize) -> Vec<u8> {
    let mut message = PING.to_vec();
    message.resize(len.max(PING.len()), b' ');
    message
}

#[tokio::test]
async fn section_1_messages_of_every_size() {
    let server = Server::start().await;
    let mut cases =
        vec![case("1.1.1", &[masked(TEXT, b"")], &[]), case("1.2.1", &[masked(BINARY, b"")], &[])];
    for (index, len) in [125, 126, 127, 128, 65_535, 65_536].into_iter().enumerate() {
        let number = index + 2;
        let text = case(format!("1.1.{number}"), &[masked(TEXT, &ping_of(len))], &[Answer]);
        let binary = case(format!("1.2.{number}"), &[masked(BINARY, &vec![0xfe; len])], &[]);
        cases.extend([text.in_pieces_of(997), binary.in_pieces_of(997)]);
    }
    run(&server, cases).await;
    server.stop().await;
}

#[tokio::test]
async fn section_2_pings_and_pongs() {
    let server = Server::start().await;
    let pong = |payload: &[u8]| Pong(payload.to_vec());
    let binary = [0x00, 0xff, 0xfe, 0xfd, 0xfc, 0xfb, 0x00, 0xff];
    let ten: Vec<Vec<u8>> = (0..10).map(|n| masked(PINGED, format!("p{n}").as_bytes())).collect();
    let pongs: Vec<Says> = (0..10).map(|n| pong(format!("p{n}").as_bytes())).collect();
    let cases = vec![
        case("2.1", &[masked(PINGED, b"")], &[pong(b"")]),
        case("2.2", &[masked(PINGED, b"Hello, world!")], &[pong(b"Hello, world!")]),
        case("2.3", &[masked(PINGED, &binary)], &[pong(&binary)]),
        case("2.4, 2.6", &[masked(PINGED, &[0xfe; 125])], &[pong(&[0xfe; 125])]).in_pieces_of(1),
        case("2.5", &[masked(PINGED, &[0xfe; 126])], &[Closes(1002)]),
        case("2.7", &[masked(PONGED, b"")], &[]),
        case("2.8", &[masked(PONGED, b"unasked")], &[]),
        case("2.9", &[masked(PONGED, b"unasked"), masked(PINGED, b"p")], &[pong(b"p")]),
        case("2.10, 2.11", &ten, &pongs).in_pieces_of(1),
    ];
    run(&server, cases).await;
    server.stop().await;
}

#[tokio::test]
async fn section_3_reserved_bits() {
    let server = Server::start().await;
    let mut cases = Vec::new();
    for (index, bits) in RSV.into_iter().enumerate() {
        let number = index + 1;
        for (first, what) in
            [(TEXT, "text"), (BINARY, "binary"), (PINGED, "ping"), (CLOSE, "close")]
        {
            // The message before it is answered, and what is behind it is not.
            let frames = [masked(TEXT, PING), masked(first | bits, b""), masked(PINGED, b"")];
            let says = [Answer, Closes(1002)];
            cases.push(case(format!("3.{number} {what}"), &frames, &says).in_pieces_of(1));
        }
    }
    run(&server, cases).await;
    server.stop().await;
}

#[tokio::test]
async fn section_4_opcodes_that_are_not_known() {
    let server = Server::start().await;
    let mut cases = Vec::new();
    for (section, opcodes) in [("4.1", 0x83..=0x87_u8), ("4.2", 0x8b..=0x8f)] {
        for opcode in opcodes {
            for payload in [&b""[..], b"reserved"] {
                let frames = [masked(TEXT, PING), masked(opcode, payload), masked(PINGED, b"")];
                let number = format!("{section} {opcode:x} {}", payload.len());
                cases.push(case(number, &frames, &[Answer, Closes(1002)]).in_pieces_of(1));
            }
        }
    }
    run(&server, cases).await;
    server.stop().await;
}

#[tokio::test]
async fn section_5_fragments() {
    let server = Server::start().await;
    let (first, second) = PING.split_at(7);
    let pong = |payload: &[u8]| Pong(payload.to_vec());
    let begin = || masked(TEXT_BEGINS, first);
    let end = || masked(ENDS, second);
    let wrong = || [masked(TEXT, PING)];
    let cases = vec![
        case("5.1", &[masked(0x09, b"a"), masked(ENDS, b"b")], &[Closes(1002)]),
        case("5.2", &[masked(0x0a, b"a"), masked(ENDS, b"b")], &[Closes(1002)]),
        case("5.3-5.5", &[begin(), end()], &[Answer]).in_pieces_of(1),
        case("5.6-5.8", &[begin(), masked(PINGED, b"p"), end()], &[pong(b"p"), Answer])
            .in_pieces_of(1),
        case("5.9-5.11", &[masked(ENDS, b"x"), masked(TEXT, PING)], &[Closes(1002)])
            .in_pieces_of(1),
        case("5.12-5.14", &[masked(GOES_ON, b"x"), masked(TEXT, PING)], &[Closes(1002)])
            .in_pieces_of(1),
        case("5.15", &[begin(), end(), masked(GOES_ON, b"x"), end()], &[Answer, Closes(1002)]),
        case("5.16", &[masked(GOES_ON, b"x"), begin(), end()], &[Closes(1002)]),
        case("5.17", &[masked(ENDS, b"x"), begin(), end()], &[Closes(1002)]),
        case("5.18", &[begin(), wrong().concat()], &[Closes(1002)]),
        case("5.18 binary", &[masked(BINARY_BEGINS, b"x"), wrong().concat()], &[Closes(1002)]),
        case(
            "5.19, 5.20",
            &[
                begin(),
                masked(GOES_ON, &second[..1]),
                masked(PINGED, b"one"),
                masked(GOES_ON, b""),
                masked(GOES_ON, &second[1..2]),
                masked(PINGED, b"two"),
                masked(ENDS, &second[2..]),
            ],
            &[pong(b"one"), pong(b"two"), Answer],
        )
        .in_pieces_of(1),
    ];
    run(&server, cases).await;
    server.stop().await;
}

/// Texts that are UTF-8.
const VALID: &[(&str, &[u8])] = &[
    ("6.2", "Hello-µ@ßöäüàá-UTF-8!!".as_bytes()),
    ("6.5", KOSME.as_bytes()),
    ("6.7 the first of each length", "\u{0}\u{80}\u{800}\u{10000}".as_bytes()),
    ("6.9 the last of each length", "\u{7f}\u{7ff}\u{ffff}\u{10ffff}".as_bytes()),
    ("6.11 beside the surrogates", "\u{d7ff}\u{e000}".as_bytes()),
    ("6.22 no characters", "\u{fffe}\u{ffff}\u{1fffe}\u{10fffe}".as_bytes()),
    ("6.23 the replacement", "\u{fffd}".as_bytes()),
];

const KOSME: &str = "κόσμε";

/// Texts that are not: how many bytes of each are valid, and what follows.
const INVALID: &[(&str, usize, &[u8])] = &[
    ("6.3", 10, b"\xce\xba\xcf\x8c\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80\x65\x64\x69\x74\x65\x64"),
    (
        "6.4",
        10,
        b"\xce\xba\xcf\x8c\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80\x65\x64\x69\x74\x65\x64",
    ),
    ("6.8 five bytes", 0, b"\xf8\x88\x80\x80\x80"),
    ("6.8 six bytes", 0, b"\xfc\x84\x80\x80\x80\x80"),
    ("6.10 above 10ffff", 0, b"\xf7\xbf\xbf\xbf"),
    ("6.10 five bytes", 0, b"\xfb\xbf\xbf\xbf\xbf"),
    ("6.10 six bytes", 0, b"\xfd\xbf\xbf\xbf\xbf\xbf"),
    ("6.11 behind the last", 0, b"\xf4\x90\x80\x80"),
    ("6.12 a continuation", 0, b"\x80"),
    ("6.12 the last one", 0, b"\xbf"),
    ("6.12 several", 0, b"\x80\xbf\x80\xbf\x80\xbf\x80"),
    ("6.13 a start of two, and a space", 0, b"\xc2 \xdf "),
    ("6.13 of three", 0, b"\xe0 \xef "),
    ("6.13 of four", 0, b"\xf0 \xf4 "),
    ("6.14 without the last byte", 0, b"\xe0\xa0 "),
    ("6.14 of four", 0, b"\xf0\x90\x80 "),
    ("6.15 several of those", 0, b"\xdf\xef\xbf\xf7\xbf\xbf"),
    ("6.16 never in UTF-8", 0, b"\xfe"),
    ("6.16 nor this", 0, b"\xff"),
    ("6.17 a slash, too long", 0, b"\xc0\xaf"),
    ("6.17 in three bytes", 0, b"\xe0\x80\xaf"),
    ("6.17 in four bytes", 0, b"\xf0\x80\x80\xaf"),
    ("6.18 the longest too long", 0, b"\xc1\xbf"),
    ("6.18 in three bytes", 0, b"\xe0\x9f\xbf"),
    ("6.18 in four bytes", 0, b"\xf0\x8f\xbf\xbf"),
    ("6.19 a zero, too long", 0, b"\xc0\x80"),
    ("6.19 in three bytes", 0, b"\xe0\x80\x80"),
    ("6.20 a surrogate", 0, b"\xed\xa0\x80"),
    ("6.20 the last one", 0, b"\xed\xbf\xbf"),
    ("6.21 a pair", 0, b"\xed\xa0\x80\xed\xb0\x80"),
];

#[tokio::test]
async fn section_6_texts_are_utf8() {
    let server = Server::start().await;
    let mut cases = vec![
        case("6.1.1", &[masked(TEXT, b"")], &[]),
        case("6.1.2", &[masked(TEXT_BEGINS, b""), masked(GOES_ON, b""), masked(ENDS, b"")], &[]),
        case(
            "6.1.3",
            &[masked(TEXT_BEGINS, b""), masked(GOES_ON, PING), masked(ENDS, b"")],
            &[Answer],
        ),
    ];
    let split = |text: &[u8]| -> Vec<Vec<u8>> {
        let ends = [masked(ENDS, b"")];
        let bytes = text.iter().map(|byte| masked(GOES_ON, &[*byte]));
        [masked(TEXT_BEGINS, b"")].into_iter().chain(bytes).chain(ends).collect()
    };
    for (number, text) in VALID {
        cases.push(case(*number, &[masked(TEXT, text)], &[]).in_pieces_of(1));
        cases.push(case(format!("{number} in fragments"), &split(text), &[]));
    }
    for end in 0..KOSME.len() {
        let (text, number) = (&KOSME.as_bytes()[..end], format!("6.6 {end}"));
        let is_cut = std::str::from_utf8(text).is_err();
        let says = if is_cut { vec![Closes(1007)] } else { Vec::new() };
        cases.push(case(number.clone(), &[masked(TEXT, text)], &says).in_pieces_of(1));
        cases.push(case(number + " in fragments", &split(text), &says));
    }
    for (number, _, text) in INVALID {
        cases.push(case(*number, &[masked(TEXT, text)], &[Closes(1007)]).in_pieces_of(1));
        cases.push(case(format!("{number} in fragments"), &split(text), &[Closes(1007)]));
        // A binary message may be anything.
        cases.push(case(format!("{number} binary"), &[masked(BINARY, text)], &[]));
    }
    run(&server, cases).await;
    server.stop().await;
}

/// 6.4: the rest of a text that is not UTF-8 is not waited for, be it of the fragment or of the message.
#[tokio::test]
async fn section_6_4_a_text_that_is_not_utf8_fails_fast() {
    let server = Server::start().await;
    let mut cases = Vec::new();
    for (number, valid, text) in INVALID {
        // Not later than at the end of the character that is none. One more byte proves it.
        let broken = [&text[*valid..], b"x"].concat();
        let mut long = text[..*valid].to_vec();
        long.extend(&broken);
        let mut fragment = masked(TEXT, &[&long[..], &[b'x'; 100]].concat());
        fragment.truncate(fragment.len() - 100);
        cases.push(
            case(format!("{number} in a fragment"), &[fragment], &[Closes(1007)]).in_pieces_of(1),
        );
        let frames = [masked(TEXT_BEGINS, &text[..*valid]), masked(GOES_ON, &broken)];
        let number = format!("{number} in a message");
        cases.push(case(number, &frames, &[Closes(1007)]).in_pieces_of(1));
    }
    run(&server, cases).await;
    server.stop().await;
}

#[tokio::test]
async fn section_7_closing() {
    let server = Server::start().await;
    let close = |code: u16, reason: &[u8]| masked(CLOSE, &[&code.to_be_bytes(), reason].concat());
    let normal = || close(1000, b"");
    let mut cases = vec![
        case("7.1.1", &[masked(TEXT, PING), normal()], &[Answer, Closes(1000)]),
        case("7.1.2", &[normal(), normal()], &[Closes(1000)]),
        case("7.1.3", &[normal(), masked(PINGED, b"late")], &[Closes(1000)]),
        case("7.1.4", &[normal(), masked(TEXT, PING)], &[Closes(1000)]),
        case(
            "7.1.5",
            &[masked(TEXT_BEGINS, &PING[..5]), normal(), masked(ENDS, &PING[5..])],
            &[Closes(1000)],
        ),
        case(
            "7.1.6",
            &[masked(TEXT, &ping_of(65_536)), normal(), masked(PINGED, b"late")],
            &[Answer, Closes(1000)],
        ),
        case("7.3.1", &[masked(CLOSE, b"")], &[Closes(1005)]),
        case("7.3.2", &[masked(CLOSE, b"a")], &[Closes(1002)]),
        case("7.3.3", &[normal()], &[Closes(1000)]).in_pieces_of(1),
        case("7.3.4", &[close(1000, b"Hello World!")], &[Closes(1000)]).in_pieces_of(1),
        case("7.3.5", &[close(1000, &[b'*'; 123])], &[Closes(1000)]),
        case("7.3.6", &[close(1000, &[b'*'; 124])], &[Closes(1002)]),
        case("7.5.1", &[close(1000, b"\xce\xba\xed\xa0\x80edited")], &[Closes(1007)]),
    ];
    let allowed = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999];
    cases.extend(
        allowed.map(|code| case(format!("7.7 {code}"), &[close(code, b"")], &[Closes(code)])),
    );
    let forbidden = [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65_535];
    for code in forbidden {
        for reason in [&b""[..], b"reason"] {
            cases.push(case(format!("7.9, 7.13 {code}"), &[close(code, reason)], &[Closes(1002)]));
        }
    }
    run(&server, cases).await;
    server.stop().await;
}

#[tokio::test]
async fn section_10_a_message_in_many_fragments() {
    let server = Server::start().await;
    let message = ping_of(65_536);
    let pieces: Vec<&[u8]> = message.chunks(1_300).collect();
    let frames: Vec<Vec<u8>> = pieces
        .iter()
        .enumerate()
        .map(|(index, piece)| match index {
            0 => masked(TEXT_BEGINS, piece),
            _ if index + 1 == pieces.len() => masked(ENDS, piece),
            _ => masked(GOES_ON, piece),
        })
        .collect();
    run(&server, vec![case("10.1.1", &frames, &[Answer])]).await;
    server.stop().await;
}
