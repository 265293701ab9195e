//! Frames from clients: RFC 6455, sections 5.4 to 5.6.

use std::time::Duration;

use milepost_protocol::CloseCode;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::frame::parse_header;

/// A message, or a control frame, from a client.
#[derive(Debug, PartialEq, Eq)]
pub enum Inbound {
    /// A whole text message.
    Text(String),
    /// A whole binary message, which is ignored.
    Binary,
    /// To be answered with the same payload.
    Ping(Vec<u8>),
    /// The client closes, with this code if it gave one. To be answered with the same.
    Close(Option<u16>),
}

/// How a client violated the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The code to close with.
    pub code: CloseCode,
    /// What it did, for the close frame's reason.
    pub reason: &'static str,
}

/// Assembles messages from a client's bytes, however they are split.
///
/// It buffers what is incomplete: at most a frame's header and one message of `limit` bytes. An idle client costs nothing.
#[derive(Debug, Default)]
pub struct Reader {
    partial: Option<Box<Partial>>,
}

#[derive(Debug, Default)]
struct Partial {
    /// A header that is not complete.
    header: Vec<u8>,
    /// The frame that is being read.
    frame: Option<Frame>,
    /// The message that is being put together out of fragments, without the present frame.
    message: Option<(Data, Vec<u8>)>,
    /// The beginning of a character, with which the text ends that has arrived so far.
    unfinished: Vec<u8>,
    /// See [`Reader::deadline`].
    deadline: Option<Duration>,
}

#[derive(Debug)]
struct Frame {
    opcode: OpCode,
    is_final: bool,
    mask: [u8; 4],
    /// Of the payload, as it was sent.
    remaining: u64,
    payload: Vec<u8>,
}

impl Reader {
    /// Whether no message or frame is incomplete.
    pub fn is_idle(&self) -> bool {
        self.partial.is_none()
    }

    /// By when the incomplete message has to be complete, once that has [been set](Self::set_deadline). It holds for all fragments of
    /// the message, and for the control frames between them. A later message has none yet.
    pub fn deadline(&self) -> Option<Duration> {
        self.partial.as_ref()?.deadline
    }

    /// Sets the deadline, if a message or a frame is incomplete.
    pub fn set_deadline(&mut self, at: Duration) {
        if let Some(partial) = &mut self.partial {
            partial.deadline = Some(at);
        }
    }

    /// Reads `input` and hands each message to `take`, which returns whether to continue.
    ///
    /// # Errors
    /// When the client breaks RFC 6455, or sends a message of over `limit` bytes. Then nothing more may be read from
    /// it.
    pub fn read(
        &mut self,
        mut input: &[u8],
        limit: usize,
        mut take: impl FnMut(Inbound) -> bool,
    ) -> Result<(), Violation> {
        let mut partial = self.partial.take().unwrap_or_default();
        while !input.is_empty() {
            if partial.frame.is_none() {
                input = partial.read_header(input, limit)?;
            }
            let complete = match &mut partial.frame {
                Some(frame) => {
                    let before = frame.payload.len();
                    input = frame.read_payload(input);
                    let complete = frame.remaining == 0;
                    // A whole message is checked when it is finished.
                    if !(complete && frame.is_final) {
                        partial.check_text(before)?;
                    }
                    complete
                }
                None => false,
            };
            if complete
                && let Some(frame) = partial.frame.take()
                && let Some(message) = partial.finish(frame)?
                && !take(message)
            {
                return Ok(());
            }
            if complete && partial.message.is_none() {
                // What follows is another message.
                partial.deadline = None;
            }
        }
        let idle =
            partial.header.is_empty() && partial.frame.is_none() && partial.message.is_none();
        self.partial = (!idle).then_some(partial);
        Ok(())
    }
}

impl Partial {
    /// Reads as much of `input` as belongs to the frame's header.
    fn read_header<'i>(&mut self, input: &'i [u8], limit: usize) -> Result<&'i [u8], Violation> {
        let buffered = self.header.len();
        let parsed = if buffered == 0 {
            parse_header(input)
        } else {
            /// Two bytes, eight of length, four of mask.
            const LONGEST: usize = 14;
            let more = input.len().min(LONGEST - buffered);
            self.header.extend_from_slice(&input[..more]);
            parse_header(&self.header)
        };
        let Some(header) = parsed.map_err(Violation::protocol)? else {
            if buffered == 0 {
                self.header.extend_from_slice(input);
            }
            return Ok(&[]);
        };
        self.header = Vec::new();
        self.check_sequence(header.opcode)?;
        let earlier = self.message.as_ref().map_or(0, |(_, message)| message.len());
        let room = limit.saturating_sub(earlier);
        let is_data = matches!(header.opcode, OpCode::Data(_));
        if is_data && header.payload_len > room as u64 {
            return Err(Violation {
                code: CloseCode::MessageTooLarge,
                reason: "the message is too large",
            });
        }
        self.frame = Some(Frame {
            opcode: header.opcode,
            is_final: header.is_final,
            mask: header.mask,
            remaining: header.payload_len,
            payload: Vec::new(),
        });
        Ok(&input[header.len - buffered..])
    }

    /// The fragments of a message follow one another: RFC 6455, section 5.4.
    fn check_sequence(&self, opcode: OpCode) -> Result<(), Violation> {
        match (opcode, &self.message) {
            (OpCode::Data(Data::Continue), None) => {
                Err(Violation::protocol("a continuation of nothing"))
            }
            (OpCode::Data(Data::Text | Data::Binary), Some(_)) => {
                Err(Violation::protocol("a new message inside of another"))
            }
            _ => Ok(()),
        }
    }

    /// Checks what has arrived of the present frame behind `start`, if it belongs to a text: section 8.1 lets a server close at once, and so
    /// the rest of such a message is not waited for.
    fn check_text(&mut self, start: usize) -> Result<(), Violation> {
        let Some(frame) = &self.frame else { return Ok(()) };
        let kind = self.message.as_ref().map(|(kind, _)| *kind);
        let is_text = match frame.opcode {
            OpCode::Data(Data::Text) => true,
            OpCode::Data(Data::Continue) => kind == Some(Data::Text),
            _ => false,
        };
        if !is_text {
            return Ok(());
        }
        let mut text = std::mem::take(&mut self.unfinished);
        text.extend_from_slice(&frame.payload[start..]);
        let Err(error) = std::str::from_utf8(&text) else { return Ok(()) };
        if error.error_len().is_some() {
            return Err(Violation::NOT_UTF8);
        }
        self.unfinished = text.split_off(error.valid_up_to());
        Ok(())
    }

    /// The message that ends with a whole frame, if one does.
    fn finish(&mut self, frame: Frame) -> Result<Option<Inbound>, Violation> {
        match frame.opcode {
            OpCode::Control(Control::Ping) => Ok(Some(Inbound::Ping(frame.payload))),
            OpCode::Control(Control::Close) => check_close(&frame.payload).map(Some),
            OpCode::Control(_) => Ok(None),
            OpCode::Data(kind) => {
                let (kind, message) = match self.message.take() {
                    None => (kind, frame.payload),
                    Some((kind, mut message)) => {
                        message.extend_from_slice(&frame.payload);
                        (kind, message)
                    }
                };
                if !frame.is_final {
                    self.message = Some((kind, message));
                    return Ok(None);
                }
                self.unfinished = Vec::new();
                if kind == Data::Binary {
                    return Ok(Some(Inbound::Binary));
                }
                let text = String::from_utf8(message).map_err(|_| Violation::NOT_UTF8)?;
                Ok(Some(Inbound::Text(text)))
            }
        }
    }
}

impl Frame {
    /// Takes as much of `input` as belongs to the payload, unmasked (section 5.3).
    fn read_payload<'i>(&mut self, input: &'i [u8]) -> &'i [u8] {
        let take = input.len().min(usize::try_from(self.remaining).unwrap_or(usize::MAX));
        let (payload, rest) = input.split_at(take);
        let already = self.payload.len();
        let mask = self.mask.iter().cycle().skip(already % 4);
        self.payload.extend(payload.iter().zip(mask).map(|(byte, mask)| byte ^ mask));
        self.remaining -= take as u64;
        rest
    }
}

/// Section 5.5.1 and 7.4: a close frame is empty, or begins with a code that may be sent.
fn check_close(payload: &[u8]) -> Result<Inbound, Violation> {
    match payload {
        [] => Ok(Inbound::Close(None)),
        [_] => Err(Violation::protocol("half a close code")),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                return Err(Violation::protocol("a close code that must not be sent"));
            }
            if std::str::from_utf8(reason).is_err() {
                let reason = "the close reason is not UTF-8";
                return Err(Violation { code: CloseCode::InvalidText, reason });
            }
            Ok(Inbound::Close(Some(code)))
        }
    }
}

impl Violation {
    const NOT_UTF8: Self = Self { code: CloseCode::InvalidText, reason: "the text is not UTF-8" };

    fn protocol(reason: &'static str) -> Self {
        Self { code: CloseCode::ProtocolError, reason }
    }
}
