use std::time::Duration;

/// Why the server closes a WebSocket. The code says whether to reconnect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseCode {
    /// The job has ended and the watcher asked to be closed then, or the client closed.
    Done,
    /// The client violated RFC 6455.
    ProtocolError,
    /// A text message that is not UTF-8.
    InvalidText,
    /// A client's message over the limit.
    MessageTooLarge,
    /// A fault on the server's side.
    InternalError,
    /// The server is shutting down. Another one, or the restarted one, will answer.
    Restart,
    /// The server is full, or the client does something too often or too slowly.
    TryAgainLater,
    /// The job id or a parameter was rejected.
    BadRequest,
    /// No credential came, or it no longer holds. With a new one, the client may come back at once.
    Unauthenticated,
    /// The credential does not allow this, or was revoked.
    Forbidden,
}

/// Whether and when a client should reconnect after its connection was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reconnect {
    /// It should not: the outcome would be the same. After [`Unauthenticated`](CloseCode::Unauthenticated): unless it has
    /// another credential.
    No,
    /// After a random delay between these two.
    After {
        /// The shortest delay.
        min: Duration,
        /// The longest delay.
        max: Duration,
    },
    /// After the `retry_ms` of the close reason, or with a backoff if there is none.
    AsRequested,
    /// With a backoff: the first try after 0–1 s, doubled up to 30 s, jittered over its whole length.
    Backoff,
}

impl CloseCode {
    /// Every code that a server sends.
    pub const ALL: [Self; 10] = [
        Self::Done,
        Self::ProtocolError,
        Self::InvalidText,
        Self::MessageTooLarge,
        Self::InternalError,
        Self::Restart,
        Self::TryAgainLater,
        Self::BadRequest,
        Self::Unauthenticated,
        Self::Forbidden,
    ];

    /// The code on the wire: RFC 6455 section 7.4 and its registry; 44xx are of the private range.
    pub const fn code(self) -> u16 {
        match self {
            Self::Done => 1000,
            Self::ProtocolError => 1002,
            Self::InvalidText => 1007,
            Self::MessageTooLarge => 1009,
            Self::InternalError => 1011,
            Self::Restart => 1012,
            Self::TryAgainLater => 1013,
            Self::BadRequest => 4400,
            Self::Unauthenticated => 4401,
            Self::Forbidden => 4403,
        }
    }

    /// The name in docs, logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::ProtocolError => "protocol-error",
            Self::InvalidText => "invalid-text",
            Self::MessageTooLarge => "message-too-large",
            Self::InternalError => "internal-error",
            Self::Restart => "restart",
            Self::TryAgainLater => "try-again-later",
            Self::BadRequest => "bad-request",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
        }
    }
}

impl Reconnect {
    /// What a client does after a close with this code, known or not.
    pub fn for_code(code: u16) -> Self {
        match CloseCode::ALL.into_iter().find(|known| known.code() == code) {
            Some(
                CloseCode::Done
                | CloseCode::ProtocolError
                | CloseCode::InvalidText
                | CloseCode::MessageTooLarge
                | CloseCode::BadRequest
                | CloseCode::Unauthenticated
                | CloseCode::Forbidden,
            ) => Self::No,
            Some(CloseCode::InternalError) => {
                Self::After { min: Duration::from_secs(1), max: Duration::from_secs(5) }
            }
            Some(CloseCode::Restart | CloseCode::TryAgainLater) => Self::AsRequested,
            None if (4400..4500).contains(&code) => Self::No,
            None => Self::Backoff,
        }
    }
}
