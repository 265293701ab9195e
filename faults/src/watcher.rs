//! A watcher: a WebSocket on one job, which reconnects as section 7 of `spec/README.md` requires.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::sight::Sight;
use crate::world::World;

/// A handshake takes no longer, unless the instance is gone.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Pings arrive every 5 s. After this long without one, the connection is lost.
const SILENCE: Duration = Duration::from_secs(15);
pub(crate) const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// Tampers with what a watcher is shown, to prove that it is found out.
pub(crate) type Lie = fn(&mut Vec<String>, String) -> Vec<String>;

/// One watcher, as the suite sees it.
#[derive(Debug)]
pub(crate) struct Watcher {
    /// Index of its job.
    pub(crate) job: usize,
    seen: Mutex<Seen>,
}

/// What has happened to a watcher.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) sight: Sight,
    /// Whether it is connected now.
    pub(crate) connected: bool,
    /// How often its connection was lost while its instance was being killed or restarted.
    pub(crate) displaced: u64,
    /// Any other loss, and why.
    pub(crate) thrown_out: Vec<String>,
}

impl Watcher {
    pub(crate) fn new(job: usize) -> Self {
        Self { job, seen: Mutex::default() }
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches until the task is ended, on this instance first.
    pub(crate) async fn watch(
        self: Arc<Self>,
        id: String,
        world: Arc<World>,
        mut instance: usize,
        lie: Option<Lie>,
    ) {
        let mut backoff = Duration::from_secs(1);
        let mut kept = Vec::new();
        loop {
            let since = self.seen().sight.position.clone();
            let address = world.instance(instance);
            let query = since.map_or_else(String::new, |position| format!("?since={position}"));
            let url = format!("ws://{address}/ws/jobs/{id}{query}");
            let wait = match timeout(HANDSHAKE, connect(&url)).await {
                Ok(Ok(mut socket)) => {
                    backoff = Duration::from_secs(1);
                    self.seen().connected = true;
                    let loss = self.read(&mut socket, &world, lie, &mut kept).await;
                    // A process that is killed has its sockets closed a moment before it is marked as gone.
                    let may_leave = world.may_leave(instance);
                    let mut seen = self.seen();
                    seen.connected = false;
                    if may_leave {
                        seen.displaced += 1;
                    } else {
                        seen.thrown_out.push(format!("by instance {instance}: {}", loss.why));
                    }
                    loss.retry
                }
                Ok(Err(_)) | Err(_) => None,
            };
            instance += 1;
            sleep(wait.unwrap_or_else(|| {
                let wait = backoff.mul_f64(fastrand::f64());
                backoff = (backoff * 2).min(LONGEST_BACKOFF);
                wait
            }))
            .await;
        }
    }

    /// Reads until the connection is lost.
    async fn read(
        &self,
        socket: &mut WebSocketStream<TcpStream>,
        world: &World,
        lie: Option<Lie>,
        kept: &mut Vec<String>,
    ) -> Loss {
        loop {
            match timeout(SILENCE, socket.next()).await {
                Ok(Some(Ok(Message::Text(text)))) => {
                    let now = Instant::now();
                    match lie {
                        None => {
                            let sent = self.seen().sight.frame(text.as_str(), now);
                            sent.inspect(|sent| world.delays.record(*sent));
                        }
                        Some(lie) => {
                            for text in lie(kept, text.as_str().to_owned()) {
                                self.seen().sight.frame(&text, now);
                            }
                        }
                    }
                }
                Ok(Some(Ok(Message::Close(frame)))) => return Loss::closed(frame.as_ref()),
                Ok(Some(Ok(_))) => {}
                Ok(Some(Err(error))) => return Loss { why: error.to_string(), retry: None },
                Ok(None) => return Loss { why: "end of stream".into(), retry: None },
                Err(_) => return Loss { why: "silence".into(), retry: None },
            }
        }
    }
}

/// Why a connection was lost, and how long the server asks to wait.
struct Loss {
    why: String,
    retry: Option<Duration>,
}

impl Loss {
    fn closed(frame: Option<&CloseFrame>) -> Self {
        let Some(frame) = frame else {
            return Self { why: "closed without a code".into(), retry: None };
        };
        let reason: Option<serde_json::Value> = serde_json::from_str(frame.reason.as_str()).ok();
        let retry = reason.and_then(|reason| reason["retry_ms"].as_u64());
        let why = format!("closed with {}: {}", frame.code, frame.reason);
        Self { why, retry: retry.map(Duration::from_millis) }
    }
}

pub(crate) async fn connect(
    url: &str,
) -> Result<WebSocketStream<TcpStream>, tokio_tungstenite::tungstenite::Error> {
    let authority = url.trim_start_matches("ws://").split('/').next().unwrap_or_default();
    let stream = TcpStream::connect(authority).await?;
    stream.set_nodelay(true)?;
    // A thousand of these: a buffer holds some updates, and no more.
    let config = WebSocketConfig::default().read_buffer_size(4096);
    let (socket, _) = client_async_with_config(url, stream, Some(config)).await?;
    Ok(socket)
}
