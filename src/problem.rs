//! What a client is told of a refusal: a problem document (RFC 9457), the same wherever it was refused.

use bytes::Bytes;
use uuid::Uuid;

use crate::denial::Denial;
use crate::telemetry::line::{Object, field};

/// Bytes of one, as a hint.
const DOCUMENT: usize = 384;

/// The document that tells a client why. `id` is the decision's.
pub(crate) fn document(denial: &Denial, id: Uuid) -> Bytes {
    let (status, code) = (denial.status(), denial.code());
    let mut document = Vec::with_capacity(DOCUMENT);
    let mut object = Object::new(&mut document);
    object.plain(field!("type"), |line| {
        line.extend_from_slice(b"urn:durward:problem:");
        line.extend_from_slice(code.as_bytes());
    });
    object.text(field!("title"), status.canonical_reason().unwrap_or("Error"));
    object.number(field!("status"), status.as_u16().into());
    object.text(field!("detail"), denial.detail());
    object.plain(field!("instance"), |line| {
        let mut buffer = Uuid::encode_buffer();
        line.extend_from_slice(id.urn().encode_lower(&mut buffer).as_bytes());
    });
    object.text(field!("code"), code);
    object.end();
    document.into()
}
