//! What a certificate says, in texts that can be compared, recorded and sent in a header.

use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::x509::{X509NameRef, X509Ref};

use crate::clock::UnixTime;
use crate::gates::authn::verdicts::{self, Digest};

/// A name as RFC 4514 writes it, the most specific part first: `CN=billing,O=Example`. Printable ASCII only: every other
/// byte is escaped, so that no name can be mistaken for another on its way.
#[must_use]
pub fn name(name: &X509NameRef) -> String {
    let parts = name.entries().map(|entry| {
        let kind = entry.object().nid();
        let kind = kind
            .short_name()
            .map_or_else(|_| entry.object().to_string(), str::to_owned);
        let value = entry.data().to_string().map_or_else(
            |_| format!("#{}", hex(entry.data().as_slice())),
            |text| escape(&text),
        );
        format!("{kind}={value}")
    });
    let parts: Vec<String> = parts.collect();
    parts.into_iter().rev().collect::<Vec<_>>().join(",")
}

fn escape(value: &str) -> String {
    let last = value.len().saturating_sub(1);
    let mut text = String::with_capacity(value.len());
    for (at, byte) in value.bytes().enumerate() {
        match byte {
            b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'\\' | b'=' => {
                text.push('\\');
                text.push(char::from(byte));
            }
            b'#' | b' ' if at == 0 => {
                text.push('\\');
                text.push(char::from(byte));
            }
            b' ' if at == last => text.push_str("\\ "),
            0x20..0x7f => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\{byte:02X}")),
        }
    }
    text
}

/// Lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A SHA-256 from hexadecimal digits, which may be apart by colons, as OpenSSL prints them.
#[must_use]
pub fn digest_of_hex(text: &str) -> Option<Digest> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
    let mut digest = Digest::default();
    if digits.len() != 2 * digest.len() {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(digits.chunks(2)) {
        let value = |b: &u8| char::from(*b).to_digit(16);
        let [high, low] = pair else { return None };
        *byte = u8::try_from(value(high)? << 4 | value(low)?).ok()?;
    }
    Some(digest)
}

/// SHA-256 of a certificate.
#[must_use]
pub fn fingerprint(certificate: &X509Ref) -> Option<Digest> {
    certificate.to_der().ok().map(|der| verdicts::digest(&der))
}

/// SHA-256 of a certificate's public key, as SubjectPublicKeyInfo.
#[must_use]
pub fn key_fingerprint(certificate: &X509Ref) -> Option<Digest> {
    let key = certificate.public_key().ok()?;
    key.public_key_to_der().ok().map(|der| verdicts::digest(&der))
}

/// A moment of a certificate or of a revocation list; of times before 1970, the epoch.
#[must_use]
pub fn time(time: &Asn1TimeRef) -> Option<UnixTime> {
    let epoch = Asn1Time::from_unix(0).ok()?;
    let since = epoch.diff(time).ok()?;
    let seconds = i64::from(since.days) * 86_400 + i64::from(since.secs);
    Some(UnixTime::from_seconds(u64::try_from(seconds).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use openssl::nid::Nid;
    use openssl::x509::X509NameBuilder;

    fn written(parts: &[(Nid, &str)]) -> String {
        let mut builder = X509NameBuilder::new().unwrap();
        for (kind, value) in parts {
            builder.append_entry_by_nid(*kind, value).unwrap();
        }
        name(&builder.build())
    }

    // S27
    #[test]
    fn no_name_can_be_written_like_another() {
        assert_eq!(
            written(&[
                (Nid::COUNTRYNAME, "SE"),
                (Nid::ORGANIZATIONNAME, "Example"),
                (Nid::COMMONNAME, "billing")
            ]),
            "CN=billing,O=Example,C=SE"
        );
        assert_eq!(
            written(&[(Nid::COMMONNAME, "billing,O=Example")]),
            "CN=billing\\,O\\=Example"
        );
        assert_eq!(written(&[(Nid::COMMONNAME, " #a\\ ")]), "CN=\\ #a\\\\\\ ");
        assert_eq!(written(&[(Nid::COMMONNAME, "é\n")]), "CN=\\C3\\A9\\0A");
    }

    #[test]
    fn digests_are_read_with_and_without_colons() {
        let plain = "0a".repeat(32);
        let colons = ["0A"; 32].join(":");
        assert_eq!(digest_of_hex(&plain), Some([10; 32]));
        assert_eq!(digest_of_hex(&colons), Some([10; 32]));
        for bad in ["", "0a", &"0g".repeat(32), &"0a".repeat(33), &"é".repeat(32)] {
            assert_eq!(digest_of_hex(bad), None, "{bad}");
        }
    }
}
