//! What can stop a measurement.

use std::fmt;
use std::io;

/// Why a measurement could not be made. None of these is a result: a run that fails prints no figure.
#[derive(Debug)]
pub(crate) enum Error {
    /// The operating system refused something. The text names what was being done.
    Io(String, io::Error),
    /// A server did not start, or stopped by itself.
    Server(String),
    /// What was waited for did not happen within its bound.
    Late(String),
    /// A server answered a report with something other than 2xx.
    Refused(String),
    /// A server sent what this client does not expect of a WebSocket.
    Protocol(String),
    /// A recorded run cannot be read.
    Recording(String),
    /// This many measurements failed. The results of the others are written.
    Failed(usize),
    /// The command line asks for more than this machine, or this program, allows.
    Limit(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(doing, source) => write!(f, "{doing}: {source}"),
            Self::Failed(1) => f.write_str("1 measurement failed"),
            Self::Failed(count) => write!(f, "{count} measurements failed"),
            Self::Server(text)
            | Self::Late(text)
            | Self::Refused(text)
            | Self::Protocol(text)
            | Self::Recording(text)
            | Self::Limit(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(_, source) => Some(source),
            _ => None,
        }
    }
}

/// Names what was being done when the operating system refused.
pub(crate) fn doing(text: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    let text = text.into();
    move |source| Error::Io(text, source)
}
