use std::fmt;
use std::iter::FusedIterator;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;

use crate::job::Job;

impl Job {
    /// Counts the items of an iterator, each when the next one is requested. If the iterator knows its
    /// length, that is the total, unless a larger total was set.
    ///
    /// ```
    /// # let job = milepost_reporter::Reporter::silent().job("video-42");
    /// for frame in job.track(0..2_000) { /* … */ }
    /// ```
    pub fn track<I: IntoIterator>(&self, items: I) -> Track<I::IntoIter> {
        Track::new(self.clone(), items.into_iter())
    }

    /// Counts the items of a stream, each when the next one is requested. If the stream knows its length,
    /// that is the total, unless a larger total was set.
    pub fn track_stream<S: Stream>(&self, items: S) -> TrackStream<S> {
        TrackStream::new(self.clone(), items)
    }
}

/// An iterator whose items are counted: [`Job::track`].
#[derive(Clone)]
pub struct Track<I> {
    job: Job,
    items: I,
    /// The caller has an item that is not done yet.
    one_is_out: bool,
}

impl<I: Iterator> Track<I> {
    pub(crate) fn new(job: Job, items: I) -> Self {
        expect(&job, items.size_hint());
        Self { job, items, one_is_out: false }
    }
}

impl<I: Iterator> Iterator for Track<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        if self.one_is_out {
            self.job.inc(1);
        }
        let item = self.items.next();
        self.one_is_out = item.is_some();
        item
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.items.size_hint()
    }
}

impl<I: ExactSizeIterator> ExactSizeIterator for Track<I> {}
impl<I: FusedIterator> FusedIterator for Track<I> {}

impl<I> fmt::Debug for Track<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Track").field("job", &self.job).finish_non_exhaustive()
    }
}

/// A stream whose items are counted: [`Job::track_stream`]. The stream is boxed, so this is always `Unpin`.
pub struct TrackStream<S> {
    job: Job,
    items: Pin<Box<S>>,
    one_is_out: bool,
}

impl<S: Stream> TrackStream<S> {
    pub(crate) fn new(job: Job, items: S) -> Self {
        expect(&job, items.size_hint());
        Self { job, items: Box::pin(items), one_is_out: false }
    }
}

impl<S: Stream> Stream for TrackStream<S> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let this = self.get_mut();
        if std::mem::take(&mut this.one_is_out) {
            this.job.inc(1);
        }
        let item = ready!(this.items.as_mut().poll_next(context));
        this.one_is_out = item.is_some();
        Poll::Ready(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.items.size_hint()
    }
}

impl<S> fmt::Debug for TrackStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrackStream").field("job", &self.job).finish_non_exhaustive()
    }
}

fn expect(job: &Job, size_hint: (usize, Option<usize>)) {
    if let (least, Some(most)) = size_hint
        && least == most
        && let Ok(length) = u64::try_from(most)
    {
        job.expect(length);
    }
}
