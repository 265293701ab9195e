//! A WebSocket client's reading side (RFC 6455, section 5), as far as servers here need it: whole frames out
//! of a stream of bytes. Payloads are neither unmasked (a server must not mask) nor joined (nothing here is
//! fragmented).

use crate::error::Error;

/// A server's frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) opcode: u8,
    pub(crate) payload: &'a [u8],
}

pub(crate) const TEXT: u8 = 1;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;

/// The longest payload taken; Milepost's updates are at most 64 KiB.
const MAX_PAYLOAD: u64 = 1 << 20;

/// The frame at the start of `bytes` and its length with its header, once it is whole.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>, Error> {
    let &[first, second, ..] = bytes else { return Ok(None) };
    if first & 0xf0 != 0x80 || second & 0x80 != 0 {
        return Err(Error::Protocol(format!(
            "a frame that starts with {first:#04x} {second:#04x}"
        )));
    }
    let (header, length) = match second {
        126 => match bytes.get(2..4) {
            Some(length) => (4, u64::from(u16::from_be_bytes([length[0], length[1]]))),
            None => return Ok(None),
        },
        127 => match bytes.get(2..10).and_then(|length| length.try_into().ok()) {
            Some(length) => (10, u64::from_be_bytes(length)),
            None => return Ok(None),
        },
        length => (2, u64::from(length)),
    };
    if length > MAX_PAYLOAD {
        return Err(Error::Protocol(format!("a frame of {length} bytes")));
    }
    let end = header + usize::try_from(length).expect("checked above");
    Ok(bytes.get(header..end).map(|payload| (Frame { opcode: first & 0x0f, payload }, end)))
}

/// Appends a server's text frame.
pub(crate) fn write_text(out: &mut Vec<u8>, payload: &[u8]) {
    out.push(0x80 | TEXT);
    if let Some(length) = u8::try_from(payload.len()).ok().filter(|length| *length < 126) {
        out.push(length);
    } else if let Ok(length) = u16::try_from(payload.len()) {
        out.push(126);
        out.extend_from_slice(&length.to_be_bytes());
    } else {
        out.push(127);
        out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
    }
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_every_length_come_back_whole() {
        for length in [0, 1, 125, 126, 250, 65_535, 65_536] {
            let payload = vec![b'x'; length];
            let mut bytes = Vec::new();
            write_text(&mut bytes, &payload);
            let whole = bytes.len();
            bytes.extend_from_slice(b"\x81\x00");
            let (frame, end) = parse(&bytes).unwrap().unwrap();
            assert_eq!((frame.opcode, frame.payload, end), (TEXT, payload.as_slice(), whole));
            assert_eq!(parse(&bytes[..whole - 1]).unwrap(), None);
        }
    }

    #[test]
    fn what_a_server_must_not_send_is_an_error() {
        assert!(parse(b"\x81\x81abcd!").is_err(), "masked");
        assert!(parse(b"\x01\x01!").is_err(), "fragmented");
        assert!(parse(b"\xc1\x01!").is_err(), "reserved bit");
    }
}
