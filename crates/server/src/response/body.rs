//! Bodies of responses. Their memory is taken from the budget, and given back when the last byte was passed on.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use milepost_protocol::State;

use crate::memory::Held;

/// The most bytes that a connection gets at once, so that little is copied for a client that does not read.
const PIECE: usize = 16 << 10;

/// A state's JSON, not copied. `held` is given back with its last piece.
pub(crate) fn state_bytes(state: Arc<State>, held: Held) -> Bytes {
    struct Owner(Arc<State>, #[expect(dead_code, reason = "given back when it is dropped")] Held);

    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            self.0.json().as_bytes()
        }
    }

    Bytes::from_owner(Owner(state, held))
}

/// Text that holds a part of the budget until the last piece of it is dropped.
pub(crate) fn text_bytes(text: String, held: Held) -> Bytes {
    struct Owner(String, #[expect(dead_code, reason = "given back when it is dropped")] Held);

    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            self.0.as_bytes()
        }
    }

    Bytes::from_owner(Owner(text, held))
}

/// A body of known length that is handed on in pieces.
pub(crate) fn in_pieces(bytes: Bytes) -> Body {
    if bytes.len() <= PIECE {
        return Body::from(bytes);
    }
    Body::new(Pieces(bytes))
}

/// The same bytes in pieces, for a stream.
pub(crate) fn pieces(mut bytes: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || {
        let piece = bytes.split_to(bytes.len().min(PIECE));
        (!piece.is_empty()).then_some(piece)
    })
}

struct Pieces(Bytes);

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let len = self.0.len().min(PIECE);
        let piece = self.0.split_to(len);
        Poll::Ready((!piece.is_empty()).then(|| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.len() as u64)
    }
}
