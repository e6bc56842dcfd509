//! The TLS handshake of one connection, and what is told of one that fails (S23).

use std::sync::Arc;
use std::time::Duration;

use openssl::ssl::SslAcceptor;
use pingora_core::protocols::l4::stream::Stream as L4Stream;
use pingora_core::protocols::tls::server::handshake_with_callback;
use pingora_core::protocols::{Shutdown, Stream};
use tokio::io::AsyncReadExt;

use super::connection::{Connection, Ended, Stage};
use super::refusal;
use super::registry::Registry;
use super::tls::{Handshake, is_proof};
use crate::clock::UnixTime;
use crate::gates::flood::network;
use crate::pki::client_hello::{self, Offer};
use crate::pki::handshake::{Alert, Failure, Judged, Sender};
use crate::telemetry::handshakes::{Failed, Kind};
use crate::telemetry::record::handshake_fields;

/// Bytes of a client's first record that are kept until its handshake is over. The longest of the usual ones, with the
/// share of a post-quantum key and a ticket, has 2 KiB.
const FIRST: usize = 4096;

/// For a CA to take our goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// Does the handshake. `None`: it failed, or there was none; that has been told.
pub(super) async fn shake_hands(
    registry: &Registry,
    acceptor: &SslAcceptor,
    mut stream: L4Stream,
    connection: &Arc<Connection>,
) -> Option<Stream> {
    connection.move_to(Stage::Handshake);
    let first = first_record(&mut stream).await;
    if first.is_empty() {
        // who only looks whether somebody listens has not failed at anything
        if connection.ended() == Some(Ended::HandshakeTimeout) {
            tell(registry, connection, &first, timeout());
        }
        return None;
    }
    stream.rewind(&first);
    let side = Handshake::new(registry, connection);
    match handshake_with_callback(acceptor, stream, &side).await {
        Ok(mut stream) if is_proof(stream.ssl()) => {
            // the handshake was all there is to it: no request is read on such a connection (RFC 8737 section 3)
            connection.enter(Stage::Closing, Some(GOODBYE));
            Shutdown::shutdown(&mut stream).await;
            None
        }
        Ok(stream) => Some(Box::new(stream)),
        Err(why) => {
            connection.end(Ended::HandshakeFailed);
            let mut judged = Judged::of(&why.to_string(), &first);
            if connection.ended() == Some(Ended::HandshakeTimeout) {
                judged = timeout();
            } else if side.is_unfit() {
                judged.failure = Failure::Internal;
            }
            tell(registry, connection, &first, judged);
            None
        }
    }
}

fn timeout() -> Judged {
    Judged {
        failure: Failure::Timeout,
        // the socket is cut, whatever its client waits for
        alert: None,
    }
}

/// Reads a record to its end, or as much of it as is kept; of what is none, what came first.
async fn first_record(stream: &mut L4Stream) -> Vec<u8> {
    let mut first = Vec::with_capacity(FIRST);
    while first.len() < FIRST {
        match stream.read_buf(&mut first).await {
            Ok(0) | Err(_) => break,
            Ok(_) => match client_hello::record_length(&first) {
                Some(length) if first.len() < length => {}
                _ => break,
            },
        }
    }
    first
}

/// Counts a handshake that failed, and records it unless a summary will tell of it.
fn tell(registry: &Registry, connection: &Connection, first: &[u8], mut judged: Judged) {
    let offer = Offer::read(first).unwrap_or_default();
    let asked = connection.asked.get();
    let certificate = match judged.failure {
        Failure::ClientCertificate => asked.and_then(|asked| asked.why()),
        // the client left when it was asked for one: from here, the two look the same
        Failure::Closed => asked.and_then(|asked| asked.why()),
        _ => None,
    };
    if judged.failure == Failure::ClientCertificate {
        // of a missing one TLS 1.2 has no alert of its own
        let missing = if offer.has_tls13() { Alert(116) } else { Alert(40) };
        let alert = asked.and_then(|asked| asked.alert()).unwrap_or(missing);
        judged.alert = Some((alert, Sender::Gateway));
    }
    let ended = connection.ended().unwrap_or(Ended::HandshakeFailed);
    let reason = certificate.map_or(ended.reason(), |why| why.reason());
    let listener = registry.label(connection.listener);
    let metrics = &registry.telemetry.metrics.connections;
    metrics.refused(listener, reason);
    metrics.handshake_failed(listener, judged.failure.reason(), alert_name(judged));
    let says = certificate.and(asked).and_then(|asked| asked.says());
    let failed = Failed {
        kind: Kind {
            listener: listener.into(),
            reason,
            failure: judged.failure,
            network: connection.client.get().map(|client| network(*client)),
            certificate: says.map(|says| says.sha256),
        },
        client: connection.client.get().copied(),
    };
    let failures = &registry.telemetry.handshakes;
    let now = UnixTime::of_system();
    if failures.counts(&failed, now) {
        return;
    }
    let fields = handshake_fields(listener, judged, &offer, says);
    let id = refusal::record_unmade(registry, connection, reason, &fields);
    failures.recorded(failed.kind, id);
}

/// As metrics name it.
fn alert_name(judged: Judged) -> &'static str {
    judged.alert.map_or("none", |(alert, _)| alert.name())
}
