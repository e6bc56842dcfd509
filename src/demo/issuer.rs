//! The demo's token issuer: discovery, key set, and a token endpoint for client credentials (RFC 6749 section 4.4).
//!
//! Plain HTTP on the loopback interface: it stands for an identity provider somewhere else, and the gateway fetches its
//! keys as it would there.

use std::io;
use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, PRAGMA, WWW_AUTHENTICATE,
};
use http::{Method, Request, StatusCode};
use openssl::rand::rand_bytes;
use serde_json::json;

use super::form::Form;
use super::keys::Keys;
use super::serve::{self, Answer, Server};
use super::token::{CLIENT, ISSUER, TokenRequest, issue};
use crate::pki::store::{Readers, State};

/// File of the client's secret.
pub const SECRET: &str = "client-secret";
/// The scopes that the token endpoint grants.
pub const SCOPES: [&str; 4] = ["read:vehicle", "read:lien_info", "read:history", "write:history"];

/// Makes the client's secret (256 random bits, base64url) if it is missing. The caller holds the lock.
///
/// # Errors
/// Those of the file system and of OpenSSL.
pub fn ensure(state: &State) -> io::Result<()> {
    if state.read(SECRET, Readers::Owner)?.is_none() {
        let mut secret = [0; 32];
        rand_bytes(&mut secret)?;
        state.write(SECRET, URL_SAFE_NO_PAD.encode(secret).as_bytes(), Readers::Owner)?;
    }
    Ok(())
}

/// Starts the issuer on a free port, with the keys and the secret in `state`.
///
/// # Errors
/// Those of the operating system and of OpenSSL; `NotFound` if a file is missing.
pub fn start(state: &State) -> io::Result<Server> {
    let socket = serve::bind()?;
    let issuer = Issuer {
        keys: Keys::load(state)?,
        secret: state
            .read(SECRET, Readers::Owner)?
            .ok_or(io::ErrorKind::NotFound)?,
        address: socket.local_addr()?,
    };
    serve::serve("demo-issuer", socket, move |request| issuer.answer(request))
}

struct Issuer {
    keys: Keys,
    secret: Vec<u8>,
    address: SocketAddr,
}

impl Issuer {
    fn answer(&self, request: &Request<Bytes>) -> Answer {
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/.well-known/openid-configuration") => self.discovery(),
            (&Method::GET, "/jwks.json") => serve::json(StatusCode::OK, &self.keys.jwks()),
            (&Method::POST, "/token") => self.token(request).unwrap_or_else(Refusal::answer),
            (_, "/.well-known/openid-configuration" | "/jwks.json") => not_allowed("GET"),
            (_, "/token") => not_allowed("POST"),
            _ => serve::json(StatusCode::NOT_FOUND, &json!({"error": "not_found"})),
        }
    }

    /// OpenID Connect Discovery 1.0 section 3. Its rule that the document is found under `issuer` is broken on purpose:
    /// see [`ISSUER`].
    fn discovery(&self) -> Answer {
        let here = format!("http://{}", self.address);
        serve::json(
            StatusCode::OK,
            &json!({
                "issuer": ISSUER,
                "jwks_uri": format!("{here}/jwks.json"),
                "token_endpoint": format!("{here}/token"),
                "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
                "grant_types_supported": ["client_credentials"],
                "response_types_supported": [],
                "scopes_supported": SCOPES,
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
            }),
        )
    }

    fn token(&self, request: &Request<Bytes>) -> Result<Answer, Refusal> {
        let media = request
            .headers()
            .get(CONTENT_TYPE)
            .map_or(&b""[..], HeaderValue::as_bytes);
        let media = media
            .split(|byte| *byte == b';')
            .next()
            .unwrap_or_default()
            .trim_ascii();
        if !media.eq_ignore_ascii_case(b"application/x-www-form-urlencoded") {
            return Err(Refusal::InvalidRequest(
                "the body must be application/x-www-form-urlencoded",
            ));
        }
        let form = Form::parse(request.body()).ok_or(Refusal::InvalidRequest("the form cannot be read"))?;
        self.authenticate(request, &form)?;
        match form.field("grant_type") {
            Some("client_credentials") => {}
            Some(_) => return Err(Refusal::UnsupportedGrantType),
            None => return Err(Refusal::InvalidRequest("grant_type is missing")),
        }
        let scope = form.field("scope").unwrap_or_default();
        // No default scope: whoever wants a right says which (section 3.3 leaves us the choice).
        if !scope.split(' ').all(|one| SCOPES.contains(&one)) {
            return Err(Refusal::InvalidScope);
        }
        let wanted = TokenRequest {
            scope: scope.to_owned(),
            subject: CLIENT.to_owned(),
            ..TokenRequest::default()
        };
        let token = issue(&self.keys, &wanted).map_err(|_| Refusal::Failed)?;
        let body = json!({
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": wanted.ttl_seconds,
            "scope": wanted.scope,
        });
        Ok(uncached(serve::json(StatusCode::OK, &body)))
    }

    /// `client_secret_basic` or `client_secret_post` (RFC 6749 section 2.3.1), not both.
    fn authenticate(&self, request: &Request<Bytes>, form: &Form) -> Result<(), Refusal> {
        let posted = form.field("client_id").zip(form.field("client_secret"));
        let mut headers = request.headers().get_all(AUTHORIZATION).iter();
        let (header, more) = (headers.next(), headers.next());
        let (client, secret) = match (header, posted) {
            (_, _) if more.is_some() => return Err(Refusal::InvalidRequest("two Authorization headers")),
            (Some(_), Some(_)) => return Err(Refusal::InvalidRequest("two ways of client authentication")),
            (Some(header), None) => basic(header).ok_or(Refusal::InvalidClient)?,
            (None, Some((client, secret))) => (client.to_owned(), secret.to_owned()),
            (None, None) => return Err(Refusal::InvalidClient),
        };
        let secret = secret.as_bytes();
        // The length is no secret; `eq` wants it to be the same.
        let known = secret.len() == self.secret.len() && openssl::memcmp::eq(secret, &self.secret);
        if client == CLIENT && known {
            Ok(())
        } else {
            Err(Refusal::InvalidClient)
        }
    }
}

/// Name and password of `Basic` (RFC 7617), each of them form-encoded first as RFC 6749 section 2.3.1 wants it.
fn basic(header: &HeaderValue) -> Option<(String, String)> {
    let (scheme, rest) = header.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(rest.trim_start_matches(' ')).ok()?).ok()?;
    let (client, secret) = pair.split_once(':')?;
    Some((
        super::form::decode(client.as_bytes())?,
        super::form::decode(secret.as_bytes())?,
    ))
}

/// RFC 6749 section 5.2.
#[derive(Debug)]
enum Refusal {
    InvalidRequest(&'static str),
    InvalidClient,
    UnsupportedGrantType,
    InvalidScope,
    Failed,
}

impl Refusal {
    fn answer(self) -> Answer {
        let (status, error, description) = match self {
            Refusal::InvalidRequest(text) => (StatusCode::BAD_REQUEST, "invalid_request", text),
            Refusal::InvalidClient => (
                StatusCode::UNAUTHORIZED,
                "invalid_client",
                "unknown client or wrong secret",
            ),
            Refusal::UnsupportedGrantType => (
                StatusCode::BAD_REQUEST,
                "unsupported_grant_type",
                "only client_credentials",
            ),
            Refusal::InvalidScope => (
                StatusCode::BAD_REQUEST,
                "invalid_scope",
                "ask for one or more of scopes_supported",
            ),
            Refusal::Failed => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "server_error",
                "signing failed",
            ),
        };
        let body = json!({"error": error, "error_description": description});
        let mut answer = uncached(serve::json(status, &body));
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Basic realm=\"demo issuer\", charset=\"UTF-8\"");
            answer.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        answer
    }
}

/// RFC 6749 section 5.1: nothing that holds a token is kept.
fn uncached(mut answer: Answer) -> Answer {
    answer
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
        .headers_mut()
        .insert(PRAGMA, HeaderValue::from_static("no-cache"));
    answer
}

fn not_allowed(allow: &'static str) -> Answer {
    let mut answer = serve::json(
        StatusCode::METHOD_NOT_ALLOWED,
        &json!({"error": "method_not_allowed"}),
    );
    answer
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allow));
    answer
}

#[cfg(test)]
mod tests;
