use std::net::TcpListener;

/// Ports below those of outgoing connections (32768 and up). So while a server is down, no connection takes its port by chance,
/// and a client that dials the port is not connected to itself.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
const TRIES: usize = 100;

/// A port of 127.0.0.1 without a listener. Another process may take it before it is used, so the caller has to retry.
pub fn free_port() -> u16 {
    for _ in 0..TRIES {
        let port = fastrand::u16(PORTS);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("{TRIES} ports between {} and {} are all taken", PORTS.start, PORTS.end);
}
