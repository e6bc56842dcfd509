//! Secrets that clients and services send, looked for wherever the gateway tells anything.
//!
//! One word, the canary, stands in every place where a secret could be: headers, query, bodies, tokens, user names in URLs,
//! the words of a broken service. Requests of every fate carry it, at every level of the log. It must not be found in
//! records, messages, metrics, status or problem documents: as it is, in capitals, percent-coded, in base64 or as numbers.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as B64;
use serde_json::{Value, json};

use crate::support::client::{Client, request};
use crate::support::gateway::Start;
use crate::support::origin::Seen;
use crate::support::{Gateway, Keys, Origin, Reply, eventually, h2, refusing_address};

/// Letters and digits only, so that no coding leaves a part of it as it is by accident.
const CANARY: &str = "c4n4ry5ecretWord";

/// Where the canary sings in a text, in any of its forms; `None`: nowhere.
fn heard(text: &str) -> Option<String> {
    let mut decoded = text.to_owned();
    // coded twice, too
    for _ in 0..3 {
        let lower = decoded.to_ascii_lowercase();
        for form in forms() {
            // base64 tells capitals apart, but no harm is done by not doing so
            if let Some(at) = lower.find(&form.to_ascii_lowercase()) {
                let around = decoded.get(at.saturating_sub(120)..(at + form.len() + 40).min(decoded.len()));
                return Some(format!("{form}: …{}…", around.unwrap_or_default()));
            }
        }
        decoded = percent_decoded(&decoded);
    }
    None
}

fn forms() -> Vec<String> {
    let list = |separator: &str| {
        let numbers: Vec<String> = CANARY.bytes().map(|byte| byte.to_string()).collect();
        numbers.join(separator)
    };
    let hex: String = CANARY.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![CANARY.to_owned(), hex, list(", "), list(",")];
    // within longer texts it can begin at each of three places of a group; what its neighbours change is cut off
    for before in 0..3 {
        let coded = B64.encode(format!("{}{CANARY}", "x".repeat(before)));
        let inner = &coded[(before * 4).div_ceil(3)..(before + CANARY.len()) / 3 * 4];
        forms.push(inner.to_owned());
        forms.push(inner.replace('+', "-").replace('/', "_"));
    }
    forms
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let code = (*first == b'%')
            .then(|| after.get(..2).and_then(|code| std::str::from_utf8(code).ok()))
            .flatten()
            .and_then(|code| u8::from_str_radix(code, 16).ok());
        match code {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn the_canary_is_heard_in_every_coding() {
    let percent: String = CANARY.bytes().map(|byte| format!("%{byte:02X}")).collect();
    for text in [
        CANARY.to_owned(),
        CANARY.to_ascii_uppercase(),
        percent.clone(),
        percent.replace('%', "%25"),
        format!("{:?}", CANARY.as_bytes()),
        B64.encode(format!("user:{CANARY}")),
        B64.encode(format!("a{CANARY}b")),
        B64.encode(format!("ab{CANARY}c")),
        format!("c4n4ry5%65cret{}", "Word"),
    ] {
        assert!(heard(&format!("before {text} after")).is_some(), "{text}");
    }
    assert_eq!(heard("nothing of the kind, c4n4ry5ecret"), None);
}

/// A service that breaks in the way that the last part of the path says.
fn broken(seen: &Seen) -> Reply {
    let raw = |text: &str| Reply::raw(text.replace("CANARY", CANARY)).closing();
    match seen.target.split('?').next().unwrap().rsplit('/').next().unwrap() {
        "status" => raw("HTTP/1.1 CANARY\r\n\r\n"),
        "header" => raw("HTTP/1.1 200 OK\r\nSet-Cookie: CANARY\r\nbad header CANARY\r\n\r\n"),
        "length" => raw("HTTP/1.1 200 OK\r\nContent-Length: CANARY\r\n\r\nCANARY"),
        "negative" => raw("HTTP/1.1 200 OK\r\nContent-Length: -1 CANARY\r\n\r\n"),
        "coding" => raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nCANARY\r\n"),
        "short" => raw("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nCANARY"),
        "long" => raw("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nCANARY"),
        "fails" => Reply::new(500, &[], CANARY),
        "silent" => raw(""),
        "slow" => Reply::ok().after(Duration::from_millis(700)),
        _ => Reply::new(200, &[("Set-Cookie", CANARY), ("X-Api-Key", CANARY)], CANARY),
    }
}

fn start(keys: &Keys, origin: &Origin, nobody: std::net::SocketAddr) -> Start {
    let route = |methods: &str, path: &str, more: &str| {
        format!("  - {{ match: {{ methods: [{methods}], path: \"{path}\" }}, {more} }}\n")
    };
    Gateway::with(&format!(
        "server: {{ drain_seconds: 0, grace_period_seconds: 1 }}\n{}\
         identity_headers: {{ inject: {{ X-Tenant: claims.tenant }} }}\n\
         flood: {{ per_address: 300 }}\n\
         limits: {{ once: {{ rate: 1/h, key: subject }} }}\n\
         upstreams:\n\
         \x20 good: {{ targets: [\"{}\"], timeouts: {{ total: 300ms }} }}\n\
         \x20 nobody: {{ targets: [\"{nobody}\"] }}\n\
         routes:\n{}{}{}{}{}{}",
        keys.inline(),
        origin.address,
        route("GET, POST", "/a", "auth: { jwt: main }, upstream: good"),
        route(
            "GET",
            "/role",
            "auth: { jwt: main, scopes: [\"no:body\"] }, upstream: good"
        ),
        route(
            "GET",
            "/once",
            "auth: { jwt: main }, limits: [once], upstream: good"
        ),
        route(
            "POST",
            "/small",
            "public: { reason: test, owner: tests }, request: { max_body: 8, content_types: [application/json] }, upstream: good"
        ),
        route(
            "GET",
            "/broken/{how}",
            "public: { reason: test, owner: tests }, upstream: good"
        ),
        route(
            "GET",
            "/nobody",
            "public: { reason: test, owner: tests }, upstream: nobody"
        ),
    ))
}

/// Places for secrets that requests of every fate have.
fn headers() -> Vec<(&'static str, String)> {
    let basic = B64.encode(format!("user:{CANARY}"));
    vec![
        ("Cookie", format!("session={CANARY}; other={CANARY}")),
        ("X-Api-Key", CANARY.to_owned()),
        ("Proxy-Authorization", format!("Basic {basic}")),
        ("X-Auth-Token", CANARY.to_owned()),
        ("User-Agent", format!("agent/{CANARY}")),
        (
            "Referer",
            format!("https://user:{CANARY}@elsewhere.example/?token={CANARY}"),
        ),
        ("X-Forwarded-For", CANARY.to_owned()),
        ("Forwarded", format!("for={CANARY}")),
        ("X-Request-Id", CANARY.to_owned()),
        ("traceparent", format!("00-{CANARY}-00f067aa0ba902b7-01")),
        ("tracestate", format!("vendor={CANARY}")),
        ("baggage", format!("key={CANARY}")),
    ]
}

/// An answer, or the end of the connection: whichever comes first.
const ANY: u16 = u16::MAX;

/// What the gateway is asked: the bytes, and the status or the end of the connection (0) that comes.
fn requests(keys: &Keys) -> Vec<(&'static str, String, u16)> {
    let good = keys.token(json!({ "tenant": CANARY, "email": format!("{CANARY}@example.org") }));
    let expired = keys.token(json!({ "exp": 1_000_000_000, "email": CANARY }));
    let forged = format!("{}{}", &good[..good.len() - CANARY.len()], CANARY);
    let other = keys.token(json!({ "iss": format!("https://{CANARY}.example") }));
    let bearer = |token: &str| format!("Bearer {token}");
    let ask = |method: &str, target: &str, authorization: Option<String>, body: &str, kind: &str| {
        let mut all = headers();
        all.extend(authorization.map(|value| ("Authorization", value)));
        if !kind.is_empty() {
            all.push(("Content-Type", kind.to_owned()));
        }
        let all: Vec<(&str, &str)> = all.iter().map(|(name, value)| (*name, value.as_str())).collect();
        request(method, target, &all, body)
    };
    let get = |target: &str, authorization: Option<String>| ask("GET", target, authorization, "", "");
    let json = format!("{{\"password\":\"{CANARY}\"}}");
    let form = format!("user=ada&password={CANARY}");
    let query = format!("?q={CANARY}&api_key={CANARY}");
    let raw = |lines: &str| lines.replace("CANARY", CANARY).replace('\n', "\r\n");
    vec![
        ("allowed", get(&format!("/a{query}"), Some(bearer(&good))), 200),
        (
            "allowed with a body",
            ask("POST", "/a", Some(bearer(&good)), &json, "application/json"),
            200,
        ),
        (
            "form",
            ask(
                "POST",
                "/a",
                Some(bearer(&good)),
                &form,
                "application/x-www-form-urlencoded",
            ),
            415,
        ),
        ("expired", get(&format!("/a{query}"), Some(bearer(&expired))), 401),
        (
            "expired again",
            get(&format!("/a{query}"), Some(bearer(&expired))),
            401,
        ),
        ("forged", get("/a", Some(bearer(&forged))), 401),
        ("unknown issuer", get("/a", Some(bearer(&other))), 401),
        ("no token at all", get("/a", Some(bearer(CANARY))), 401),
        (
            "no token of the form",
            get("/a", Some(format!("Bearer {CANARY} {CANARY}"))),
            401,
        ),
        (
            "of another kind",
            get(
                "/a",
                Some(format!("Basic {}", B64.encode(format!("ada:{CANARY}")))),
            ),
            401,
        ),
        (
            "token in the query",
            get(&format!("/a?access_token={CANARY}"), None),
            401,
        ),
        ("scope", get("/role", Some(bearer(&good))), 403),
        ("within the limit", get("/once", Some(bearer(&good))), 200),
        ("over the limit", get("/once", Some(bearer(&good))), 429),
        (
            "no route",
            get(&format!("/nothing{query}"), Some(bearer(&good))),
            404,
        ),
        (
            "no method",
            ask("DELETE", &format!("/a{query}"), Some(bearer(&good)), "", ""),
            405,
        ),
        (
            "too long",
            ask("POST", "/small", None, &json, "application/json"),
            413,
        ),
        (
            "type",
            ask("POST", "/small", None, "{}", &format!("text/{CANARY}")),
            415,
        ),
        ("dots", get(&format!("/a/../{CANARY}"), None), 400),
        (
            "encoded",
            get(&format!("/a/%2e%2e/{CANARY}%2f{query}"), None),
            400,
        ),
        ("fragment", get(&format!("/a#{CANARY}"), None), 400),
        (
            "user name in the URL",
            raw("GET https://ada:CANARY@api.example/a HTTP/1.1\nHost: api.example\n\n"),
            400,
        ),
        (
            "user name in Host",
            raw("GET /a HTTP/1.1\nHost: ada:CANARY@api.example\n\n"),
            400,
        ),
        (
            "two hosts",
            raw("GET /a HTTP/1.1\nHost: api.example\nHost: CANARY\n\n"),
            400,
        ),
        (
            "length",
            raw("POST /a HTTP/1.1\nHost: api.example\nContent-Length: CANARY\n\nCANARY"),
            400,
        ),
        (
            "negative length",
            raw("POST /a HTTP/1.1\nHost: api.example\nContent-Length: -1 CANARY\n\n"),
            400,
        ),
        (
            "coding",
            raw("POST /a HTTP/1.1\nHost: api.example\nTransfer-Encoding: CANARY\n\n"),
            400,
        ),
        (
            "chunk",
            raw(
                "POST /small HTTP/1.1\nHost: api.example\nContent-Type: application/json\nTransfer-Encoding: chunked\n\nCANARY\n",
            ),
            ANY,
        ),
        (
            "no header",
            raw("GET /a HTTP/1.1\nHost: api.example\nAuthorization Bearer CANARY\n\n"),
            400,
        ),
        (
            "bad name",
            raw("GET /a HTTP/1.1\nHost: api.example\nCookie\u{1}: CANARY\n\n"),
            400,
        ),
        (
            "bad value",
            raw("GET /a HTTP/1.1\nHost: api.example\nCookie: CANARY\u{0}\n\n"),
            400,
        ),
        (
            "folded",
            raw("GET /a HTTP/1.1\nHost: api.example\nX-Folded: a\n CANARY\n\n"),
            400,
        ),
        (
            "bare line feeds",
            raw("GET /a HTTP/1.1\nHost: api.example\nCookie: CANARY\n\n").replace('\r', ""),
            400,
        ),
        ("version", raw("GET /a HTTP/CANARY\nHost: api.example\n\n"), 400),
        (
            "upgrade",
            get("/a", Some(bearer(CANARY)))
                .replace("\r\n\r\n", "\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"),
            401,
        ),
        (
            "nomination",
            raw("GET /broken/ok HTTP/1.1\nHost: api.example\nConnection: CANARY, host\n\n"),
            400,
        ),
        ("status of the service", get("/broken/status", None), 502),
        ("header of the service", get("/broken/header", None), 502),
        ("length of the service", get("/broken/length", None), 502),
        (
            "negative length of the service",
            get("/broken/negative", None),
            502,
        ),
        ("coding of the service", get("/broken/coding", None), 0),
        ("too little of the service", get("/broken/short", None), 0),
        ("too much of the service", get("/broken/long", None), 200),
        ("failure of the service", get("/broken/fails", None), 500),
        ("silence of the service", get("/broken/silent", None), 502),
        ("slow service", get("/broken/slow", None), 504),
        ("no service", get(&format!("/nobody{query}"), None), 502),
    ]
}

/// All that is said to anybody but the client that sent it.
fn sinks(gateway: &Gateway) -> Vec<(String, String)> {
    let file = |name: &str| std::fs::read(gateway.folder.0.join(name)).unwrap();
    let mut sinks: Vec<(String, String)> = ["records.jsonl", "stdout", "stderr"]
        .map(|name| (name.to_owned(), String::from_utf8_lossy(&file(name)).into_owned()))
        .into();
    for path in ["/metrics", "/config/status", "/readyz"] {
        sinks.push((path.to_owned(), gateway.admin(path).text()));
    }
    sinks
}

fn try_all(level: &str) {
    let (keys, origin) = (Keys::new("k1"), Origin::answering(broken));
    let (_held, nobody) = refusing_address();
    let gateway = start(&keys, &origin, nobody)
        .records("summary_interval: 1s")
        .env("DURWARD_LOG", level)
        // not read by the gateway; by what it is made of, perhaps
        .env("RUST_LOG", level)
        .start();
    let client = gateway.client();
    let mut wrong = Vec::new();
    let mut problems = 0;
    let mut judge = |what: &str, expected: u16, answer: Option<crate::support::Answer>| {
        let status = answer.as_ref().map_or(0, |answer| answer.status);
        if status != expected && expected != ANY {
            wrong.push(format!("{what}: {status} instead of {expected}"));
        }
        let Some(answer) = answer else { return };
        if answer.header("content-type") == Some("application/problem+json") {
            problems += 1;
            let text = format!("{:?}\n{}", answer.headers, answer.text());
            wrong.extend(heard(&text).map(|heard| format!("the problem document of {what}: {heard}")));
        }
    };
    for (what, bytes, expected) in requests(&keys) {
        let mut connection = client.connect();
        connection.write(bytes);
        judge(what, expected, connection.try_answer("GET"));
    }
    // plain HTTP, where TLS was meant; TLS, where HTTP was meant; neither
    let plain = request("GET", "/a", &[("Authorization", &format!("Bearer {CANARY}"))], "");
    judge("plain HTTP", 403, Some(gateway.plain().send(plain)));
    for bytes in [
        format!("GET /{CANARY} HTTP/1.1\r\n\r\n"),
        format!("{CANARY}\r\n\r\n").repeat(20),
    ] {
        for address in [gateway.https, gateway.http] {
            let mut connection = Client::new(address).connect();
            connection.write(&bytes);
            // whatever it makes of that
            let _ = connection.try_answer("GET");
        }
    }
    // HTTP/2, and a client that leaves in the middle of a body
    let cookie = format!("a={CANARY}");
    for (path, expected) in [
        ("/a?q=CANARY", 401),
        ("/nothing?q=CANARY", 404),
        ("/broken/ok", 200),
    ] {
        let all = [
            ("authorization", CANARY),
            ("cookie", &cookie),
            ("x-api-key", CANARY),
        ];
        let path = path.replace("CANARY", CANARY);
        judge(
            &path,
            expected,
            Some(h2::get(gateway.https, &gateway.authority, &path, &all)),
        );
    }
    let begun = request(
        "POST",
        "/small",
        &[("Content-Type", "application/json"), ("Content-Length", "8")],
        "",
    );
    let mut leaving = client.connect();
    leaving.write(begun + "\"c4");
    drop(leaving);
    // too many of one address
    let flooding = request("GET", "/a", &[("Cookie", &cookie)], "");
    let mut connection = client.connect();
    let flooded = (0..5000).find_map(|_| {
        connection.write(&flooding);
        Some(connection.answer()).filter(|answer| answer.status == 429)
    });
    judge("flood", 429, flooded);

    eventually("the summary of the credential that was refused twice", || {
        let told = |record: &Value| record["durward.refusals.count"].is_u64();
        gateway.records().iter().any(told).then_some(())
    });
    let sinks = sinks(&gateway);
    for (sink, text) in &sinks {
        wrong.extend(heard(text).map(|heard| format!("{sink}: {heard}")));
    }
    assert!(wrong.is_empty(), "at level {level}:\n{}", wrong.join("\n"));
    // nothing is said where nothing is written
    assert!(problems > 30 && sinks[0].1.lines().count() > 50, "{problems}");
    let says = sinks[2].1.contains("durward: runs");
    assert_eq!(says, !matches!(level, "off" | "error" | "warn"), "{}", sinks[2].1);
}

// S84, S85
#[test]
fn no_secret_appears_anywhere_at_any_level_of_the_log() {
    std::thread::scope(|scope| {
        for level in ["error", "warn", "info", "debug", "trace"] {
            scope.spawn(move || try_all(level));
        }
    });
}
