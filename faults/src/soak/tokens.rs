//! Thousands of watchers with tokens that expire, who come and go, for a long time. Nobody is closed before its token has expired,
//! nobody stays connected after that, and what the instance uses returns to where it began.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use milepost_access::{Pattern, Permissions, TokenRules, sign};
use milepost_protocol::Timestamp;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::REST;
use super::sample::Sample;
use crate::failure::Failure;
use crate::http::Connection;
use crate::instance::Instance;
use crate::setup::Setup;
use crate::stage::Load;

const KEY: &str = "the-key-of-the-soak-with-tokens";
const SECRET: &str = "a-secret-of-at-least-32-bytes-for-tokens";
/// Jobs that are watched; each is reported about once a second.
const JOBS: usize = 100;
/// How long tokens are valid, in seconds. The server asks for the next one 30 s before.
const LIFE: (f64, f64) = (20.0, 60.0);
/// A watcher stays for at most so long, in seconds.
const STAY: f64 = 120.0;
/// A token's end may be noticed this late, on a busy machine.
const LATE: Duration = Duration::from_secs(10);
/// The suite's clock and the server's may differ by this.
const EARLY: Duration = Duration::from_millis(50);
/// So many faults are noted: if the instance dies, each of thousands of watchers notes one a second.
const MOST_WRONGS: usize = 1_000;
/// All watchers connect within this time.
const WARM_UP: Duration = Duration::from_secs(60);

/// What all watchers have seen.
#[derive(Debug, Default)]
struct Ledger {
    stop: AtomicBool,
    open: AtomicU64,
    updates: AtomicU64,
    renewed: AtomicU64,
    refused: AtomicU64,
    expired: AtomicU64,
    left: AtomicU64,
    wrongs: Mutex<Vec<String>>,
}

impl Ledger {
    fn wrong(&self, what: String) {
        let mut wrongs = self.wrongs.lock().unwrap_or_else(PoisonError::into_inner);
        if wrongs.len() < MOST_WRONGS {
            wrongs.push(what);
        }
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Whether an instance with this many watchers uses no more after `time` than before.
pub(crate) fn run(load: &Load, time: Duration, runtime: &Handle) -> Result<bool, Failure> {
    let mut setup = Setup { key: Some(KEY), ..Setup::default() };
    for (name, value) in [
        ("token_secret", SECRET),
        ("token_leeway", "0"),
        ("memory_limit", &crate::stage::MEMORY.to_string()),
        ("linger", "1"),
        ("max_connections", "1000000"),
    ] {
        setup.set(name, value);
    }
    std::fs::create_dir_all(&load.logs)
        .map_err(|error| Failure(format!("{}: {error}", load.logs.display())))?;
    let log = load.logs.join("tokens.log");
    let mut instance = Instance::start(&load.binary, setup, log, runtime)?;
    instance.until_ready()?;
    // The first watchers fill caches, and the buffers of the runtime.
    let mut wrongs = visit(load, WARM_UP, &instance, runtime);
    std::thread::sleep(REST);
    let before = Sample::of(&instance, runtime)?;
    println!("at rest before: {before:#?}");
    wrongs.extend(visit(load, time, &instance, runtime));
    std::thread::sleep(REST);
    let after = Sample::of(&instance, runtime)?;
    println!("at rest after: {after:#?}");
    wrongs.extend(after.wrongs(&before, JOBS));
    for wrong in wrongs.iter().take(20) {
        println!("WRONG: {wrong}");
    }
    println!("{} wrong in {:.0?}", wrongs.len(), time);
    Ok(wrongs.is_empty())
}

/// Watches and reports for `time`; what was wrong.
fn visit(load: &Load, time: Duration, instance: &Instance, runtime: &Handle) -> Vec<String> {
    let ledger = Arc::new(Ledger::default());
    let (address, begun) = (instance.address(), Instant::now());
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        tasks.spawn(report(address, Arc::clone(&ledger)));
        for number in 0..load.watchers {
            tasks.spawn(watch(address, number, Arc::clone(&ledger)));
        }
        while begun.elapsed() < time {
            sleep(Duration::from_secs(20).min(time)).await;
            let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            let Ledger { open, updates, renewed, refused, expired, left, .. } = &*ledger;
            println!(
                "{:.0?}: {} connected, {} updates; tokens: {} renewed, {} of those refused, {} expired; {} left by themselves; {} MiB",
                begun.elapsed(),
                count(open),
                count(updates),
                count(renewed),
                count(refused),
                count(expired),
                count(left),
                instance.held().unwrap_or_default().resident >> 20
            );
            if begun.elapsed() > WARM_UP && 10 * count(open) < 8 * load.watchers as u64 {
                ledger.wrong(format!("only {} watchers are connected", count(open)));
            }
        }
        ledger.stop.store(true, Ordering::Relaxed);
        while tasks.join_next().await.is_some() {}
    });
    std::mem::take(&mut *ledger.wrongs.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Reports each job about once a second.
async fn report(address: SocketAddr, ledger: Arc<Ledger>) {
    let mut connection: Option<Connection> = None;
    for number in 0_usize.. {
        if ledger.is_over() {
            return;
        }
        let open = match connection.take() {
            Some(open) => Ok(open),
            None => Connection::open(address).await.map(|open| open.with_key(Some(KEY))),
        };
        if let Ok(mut open) = open {
            let update = format!(r#"{{"progress":0.5,"message":"update {number}"}}"#);
            match open.post(&format!("/jobs/job-{}", number % JOBS), &update).await {
                Ok(answer) if answer.status == 200 => connection = Some(open),
                Ok(answer) => ledger.wrong(format!("a report: {}", answer.body)),
                Err(error) => ledger.wrong(format!("a report: {error}")),
            }
        }
        sleep(Duration::from_secs(1) / u32::try_from(JOBS).unwrap_or(1)).await;
    }
}

/// Comes and goes until all is over. Every other watcher sends a new token when it is asked to.
async fn watch(address: SocketAddr, number: usize, ledger: Arc<Ledger>) {
    let job = format!("job-{}", number % JOBS);
    // Spread over some seconds, so that nobody has to wait for a handshake.
    sleep(Duration::from_secs_f64(10.0 * fastrand::f64())).await;
    while !ledger.is_over() {
        let (token, expires) = token(&job, number);
        match connect(address, &job, &token).await {
            Ok(socket) => {
                ledger.open.fetch_add(1, Ordering::Relaxed);
                stay(socket, &job, number, expires, &ledger).await;
                ledger.open.fetch_sub(1, Ordering::Relaxed);
            }
            Err(why) => ledger.wrong(format!("watcher {number}: {why}")),
        }
        sleep(Duration::from_secs_f64(fastrand::f64())).await;
    }
}

/// Reads until the server closes, or until the watcher leaves.
async fn stay(
    mut socket: WebSocketStream<tokio::net::TcpStream>,
    job: &str,
    number: usize,
    mut expires: Instant,
    ledger: &Ledger,
) {
    let leaves = Instant::now() + Duration::from_secs_f64(STAY * fastrand::f64());
    let renews = number.is_multiple_of(2);
    let mut before = expires;
    loop {
        let now = Instant::now();
        if ledger.is_over() || now > leaves {
            ledger.left.fetch_add(1, Ordering::Relaxed);
            let _ = timeout(LATE, socket.close(None)).await;
            return;
        }
        if now > expires + LATE {
            ledger.wrong(format!("watcher {number} is connected {LATE:?} after its token expired"));
            return;
        }
        let Ok(message) = timeout(Duration::from_secs(1), socket.next()).await else { continue };
        match message {
            Some(Ok(Message::Text(text))) if text.contains(r#""type":"token_expiring""#) => {
                if renews {
                    let (token, next) = token(job, number);
                    let auth = serde_json::json!({ "type": "auth", "token": token }).to_string();
                    if socket.send(Message::text(auth)).await.is_ok() {
                        (before, expires) = (expires, next);
                        ledger.renewed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
            // A client may send ten tokens in ten seconds. If several in a row are short, it needs more; the one before stays.
            Some(Ok(Message::Text(text))) if text.contains(r#""problem":"too-many-requests""#) => {
                expires = before;
                ledger.refused.fetch_add(1, Ordering::Relaxed);
            }
            Some(Ok(Message::Text(text))) if text.contains("\"position\"") => {
                ledger.updates.fetch_add(1, Ordering::Relaxed);
            }
            Some(Ok(Message::Close(Some(frame)))) if u16::from(frame.code) == 4401 => {
                let early = expires.saturating_duration_since(Instant::now());
                if early > EARLY {
                    ledger.wrong(format!(
                        "watcher {number} was closed {early:?} before its token expired"
                    ));
                }
                ledger.expired.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Some(Ok(Message::Close(frame))) => {
                return ledger.wrong(format!("watcher {number} was closed: {frame:?}"));
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return ledger.wrong(format!("watcher {number}: {error}")),
            None => return ledger.wrong(format!("watcher {number}: the connection ended")),
        }
    }
}

async fn connect(
    address: SocketAddr,
    job: &str,
    token: &str,
) -> Result<WebSocketStream<tokio::net::TcpStream>, String> {
    let connect = async {
        let stream = tokio::net::TcpStream::connect(address).await?;
        let mut request = format!("ws://{address}/ws/jobs/{job}").into_client_request()?;
        if let Ok(value) = HeaderValue::try_from(format!("Bearer {token}")) {
            request.headers_mut().insert("authorization", value);
        }
        let config = WebSocketConfig::default().read_buffer_size(4096);
        Ok(client_async_with_config(request, stream, Some(config)).await?.0)
    };
    let connected = timeout(LATE, connect).await.map_err(|_| "no handshake".to_owned())?;
    connected.map_err(|error: tokio_tungstenite::tungstenite::Error| error.to_string())
}

/// A token of the watcher's own for its job, and when it expires.
fn token(job: &str, number: usize) -> (String, Instant) {
    let life = LIFE.0 + (LIFE.1 - LIFE.0) * fastrand::f64();
    let since_1970 = u64::try_from(Timestamp::now().as_micros()).unwrap_or_default();
    let now = Duration::from_micros(since_1970);
    let pattern = Pattern::parse(job).expect("a job's id is a pattern");
    let permissions = Permissions { watch: vec![pattern], ..Permissions::default() };
    // Tokens expire at whole seconds.
    let expires = (now.as_secs_f64() + life).floor();
    let signed =
        sign(SECRET, permissions, Some(number.to_string()), &TokenRules::default(), expires);
    (
        signed.expect("a secret of 32 bytes signs"),
        Instant::now() + Duration::from_secs_f64(expires - now.as_secs_f64()),
    )
}
