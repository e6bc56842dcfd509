//! What a client can answer a 401 with: the challenges of `WWW-Authenticate` (RFC 9110 section 11.6.1).

use super::AuthnError;
use super::bearer::Scheme;
use super::crypto::AlgorithmSet;
use super::dpop::Demand;
use super::error::About;

/// Authentication schemes that a route can be asked with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Schemes {
    /// A token in `Authorization` (RFC 6750).
    pub bearer: bool,
    /// A token with a proof of the key that it is bound to (RFC 9449).
    pub dpop: bool,
    /// A key in a header of its own. No RFC names such a scheme; the name `ApiKey` is what most call it.
    pub api_key: bool,
    /// A certificate in the TLS handshake. No RFC names a scheme for it, and a 401 has to name one.
    pub certificate: bool,
    /// Whether the token was sent with a proof: what is wrong with it is then told with that scheme.
    pub with_proof: bool,
    /// What proofs may be signed with.
    pub algorithms: AlgorithmSet,
}

impl Schemes {
    /// None.
    pub const NONE: Schemes = Schemes {
        bearer: false,
        dpop: false,
        api_key: false,
        certificate: false,
        with_proof: false,
        algorithms: AlgorithmSet::NONE,
    };
    /// Tokens only.
    pub const BEARER: Schemes = Schemes {
        bearer: true,
        ..Schemes::NONE
    };
    /// API keys only.
    pub const API_KEY: Schemes = Schemes {
        api_key: true,
        ..Schemes::NONE
    };
    /// Client certificates only.
    pub const CERTIFICATE: Schemes = Schemes {
        certificate: true,
        ..Schemes::NONE
    };

    /// Tokens, of which a route demands this.
    #[must_use]
    pub const fn of_tokens(demand: Demand) -> Schemes {
        Schemes {
            bearer: matches!(demand, Demand::Off | Demand::Optional),
            dpop: matches!(demand, Demand::Optional | Demand::Required),
            ..Schemes::NONE
        }
    }

    /// Those of either.
    #[must_use]
    pub const fn and(self, other: Schemes) -> Schemes {
        Schemes {
            bearer: self.bearer || other.bearer,
            dpop: self.dpop || other.dpop,
            api_key: self.api_key || other.api_key,
            certificate: self.certificate || other.certificate,
            with_proof: self.with_proof || other.with_proof,
            algorithms: self.algorithms,
        }
    }

    /// The same for a request whose token was sent so, where proofs may have these algorithms.
    #[must_use]
    pub fn for_sent(self, sent: Option<Scheme>, algorithms: AlgorithmSet) -> Schemes {
        Schemes {
            with_proof: sent == Some(Scheme::Dpop),
            algorithms,
            ..self
        }
    }

    /// The value of `WWW-Authenticate` for a refusal: a challenge for each scheme, with an error where it is that scheme's
    /// credential that was refused. Who sent none is told no error (RFC 6750 section 3.1).
    #[must_use]
    pub fn challenge(self, why: AuthnError) -> String {
        let refused = match why.about() {
            Some(About::Token) if self.with_proof => Some(About::Proof),
            refused => refused,
        };
        let mut all = Vec::with_capacity(4);
        for (is_offered, name, of) in [
            (self.bearer, Scheme::Bearer.as_str(), About::Token),
            (self.dpop, Scheme::Dpop.as_str(), About::Proof),
            (self.api_key, "ApiKey", About::ApiKey),
            (self.certificate, "ClientCertificate", About::Certificate),
        ] {
            // a refused credential names its scheme even where the route is not known, or does not offer it
            if !is_offered && refused != Some(of) {
                continue;
            }
            let mut challenge = format!("{name} realm=\"durward\"");
            if refused == Some(of) {
                let error = match why.public_code() {
                    code @ ("invalid_api_key"
                    | "invalid_client_certificate"
                    | "invalid_dpop_proof"
                    | "use_dpop_nonce") => code,
                    _ => "invalid_token",
                };
                challenge.push_str(&format!(
                    ", error=\"{error}\", error_description=\"{}\"",
                    why.description()
                ));
            }
            if of == About::Proof {
                challenge.push_str(&format!(", algs=\"{}\"", self.algorithms.names()));
            }
            all.push(challenge);
        }
        all.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::Algorithm;

    use super::*;

    // S52
    #[test]
    fn the_scheme_of_the_refused_credential_bears_the_error_and_the_others_are_offered() {
        let both = Schemes::BEARER.and(Schemes::API_KEY);
        for (schemes, why, expected) in [
            (
                Schemes::BEARER,
                AuthnError::CredentialsMissing,
                "Bearer realm=\"durward\"",
            ),
            (
                Schemes::API_KEY,
                AuthnError::CredentialsMissing,
                "ApiKey realm=\"durward\"",
            ),
            (
                both,
                AuthnError::CredentialsMissing,
                "Bearer realm=\"durward\", ApiKey realm=\"durward\"",
            ),
            (
                both,
                AuthnError::ApiKeyUnknown,
                "Bearer realm=\"durward\", ApiKey realm=\"durward\", error=\"invalid_api_key\", \
                 error_description=\"The API key is not valid\"",
            ),
            (
                both,
                AuthnError::SignatureInvalid,
                "Bearer realm=\"durward\", error=\"invalid_token\", \
                 error_description=\"The access token is not valid\", ApiKey realm=\"durward\"",
            ),
        ] {
            assert_eq!(schemes.challenge(why), expected);
        }
    }

    // RFC 9449 section 7.1
    #[test]
    fn proofs_are_challenged_for_with_their_algorithms() {
        let algorithms: AlgorithmSet = [Algorithm::ES256, Algorithm::EdDSA].into_iter().collect();
        let challenge = |demand: Demand, sent: Option<Scheme>, why: AuthnError| {
            let schemes = Schemes::of_tokens(demand).for_sent(sent, algorithms);
            schemes.challenge(why)
        };
        let (bearer, proof) = (Some(Scheme::Bearer), Some(Scheme::Dpop));
        for (demand, sent, why, expected) in [
            (
                Demand::Off,
                None,
                AuthnError::CredentialsMissing,
                "Bearer realm=\"durward\"",
            ),
            (
                Demand::Optional,
                None,
                AuthnError::CredentialsMissing,
                "Bearer realm=\"durward\", DPoP realm=\"durward\", algs=\"ES256 EdDSA\"",
            ),
            (
                Demand::Required,
                None,
                AuthnError::CredentialsMissing,
                "DPoP realm=\"durward\", algs=\"ES256 EdDSA\"",
            ),
            (
                Demand::Optional,
                bearer,
                AuthnError::TokenExpired,
                "Bearer realm=\"durward\", error=\"invalid_token\", error_description=\"The access token has expired\", \
                 DPoP realm=\"durward\", algs=\"ES256 EdDSA\"",
            ),
            (
                Demand::Optional,
                proof,
                AuthnError::TokenExpired,
                "Bearer realm=\"durward\", DPoP realm=\"durward\", error=\"invalid_token\", \
                 error_description=\"The access token has expired\", algs=\"ES256 EdDSA\"",
            ),
            (
                Demand::Off,
                bearer,
                AuthnError::TokenProofMissing,
                "Bearer realm=\"durward\", DPoP realm=\"durward\", error=\"invalid_token\", \
                 error_description=\"A token that is bound to a key is required, and a DPoP proof\", algs=\"ES256 EdDSA\"",
            ),
            (
                Demand::Required,
                proof,
                AuthnError::ProofReplayed,
                "DPoP realm=\"durward\", error=\"invalid_dpop_proof\", \
                 error_description=\"The DPoP proof is not valid\", algs=\"ES256 EdDSA\"",
            ),
            (
                Demand::Required,
                proof,
                AuthnError::ProofNonceMissing,
                "DPoP realm=\"durward\", error=\"use_dpop_nonce\", \
                 error_description=\"The DPoP proof needs a nonce of this server\", algs=\"ES256 EdDSA\"",
            ),
        ] {
            assert_eq!(challenge(demand, sent, why), expected);
        }
    }
}
