//! Signs what is sent upstream, where the upstream asks for that. Last of all: nothing is changed behind it.

use http::header::{self, HeaderName};
use pingora::http::RequestHeader;
use pingora_core::{Error, ErrorType, Result};

use super::context::RequestCtx;
use super::forwarded::REQUEST_ID;
use super::upstream::CLIENT_CERTIFICATE;
use crate::clock::UnixTime;
use crate::upstream::signature::{Covered, SignError, content_digest};

const SIGNATURE: HeaderName = HeaderName::from_static("signature");
const SIGNATURE_INPUT: HeaderName = HeaderName::from_static("signature-input");
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");

/// Adds the signature. What the client sent in its place is removed.
pub(super) fn write(request: &mut RequestHeader, ctx: &RequestCtx) -> Result<()> {
    let (Some(upstream), Some(head)) = (ctx.upstream(), ctx.head.as_ref()) else {
        return Error::e_explain(ErrorType::InternalError, "no ticket");
    };
    let Some(signer) = &upstream.sign else {
        return Ok(());
    };
    let fault = |why: SignError| Error::because(ErrorType::InternalError, "signature", why);
    request.remove_header(&SIGNATURE);
    request.remove_header(&SIGNATURE_INPUT);
    let mut fields = vec![REQUEST_ID];
    if let Some(body) = &ctx.body {
        request.insert_header(CONTENT_DIGEST, content_digest(body).map_err(fault)?)?;
        fields.push(CONTENT_DIGEST);
        fields.extend(
            request
                .headers
                .contains_key(header::CONTENT_TYPE)
                .then_some(header::CONTENT_TYPE),
        );
    }
    // whatever has a name that clients cannot use was written by us
    let reserved = &ctx.gateway().identity_headers;
    let is_ours = |name: &&HeaderName| reserved.is_reserved(name) || **name == CLIENT_CERTIFICATE;
    fields.extend(request.headers.keys().filter(is_ours).cloned());
    fields.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
    let usual = if upstream.tls.is_some() { ":443" } else { ":80" };
    let authority = head.authority().to_ascii_lowercase();
    let covered = Covered {
        method: head.method().as_str(),
        authority: authority.strip_suffix(usual).unwrap_or(&authority),
        path: head.path(),
        query: head.query(),
        fields: &fields,
        headers: &request.headers,
    };
    let signed = signer.sign(&covered, UnixTime::of_system()).map_err(fault)?;
    request.insert_header(SIGNATURE_INPUT, signed.input)?;
    request.insert_header(SIGNATURE, signed.signature)
}
