//! Signs what is sent upstream, where the upstream asks for that. Last of all: nothing is changed behind it.

use http::header::{self, HeaderMap, HeaderName};
use pingora_core::{Error, ErrorType, Result};

use super::context::RequestCtx;
use super::forwarded::REQUEST_ID;
use crate::clock::UnixTime;
use crate::head::Head;
use crate::upstream::Upstream;
use crate::upstream::signature::{Covered, SignError, content_digest};

const SIGNATURE: HeaderName = HeaderName::from_static("signature");
const SIGNATURE_INPUT: HeaderName = HeaderName::from_static("signature-input");
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");

/// Adds the signature. What the client sent in its place is removed.
pub(super) fn write(
    upstream: &Upstream,
    head: &Head,
    headers: &mut HeaderMap,
    ctx: &RequestCtx,
) -> Result<()> {
    let Some(signer) = &upstream.sign else {
        return Ok(());
    };
    let fault = |why: SignError| Error::because(ErrorType::InternalError, "signature", why);
    headers.remove(SIGNATURE);
    headers.remove(SIGNATURE_INPUT);
    let mut fields = vec![REQUEST_ID];
    if let Some(body) = &ctx.body {
        let digest = content_digest(body).map_err(fault)?;
        headers.insert(CONTENT_DIGEST, digest);
        fields.push(CONTENT_DIGEST);
        if headers.contains_key(header::CONTENT_TYPE) {
            fields.push(header::CONTENT_TYPE);
        }
    }
    // whatever has a name that clients cannot use was written by us
    let reserved = &ctx.gateway().identity_headers;
    fields.extend(headers.keys().filter(|name| reserved.is_reserved(name)).cloned());
    fields.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
    let usual = if upstream.tls.is_some() { ":443" } else { ":80" };
    let authority = head.authority().to_ascii_lowercase();
    let covered = Covered {
        method: head.method().as_str(),
        authority: authority.strip_suffix(usual).unwrap_or(&authority),
        path: head.path(),
        query: head.query(),
        fields: &fields,
        headers,
    };
    let signed = signer.sign(&covered, UnixTime::of_system()).map_err(fault)?;
    headers.insert(SIGNATURE_INPUT, signed.input);
    headers.insert(SIGNATURE, signed.signature);
    Ok(())
}
