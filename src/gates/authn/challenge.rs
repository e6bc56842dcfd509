//! What a client can answer a 401 with: the challenges of `WWW-Authenticate` (RFC 9110 section 11.6.1).

use super::AuthnError;

/// Authentication schemes that a route can be asked with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Schemes {
    /// A token in `Authorization` (RFC 6750).
    pub bearer: bool,
    /// A key in a header of its own. No RFC names such a scheme; the name `ApiKey` is what most call it.
    pub api_key: bool,
    /// A certificate in the TLS handshake. No RFC names a scheme for it, and a 401 has to name one.
    pub certificate: bool,
}

impl Schemes {
    /// Tokens only.
    pub const BEARER: Schemes = Schemes {
        bearer: true,
        api_key: false,
        certificate: false,
    };
    /// API keys only.
    pub const API_KEY: Schemes = Schemes {
        bearer: false,
        api_key: true,
        certificate: false,
    };
    /// Client certificates only.
    pub const CERTIFICATE: Schemes = Schemes {
        bearer: false,
        api_key: false,
        certificate: true,
    };

    /// Those of either.
    #[must_use]
    pub const fn and(self, other: Schemes) -> Schemes {
        Schemes {
            bearer: self.bearer || other.bearer,
            api_key: self.api_key || other.api_key,
            certificate: self.certificate || other.certificate,
        }
    }

    /// The value of `WWW-Authenticate` for a refusal: a challenge for each scheme, with an error where it is that scheme's
    /// credential that was refused. Who sent none is told no error (RFC 6750 section 3.1).
    #[must_use]
    pub fn challenge(self, why: AuthnError) -> String {
        let mut all = Vec::with_capacity(3);
        // a refused credential names its scheme even where the route is not known
        let shown = self.and(why.scheme());
        for (is_shown, name, of) in [
            (shown.bearer, "Bearer", Schemes::BEARER),
            (shown.api_key, "ApiKey", Schemes::API_KEY),
            (shown.certificate, "ClientCertificate", Schemes::CERTIFICATE),
        ] {
            if !is_shown {
                continue;
            }
            all.push(if why.scheme() == of {
                let error = match of {
                    Schemes::API_KEY => "invalid_api_key",
                    Schemes::CERTIFICATE => "invalid_client_certificate",
                    _ => "invalid_token",
                };
                format!(
                    "{name} realm=\"durward\", error=\"{error}\", error_description=\"{}\"",
                    why.description()
                )
            } else {
                format!("{name} realm=\"durward\"")
            });
        }
        all.join(", ")
    }
}

#[cfg(test)]
mod tests {
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
}
