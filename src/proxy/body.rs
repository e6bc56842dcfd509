//! Reads the body of a request whole, before the upstream has had the request: whatever is wrong with it, it was never
//! seen there (S78).

use std::sync::Arc;

use bytes::Bytes;
use http::header::{EXPECT, HeaderValue};
use pingora_core::{Error, ErrorType, Result};
use pingora_proxy::Session;

use super::context::RequestCtx;
use super::upstream::INVALID_CHUNK;
use crate::denial::{ContentError, Denial};
use crate::gates::content::BodyPlan;
use crate::gates::content::jwe::Jwe;
use crate::gates::content::memory::{BodyBuffer, BodyMemory};
use crate::head::{BodyLength, Head, Malformed};
use crate::listener::Fault;
use crate::pipeline::Admitted;

/// Reads the body, if the ticket says so, and keeps it for the attempts to come. `Some`: why the request is refused.
///
/// # Errors
/// The client is gone.
pub(super) async fn read(session: &mut Session, ctx: &mut RequestCtx) -> Result<Option<Denial>> {
    let Some(BodyPlan::Whole { max, within }) = ctx.admitted().map(Admitted::body) else {
        return Ok(None);
    };
    let mut reader = Reader {
        memory: ctx.running.memory.bodies().clone(),
        max,
        announced: match ctx.head.as_ref().map(Head::body) {
            Some(BodyLength::Known(length)) => Some(length),
            _ => None,
        },
        received: 0,
    };
    let read = tokio::time::timeout(within, reader.read(session)).await;
    ctx.received = reader.received;
    let denied = |why| Ok(Some(Denial::Content(why)));
    match read {
        Err(_) => denied(ContentError::TooSlow),
        Ok(Ok(body)) => {
            let Some(jwe) = ctx.route().and_then(|route| route.content.jwe.clone()) else {
                ctx.body = Some(body);
                return Ok(None);
            };
            match open(&jwe, &body, &reader.memory) {
                Ok((body, content_type)) => {
                    ctx.body = Some(body);
                    ctx.opened = Some(content_type);
                    Ok(None)
                }
                Err(why) => denied(why),
            }
        }
        Ok(Err(Stopped::Refused(denial))) => Ok(Some(denial)),
        Ok(Err(Stopped::Failed(error))) => match error.etype() {
            _ if let Some(denial) = Fault::behind(&error) => Ok(Some(denial)),
            ErrorType::ReadTimedout => denied(ContentError::TooSlow),
            _ if is_wrong_length(&error) => Ok(Some(Denial::Malformed(Malformed::ContentLength))),
            // the client, or its stream, is gone
            ErrorType::ReadError | ErrorType::WriteError | ErrorType::ConnectionClosed => {
                Err(error.into_down())
            }
            ErrorType::Custom(INVALID_CHUNK) => denied(ContentError::Chunks),
            _ => denied(ContentError::Incomplete),
        },
    }
}

/// What an encrypted body is in the clear.
fn open(jwe: &Jwe, body: &[u8], memory: &Arc<BodyMemory>) -> Result<(Bytes, HeaderValue), ContentError> {
    let opened = jwe.open(body).map_err(ContentError::Encrypted)?;
    let length = u64::try_from(opened.body.len()).unwrap_or(u64::MAX);
    let mut buffer = BodyBuffer::new(memory.clone(), length);
    buffer
        .push(opened.body.into())
        .map_err(|_| ContentError::MemoryExhausted)?;
    Ok((buffer.finish(), opened.content_type))
}

/// Why there is no body.
enum Stopped {
    Refused(Denial),
    Failed(Box<Error>),
}

fn refused(why: ContentError) -> Stopped {
    Stopped::Refused(Denial::Content(why))
}

struct Reader {
    memory: Arc<BodyMemory>,
    max: u64,
    /// Bytes that were announced.
    announced: Option<u64>,
    /// Bytes so far.
    received: u64,
}

impl Reader {
    async fn read(&mut self, session: &mut Session) -> Result<Bytes, Stopped> {
        let downstream = session.as_downstream_mut();
        if downstream
            .req_header()
            .headers
            .get(EXPECT)
            .is_some_and(is_continue)
            && !downstream.is_body_done()
        {
            downstream
                .write_continue_response()
                .await
                .map_err(Stopped::Failed)?;
        }
        let mut buffer = BodyBuffer::new(self.memory.clone(), self.announced.unwrap_or(self.max));
        while let Some(piece) = downstream.read_request_body().await.map_err(Stopped::Failed)? {
            self.received = self
                .received
                .saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
            if self.received > self.max {
                return Err(refused(ContentError::TooLarge));
            }
            buffer
                .push(piece)
                .map_err(|_| refused(ContentError::MemoryExhausted))?;
            // one more read would only say so
            if downstream.is_body_done() {
                break;
            }
        }
        // HTTP/2 has not ended, and has no more data: what follows are trailers
        if downstream.is_http2() && !downstream.is_body_done() {
            return Err(refused(ContentError::Trailers));
        }
        if self.announced.is_some_and(|length| length != self.received) {
            return Err(Stopped::Refused(Denial::Malformed(Malformed::ContentLength)));
        }
        Ok(buffer.finish())
    }
}

/// HTTP/2 sent more or less than it announced: the stream was reset for that (RFC 9113 section 8.1.1).
fn is_wrong_length(error: &Error) -> bool {
    let cause = error
        .cause
        .as_ref()
        .and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|why| why.is_library() && why.reason() == Some(h2::Reason::PROTOCOL_ERROR))
}

/// `100-continue` (RFC 9110 section 10.1.1).
fn is_continue(value: &HeaderValue) -> bool {
    value.as_bytes().eq_ignore_ascii_case(b"100-continue")
}
