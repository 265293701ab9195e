mod retry;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use milepost_protocol::{JobId, Runs, State, Timestamp};
use redb::{
    Database, DatabaseError, ReadableTable, Table, TableDefinition, TableHandle, WriteTransaction,
};
use tokio::sync::oneshot;

use milepost_broker::Unavailable;
use retry::{INTERVAL, Retry, Room};

/// job id → (begun, expires in microseconds since 1970, state)
const JOBS: TableDefinition<'_, &str, (u64, i64, &str)> = TableDefinition::new("jobs");

/// job id → the job's timeline, if it has one. The table is created with the first.
const TIMELINES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("timelines");

/// job id → the job's pace, if it has one. The table is created with the first.
const PACES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("paces");

/// name of jobs → how long its latest attempts took. The table is created with the first.
const RUNS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("runs");

/// The most names of jobs that are pending, while commits fail.
const MAX_PENDING_NAMES: usize = 4_000;

/// A job on disk.
pub(crate) struct Record {
    pub(crate) state: Arc<State>,
    pub(crate) begun: u64,
    pub(crate) expires: Timestamp,
    /// The encoded timeline. Empty: it is removed. None: it has not changed.
    pub(crate) timeline: Option<Vec<u8>>,
}

/// Keeps the latest state of each job on disk, with redb on a thread of its own because redb blocks.
///
/// Pending records are in a map with one place for each job. One transaction writes all of them; callers that request a commit
/// meanwhile share the next one. While commits fail, removed jobs keep their places, up to a bound. Beyond it, a removed job may
/// be known again after a restart, until it expires.
pub(crate) struct Store {
    pending: Arc<Pending>,
    /// The most jobs that wait to be removed from the disk.
    max_pending: usize,
    writer: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Pending {
    queue: Mutex<Queue>,
    changed: Condvar,
}

/// What one transaction writes.
#[derive(Default)]
struct Batch {
    /// None: forget the job.
    jobs: HashMap<JobId, Option<Record>>,
    /// By the name of jobs. None: forget the name.
    runs: HashMap<Box<str>, Option<Vec<u8>>>,
}

/// What is read when the store is opened.
pub(crate) struct Stored {
    pub(crate) records: Vec<Record>,
    pub(crate) runs: Vec<(Box<str>, Runs)>,
}

#[derive(Default)]
struct Queue {
    batch: Batch,
    waiting: Vec<oneshot::Sender<Result<(), Unavailable>>>,
    /// The error of the last commit, if it failed.
    failed: Option<Unavailable>,
    closed: bool,
}

impl Store {
    /// Opens the store in `directory`, and reads its jobs.
    pub(crate) fn open(directory: &Path, max_pending: usize) -> Result<(Self, Stored), StoreError> {
        std::fs::create_dir_all(directory)
            .map_err(|error| StoreError::new(directory, error.to_string()))?;
        let path = directory.join("jobs.redb");
        // For some damage, redb panics.
        let loaded = catch_unwind(AssertUnwindSafe(|| load(&path)))
            .unwrap_or_else(|_| Err("it is damaged; move it away to begin without it".to_owned()));
        let (database, stored) = loaded.map_err(|detail| StoreError::new(&path, detail))?;

        let pending = Arc::new(Pending::default());
        let writer = std::thread::Builder::new().name("store".to_owned()).spawn({
            let pending = Arc::clone(&pending);
            let room = Room::beside(&path);
            room.remove();
            let writer = Writer { path: path.clone(), database: Some(database), retry: None, room };
            move || writer.run(&pending)
        });
        let writer = writer.map_err(|error| StoreError::new(&path, error.to_string()))?;
        Ok((Self { pending, max_pending, writer: Mutex::new(Some(writer)) }, stored))
    }

    /// Queues a state to be written.
    pub(crate) fn save(&self, record: Record) {
        match self.pending.lock().batch.jobs.entry(record.state.job().clone()) {
            Entry::Occupied(mut entry) => {
                let pending = entry.insert(Some(record));
                keep_timeline(entry.get_mut(), pending);
            }
            Entry::Vacant(entry) => {
                entry.insert(Some(record));
            }
        }
    }

    /// Queues a job to be removed.
    pub(crate) fn forget(&self, job: JobId) {
        let mut queue = self.pending.lock();
        let jobs = &mut queue.batch.jobs;
        if jobs.len() < self.max_pending {
            jobs.insert(job, None);
        } else {
            jobs.remove(&job);
        }
    }

    /// Has it written, soon, how long attempts of a name took.
    pub(crate) fn save_runs(&self, name: &str, runs: &Runs) {
        self.pending.lock().batch.runs.insert(name.into(), Some(runs.encode()));
    }

    /// Has a name removed, soon.
    pub(crate) fn forget_runs(&self, name: &str) {
        let mut queue = self.pending.lock();
        let runs = &mut queue.batch.runs;
        // A name beyond the bound stays on disk. The oldest names beyond the broker's bound are dropped when the store is opened.
        if runs.len() < MAX_PENDING_NAMES {
            runs.insert(name.into(), None);
        } else {
            runs.remove(name);
        }
    }

    /// Waits until everything saved so far is on disk. While commits fail, each caller waits for at most [`INTERVAL`] from its
    /// own call on, so that callers do not all get the error, and retry, at the same moment.
    pub(crate) async fn flush(&self) -> Result<(), Unavailable> {
        let (written, wait) = oneshot::channel();
        let failed = {
            let mut queue = self.pending.lock();
            if queue.closed {
                return Err(Unavailable::Backend("the store is closed".to_owned()));
            }
            queue.waiting.push(written);
            queue.failed.clone()
        };
        self.pending.changed.notify_one();
        let written = match failed {
            None => wait.await,
            Some(error) => match tokio::time::timeout(INTERVAL, wait).await {
                Ok(written) => written,
                Err(_) => return Err(error),
            },
        };
        written
            .unwrap_or_else(|_| Err(Unavailable::Backend("the store's thread is gone".to_owned())))
    }

    /// Writes everything saved so far, and ends the thread.
    pub(crate) async fn close(&self) -> Result<(), Unavailable> {
        let flushed = self.flush().await;
        self.stop();
        flushed
    }

    fn stop(&self) {
        self.pending.lock().closed = true;
        self.pending.changed.notify_one();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer
            && writer.join().is_err()
        {
            tracing::error!("the store's thread panicked");
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Pending {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When the thread ends, for whatever reason, all callers stop waiting.
struct Ended<'a>(&'a Pending);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.lock();
        queue.closed = true;
        queue.waiting.clear();
    }
}

/// The thread. It commits when a caller waits, and otherwise every [`INTERVAL`].
struct Writer {
    path: PathBuf,
    /// None after a failure. The next commit reopens the file.
    database: Option<Database>,
    /// When to retry, if the last commit failed.
    retry: Option<Retry>,
    room: Room,
}

impl Writer {
    fn run(mut self, pending: &Pending) {
        let _ended = Ended(pending);
        loop {
            let failing = self.retry.is_some();
            let queue = pending.lock();
            let (queue, _) = pending
                .changed
                .wait_timeout_while(queue, INTERVAL, |queue| {
                    (queue.waiting.is_empty() || failing) && !queue.closed
                })
                .unwrap_or_else(PoisonError::into_inner);
            let (closed, jobs) = (queue.closed, queue.batch.jobs.len());
            drop(queue);

            if closed || self.is_due(jobs) {
                self.write(pending);
            } else {
                // Callers that gave up.
                pending.lock().waiting.retain(|waiting| !waiting.is_closed());
            }
            if closed {
                return;
            }
        }
    }

    fn is_due(&self, jobs: usize) -> bool {
        let is_due = |retry: &Retry| retry.is_due(Instant::now(), || self.room.is_there(jobs));
        self.retry.as_ref().is_none_or(is_due)
    }

    /// Commits all pending records, and notifies the waiting callers. After a failure, the records are pending again.
    fn write(&mut self, pending: &Pending) {
        // Invariant: callers that get Ok saved their records before this.
        let (batch, mut waiting) = {
            let mut queue = pending.lock();
            (std::mem::take(&mut queue.batch), std::mem::take(&mut queue.waiting))
        };
        let written = self.try_write(&batch);
        if let Err(error) = &written {
            put_back(pending, batch);
            let mut queue = pending.lock();
            queue.failed = Some(error.clone());
            // Callers do not wait for the retry, which may be late.
            waiting.append(&mut queue.waiting);
        } else if self.retry.take().is_some() {
            pending.lock().failed = None;
            tracing::info!("states are on disk again");
        }
        for waiting in waiting {
            // The caller may have gone.
            let _ = waiting.send(written.clone());
        }
    }

    fn try_write(&mut self, batch: &Batch) -> Result<(), Unavailable> {
        if batch.jobs.is_empty() && batch.runs.is_empty() && self.retry.is_none() {
            return Ok(());
        }
        // On some failures, redb panics.
        let commit = AssertUnwindSafe(|| commit(&self.path, &mut self.database, batch));
        let committed = catch_unwind(commit).map_err(|_| "it panicked".to_owned());
        let Err(error) = committed.and_then(|done| done.map_err(|error| error.to_string())) else {
            return Ok(());
        };
        let now = Instant::now();
        if let Some(retry) = &mut self.retry {
            retry.failed_again(now);
        } else {
            tracing::error!(error, "states are not on disk; trying again");
            self.retry = Some(Retry::new(now));
        }
        Err(Unavailable::Backend(format!("the store: {error}")))
    }
}

/// Writes the jobs in one transaction. After an error redb refuses all further work until the database is reopened, so the next
/// call reopens it.
fn commit(path: &Path, database: &mut Option<Database>, batch: &Batch) -> Result<(), redb::Error> {
    let open = match database.take() {
        Some(open) => open,
        None => Database::create(path)?,
    };
    insert(&open, batch)?;
    *database = Some(open);
    Ok(())
}

fn insert(database: &Database, batch: &Batch) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    insert_jobs(&transaction, &batch.jobs)?;
    insert_runs(&transaction, &batch.runs)?;
    Ok(transaction.commit()?)
}

fn insert_runs(
    transaction: &WriteTransaction,
    runs: &HashMap<Box<str>, Option<Vec<u8>>>,
) -> Result<(), redb::Error> {
    let adds = runs.values().any(Option::is_some);
    let Some(mut table) = optional_table(transaction, RUNS, adds)? else { return Ok(()) };
    for (name, runs) in runs {
        match runs {
            Some(runs) => drop(table.insert(&**name, runs.as_slice())?),
            None => drop(table.remove(&**name)?),
        }
    }
    Ok(())
}

fn insert_jobs(
    transaction: &WriteTransaction,
    jobs: &HashMap<JobId, Option<Record>>,
) -> Result<(), redb::Error> {
    {
        let adds_timelines = jobs
            .values()
            .flatten()
            .any(|record| record.timeline.as_ref().is_some_and(|timeline| !timeline.is_empty()));
        let mut timelines = optional_table(transaction, TIMELINES, adds_timelines)?;
        let adds_paces = jobs.values().flatten().any(|record| record.state.has_pace());
        let mut paces = optional_table(transaction, PACES, adds_paces)?;
        let mut table = transaction.open_table(JOBS)?;
        for (job, record) in jobs {
            let job = job.as_str();
            if let Some(paces) = &mut paces {
                match record.as_ref().and_then(|record| record.state.encoded_pace()) {
                    Some(pace) => drop(paces.insert(job, pace.as_slice())?),
                    None => drop(paces.remove(job)?),
                }
            }
            let timeline = if let Some(Record { state, begun, expires, timeline }) = record {
                table.insert(job, (*begun, expires.as_micros(), state.json()))?;
                timeline.as_deref()
            } else {
                table.remove(job)?;
                Some(&[][..])
            };
            match (&mut timelines, timeline) {
                (Some(timelines), Some([])) => drop(timelines.remove(job)?),
                (Some(timelines), Some(timeline)) => drop(timelines.insert(job, timeline)?),
                (None, _) | (_, None) => {}
            }
        }
    }
    Ok(())
}

/// Opens a table that is created only when it is needed. `make`: create it if it does not exist.
fn optional_table<'a>(
    transaction: &'a WriteTransaction,
    definition: TableDefinition<'static, &'static str, &'static [u8]>,
    make: bool,
) -> Result<Option<Table<'a, &'static str, &'static [u8]>>, redb::Error> {
    let exists = transaction.list_tables()?.any(|table| table.name() == definition.name());
    Ok(if make || exists { Some(transaction.open_table(definition)?) } else { None })
}

fn value_of(
    table: Option<&Table<'_, &'static str, &'static [u8]>>,
    job: &str,
) -> Result<Option<Vec<u8>>, redb::Error> {
    let Some(table) = table else { return Ok(None) };
    Ok(table.get(job)?.map(|bytes| bytes.value().to_vec()))
}

/// Makes records that could not be written pending again, unless there are newer ones.
fn put_back(pending: &Pending, batch: Batch) {
    let mut queue = pending.lock();
    for (name, runs) in batch.runs {
        queue.batch.runs.entry(name).or_insert(runs);
    }
    for (job, record) in batch.jobs {
        match queue.batch.jobs.entry(job) {
            Entry::Occupied(mut newer) => keep_timeline(newer.get_mut(), record),
            Entry::Vacant(entry) => {
                entry.insert(record);
            }
        }
    }
}

/// Gives a record that replaces another one the other's timeline, unless it has a newer one.
fn keep_timeline(newer: &mut Option<Record>, older: Option<Record>) {
    if let Some(newer) = newer
        && newer.timeline.is_none()
    {
        newer.timeline = older.and_then(|older| older.timeline);
    }
}

fn load(path: &Path) -> Result<(Database, Stored), String> {
    let database = Database::create(path).map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen => "another process uses it".to_owned(),
        error => error.to_string(),
    })?;
    let stored = read(&database).map_err(|error| error.to_string())??;
    Ok((database, stored))
}

fn read(database: &Database) -> Result<Result<Stored, String>, redb::Error> {
    let transaction = database.begin_write()?;
    let (mut records, mut runs) = (Vec::new(), Vec::new());
    {
        let table = transaction.open_table(JOBS)?;
        let timelines = optional_table(&transaction, TIMELINES, false)?;
        let paces = optional_table(&transaction, PACES, false)?;
        for entry in table.iter()? {
            let (job, value) = entry?;
            let (begun, expires, json) = value.value();
            match State::parse(json) {
                Ok(state) => {
                    let state = match value_of(paces.as_ref(), job.value())? {
                        Some(pace) => state.with_encoded_pace(&pace),
                        None => state,
                    };
                    records.push(Record {
                        state: Arc::new(state),
                        begun,
                        expires: Timestamp::from_micros(expires),
                        timeline: value_of(timelines.as_ref(), job.value())?,
                    });
                }
                Err(error) => return Ok(Err(format!("job {}: {error}", job.value()))),
            }
        }
    }
    if let Some(table) = optional_table(&transaction, RUNS, false)? {
        for entry in table.iter()? {
            let (name, value) = entry?;
            // What is no such thing is left where it is, until an attempt of that name completes.
            if let Some(known) = Runs::decode(value.value()) {
                runs.push((name.value().into(), known));
            }
        }
    }
    transaction.commit()?;
    Ok(Ok(Stored { records, runs }))
}

/// Why the data directory cannot be used.
#[derive(Debug)]
pub struct StoreError {
    path: PathBuf,
    detail: String,
}

impl StoreError {
    fn new(path: &Path, detail: String) -> Self {
        Self { path: path.to_owned(), detail }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.detail)
    }
}

impl std::error::Error for StoreError {}
