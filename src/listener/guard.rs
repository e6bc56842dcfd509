//! The stream that Pingora reads from: everything is looked at on the way.
//!
//! Of HTTP/1 it hands over a head only once it has been read to its end and judged, a body only as far as it goes, and of
//! what follows a request nothing until that has been answered. Of HTTP/2 it counts frames as they pass.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::{SslDigest, TlsRef};
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::connection::{Connection, Ended};
use super::http1::Message;
use super::http2::Frames;
use super::outgoing::Outgoing;
use super::refusal;

/// A guarded stream.
#[derive(Debug)]
pub(super) struct Guarded {
    pub(super) inner: Stream,
    pub(super) connection: Arc<Connection>,
    /// Bytes that were read and not handed over.
    pub(super) held: BytesMut,
    pub(super) speaks: Speaks,
    outgoing: Outgoing,
    /// Whether a read failed for what the client sent, so that more of it may be on its way.
    is_at_fault: bool,
}

/// What is spoken.
#[derive(Debug)]
pub(super) enum Speaks {
    Http1(Message),
    Http2(Box<Frames>),
}

/// Bytes taken from a socket at a time where nobody offers a place for them; a TLS record holds as many.
const SCRATCH: usize = 16 * 1024;

thread_local!(static PLACE: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into()));

impl Guarded {
    pub(super) fn new(inner: Stream, connection: Arc<Connection>, speaks: Speaks) -> Guarded {
        Guarded {
            inner,
            connection,
            held: BytesMut::new(),
            speaks,
            outgoing: Outgoing::default(),
            is_at_fault: false,
        }
    }

    /// Ends the connection so that the client can read what it was sent.
    pub(super) async fn end(mut self: Box<Self>) {
        self.take_end().await;
    }

    fn take_end(&mut self) -> impl Future<Output = ()> + Send + 'static {
        let nothing: Stream = Box::new(io::Cursor::new(Vec::new()));
        let stream = std::mem::replace(&mut self.inner, nothing);
        end(stream, std::mem::take(&mut self.outgoing))
    }

    /// The head that has arrived, of a request of HTTP/1 that has nothing else and goes on with nothing else.
    pub(super) fn bodiless(&self) -> Option<&[u8]> {
        match &self.speaks {
            Speaks::Http1(message) => self.held.get(..message.bodiless(&self.connection)?),
            Speaks::Http2(_) => None,
        }
    }

    /// Takes that head away.
    pub(super) fn take_head(&mut self) {
        if let Speaks::Http1(message) = &mut self.speaks {
            self.held.advance(message.take_head().min(self.held.len()));
        }
        if self.held.is_empty() {
            // nothing is kept while nothing is there
            self.held = BytesMut::new();
        }
    }

    /// Takes back what Pingora was lent.
    pub(super) fn reclaim(stream: Stream) -> Option<Box<Guarded>> {
        stream.into_any().downcast::<Guarded>().ok()
    }

    /// Reads more into `held`. 0: the client has ended.
    ///
    /// # Errors
    /// The connection is broken, or late ([`io::ErrorKind::TimedOut`]).
    pub(super) fn poll_hold(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        PLACE.with_borrow_mut(|place| {
            let mut buf = ReadBuf::new(place);
            match Pin::new(&mut self.inner).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) => {
                    self.held.extend_from_slice(buf.filled());
                    Poll::Ready(Ok(buf.filled().len()))
                }
                Poll::Ready(Err(why)) => Poll::Ready(Err(why)),
                Poll::Pending if self.connection.poll_late(cx) => {
                    Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
                }
                Poll::Pending => Poll::Pending,
            }
        })
    }

    fn poll_read_http1(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Speaks::Http1(message) = &mut self.speaks else {
            return Poll::Ready(Ok(()));
        };
        if !self.held.is_empty() {
            let before = buf.filled().len();
            let handed = message
                .hand_over(&self.held, buf, &self.connection)
                .inspect_err(|_| self.is_at_fault = true)?;
            self.held.advance(handed);
            if self.held.is_empty() {
                // nothing is kept while nothing is there
                self.held = BytesMut::new();
            }
            if buf.filled().len() > before || !message.wants_more() {
                return if buf.filled().len() > before {
                    Poll::Ready(Ok(()))
                } else {
                    // what is there belongs to the next request; whoever asks wants to know whether the client leaves
                    Poll::Pending
                };
            }
        }
        let before = buf.filled().len();
        match Pin::new(&mut self.inner).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                let came = buf.filled().get(before..).unwrap_or_default();
                if came.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                match message.take(came, &self.connection) {
                    Ok(taken) if taken == came.len() => Poll::Ready(Ok(())),
                    Ok(taken) => {
                        self.held.extend_from_slice(came.get(taken..).unwrap_or_default());
                        buf.set_filled(before + taken);
                        if taken > 0 {
                            Poll::Ready(Ok(()))
                        } else {
                            Poll::Pending
                        }
                    }
                    Err(why) => {
                        buf.set_filled(before);
                        self.connection.end(Ended::Malformed);
                        self.is_at_fault = true;
                        Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, Fault(why.into()))))
                    }
                }
            }
            Poll::Ready(Err(why)) => Poll::Ready(Err(why)),
            Poll::Pending => {
                if message.is_in_body() {
                    self.connection.body_waits();
                    if self.connection.poll_late(cx) {
                        self.connection.end(Ended::BodyTooSlow);
                        self.is_at_fault = true;
                        let fault = Fault(crate::denial::Denial::Content(
                            crate::denial::ContentError::TooSlow,
                        ));
                        return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, fault)));
                    }
                }
                Poll::Pending
            }
        }
    }

    fn poll_read_http2(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Speaks::Http2(frames) = &mut self.speaks else {
            return Poll::Ready(Ok(()));
        };
        let before = buf.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        let verdict = match &read {
            Poll::Ready(Ok(())) => {
                let came = buf.filled().get(before..).unwrap_or_default();
                frames.came(came, &self.connection)
            }
            Poll::Ready(Err(_)) => Ok(()),
            // asked in this order: who is late is woken
            Poll::Pending if self.connection.poll_late(cx) => frames.look(&self.connection),
            Poll::Pending => Ok(()),
        };
        match verdict {
            Ok(()) => {
                if let Some(notice) = frames.notice(&self.connection) {
                    let written = Pin::new(&mut self.inner).poll_write(cx, &notice);
                    if !matches!(written, Poll::Ready(Ok(17))) {
                        return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
                    }
                    let _ = Pin::new(&mut self.inner).poll_flush(cx);
                }
                read
            }
            Err(why) => {
                buf.set_filled(before);
                self.connection.end(why);
                if let Some(goodbye) = frames.goodbye(why) {
                    // as much as can be said without waiting
                    let written = Pin::new(&mut self.inner).poll_write(cx, &goodbye);
                    if let Poll::Ready(Ok(_)) = written {
                        let _ = Pin::new(&mut self.inner).poll_flush(cx);
                    }
                }
                Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
            }
        }
    }

    /// Notes what was written, or that nothing could be.
    fn wrote(&mut self, written: &Poll<io::Result<usize>>, first: &[u8]) {
        if let Speaks::Http2(frames) = &mut self.speaks {
            frames.is_blocked = written.is_pending();
        }
        match written {
            Poll::Pending => self.connection.write_waits(),
            Poll::Ready(Ok(_)) => {
                self.connection.write_goes();
                if let Speaks::Http1(message) = &mut self.speaks {
                    message.answered(first, &self.connection);
                }
            }
            Poll::Ready(Err(_)) => {}
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        match &self.speaks {
            Speaks::Http2(frames) => refusal::record_unserved(&self.connection, frames.opened()),
            Speaks::Http1(_) if self.is_at_fault => {
                let ending = self.take_end();
                if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                    runtime.spawn(ending);
                }
            }
            Speaks::Http1(_) => {}
        }
    }
}

/// Says that nothing more will be sent, and reads what the client still sends, for a while: bytes that nobody read reset a
/// connection, and the answer with it.
async fn end(mut stream: Stream, mut outgoing: Outgoing) {
    const MOST: usize = 256 * 1024;
    let ending = async {
        poll_fn(|cx| outgoing.poll_drain(&mut stream, cx)).await?;
        stream.shutdown().await;
        let mut place = [0; 1024];
        let mut read = 0;
        while read < MOST {
            match AsyncReadExt::read(&mut stream, &mut place).await? {
                0 => break,
                more => read += more,
            }
        }
        Ok::<(), io::Error>(())
    };
    // nothing depends on how that ends
    let _ = tokio::time::timeout(Duration::from_secs(1), ending).await;
}

/// Why a read from a guarded stream failed. Found again behind Pingora's own error.
#[derive(Debug)]
pub(crate) struct Fault(pub(crate) crate::denial::Denial);

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.reason())
    }
}

impl std::error::Error for Fault {}

impl Fault {
    /// The refusal that is behind an error of Pingora's, if one is.
    pub(crate) fn behind(error: &pingora_core::Error) -> Option<crate::denial::Denial> {
        let cause = error.root_cause().downcast_ref::<io::Error>()?;
        Some(cause.get_ref()?.downcast_ref::<Fault>()?.0.clone())
    }
}

impl AsyncRead for Guarded {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.speaks {
            Speaks::Http1(_) => this.poll_read_http1(cx, buf),
            Speaks::Http2(_) => this.poll_read_http2(cx, buf),
        }
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = match &mut this.speaks {
            Speaks::Http1(_) => this.outgoing.poll_write(&mut this.inner, cx, bytes),
            Speaks::Http2(frames) => {
                let written = Pin::new(&mut this.inner).poll_write(cx, bytes);
                if let Poll::Ready(Ok(written)) = &written {
                    frames.went(bytes.get(..*written).unwrap_or_default(), &this.connection);
                }
                written
            }
        };
        this.wrote(&written, bytes);
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first: &[u8] = parts
            .iter()
            .find(|part| !part.is_empty())
            .map_or(&[], |part| part);
        let this = self.get_mut();
        let Speaks::Http2(frames) = &mut this.speaks else {
            return Pin::new(this).poll_write(cx, first);
        };
        let written = Pin::new(&mut this.inner).poll_write_vectored(cx, parts);
        if let Poll::Ready(Ok(written)) = &written {
            let mut left = *written;
            for part in parts {
                let went = left.min(part.len());
                frames.went(part.get(..went).unwrap_or_default(), &this.connection);
                left -= went;
            }
        }
        this.wrote(&written, first);
        written
    }

    fn is_write_vectored(&self) -> bool {
        matches!(self.speaks, Speaks::Http2(_)) && self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let drained = this.outgoing.poll_drain(&mut this.inner, cx);
        let flushed = match drained {
            Poll::Ready(Ok(())) => Pin::new(&mut this.inner).poll_flush(cx),
            _ => drained,
        };
        match flushed {
            Poll::Pending => this.connection.write_waits(),
            Poll::Ready(_) => this.connection.write_goes(),
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let drained = this.outgoing.poll_drain(&mut this.inner, cx);
        let ended = match drained {
            Poll::Ready(Ok(())) => Pin::new(&mut this.inner).poll_shutdown(cx),
            _ => drained,
        };
        match ended {
            Poll::Pending => this.connection.write_waits(),
            Poll::Ready(_) => this.connection.write_goes(),
        }
        ended
    }
}

#[async_trait]
impl Shutdown for Guarded {
    async fn shutdown(&mut self) {
        if let Err(why) = std::future::poll_fn(|cx| Pin::new(&mut *self).poll_shutdown(cx)).await {
            log::debug!(target: "durward::listener", "a connection could not be ended: {why}");
        }
    }
}

impl UniqueID for Guarded {
    fn id(&self) -> UniqueIDType {
        self.inner.id()
    }
}

impl Ssl for Guarded {
    fn get_ssl(&self) -> Option<&TlsRef> {
        self.inner.get_ssl()
    }

    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.inner.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.inner.selected_alpn_proto()
    }
}

impl GetTimingDigest for Guarded {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.inner.get_timing_digest()
    }

    fn get_read_pending_time(&self) -> Duration {
        self.inner.get_read_pending_time()
    }

    fn get_write_pending_time(&self) -> Duration {
        self.inner.get_write_pending_time()
    }
}

impl GetProxyDigest for Guarded {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.inner.get_proxy_digest()
    }
}

impl GetSocketDigest for Guarded {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.get_socket_digest()
    }
}

// nobody peeks: that is for telling HTTP/2 without TLS, which is not spoken
impl Peek for Guarded {}
