//! `secrets:`

use schemars::JsonSchema;
use serde::Deserialize;

use super::scalar::{Secret, Span, Text};

/// Where references to secrets lead that are kept elsewhere than in files and the environment.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Secrets {
    /// Keys of sealed files (`durward seal --new-key`): any of them opens, the first seals.
    #[serde(default)]
    pub sealing_keys: Vec<Secret>,
    /// How often the stores are asked whether a secret has changed, 1s to 1d. Default: 5m.
    #[serde(default)]
    pub refresh: Option<Span>,
    /// Deadline of one question to a store, 100ms to 30s. Default: 5s.
    #[serde(default)]
    pub timeout: Option<Span>,
    /// HashiCorp Vault or OpenBao, for `${vault:PATH#FIELD}`.
    #[serde(default)]
    pub vault: Option<Vault>,
    /// AWS Secrets Manager, for `${aws-sm:NAME}` and `${aws-sm:NAME#FIELD}`.
    #[serde(default)]
    pub aws_sm: Option<AwsSm>,
    /// A PKCS#11 token (HSM), for `${pkcs11:object=LABEL}`. Needs a build with the feature `pkcs11`.
    #[serde(default)]
    pub pkcs11: Option<Pkcs11>,
}

/// A PKCS#11 token: an HSM, or what stands for one.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pkcs11 {
    /// The library of its maker: `/usr/lib/softhsm/libsofthsm2.so`.
    pub module: Text,
    /// Label of the token.
    pub token: Text,
    /// PIN of its user: from the environment, a file or a sealed file.
    pub pin: Secret,
    /// The OpenSSL provider `pkcs11`, for private keys that stay in the token. It takes the same module from the environment
    /// variable PKCS11_PROVIDER_MODULE. Default: none, and no such keys.
    #[serde(default)]
    pub provider: Option<Text>,
}

/// HashiCorp Vault or OpenBao: a key-value engine of version 2.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Vault {
    /// `https://HOST:PORT`.
    pub address: Text,
    /// Namespace. Default: none.
    #[serde(default)]
    pub namespace: Option<Text>,
    /// Where the engine is mounted. Default: secret.
    #[serde(default)]
    pub mount: Option<Text>,
    /// PEM file of the CAs that may have issued its certificate. Default: the system's.
    #[serde(default)]
    pub ca: Option<Text>,
    /// How the gateway logs in.
    pub auth: VaultAuth,
}

/// One of `token`, `approle` and `kubernetes`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VaultAuth {
    /// Where the login is mounted. Default: approle or kubernetes.
    #[serde(default)]
    pub mount: Option<Text>,
    /// A token.
    #[serde(default)]
    pub token: Option<Secret>,
    /// A role and its secret.
    #[serde(default)]
    pub approle: Option<AppRole>,
    /// The service account of a pod.
    #[serde(default)]
    pub kubernetes: Option<Kubernetes>,
}

/// AppRole.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AppRole {
    /// Which role.
    pub role_id: Text,
    /// Its secret.
    pub secret_id: Secret,
}

/// The service account of a pod.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Kubernetes {
    /// Which role.
    pub role: Text,
    /// File of the account's token. Default: /var/run/secrets/kubernetes.io/serviceaccount/token.
    #[serde(default)]
    pub token_file: Option<Text>,
}

/// AWS Secrets Manager.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AwsSm {
    /// Region.
    pub region: Text,
    /// Where it is asked instead of the region's public address.
    #[serde(default)]
    pub endpoint: Option<Text>,
    /// Access key.
    pub access_key_id: Text,
    /// Its secret.
    pub secret_access_key: Secret,
    /// What goes with a temporary access key.
    #[serde(default)]
    pub session_token: Option<Secret>,
}
