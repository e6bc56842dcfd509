//! Nonces: what a proof has to hold so that it was made lately, and not long before by somebody who had the key for a moment
//! (RFC 9449 sections 9 and 11.2).
//!
//! They are not remembered anywhere: a nonce is the time at which it was given out, and a MAC of that. Who has the secret can
//! tell its own, so gateways that share one take each other's.

use std::fmt;
use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use openssl::hash::MessageDigest;
use openssl::memcmp;
use openssl::pkey::{PKey, Private};
use openssl::rand::rand_bytes;
use openssl::sign::Signer;

use crate::clock::UnixTime;
use crate::gates::authn::jwt::DEFAULT_CLOCK_SKEW;

/// Bytes of the time and of the MAC.
const TIME: usize = 8;
const MAC: usize = 16;
/// Keeps apart what else may be made with the same secret.
const PURPOSE: &[u8] = b"durward dpop nonce";

/// Makes nonces and tells its own.
pub struct Nonces {
    key: PKey<Private>,
    lifetime: Duration,
}

/// What a nonce is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// One of ours, in the first half of its life.
    Fresh,
    /// One of ours, in the second half: time for the next.
    Aging,
    /// None of ours, or too old.
    Unknown,
}

impl Nonces {
    /// Good for so long. Without a key, with one of the process.
    #[must_use]
    pub fn new(key: Option<PKey<Private>>, lifetime: Duration) -> Option<Nonces> {
        let key = key.or_else(|| OF_PROCESS.clone())?;
        Some(Nonces { key, lifetime })
    }

    /// One of this moment, as a value of `DPoP-Nonce`.
    #[must_use]
    pub fn issue(&self, now: UnixTime) -> Option<HeaderValue> {
        let time = now.seconds().to_be_bytes();
        let text = URL_SAFE_NO_PAD.encode([&time[..], &self.mac(&time)?].concat());
        HeaderValue::from_str(&text).ok()
    }

    /// What this text is.
    #[must_use]
    pub fn judge(&self, nonce: &str, now: UnixTime) -> Standing {
        self.issued(nonce)
            .filter(|issued| *issued <= now.saturating_add(DEFAULT_CLOCK_SKEW))
            .map(|issued| now.saturating_since(issued))
            .map_or(Standing::Unknown, |age| {
                if age < self.lifetime / 2 {
                    Standing::Fresh
                } else if age < self.lifetime {
                    Standing::Aging
                } else {
                    Standing::Unknown
                }
            })
    }

    /// When it was given out; `None`: it is none of ours.
    fn issued(&self, nonce: &str) -> Option<UnixTime> {
        // one more, because the decoder sizes its output in groups of three
        let mut bytes = [0; TIME + MAC + 1];
        let length = URL_SAFE_NO_PAD.decode_slice(nonce, &mut bytes).ok()?;
        let (time, mac) = bytes.get(..length)?.split_first_chunk::<TIME>()?;
        let ours = self.mac(time)?;
        let is_ours = ours.len() == mac.len() && memcmp::eq(&ours, mac);
        is_ours.then(|| UnixTime::from_seconds(u64::from_be_bytes(*time)))
    }

    fn mac(&self, time: &[u8; TIME]) -> Option<[u8; MAC]> {
        let mut signer = Signer::new(MessageDigest::sha256(), &self.key).ok()?;
        let mac = signer.sign_oneshot_to_vec(&[PURPOSE, time].concat()).ok()?;
        mac.first_chunk().copied()
    }

    /// How long one is good.
    #[must_use]
    pub fn lifetime(&self) -> Duration {
        self.lifetime
    }
}

impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nonces")
            .field("lifetime", &self.lifetime)
            .finish_non_exhaustive()
    }
}

/// The same through all reloads.
static OF_PROCESS: LazyLock<Option<PKey<Private>>> = LazyLock::new(|| {
    let mut bytes = [0; 32];
    rand_bytes(&mut bytes).ok()?;
    PKey::hmac(&bytes).ok()
});

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn nonces(secret: u8) -> Nonces {
        Nonces::new(Some(PKey::hmac(&[secret; 32]).unwrap()), MINUTE).unwrap()
    }

    fn at(seconds: u64) -> UnixTime {
        UnixTime::from_seconds(1_800_000_000 + seconds)
    }

    #[test]
    fn a_nonce_is_good_for_its_lifetime_and_whoever_has_the_secret() {
        let nonce = nonces(1).issue(at(100)).unwrap();
        let nonce = nonce.to_str().unwrap();
        for (now, standing) in [
            (100, Standing::Fresh),
            (129, Standing::Fresh),
            (130, Standing::Aging),
            (159, Standing::Aging),
            (160, Standing::Unknown),
            // of another gateway, whose clock is ahead
            (70, Standing::Fresh),
            (69, Standing::Unknown),
        ] {
            assert_eq!(nonces(1).judge(nonce, at(now)), standing, "{now}");
        }
        assert_eq!(nonces(2).judge(nonce, at(100)), Standing::Unknown);
    }

    #[test]
    fn what_is_altered_or_made_up_is_unknown() {
        let ours = nonces(1);
        let nonce = ours.issue(at(100)).unwrap();
        let nonce = nonce.to_str().unwrap();
        for index in 0..nonce.len() {
            let mut bytes = nonce.as_bytes().to_vec();
            bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(bytes).unwrap();
            assert_eq!(ours.judge(&altered, at(100)), Standing::Unknown, "{altered}");
        }
        for text in [
            "",
            "x",
            "AAAA",
            &nonce[..28],
            &format!("{nonce}AAAA"),
            &"A".repeat(5000),
        ] {
            assert_eq!(ours.judge(text, at(100)), Standing::Unknown, "{text}");
        }
    }

    #[test]
    fn without_a_secret_there_is_one_of_the_process() {
        let [one, other] = [1, 2].map(|_| Nonces::new(None, MINUTE).unwrap());
        let nonce = one.issue(at(0)).unwrap();
        assert_eq!(other.judge(nonce.to_str().unwrap(), at(1)), Standing::Fresh);
    }
}
