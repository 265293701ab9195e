//! A client's side of a connection: TCP, or TLS over it.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use mio::event::Source;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// Where a server listens, and how it is spoken to.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub(crate) socket: SocketAddr,
    /// None: without TLS.
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

impl Address {
    /// Without TLS.
    pub(crate) fn plain(socket: SocketAddr) -> Self {
        Self { socket, tls: None }
    }

    /// With TLS, where `authority` is a file in PEM with the certificate that signed the server's.
    pub(crate) fn tls(socket: SocketAddr, authority: &Path) -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_file(authority).map_err(io::Error::other)?;
        roots.add(authority).map_err(io::Error::other)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { socket, tls: Some(Arc::new(config)) })
    }

    /// Begins to connect.
    pub(crate) fn connect(&self) -> io::Result<Stream> {
        let tcp = TcpStream::connect(self.socket)?;
        let Some(config) = &self.tls else { return Ok(Stream::Plain(tcp)) };
        let name = ServerName::from(self.socket.ip());
        let connection =
            ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        Ok(Stream::Tls(Box::new(StreamOwned::new(connection, tcp))))
    }
}

/// A connection that does not block. With TLS, the handshake is part of the first reads and writes.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    pub(crate) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => &tls.sock,
        }
    }

    /// Whether a read that does not fill its buffer has emptied the socket, so that what comes later is a new event
    /// (epoll(7), edge-triggered). TLS reads a record at a time.
    pub(crate) fn is_emptied_by_a_short_read(&self) -> bool {
        matches!(self, Self::Plain(_))
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.read(buffer),
            Self::Tls(tls) => tls.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.write(bytes),
            Self::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(tcp) => tcp.flush(),
            Self::Tls(tls) => tls.flush(),
        }
    }
}

impl Source for Stream {
    fn register(&mut self, registry: &Registry, token: Token, of: Interest) -> io::Result<()> {
        match self {
            Self::Plain(tcp) => tcp.register(registry, token, of),
            Self::Tls(tls) => tls.sock.register(registry, token, of),
        }
    }

    fn reregister(&mut self, registry: &Registry, token: Token, of: Interest) -> io::Result<()> {
        match self {
            Self::Plain(tcp) => tcp.reregister(registry, token, of),
            Self::Tls(tls) => tls.sock.reregister(registry, token, of),
        }
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            Self::Plain(tcp) => tcp.deregister(registry),
            Self::Tls(tls) => tls.sock.deregister(registry),
        }
    }
}
