use std::fmt;
use std::io::{self, BufRead, IoSlice, IoSliceMut, Read, Write};

use crate::job::Job;

impl Job {
    /// Counts the bytes that are read. The unit is `bytes`, unless one was set.
    pub fn wrap_read<R>(&self, reader: R) -> WrapRead<R> {
        self.with_record(|record| record.unit("bytes", true));
        WrapRead::new(self.clone(), reader)
    }

    /// Counts the bytes that are written. The unit is `bytes`, unless one was set.
    pub fn wrap_write<W>(&self, writer: W) -> WrapWrite<W> {
        self.with_record(|record| record.unit("bytes", true));
        WrapWrite::new(self.clone(), writer)
    }
}

/// A reader whose bytes are counted: [`Job::wrap_read`].
pub struct WrapRead<R> {
    job: Job,
    reader: R,
}

impl<R> WrapRead<R> {
    pub(crate) fn new(job: Job, reader: R) -> Self {
        Self { job, reader }
    }

    /// The reader itself.
    pub fn into_inner(self) -> R {
        self.reader
    }
}

impl<R: Read> Read for WrapRead<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(into)?;
        self.job.inc(bytes(read));
        Ok(read)
    }

    fn read_vectored(&mut self, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let read = self.reader.read_vectored(into)?;
        self.job.inc(bytes(read));
        Ok(read)
    }
}

impl<R: BufRead> BufRead for WrapRead<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.reader.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.reader.consume(amount);
        self.job.inc(bytes(amount));
    }
}

impl<R> fmt::Debug for WrapRead<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WrapRead").field("job", &self.job).finish_non_exhaustive()
    }
}

/// A writer whose bytes are counted: [`Job::wrap_write`].
pub struct WrapWrite<W> {
    job: Job,
    writer: W,
}

impl<W> WrapWrite<W> {
    pub(crate) fn new(job: Job, writer: W) -> Self {
        Self { job, writer }
    }

    /// The writer itself.
    pub fn into_inner(self) -> W {
        self.writer
    }
}

impl<W: Write> Write for WrapWrite<W> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        let written = self.writer.write(from)?;
        self.job.inc(bytes(written));
        Ok(written)
    }

    fn write_vectored(&mut self, from: &[IoSlice<'_>]) -> io::Result<usize> {
        let written = self.writer.write_vectored(from)?;
        self.job.inc(bytes(written));
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl<W> fmt::Debug for WrapWrite<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WrapWrite").field("job", &self.job).finish_non_exhaustive()
    }
}

fn bytes(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
