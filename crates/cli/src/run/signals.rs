//! Signals that reach us while the command runs.
//!
//! The command is in our process group, so a Ctrl-C in the terminal reaches it by itself; a signal that another
//! process sends us is forwarded. To a command with a terminal of its own (`pty`) both are forwarded. Ctrl-Z stops both of us;
//! the bar goes first. Whatever asks the command to stop also continues it: while a watcher's pause holds it, it would not notice.
//! Signals that are ignored (`nohup`, a shell's background job) stay ignored, here and in the command.

use std::fs;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};

use rustix::process::Signal;
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2};
use signal_hook::flag::register_conditional_shutdown;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::iterator::{Handle, SignalsInfo};
use signal_hook::low_level::emulate_default_handler;
use signal_hook::low_level::siginfo::Cause;

use super::child::SignalTarget;

const FORWARDED: [i32; 8] = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGTSTP, SIGCONT];

/// Catches signals until it is dropped.
pub(crate) struct Signals {
    info: Option<SignalsInfo<WithOrigin>>,
    handle: Handle,
    seen: Arc<Seen>,
    thread: Option<JoinHandle<()>>,
    cancellation: Cancellation,
    on_start: Option<OnStart>,
}

/// Why the command is cancelled, if a watcher requested it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cancellation(Arc<Mutex<Option<String>>>);

impl Cancellation {
    /// The first reason counts.
    pub(super) fn set(&self, reason: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
    }

    fn reason(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Called with where signals for the command go, once it runs.
type OnStart = Box<dyn FnOnce(SignalTarget) + Send>;

/// The latest signals that came, 0 for none.
#[derive(Debug, Default)]
struct Seen {
    /// A signal that asks to stop.
    stop: AtomicI32,
    /// A signal that was forwarded.
    forwarded: AtomicI32,
    /// The command, once it runs.
    target: OnceLock<SignalTarget>,
}

/// Records that the command was stopped from the terminal.
#[derive(Debug)]
pub(super) struct StopRecorder(Arc<Seen>);

impl StopRecorder {
    /// The terminal is about to send the signal. It continues the command, which may be paused.
    pub(super) fn record(&self, signal: i32) {
        self.0.stop.store(signal, Ordering::Release);
        if let Some(target) = self.0.target.get() {
            target.send_to_all(Signal::CONT);
        }
    }
}

impl Signals {
    /// From now on no signal ends this process. Call [`Signals::forward_to`] soon.
    pub(crate) fn catch() -> io::Result<Self> {
        let ignored = ignored();
        let info = SignalsInfo::<WithOrigin>::new(
            FORWARDED.iter().filter(|s| ignored >> (**s - 1) & 1 == 0),
        )?;
        Ok(Self {
            handle: info.handle(),
            info: Some(info),
            seen: Arc::default(),
            thread: None,
            cancellation: Cancellation::default(),
            on_start: None,
        })
    }

    /// Forwards what came since, and what will come.
    /// `stopping` is called with true before Ctrl-Z stops this process, and with false once it is continued.
    pub(crate) fn forward_to(
        &mut self,
        target: SignalTarget,
        stopping: impl Fn(bool) + Send + 'static,
    ) {
        if let Some(on_start) = self.on_start.take() {
            on_start(target.clone());
        }
        let Some(mut info) = self.info.take() else { return };
        let seen = Arc::clone(&self.seen);
        let target = seen.target.get_or_init(|| target).clone();
        self.thread = Some(thread::spawn(move || {
            for origin in info.forever() {
                let signal = origin.signal;
                let asks_to_stop = matches!(signal, SIGINT | SIGTERM | SIGHUP | SIGQUIT);
                if asks_to_stop {
                    seen.stop.store(signal, Ordering::Release);
                }
                if forward(&target, signal, matches!(origin.cause, Cause::Sent(_))) {
                    seen.forwarded.store(signal, Ordering::Release);
                }
                if asks_to_stop {
                    target.send_to_all(Signal::CONT);
                }
                if signal == SIGTSTP {
                    stopping(true);
                    // It returns when the process is continued; if it does not stop, the command continues as well.
                    let _ = emulate_default_handler(SIGTSTP);
                    stopping(false);
                }
            }
        }));
    }

    /// `answer` is called once the command runs, and may send it signals.
    pub(super) fn answer_requests(&mut self, answer: impl FnOnce(SignalTarget) + Send + 'static) {
        self.on_start = Some(Box::new(answer));
    }

    /// Where it is noted that a watcher cancels the command.
    pub(super) fn cancellation(&self) -> Cancellation {
        self.cancellation.clone()
    }

    /// Why a watcher cancelled the command.
    pub(crate) fn cancelled(&self) -> Option<String> {
        self.cancellation.reason()
    }

    /// For keys that make a terminal send a signal to the command alone.
    pub(super) fn stop_recorder(&self) -> StopRecorder {
        StopRecorder(Arc::clone(&self.seen))
    }

    /// The last signal that asked to stop.
    pub(crate) fn stop_signal(&self) -> Option<i32> {
        Some(self.seen.stop.load(Ordering::Acquire)).filter(|s| *s != 0)
    }

    /// The last signal that was handed on.
    pub(crate) fn forwarded(&self) -> Option<i32> {
        Some(self.seen.forwarded.load(Ordering::Acquire)).filter(|s| *s != 0)
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            // It only loops over signals; were it to panic, they were not handed on and nothing else.
            let _ = thread.join();
        }
    }
}

/// Hands a signal on. The kernel sends what happens at the terminal to our whole group, of which the command is a part unless it has
/// a session of its own. Returns whether the command got a signal of that number from us.
fn forward(target: &SignalTarget, signal: i32, is_sent: bool) -> bool {
    match signal {
        SIGTSTP | SIGCONT if target.has_own_session() => {
            // In such a session SIGTSTP has no effect: no shell could continue it.
            target.send_to_all(if signal == SIGTSTP { Signal::STOP } else { Signal::CONT });
            false
        }
        SIGTSTP | SIGCONT => {
            if is_sent {
                target.send(signal);
            }
            false
        }
        _ if is_sent => target.send(signal),
        // As the kernel: to all, since a shell may leave the signal to what it waits for.
        _ => {
            target.has_own_session()
                && Signal::from_named_raw(signal).is_some_and(|signal| target.send_to_all(signal))
        }
    }
}

/// From now on, a signal that asks to stop ends this process at once, with this code. One that is ignored stays ignored.
pub(super) fn exit_when_stopped(code: u8) {
    let ignored = ignored();
    for signal in [SIGINT, SIGTERM, SIGHUP, SIGQUIT] {
        if ignored >> (signal - 1) & 1 == 0 {
            let always = Arc::new(AtomicBool::new(true));
            // If it cannot be registered, the wait is over soon as well.
            let _ = register_conditional_shutdown(signal, code.into(), always);
        }
    }
}

/// The signals that this process ignores, a bit each. Known only on Linux; elsewhere none.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|m| u64::from_str_radix(m.trim(), 16).ok()).unwrap_or(0)
}

/// `SIGKILL` and so on.
pub(crate) fn name(signal: i32) -> String {
    signal_hook::low_level::signal_name(signal)
        .map_or_else(|| format!("signal {signal}"), str::to_owned)
}
