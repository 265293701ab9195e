use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use milepost_protocol::ProblemType;

use crate::config::seconds;
use crate::connection::listen;
use crate::connection::listener::{Kind, Listener};
use crate::connection::serve::{Admitted, serve};
use crate::connection::stream::Stream;
use crate::counters::{OpenSocket, count};
use crate::instance::Instance;
use crate::limits::connections::{TooMany, network};
use crate::log_throttle::LogThrottle;
use crate::response::problem::Refused;

/// How many more connections a full server accepts, for operators.
const RESERVE: usize = 32;

/// Accepts connections until the server drains.
pub(crate) async fn accept(listener: Arc<Listener>, router: Router, instance: Arc<Instance>) {
    if let Kind::Tcp(listener) = &listener.0
        && let Err(error) = listen::tune(listener, seconds(instance.config.stall_timeout))
    {
        tracing::error!(%error, "cannot set the options of connections");
    }
    let (mut failing, full) = (false, LogThrottle::new());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = instance.drain.begun() => return,
        };
        match accepted {
            Ok((stream, client)) => {
                failing = false;
                match admit(client, &instance, &full) {
                    Ok((open, admitted)) => {
                        let (router, instance) = (router.clone(), Arc::clone(&instance));
                        let tasks = instance.tasks.clone();
                        tasks.spawn(serve(stream, client, open, admitted, router, instance));
                    }
                    Err(refused) if instance.tls.is_none() => {
                        send_at_once(&stream, response(&refused).as_bytes());
                    }
                    Err(_) => send_at_once(&stream, TLS_ALERT),
                }
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                // Most likely out of open files: the other connections go on, and some of them will close.
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!(%error, "cannot accept connections");
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Counts a new connection for its address and for the server, within their limits.
fn admit(
    client: Option<IpAddr>,
    instance: &Instance,
    full: &LogThrottle,
) -> Result<(OpenSocket, Admitted), Refused> {
    // Behind a trusted proxy, the client is not known before its request is read.
    let address = client.filter(|_| !instance.limits.proxies.trusts(client));
    let counted = address.map(|address| instance.limits.addresses.count(network(address)));
    let counted = counted.transpose().map_err(|TooMany(max)| {
        let detail = format!("an address may have {max} connections at a time");
        Refused::new(ProblemType::TooManyRequests, detail)
    })?;
    let max = instance.max_connections;
    if let Some(open) = OpenSocket::new(&instance.counters, max) {
        return Ok((open.of(counted.flatten()), Admitted::All));
    }
    if full.admits(Instant::now()) {
        tracing::warn!(max, "the limit of connections is reached; refusing more");
    }
    let open = OpenSocket::new(&instance.counters, max + RESERVE).ok_or_else(|| {
        count(&instance.counters.full);
        let detail = format!("the server holds {max} connections");
        Refused::new(ProblemType::TooManyConnections, detail)
    })?;
    Ok((open.of(counted.flatten()), Admitted::Operators { max }))
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// A fatal alert, `internal_error`, as a client of TLS 1.0 to 1.3 accepts it before the handshake (RFC 8446, sections 5.1 and
/// 6.2). A problem in plain text would look to it like another protocol, and a handshake is too costly for a refusal.
const TLS_ALERT: &[u8] = &[21, 3, 3, 0, 2, 2, 80];

/// The reason as a response of HTTP/1.1.
fn response(refused: &Refused) -> String {
    let problem = refused.json();
    let status = http::StatusCode::from_u16(refused.0.status).unwrap_or_default();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/problem+json\r\n\
         retry-after: 1\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{problem}",
        problem.len()
    )
}

/// Sends a refusal, as far as the socket accepts it at once.
fn send_at_once(stream: &Stream, refusal: &[u8]) {
    // Bytes that have arrived are read. Otherwise the kernel would reset the connection and drop the refusal.
    let mut arrived = [0; 16 << 10];
    let _ = match stream {
        Stream::Tcp(stream) => {
            let _ = stream.try_read(&mut arrived);
            stream.try_write(refusal)
        }
        Stream::Unix(stream) => {
            let _ = stream.try_read(&mut arrived);
            stream.try_write(refusal)
        }
        // TLS has not begun yet.
        Stream::Tls(_) => Ok(0),
    };
}

/// The most connections if the configuration does not set it: as many as the limit of open files allows.
pub(crate) fn most_connections(open_files: u64, has_tls: bool) -> usize {
    /// For the listener, the store, the runtime and other files of the process.
    const RESERVED: u64 = 256;
    // With TLS, a WebSocket has a pair of sockets besides its own.
    let each = if has_tls { 3 } else { 1 };
    let most = open_files.saturating_sub(RESERVED) / each;
    usize::try_from(most.max(16)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_files_suffice_for_all_connections() {
        assert_eq!([false, true].map(|has_tls| most_connections(1_024, has_tls)), [768, 256]);
        assert_eq!(most_connections(100, true), 16);
    }
}
