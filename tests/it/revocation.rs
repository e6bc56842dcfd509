//! What was taken back before its end: refused within a second, remembered or not, and open streams end (U25, M11).

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::client::request;
use crate::support::gateway::binary;
use crate::support::issuer::now;
use crate::support::redis::Redis;
use crate::support::ws::{Frame, WebSockets};
use crate::support::{Answer, Gateway, Keys, Origin, Reply, eventually};

/// Until so much later it has to be effective.
const SECOND: Duration = Duration::from_secs(1);

struct House {
    keys: Keys,
    origin: Origin,
    sockets: WebSockets,
    gateway: Gateway,
}

/// `/` for tokens, `/key` for API keys, `/ws` for WebSockets, `/events` for streams, `/public` for everybody.
fn house(revocation: &str, files: &[(&str, &str)], environment: &[(&str, &str)]) -> House {
    let (keys, sockets) = (Keys::new("k1"), WebSockets::start());
    let origin = Origin::answering(|seen| {
        let kind = match &*seen.target {
            "/events" => "text/event-stream",
            "/open" => "text/csv",
            _ => return Reply::ok(),
        };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n");
        let mut parts = vec![head.into_bytes()];
        parts.extend((0..300).map(|n| format!("d\r\ndata: {n:05}\n\n\r\n").into_bytes()));
        Reply {
            parts,
            delay: Duration::from_millis(50),
            close: false,
        }
    });
    let route = |path: &str, rules: &str| {
        format!("\x20 - {{ match: {{ methods: [GET], path: {path} }}, {rules}, upstream: o }}\n")
    };
    let mut start = Gateway::with(&format!(
        "revocation: {revocation}\n{}keys: {{ partners: {{ file: partners.json }} }}\n\
         upstreams: {{ o: {{ targets: [\"{}\"] }}, sockets: {{ targets: [\"{}\"] }} }}\nroutes:\n{}{}{}{}{}\
         \x20 - {{ match: {{ methods: [GET], path: /ws }}, auth: {{ jwt: main }}, websocket: {{}}, upstream: sockets }}\n",
        keys.inline(),
        origin.address,
        sockets.address,
        route("/", "auth: { jwt: main }"),
        route("/key", "auth: { api_key: partners }"),
        route("/events", "auth: { jwt: main }"),
        route("/open", "auth: { jwt: main }"),
        route("/public", "public: { reason: probe, owner: us }"),
    ));
    start = start.file(
        "partners.json",
        "{\"version\":1,\"environment\":\"live\",\"keys\":[]}",
    );
    for (name, text) in files {
        start = start.file(name, text);
    }
    for (name, value) in environment {
        start = start.env(name, value);
    }
    House {
        keys,
        origin,
        sockets,
        gateway: start.start(),
    }
}

fn with_redis(redis: &Redis, more: &str) -> House {
    let house = house(
        &format!("{{ redis: {{ url: \"${{env:REDIS}}\"{more} }} }}"),
        &[],
        &[("REDIS", &redis.url())],
    );
    eventually("the list is read", || {
        (house.gateway.admin("/readyz").status == 200).then_some(())
    });
    house
}

impl House {
    fn token(&self, changes: Value) -> String {
        self.keys.token(changes)
    }

    fn ask(&self, token: &str) -> Answer {
        self.gateway.client().get_with("/", token)
    }

    /// Waits until this token is refused, which has to be within a second of now.
    fn refused_soon(&self, token: &str) {
        let begun = Instant::now();
        let answer = eventually("it is refused", || {
            Some(self.ask(token)).filter(|answer| answer.status != 200)
        });
        let took = begun.elapsed();
        assert!(took < SECOND, "{took:?}");
        assert_eq!((answer.status, answer.code().as_str()), (401, "invalid_token"));
        assert_eq!(self.reason(&answer), "token_revoked");
    }

    fn reason(&self, answer: &Answer) -> String {
        let record = self.gateway.record(answer.header("x-request-id").unwrap());
        record["error.type"].as_str().unwrap_or("none").to_owned()
    }

    fn metric(&self, line: &str) -> bool {
        self.gateway
            .admin("/metrics")
            .text()
            .contains(&format!("{line}\n"))
    }

    fn write_list(&self, text: &str) {
        // in one step, as an editor does it
        let (new, file) = (
            self.gateway.folder.0.join("new"),
            self.gateway.folder.0.join("revoked.txt"),
        );
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, file).unwrap();
    }
}

// U25: by each kind of entry, warm verdicts included
#[test]
fn what_the_file_lists_is_refused_within_a_second_and_everybody_else_is_not() {
    let house = house("{ file: revoked.txt }", &[("revoked.txt", "# nobody\n")], &[]);
    let neighbour = house.token(json!({ "sub": "bob", "jti": "n", "client_id": "other" }));
    assert_eq!(house.ask(&neighbour).status, 200);
    let tokens: Vec<(String, Value)> = vec![
        ("jti main j-1".to_owned(), json!({ "jti": "j-1" })),
        ("sub main eve".to_owned(), json!({ "sub": "eve" })),
        ("sid main s-1".to_owned(), json!({ "sid": "s-1" })),
        ("client main app".to_owned(), json!({ "client_id": "app" })),
        (
            "issued-before main 2001-09-09T01:46:41Z".to_owned(),
            json!({ "iat": 1_000_000_000 }),
        ),
        (
            "issued-before * 2026-01-01T00:00:00Z sub carol".to_owned(),
            json!({ "sub": "carol", "iat": 1_000_000_000 + 2 }),
        ),
    ];
    let mut list = String::new();
    for (entry, changes) in tokens {
        let token = house.token(changes);
        assert_eq!(house.ask(&token).status, 200, "{entry}");
        list += &format!("{entry}\n");
        house.write_list(&list);
        house.refused_soon(&token);
        assert_eq!(house.ask(&neighbour).status, 200, "{entry}");
    }
    assert!(house.metric("durward_revocation_entries{source=\"file\"} 6"));
    // and back
    house.write_list("");
    let begun = Instant::now();
    let eve = house.token(json!({ "sub": "eve" }));
    eventually("it is forgiven", || (house.ask(&eve).status == 200).then_some(()));
    assert!(begun.elapsed() < SECOND * 2);
}

// U25, S54
#[test]
fn a_bad_list_changes_nothing_and_says_so() {
    let house = house("{ file: revoked.txt }", &[("revoked.txt", "sub main eve\n")], &[]);
    let (eve, bob) = (
        house.token(json!({ "sub": "eve" })),
        house.token(json!({ "sub": "bob" })),
    );
    assert_eq!((house.ask(&eve).status, house.ask(&bob).status), (401, 200));
    assert_eq!(house.origin.seen().len(), 1);
    for bad in ["sub main bob\nnonsense\n", "sub nobody bob\n"] {
        house.write_list(bad);
        eventually("it is told", || {
            house
                .metric("durward_revocation_current{source=\"file\"} 0")
                .then_some(())
        });
        assert_eq!((house.ask(&eve).status, house.ask(&bob).status), (401, 200));
        assert!(house.metric("durward_revocation_usable{source=\"file\"} 1"));
        house.write_list("sub main eve\n");
        eventually("and that it is good again", || {
            house
                .metric("durward_revocation_current{source=\"file\"} 1")
                .then_some(())
        });
    }
    std::fs::remove_file(house.gateway.folder.0.join("revoked.txt")).unwrap();
    eventually("a list that is gone", || {
        house
            .metric("durward_revocation_current{source=\"file\"} 0")
            .then_some(())
    });
    assert_eq!(house.ask(&eve).status, 401);
    let messages = house.gateway.messages();
    assert!(
        messages.contains("the list that was read last stays"),
        "{messages}"
    );
    assert!(messages.contains("line 2: it begins with none of"), "{messages}");
    let said = binary()
        .args(["status", "-c"])
        .arg(house.gateway.folder.0.join("durward.yaml"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("deny list  file: "), "{said}");
}

// U25, U2: never a good word about what is not known
#[test]
fn a_list_that_was_never_read_lets_nobody_in_but_the_public() {
    let house = house("{ file: revoked.txt }", &[], &[]);
    let bob = house.token(json!({ "sub": "bob" }));
    let answer = house.ask(&bob);
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "revocations_unavailable")
    );
    assert!(answer.header("retry-after").is_some());
    assert_eq!(house.gateway.client().get("/public", &[]).status, 200);
    let ready = house.gateway.admin("/readyz");
    assert_eq!(ready.status, 503);
    assert!(
        ready.text().contains("\"dependency\":\"revocation\""),
        "{}",
        ready.text()
    );
    house.write_list("");
    eventually("it is there", || (house.ask(&bob).status == 200).then_some(()));
    assert_eq!(house.gateway.admin("/readyz").status, 200);
}

// U25: push, and what was told while nobody listened
#[test]
fn what_redis_is_told_is_refused_within_a_second() {
    let redis = Redis::start();
    redis.say(&["ZADD", "durward:revoked", "+inf", "sub main before"]);
    // over long ago
    redis.say(&["ZADD", "durward:revoked", "1000000000", "sub main forgiven"]);
    let house = with_redis(&redis, ", refresh: 1h, max_stale: 2h");
    let token = |subject: &str| house.token(json!({ "sub": subject }));
    assert_eq!(house.ask(&token("before")).status, 401);
    assert_eq!(house.ask(&token("forgiven")).status, 200);
    for n in 0..5 {
        let eve = token(&format!("eve-{n}"));
        assert_eq!(house.ask(&eve).status, 200);
        redis.revoke(&format!("sub main eve-{n}"));
        house.refused_soon(&eve);
    }
    assert_eq!(house.ask(&token("bob")).status, 200);
    // any other message has the set read
    redis.say(&["ZREM", "durward:revoked", "sub main before"]);
    redis.say(&["PUBLISH", "durward:revoked", "reload"]);
    eventually("it is forgiven", || {
        (house.ask(&token("before")).status == 200).then_some(())
    });
    // what cannot be read is told of, and the others count
    redis.say(&["ZADD", "durward:revoked", "+inf", "nonsense"]);
    redis.say(&["PUBLISH", "durward:revoked", "reload"]);
    eventually("it is told", || {
        house
            .metric("durward_revocation_current{source=\"redis\"} 0")
            .then_some(())
    });
    assert_eq!(house.ask(&token("eve-0")).status, 401);
    assert!(!house.gateway.messages().contains("s3cret"));
}

// U25: away, and back
#[test]
fn while_redis_is_away_its_list_counts_until_it_is_too_old() {
    let mut redis = Redis::start();
    redis.say(&["ZADD", "durward:revoked", "+inf", "sub main eve"]);
    let house = with_redis(&redis, ", refresh: 1s, max_stale: 3s");
    let (eve, bob) = (
        house.token(json!({ "sub": "eve" })),
        house.token(json!({ "sub": "bob" })),
    );
    assert_eq!((house.ask(&eve).status, house.ask(&bob).status), (401, 200));
    let address = redis.address;
    redis.stop();
    let begun = Instant::now();
    assert_eq!(
        (house.ask(&eve).status, house.ask(&bob).status),
        (401, 200),
        "not at once"
    );
    let answer = eventually("it is too old", || {
        Some(house.ask(&bob)).filter(|answer| answer.status != 200)
    });
    let took = begun.elapsed();
    assert!((SECOND..SECOND * 5).contains(&took), "{took:?}");
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "revocations_unavailable")
    );
    assert_eq!(house.ask(&eve).status, 401, "what is known stays known");
    assert!(house.metric("durward_revocation_usable{source=\"redis\"} 0"));
    // an empty one: what it says counts
    let _redis = Redis::at(address);
    eventually("it is back", || (house.ask(&bob).status == 200).then_some(()));
    assert_eq!(house.ask(&eve).status, 200);
}

// U25: as the configuration says
#[test]
fn a_list_that_is_kept_counts_for_as_long_as_redis_is_away() {
    let redis = Redis::start();
    redis.say(&["ZADD", "durward:revoked", "+inf", "sub main eve"]);
    let house = with_redis(&redis, ", refresh: 1s, max_stale: 1s, on_failure: keep");
    let (eve, bob) = (
        house.token(json!({ "sub": "eve" })),
        house.token(json!({ "sub": "bob" })),
    );
    eventually("it is read", || (house.ask(&eve).status == 401).then_some(()));
    drop(redis);
    eventually("it is told", || {
        house
            .metric("durward_revocation_current{source=\"redis\"} 0")
            .then_some(())
    });
    let begun = Instant::now();
    while begun.elapsed() < SECOND * 2 {
        assert_eq!((house.ask(&eve).status, house.ask(&bob).status), (401, 200));
    }
}

// M11, U25: unaffected neighbours stay
#[test]
fn open_streams_of_who_was_revoked_end_within_a_second_and_their_neighbours_stay() {
    let redis = Redis::start();
    let house = with_redis(&redis, "");
    let _ = &house.sockets;
    let bearer = |subject: &str| {
        let token = house.token(json!({ "sub": subject, "exp": now() + 300 }));
        format!("Bearer {token}")
    };
    let (eve, bob) = (bearer("eve"), bearer("bob"));
    let socket = |bearer: &str| {
        let mut connection = house.gateway.client().connect();
        connection.upgrade("/ws", &[("Authorization", bearer)]);
        let head = connection.head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        connection
    };
    let stream = |path: &str, bearer: &str| {
        let mut connection = house.gateway.client().connect();
        connection.write(request("GET", path, &[("Authorization", bearer)], ""));
        assert_eq!(connection.status(), 200);
        connection
    };
    let (mut ended, mut stays) = (socket(&eve), socket(&bob));
    let (mut events, mut open) = (stream("/events", &eve), stream("/open", &eve));
    let mut other = stream("/events", &bob);
    redis.revoke("sub main eve");
    let begun = Instant::now();
    let frame = ended.frame().unwrap();
    assert_eq!((frame.code(), &frame.payload[2..]), (Some(1008), &b"revoked"[..]));
    let rest = String::from_utf8_lossy(&events.rest()).into_owned();
    assert!(rest.ends_with("0\r\n\r\n"), "a clean end: {rest:?}");
    let rest = String::from_utf8_lossy(&open.rest()).into_owned();
    assert!(
        !rest.ends_with("0\r\n\r\n"),
        "cut off, so that it is not taken for whole"
    );
    let took = begun.elapsed();
    assert!(took < SECOND, "{took:?}");
    // neighbours
    let hello = Frame {
        opcode: 1,
        payload: b"hello".to_vec(),
    };
    stays.send(&hello);
    assert_eq!(stays.frame().unwrap(), hello);
    // more than can have come before
    assert_eq!(other.bytes(1000).len(), 1000);
    eventually("they are counted", || {
        let metrics = house.gateway.admin("/metrics").text();
        ["websocket", "events"]
            .iter()
            .all(|kind| {
                metrics.contains(&format!(
                    "durward_streams_ended_total{{kind=\"{kind}\",reason=\"revoked\"}} 1"
                ))
            })
            .then_some(())
    });
    let record = eventually("the record of what was cut off", || {
        let mut all = house.gateway.records().into_iter();
        all.find(|record| record["url.path"] == "/open")
    });
    assert_eq!(record["error.type"], "token_revoked");
}

// S55, U25
#[test]
fn keys_are_revoked_by_their_client() {
    let house = house("{ file: revoked.txt }", &[("revoked.txt", "")], &[]);
    let file = house.gateway.folder.0.join("partners.json");
    let key = crate::config_keys::credentials::new_key(&file, "acme", &[]);
    let ask = || house.gateway.client().get("/key", &[("X-Api-Key", &key)]);
    eventually("the key is read", || (ask().status == 200).then_some(()));
    house.write_list("client partners acme\n");
    let answer = eventually("it is refused", || {
        Some(ask()).filter(|answer| answer.status != 200)
    });
    assert_eq!(
        (answer.status, house.reason(&answer).as_str()),
        (401, "api_key_revoked")
    );
}

// S17: what is followed changes with the configuration
#[test]
fn a_reload_can_begin_and_end_to_ask() {
    let house = house("{ file: revoked.txt }", &[("revoked.txt", "sub main eve\n")], &[]);
    let eve = house.token(json!({ "sub": "eve" }));
    assert_eq!(house.ask(&eve).status, 401);
    let file = house.gateway.folder.0.join("durward.yaml");
    let yaml = std::fs::read_to_string(&file).unwrap();
    let without = yaml.replace("revocation: { file: revoked.txt }\n", "");
    assert_ne!(yaml, without);
    std::fs::write(&file, without).unwrap();
    house.gateway.signal("HUP");
    eventually("it is not asked", || {
        (house.ask(&eve).status == 200).then_some(())
    });
    std::fs::write(&file, yaml).unwrap();
    house.gateway.signal("HUP");
    eventually("it is asked again", || {
        (house.ask(&eve).status == 401).then_some(())
    });
}
