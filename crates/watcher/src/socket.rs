use std::collections::VecDeque;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Sink, Stream};
use rustls_native_certs::CertificateResult;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes, http};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, client_async_tls_with_config};

use crate::address::{Address, InvalidUrl};
use crate::event::ConnectionError;
use crate::token::TokenSource;

/// The largest accepted message. By default, an update has at most 64 KiB.
const MAX_MESSAGE_BYTES: usize = 4 << 20;
const READ_BUFFER_BYTES: usize = 16 << 10;
/// As much of a refusal's text as is kept.
const MAX_DETAIL_CHARS: usize = 500;

/// What is needed to connect to one server.
#[derive(Clone)]
pub(crate) struct Dialer {
    address: Arc<Address>,
    /// None where the address is not of TLS.
    tls: Option<Arc<rustls::ClientConfig>>,
    pub(crate) token: TokenSource,
}

impl Dialer {
    pub(crate) fn new(base_url: &str) -> Result<Self, InvalidUrl> {
        let address = Address::parse(base_url)?;
        let tls = if address.tls { Some(Arc::new(tls_of_this_system(base_url)?)) } else { None };
        Ok(Self { address: Arc::new(address), tls, token: TokenSource::None })
    }

    /// Opens a socket at `path`. How long that may take is the caller's to limit.
    pub(crate) async fn connect(self, path: String) -> Result<Socket, ConnectError> {
        let token = self.token.ask().await.map_err(ConnectError::NoToken)?;
        let tcp = TcpStream::connect((self.address.host.as_str(), self.address.port))
            .await
            .map_err(|error| ConnectError::unreachable(&error))?;
        // Without it the few small frames that we send would wait for each other; where it is refused,
        // they do.
        let _ = tcp.set_nodelay(true);
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .max_message_size(Some(MAX_MESSAGE_BYTES))
            .max_frame_size(Some(MAX_MESSAGE_BYTES));
        let connector = self.tls.map_or(Connector::Plain, Connector::Rustls);
        let mut request = self
            .address
            .websocket(&path)
            .into_client_request()
            .map_err(|error| ConnectError::unreachable(&error))?;
        if let Some(authorization) = token.as_deref().and_then(authorization) {
            request.headers_mut().insert(http::header::AUTHORIZATION, authorization);
        }
        match client_async_tls_with_config(request, tcp, Some(config), Some(connector)).await {
            Ok((stream, _)) => Ok(Socket { stream, unsent: VecDeque::new(), token }),
            Err(tungstenite::Error::Http(response)) => Err(ConnectError::http(&response)),
            Err(error) => Err(ConnectError::handshake(&error)),
        }
    }
}

/// None where it cannot be sent, which [`TokenSource::ask`] sees to.
fn authorization(token: &str) -> Option<http::HeaderValue> {
    let mut authorization = http::HeaderValue::try_from(format!("Bearer {token}")).ok()?;
    authorization.set_sensitive(true);
    Some(authorization)
}

fn tls_of_this_system(base_url: &str) -> Result<rustls::ClientConfig, InvalidUrl> {
    let found = rustls_native_certs::load_native_certs();
    if let Some(detail) = named_without_any(&found) {
        return Err(InvalidUrl::no_certificates(base_url, detail));
    }
    let mut roots = rustls::RootCertStore::empty();
    // A system's store may hold some that cannot be read; what counts is whether any can.
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable == 0 {
        let detail = found.errors.first().map_or_else(|| "none found".into(), ToString::to_string);
        return Err(InvalidUrl::no_certificates(base_url, detail));
    }
    // Named, since a program that links more than one provider has no default.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| InvalidUrl::no_certificates(base_url, error.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// What is wrong with the file that `SSL_CERT_FILE` names, if no certificate can be read from it. Those of `SSL_CERT_DIR` are not trusted in
/// their place.
fn named_without_any(found: &CertificateResult) -> Option<String> {
    if found.errors.is_empty() && !found.certs.is_empty() {
        return None;
    }
    let path = std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty())?;
    let named = rustls_native_certs::load_certs_from_paths(Some(Path::new(&path)), None);
    let why = named.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
    let path = Path::new(&path).display();
    named
        .certs
        .is_empty()
        .then(|| format!("no certificate can be read from {path}, which SSL_CERT_FILE names{why}"))
}

/// Why a socket could not be opened.
#[derive(Debug)]
pub(crate) enum ConnectError {
    NoToken(String),
    Unreachable(String),
    Http { status: u16, detail: String, retry_after: Option<Duration> },
}

impl ConnectError {
    fn unreachable(error: &dyn std::error::Error) -> Self {
        Self::Unreachable(error.to_string())
    }

    fn handshake(error: &tungstenite::Error) -> Self {
        let tls = match error {
            tungstenite::Error::Io(error) => error.get_ref().and_then(|it| it.downcast_ref()),
            _ => None,
        };
        match tls {
            // What came is the answer of a server without TLS.
            Some(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)) => {
                Self::Unreachable("it does not speak HTTPS: use an http URL".to_owned())
            }
            _ => Self::unreachable(error),
        }
    }

    fn http(response: &http::Response<Option<Vec<u8>>>) -> Self {
        let body = response.body().as_deref().unwrap_or_default();
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let detail = problem_detail(body)
            .or_else(|| header(http::header::LOCATION).map(|to| format!("moved to {to}")))
            .or_else(|| needs_https(body))
            .unwrap_or_default();
        let retry_after = header(http::header::RETRY_AFTER)
            .and_then(|seconds| seconds.parse().ok())
            .map(Duration::from_secs);
        Self::Http { status: response.status().as_u16(), detail, retry_after }
    }
}

/// What a server, or a proxy before one, says to a request that should have been encrypted. All of them name HTTPS in it.
fn needs_https(body: &[u8]) -> Option<String> {
    let is_said = body.windows(5).any(|word| word == b"HTTPS");
    is_said.then(|| "the server speaks HTTPS: use an https URL".to_owned())
}

/// The `detail` of a problem (RFC 9457), or else its `title`.
fn problem_detail(body: &[u8]) -> Option<String> {
    let problem: serde_json::Value = serde_json::from_slice(body).ok()?;
    let text = problem.get("detail").or_else(|| problem.get("title"))?.as_str()?;
    Some(text.chars().take(MAX_DETAIL_CHARS).collect())
}

/// An open WebSocket.
pub(crate) struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// Bounded by what the session adds while the server does not read: one message for each subscription and one for
    /// its end.
    unsent: VecDeque<String>,
    /// The latest that the server was sent.
    pub(crate) token: Option<String>,
}

/// What arrives on a socket.
pub(crate) enum Incoming {
    Text(Utf8Bytes),
    Activity,
    Closed { code: Option<u16>, reason: String },
    Failed(ConnectionError),
}

impl Socket {
    pub(crate) fn send(&mut self, text: String) {
        self.unsent.push_back(text);
    }

    /// Waits for the next frame, and sends what is unsent meanwhile: a server may wait for us to read before it reads.
    /// Cancel-safe.
    pub(crate) async fn next(&mut self) -> Incoming {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Incoming> {
        if let Poll::Ready(Err(error)) = self.poll_send(context) {
            // The server's last frames may still be readable. They contain the reason.
            self.unsent.clear();
            if !matches!(error, tungstenite::Error::Io(_)) {
                return Poll::Ready(Incoming::Failed(ConnectionError::Broken(error.to_string())));
            }
        }
        Pin::new(&mut self.stream).poll_next(context).map(|arrived| match arrived {
            Some(Ok(Message::Text(text))) => Incoming::Text(text),
            Some(Ok(Message::Close(close))) => {
                let code = close.as_ref().map(|close| u16::from(close.code));
                let reason = close.map(|close| close.reason.to_string()).unwrap_or_default();
                Incoming::Closed { code, reason }
            }
            Some(Ok(_)) => Incoming::Activity,
            Some(Err(error)) => Incoming::Failed(ConnectionError::Broken(error.to_string())),
            None => Incoming::Closed { code: None, reason: String::new() },
        })
    }

    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<Result<(), tungstenite::Error>> {
        let mut socket = Pin::new(&mut self.stream);
        while !self.unsent.is_empty() {
            std::task::ready!(socket.as_mut().poll_ready(context))?;
            if let Some(text) = self.unsent.pop_front() {
                socket.as_mut().start_send(Message::text(text))?;
            }
        }
        socket.poll_flush(context)
    }

    /// Sends a close frame with 1000 and waits for the server to close. The caller limits how long.
    pub(crate) async fn close(mut self) {
        let frame = CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::default() };
        if self.stream.close(Some(frame)).await.is_err() {
            return;
        }
        while !matches!(self.next().await, Incoming::Failed(_) | Incoming::Closed { .. }) {}
    }
}
