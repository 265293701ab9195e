use std::io;

use tokio::net::{TcpListener, TcpSocket, ToSocketAddrs, lookup_host};

/// Connections that the kernel holds until they are accepted: after a restart all watchers come back at once, and who
/// finds no room tries again only after seconds (RFC 6298). Linux takes `net.core.somaxconn` where that is less.
const BACKLOG: u32 = 16_384;

/// Listens on the first of the addresses that can be had; port 0 is one that is free.
///
/// # Errors
/// When none can: what was wrong with the last.
pub async fn listen(addresses: impl ToSocketAddrs) -> io::Result<TcpListener> {
    let mut last = io::Error::new(io::ErrorKind::InvalidInput, "there is no such address");
    for address in lookup_host(addresses).await? {
        let listen = || {
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            // A server that is restarted finds its port at once.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            socket.listen(BACKLOG)
        };
        match listen() {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last)
}
