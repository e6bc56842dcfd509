//! Every reason authentication has to say no.
//!
//! Three audiences, three texts: operators get [`AuthnError::reason`] (precise, stable), clients
//! get [`AuthnError::public_code`] and [`AuthnError::description`] (coarse, so that a refusal does
//! not teach an attacker which check to work on next).

use std::fmt;

use crate::identity::Kind;

/// Declares the enum, its reasons and the list of all from one table, so that they cannot drift.
macro_rules! authn_errors {
    ($( $(#[$doc:meta])* $variant:ident = $reason:literal, )+) => {
        /// Why a credential was refused. Closed and one byte: every mapping from it is total.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum AuthnError {
            $( $(#[$doc])* $variant, )+
        }

        impl AuthnError {
            /// Every error, in the order of declaration: for documentation and tests.
            pub const ALL: &'static [Self] = &[ $( Self::$variant, )+ ];

            /// The operator's name for it: snake_case, unique, part of the public contract.
            pub const fn reason(&self) -> &'static str {
                match self { $( Self::$variant => $reason, )+ }
            }
        }
    };
}

authn_errors! {
    /// The route wants a credential and the request carries none.
    CredentialsMissing = "credentials_missing",
    /// There is a credential, but not in the form its scheme prescribes (RFC 6750 section 2.1).
    CredentialsMalformed = "credentials_malformed",
    /// More than one credential (RFC 6750 section 2): which one another hop reads is anyone's guess.
    CredentialsRepeated = "credentials_repeated",
    /// A token in the query, where it ends up in logs and histories (RFC 9700 section 4.3.2).
    CredentialsInQuery = "credentials_in_query",

    /// Longer than [`super::jws::MAX_TOKEN_BYTES`].
    TokenTooLarge = "token_too_large",
    /// Not a compact JWS of a JSON object: parts, base64url or JSON are wrong.
    TokenMalformed = "token_malformed",
    /// A JWE (five parts, or `enc`): not accepted here.
    TokenEncrypted = "token_encrypted",
    /// `alg: none` in any casing (RFC 8725 section 2.1).
    AlgorithmNone = "algorithm_none",
    /// `alg` unknown, or known and not in the issuer's list.
    AlgorithmNotAllowed = "algorithm_not_allowed",
    /// An HMAC `alg`: a published key would be the shared secret (RFC 8725 section 2.1).
    AlgorithmSymmetric = "algorithm_symmetric",
    /// A header member twice (RFC 7515 section 4: names must be unique).
    HeaderDuplicate = "header_duplicate",
    /// `crit`: an extension that must be understood, and we understand none (RFC 7515 section 4.1.11).
    HeaderCrit = "header_crit",
    /// `b64` (RFC 7797): changes what was signed.
    HeaderB64 = "header_b64",
    /// `jwk`, `jku`, `x5u` or `x5c`: the token brings its own key. Never used, never fetched.
    HeaderEmbeddedKey = "header_embedded_key",
    /// `zip`: compressed content.
    HeaderZip = "header_zip",
    /// `kid` is not a string of 1 to 256 bytes without control characters.
    KidMalformed = "kid_malformed",
    /// `typ` is not one the issuer's tokens may have (RFC 8725 section 3.11).
    TokenType = "token_type",
    /// The third part is empty.
    SignatureMissing = "signature_missing",

    /// `iss` names nobody we trust.
    IssuerUnknown = "issuer_unknown",
    /// `iss` is trusted, but not on this route.
    IssuerNotForRoute = "issuer_not_for_route",
    /// The issuer's key set has no such key. Refetching may help.
    KeyUnknown = "key_unknown",
    /// The key exists and may not be used with this algorithm. Refetching does not help.
    KeyUnsuited = "key_unsuited",
    /// No `kid` in the token, and several keys that could be meant.
    KeyAmbiguous = "key_ambiguous",
    /// The signature is not the key's over these bytes.
    SignatureInvalid = "signature_invalid",

    /// A claim (or a member inside one) twice.
    ClaimDuplicate = "claim_duplicate",
    /// A claim of another JSON type or range than its definition allows.
    ClaimShape = "claim_shape",
    /// A claim the issuer's tokens must have is not there.
    ClaimMissing = "claim_missing",
    /// Text that would be forwarded in a header and cannot be: empty, padded with whitespace, or
    /// with control characters.
    ClaimNotAHeaderValue = "claim_not_a_header_value",
    /// No `iss`.
    IssuerMissing = "issuer_missing",
    /// The signed `iss` is another than the issuer whose keys verified it.
    IssuerMismatch = "issuer_mismatch",
    /// No `sub` (or whatever claim is configured to name the subject).
    SubjectMissing = "subject_missing",
    /// No `aud`.
    AudienceMissing = "audience_missing",
    /// `aud` does not name us.
    AudienceMismatch = "audience_mismatch",
    /// No `exp`: a token that never ends.
    ExpiryMissing = "expiry_missing",
    /// `exp` has passed, clock skew included.
    TokenExpired = "token_expired",
    /// `nbf` or `iat` is in the future, clock skew included.
    TokenNotYetValid = "token_not_yet_valid",
    /// Valid for longer than the issuer's tokens may be.
    TokenLifetime = "token_lifetime",
    /// On the deny list.
    TokenRevoked = "token_revoked",
    /// Its issuer says that it is not active (RFC 7662 section 2.2): unknown, expired or revoked.
    TokenInactive = "token_inactive",

    /// More than one API key: which one another hop reads is anyone's guess.
    ApiKeyRepeated = "api_key_repeated",
    /// An API key in the query, where it ends up in logs and histories.
    ApiKeyInQuery = "api_key_in_query",
    /// Not an API key by its form or checksum.
    ApiKeyMalformed = "api_key_malformed",
    /// An API key of another environment.
    ApiKeyEnvironment = "api_key_environment",
    /// No such API key was made.
    ApiKeyUnknown = "api_key_unknown",
    /// The API key's end has come.
    ApiKeyExpired = "api_key_expired",
    /// The API key was taken back.
    ApiKeyRevoked = "api_key_revoked",

    /// The route wants a client certificate and the connection has none.
    CertificateMissing = "client_certificate_missing",
    /// No CA of the truststore is above the client certificate, or one in between was not sent.
    CertificateIssuerUnknown = "client_certificate_issuer_unknown",
    /// The client certificate, or the CA that was sent with it, is its own issuer and not of the truststore.
    CertificateSelfSigned = "client_certificate_self_signed",
    /// The client certificate, or a CA above it, has ended.
    CertificateExpired = "client_certificate_expired",
    /// The client certificate, or a CA above it, has not begun.
    CertificateNotYetValid = "client_certificate_not_yet_valid",
    /// The client certificate is not for clients: no `clientAuth` among its purposes (RFC 5280 section 4.2.1.12).
    CertificatePurpose = "client_certificate_purpose",
    /// The client certificate, or a CA above it, is signed with less than SHA-256.
    CertificateSignatureWeak = "client_certificate_signature_weak",
    /// The key of the client certificate, or of a CA above it, is too short.
    CertificateKeyWeak = "client_certificate_key_weak",
    /// A CA above the client certificate may not issue certificates with its names (RFC 5280 section 4.2.1.10).
    CertificateNameConstraints = "client_certificate_name_constraints",
    /// There are more CAs above the client certificate than there may be.
    CertificateChainTooLong = "client_certificate_chain_too_long",
    /// The client certificate's CA has revoked it.
    CertificateRevoked = "client_certificate_revoked",
    /// There are revocation lists, and none of the client certificate's CA.
    CertificateListMissing = "client_certificate_crl_missing",
    /// The revocation list of the client certificate's CA is out of date.
    CertificateListStale = "client_certificate_crl_stale",
    /// The client certificate, or a CA above it, is on the deny list.
    CertificateDenied = "client_certificate_denied",
    /// Anything else that is wrong with a client certificate: a signature that is not its issuer's, an extension that must
    /// be understood and is not.
    CertificateInvalid = "client_certificate_invalid",
    /// The client certificate was verified with another truststore than the route's.
    CertificateOfAnother = "client_certificate_of_another_truststore",
    /// The client certificate is good, and none that the route takes.
    CertificateNotAllowed = "client_certificate_not_allowed",
    /// The token is bound to a client certificate, and the connection has none (RFC 8705 section 3).
    TokenCertificateMissing = "token_certificate_missing",
    /// The token is bound to another client certificate than the connection's (RFC 8705 section 3).
    TokenCertificateMismatch = "token_certificate_mismatch",

    /// The token is bound to a key, and was sent without the scheme that says there is a proof of it (RFC 9449 section 7.2).
    TokenProofMissing = "token_dpop_scheme",
    /// The token is bound to no key, and the route takes none such, or it was sent as if it were.
    TokenNotBound = "token_dpop_unbound",
    /// No proof was sent with a token that is bound to a key.
    ProofMissing = "dpop_proof_missing",
    /// More than one proof.
    ProofRepeated = "dpop_proof_repeated",
    /// Not a signed JWT, or a claim of another type than it has, or no `iat`.
    ProofMalformed = "dpop_proof_malformed",
    /// `typ` is not `dpop+jwt`.
    ProofType = "dpop_proof_type",
    /// `alg` is not one that proofs may have.
    ProofAlgorithm = "dpop_proof_algorithm",
    /// `jwk` is not there, not a public key, or not one that signatures are checked with here.
    ProofKey = "dpop_proof_key",
    /// The key is not the one that the token is bound to.
    ProofKeyMismatch = "dpop_key_mismatch",
    /// The signature is not the key's over this proof.
    ProofSignature = "dpop_proof_signature",
    /// `htm` is another method, or missing.
    ProofMethod = "dpop_proof_method",
    /// `htu` is another URL, or missing.
    ProofTarget = "dpop_proof_target",
    /// `ath` is another token, or missing.
    ProofToken = "dpop_proof_token",
    /// `iat` is too long ago, or `exp` has passed.
    ProofExpired = "dpop_proof_expired",
    /// `iat` or `nbf` is in the future, clock skew included.
    ProofNotYetValid = "dpop_proof_not_yet_valid",
    /// `jti` is missing, empty or too long.
    ProofId = "dpop_proof_id",
    /// The proof was used before.
    ProofReplayed = "dpop_proof_replayed",
    /// The proof has no nonce, and needs one.
    ProofNonceMissing = "dpop_nonce_missing",
    /// The nonce of the proof is none of ours, or too old.
    ProofNonce = "dpop_nonce_unknown",
}

/// What kind of credential an error is about, as challenges tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// A token, however it was sent.
    Token,
    /// A token that has to be sent with a proof, or that proof.
    Proof,
    /// An API key.
    ApiKey,
    /// A client certificate.
    Certificate,
}

impl AuthnError {
    /// What it is called when a credential of this kind comes to its end.
    #[must_use]
    pub fn expired(kind: Kind) -> AuthnError {
        match kind {
            Kind::Jwt | Kind::Introspection => AuthnError::TokenExpired,
            Kind::ApiKey => AuthnError::ApiKeyExpired,
            Kind::Certificate => AuthnError::CertificateExpired,
        }
    }

    /// What it is called when a credential of this kind is taken back.
    #[must_use]
    pub fn revoked(kind: Kind) -> AuthnError {
        match kind {
            Kind::Jwt | Kind::Introspection => AuthnError::TokenRevoked,
            Kind::ApiKey => AuthnError::ApiKeyRevoked,
            Kind::Certificate => AuthnError::CertificateRevoked,
        }
    }

    /// What the client is told, as a code: one of `credentials_missing`, `token_expired`,
    /// `token_not_yet_valid`, `invalid_token`, `invalid_api_key`, `client_certificate_missing`,
    /// `invalid_client_certificate`, `invalid_dpop_proof` and `use_dpop_nonce` (RFC 9449 section 12.2). All but the
    /// `invalid_` ones let a well-meaning client act (log in, refresh, fix its clock, sign again); anything finer would
    /// only help an attacker.
    pub const fn public_code(&self) -> &'static str {
        match self {
            Self::CredentialsMissing => "credentials_missing",
            Self::TokenExpired => "token_expired",
            Self::TokenNotYetValid => "token_not_yet_valid",
            Self::CredentialsMalformed
            | Self::CredentialsRepeated
            | Self::CredentialsInQuery
            | Self::TokenTooLarge
            | Self::TokenMalformed
            | Self::TokenEncrypted
            | Self::AlgorithmNone
            | Self::AlgorithmNotAllowed
            | Self::AlgorithmSymmetric
            | Self::HeaderDuplicate
            | Self::HeaderCrit
            | Self::HeaderB64
            | Self::HeaderEmbeddedKey
            | Self::HeaderZip
            | Self::KidMalformed
            | Self::TokenType
            | Self::SignatureMissing
            | Self::IssuerUnknown
            | Self::IssuerNotForRoute
            | Self::KeyUnknown
            | Self::KeyUnsuited
            | Self::KeyAmbiguous
            | Self::SignatureInvalid
            | Self::ClaimDuplicate
            | Self::ClaimShape
            | Self::ClaimMissing
            | Self::ClaimNotAHeaderValue
            | Self::IssuerMissing
            | Self::IssuerMismatch
            | Self::SubjectMissing
            | Self::AudienceMissing
            | Self::AudienceMismatch
            | Self::ExpiryMissing
            | Self::TokenLifetime
            | Self::TokenRevoked
            | Self::TokenInactive
            | Self::TokenCertificateMissing
            | Self::TokenCertificateMismatch
            | Self::TokenProofMissing
            | Self::TokenNotBound
            // RFC 9449 section 7.1: it is the token that is not this key's
            | Self::ProofKeyMismatch => "invalid_token",
            Self::ProofMissing
            | Self::ProofRepeated
            | Self::ProofMalformed
            | Self::ProofType
            | Self::ProofAlgorithm
            | Self::ProofKey
            | Self::ProofSignature
            | Self::ProofMethod
            | Self::ProofTarget
            | Self::ProofToken
            | Self::ProofExpired
            | Self::ProofNotYetValid
            | Self::ProofId
            | Self::ProofReplayed => "invalid_dpop_proof",
            Self::ProofNonceMissing | Self::ProofNonce => "use_dpop_nonce",
            Self::ApiKeyRepeated
            | Self::ApiKeyInQuery
            | Self::ApiKeyMalformed
            | Self::ApiKeyEnvironment
            | Self::ApiKeyUnknown
            | Self::ApiKeyExpired
            | Self::ApiKeyRevoked => "invalid_api_key",
            Self::CertificateMissing => "client_certificate_missing",
            Self::CertificateIssuerUnknown
            | Self::CertificateSelfSigned
            | Self::CertificateExpired
            | Self::CertificateNotYetValid
            | Self::CertificatePurpose
            | Self::CertificateSignatureWeak
            | Self::CertificateKeyWeak
            | Self::CertificateNameConstraints
            | Self::CertificateChainTooLong
            | Self::CertificateRevoked
            | Self::CertificateListMissing
            | Self::CertificateListStale
            | Self::CertificateDenied
            | Self::CertificateInvalid
            | Self::CertificateOfAnother
            | Self::CertificateNotAllowed => "invalid_client_certificate",
        }
    }

    /// Whether a TLS handshake can fail with it.
    #[must_use]
    pub fn is_of_handshake(&self) -> bool {
        self.public_code() == "client_certificate_missing"
            || self.public_code() == "invalid_client_certificate"
                && !matches!(self, Self::CertificateOfAnother | Self::CertificateNotAllowed)
    }

    /// What is refused; none where there was nothing.
    #[must_use]
    pub fn about(&self) -> Option<About> {
        match self {
            Self::TokenProofMissing | Self::TokenNotBound | Self::ProofKeyMismatch => Some(About::Proof),
            _ => match self.public_code() {
                "credentials_missing" | "client_certificate_missing" => None,
                "invalid_api_key" => Some(About::ApiKey),
                "invalid_client_certificate" => Some(About::Certificate),
                "invalid_dpop_proof" | "use_dpop_nonce" => Some(About::Proof),
                _ => Some(About::Token),
            },
        }
    }

    /// The `error_description` of RFC 6750 section 3: ASCII without `"` and `\`, and no more
    /// than [`Self::public_code`] already says.
    pub fn description(&self) -> &'static str {
        match self.public_code() {
            "credentials_missing" => "Credentials are required",
            "token_expired" => "The access token has expired",
            "token_not_yet_valid" => "The access token is not valid yet",
            "invalid_api_key" => "The API key is not valid",
            "client_certificate_missing" => "A client certificate is required",
            "invalid_client_certificate" => "The client certificate is not accepted",
            "invalid_dpop_proof" => "The DPoP proof is not valid",
            "use_dpop_nonce" => "The DPoP proof needs a nonce of this server",
            _ if matches!(self, Self::TokenProofMissing | Self::TokenNotBound) => {
                "A token that is bound to a key is required, and a DPoP proof"
            }
            _ if *self == Self::ProofKeyMismatch => {
                "The access token is not bound to the key of the DPoP proof"
            }
            _ => "The access token is not valid",
        }
    }
}

impl fmt::Display for AuthnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for AuthnError {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn reasons_are_unique_snake_case() {
        let reasons: HashSet<_> = AuthnError::ALL.iter().map(AuthnError::reason).collect();
        assert_eq!(reasons.len(), AuthnError::ALL.len());
        for reason in reasons {
            assert!(
                reason
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            );
        }
    }

    #[test]
    fn clients_learn_nine_codes_and_descriptions_fit_a_quoted_string() {
        let codes: HashSet<_> = AuthnError::ALL.iter().map(AuthnError::public_code).collect();
        let expected = [
            "credentials_missing",
            "token_expired",
            "token_not_yet_valid",
            "invalid_token",
            "invalid_api_key",
            "client_certificate_missing",
            "invalid_client_certificate",
            "invalid_dpop_proof",
            "use_dpop_nonce",
        ];
        assert_eq!(codes, HashSet::from(expected));
        for error in AuthnError::ALL {
            let text = error.description();
            assert!(
                text.bytes()
                    .all(|b| (0x20..0x7f).contains(&b) && b != b'"' && b != b'\\')
            );
        }
        assert_eq!(size_of::<AuthnError>(), 1);
    }
}
