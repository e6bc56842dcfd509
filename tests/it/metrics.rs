//! What is counted, and that it is written down.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::support::pki::authority;
use crate::support::{Gateway, Keys, Origin, Reply, eventually, refusing_address};

/// The value of the series with all of these labels, in any order.
fn value(metrics: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let line = metrics.lines().find(|line| {
        line.split(['{', ' ']).next() == Some(name)
            && labels
                .iter()
                .all(|(label, value)| line.contains(&format!("{label}=\"{value}\"")))
    })?;
    line.rsplit(' ').next()?.parse().ok()
}

fn start(keys: &Keys, origin: &Origin, nobody: std::net::SocketAddr) -> Gateway {
    let ca = authority("ca").root();
    let body = format!(
        "{}truststores: {{ t: {{ ca: [ca.pem], crl: [ca.crl] }} }}\n\
         flood: {{ per_address: 1000 }}\n\
         conditions: {{ away: {{ mode: shadow, networks: {{ deny: [127.0.0.0/8] }} }} }}\n\
         limits: {{ few: {{ rate: 2/h, key: subject, max_keys: 100 }} }}\n\
         upstreams:\n\
         \x20 vehicles: {{ targets: [\"{}\"], timeouts: {{ total: 300ms }}, connect_retries: 0 }}\n\
         \x20 half: {{ targets: [\"{nobody}\", \"{}\"] }}\n\
         \x20 unknown: {{ targets: [\"name.invalid:80\"] }}\n\
         routes:\n\
         \x20 - {{ id: liens, match: {{ methods: [GET], path: \"/liens/{{how}}\" }}, auth: {{ jwt: main }}, limits: [few], upstream: vehicles }}\n\
         \x20 - {{ id: open, match: {{ methods: [GET], path: \"/open/{{how}}\" }}, public: {{ reason: test, owner: us }}, upstream: vehicles }}\n\
         \x20 - {{ id: half, match: {{ methods: [GET], path: /half }}, public: {{ reason: test, owner: us }}, upstream: half }}\n\
         \x20 - {{ id: unknown, match: {{ methods: [GET], path: /unknown }}, public: {{ reason: test, owner: us }}, conditions: [away], upstream: unknown }}\n",
        keys.inline(),
        origin.address,
        origin.address
    );
    Gateway::with(&body)
        .file("ca.pem", ca.pem())
        .file("ca.crl", ca.revoking(&[], -60, 86_400))
        .start()
}

#[test]
fn limits_verdicts_and_upstreams_are_counted_by_name() {
    let origin = Origin::answering(|seen| match seen.target.rsplit('/').next() {
        Some("fails") => Reply::new(503, &[], "down"),
        Some("slow") => Reply::ok().after(Duration::from_millis(700)),
        Some("breaks") => Reply::raw("").closing(),
        _ => Reply::ok(),
    });
    let (keys, (_held, nobody)) = (Keys::new("k1"), refusing_address());
    let gateway = start(&keys, &origin, nobody);
    let client = gateway.client();
    let (ada, bob) = (keys.token(json!({})), keys.token(json!({ "sub": "bob" })));
    for (token, status) in [(&ada, 200), (&ada, 200), (&ada, 429), (&bob, 200), (&ada, 429)] {
        assert_eq!(client.get_with("/liens/1", token).status, status);
    }
    for (path, status) in [
        ("/open/fails", 503),
        ("/open/slow", 504),
        ("/open/breaks", 502),
        ("/unknown", 503),
    ] {
        assert_eq!(client.get(path, &[]).status, status, "{path}");
    }
    for _ in 0..2 {
        assert_eq!(client.get("/half", &[]).status, 200);
    }

    // a request is counted when it is over, which its client can see a little earlier
    let metrics = eventually("all are counted", || {
        let metrics = gateway.admin("/metrics").text();
        let over = value(&metrics, "http_server_active_requests", &[]) == Some(0.0);
        over.then_some(metrics)
    });
    let is = |name: &str, labels: &[(&str, &str)], expected: f64| {
        assert_eq!(
            value(&metrics, name, labels),
            Some(expected),
            "{name} {labels:?}\n{metrics}"
        );
    };
    is("durward_rate_limited_total", &[("limit", "few")], 2.0);
    is("durward_limit_keys", &[("limit", "few")], 2.0);
    is("durward_limit_keys_max", &[("limit", "few")], 512.0);
    is("durward_limit_evictions_total", &[("limit", "few")], 0.0);
    is("durward_flood_limit", &[], 1000.0);
    is("durward_token_verdict_lookups_total", &[("found", "good")], 3.0);
    is("durward_token_verdict_lookups_total", &[("found", "none")], 2.0);
    is("durward_token_verdicts", &[("verdict", "good")], 2.0);
    is("durward_jwks_keys", &[("issuer", "main")], 1.0);

    let target = origin.address.to_string();
    let vehicles = [("upstream", "vehicles"), ("target", target.as_str())];
    let with = |label: (&'static str, &'static str)| [vehicles[0], vehicles[1], label];
    is(
        "durward_upstream_response_seconds_count",
        &with(("status_class", "2xx")),
        3.0,
    );
    is(
        "durward_upstream_response_seconds_count",
        &with(("status_class", "5xx")),
        1.0,
    );
    is(
        "durward_upstream_failures_total",
        &with(("reason", "upstream_timeout")),
        1.0,
    );
    let broken = value(
        &metrics,
        "durward_upstream_failures_total",
        &with(("reason", "upstream_broken")),
    );
    // 3 + 1 answers, a timeout, and what broke: once, and once more if it was tried again on a new connection
    is(
        "durward_upstream_attempts_total",
        &vehicles,
        5.0 + broken.unwrap(),
    );
    let nobody = nobody.to_string();
    let half = [("upstream", "half"), ("target", nobody.as_str())];
    let refused = [half[0], half[1], ("reason", "upstream_connect_failed")];
    // a further attempt takes the next turn, so that the first is always with the one that is away
    is("durward_upstream_failures_total", &refused, 2.0);
    is("durward_upstream_attempts_total", &half, 2.0);
    is("durward_upstream_resolved", &[("upstream", "unknown")], 0.0);
    is(
        "durward_upstream_failures_total",
        &[("upstream", "unknown"), ("reason", "upstream_unresolved")],
        1.0,
    );

    is(
        "durward_shadow_denials_total",
        &[
            ("route", "unknown"),
            ("gate", "authz"),
            ("reason", "network_not_allowed"),
        ],
        1.0,
    );

    // what operators read names each of them, and nothing else
    let page =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md")).unwrap();
    let documented: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    let told: BTreeSet<&str> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next())
        // keys that come with the configuration have no age, no issuer is asked about tokens, no list about what was taken
        // back, refused credentials are not counted, no connection was at fault, and nothing is streamed here
        .chain([
            "durward_failed_authentication_crowded_total",
            "durward_failed_authentication_keys",
            "durward_revocation_current",
            "durward_revocation_entries",
            "durward_revocation_usable",
            "durward_introspections_total",
            "durward_introspection_failures",
            "durward_jwks_age_seconds",
            "durward_connections_refused_total",
            "durward_connections_closed_total",
            "durward_streams_open",
            "durward_streams_ended_total",
            // nobody asks to be told of tokens from several networks
            "durward_shared_tokens_total",
            // no certificate here is ordered, and none has a responder
            "durward_acme_orders_total",
            "durward_acme_failures",
            "durward_acme_next_order_timestamp_seconds",
            "durward_ocsp_staple_next_update_seconds",
            "durward_ocsp_failures",
            "durward_ocsp_questions_total",
        ])
        .collect();
    assert_eq!(documented, told);
}

// readiness names what is missing
#[test]
fn an_upstream_without_an_address_and_an_issuer_without_keys_are_named_by_readiness() {
    let (_held, nobody) = refusing_address();
    let gateway = Gateway::start(&format!(
        "issuers: {{ away: {{ issuer: \"https://a.example\", audiences: [a], jwks: {{ url: \"http://{nobody}/\" }} }} }}\n\
         upstreams: {{ unknown: {{ targets: [\"name.invalid:80\"] }} }}\n\
         routes: [{{ match: {{ methods: [GET], path: / }}, auth: {{ jwt: away }}, upstream: unknown }}]\n"
    ));
    let answer = gateway.admin("/readyz");
    assert_eq!((answer.status, &answer.json()["ready"]), (503, &json!(false)));
    let failing = answer.json()["failing"].clone();
    let names = |key: &str| -> Vec<String> {
        let all = failing.as_array().unwrap().iter();
        all.filter_map(|one| one[key].as_str().map(str::to_owned))
            .collect()
    };
    assert_eq!(names("dependency"), ["keys", "upstream"]);
    assert_eq!(
        (names("issuer"), names("upstream")),
        (vec!["away".to_owned()], vec!["unknown".to_owned()])
    );
}
