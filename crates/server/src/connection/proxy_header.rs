//! The header of the PROXY protocol, versions 1 and 2, in which a proxy names its client before the client's bytes.

use std::io;
use std::net::IpAddr;

use ppp::{HeaderResult, PartialResult, v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::stream::Stream;

/// The start of a header of version 2, and the number of bytes before its addresses.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const FIXED: usize = 16;
/// The longest header of version 1, with its line break.
const LINE: usize = 107;
/// The longest header: addresses, and details of the client's certificate.
const MAX: usize = 4 << 10;

/// Reads the header, and nothing after it. None if the proxy itself is the client, as in a health check, or if the
/// client has no IP address.
///
/// # Errors
/// If the header is missing or invalid.
pub(super) async fn read(stream: &mut Stream) -> io::Result<Option<IpAddr>> {
    let mut header = vec![0; SIGNATURE.len()];
    stream.read_exact(&mut header).await?;
    if header == SIGNATURE {
        read_to(stream, &mut header, FIXED).await?;
        let rest = usize::from(u16::from_be_bytes([header[FIXED - 2], header[FIXED - 1]]));
        if FIXED + rest > MAX {
            return Err(invalid());
        }
        read_to(stream, &mut header, FIXED + rest).await?;
    } else {
        while !header.ends_with(b"\n") {
            if header.len() >= LINE || !header.starts_with(b"PROXY ") {
                return Err(invalid());
            }
            let mut seen = [0; LINE];
            let room = LINE - header.len();
            let seen_len = stream.peek(&mut seen[..room]).await?;
            let line_end = seen[..seen_len].iter().position(|byte| *byte == b'\n');
            let take = line_end.map_or(seen_len, |end| end + 1);
            if take == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let len = header.len() + take;
            read_to(stream, &mut header, len).await?;
        }
    }
    client(&header).map_err(|InvalidHeader| invalid())
}

async fn read_to(
    stream: &mut (impl AsyncRead + Unpin),
    header: &mut Vec<u8>,
    len: usize,
) -> io::Result<()> {
    let read = header.len();
    header.resize(len, 0);
    stream.read_exact(&mut header[read..]).await.map(drop)
}

fn invalid() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "this is no header of the PROXY protocol")
}

/// What was read is not a complete header of either version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidHeader;

/// The client that a whole header names, if any.
///
/// # Errors
/// If it is not a header, or not complete.
pub fn client(header: &[u8]) -> Result<Option<IpAddr>, InvalidHeader> {
    let parsed = HeaderResult::parse(header);
    if parsed.is_incomplete() {
        return Err(InvalidHeader);
    }
    let address: Option<IpAddr> = match parsed {
        HeaderResult::V1(Ok(header)) => match header.addresses {
            v1::Addresses::Tcp4(addresses) => Some(addresses.source_address.into()),
            v1::Addresses::Tcp6(addresses) => Some(addresses.source_address.into()),
            v1::Addresses::Unknown => None,
        },
        HeaderResult::V2(Ok(header)) => match (header.command, header.addresses) {
            (v2::Command::Proxy, v2::Addresses::IPv4(addresses)) => {
                Some(addresses.source_address.into())
            }
            (v2::Command::Proxy, v2::Addresses::IPv6(addresses)) => {
                Some(addresses.source_address.into())
            }
            _ => None,
        },
        HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => return Err(InvalidHeader),
    };
    Ok(address.map(|address| address.to_canonical()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(header: &[u8]) -> Result<Option<String>, InvalidHeader> {
        client(header).map(|client| client.map(|address| address.to_string()))
    }

    #[test]
    fn both_versions_name_the_client() {
        let some = |address: &str| Ok(Some(address.to_owned()));
        assert_eq!(named(b"PROXY TCP4 192.0.2.1 10.0.0.1 5 443\r\n"), some("192.0.2.1"));
        assert_eq!(named(b"PROXY TCP6 2001:db8::1 ::1 5 443\r\n"), some("2001:db8::1"));
        assert_eq!(named(b"PROXY TCP6 ::ffff:192.0.2.1 ::1 5 443\r\n"), some("192.0.2.1"));
        assert_eq!(named(b"PROXY UNKNOWN\r\n"), Ok(None));
        let v2 = |command: u8, family: u8, rest: &[u8]| {
            let len = u16::try_from(rest.len()).unwrap().to_be_bytes();
            [&SIGNATURE[..], &[0x20 | command, family], &len, rest].concat()
        };
        let addresses = [192, 0, 2, 1, 10, 0, 0, 1, 0, 5, 1, 187];
        assert_eq!(named(&v2(1, 0x11, &addresses)), some("192.0.2.1"));
        // LOCAL: the proxy itself is the client.
        assert_eq!(named(&v2(0, 0x00, &[])), Ok(None));
        assert_eq!(named(&v2(0, 0x11, &addresses)), Ok(None));
    }

    #[test]
    fn what_is_no_header_names_nobody() {
        for bad in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"PROXY TCP4 192.0.2.1 10.0.0.1 5\r\n",
            b"PROXY TCP4 999.0.2.1 10.0.0.1 5 443\r\n",
            b"PROXY TCP4 192.0.2.1 10.0.0.1 5 443",
            b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0",
        ] {
            assert_eq!(named(bad), Err(InvalidHeader), "{}", String::from_utf8_lossy(bad));
        }
    }
}
