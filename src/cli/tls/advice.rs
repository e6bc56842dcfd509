//! What to make of a handshake that failed, or of a certificate that clients refuse (S23).

use std::io;

use openssl::x509::X509;

use crate::pki::facts;
use crate::pki::flaws::Distrust;
use crate::pki::handshake::Failure;
use crate::request::covers;

/// Something that keeps clients away, and what to do about it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Advice {
    /// What is wrong.
    pub fault: String,
    /// What to look at.
    pub help: &'static str,
}

fn advice(fault: impl Into<String>, help: &'static str) -> Advice {
    Advice {
        fault: fault.into(),
        help,
    }
}

/// Why there is not even a connection.
pub(super) fn of_connection(why: &io::Error) -> Advice {
    match why.kind() {
        io::ErrorKind::ConnectionRefused => advice(
            "the connection is refused",
            "nothing listens there: is the server running, and on this port?",
        ),
        io::ErrorKind::TimedOut => advice(
            "no connection within the time",
            "a firewall drops packets on the way, or the address is wrong",
        ),
        _ => advice(format!("no connection: {why}"), "is the name spelled right?"),
    }
}

/// Why a handshake failed: from the TLS library's words, and what the server sent until then.
pub(super) fn of_handshake(words: &str, received: &[u8], name: &str) -> Advice {
    let says = |parts: &[&str]| parts.iter().any(|part| words.contains(part));
    if received.starts_with(b"HTTP/") {
        return advice(
            "the server speaks plain HTTP on this port, not TLS",
            "is it the port that redirects? Ask the TLS port",
        );
    }
    if says(&["unrecognized name"]) {
        return advice(
            format!(
                "{}: `{name}` (alert unrecognized_name)",
                Failure::NoCertificate.says()
            ),
            "ask for one of its names with `--sni`, or add a certificate for this one",
        );
    }
    if says(&["alert protocol version", "unsupported protocol"]) {
        return advice(
            format!("{} (alert protocol_version)", Failure::NoCommonVersion.says()),
            "the server takes newer versions only: upgrade the client, or see `tls.profile` and `tls.min_version`",
        );
    }
    if says(&[
        "certificate required",
        "alert bad certificate",
        "alert unknown ca",
        "alert certificate unknown",
    ]) {
        return advice(
            "the server asks for a client certificate, and does not take this client's",
            "connect with a certificate of a CA that the server trusts",
        );
    }
    if says(&["alert no application protocol"]) {
        return advice(
            format!(
                "{} (alert no_application_protocol)",
                Failure::NoCommonProtocol.says()
            ),
            "the server speaks neither `h2` nor `http/1.1`, or waits for a proof of a CA (`acme-tls/1`)",
        );
    }
    if says(&["handshake failure", "insufficient security", "no shared cipher"]) {
        return advice(
            // one alert for the three
            format!(
                "{}, {}, or {} (alert handshake_failure)",
                Failure::NoCommonSuite.says(),
                Failure::NoCommonGroup.says(),
                Failure::NoCommonSignature.says()
            ),
            "compare what the client offers with `tls.ciphers` and `tls.ciphersuites`; clients without EC need an RSA \
             certificate beside. Or there is no certificate yet",
        );
    }
    if says(&[
        "wrong version number",
        "packet length too long",
        "record layer failure",
    ]) {
        return advice(
            "the server does not speak TLS on this port",
            "is it another service's port, or one that waits for STARTTLS or a PROXY protocol header?",
        );
    }
    if received.is_empty() && says(&["unexpected EOF", "reset by peer", "eof", "EOF"]) {
        return advice(
            "the server closed the connection without a word",
            "something on the way may do so: a load balancer, a list of denied networks, a limit of connections, or a \
             PROXY protocol header that is missing",
        );
    }
    if says(&[
        "timed out",
        "temporarily unavailable",
        "would block",
        "WouldBlock",
    ]) {
        return advice(
            Failure::Timeout.says(),
            "the server is overloaded, or something on the way holds packets back",
        );
    }
    advice(
        format!("{}: {words}", Failure::Other.says()),
        "see what the server logged",
    )
}

/// What clients who ask for `name` have against a chain that is for other names.
pub(super) fn of_names(leaf: &X509, name: &str) -> Option<Advice> {
    let names = facts::names(leaf);
    if names.iter().any(|one| covers(one, name)) {
        return None;
    }
    Some(advice(
        format!(
            "name mismatch: the certificate is for {}, not for `{name}` (SSL_ERROR_BAD_CERT_DOMAIN)",
            if names.is_empty() {
                "no name at all".to_owned()
            } else {
                names.join(", ")
            }
        ),
        "ask by one of its names, or get a certificate with this one in subjectAltName",
    ))
}

/// Why clients who trust the CAs that were named do not believe a chain. `None`: what is wrong is said elsewhere.
pub(super) fn of_distrust(why: Distrust, words: &str, chain: &[X509]) -> Option<Advice> {
    let last = chain
        .last()
        .map(|last| facts::name(last.issuer_name()))
        .unwrap_or_default();
    Some(match why {
        // one of the flaws of the chain itself
        Distrust::EXPIRED | Distrust::NOT_YET_VALID => return None,
        Distrust::SELF_SIGNED => advice(
            "the certificate is self-signed: nobody vouches for it",
            "give it to clients as a CA of theirs (`--ca`), or get one from a CA: `durward tls csr`",
        ),
        Distrust::UNTRUSTED_ROOT => advice(
            format!("the chain leads to `{last}`, which is not trusted here"),
            "a private CA: name its certificate with `--ca`, and give it to clients",
        ),
        Distrust::NO_ISSUER | Distrust::NO_ISSUER_OF_LEAF => advice(
            format!("`{last}` is neither in the chain nor trusted here"),
            "the chain is incomplete: append the intermediate certificates; or it is a private CA: name it with `--ca`",
        ),
        _ => advice(
            format!("clients do not believe the chain: {words}"),
            "see the certificates above",
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // S23
    #[test]
    fn failures_are_told_apart_by_what_the_server_said() {
        for (words, received, part) in [
            ("tlsv1 alert protocol version", &b"\x15"[..], "no common version"),
            (
                "ssl/tls alert handshake failure",
                b"\x15",
                "no common cipher suite",
            ),
            (
                "tlsv1 unrecognized name",
                b"\x15",
                "no certificate for the name that the client asks for, and no default: `a.example`",
            ),
            ("tlsv13 alert certificate required", b"\x15", "client certificate"),
            ("wrong version number", b"HTTP/1.1 400", "plain HTTP"),
            ("wrong version number", b"SSH-2.0", "does not speak TLS"),
            ("unexpected EOF", b"", "without a word"),
            ("timed out", b"", "not finished in time"),
            ("something new", b"", "something new"),
        ] {
            let told = of_handshake(words, received, "a.example");
            assert!(told.fault.contains(part), "{words}: {told:?}");
        }
    }
}
