use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use redis::{ConnectionAddr, ConnectionInfo};
use redis_protocol::codec::Resp3;
use redis_protocol::resp3::types::BytesFrame;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_util::codec::Decoder;

/// A connection to Redis with RESP3, which yields messages and replies in the order in which Redis sent them.
///
/// A client library hands out messages and replies separately, so their order is lost. With the order, attaching without a gap
/// is simple: a message that arrives before the reply to a read is part of the reply.
pub(crate) struct Socket {
    reader: ReadHalf<Box<dyn Stream>>,
    writer: WriteHalf<Box<dyn Stream>>,
    received: BytesMut,
    codec: Resp3,
    /// The bytes that are still to be sent.
    pub(crate) unsent: BytesMut,
    /// Whether TLS may still buffer bytes that were written to it.
    unflushed: bool,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Socket {
    /// Connects and logs in.
    ///
    /// # Errors
    /// When the connection fails, or the server refuses the login.
    pub(crate) async fn connect(info: &ConnectionInfo) -> io::Result<Self> {
        let (ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. }) =
            info.addr()
        else {
            return Err(io::Error::other("only TCP and TLS are supported"));
        };
        let tcp = TcpStream::connect((host.as_str(), *port)).await?;
        tcp.set_nodelay(true)?;
        let stream: Box<dyn Stream> = if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
            let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
            Box::new(TlsConnector::from(tls()).connect(name, tcp).await?)
        } else {
            Box::new(tcp)
        };
        let (reader, writer) = tokio::io::split(stream);
        let mut socket = Self {
            reader,
            writer,
            received: BytesMut::new(),
            codec: Resp3::default(),
            unsent: BytesMut::new(),
            unflushed: false,
        };
        let settings = info.redis_settings();
        let mut hello = redis::cmd("HELLO");
        hello.arg(3);
        if let Some(password) = settings.password() {
            hello.arg("AUTH").arg(settings.username().unwrap_or("default")).arg(password);
        }
        hello.arg("SETNAME").arg("milepost");
        socket.send(&hello);
        while socket.is_sending() {
            socket.write().await?;
        }
        loop {
            match socket.next()? {
                Some(frame) => match error_of(&frame) {
                    None => return Ok(socket),
                    Some(error) => return Err(io::Error::other(error.to_owned())),
                },
                None => socket.read().await?,
            }
        }
    }

    /// Queues a command to be sent.
    pub(crate) fn send(&mut self, command: &redis::Cmd) {
        self.unsent.extend_from_slice(&command.get_packed_command());
    }

    pub(crate) fn is_sending(&self) -> bool {
        !self.unsent.is_empty() || self.unflushed
    }

    /// Reads and writes as much as the connection allows. Returns when something was read, or everything is written. Cancel-safe.
    pub(crate) async fn progress(&mut self) -> io::Result<()> {
        let Self { reader, writer, received, unsent, unflushed, .. } = self;
        let sending = !unsent.is_empty() || *unflushed;
        tokio::select! {
            read = read(reader, received) => read,
            written = write(writer, unsent, unflushed), if sending => written,
        }
    }

    async fn read(&mut self) -> io::Result<()> {
        read(&mut self.reader, &mut self.received).await
    }

    async fn write(&mut self) -> io::Result<()> {
        write(&mut self.writer, &mut self.unsent, &mut self.unflushed).await
    }

    /// The next complete frame; none if it has not arrived completely.
    ///
    /// # Errors
    /// When it is not RESP3.
    pub(crate) fn next(&mut self) -> io::Result<Option<BytesFrame>> {
        self.codec.decode(&mut self.received).map_err(io::Error::other)
    }
}

async fn read(reader: &mut ReadHalf<Box<dyn Stream>>, into: &mut BytesMut) -> io::Result<()> {
    /// The most bytes in one read: room for many updates.
    const READ: usize = 64 << 10;
    into.reserve(READ);
    match reader.read_buf(into).await? {
        0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "Redis closed the connection")),
        _ => Ok(()),
    }
}

async fn write(
    writer: &mut WriteHalf<Box<dyn Stream>>,
    unsent: &mut BytesMut,
    unflushed: &mut bool,
) -> io::Result<()> {
    while !unsent.is_empty() {
        *unflushed = true;
        if writer.write_buf(unsent).await? == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
    }
    writer.flush().await?;
    *unflushed = false;
    Ok(())
}

/// The text of an error frame; none if the frame is not an error.
pub(crate) fn error_of(frame: &BytesFrame) -> Option<&str> {
    match frame {
        BytesFrame::SimpleError { data, .. } => Some(data),
        BytesFrame::BlobError { data, .. } => std::str::from_utf8(data).ok(),
        _ => None,
    }
}

/// The frame as text. A number becomes its digits.
pub(crate) fn text_of(frame: BytesFrame) -> Option<String> {
    bytes_of(frame).and_then(|bytes| String::from_utf8(bytes).ok())
}

/// The frame as bytes, which need not be text. A number becomes its digits.
pub(crate) fn bytes_of(frame: BytesFrame) -> Option<Vec<u8>> {
    match frame {
        BytesFrame::BlobString { data, .. } | BytesFrame::SimpleString { data, .. } => {
            Some(data.into())
        }
        BytesFrame::Number { data, .. } => Some(data.to_string().into_bytes()),
        _ => None,
    }
}

/// The certificates that this system trusts, or those in `SSL_CERT_FILE`.
fn tls() -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}
