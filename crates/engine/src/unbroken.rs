//! Work that goes on when nobody waits for it any more.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};
use tokio_util::task::TaskTracker;

/// A future that is finished even if it is dropped: then in a task of its own. A task from the start would cost a wake-up of
/// another thread for every instance. Whoever holds it polls it until it is ready, or drops it: what is held and not polled
/// stands still, and the drain before it.
pub(crate) struct Unbroken<T: Send + 'static> {
    work: Option<Work<T>>,
}

type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl<T: Send + 'static> Unbroken<T> {
    /// `tasks` waits for it, whoever does the work.
    pub(crate) fn new(tasks: &TaskTracker, work: impl Future<Output = T> + Send + 'static) -> Self {
        Self { work: Some(Box::pin(tasks.track_future(work))) }
    }
}

impl<T: Send + 'static> Future for Unbroken<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let Some(work) = &mut self.work else { return Poll::Pending };
        let polled = work.as_mut().poll(cx);
        if polled.is_ready() {
            self.work = None;
        }
        polled
    }
}

impl<T: Send + 'static> Drop for Unbroken<T> {
    fn drop(&mut self) {
        let Some(work) = self.work.take() else { return };
        // What panicked cannot go on; without a runtime the process is at its end and the journal decides.
        if let (false, Ok(runtime)) = (std::thread::panicking(), tokio::runtime::Handle::try_current()) {
            drop(runtime.spawn(work));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn it_answers_whoever_waits() {
        let tasks = TaskTracker::new();
        assert_eq!(Unbroken::new(&tasks, async { 7 }).await, 7);
        assert!(tasks.is_empty());
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_finished_all_the_same() {
        let tasks = TaskTracker::new();
        let (go, gone) = oneshot::channel::<()>();
        let (done, is_done) = oneshot::channel();
        let mut work = Box::pin(Unbroken::new(&tasks, async move {
            gone.await.expect("the test says go");
            let _ = done.send("finished");
        }));
        assert!(futures::poll!(&mut work).is_pending());
        drop(work);
        assert_eq!(tasks.len(), 1);
        go.send(()).expect("it listens");
        assert_eq!(is_done.await, Ok("finished"));
        tasks.close();
        tasks.wait().await;
    }

    #[tokio::test]
    async fn work_that_was_never_begun_is_done_as_well() {
        let tasks = TaskTracker::new();
        let (done, is_done) = oneshot::channel();
        drop(Unbroken::new(&tasks, async move { done.send(1) }));
        assert_eq!(is_done.await, Ok(1));
    }
}
