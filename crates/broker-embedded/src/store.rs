use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use milepost_protocol::{JobId, State, Timestamp};
use redb::{Database, DatabaseError, ReadableTable, TableDefinition};
use tokio::sync::oneshot;

use milepost_broker::Unavailable;

/// job id → (begun, expires in microseconds since 1970, state)
const JOBS: TableDefinition<'_, &str, (u64, i64, &str)> = TableDefinition::new("jobs");

/// States that nobody waits for are on disk after this time at the latest.
const INTERVAL: Duration = Duration::from_millis(500);

/// A job as it stands on disk.
pub(crate) struct Record {
    pub(crate) state: Arc<State>,
    pub(crate) begun: u64,
    pub(crate) expires: Timestamp,
}

/// Keeps the latest state of each job on disk: redb, on a thread of its own, because it blocks.
///
/// What is to be written waits in a map with one place for each job. All that is there is written in one
/// transaction; who waits for that meanwhile shares the next. While the disk fails, jobs that are known no
/// more keep their places, up to a bound: beyond that such a job may be there again after a restart, until
/// its time is over.
pub(crate) struct Store {
    pending: Arc<Pending>,
    /// At most so many jobs wait to be removed from the disk.
    max_pending: usize,
    writer: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Pending {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    /// None: forget the job.
    jobs: HashMap<JobId, Option<Record>>,
    waiting: Vec<oneshot::Sender<Result<(), Unavailable>>>,
    closed: bool,
}

impl Store {
    /// Opens the store in `directory` and reads what is in it.
    pub(crate) fn open(
        directory: &Path,
        max_pending: usize,
    ) -> Result<(Self, Vec<Record>), StoreError> {
        std::fs::create_dir_all(directory)
            .map_err(|error| StoreError::new(directory, error.to_string()))?;
        let path = directory.join("jobs.redb");
        // redb finds some damage by an assertion of its own.
        let loaded = catch_unwind(AssertUnwindSafe(|| load(&path)))
            .unwrap_or_else(|_| Err("it is damaged; move it away to begin without it".to_owned()));
        let (database, records) = loaded.map_err(|detail| StoreError::new(&path, detail))?;

        let pending = Arc::new(Pending::default());
        let writer = std::thread::Builder::new().name("store".to_owned()).spawn({
            let pending = Arc::clone(&pending);
            let path = path.clone();
            move || write(&path, database, &pending)
        });
        let writer = writer.map_err(|error| StoreError::new(&path, error.to_string()))?;
        Ok((Self { pending, max_pending, writer: Mutex::new(Some(writer)) }, records))
    }

    /// Has a state written, soon.
    pub(crate) fn save(&self, record: Record) {
        self.pending.lock().jobs.insert(record.state.job().clone(), Some(record));
    }

    /// Has a job removed, soon.
    pub(crate) fn forget(&self, job: JobId) {
        let mut queue = self.pending.lock();
        if queue.jobs.len() < self.max_pending {
            queue.jobs.insert(job, None);
        } else {
            queue.jobs.remove(&job);
        }
    }

    /// Waits until all that was saved is on disk.
    pub(crate) async fn flush(&self) -> Result<(), Unavailable> {
        let (written, wait) = oneshot::channel();
        {
            let mut queue = self.pending.lock();
            if queue.closed {
                return Err(Unavailable("the store is closed".to_owned()));
            }
            queue.waiting.push(written);
        }
        self.pending.changed.notify_one();
        wait.await.unwrap_or_else(|_| Err(Unavailable("the store's thread is gone".to_owned())))
    }

    /// Writes all that was saved and ends the thread.
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

/// However the thread ends, nobody waits for it any more.
struct Ended<'a>(&'a Pending);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.lock();
        queue.closed = true;
        queue.waiting.clear();
    }
}

/// The thread: a transaction when somebody waits, and otherwise each [`INTERVAL`].
fn write(path: &Path, database: Database, pending: &Pending) {
    let _ended = Ended(pending);
    let mut database = Some(database);
    let mut failing = false;
    loop {
        let queue = pending.lock();
        let (mut queue, _) = pending
            .changed
            .wait_timeout_while(queue, INTERVAL, |queue| queue.waiting.is_empty() && !queue.closed)
            .unwrap_or_else(PoisonError::into_inner);
        let closed = queue.closed;
        let jobs = std::mem::take(&mut queue.jobs);
        let waiting = std::mem::take(&mut queue.waiting);
        drop(queue);

        let written = if jobs.is_empty() {
            Ok(())
        } else {
            // redb meets some failures by an assertion of its own. The next commit opens the file anew.
            let commit = AssertUnwindSafe(|| commit(path, &mut database, &jobs));
            let committed = catch_unwind(commit).map_err(|_| "it panicked".to_owned());
            committed.and_then(|committed| committed.map_err(|error| error.to_string()))
        };
        match &written {
            Ok(()) => failing = false,
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!(error, "states are not on disk; trying again");
                }
                put_back(pending, jobs);
            }
        }
        let answer = written.map_err(|error| Unavailable(format!("the store: {error}")));
        for waiting in waiting {
            // Who waited may have gone.
            let _ = waiting.send(answer.clone());
        }
        if closed {
            return;
        }
    }
}

/// Writes the jobs in one transaction. After an error redb refuses all further work until the database is
/// opened anew, so the next call does that.
fn commit(
    path: &Path,
    database: &mut Option<Database>,
    jobs: &HashMap<JobId, Option<Record>>,
) -> Result<(), redb::Error> {
    let open = match database.take() {
        Some(open) => open,
        None => Database::create(path)?,
    };
    insert(&open, jobs)?;
    *database = Some(open);
    Ok(())
}

fn insert(database: &Database, jobs: &HashMap<JobId, Option<Record>>) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(JOBS)?;
        for (job, record) in jobs {
            match record {
                Some(Record { state, begun, expires }) => {
                    table.insert(job.as_str(), (*begun, expires.as_micros(), state.json()))?;
                }
                None => {
                    table.remove(job.as_str())?;
                }
            }
        }
    }
    Ok(transaction.commit()?)
}

/// What could not be written waits again, unless there is something newer.
fn put_back(pending: &Pending, jobs: HashMap<JobId, Option<Record>>) {
    let mut queue = pending.lock();
    for (job, record) in jobs {
        queue.jobs.entry(job).or_insert(record);
    }
}

fn load(path: &Path) -> Result<(Database, Vec<Record>), String> {
    let database = Database::create(path).map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen => "another process uses it".to_owned(),
        error => error.to_string(),
    })?;
    let records = read(&database).map_err(|error| error.to_string())??;
    Ok((database, records))
}

fn read(database: &Database) -> Result<Result<Vec<Record>, String>, redb::Error> {
    let transaction = database.begin_write()?;
    let mut records = Vec::new();
    {
        let table = transaction.open_table(JOBS)?;
        for entry in table.iter()? {
            let (job, value) = entry?;
            let (begun, expires, json) = value.value();
            match State::parse(json) {
                Ok(state) => records.push(Record {
                    state: Arc::new(state),
                    begun,
                    expires: Timestamp::from_micros(expires),
                }),
                Err(error) => return Ok(Err(format!("job {}: {error}", job.value()))),
            }
        }
    }
    transaction.commit()?;
    Ok(Ok(records))
}

/// The data directory cannot be used.
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
