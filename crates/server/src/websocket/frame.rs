//! Frames: RFC 6455, section 5. Headers are read and written by tungstenite.

use std::io::Cursor;

use milepost_protocol::CloseCode;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// Appends a text message in one frame.
pub fn text(payload: &str, out: &mut Vec<u8>) {
    push(OpCode::Data(Data::Text), payload.as_bytes(), out);
}

/// Appends the reply to a ping, which has the same payload.
pub fn pong(payload: &[u8], out: &mut Vec<u8>) {
    push(OpCode::Control(Control::Pong), payload, out);
}

/// Appends a close frame. The reason is cut to what fits into a control frame: 123 bytes.
pub fn close(code: CloseCode, reason: &str, out: &mut Vec<u8>) {
    let mut end = reason.len().min(123);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    push_close(code.code(), &reason.as_bytes()[..end], out);
}

/// Appends the answer to a client's close frame, which has the same code.
pub fn close_reply(code: Option<u16>, out: &mut Vec<u8>) {
    match code {
        Some(code) => push_close(code, &[], out),
        None => push(OpCode::Control(Control::Close), &[], out),
    }
}

fn push_close(code: u16, reason: &[u8], out: &mut Vec<u8>) {
    let payload = [&code.to_be_bytes(), reason].concat();
    push(OpCode::Control(Control::Close), &payload, out);
}

fn push(opcode: OpCode, payload: &[u8], out: &mut Vec<u8>) {
    let header = FrameHeader { opcode, ..FrameHeader::default() };
    // Writing into a Vec cannot fail.
    let _ = header.format(payload.len() as u64, out);
    out.extend_from_slice(payload);
}

/// The header of a client's frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    /// How many bytes of input it has.
    pub(super) len: usize,
    pub(super) opcode: OpCode,
    pub(super) is_final: bool,
    pub(super) mask: [u8; 4],
    pub(super) payload_len: u64,
}

/// Reads the header at the beginning of `input`; none if more input is needed.
///
/// # Errors
/// What the client did wrong, if it broke section 5.
pub(super) fn parse_header(input: &[u8]) -> Result<Option<Header>, &'static str> {
    if let [first, ..] = input
        && matches!(first & 0x0f, 0x3..=0x7 | 0xb..=0xf)
    {
        return Err("unknown opcode");
    }
    let mut cursor = Cursor::new(input);
    let parsed = FrameHeader::parse(&mut cursor).map_err(|_| "malformed frame header")?;
    let Some((header, payload_len)) = parsed else { return Ok(None) };
    if header.rsv1 || header.rsv2 || header.rsv3 {
        return Err("reserved bits are set, and no extension was agreed on");
    }
    let Some(mask) = header.mask else { return Err("a client's frames must be masked") };
    if let OpCode::Control(_) = header.opcode {
        if !header.is_final {
            return Err("a control frame must not be fragmented");
        }
        if payload_len > 125 {
            return Err("a control frame has at most 125 bytes");
        }
    }
    Ok(Some(Header {
        len: usize::try_from(cursor.position()).unwrap_or(usize::MAX),
        opcode: header.opcode,
        is_final: header.is_final,
        mask,
        payload_len,
    }))
}
