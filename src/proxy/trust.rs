//! TLS towards upstreams: a peer that is verified, and connections that will not do.

use std::net::SocketAddr;

use pingora_core::protocols::Digest;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorType, Result};

use super::context::RequestCtx;
use crate::denial::UpstreamError;
use crate::upstream::tls::PRESENTED;
use crate::upstream::{Target, Tls};

/// None of the service's keys is pinned.
pub(super) const PIN: ErrorType = ErrorType::Custom("PinMismatch");
/// TLS that will not do.
pub(super) const WEAK: ErrorType = ErrorType::Custom("WeakTls");

/// The peer at an address, with all that it has to be.
pub(super) fn peer(address: SocketAddr, tls: &Tls) -> HttpPeer {
    let mut peer = HttpPeer::new(address, true, tls.server_name.clone());
    // Pingora's pool does not tell connections apart by their CA
    peer.group_key = tls.group_key;
    peer.options.ca = tls.ca.clone();
    peer.options.verify_cert = true;
    peer.options.verify_hostname = true;
    peer.client_cert_key = tls.client.clone();
    if !tls.pins.is_empty() {
        peer.options.upstream_tls_handshake_complete_hook = Some(PRESENTED.clone());
    }
    peer
}

/// A connection is there, new or kept, and nothing of the request was sent on it yet.
pub(super) fn connected(digest: Option<&Digest>, ctx: &RequestCtx) -> Result<()> {
    let Some(tls) = ctx.upstream().and_then(|upstream| upstream.tls.as_ref()) else {
        return Ok(());
    };
    tls.judge(digest.and_then(|digest| digest.ssl_digest.as_deref()))
        .map_err(|why| {
            let etype = match why {
                UpstreamError::Pin => PIN,
                UpstreamError::Weak => WEAK,
                _ => ErrorType::TLSHandshakeFailure,
            };
            Error::explain(etype, "the connection will not do").into_up()
        })
}

/// Why the certificate of the target was refused.
pub(super) async fn what_is_wrong(ctx: &RequestCtx) -> UpstreamError {
    let upstream = ctx.upstream();
    let tls = upstream.and_then(|upstream| Some((upstream, upstream.tls.as_ref()?)));
    let (Some((upstream, tls)), Some(((_, target), _))) = (tls, ctx.attempt) else {
        return UpstreamError::Tls;
    };
    match upstream.targets.get(target).and_then(Target::address) {
        Some(address) => tls.diagnose(address, upstream.timeouts.connect).await,
        None => UpstreamError::Tls,
    }
}
