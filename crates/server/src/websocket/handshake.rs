//! From HTTP to WebSocket: RFC 6455, section 4.2.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use axum::extract::{RawQuery, Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use milepost_hub::WatchError;
use milepost_protocol::{CloseCode, JobId, ProblemType};
use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tungstenite::handshake::derive_accept_key;

use super::reactor::{Admission, Welcome};
use super::relay::{QUEUED, Relay};
use super::upgrade::{Proxied, Target, Upgrade, Upgraded};
use crate::access::{self, Grant, Granted, SocketRefused, foreign_page};
use crate::connection::corked::Corked;
use crate::connection::stream::{Bare, Stream};
use crate::counters::{OpenSocket, WatchingSocket};
use crate::instance::Instance;
use crate::openapi;
use crate::request::id;
use crate::request::parameter::{self, NamedJob, WatchQuery};
use crate::response::problem::{Outcome, Refused};

/// Watch one job over WebSocket
///
/// `/asyncapi.yaml` describes the messages. If a job id or a parameter is rejected, the socket opens, and the server
/// sends an `error` message and closes the socket with 4400. A browser would hide an HTTP status from its page.
#[utoipa::path(
    get, path = "/ws/jobs/{job_id}", operation_id = "watchJob", tag = "Watching",
    params(openapi::JobPath, openapi::WatchParams, openapi::CloseParam),
    responses(
        (status = 101, description = "The connection speaks WebSocket (RFC 6455) from now on."),
        openapi::SocketRefused,
    ),
)]
pub(crate) async fn one_job(
    State(instance): State<Arc<Instance>>,
    NamedJob(job): NamedJob,
    RawQuery(query): RawQuery,
    request: Request,
) -> Outcome<Response> {
    let target = parse(&job, query.as_deref()).unwrap_or_else(Target::bad_request);
    upgrade(&instance, &request, target)
}

fn parse(job: &str, query: Option<&str>) -> Outcome<Target> {
    let job = JobId::parse(job)?;
    let (query, ignored) = WatchQuery::parse_leniently(query)?;
    Ok(Target::One(job, query.subscribe()?, ignored))
}

/// Watch many jobs over one WebSocket
///
/// The client names the jobs in messages: see `/asyncapi.yaml`.
#[utoipa::path(
    get, path = "/ws", operation_id = "watchJobs", tag = "Watching",
    responses(
        (status = 101, description = "The connection speaks WebSocket (RFC 6455) from now on."),
        openapi::SocketRefused,
    ),
)]
pub(crate) async fn many_jobs(
    State(instance): State<Arc<Instance>>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Outcome<Response> {
    let checked = parameter::pairs(query.as_deref(), &[]);
    upgrade(&instance, &request, checked.map_or_else(Target::bad_request, |_| Target::Many))
}

/// Answers the handshake. Once the response is written, the connection calls [`admit`].
fn upgrade(instance: &Instance, request: &Request, target: Target) -> Outcome<Response> {
    let accept = accept_key(request.method(), request.version(), request.headers())?;
    foreign_page::check_handshake(instance, request.headers())?;
    let granted = request.extensions().get::<Grant>().and_then(Grant::granted).cloned();
    let target = match request.extensions().get::<SocketRefused>() {
        Some(SocketRefused(code, refused)) => Target::Refused(*code, refused.clone()),
        None if instance.gate.is_some() && granted.is_none() => {
            // The layer passes on no request without either.
            return Err(Refused::new(ProblemType::Internal, "nobody has checked this request"));
        }
        None => target,
    };
    let (target, subject) = match instance.count_subject(granted.as_ref()) {
        Ok(subject) => (target, subject),
        Err(refused) => (Target::Refused(CloseCode::TryAgainLater, refused), None),
    };
    let protocol = access::chosen_subprotocol(request.headers())
        .and_then(|protocol| HeaderValue::try_from(protocol).ok());
    let Some(upgrade) = request.extensions().get::<Upgrade>() else {
        return Err(Refused::new(
            ProblemType::UpgradeRequired,
            "this connection cannot be upgraded",
        ));
    };
    let address = request.extensions().get::<Proxied>().and_then(|proxied| proxied.0.clone());
    upgrade.set(Upgraded { id: id::current().into(), target, granted, address, subject });
    let headers = [
        (UPGRADE, HeaderValue::from_static("websocket")),
        (CONNECTION, HeaderValue::from_static("upgrade")),
        (SEC_WEBSOCKET_ACCEPT, accept),
    ];
    let mut response = (StatusCode::SWITCHING_PROTOCOLS, headers).into_response();
    if let Some(protocol) = protocol {
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    Ok(response)
}

/// Passes a connection to a shard. `read` are bytes that arrived right after the handshake.
pub(crate) async fn admit(
    socket: &Corked,
    read: Bytes,
    open: OpenSocket,
    target: Target,
    granted: Option<Arc<Granted>>,
    instance: &Instance,
) {
    let watching = WatchingSocket::new(open);
    // If the client has disconnected in the meantime, there is nothing to do.
    let Ok((mut stream, mut response)) = socket.uncork().await else { return };
    if tune(&stream).is_err() {
        return;
    }
    let mut welcome = pin!(welcome(target, instance));
    let welcome = match poll_fn(|cx| Poll::Ready(welcome.as_mut().poll(cx))).await {
        Poll::Ready(welcome) => welcome,
        Poll::Pending => {
            // Attaching asks the broker, so the response does not wait for it.
            let sent = stream.write_all(&std::mem::take(&mut response)).await;
            if sent.is_err() || stream.flush().await.is_err() {
                return;
            }
            tokio::select! {
                welcome = welcome => welcome,
                () = instance.drain.over() => return,
            }
        }
    };
    let Ok(bare) = stream.into_bare() else { return };
    let (stream, relay) = match bare {
        Bare::Socket(socket) => (socket.into(), None),
        Bare::Tls(tls) => match Relay::new(tls) {
            Ok((stream, relay)) => (stream, Some(relay)),
            Err(error) => return tracing::error!(%error, "cannot make a pair of sockets"),
        },
    };
    let shard = instance.next_shard();
    // Only the log would need it.
    let id = tracing::enabled!(tracing::Level::DEBUG).then(id::current_text).flatten();
    shard.admit(Admission { stream, id, response, read, welcome, granted, watching }).await;
    if let Some(relay) = relay {
        tokio::select! {
            () = relay.run() => {}
            () = instance.drain.over() => {}
        }
    }
}

async fn welcome(target: Target, instance: &Instance) -> Welcome {
    match target {
        Target::One(job, subscribe, ignored) => {
            match instance.hub.topic_since(&job, subscribe.since).await {
                Ok(lease) => Welcome::One(lease, subscribe, ignored),
                Err(full @ (WatchError::Full(_) | WatchError::LogsFull(_))) => {
                    Welcome::Refused(CloseCode::TryAgainLater, full.into())
                }
                Err(error) => Welcome::Refused(CloseCode::InternalError, error.into()),
            }
        }
        Target::Many => Welcome::Many,
        Target::Refused(code, refused) => Welcome::Refused(code, refused),
    }
}

/// Checks the handshake, and returns the reply to its key.
fn accept_key(method: &Method, version: Version, headers: &HeaderMap) -> Outcome<HeaderValue> {
    let required = |detail: &str| Err(Refused::new(ProblemType::UpgradeRequired, detail));
    if !has_token(headers, &UPGRADE, "websocket") || !has_token(headers, &CONNECTION, "upgrade") {
        return required("connect with a WebSocket client; for a plain request see /jobs/{job_id}");
    }
    if method != Method::GET || version != Version::HTTP_11 {
        return required("a WebSocket begins with a GET of HTTP/1.1");
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return required("Sec-WebSocket-Version must be 13");
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).filter(|key| is_key(key.as_bytes()));
    let Some(key) = key else {
        let detail = "must be 16 bytes in base64";
        return Err(Refused::parameter("Sec-WebSocket-Key", detail));
    };
    HeaderValue::try_from(derive_accept_key(key.as_bytes()))
        .map_err(|_| Refused::new(ProblemType::Internal, "the accept key is no header"))
}

/// 16 bytes in base64 are 22 characters and two of padding.
fn is_key(key: &[u8]) -> bool {
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.len() == 24 && key.ends_with(b"==") && key[..22].iter().all(is_base64)
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(token))
}

/// Makes the kernel queue little for a watcher that stops reading. So when it reads again, it sees the present state
/// almost at once.
fn tune(stream: &Stream) -> std::io::Result<()> {
    #[cfg_attr(
        not(target_os = "linux"),
        expect(unused_variables, reason = "Linux alone has the option")
    )]
    let tcp = match stream {
        Stream::Tcp(tcp) => tcp,
        Stream::Tls(tls) => tls.get_ref().0,
        Stream::Unix(unix) => return SockRef::from(unix).set_send_buffer_size(QUEUED as usize),
    };
    #[cfg(target_os = "linux")]
    SockRef::from(tcp).set_tcp_notsent_lowat(QUEUED)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn little_is_queued_on_a_unix_socket_too() {
        let (ours, _theirs) = tokio::net::UnixStream::pair().expect("a pair");
        let stream = Stream::Unix(ours);
        tune(&stream).expect("the system knows the option");
        let Stream::Unix(ours) = &stream else { unreachable!("it was made above") };
        // Linux doubles it, for its own bookkeeping.
        let queued = SockRef::from(ours).send_buffer_size().expect("an option");
        assert!(queued <= 2 * QUEUED as usize, "{queued}");
    }
}
