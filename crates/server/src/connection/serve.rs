//! One connection, from its first byte to its end.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CONNECTION, STRICT_TRANSPORT_SECURITY};
use http::{HeaderValue, Method, Request};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use milepost_protocol::ProblemType;
use tokio::io::AsyncReadExt;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::config::seconds;
use crate::connection::corked::Corked;
use crate::connection::listen;
use crate::connection::opening::{self, Opened};
use crate::connection::stall::Stalls;
use crate::connection::stream::Stream;
use crate::counters::{OpenSocket, count};
use crate::instance::Instance;
use crate::limits::Client;
use crate::limits::connections::{TooMany, network};
use crate::reporting::direct;
use crate::request::id::{self, RequestId};
use crate::response::problem::Refused;
use crate::websocket::{self, Proxied, Upgrade, Upgraded};

/// The clients that a connection is open to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admitted {
    /// All clients.
    All,
    /// Only operators: the server already holds `max` other connections.
    Operators { max: usize },
}

/// How long a connection of the reserve is served: for a request or two.
const RESERVE_TIME: Duration = Duration::from_secs(5);

/// Operators' paths, which a full server still serves.
const OPERATORS: [&str; 5] = ["/health", "/livez", "/readyz", "/metrics", "/ws/stats"];

/// Whether clients of the Python service, or probes, use the address: what they send and the server does not need is ignored there.
fn is_lenient(path: &str) -> bool {
    OPERATORS.contains(&path) || path.starts_with("/ws/jobs/") || path.ends_with("/status")
}

/// Serves one connection to its end.
pub(crate) async fn serve(
    stream: Stream,
    peer: Option<IpAddr>,
    open: OpenSocket,
    admitted: Admitted,
    router: Router,
    instance: Arc<Instance>,
) {
    let drain = instance.drain.clone();
    let timeout = seconds(instance.config.header_timeout);
    let begun = tokio::select! {
        begun = tokio::time::timeout(timeout, opening::open(stream, peer, &instance)) => begun,
        () = drain.begun() => return,
    };
    if begun.is_err() {
        count(&instance.counters.timeouts.header);
    }
    // A client that does not speak the configured protocol is at fault. Nothing is logged.
    let Ok(Ok(Opened { stream, peer, is_named, speaks_http2 })) = begun else { return };
    let open = match peer.filter(|_| is_named && !instance.limits.proxies.trusts(peer)) {
        // The accept loop could not count it, because it saw only the proxy.
        Some(client) => match instance.limits.addresses.count(network(client)) {
            Ok(counted) => open.of(counted),
            Err(TooMany(_)) => return,
        },
        None => open,
    };
    if cfg!(not(target_os = "linux"))
        && let Stream::Tcp(tcp) = &stream
        && listen::tune(tcp, seconds(instance.config.stall_timeout)).is_err()
    {
        return;
    }
    let is_encrypted = stream.is_encrypted();
    let (stalls, refused, upgrade) = (Stalls::default(), Arc::default(), Upgrade::default());
    let requests =
        Requests { router, peer, is_encrypted, admitted, instance, upgrade, stalls, refused };
    let served = async {
        if speaks_http2 {
            serve_http2(stream, requests).await;
            drop(open);
        } else {
            serve_http1(stream, open, requests).await;
        }
    };
    match admitted {
        Admitted::All => served.await,
        // A connection that is closed here gets no message. It was already answered that the server is full.
        Admitted::Operators { .. } => drop(tokio::time::timeout(RESERVE_TIME, served).await),
    }
}

/// What all requests of a connection share.
#[derive(Clone)]
struct Requests {
    router: Router,
    /// The address of the client, or of its proxy; none for a Unix socket.
    peer: Option<IpAddr>,
    is_encrypted: bool,
    admitted: Admitted,
    instance: Arc<Instance>,
    upgrade: Upgrade,
    stalls: Stalls,
    /// A request with a body was rejected, so its client may still be sending.
    refused: Arc<AtomicBool>,
}

impl Requests {
    /// Answers a request under its id.
    fn answer(
        self,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response, Infallible>> {
        // A future is copied into each async block that awaits it, and this one is large, so no block stands around it.
        RequestId::of(request.headers()).scope(self.answer_named(request))
    }

    async fn answer_named(self, mut request: Request<Incoming>) -> Result<Response, Infallible> {
        let logged = tracing::enabled!(tracing::Level::DEBUG)
            .then(|| (request.method().clone(), request.uri().path().to_owned()));
        let is_plain = direct::is_plain_report(&request);
        let is_http2 = request.version() == http::Version::HTTP_2;
        let has_body = !request.body().is_end_stream();
        let refused = self.refuse(&request).or_else(|| self.limit(&mut request).err());
        let mut response = if let Some(refused) = refused {
            let mut response = refused.into_response();
            if request.version() < http::Version::HTTP_2 {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            response
        } else {
            if !is_http2 && request.headers().contains_key(http::header::UPGRADE) {
                request.extensions_mut().insert(self.upgrade);
            }
            let mut response = if is_plain {
                direct::answer(&self.instance, request).await
            } else {
                match self.router.oneshot(request).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                }
            };
            if self.is_encrypted
                && let Some(hsts) = self.instance.hsts.clone()
            {
                response.headers_mut().insert(STRICT_TRANSPORT_SECURITY, hsts);
            }
            response.map(|body: Body| {
                // With HTTP/1, what fits into the connection's own buffer never waits.
                let is_small = body.size_hint().exact().is_some_and(|len| len <= 4 << 10);
                if is_small && !is_http2 { body } else { self.stalls.watch(body) }
            })
        };
        if has_body && !response.status().is_success() {
            self.refused.store(true, Ordering::Relaxed);
        }
        if let Some((method, path)) = logged {
            let (request_id, status) = (id::current_text(), response.status().as_u16());
            // In quotes, so that nothing of a path can steer a terminal.
            tracing::debug!(request_id, %method, ?path, status, "request");
        }
        // What names a report that was accepted is its position.
        id::label(&mut response, is_plain);
        Ok(response)
    }

    fn refuse(&self, request: &Request<Incoming>) -> Option<Refused> {
        let path = request.uri().path();
        if let Admitted::Operators { max } = self.admitted
            && !OPERATORS.contains(&path)
        {
            count(&self.instance.counters.full);
            let detail = format!("the server holds {max} connections");
            return Some(Refused::new(ProblemType::TooManyConnections, detail));
        }
        let announced = request.body().size_hint().lower();
        if announced > 0
            && matches!(*request.method(), Method::GET | Method::HEAD | Method::DELETE)
            && !is_lenient(path)
        {
            let detail = format!("is {announced}; {} requests have no body", request.method());
            return Some(Refused::parameter("content-length", detail));
        }
        let (version, uri, headers) = (request.version(), request.uri(), request.headers());
        if let Err(refused) = self.instance.hosts.check(version, uri, headers) {
            return Some(refused);
        }
        if self.instance.drain.has_begun()
            && matches!(*request.method(), Method::POST | Method::DELETE)
        {
            let detail = "send the request to another instance, or to this one when it is back";
            return Some(Refused::new(ProblemType::ShuttingDown, detail));
        }
        None
    }

    /// Counts a WebSocket for the client's address, and leaves that address for the handlers, which count the rest.
    fn limit(&self, request: &mut Request<Incoming>) -> Result<(), Refused> {
        let limits = &self.instance.limits;
        if !limits.count_addresses() {
            return Ok(());
        }
        let Some(client) = limits.proxies.client(self.peer, request.headers()) else {
            return Ok(());
        };
        request.extensions_mut().insert(Client(client));
        let is_socket = request.headers().contains_key(http::header::UPGRADE);
        if is_socket {
            limits.handshake_of(client, self.instance.clock.elapsed())?;
        }
        if is_socket && limits.proxies.trusts(self.peer) {
            let counted = limits.addresses.count(network(client)).map_err(|TooMany(max)| {
                let detail = format!("an address may have {max} connections at a time");
                Refused::new(ProblemType::TooManyRequests, detail)
            })?;
            request.extensions_mut().insert(Proxied(counted));
        }
        Ok(())
    }
}

async fn serve_http2(stream: Stream, requests: Requests) {
    let timeout = seconds(requests.instance.config.header_timeout);
    let stall = seconds(requests.instance.config.stall_timeout);
    let (drain, stalls) = (requests.instance.drain.clone(), requests.stalls.clone());
    let instance = Arc::clone(&requests.instance);
    let mut builder = http2::Builder::new(Owned(requests.instance.tasks.clone()));
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(timeout)
        .keep_alive_timeout(timeout)
        .max_concurrent_streams(256)
        // The most bytes of each stream's response, and of all requests' bodies, that the connection holds.
        .max_send_buf_size(16 << 10)
        .initial_connection_window_size(1 << 20)
        .max_header_list_size(32 << 10);
    let requested = Arc::new(AtomicBool::new(false));
    let has_requested = Arc::clone(&requested);
    let service = service_fn(move |request| {
        requested.store(true, Ordering::Relaxed);
        requests.clone().answer(request)
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    // hyper checks that a client is alive only after the preface, and some clients send none.
    let says_nothing = async {
        tokio::time::sleep(timeout).await;
        if has_requested.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    // Its client ends a connection. Nothing is logged.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = says_nothing => count(&instance.counters.timeouts.header),
        () = stalls.stalled(stall) => count(&instance.counters.timeouts.response),
        () = drain.begun() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                _ = connection => {}
                () = stalls.stalled(stall) => count(&instance.counters.timeouts.response),
                () = drain.over() => {}
            }
        }
    }
}

async fn serve_http1(stream: Stream, open: OpenSocket, requests: Requests) {
    let instance = Arc::clone(&requests.instance);
    let refused = Arc::clone(&requests.refused);
    let socket = Corked::new(stream, &instance.memory.responses);
    match serve_requests(&socket, requests).await {
        Served::Upgraded(Upgraded { id, target, granted, address, subject }, read) => {
            let open = open.of(address).by(subject);
            id.scope(websocket::admit(&socket, read, open, target, granted, &instance)).await;
        }
        Served::Ended if refused.load(Ordering::Relaxed) => {
            tokio::select! {
                () = linger(&socket) => {}
                () = instance.drain.over() => {}
            }
        }
        Served::Ended | Served::CutOff => {}
    }
}

/// How the HTTP of a connection ended.
enum Served {
    /// With its last response.
    Ended,
    /// It stalled, or the drain period is over.
    CutOff,
    /// With a handshake. The bytes were read after it.
    Upgraded(Upgraded, Bytes),
}

async fn serve_requests(socket: &Corked, requests: Requests) -> Served {
    let (instance, upgrade) = (Arc::clone(&requests.instance), requests.upgrade.clone());
    let stall = seconds(instance.config.stall_timeout);
    let (drain, stalls) = (instance.drain.clone(), requests.stalls.clone());
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(seconds(instance.config.header_timeout))
        .max_headers(64)
        .max_buf_size(64 << 10);
    let service = service_fn(move |request| requests.clone().answer(request));
    let mut connection = builder.serve_connection(TokioIo::new(socket.clone()), service);
    let mut drains = pin!(drain.begun());
    let (mut is_draining, mut has_ended, mut upgraded) = (false, false, None);
    let served = poll_fn(|cx| {
        if !is_draining && drains.as_mut().poll(cx).is_ready() {
            is_draining = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        // Responses leave, and watchers are served, before anything is waited for.
        instance.batch(|| {
            if !has_ended && let Poll::Ready(end) = Pin::new(&mut connection).poll(cx) {
                has_ended = true;
                if end.as_ref().is_err_and(hyper::Error::is_timeout) {
                    count(&instance.counters.timeouts.header);
                }
                upgraded = upgrade.take().filter(|_| end.is_ok());
            }
            if upgraded.is_some() {
                // Its shard sends the response, with what follows it.
                return Poll::Ready(());
            }
            match socket.poll_drain(cx) {
                Poll::Ready(Ok(())) if !has_ended => Poll::Pending,
                Poll::Ready(_) => Poll::Ready(()),
                Poll::Pending => Poll::Pending,
            }
        })
    });
    tokio::select! {
        () = served => {}
        () = stalls.stalled(stall) => {
            count(&instance.counters.timeouts.response);
            return Served::CutOff;
        }
        () = drain.over() => return Served::CutOff,
    }
    match upgraded {
        Some(upgraded) => Served::Upgraded(upgraded, connection.into_parts().read_buf),
        None => Served::Ended,
    }
}

/// Reads for a while after the last response, and drops the bytes. A client that was rejected early may still be
/// sending: unread bytes would make the kernel reset the connection, and drop the response.
async fn linger(socket: &Corked) {
    /// How many bytes are read, …
    const BYTES: usize = 32 << 20;
    /// … for how long, …
    const TIME: Duration = Duration::from_secs(5);
    /// … and the longest pause of the client.
    const PAUSE: Duration = Duration::from_secs(1);
    let Some(mut stream) = socket.shut_down_write().await else { return };
    let reading = async {
        let mut buffer = vec![0; 16 << 10];
        let mut left = BYTES;
        while left > 0 {
            match tokio::time::timeout(PAUSE, stream.read(&mut buffer)).await {
                Ok(Ok(len)) if len > 0 => left = left.saturating_sub(len),
                _ => return,
            }
        }
    };
    let _ = tokio::time::timeout(TIME, reading).await;
}

/// Spawns the streams of an HTTP/2 connection as tasks that the server waits for.
#[derive(Clone)]
struct Owned(TaskTracker);

impl<F> hyper::rt::Executor<F> for Owned
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, stream: F) {
        self.0.spawn(stream);
    }
}
