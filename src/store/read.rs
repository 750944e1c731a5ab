//! A read that is usually ready at once: from the block cache without leaving the task, from a bounded pool
//! of threads (or the network) otherwise.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;

use crate::Error;

/// The future of a read. Costs no allocation when the answer is in memory.
pub enum Read<T> {
    /// Already known; `None` once taken.
    Ready(Option<Result<T, Error>>),
    /// On its way.
    Later(BoxFuture<'static, Result<T, Error>>),
}

impl<T> Read<T> {
    /// An answer that is there.
    pub fn ready(value: T) -> Self {
        Self::Ready(Some(Ok(value)))
    }

    /// A failure that is known already.
    pub fn failed(error: Error) -> Self {
        Self::Ready(Some(Err(error)))
    }
}

impl<T: Unpin> Future for Read<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Ready(answer) => Poll::Ready(answer.take().unwrap_or_else(|| {
                Err(Error::Corrupt("a finished read was asked again".to_owned()))
            })),
            Self::Later(future) => future.as_mut().poll(cx),
        }
    }
}
