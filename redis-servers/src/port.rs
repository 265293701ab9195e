use std::net::TcpListener;

/// Ports below those that the kernel gives to outgoing connections (32768 and up): while a server is down, nobody takes
/// its port by chance, and nobody who dials it is connected to himself.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
const TRIES: usize = 100;

/// A port on 127.0.0.1 that nobody listens on. Somebody may by the time it is used: who uses it tries again.
pub fn free_port() -> u16 {
    for _ in 0..TRIES {
        let port = fastrand::u16(PORTS);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("{TRIES} ports between {} and {} are all taken", PORTS.start, PORTS.end);
}
