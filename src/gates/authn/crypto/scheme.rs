//! What each JOSE algorithm means, and which keys it takes (RFC 7518 section 3, RFC 8037).

use jsonwebtoken::Algorithm;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{HasPublic, Id, PKeyRef};

/// Every algorithm that can be verified here, in order of the registry. All are asymmetric.
pub const ALGORITHMS: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// The algorithm of this exact, case-sensitive name, if it is one of [`ALGORITHMS`].
pub fn asymmetric(name: &str) -> Option<Algorithm> {
    name.parse()
        .ok()
        .filter(|algorithm| ALGORITHMS.contains(algorithm))
}

/// Some of [`ALGORITHMS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AlgorithmSet(u16);

impl AlgorithmSet {
    /// None of them.
    pub const NONE: Self = Self(0);

    /// Whether it is one of them.
    #[must_use]
    pub fn contains(self, algorithm: Algorithm) -> bool {
        self.iter().any(|one| one == algorithm)
    }

    /// In order of the registry.
    pub fn iter(self) -> impl Iterator<Item = Algorithm> {
        let each = ALGORITHMS.iter().enumerate();
        each.filter(move |(bit, _)| self.0 & (1 << bit) != 0)
            .map(|(_, algorithm)| *algorithm)
    }

    /// Their names, apart by spaces.
    #[must_use]
    pub fn names(self) -> String {
        let names: Vec<String> = self.iter().map(|algorithm| format!("{algorithm:?}")).collect();
        names.join(" ")
    }
}

impl FromIterator<Algorithm> for AlgorithmSet {
    fn from_iter<I: IntoIterator<Item = Algorithm>>(algorithms: I) -> Self {
        let bit = |algorithm| ALGORITHMS.iter().position(|known| *known == algorithm);
        let bits = algorithms.into_iter().filter_map(bit);
        Self(bits.fold(0, |set, bit| set | 1 << bit))
    }
}

/// How an algorithm signs.
#[derive(Clone, Copy)]
pub(super) enum Scheme {
    /// RSASSA-PKCS1-v1_5 (RFC 8017 section 8.2).
    Pkcs1(MessageDigest),
    /// RSASSA-PSS (RFC 8017 section 8.1) with MGF1 over the same hash and a salt as long as the
    /// hash (RFC 7518 section 3.5).
    Pss(MessageDigest),
    /// ECDSA; `octets` is the length of r and of s (RFC 7518 section 3.4).
    Ecdsa { digest: MessageDigest, octets: usize },
    /// Ed25519 (RFC 8032 section 5.1).
    Ed25519,
}

impl Scheme {
    /// `None` for algorithms we do not do: HMAC, and whatever the crate may add.
    pub(super) fn of(algorithm: Algorithm) -> Option<Self> {
        Some(match algorithm {
            Algorithm::RS256 => Self::Pkcs1(MessageDigest::sha256()),
            Algorithm::RS384 => Self::Pkcs1(MessageDigest::sha384()),
            Algorithm::RS512 => Self::Pkcs1(MessageDigest::sha512()),
            Algorithm::PS256 => Self::Pss(MessageDigest::sha256()),
            Algorithm::PS384 => Self::Pss(MessageDigest::sha384()),
            Algorithm::PS512 => Self::Pss(MessageDigest::sha512()),
            Algorithm::ES256 => Self::Ecdsa {
                digest: MessageDigest::sha256(),
                octets: 32,
            },
            Algorithm::ES384 => Self::Ecdsa {
                digest: MessageDigest::sha384(),
                octets: 48,
            },
            Algorithm::EdDSA => Self::Ed25519,
            _ => return None,
        })
    }
}

/// The kinds of key an algorithm can ask for. ES256 binds the curve as well as the hash, so a
/// P-384 key is another kind, not a bigger one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl Shape {
    /// `None` for keys that no algorithm of ours takes.
    pub(super) fn of<T: HasPublic>(key: &PKeyRef<T>) -> Option<Self> {
        match key.id() {
            Id::RSA => Some(Self::Rsa),
            Id::ED25519 => Some(Self::Ed25519),
            Id::EC => match key.ec_key().ok()?.group().curve_name() {
                Some(Nid::X9_62_PRIME256V1) => Some(Self::P256),
                Some(Nid::SECP384R1) => Some(Self::P384),
                _ => None,
            },
            _ => None,
        }
    }

    pub(super) const fn algorithms(self) -> &'static [Algorithm] {
        match self {
            Self::Rsa => &[
                Algorithm::RS256,
                Algorithm::RS384,
                Algorithm::RS512,
                Algorithm::PS256,
                Algorithm::PS384,
                Algorithm::PS512,
            ],
            Self::P256 => &[Algorithm::ES256],
            Self::P384 => &[Algorithm::ES384],
            Self::Ed25519 => &[Algorithm::EdDSA],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_it_was_made_of() {
        let set: AlgorithmSet = [Algorithm::EdDSA, Algorithm::ES256, Algorithm::HS256]
            .into_iter()
            .collect();
        assert_eq!(set.names(), "ES256 EdDSA");
        assert!(set.contains(Algorithm::EdDSA) && !set.contains(Algorithm::HS256));
        assert!(!set.contains(Algorithm::RS256));
        let all: AlgorithmSet = ALGORITHMS.iter().copied().collect();
        assert!(all.iter().eq(ALGORITHMS.iter().copied()));
        assert_eq!(AlgorithmSet::NONE.iter().count(), 0);
    }

    #[test]
    fn names_are_case_sensitive_and_symmetric_ones_are_unknown() {
        assert_eq!(asymmetric("RS256"), Some(Algorithm::RS256));
        for name in ["rs256", "HS256", "none", "", "RS256 ", "ES512", "ES256K"] {
            assert_eq!(asymmetric(name), None, "{name}");
        }
        assert!(
            ALGORITHMS
                .iter()
                .all(|algorithm| Scheme::of(*algorithm).is_some())
        );
        assert!(Scheme::of(Algorithm::HS256).is_none());
    }
}
