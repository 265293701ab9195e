//! Request ids: what a response, the log and the audit log call one request.

use std::cell::OnceCell;

use http::{HeaderMap, HeaderName, HeaderValue, Response};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A longer id is not kept.
const MAX_BYTES: usize = 128;

tokio::task_local! {
    static CURRENT: RequestId;
}

/// A request's id: its client's, or one that is made as soon as somebody needs it.
///
/// Most reports need none: nothing that is logged or answered names them.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestId {
    id: OnceCell<HeaderValue>,
}

impl RequestId {
    /// The id that the client has given to its request, if there is one, it is not too long and it has visible ASCII characters alone.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut given = headers.get_all(X_REQUEST_ID).iter();
        let id = given.next().filter(|id| given.next().is_none() && is_valid(id.as_bytes()));
        id.cloned().into()
    }

    /// Makes it the current request's id while `work` goes on.
    pub(crate) fn scope<T>(self, work: impl Future<Output = T>) -> impl Future<Output = T> {
        CURRENT.scope(self, work)
    }

    fn value(&self) -> &HeaderValue {
        self.id.get_or_init(|| {
            let made = format!("{:016x}", fastrand::u64(..));
            HeaderValue::try_from(made).unwrap_or(HeaderValue::from_static("none"))
        })
    }
}

impl From<Option<HeaderValue>> for RequestId {
    fn from(id: Option<HeaderValue>) -> Self {
        Self { id: id.map(OnceCell::from).unwrap_or_default() }
    }
}

fn is_valid(id: &[u8]) -> bool {
    (1..=MAX_BYTES).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
}

/// The id of the request that is being answered; none outside of one.
pub(crate) fn current() -> Option<HeaderValue> {
    CURRENT.try_with(|current| current.value().clone()).ok()
}

/// The same, for the log.
pub(crate) fn current_text() -> Option<Box<str>> {
    CURRENT.try_with(|current| current.value().to_str().map(Into::into).ok()).ok().flatten()
}

/// The same, as the `instance` of a problem (RFC 9457, section 3.1.5).
pub(crate) fn current_uri() -> Option<String> {
    /// What stands for itself in a URI (RFC 3986, section 2.3).
    const RESERVED: &AsciiSet =
        &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    let id = current_text()?;
    Some(format!("urn:milepost:request:{}", utf8_percent_encode(&id, RESERVED)))
}

/// Names the current request in its response. `unless_needed`: only if the client, the log or the response has asked for the id.
pub(crate) fn label<B>(response: &mut Response<B>, unless_needed: bool) {
    let _ = CURRENT.try_with(|current| {
        if !unless_needed || current.id.get().is_some() {
            response.headers_mut().insert(X_REQUEST_ID, current.value().clone());
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(ids: &[&str]) -> Option<HeaderValue> {
        let value = |id: &&str| (X_REQUEST_ID, HeaderValue::from_str(id).expect("a header"));
        RequestId::of(&ids.iter().map(value).collect()).id.get().cloned()
    }

    #[test]
    fn a_clients_id_is_kept_if_it_is_short_and_visible() {
        let longest = "x".repeat(128);
        for id in ["1", "a/b:c=\"d\"", "~", &longest] {
            assert_eq!(given(&[id]).as_ref().map(HeaderValue::as_bytes), Some(id.as_bytes()));
        }
        for bad in ["", "a b", "a\tb", "ä", &format!("{longest}x")] {
            assert_eq!(given(&[bad]), None, "{bad}");
        }
        assert_eq!((given(&["a", "b"]), given(&[])), (None, None));
    }

    #[tokio::test]
    async fn an_id_is_made_once_and_only_if_it_is_needed() {
        assert_eq!(current(), None);
        RequestId::default()
            .scope(async {
                let mut response = Response::new(());
                label(&mut response, true);
                assert!(response.headers().is_empty());
                let id = current().expect("a request");
                label(&mut response, true);
                assert_eq!(response.headers().get(X_REQUEST_ID), Some(&id));
                assert_eq!(id.len(), 16);
            })
            .await;
        RequestId::from(Some(HeaderValue::from_static("a/b%")))
            .scope(async {
                assert_eq!(current_uri().as_deref(), Some("urn:milepost:request:a%2Fb%25"));
            })
            .await;
    }
}
