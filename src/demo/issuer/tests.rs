use serde_json::Value;

use super::*;
use crate::demo::keys;
use crate::demo::serve::exchange;
use crate::pki::store::Scratch;

struct Running {
    server: Server,
    secret: String,
    _scratch: Scratch,
}

fn running() -> Running {
    let scratch = Scratch::new();
    let state = State::open(&scratch.0).unwrap();
    keys::ensure(&state).unwrap();
    ensure(&state).unwrap();
    let secret = String::from_utf8(state.read(SECRET, Readers::Owner).unwrap().unwrap()).unwrap();
    Running {
        server: start(&state).unwrap(),
        secret,
        _scratch: scratch,
    }
}

impl Running {
    /// Status, head and body of what the token endpoint answers to `form`, with `extra` header lines.
    fn post(&self, extra: &str, form: &str) -> (u16, String, Value) {
        let length = form.len();
        self.send(&format!(
            "POST /token HTTP/1.1\r\nHost: issuer\r\nConnection: close\r\nContent-Length: {length}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\n{extra}\r\n{form}"
        ))
    }

    fn get(&self, path: &str) -> (u16, String, Value) {
        self.send(&format!(
            "GET {path} HTTP/1.1\r\nHost: issuer\r\nConnection: close\r\n\r\n"
        ))
    }

    fn send(&self, request: &str) -> (u16, String, Value) {
        let answer = exchange(self.server.address, request);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (
            status,
            head.to_ascii_lowercase(),
            serde_json::from_str(body).unwrap(),
        )
    }

    fn basic(&self) -> String {
        format!(
            "Authorization: Basic {}\r\n",
            STANDARD.encode(format!("demo%2Dapp:{}", self.secret))
        )
    }
}

const GOOD: &str = "grant_type=client_credentials&scope=read%3Avehicle+read%3Alien_info";

#[test]
fn both_ways_of_authentication_get_a_token_for_the_scopes_asked() {
    let issuer = running();
    let posted = format!("{GOOD}&client_id=demo-app&client_secret={}", issuer.secret);
    for (extra, form) in [(issuer.basic(), GOOD.to_owned()), (String::new(), posted)] {
        let (status, head, body) = issuer.post(&extra, &form);
        assert_eq!(status, 200, "{body}");
        assert!(head.contains("cache-control: no-store"), "{head}");
        assert_eq!(body["token_type"], "Bearer");
        assert_eq!(body["expires_in"], 300);
        assert_eq!(body["scope"], "read:vehicle read:lien_info");
        let claims = body["access_token"].as_str().unwrap().split('.').nth(1).unwrap();
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
        assert_eq!(claims["sub"], CLIENT);
        assert_eq!(claims["scope"], "read:vehicle read:lien_info");
        assert_eq!(claims["roles"], json!([]));
    }
}

#[test]
fn a_wrong_secret_or_client_is_refused_with_a_challenge() {
    let issuer = running();
    let mut wrong = issuer.secret.clone();
    wrong.replace_range(..1, if wrong.starts_with('A') { "B" } else { "A" });
    let other = format!("{GOOD}&client_id=other-app&client_secret={}", issuer.secret);
    for form in [
        GOOD.to_owned(),
        format!("{GOOD}&client_id=demo-app"),
        format!("{GOOD}&client_id=demo-app&client_secret=short"),
        format!("{GOOD}&client_id=demo-app&client_secret={wrong}"),
        other,
    ] {
        let (status, head, body) = issuer.post("", &form);
        assert_eq!(
            (status, &body["error"]),
            (401, &json!("invalid_client")),
            "{form}"
        );
        assert!(head.contains("www-authenticate: basic realm="), "{head}");
    }
    for header in ["Basic !!!", "Basic", "Bearer abc"] {
        let (status, _, body) = issuer.post(&format!("Authorization: {header}\r\n"), GOOD);
        assert_eq!(
            (status, &body["error"]),
            (401, &json!("invalid_client")),
            "{header}"
        );
    }
}

#[test]
fn faults_of_the_request_have_the_names_of_rfc_6749() {
    let issuer = running();
    for (form, error) in [
        ("grant_type=client_credentials&scope=admin", "invalid_scope"),
        (
            "grant_type=client_credentials&scope=read%3Avehicle++read%3Ahistory",
            "invalid_scope",
        ),
        ("grant_type=client_credentials", "invalid_scope"),
        (
            "grant_type=password&scope=read%3Avehicle",
            "unsupported_grant_type",
        ),
        ("scope=read%3Avehicle", "invalid_request"),
        (
            "grant_type=client_credentials&grant_type=client_credentials",
            "invalid_request",
        ),
        (
            "grant_type=client_credentials&client_id=demo-app&client_secret=a",
            "invalid_request",
        ),
    ] {
        let (status, _, body) = issuer.post(&issuer.basic(), form);
        assert_eq!((status, &body["error"]), (400, &json!(error)), "{form}");
    }
    let (status, _, body) = issuer.send(&format!(
        "POST /token HTTP/1.1\r\nHost: issuer\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: 2\r\n{}\r\n{{}}",
        issuer.basic()
    ));
    assert_eq!((status, &body["error"]), (400, &json!("invalid_request")));
}

#[test]
fn discovery_leads_to_the_keys_and_to_the_token_endpoint() {
    let issuer = running();
    let here = format!("http://{}", issuer.server.address);
    let (status, _, body) = issuer.get("/.well-known/openid-configuration");
    assert_eq!((status, &body["issuer"]), (200, &json!(ISSUER)));
    assert_eq!(body["jwks_uri"], format!("{here}/jwks.json"));
    assert_eq!(body["token_endpoint"], format!("{here}/token"));
    let (status, _, body) = issuer.get("/jwks.json");
    assert_eq!(status, 200);
    let algorithms: Vec<_> = body["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| &key["alg"])
        .collect();
    assert_eq!(algorithms, ["RS256", "ES256"]);
    let (status, head, _) = issuer.get("/token");
    assert!(status == 405 && head.contains("allow: post"), "{head}");
    assert_eq!(issuer.get("/elsewhere").0, 404);
}
