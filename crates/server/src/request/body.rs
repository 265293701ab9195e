use std::fmt::Display;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::Body;
use http_body_util::BodyExt;
use milepost_protocol::ProblemType;

use crate::config::seconds;
use crate::counters::count;
use crate::instance::Instance;
use crate::memory::Held;
use crate::response::problem::{Outcome, Refused};

/// A request's whole body. It holds its memory in the budget until it is dropped.
pub(crate) struct Whole {
    pub(crate) bytes: Bytes,
    pub(crate) held: Held,
}

/// Reads a request's body of at most `limit` bytes; `too_large` is the problem with a larger one.
pub(crate) async fn read<B>(
    headers: &HeaderMap,
    body: B,
    limit: usize,
    too_large: ProblemType,
    instance: &Instance,
) -> Outcome<Whole>
where
    B: Body<Data = Bytes, Error: Display> + Unpin,
{
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let announced = announced.and_then(|length| length.parse().ok()).unwrap_or(0);
    if announced > limit {
        return Err(refuse(too_large, limit, instance));
    }
    let timeout = instance.config.body_timeout;
    let mut collect = pin!(collect(body, announced, limit, too_large, instance));
    // A short body usually arrives with its head. Then no timer is made.
    if let Poll::Ready(whole) = poll_fn(|cx| Poll::Ready(collect.as_mut().poll(cx))).await {
        return whole;
    }
    tokio::time::timeout(seconds(timeout), collect).await.unwrap_or_else(|_| {
        count(&instance.counters.timeouts.body);
        let detail = format!("the body had not arrived after {timeout} s");
        Err(Refused::new(ProblemType::RequestTimeout, detail))
    })
}

async fn collect<B>(
    mut body: B,
    announced: usize,
    limit: usize,
    too_large: ProblemType,
    instance: &Instance,
) -> Outcome<Whole>
where
    B: Body<Data = Bytes, Error: Display> + Unpin,
{
    // A body that is only announced takes no memory yet, except for a small one, which is read at once.
    let mut bytes = BytesMut::with_capacity(announced.min(16 << 10));
    let mut held = instance.memory.bodies.take(bytes.capacity())?;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Refused::new(ProblemType::IncompleteBody, format!("the body broke off: {error}"))
        })?;
        let Ok(chunk) = frame.into_data() else { continue };
        let len = bytes.len() + chunk.len();
        if len > limit {
            return Err(refuse(too_large, limit, instance));
        }
        if len > bytes.capacity() {
            // While it is copied, both the old buffer and the new one exist.
            let capacity = len.max(bytes.capacity() * 2).min(limit);
            held.grow_to(capacity + bytes.capacity())?;
            bytes.reserve(capacity - bytes.len());
            held.shrink_to(bytes.capacity().max(capacity));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Whole { bytes: bytes.freeze(), held })
}

fn refuse(too_large: ProblemType, limit: usize, instance: &Instance) -> Refused {
    count(&instance.counters.too_large);
    Refused::new(too_large, format!("at most {limit} bytes are allowed"))
}
