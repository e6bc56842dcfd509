//! Head and body of an answer leave together.
//!
//! Pingora writes the head of an answer and then its body, and over TLS each becomes a record: encrypted, authenticated and
//! framed on its own, for 6 % of the CPU time of a request. A small write is therefore held until the next one, or until it
//! is flushed. Nothing waits longer than it did: below TLS, the socket's own buffer has always held as much for as long.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

/// Bytes of a write that is held at most: as the buffer of a socket.
const SMALL: usize = 1460;
/// Bytes that go out together at most: a TLS record (RFC 8446 section 5.1).
const RECORD: usize = 16 * 1024;

/// What was taken from the writer and is not written.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    held: Vec<u8>,
    /// Bytes of it that are written; something is only once it was decided that all of it goes.
    gone: usize,
    /// It waits for nothing but the socket.
    going: bool,
}

impl Outgoing {
    /// As [`AsyncWrite::poll_write`].
    pub(super) fn poll_write<W>(
        &mut self,
        inner: &mut W,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>>
    where
        W: AsyncWrite + Unpin + ?Sized,
    {
        if self.going {
            ready!(self.poll_drain(inner, cx))?;
        }
        if self.held.is_empty() {
            if bytes.len() > SMALL {
                return Pin::new(inner).poll_write(cx, bytes);
            }
            self.held = bytes.to_vec();
            return Poll::Ready(Ok(bytes.len()));
        }
        let taken = bytes.len().min(RECORD.saturating_sub(self.held.len()));
        self.held
            .extend_from_slice(bytes.get(..taken).unwrap_or_default());
        // what was taken is taken, whether or not the socket takes it at once
        let _ = self.poll_drain(inner, cx)?;
        Poll::Ready(Ok(taken))
    }

    /// Writes what is held.
    pub(super) fn poll_drain<W>(&mut self, inner: &mut W, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        W: AsyncWrite + Unpin + ?Sized,
    {
        while let Some(rest) = self.held.get(self.gone..).filter(|rest| !rest.is_empty()) {
            self.going = true;
            match ready!(Pin::new(&mut *inner).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.gone += written,
            }
        }
        // an idle connection holds no memory
        *self = Outgoing::default();
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use proptest::prelude::*;

    use super::*;

    /// Takes so many bytes at each call; 0: not now.
    #[derive(Default)]
    struct Socket {
        takes: Vec<usize>,
        records: Vec<Vec<u8>>,
    }

    impl AsyncWrite for Socket {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            match self.takes.pop() {
                Some(0) => Poll::Pending,
                takes => {
                    let taken = bytes.len().min(takes.unwrap_or(usize::MAX));
                    self.records.push(bytes[..taken].to_vec());
                    Poll::Ready(Ok(taken))
                }
            }
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn a_head_goes_out_with_the_body_behind_it() {
        let (mut socket, mut outgoing) = (Socket::default(), Outgoing::default());
        let mut cx = Context::from_waker(Waker::noop());
        for part in [&b"head"[..], b"body"] {
            let written = outgoing.poll_write(&mut socket, &mut cx, part);
            assert!(matches!(written, Poll::Ready(Ok(4))), "{written:?}");
        }
        assert_eq!(socket.records, [b"headbody".to_vec()]);
        let large = vec![7; SMALL + 1];
        let _ = outgoing.poll_write(&mut socket, &mut cx, &large);
        assert_eq!(socket.records[1], large);
    }

    proptest! {
        #[test]
        fn whatever_the_socket_takes_all_bytes_leave_in_order(
            parts in proptest::collection::vec(0..20_000_usize, 1..8),
            flushes in proptest::collection::vec(any::<bool>(), 8),
            takes in proptest::collection::vec(0..9000_usize, 0..24),
        ) {
            let (mut socket, mut outgoing) = (Socket { takes, ..Socket::default() }, Outgoing::default());
            let mut cx = Context::from_waker(Waker::noop());
            let mut expected = Vec::new();
            for (number, (length, flush)) in parts.iter().zip(flushes).enumerate() {
                let part: Vec<u8> = (0..*length).map(|at| (at * 7 + number) as u8).collect();
                let mut rest = &part[..];
                while !rest.is_empty() {
                    if let Poll::Ready(written) = outgoing.poll_write(&mut socket, &mut cx, rest) {
                        rest = &rest[written.unwrap()..];
                    }
                }
                expected.extend_from_slice(&part);
                while flush && outgoing.poll_drain(&mut socket, &mut cx).is_pending() {}
                if flush {
                    prop_assert_eq!(&socket.records.concat(), &expected);
                }
            }
            while outgoing.poll_drain(&mut socket, &mut cx).is_pending() {}
            prop_assert_eq!(socket.records.concat(), expected);
        }
    }
}
