//! The beginning of a connection, before its first request: the PROXY protocol's header, TLS, and the version of HTTP.

use std::io;
use std::net::IpAddr;

use tokio::io::AsyncWriteExt;

use super::proxy_header;
use super::stream::Stream;
use crate::instance::Instance;

/// A connection whose first request can be read.
pub(super) struct Opened {
    pub(super) stream: Stream,
    /// The address of the peer, or of the client that the PROXY protocol names; none for a Unix socket.
    pub(super) peer: Option<IpAddr>,
    /// Whether a proxy has named the client, so that it is not counted for its address yet.
    pub(super) is_named: bool,
    pub(super) speaks_http2: bool,
}

/// Reads the beginning. The caller bounds how long that may take.
///
/// # Errors
/// When the client does not speak what the server is configured for, or has disconnected.
pub(super) async fn open(
    mut stream: Stream,
    mut peer: Option<IpAddr>,
    instance: &Instance,
) -> io::Result<Opened> {
    let mut is_named = false;
    if instance.config.proxy_protocol {
        if !instance.limits.proxies.trusts(peer) {
            return Err(io::Error::other("it is no trusted proxy"));
        }
        if let Some(client) = proxy_header::read(&mut stream).await? {
            (peer, is_named) = (Some(client), true);
        }
    }
    if let Some(tls) = &instance.tls
        && let Stream::Tcp(tcp) = stream
    {
        let mut first = [0];
        let len = tcp.peek(&mut first).await?;
        stream = if first[..len] == [HANDSHAKE] {
            Stream::Tls(Box::new(tls.acceptor().accept(tcp).await?))
        } else {
            return Err(turn_away(Stream::Tcp(tcp)).await);
        };
    }
    let speaks_http2 = speaks_http2(&stream).await?;
    Ok(Opened { stream, peer, is_named, speaks_http2 })
}

/// The first byte of a client that speaks TLS (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;

/// Tells a client without TLS what the server speaks.
async fn turn_away(mut stream: Stream) -> io::Error {
    const RESPONSE: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\n\
        connection: close\r\ncontent-length: 45\r\n\r\nThis server speaks HTTPS: use an https URL.\r\n";
    let Stream::Tcp(tcp) = &mut stream else { return io::ErrorKind::InvalidInput.into() };
    // Bytes that have arrived are read. Otherwise the kernel would reset the connection and drop the response.
    let _ = tcp.try_read(&mut [0; 16 << 10]);
    let _ = tcp.write_all(RESPONSE).await;
    io::Error::other("it does not speak TLS")
}

/// Whether the client begins as HTTP/2 with prior knowledge does (RFC 9113, section 3.4): no method of HTTP/1.1 begins
/// so. Peeks at the bytes, so that HTTP/1.1 is served on the bare socket. A client that sends fewer bytes at first is
/// served as HTTP/1.1. With TLS, the handshake has decided.
async fn speaks_http2(stream: &Stream) -> io::Result<bool> {
    const PREFACE: &[u8; 3] = b"PRI";
    if stream.is_encrypted() {
        return Ok(stream.negotiated_protocol() == Some(b"h2"));
    }
    let mut seen = [0; PREFACE.len()];
    let len = stream.peek(&mut seen).await?;
    Ok(seen[..len] == *PREFACE)
}
