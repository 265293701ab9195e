//! Listeners: a TCP port, a Unix socket, or a socket that systemd passes on.

use std::fs::{self, Permissions};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use listenfd::ListenFd;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{TcpListener, UnixListener};

use super::listen::BACKLOG;
use super::stream::Stream;

/// Where a server accepts connections.
pub struct Listener(pub(super) Kind);

pub(super) enum Kind {
    Tcp(TcpListener),
    Unix {
        #[expect(dead_code, reason = "removes the file when it is dropped")]
        /// None if another process made the socket, which then removes it too. Dropped first: while the server listens,
        /// no other server replaces the file, so the removed file is this server's.
        file: Option<SocketFile>,
        listener: UnixListener,
    },
}

/// The file of a Unix socket, removed when the server ends.
pub(super) struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self(Kind::Tcp(listener))
    }
}

impl Listener {
    /// Listens on a Unix socket that clients with these permissions may connect to. The file of a server that has
    /// stopped is replaced.
    ///
    /// # Errors
    /// When another server listens there, the path is not a socket, or the system refuses it.
    pub fn unix(path: &Path, mode: u32) -> io::Result<Self> {
        remove_stale(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        let inode = fs::symlink_metadata(path)?.ino();
        let file = Some(SocketFile { path: path.to_owned(), inode });
        // No client can connect before it listens.
        fs::set_permissions(path, Permissions::from_mode(mode))?;
        socket.listen(i32::try_from(BACKLOG).unwrap_or(i32::MAX))?;
        socket.set_nonblocking(true)?;
        let listener = UnixListener::from_std(std::os::fd::OwnedFd::from(socket).into())?;
        Ok(Self(Kind::Unix { file, listener }))
    }

    /// The socket that systemd has opened for this process (`LISTEN_FDS`); none if there is none.
    ///
    /// # Errors
    /// When there is more than one, or it is not a listening stream socket.
    pub fn from_systemd() -> io::Result<Option<Self>> {
        let mut passed = ListenFd::from_env();
        match passed.len() {
            0 => return Ok(None),
            1 => {}
            more => {
                let error = format!("systemd has passed {more} sockets; the server takes one");
                return Err(io::Error::other(error));
            }
        }
        let kind = match passed.take_tcp_listener(0) {
            Ok(Some(listener)) => {
                listener.set_nonblocking(true)?;
                Kind::Tcp(TcpListener::from_std(listener)?)
            }
            Ok(None) => return Ok(None),
            Err(_) => match passed.take_unix_listener(0)? {
                Some(listener) => {
                    listener.set_nonblocking(true)?;
                    Kind::Unix { file: None, listener: UnixListener::from_std(listener)? }
                }
                None => return Ok(None),
            },
        };
        Ok(Some(Self(kind)))
    }

    /// The IP address that clients connect to; none for a Unix socket.
    ///
    /// # Errors
    /// If the system does not return it.
    pub fn ip(&self) -> io::Result<Option<IpAddr>> {
        match &self.0 {
            Kind::Tcp(listener) => Ok(Some(listener.local_addr()?.ip())),
            Kind::Unix { .. } => Ok(None),
        }
    }

    /// The address, for people.
    pub(crate) fn describe(&self) -> io::Result<String> {
        Ok(match &self.0 {
            Kind::Tcp(listener) => listener.local_addr()?.to_string(),
            Kind::Unix { listener, .. } => {
                let address = listener.local_addr()?;
                let path = address.as_pathname().map(|path| path.display().to_string());
                format!("unix:{}", path.unwrap_or_default())
            }
        })
    }

    /// The next connection, and its peer's address if it has one.
    pub(crate) async fn accept(&self) -> io::Result<(Stream, Option<IpAddr>)> {
        match &self.0 {
            Kind::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((Stream::Tcp(stream), Some(peer.ip())))
            }
            Kind::Unix { listener, .. } => {
                let (stream, _) = listener.accept().await?;
                Ok((Stream::Unix(stream), None))
            }
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // By now it may be the file of the next server.
        let is_ours = fs::symlink_metadata(&self.path).is_ok_and(|file| file.ino() == self.inode);
        if is_ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the socket");
        }
    }
}

/// Removes the socket of a server that has stopped.
fn remove_stale(path: &Path) -> io::Result<()> {
    let file = match fs::symlink_metadata(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !file.file_type().is_socket() {
        let error = "there is a file of this name, and it is not a socket";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, error));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => {
            let error = "another server listens on this socket";
            Err(io::Error::new(io::ErrorKind::AddrInUse, error))
        }
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) => Err(error),
    }
}
