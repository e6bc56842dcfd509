//! What a client offers: read off its ClientHello (RFC 8446 section 4.1.2, RFC 5246 section 7.4.1.2).
//!
//! For records of handshakes that failed, so that who reads them can compare the offer with the configuration. Nothing is
//! decided by it. It reads what was sent, however malformed: what is behind a flaw is left out.

use super::iana;

/// Values of one kind that are told of at most. The usual clients offer less than half of it.
const MOST: usize = 48;
/// Bytes of a name that are told of.
const LONGEST: usize = 255;
/// The extensions that are of interest.
const SERVER_NAME: u16 = 0;
const SUPPORTED_GROUPS: u16 = 10;
const SIGNATURE_ALGORITHMS: u16 = 13;
const ALPN: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;

/// A client's offer, in its order, by the names of IANA's registries.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// Name that is asked for (SNI), in lower case.
    pub name: Option<Box<str>>,
    /// Versions of TLS.
    pub versions: Vec<Box<str>>,
    /// Cipher suites.
    pub suites: Vec<Box<str>>,
    /// Groups of the key exchange.
    pub groups: Vec<Box<str>>,
    /// Signature algorithms.
    pub signature_algorithms: Vec<Box<str>>,
    /// Application protocols (ALPN).
    pub protocols: Vec<Box<str>>,
}

/// Length of the record that begins so, with its head; `None` where this is no record of a handshake.
#[must_use]
pub fn record_length(start: &[u8]) -> Option<usize> {
    match start {
        [22, 3, _, high, low, ..] => Some(5 + usize::from(u16::from_be_bytes([*high, *low]))),
        // too short to say
        [22, rest @ ..] if rest.len() < 4 && rest.first().is_none_or(|major| *major == 3) => Some(5),
        _ => None,
    }
}

impl Offer {
    /// Reads the first record that a client sent. `None`: it is no ClientHello.
    #[must_use]
    pub fn read(record: &[u8]) -> Option<Offer> {
        record_length(record)?;
        let mut hello = Bytes(record.get(5..)?);
        if hello.byte()? != 1 {
            return None;
        }
        hello.take(3)?;
        let mut offer = Offer::default();
        offer.fill(hello);
        Some(offer)
    }

    /// As far as it can be read.
    fn fill(&mut self, mut hello: Bytes<'_>) -> Option<()> {
        let legacy = hello.number()?;
        self.versions = vec![iana::version(legacy).into()];
        hello.take(32)?;
        let session = hello.byte()?;
        hello.take(session.into())?;
        self.suites = names(hello.block()?, iana::suite);
        let compressions = hello.byte()?;
        hello.take(compressions.into())?;
        let mut extensions = Bytes(hello.block()?);
        loop {
            let kind = extensions.number()?;
            self.extension(kind, Bytes(extensions.block()?));
        }
    }

    fn extension(&mut self, kind: u16, mut body: Bytes<'_>) -> Option<()> {
        match kind {
            SERVER_NAME => {
                let mut list = Bytes(body.block()?);
                if list.byte()? == 0 {
                    self.name = Some(text(list.block()?).to_ascii_lowercase().into());
                }
            }
            SUPPORTED_GROUPS => self.groups = names(body.block()?, iana::group),
            SIGNATURE_ALGORITHMS => {
                self.signature_algorithms = names(body.block()?, iana::signature_algorithm);
            }
            ALPN => {
                let mut list = Bytes(body.block()?);
                while self.protocols.len() < MOST {
                    let length = list.byte()?;
                    self.protocols.push(text(list.take(length.into())?).into());
                }
            }
            SUPPORTED_VERSIONS => {
                let length = body.byte()?;
                self.versions = names(body.take(length.into())?, iana::version);
            }
            _ => {}
        }
        Some(())
    }

    /// Whether TLS 1.3 is among the versions.
    #[must_use]
    pub fn has_tls13(&self) -> bool {
        self.versions.iter().any(|version| &**version == "TLSv1.3")
    }
}

/// Names of 16-bit numbers, without those that are there to be skipped (RFC 8701).
fn names(numbers: &[u8], name: fn(u16) -> String) -> Vec<Box<str>> {
    let (pairs, _) = numbers.as_chunks::<2>();
    pairs
        .iter()
        .filter(|[high, low]| !(high == low && high & 0x0f == 0x0a))
        .take(MOST)
        .map(|pair| name(u16::from_be_bytes(*pair)).into())
        .collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.get(..LONGEST).unwrap_or(bytes)).into_owned()
}

/// What is left to read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn number(&mut self) -> Option<u16> {
        <[u8; 2]>::try_from(self.take(2)?).ok().map(u16::from_be_bytes)
    }

    /// What follows its length of 16 bits.
    fn block(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.take(length.into())
    }
}

#[cfg(test)]
mod tests {
    use openssl::ssl::{HandshakeError, SslConnector, SslMethod};
    use proptest::prelude::*;

    use super::*;

    /// Takes what is written, and says that nothing came yet.
    #[derive(Debug, Default)]
    struct Wire(Vec<u8>);

    impl std::io::Read for Wire {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::WouldBlock.into())
        }
    }

    impl std::io::Write for Wire {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// The first bytes of a client of OpenSSL's.
    fn hello() -> Vec<u8> {
        let mut builder = SslConnector::builder(SslMethod::tls_client()).unwrap();
        builder
            .set_cipher_list("ECDHE-RSA-AES128-GCM-SHA256:AES256-SHA")
            .unwrap();
        builder.set_ciphersuites("TLS_AES_256_GCM_SHA384").unwrap();
        builder.set_groups_list("X25519:P-384").unwrap();
        builder
            .set_sigalgs_list("rsa_pss_rsae_sha256:ECDSA+SHA256")
            .unwrap();
        builder.set_alpn_protos(b"\x02h2\x08http/1.1").unwrap();
        let Err(HandshakeError::WouldBlock(half)) = builder.build().connect("API.example", Wire::default())
        else {
            panic!("nobody answered")
        };
        half.get_ref().0.clone()
    }

    fn boxed(names: &[&str]) -> Vec<Box<str>> {
        names.iter().map(|name| (*name).into()).collect()
    }

    // S23
    #[test]
    fn an_offer_is_read_by_the_names_of_the_registries() {
        let hello = hello();
        assert_eq!(record_length(&hello), Some(hello.len()));
        let offer = Offer::read(&hello).unwrap();
        let expected = Offer {
            name: Some("api.example".into()),
            versions: boxed(&["TLSv1.3", "TLSv1.2"]),
            suites: boxed(&[
                "TLS_AES_256_GCM_SHA384",
                "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
                "TLS_RSA_WITH_AES_256_CBC_SHA",
                "TLS_EMPTY_RENEGOTIATION_INFO_SCSV",
            ]),
            groups: boxed(&["x25519", "secp384r1"]),
            signature_algorithms: boxed(&["rsa_pss_rsae_sha256", "ecdsa_secp256r1_sha256"]),
            protocols: boxed(&["h2", "http/1.1"]),
        };
        let ended = offer.suites.last().map(|last| &**last) == Some("TLS_EMPTY_RENEGOTIATION_INFO_SCSV");
        assert!(offer.has_tls13());
        if ended {
            assert_eq!(offer, expected);
        } else {
            // newer versions of the library send an extension instead
            let suites = expected.suites[..3].to_vec();
            assert_eq!(offer, Offer { suites, ..expected });
        }
    }

    #[test]
    fn what_is_no_hello_is_none() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            b"",
            b"\x16\x03\x01\x00\x05\x02\0\0\x01\0",
        ] {
            assert_eq!(Offer::read(bytes), None, "{}", bytes.escape_ascii());
        }
        assert_eq!(record_length(b"\x16"), Some(5));
        assert_eq!(record_length(b"\x16\x03\x01\x02\0"), Some(517));
        assert_eq!(record_length(b"\x17\x03\x01\x02\0"), None);
    }

    #[test]
    fn values_that_are_there_to_be_skipped_are_left_out_and_long_lists_cut() {
        assert_eq!(
            names(b"\x0a\x0a\x13\x01\xfa\xfa\xc0\xff", iana::suite),
            boxed(&["TLS_AES_128_GCM_SHA256", "0xc0ff"])
        );
        assert_eq!(names(&[0x13; 1000], iana::suite).len(), MOST);
    }

    proptest! {
        // whatever is cut off or changed: it is read without harm
        #[test]
        fn any_bytes_can_be_read(at in 0..600_usize, to: u8, cut in 0..600_usize) {
            let mut hello = hello();
            if let Some(byte) = hello.get_mut(at) {
                *byte = to;
            }
            hello.truncate(cut);
            if let Some(offer) = Offer::read(&hello) {
                prop_assert!(offer.suites.len() <= MOST && offer.groups.len() <= MOST);
            }
        }
    }
}
