//! The proxy: a network that breaks.

#![allow(clippy::unwrap_used, reason = "also what is no test itself is test code here")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use milepost_redis_servers::{Proxy, Traffic, Way};

const PATIENCE: Duration = Duration::from_secs(30);

/// Echoes every byte, until the test is over.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(read @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..read]).is_err() {
                        break;
                    }
                }
            });
        }
    });
    address
}

fn connect(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn say(mut stream: &TcpStream, byte: u8) {
    stream.write_all(&[byte]).unwrap();
}

fn hear(mut stream: &TcpStream) -> u8 {
    let mut byte = [0];
    stream.read_exact(&mut byte).unwrap();
    byte[0]
}

/// Waits until the proxy's traffic satisfies the condition.
fn until(proxy: &Proxy, holds: impl Fn(Traffic) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds(proxy.traffic()) {
        assert!(Instant::now() < deadline, "{:?}", proxy.traffic());
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn what_goes_through_is_counted_and_comes_out_whole() {
    let proxy = Proxy::to(echo());
    let mut stream = connect(&proxy);
    // More than all buffers on the way hold.
    let sent: Vec<u8> = (0..8_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let mut writer = stream.try_clone().unwrap();
    let copy = sent.clone();
    let writing = thread::spawn(move || {
        writer.write_all(&copy).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    writing.join().unwrap();
    assert!(received == sent);
    let bytes = sent.len() as u64;
    until(&proxy, |now| {
        now == Traffic { connections: 1, open: 0, to_server: bytes, to_client: bytes }
    });
}

#[test]
fn a_delay_is_one_way_and_keeps_the_order() {
    for way in [Way::ToServer, Way::ToClient] {
        let proxy = Proxy::to(echo());
        let stream = connect(&proxy);
        say(&stream, 0);
        assert_eq!(hear(&stream), 0);
        proxy.delay(way, Duration::from_millis(100));
        let begun = Instant::now();
        for byte in 1..=3 {
            say(&stream, byte);
        }
        assert_eq!([hear(&stream), hear(&stream), hear(&stream)], [1, 2, 3]);
        assert!(begun.elapsed() >= Duration::from_millis(100), "not delayed");
        // Bytes in flight no longer wait.
        proxy.delay(way, Duration::from_secs(3600));
        say(&stream, 4);
        proxy.heal();
        assert_eq!(hear(&stream), 4);
    }
}

#[test]
fn what_is_held_arrives_when_it_heals() {
    let proxy = Proxy::to(echo());
    let stream = connect(&proxy);
    say(&stream, 0);
    assert_eq!(hear(&stream), 0);

    proxy.hold(Way::ToClient);
    say(&stream, 1);
    until(&proxy, |now| now.to_server == 2);
    assert_eq!(proxy.traffic().to_client, 1, "the answer arrives");

    proxy.heal();
    assert_eq!(hear(&stream), 1);
    proxy.hold(Way::ToServer);
    say(&stream, 2);
    // Connections are still accepted, and stay silent.
    let second = connect(&proxy);
    say(&second, 7);
    until(&proxy, |now| now.connections == 2);
    assert_eq!(proxy.traffic().to_server, 2, "the question arrives");
    proxy.heal();
    assert_eq!((hear(&stream), hear(&second)), (2, 7));
}

#[test]
fn who_is_held_has_a_window() {
    let proxy = Proxy::to(echo());
    let stream = connect(&proxy);
    proxy.hold(Way::ToServer);
    stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut taken = 0;
    let chunk = vec![0; 64 << 10];
    while let Ok(written) = (&stream).write(&chunk) {
        taken += written;
        assert!(taken < 64 << 20, "it takes everything");
    }
    assert_eq!(proxy.traffic().to_server, 0);
    proxy.cut();
}

#[test]
fn a_cut_resets_present_connections_and_no_others() {
    let proxy = Proxy::to(echo());
    let stream = connect(&proxy);
    say(&stream, 0);
    assert_eq!(hear(&stream), 0);
    proxy.cut();
    let error = (&stream).read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    until(&proxy, |now| now.open == 0);
    let stream = connect(&proxy);
    say(&stream, 1);
    assert_eq!(hear(&stream), 1);
}

#[test]
fn who_connects_is_refused_until_it_heals() {
    let proxy = Proxy::to(echo());
    let stream = connect(&proxy);
    say(&stream, 0);
    assert_eq!(hear(&stream), 0);
    proxy.refuse();
    let error = TcpStream::connect(proxy.address()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    say(&stream, 1);
    assert_eq!(hear(&stream), 1, "who was connected stays so");
    proxy.heal();
    let stream = connect(&proxy);
    say(&stream, 2);
    assert_eq!(hear(&stream), 2);
}

#[test]
fn a_server_that_is_down_is_a_reset() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let proxy = Proxy::to(gone);
    let stream = connect(&proxy);
    let error = (&stream).read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}
