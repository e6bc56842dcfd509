//! `revocation:`

use std::time::{Duration, Instant};

use serde_json::json;

use super::Row;
use super::observe::{KEYS, check, offline};
use crate::support::redis::Redis;
use crate::support::{Gateway, eventually, free_address};

pub fn rows() -> Vec<Row> {
    vec![
        Row {
            key: "revocation.file",
            settings: [("of-eve.txt", "eve"), ("of-bob.txt", "bob")],
            observe: |file| {
                let gateway = Gateway::with(&body(&format!("file: {file}")))
                    .file("of-eve.txt", "sub main eve")
                    .file("of-bob.txt", "sub main bob")
                    .start();
                refused(&gateway)
            },
        },
        Row {
            key: "revocation.redis.url",
            settings: [("ONE", "eve"), ("TWO", "bob")],
            observe: |name| {
                let (one, two) = (Redis::start(), Redis::start());
                one.revoke("sub main eve");
                two.revoke("sub main bob");
                let gateway = Gateway::with(&body(&format!("redis: {{ url: \"${{env:{name}}}\" }}")))
                    .env("ONE", &one.url())
                    .env("TWO", &two.url())
                    .start();
                refused(&gateway)
            },
        },
        Row {
            key: "revocation.redis.ca",
            settings: [("durward.yaml", "not PEM"), ("absent.pem", "not there")],
            observe: |ca| {
                let url = super::attestations::kept("redis", "rediss://localhost");
                let redis = format!("redis: {{ url: \"{url}\", ca: {ca} }}");
                let said = check(&offline(&body(&redis)));
                if said.contains("cannot read") {
                    "not there"
                } else {
                    "not PEM"
                }
                .to_owned()
            },
        },
        Row {
            key: "revocation.redis.key",
            settings: [("durward:revoked", "eve"), ("another", "bob")],
            observe: |key| {
                let redis = Redis::start();
                redis.say(&["ZADD", "durward:revoked", "+inf", "sub main eve"]);
                redis.say(&["ZADD", "another", "+inf", "sub main bob"]);
                refused(&with(&redis, &format!(", key: {key}")))
            },
        },
        Row {
            key: "revocation.redis.channel",
            settings: [("durward:revoked", "eve"), ("another", "bob")],
            observe: |channel| {
                let redis = Redis::start();
                let gateway = with(&redis, &format!(", channel: {channel}, refresh: 1h"));
                eventually("the list is read", || {
                    (gateway.admin("/readyz").status == 200).then_some(())
                });
                redis.say(&["PUBLISH", "durward:revoked", "sub main eve"]);
                redis.say(&["PUBLISH", "another", "sub main bob"]);
                refused(&gateway)
            },
        },
        Row {
            key: "revocation.redis.refresh",
            settings: [("1s", "seen"), ("1h", "not seen")],
            observe: |refresh| {
                let redis = Redis::start();
                let gateway = with(&redis, &format!(", refresh: {refresh}"));
                eventually("the list is read", || {
                    (status(&gateway, "eve") == 200).then_some(())
                });
                // nobody is told
                redis.say(&["ZADD", "durward:revoked", "+inf", "sub main eve"]);
                within_seconds(3, || status(&gateway, "eve") == 401, ["seen", "not seen"])
            },
        },
        Row {
            key: "revocation.redis.timeout",
            settings: [("10ms", "given up"), ("30s", "waited for")],
            observe: |timeout| {
                // takes connections, and says nothing
                let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
                let gateway = Gateway::with(&body(&format!(
                    "redis: {{ url: \"${{env:REDIS}}\", timeout: {timeout} }}"
                )))
                .env("REDIS", &format!("redis://{}/", silent.local_addr().unwrap()))
                .start();
                let is_told = || {
                    let metrics = gateway.admin("/metrics").text();
                    metrics.contains("durward_revocation_current{source=\"redis\"} 0")
                };
                within_seconds(3, is_told, ["given up", "waited for"])
            },
        },
        Row {
            key: "revocation.redis.max_stale",
            settings: [("1s", "too old"), ("1h", "good enough")],
            observe: |span| {
                let mut redis = Redis::start();
                let gateway = with(&redis, &format!(", refresh: 1s, max_stale: {span}"));
                eventually("the list is read", || {
                    (status(&gateway, "eve") == 200).then_some(())
                });
                redis.stop();
                within_seconds(3, || status(&gateway, "eve") == 503, ["too old", "good enough"])
            },
        },
        Row {
            key: "revocation.redis.on_failure",
            settings: [("refuse", "503"), ("keep", "200")],
            observe: |on_failure| {
                let gateway = Gateway::with(&body(&format!(
                    "redis: {{ url: \"${{env:REDIS}}\", on_failure: {on_failure} }}"
                )))
                .env("REDIS", &format!("redis://{}/", free_address()))
                .start();
                status(&gateway, "eve").to_string()
            },
        },
    ]
}

fn body(revocation: &str) -> String {
    format!(
        "{}revocation: {{ {revocation} }}\n\
         routes: [{{ match: {{ methods: [GET], path: / }}, auth: {{ jwt: main }}, respond: 200 }}]\n",
        KEYS.inline()
    )
}

fn with(redis: &Redis, more: &str) -> Gateway {
    Gateway::with(&body(&format!("redis: {{ url: \"${{env:REDIS}}\"{more} }}")))
        .env("REDIS", &redis.url())
        .start()
}

fn status(gateway: &Gateway, subject: &str) -> u16 {
    let token = KEYS.token(json!({ "sub": subject }));
    gateway.client().get_with("/", &token).status
}

/// Who is refused first.
fn refused(gateway: &Gateway) -> String {
    let found = eventually("somebody is refused", || {
        ["eve", "bob"]
            .into_iter()
            .find(|subject| status(gateway, subject) == 401)
    });
    found.to_owned()
}

/// The first where it becomes true in this time, else the second.
fn within_seconds(seconds: u64, is_so: impl Fn() -> bool, [yes, no]: [&str; 2]) -> String {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(seconds) {
        if is_so() {
            return yes.to_owned();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    no.to_owned()
}
