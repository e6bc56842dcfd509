//! Why TLS handshakes fail, in words for who has to mend it (S23).
//!
//! The same words in the records of the gateway, which sees a client fail, and in `durward tls probe`, which is one. What
//! the TLS library says is judged by its numbers: a reason of its own stands for the alert that it sends, one above 1000
//! for an alert that it was sent (OpenSSL's `sslerr.h`, `ssl/statem/*.c`).

/// Who ended a handshake with an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// We did.
    Gateway,
    /// The client did.
    Client,
}

impl Sender {
    /// Stable word for records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Sender::Gateway => "gateway",
            Sender::Client => "client",
        }
    }
}

/// Number of an alert (RFC 8446 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alert(pub u8);

impl Alert {
    /// Its name in IANA's registry "TLS Alerts"; `unknown` for what has none.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self.0 {
            0 => "close_notify",
            10 => "unexpected_message",
            20 => "bad_record_mac",
            21 => "decryption_failed",
            22 => "record_overflow",
            30 => "decompression_failure",
            40 => "handshake_failure",
            41 => "no_certificate",
            42 => "bad_certificate",
            43 => "unsupported_certificate",
            44 => "certificate_revoked",
            45 => "certificate_expired",
            46 => "certificate_unknown",
            47 => "illegal_parameter",
            48 => "unknown_ca",
            49 => "access_denied",
            50 => "decode_error",
            51 => "decrypt_error",
            60 => "export_restriction",
            70 => "protocol_version",
            71 => "insufficient_security",
            80 => "internal_error",
            86 => "inappropriate_fallback",
            90 => "user_canceled",
            100 => "no_renegotiation",
            109 => "missing_extension",
            110 => "unsupported_extension",
            111 => "certificate_unobtainable",
            112 => "unrecognized_name",
            113 => "bad_certificate_status_response",
            115 => "unknown_psk_identity",
            116 => "certificate_required",
            120 => "no_application_protocol",
            121 => "ech_required",
            _ => "unknown",
        }
    }

    /// The alert by which the library answers a certificate with this fault (`x509table` of OpenSSL's `statem_lib.c`).
    #[must_use]
    pub fn of_certificate(fault: i32) -> Alert {
        Alert(match fault {
            // APPLICATION_VERIFICATION
            50 => 40,
            // CERT_SIGNATURE_FAILURE, CRL_SIGNATURE_FAILURE
            7 | 8 => 51,
            // CERT_HAS_EXPIRED, CRL_HAS_EXPIRED
            10 | 12 => 45,
            // …_ISSUER_CERT, …_CRL, …_LOCALLY, self-signed, …_LEAF_SIGNATURE, too long, INVALID_CA, PATH_LENGTH, CRL_ISSUER
            2 | 3 | 18..=22 | 25 | 33 | 79 => 48,
            23 => 44,
            // INVALID_PURPOSE
            26 => 43,
            // UNSPECIFIED, OUT_OF_MEM, INVALID_CALL, STORE_LOOKUP
            1 | 17 | 69 | 70 => 80,
            // those that the table names, of dates, names, keys and digests
            4..=6 | 9 | 11 | 13..=16 | 27 | 28 | 62..=68 | 94 => 42,
            _ => 46,
        })
    }
}

/// Declares the failures with their word, what is wrong, and what to look at.
macro_rules! failures {
    ($($(#[$doc:meta])* $name:ident = $word:literal, $says:literal, $help:literal;)*) => {
        /// Why a handshake failed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Failure {
            $($(#[$doc])* $name,)*
        }

        impl Failure {
            /// All of them.
            pub const ALL: &[Failure] = &[$(Failure::$name),*];

            /// Stable word for records and metrics.
            #[must_use]
            pub fn reason(self) -> &'static str {
                match self {
                    $(Failure::$name => $word,)*
                }
            }

            /// What is wrong, in words.
            #[must_use]
            pub fn says(self) -> &'static str {
                match self {
                    $(Failure::$name => $says,)*
                }
            }

            /// What who runs the gateway can look at.
            #[must_use]
            pub fn help(self) -> &'static str {
                match self {
                    $(Failure::$name => $help,)*
                }
            }
        }
    };
}

failures! {
    /// It took too long.
    Timeout = "timeout", "the handshake was not finished in time",
        "the gateway is overloaded, the client waits for something, or something on the way holds packets back";
    /// The client left.
    Closed = "closed", "the client closed the connection without a word",
        "a health check, a scanner, or something on the way; browsers do so, too, where they do not like a certificate";
    /// HTTP without TLS.
    PlainHttp = "plain_http", "the client speaks plain HTTP on this port, not TLS",
        "it was given `http://` for `https://`";
    /// Something else without TLS.
    NotTls = "not_tls", "the client does not speak TLS on this port",
        "a scanner, or a load balancer that sends a PROXY protocol header: see `proxy_protocol` of the listener";
    /// Versions.
    NoCommonVersion = "no_common_version", "no common version of TLS",
        "upgrade the client, or see `tls.profile` and `tls.min_version`";
    /// Suites; in TLS 1.2 that depends on the kind of certificate as well.
    NoCommonSuite = "no_common_suite", "no common cipher suite",
        "compare the client's offer with `tls.ciphers` and `tls.ciphersuites`; clients without EC need an RSA \
         certificate beside";
    /// Groups.
    NoCommonGroup = "no_common_group", "no common group of the key exchange",
        "the gateway takes X25519MLKEM768, X25519, P-256 and P-384: upgrade the client";
    /// Signature algorithms.
    NoCommonSignature = "no_common_signature", "no certificate of a kind that the client takes",
        "compare the client's signature algorithms with the keys of the certificates: a certificate with a key of the \
         other kind (RSA, EC) can be given beside";
    /// Names.
    NoCertificate = "unrecognized_name", "no certificate for the name that the client asks for, and no default",
        "add a certificate with this name; or see `tls.default_certificate`, for clients that ask for none";
    /// Application protocols.
    NoCommonProtocol = "no_common_protocol", "no common application protocol",
        "the gateway speaks `h2` (unless `http2: false`) and `http/1.1`; a CA that asks for a proof (`acme-tls/1`) gets \
         one only while an order is open";
    /// Signs of a downgrade (RFC 7507).
    Fallback = "fallback", "the client came back with an older version than both sides speak",
        "its first try failed on the way: look for the record before this one, and for what stands between";
    /// A client certificate.
    ClientCertificate = "client_certificate", "the client's certificate is missing, or is not taken",
        "`error.type` says why; see `tls.client_certificates` and `truststores`";
    /// Ours is not taken.
    CertificateRefused = "certificate_refused", "the client does not take the gateway's certificate",
        "`durward tls probe` shows what clients see: a private CA has to be known to the client, the chain complete, \
         the name covered";
    /// Any other alert.
    ClientAlert = "client_alert", "the client ended the handshake with an alert",
        "the alert says why; the client's own log may say more";
    /// What is no TLS as the standard has it.
    Malformed = "malformed", "what the client sent breaks the rules of TLS",
        "a scanner, a broken client, or something on the way that changes bytes";
    /// Our fault.
    Internal = "internal", "the gateway cannot do its part",
        "its own messages (standard error) say why";
    /// What nobody has seen yet.
    Other = "other", "the handshake failed",
        "the TLS library's words say how";
}

/// A failed handshake, as far as the TLS library tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judged {
    /// Why.
    pub failure: Failure,
    /// The alert that ended it, and whose it was.
    pub alert: Option<(Alert, Sender)>,
}

impl Judged {
    /// From the library's words, on the side of the server. `first`: the bytes that the client sent first.
    #[must_use]
    pub fn of(words: &str, first: &[u8]) -> Judged {
        match reason(words) {
            _ if first.first().is_some_and(|kind| *kind != 22 && *kind & 0x80 == 0) => Judged {
                failure: if is_http(first) {
                    Failure::PlainHttp
                } else {
                    Failure::NotTls
                },
                // who does not speak TLS would not understand one
                alert: None,
            },
            // the socket's own words
            None => Judged {
                failure: Failure::Closed,
                alert: None,
            },
            Some(number) => Judged::of_reason(number),
        }
    }

    fn of_reason(number: u32) -> Judged {
        let (failure, alert) = match number {
            1000.. => {
                let alert = Alert(u8::try_from(number - 1000).unwrap_or(u8::MAX));
                let failure = match alert.0 {
                    42..=46 | 48 | 113 => Failure::CertificateRefused,
                    // a client that leaves by the rules
                    0 => Failure::Closed,
                    70 => Failure::NoCommonVersion,
                    _ => Failure::ClientAlert,
                };
                return Judged {
                    failure,
                    alert: Some((alert, Sender::Client)),
                };
            }
            // UNEXPECTED_EOF_WHILE_READING
            294 => {
                return Judged {
                    failure: Failure::Closed,
                    alert: None,
                };
            }
            // UNSUPPORTED_PROTOCOL, WRONG_SSL_VERSION, WRONG_VERSION_NUMBER, UNKNOWN_PROTOCOL, VERSION_TOO_LOW, …_HIGH
            258 | 266 | 267 | 252 | 396 | 166 => (Failure::NoCommonVersion, 70),
            // NO_SHARED_CIPHER
            193 => (Failure::NoCommonSuite, 40),
            // NO_SHARED_GROUPS, NO_SUITABLE_GROUPS, NO_SUITABLE_KEY_SHARE
            410 | 295 | 101 => (Failure::NoCommonGroup, 40),
            // NO_SUITABLE_SIGNATURE_ALGORITHM, NO_SHARED_SIGNATURE_ALGORITHMS
            118 | 376 => (Failure::NoCommonSignature, 40),
            // CALLBACK_FAILED: the one that looks for a certificate by name
            234 => (Failure::NoCertificate, 112),
            // NO_APPLICATION_PROTOCOL
            235 => (Failure::NoCommonProtocol, 120),
            // INAPPROPRIATE_FALLBACK
            373 => (Failure::Fallback, 86),
            // PEER_DID_NOT_RETURN_A_CERTIFICATE, CERTIFICATE_VERIFY_FAILED
            199 => (Failure::ClientCertificate, 116),
            134 => (Failure::ClientCertificate, 46),
            // CERT_CB_ERROR
            377 => (Failure::Internal, 80),
            // MISSING_SIGALGS_EXTENSION, MISSING_SUPPORTED_GROUPS_EXTENSION
            112 | 209 => (Failure::Malformed, 109),
            // UNEXPECTED_MESSAGE, UNEXPECTED_RECORD, BAD_RECORD_TYPE, CCS_RECEIVED_EARLY, APP_DATA_IN_HANDSHAKE, …
            244 | 245 | 443 | 133 | 100 | 182 | 154 => (Failure::Malformed, 10),
            // PACKET_LENGTH_TOO_LONG, ENCRYPTED_LENGTH_TOO_LONG, DATA_LENGTH_TOO_LONG
            198 | 150 | 146 => (Failure::Malformed, 22),
            // DECRYPTION_FAILED_OR_BAD_RECORD_MAC
            281 => (Failure::Malformed, 20),
            // BAD_SIGNATURE, DIGEST_CHECK_FAILED
            123 | 149 => (Failure::Malformed, 51),
            // BAD_KEY_SHARE, BAD_ECPOINT, WRONG_SIGNATURE_TYPE, WRONG_CURVE, EXCESSIVE_MESSAGE_SIZE, BAD_CIPHER
            108 | 306 | 370 | 378 | 152 | 186 => (Failure::Malformed, 47),
            // LENGTH_MISMATCH, LENGTH_TOO_SHORT, BAD_EXTENSION, BAD_LENGTH, BAD_PACKET, NO_CIPHERS_SPECIFIED, …
            159 | 160 | 110 | 271 | 240 | 183 | 187 | 151 => (Failure::Malformed, 50),
            _ => {
                return Judged {
                    failure: Failure::Other,
                    alert: None,
                };
            }
        };
        Judged {
            failure,
            alert: Some((Alert(alert), Sender::Gateway)),
        }
    }
}

/// The reason of the first error that OpenSSL tells of as such: `error:0A0000C1:SSL routines:…`.
fn reason(words: &str) -> Option<u32> {
    /// OpenSSL's number for errors of TLS.
    const TLS: u32 = 20;
    words.match_indices("error:").find_map(|(at, mark)| {
        let digits = words.get(at + mark.len()..)?.get(..8)?;
        let code = u32::from_str_radix(digits, 16).ok()?;
        (code >> 23 & 0xff == TLS).then_some(code & 0x007f_ffff)
    })
}

/// Whether a method of HTTP begins here.
fn is_http(first: &[u8]) -> bool {
    let word = first.split(|byte| *byte == b' ').next().unwrap_or_default();
    word.len() < first.len() && (3..=16).contains(&word.len()) && word.iter().all(u8::is_ascii_uppercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    // S23
    #[test]
    fn the_words_of_the_library_are_told_apart_by_their_numbers() {
        let hello = b"\x16\x03\x01\x02\0";
        for (words, first, failure, alert) in [
            (
                "error:0A0000C1:SSL routines:tls_post_process_client_hello:no shared cipher:ssl/statem.c:1:",
                &hello[..],
                Failure::NoCommonSuite,
                Some(("handshake_failure", Sender::Gateway)),
            ),
            (
                "error:0A000418:SSL routines:ssl3_read_bytes:tlsv1 alert unknown ca:a.c:1:SSL alert number 48",
                hello,
                Failure::CertificateRefused,
                Some(("unknown_ca", Sender::Client)),
            ),
            (
                "error:1C800064:Provider routines:x:y:a.c:1:, error:0A000102:SSL routines:x:unsupported protocol:a.c:1:",
                hello,
                Failure::NoCommonVersion,
                Some(("protocol_version", Sender::Gateway)),
            ),
            ("unexpected EOF", hello, Failure::Closed, None),
            (
                "error:0A00009C:SSL routines:x:http request:a.c:1:",
                b"GET / HTTP/1.1",
                Failure::PlainHttp,
                None,
            ),
            (
                "error:0A00010B:SSL routines:x:wrong version number:a.c:1:",
                b"SSH-2.0-x",
                Failure::NotTls,
                None,
            ),
            (
                "error:0A0003E7:SSL routines:x:y:a.c:1:",
                hello,
                Failure::Other,
                None,
            ),
        ] {
            let judged = Judged::of(words, first);
            let told = judged.alert.map(|(alert, sender)| (alert.name(), sender));
            assert_eq!((judged.failure, told), (failure, alert), "{words}");
        }
    }

    #[test]
    fn each_failure_is_described_as_it_is_told() {
        let page = include_str!("../../docs/certificates.md");
        for failure in Failure::ALL {
            let (word, says, help) = (failure.reason(), failure.says(), failure.help());
            assert!(
                page.contains(&format!("| `{word}` | {says} | {help} |")),
                "{word}"
            );
        }
    }

    #[test]
    fn each_failure_has_a_word_of_its_own() {
        let mut words: Vec<_> = Failure::ALL.iter().map(|failure| failure.reason()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Failure::ALL.len());
    }
}
