//! What clients say on a WebSocket, well and badly framed: RFC 6455, sections 5 and 7.
//!
//! Each broken connection is one of two: the other one has to go on as if nothing had happened.

use futures_util::future::join_all;
use tokio::io::AsyncWriteExt;

use milepost_server::Config;

use crate::limits::metric;
use crate::support::{Frame, Raw, Server, Watcher, drain, masked, quick, until};

const PING: &[u8] = br#"{"type":"ping"}"#;

/// A bystander, who watches the same job.
async fn bystander(server: &Server) -> Watcher {
    let mut bystander = server.watch("/ws/jobs/a").await;
    bystander.next().await;
    bystander
}

async fn open(server: &Server) -> Raw {
    let mut raw = Raw::open(server, "/ws/jobs/a").await;
    assert_eq!(raw.next().await["type"], "connected");
    raw
}

#[tokio::test]
async fn a_protocol_violation_closes_with_its_code() {
    let server = Server::start().await;
    let mut bystander = bystander(&server).await;
    let mut huge_header = vec![0x82, 0xff];
    huge_header.extend(u64::MAX.to_be_bytes());
    huge_header.extend([0; 4]);
    let mut huge_control = vec![0x89, 0xfe];
    huge_control.extend(126_u16.to_be_bytes());
    let cases: [(&str, u16, Vec<u8>); 24] = [
        ("an unmasked text", 1002, vec![0x81, 0x02, b'h', b'i']),
        ("an unmasked empty frame", 1002, vec![0x81, 0x00]),
        ("an unmasked close", 1002, vec![0x88, 0x02, 0x03, 0xe8]),
        ("the first reserved bit", 1002, masked(0x81 | 0x40, PING)),
        ("the second reserved bit", 1002, masked(0x81 | 0x20, PING)),
        ("the third reserved bit", 1002, masked(0x81 | 0x10, PING)),
        ("a reserved bit of a control frame", 1002, masked(0x89 | 0x40, b"")),
        ("a data opcode that is not known", 1002, masked(0x83, b"")),
        ("the last data opcode", 1002, masked(0x87, b"")),
        ("a control opcode that is not known", 1002, masked(0x8b, b"")),
        ("the last control opcode", 1002, masked(0x8f, b"")),
        ("a ping in fragments", 1002, masked(0x09, b"")),
        ("a close in fragments", 1002, masked(0x08, b"")),
        ("a ping of 126 bytes", 1002, masked(0x89, &[b'p'; 126])),
        ("the header alone of such a ping", 1002, [&huge_control[..], &[0; 4]].concat()),
        ("a continuation of nothing", 1002, masked(0x80, b"")),
        ("a text inside of a text", 1002, [masked(0x01, b"a"), masked(0x81, b"b")].concat()),
        ("a binary inside of a text", 1002, [masked(0x01, b"a"), masked(0x82, b"b")].concat()),
        ("a text that is not UTF-8", 1007, masked(0x81, b"\xff")),
        (
            "such a text in fragments",
            1007,
            [masked(0x01, "é".as_bytes()), masked(0x80, b"\x80")].concat(),
        ),
        (
            "a text that breaks off within a character",
            1007,
            masked(0x81, "é".as_bytes()[..1].into()),
        ),
        ("the header of a message without end", 1009, huge_header),
        ("a message over the limit", 1009, masked(0x81, &vec![b' '; 65_537])),
        (
            "a message over the limit in fragments",
            1009,
            [masked(0x02, &vec![0; 65_536]), masked(0x00, b""), masked(0x80, b"x")].concat(),
        ),
    ];
    for (what, code, bytes) in &cases {
        let mut raw = open(&server).await;
        raw.send(bytes).await;
        let (closed, reason) = raw.closed().await;
        assert_eq!(closed, *code, "{what}: {reason}");
        assert!(!reason.is_empty(), "{what}");
    }
    bystander.hears_nothing().await;
    server.report("a", "{}").await;
    assert_eq!(bystander.next().await["job_id"], "a");
    until("the broken ones to be gone", async || {
        server.get("/ws/stats").await.json()["stats"]["active_connections"] == 1
    })
    .await;
}

#[tokio::test]
async fn messages_up_to_the_limit_are_read_whole_and_in_fragments() {
    let server = Server::start().await;
    let mut raw = open(&server).await;
    let mut longest = PING.to_vec();
    longest.resize(65_536, b' ');
    let (first, second) = longest.split_at(40_000);
    let whole = masked(0x81, &longest);
    let fragments = [masked(0x01, first), masked(0x00, b""), masked(0x80, second)].concat();
    for message in [whole, fragments] {
        raw.send(&message).await;
        assert_eq!(raw.next().await["type"], "pong");
    }
}

#[tokio::test]
async fn pings_between_fragments_are_answered_before_the_message() {
    let server = Server::start().await;
    let mut raw = open(&server).await;
    let message = [
        masked(0x01, b"{\"type\""),
        masked(0x89, b"one"),
        masked(0x8a, b"a pong that nobody asked for"),
        masked(0x00, b":\"pi"),
        masked(0x89, b""),
        masked(0x89, &[7; 125]),
        masked(0x80, b"ng\"}"),
    ];
    raw.send(&message.concat()).await;
    for payload in [b"one".to_vec(), Vec::new(), vec![7; 125]] {
        assert_eq!(raw.frame().await, Some(Frame { opcode: 0xa, payload }));
    }
    assert_eq!(raw.next().await["type"], "pong");
}

#[tokio::test]
async fn a_character_may_be_split_over_fragments() {
    let server = Server::start().await;
    let mut raw = Raw::open(&server, "/ws").await;
    raw.next().await;
    let text = r#"{"type":"subscribe","job_id":"é"}"#.as_bytes();
    let at = text.iter().position(|byte| *byte == 0xc3).unwrap() + 1;
    raw.send(&[masked(0x01, &text[..at]), masked(0x80, &text[at..])].concat()).await;
    let error = raw.next().await;
    assert_eq!((&error["job_id"], &error["problem"]), (&"é".into(), &"invalid-job-id".into()));
}

#[tokio::test]
async fn one_byte_at_a_time_is_as_good_as_all_at_once() {
    let server = Server::start().await;
    let mut raw = open(&server).await;
    raw.stream.set_nodelay(true).unwrap();
    let mut ping = PING.to_vec();
    ping.resize(200, b' ');
    let fragments = [masked(0x89, b"?"), masked(0x01, &ping[..150]), masked(0x80, &ping[150..])];
    for byte in fragments.concat() {
        raw.send(&[byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(raw.frame().await, Some(Frame { opcode: 0xa, payload: b"?".to_vec() }));
    assert_eq!(raw.next().await["type"], "pong");
}

#[tokio::test]
async fn a_close_is_answered_in_kind_and_nothing_follows() {
    let server = Server::start().await;
    let cases: [(&[u8], u16); 8] = [
        (b"", 1005),
        (b"\x03\xe8", 1000),
        (b"\x03\xe8bye", 1000),
        (b"\x03\xe9", 1001),
        (b"\x03\xf4", 1012),
        (b"\x0b\xb8", 3000),
        (b"\x0f\xa0", 4000),
        (b"\x13\x87", 4999),
    ];
    for (payload, code) in cases {
        let mut raw = open(&server).await;
        // What comes behind a close frame is not heard.
        raw.send(&[masked(0x88, payload), masked(0x81, PING)].concat()).await;
        assert_eq!(raw.closed().await.0, code, "{payload:?}");
    }
}

#[tokio::test]
async fn a_close_that_must_not_be_sent_breaks_the_protocol() {
    let server = Server::start().await;
    let cases: [(&[u8], u16); 11] = [
        (b"\x03", 1002),
        (b"\x00\x00", 1002),
        (b"\x03\xe7", 1002),
        (b"\x03\xec", 1002), // 1004
        (b"\x03\xed", 1002), // 1005
        (b"\x03\xee", 1002), // 1006
        (b"\x03\xf7", 1002), // 1015
        (b"\x07\xd0", 1002), // 2000
        (b"\x0b\xb7", 1002), // 2999
        (b"\x13\x88", 1002), // 5000
        (b"\x03\xe8\xff", 1007),
    ];
    for (payload, code) in cases {
        let mut raw = open(&server).await;
        raw.send(&masked(0x88, payload)).await;
        assert_eq!(raw.closed().await.0, code, "{payload:?}");
    }
}

#[tokio::test]
async fn a_client_may_keep_sending_during_the_close_for_a_while() {
    let server = Server::start().await;
    let mut raw = open(&server).await;
    raw.send(&masked(0x83, b"")).await;
    // Far more than is read from it after the close frame.
    let flood = vec![0; 64 << 10];
    for _ in 0..256 {
        if raw.stream.write_all(&flood).await.is_err() {
            break;
        }
    }
    until("it to be gone", async || {
        server.get("/ws/stats").await.json()["stats"]["active_connections"] == 0
    })
    .await;
}

#[tokio::test]
async fn a_socket_that_is_half_closed_or_reset_is_let_go() {
    let server = Server::start().await;
    let mut bystander = bystander(&server).await;
    let gone = async || {
        until("it to be gone", async || {
            server.get("/ws/stats").await.json()["stats"]["active_connections"] == 1
        })
        .await;
    };

    let mut half = open(&server).await;
    half.stream.shutdown().await.unwrap();
    assert_eq!(half.frame().await, None);
    gone().await;

    // Together with the last thing it says, and in the middle of saying it.
    for last in [masked(0x81, PING), masked(0x81, PING)[..9].to_vec(), vec![0x81]] {
        let mut half = open(&server).await;
        half.send(&last).await;
        half.stream.shutdown().await.unwrap();
        drain(&mut half.stream).await;
        gone().await;
    }

    let reset = open(&server).await;
    socket2::SockRef::from(&reset.stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(reset);
    gone().await;
    bystander.hears_nothing().await;
}

#[tokio::test]
async fn a_flood_without_reading_the_answers_is_parked() {
    let server = Server::start().await;
    let mut bystander = bystander(&server).await;
    let mut raw = open(&server).await;
    let mut flood = Vec::new();
    for _ in 0..500 {
        flood.extend(masked(0x89, &[b'p'; 125]));
        flood.extend(masked(0x81, PING));
    }
    // The server stops reading once its answers are not read, and then our writing stops.
    let mut sent = 0;
    let patience = std::time::Duration::from_millis(500);
    while tokio::time::timeout(patience, raw.stream.write_all(&flood)).await.is_ok() {
        sent += 1;
        assert!(sent < 1_000, "somebody keeps all the answers");
        if sent % 16 == 0 {
            bystander.hears_nothing().await;
        }
    }
    bystander.hears_nothing().await;
    server.report("a", "{}").await;
    assert_eq!(bystander.next().await["job_id"], "a");
}

#[tokio::test]
async fn a_flood_whose_answers_are_read_is_answered_ping_by_ping() {
    let server = Server::start().await;
    let mut raw = open(&server).await;
    let number = |n: u32| n.to_be_bytes().to_vec();
    let pings: Vec<u8> = (0..5_000).flat_map(|n| masked(0x89, &number(n))).collect();
    let (mut read, mut write) = raw.stream.split();
    let answers = async {
        let mut all = vec![0; 5_000 * 6];
        tokio::io::AsyncReadExt::read_exact(&mut read, &mut all).await.unwrap();
        all
    };
    let (written, answers) = tokio::join!(write.write_all(&pings), answers);
    written.unwrap();
    for (n, pong) in (0..).zip(answers.chunks(6)) {
        assert_eq!(pong, [&[0x8a, 4], &number(n)[..]].concat());
    }
}

#[tokio::test]
async fn frames_right_behind_the_handshake_are_read() {
    let server = Server::start().await;
    let behind = [masked(0x89, b"early"), masked(0x01, &PING[..5])].concat();
    let mut raw = Raw::over(server.connect().await, "/ws/jobs/a", &behind).await;
    assert_eq!(raw.next().await["type"], "connected");
    assert_eq!(raw.frame().await, Some(Frame { opcode: 0xa, payload: b"early".to_vec() }));
    raw.send(&masked(0x80, &PING[5..])).await;
    assert_eq!(raw.next().await["type"], "pong");

    let mut raw = Raw::over(server.connect().await, "/ws", &[0x81, 0x00]).await;
    assert_eq!(raw.next().await["type"], "connected");
    assert_eq!(raw.closed().await.0, 1002);

    // More than any buffer of HTTP's, while nothing is read.
    let many: Vec<u8> = (0..2_000).flat_map(|_| masked(0x8a, &[0; 125])).collect();
    let mut raw = Raw::over(server.connect().await, "/ws", &many).await;
    raw.is_answered().await;
}

#[tokio::test]
async fn many_aborted_connections_leave_nothing_behind() {
    let server = Server::start().await;
    let mut bystander = bystander(&server).await;
    let break_off = async |n: usize| {
        let mut raw = open(&server).await;
        match n % 4 {
            0 => raw.send(&masked(0x81, PING)[..n % 19]).await,
            1 => raw.send(&masked(0x01, b"half")).await,
            2 => raw.send(&masked(0x83, b"")).await,
            _ => {}
        }
    };
    join_all((0..40).map(break_off)).await;
    until("them to be gone", async || {
        server.get("/ws/stats").await.json()["stats"]["active_connections"] == 1
    })
    .await;
    bystander.hears_nothing().await;
}

#[tokio::test]
async fn who_does_not_finish_a_message_is_closed() {
    let server = Server::with(Config { body_timeout: 0.2, ..quick() }).await;
    let mut bystander = bystander(&server).await;
    let beginnings = [
        vec![0x81],
        masked(0x81, PING)[..8].to_vec(),
        masked(0x01, b"{"),
        [masked(0x81, PING), vec![0x89]].concat(),
    ];
    let tries = beginnings.map(async |beginning| {
        let mut raw = open(&server).await;
        raw.send(&beginning).await;
        raw.closed().await
    });
    for (code, reason) in join_all(tries).await {
        assert_eq!(code, 1013);
        assert!(reason.starts_with(r#"{"reason":"too-slow","retry_ms":"#), "{reason}");
    }
    bystander.say(r#"{"type":"ping"}"#).await;
    assert_eq!(bystander.next().await["type"], "pong");
    assert_eq!(metric(&server, "", "milepost_timeouts_total{of=\"message\"}").await, 4);
}

#[tokio::test]
async fn pings_within_a_message_give_it_no_more_time() {
    let server = Server::with(Config { body_timeout: 0.2, ..quick() }).await;
    let mut raw = open(&server).await;
    raw.send(&masked(0x01, b"{")).await;
    let code = loop {
        raw.send(&masked(0x89, b"")).await;
        match raw.frame().await {
            Some(Frame { opcode: 0xa, .. }) => {}
            Some(Frame { opcode: 0x8, payload }) => break payload[..2].to_vec(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(code, 1013_u16.to_be_bytes());
}
