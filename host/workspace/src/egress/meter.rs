//! What moves on a connection, and when something last did.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use sortie_policy::ports::NetworkMeter;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// Bytes of many connections together, as part of what the task may move.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) sent: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) task: Arc<NetworkMeter>,
}

impl Totals {
    pub(super) fn of(task: Arc<NetworkMeter>) -> Arc<Self> {
        Arc::new(Self { task, ..Self::default() })
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct Meter {
    own: Totals,
    totals: Arc<Totals>,
    moved: Mutex<Instant>,
}

impl Meter {
    pub(super) fn new(totals: Arc<Totals>) -> Arc<Self> {
        Arc::new(Self { own: Totals::default(), totals, moved: Mutex::new(Instant::now()) })
    }

    pub(super) fn sent(&self) -> u64 {
        self.own.sent.load(Ordering::Relaxed)
    }

    pub(super) fn received(&self) -> u64 {
        self.own.received.load(Ordering::Relaxed)
    }

    /// Returns when nothing has moved for so long.
    pub(super) async fn idle(&self, limit: Duration) {
        loop {
            let until = *self.moved.lock().unwrap_or_else(PoisonError::into_inner) + limit;
            if Instant::now() >= until {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }

    fn received_now(&self, bytes: usize) {
        self.moved(|totals| &totals.received, bytes);
        self.totals.task.count_received(bytes as u64);
    }

    fn sent_now(&self, bytes: usize) {
        self.moved(|totals| &totals.sent, bytes);
        self.totals.task.count_sent(bytes as u64);
    }

    fn moved(&self, counter: impl Fn(&Totals) -> &AtomicU64, bytes: usize) {
        if bytes > 0 {
            counter(&self.own).fetch_add(bytes as u64, Ordering::Relaxed);
            counter(&self.totals).fetch_add(bytes as u64, Ordering::Relaxed);
            *self.moved.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
    }

    /// Breaks a connection off once the task may move nothing more.
    fn check(&self) -> io::Result<()> {
        if self.totals.task.is_spent() { Err(io::Error::other(Spent)) } else { Ok(()) }
    }
}

/// The task has moved all the bytes that it may.
#[derive(Debug, thiserror::Error)]
#[error("the task has moved all the bytes over the network that it may")]
struct Spent;

/// A stream that is metered.
pub(super) struct Metered<S> {
    stream: S,
    meter: Arc<Meter>,
}

impl<S> Metered<S> {
    pub(super) fn new(stream: S, meter: Arc<Meter>) -> Self {
        Self { stream, meter }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.meter.check()?;
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.meter.received_now(buf.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.meter.check()?;
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        self.meter.sent_now(written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.meter.check()?;
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bufs))?;
        self.meter.sent_now(written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
