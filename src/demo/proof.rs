//! What a service checks to take requests of the gateway alone (RFC 9421), as `docs/proof-of-gateway.md` tells it.
//!
//! Written for reading: a service of yours would use its language's library, and do the same five things.

use std::collections::HashMap;
use std::sync::Mutex;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Request};
use openssl::hash::MessageDigest;
use openssl::memcmp;
use openssl::pkey::{PKey, Private};
use openssl::sign::Signer;

/// Who the caller is said to be: where one of these is sent, the signature has to cover it.
const IDENTITY: [&str; 3] = ["x-user-id", "x-roles", "x-forwarded-client-cert"];
/// Always covered.
const ALWAYS: [&str; 5] = ["@method", "@authority", "@path", "@query", "x-request-id"];
/// Longest life of a signature that is believed, in seconds: for so long nonces are remembered.
const LONGEST: u64 = 300;
/// How far the gateway's clock may be ahead, in seconds.
const AHEAD: u64 = 5;

/// Checks signatures made with one shared key (`hmac-sha256`).
#[derive(Debug)]
pub struct Verifier {
    keyid: String,
    key: PKey<Private>,
    /// Nonces, and until when their signatures would be good.
    seen: Mutex<HashMap<String, u64>>,
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It has no signature of the gateway: it came another way.
    Unsigned,
    /// Something that matters is not covered.
    NotCovered,
    /// The signature is of another time.
    NotNow,
    /// Something is not as it was signed.
    Altered,
    /// The signature was used before.
    Replayed,
}

impl Refusal {
    /// For the answer.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Refusal::Unsigned => "not signed by the gateway",
            Refusal::NotCovered => "the signature leaves something out",
            Refusal::NotNow => "the signature is of another time",
            Refusal::Altered => "not what was signed",
            Refusal::Replayed => "the signature was used before",
        }
    }
}

/// `Signature-Input`, taken apart.
struct Input<'a> {
    /// Everything behind the label, as it was signed.
    parameters: &'a str,
    components: Vec<&'a str>,
    created: u64,
    expires: u64,
    nonce: &'a str,
    keyid: &'a str,
    alg: &'a str,
}

impl<'a> Input<'a> {
    /// Of exactly the shape that the gateway writes; another one is not its.
    fn read(headers: &'a HeaderMap) -> Option<Input<'a>> {
        let parameters = only(headers, "signature-input")?.strip_prefix("durward=")?;
        let (components, rest) = parameters.strip_prefix('(')?.split_once(')')?;
        let quoted = |text: &'a str| text.strip_prefix('"')?.strip_suffix('"');
        let components: Option<Vec<&str>> = components.split(' ').map(quoted).collect();
        let mut values: HashMap<&str, &str> = HashMap::new();
        for pair in rest.strip_prefix(';')?.split(';') {
            let (name, value) = pair.split_once('=')?;
            if values.insert(name, value).is_some() {
                return None;
            }
        }
        let number = |name: &str| values.get(name)?.parse::<u64>().ok();
        let text = |name: &str| quoted(values.get(name).copied()?);
        Some(Input {
            parameters,
            components: components?,
            created: number("created")?,
            expires: number("expires")?,
            nonce: text("nonce")?,
            keyid: text("keyid")?,
            alg: text("alg")?,
        })
    }
}

impl Verifier {
    /// `key`: as in `upstreams.*.sign.key`, in base64. `None` where it is not.
    #[must_use]
    pub fn new(keyid: &str, key: &str) -> Option<Verifier> {
        Some(Verifier {
            keyid: keyid.to_owned(),
            key: PKey::hmac(&STANDARD.decode(key).ok()?).ok()?,
            seen: Mutex::default(),
        })
    }

    /// Whether the request came through the gateway as it is, just now, and for the first time. `now` in seconds.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn verify(&self, request: &Request<Bytes>, now: u64) -> Result<(), Refusal> {
        let headers = request.headers();
        // 1. There is a signature by the key that we share with the gateway.
        let input = Input::read(headers).ok_or(Refusal::Unsigned)?;
        let signature = only(headers, "signature")
            .and_then(|text| text.strip_prefix("durward=:")?.strip_suffix(':'))
            .and_then(|text| STANDARD.decode(text).ok())
            .ok_or(Refusal::Unsigned)?;
        if input.keyid != self.keyid || input.alg != "hmac-sha256" {
            return Err(Refusal::Unsigned);
        }
        // 2. It covers everything that we go by.
        let is_covered = |name: &str| input.components.contains(&name);
        let sent = IDENTITY.iter().filter(|name| headers.contains_key(**name));
        let body = (!request.body().is_empty()).then_some("content-digest");
        let needed = ALWAYS.iter().chain(sent).copied().chain(body);
        if !needed.into_iter().all(is_covered) {
            return Err(Refusal::NotCovered);
        }
        // 3. It is of now.
        let is_new = input.created <= now + AHEAD && now < input.expires;
        if !is_new || input.expires.saturating_sub(input.created) > LONGEST {
            return Err(Refusal::NotNow);
        }
        // 4. It is of this request, and the digest is of this body.
        let base = base(request, &input).ok_or(Refusal::Altered)?;
        let expected = self.mac(base.as_bytes()).ok_or(Refusal::Altered)?;
        if expected.len() != signature.len() || !memcmp::eq(&expected, &signature) {
            return Err(Refusal::Altered);
        }
        if body.is_some() {
            let digest = STANDARD.encode(openssl::sha::sha256(request.body()));
            if only(headers, "content-digest") != Some(&format!("sha-256=:{digest}:")) {
                return Err(Refusal::Altered);
            }
        }
        // 5. It was not used before.
        let Ok(mut seen) = self.seen.lock() else {
            return Err(Refusal::Replayed);
        };
        seen.retain(|_, until| *until > now);
        match seen.insert(input.nonce.to_owned(), input.expires) {
            None => Ok(()),
            Some(_) => Err(Refusal::Replayed),
        }
    }

    fn mac(&self, base: &[u8]) -> Option<Vec<u8>> {
        let mut signer = Signer::new(MessageDigest::sha256(), &self.key).ok()?;
        signer.sign_oneshot_to_vec(base).ok()
    }
}

/// What was signed (RFC 9421 section 2.5), by what arrived.
fn base(request: &Request<Bytes>, input: &Input<'_>) -> Option<String> {
    let mut base = String::new();
    for component in &input.components {
        let value = match *component {
            "@method" => request.method().as_str().to_owned(),
            "@authority" => {
                let host = only(request.headers(), "host")?.to_ascii_lowercase();
                host.strip_suffix(":80").unwrap_or(&host).to_owned()
            }
            "@path" => request.uri().path().to_owned(),
            "@query" => format!("?{}", request.uri().query().unwrap_or_default()),
            name if name.starts_with('@') => return None,
            name => {
                let values = request.headers().get_all(name).iter();
                let values: Option<Vec<&str>> =
                    values.map(|value| Some(value.to_str().ok()?.trim())).collect();
                values.filter(|values| !values.is_empty())?.join(", ")
            }
        };
        base += &format!("\"{component}\": {value}\n");
    }
    base += &format!("\"@signature-params\": {}", input.parameters);
    Some(base)
}

/// The value of a header that is there once.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}
