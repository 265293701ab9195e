use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use milepost_protocol::ProblemType;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::config::seconds;
use crate::connection::corked::Corked;
use crate::instance::{Instance, OpenSocket};
use crate::response::problem::Refused;

/// Takes connections until the server goes down.
pub(crate) async fn accept(
    listener: Arc<TcpListener>,
    router: Router,
    instance: Arc<Instance>,
    max: usize,
) {
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = instance.drain.begun() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                failing = false;
                let Some(open) = OpenSocket::new(&instance.counters, max) else {
                    turn_away(&stream, max);
                    continue;
                };
                let serve = serve(stream, open, router.clone(), Arc::clone(&instance));
                instance.tasks.spawn(serve);
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                // Out of open files, most likely: the others go on, and one of them will end.
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!(%error, "cannot accept connections");
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Says why, as far as the socket takes it at once.
fn turn_away(stream: &TcpStream, max: usize) {
    let full = format!("it holds {max}");
    let problem = Refused::new(ProblemType::TooManyConnections, full).json();
    let response = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\n\
         retry-after: 1\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{problem}",
        problem.len()
    );
    let _ = stream.try_write(response.as_bytes());
}

/// Serves one connection to its end.
async fn serve(stream: TcpStream, open: OpenSocket, router: Router, instance: Arc<Instance>) {
    let timeout = seconds(instance.config.header_timeout);
    let drain = instance.drain.clone();
    let begun = tokio::select! {
        begun = tokio::time::timeout(timeout, speaks_http2(&stream)) => begun,
        () = drain.begun() => return,
    };
    let Ok(Ok(speaks_http2)) = begun else { return };
    // Without it, small writes would wait for acknowledgements of those before.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        if request.headers().contains_key(http::header::UPGRADE) {
            request.extensions_mut().insert(open.clone());
        }
        router.clone().oneshot(request)
    });
    // What a connection ends with is its client's doing: nothing to log.
    if speaks_http2 {
        let requested = Arc::new(AtomicBool::new(false));
        let has_requested = Arc::clone(&requested);
        let service = service_fn(move |request| {
            requested.store(true, Ordering::Relaxed);
            service.call(request)
        });
        let mut builder = http2::Builder::new(Owned(instance.tasks.clone()));
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(timeout)
            .keep_alive_timeout(timeout)
            .max_concurrent_streams(256)
            .max_header_list_size(32 << 10);
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        // hyper looks whether a client is there after the preface only, and there are clients without one.
        let says_nothing = async {
            tokio::time::sleep(timeout).await;
            if has_requested.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            _ = connection.as_mut() => {}
            () = says_nothing => {}
            () = drain.begun() => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    _ = connection => {}
                    () = drain.over() => {}
                }
            }
        }
    } else {
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(timeout)
            .max_headers(64)
            .max_buf_size(64 << 10);
        let io = Corked::new(stream);
        let socket = io.clone();
        let mut connection =
            pin!(builder.serve_connection(TokioIo::new(io), service).with_upgrades());
        let mut begun = pin!(drain.begun());
        let (mut told, mut ended) = (false, false);
        let served = poll_fn(|cx| {
            if !told && begun.as_mut().poll(cx).is_ready() {
                told = true;
                connection.as_mut().graceful_shutdown();
            }
            // Answers leave, and watchers are served, before anything is waited for.
            instance.batch(|| {
                ended = ended || connection.as_mut().poll(cx).is_ready();
                match socket.poll_drain(cx) {
                    Poll::Ready(Ok(())) if !ended => Poll::Pending,
                    Poll::Ready(_) => Poll::Ready(()),
                    Poll::Pending => Poll::Pending,
                }
            })
        });
        tokio::select! {
            () = served => {}
            () = drain.over() => {}
        }
    }
}

/// Has the streams of an HTTP/2 connection among the tasks that the server waits for.
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

/// Whether the client begins as HTTP/2 with prior knowledge does (RFC 9113, section 3.4): no method of
/// HTTP/1.1 begins so. Looks at the bytes without taking them, so that whoever speaks HTTP/1.1 has the bare
/// socket. Who sends less than that at first is taken to speak HTTP/1.1.
async fn speaks_http2(stream: &TcpStream) -> io::Result<bool> {
    const PREFACE: &[u8; 3] = b"PRI";
    let mut seen = [0; PREFACE.len()];
    let len = stream.peek(&mut seen).await?;
    Ok(seen[..len] == *PREFACE)
}

/// The most connections, when the configuration does not say: the open files that are left.
pub(crate) fn most_connections(open_files: u64) -> usize {
    /// For the listener, the store, the runtime, and what else a process opens.
    const RESERVED: u64 = 256;
    usize::try_from(open_files.saturating_sub(RESERVED).max(16)).unwrap_or(usize::MAX)
}
