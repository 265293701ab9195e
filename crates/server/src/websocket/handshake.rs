//! From HTTP to WebSocket: RFC 6455, section 4.2.

use std::sync::Arc;

use axum::extract::{RawQuery, Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use milepost_hub::{Subscribe, WatchError};
use milepost_protocol::{CloseCode, JobId, ProblemType};
use tokio::net::TcpStream;
use tungstenite::handshake::derive_accept_key;

use super::reactor::{Admission, Welcome};
use crate::access::origin;
use crate::config::seconds;
use crate::connection::corked::Corked;
use crate::instance::{Instance, OpenSocket, WatchingSocket};
use crate::request::parameter::{self, NamedJob, WatchQuery};
use crate::response::problem::{Outcome, Refused};

/// `GET /ws/jobs/{job_id}`
pub(crate) async fn one_job(
    State(instance): State<Arc<Instance>>,
    NamedJob(job): NamedJob,
    RawQuery(query): RawQuery,
    request: Request,
) -> Outcome<Response> {
    let wanted = parse(&job, query.as_deref());
    upgrade(instance, request, move |instance| async move {
        match wanted {
            Ok((job, subscribe, ignored)) => {
                match instance.hub.topic_since(&job, subscribe.since).await {
                    Ok(lease) => Welcome::One(lease, subscribe, ignored),
                    Err(full @ (WatchError::Full(_) | WatchError::LogsFull(_))) => {
                        Welcome::Refused(CloseCode::TryAgainLater, full.into())
                    }
                    Err(error) => Welcome::Refused(CloseCode::InternalError, error.into()),
                }
            }
            // A browser hides the HTTP status from its page, so the reason is sent on the socket.
            Err(refused) => Welcome::Refused(CloseCode::BadRequest, refused),
        }
    })
}

fn parse(job: &str, query: Option<&str>) -> Outcome<(JobId, Subscribe, Vec<String>)> {
    let job = JobId::parse(job)?;
    let (wanted, ignored) = WatchQuery::parse_leniently(query)?;
    Ok((job, wanted.subscribe()?, ignored))
}

/// `GET /ws`
pub(crate) async fn many_jobs(
    State(instance): State<Arc<Instance>>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Outcome<Response> {
    let wanted = parameter::pairs(query.as_deref(), &[]);
    upgrade(instance, request, |_| async {
        match wanted {
            Ok(_) => Welcome::Many,
            Err(refused) => Welcome::Refused(CloseCode::BadRequest, refused),
        }
    })
}

/// Answers the handshake, and passes the socket to a shard once hyper has released it.
fn upgrade<F: Future<Output = Welcome> + Send>(
    instance: Arc<Instance>,
    mut request: Request,
    greet: impl FnOnce(Arc<Instance>) -> F + Send + 'static,
) -> Outcome<Response> {
    let accept = accept_key(request.method(), request.version(), request.headers())?;
    origin::check_handshake(&instance, request.headers())?;
    let upgraded = request.extensions_mut().remove::<OnUpgrade>();
    let open = request.extensions_mut().remove::<OpenSocket>();
    let (Some(upgraded), Some(open)) = (upgraded, open) else {
        return Err(Refused::new(
            ProblemType::UpgradeRequired,
            "this connection cannot be upgraded",
        ));
    };
    let owner = Arc::clone(&instance);
    owner.tasks.spawn(async move {
        // If the client has disconnected in the meantime, there is nothing to do.
        let Ok(upgraded) = upgraded.await else { return };
        let Ok(parts) = upgraded.downcast::<TokioIo<Corked>>() else { return };
        let watching = WatchingSocket::new(open);
        let Ok(stream) = parts.io.into_inner().uncork().await else { return };
        // If setting options fails, the peer has disconnected.
        if tune(&stream, &instance).is_err() {
            return;
        }
        let Ok(stream) = stream.into_std() else { return };
        let welcome = tokio::select! {
            welcome = greet(Arc::clone(&instance)) => welcome,
            () = instance.drain.over() => return,
        };
        let read: Bytes = parts.read_buf;
        let shard = instance.next_shard();
        shard.admit(Admission { stream, read, welcome, watching }).await;
    });
    let headers = [
        (UPGRADE, HeaderValue::from_static("websocket")),
        (CONNECTION, HeaderValue::from_static("upgrade")),
        (SEC_WEBSOCKET_ACCEPT, accept),
    ];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}

/// Checks the handshake and answers its key.
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

/// Sets the options of a watcher's socket.
fn tune(stream: &TcpStream, instance: &Instance) -> std::io::Result<()> {
    let socket = socket2::SockRef::from(stream);
    let stall = seconds(instance.config.stall_timeout);
    socket.set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(stall / 2))?;
    #[cfg(target_os = "linux")]
    {
        // The kernel queues little for a watcher that stops reading, so that it sees the present almost at once when it
        // reads again.
        socket.set_tcp_notsent_lowat(16 << 10)?;
        // The kernel drops a peer that is gone or accepts nothing for this long.
        socket.set_tcp_user_timeout(Some(stall))?;
    }
    Ok(())
}
