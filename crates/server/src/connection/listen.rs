use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpSocket, ToSocketAddrs, lookup_host};

/// Connections that the kernel holds until they are accepted: after a restart, all watchers reconnect at once, and a
/// client that finds no room retries only after seconds (RFC 6298). Linux uses `net.core.somaxconn` if that is less.
pub(super) const BACKLOG: u32 = 16_384;

/// Listens on the first of the addresses that is available. Port 0 is any free port.
///
/// # Errors
/// If none is: why the last one is not.
pub async fn listen(addresses: impl ToSocketAddrs) -> io::Result<TcpListener> {
    let mut last = io::Error::new(io::ErrorKind::InvalidInput, "there is no such address");
    for address in lookup_host(addresses).await? {
        let listen = || {
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            // So that a restarted server gets its port at once.
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

/// Sets the options of a connection, or of a listener: on Linux, accepted connections inherit them, which saves some
/// system calls for each.
///
/// Small writes do not wait for acknowledgements. The kernel closes the connection of a peer that has disappeared, or
/// accepts nothing for `stall`.
pub(crate) fn tune<S: AsFd>(socket: &S, stall: Duration) -> io::Result<()> {
    let socket = SockRef::from(socket);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(stall / 2))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(stall))?;
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_accepted_has_the_listeners_options() {
        let listener = listen("127.0.0.1:0").await.expect("a free port");
        tune(&listener, Duration::from_secs(40)).expect("Linux knows these options");
        let address = listener.local_addr().expect("it is bound");
        let (client, accepted) =
            tokio::join!(tokio::net::TcpStream::connect(address), listener.accept());
        let (_client, (accepted, _)) = (client.expect("it listens"), accepted.expect("one came"));
        let socket = SockRef::from(&accepted);
        assert!(socket.tcp_nodelay().expect("an option"));
        assert!(socket.keepalive().expect("an option"));
        assert_eq!(socket.tcp_keepalive_time().expect("an option"), Duration::from_secs(20));
        assert_eq!(socket.tcp_user_timeout().expect("an option"), Some(Duration::from_secs(40)));
    }
}
