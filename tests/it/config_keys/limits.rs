//! `flood:`, `failed_authentication:`, `limits:` and the limits of a route

use serde_json::json;

use super::Row;
use super::observe::{KEYS, running};
use crate::support::Gateway;

pub fn rows() -> Vec<Row> {
    vec![
        Row {
            key: "flood.per_address",
            settings: [("3", "some refused"), ("100000", "none refused")],
            observe: |most| {
                let gateway = running(&format!(
                    "flood: {{ per_address: {most} }}\n{}",
                    public("[]", "global")
                ));
                let mut client = gateway.client().connect();
                let mut refused = 0;
                // more than three for every second that this can take
                for _ in 0..200 {
                    client.write("GET / HTTP/1.1\r\nHost: api.example\r\n\r\n");
                    let Some(answer) = client.try_answer("GET") else {
                        client = gateway.client().connect();
                        continue;
                    };
                    refused += usize::from(answer.status == 429);
                }
                if refused > 0 {
                    "some refused"
                } else {
                    "none refused"
                }
                .to_owned()
            },
        },
        Row {
            key: "failed_authentication.per_address",
            settings: [("1/h", "401 429 429"), ("2/h", "401 401 429")],
            observe: |rate| tried(&format!("per_address: {rate}, per_account: false")),
        },
        Row {
            key: "failed_authentication.per_account",
            settings: [("1/h", "401 429 429"), ("false", "401 401 401")],
            observe: |rate| tried(&format!("per_address: false, per_account: {rate}")),
        },
        Row {
            key: "failed_authentication.mode",
            settings: [("enforce", "401 429 429"), ("shadow", "401 401 401")],
            observe: |mode| tried(&format!("per_address: 1/h, mode: {mode}")),
        },
        Row {
            // where all places are taken by addresses at their limit, there is none for one more
            key: "failed_authentication.max_keys",
            settings: [("1", "some refused"), ("65536", "none refused")],
            observe: |most| {
                let gateway = running(&format!(
                    "trusted_proxies: [127.0.0.0/8]\n\
                     failed_authentication: {{ per_address: 1/h, per_account: false, max_keys: {most} }}\n{}",
                    protected()
                ));
                let mut client = gateway.client().connect();
                let mut refused = 0;
                for number in 0..1500 {
                    let (high, low) = (number / 250, number % 250);
                    client.write(format!(
                        "GET / HTTP/1.1\r\nHost: api.example\r\nAuthorization: Bearer x-{number}\r\n\
                         X-Forwarded-For: 203.0.{high}.{low}\r\n\r\n"
                    ));
                    refused += usize::from(client.answer().status == 429);
                }
                if refused > 0 {
                    "some refused"
                } else {
                    "none refused"
                }
                .to_owned()
            },
        },
        Row {
            key: "limits.*.rate",
            settings: [("1/h", "200 429"), ("2/h", "200 200")],
            observe: |rate| {
                let gateway = running(&public("[strict]", "global").replace("1/h", rate));
                answers(&gateway, &[&[], &[]])
            },
        },
        Row {
            key: "limits.*.key",
            settings: [("subject", "200 200"), ("client_id", "200 429")],
            observe: |key| {
                let route = format!(
                    "{}{}",
                    KEYS.inline(),
                    public("[strict]", key).replace("public: { reason: x, owner: x }", "auth: { jwt: main }")
                );
                let gateway = running(&route);
                let bearer = |subject: &str| format!("Bearer {}", KEYS.token(json!({ "sub": subject })));
                let (ada, bob) = (bearer("ada"), bearer("bob"));
                answers(
                    &gateway,
                    &[&[("Authorization", &ada)], &[("Authorization", &bob)]],
                )
            },
        },
        Row {
            // where all that are counted have used up their limit, there is no place for one more
            key: "limits.*.max_keys",
            settings: [("1", "some refused"), ("65536", "none refused")],
            observe: |most| {
                let gateway = running(&format!(
                    "trusted_proxies: [127.0.0.0/8]\n{}",
                    public("[strict]", "address")
                        .replace("key: address", &format!("key: address, max_keys: {most}"))
                ));
                let mut client = gateway.client().connect();
                let mut refused = 0;
                for number in 0..1500 {
                    let (high, low) = (number / 250, number % 250);
                    client.write(format!(
                        "GET / HTTP/1.1\r\nHost: api.example\r\nX-Forwarded-For: 203.0.{high}.{low}\r\n\r\n"
                    ));
                    refused += usize::from(client.answer().status == 429);
                }
                if refused > 0 {
                    "some refused"
                } else {
                    "none refused"
                }
                .to_owned()
            },
        },
        Row {
            key: "routes[].limits",
            settings: [("[strict]", "200 429"), ("[]", "200 200")],
            observe: |limits| answers(&running(&public(limits, "global")), &[&[], &[]]),
        },
    ]
}

fn protected() -> String {
    format!(
        "{}routes: [{{ match: {{ methods: [GET], path: / }}, auth: {{ jwt: main }}, respond: 200 }}]\n",
        KEYS.inline()
    )
}

/// The statuses of three tokens of one subject with broken signatures.
fn tried(limits: &str) -> String {
    let gateway = running(&format!("failed_authentication: {{ {limits} }}\n{}", protected()));
    let forged = ["1", "2", "3"].map(|id| {
        let token = KEYS.token(json!({ "jti": id }));
        let (signed, _) = token.rsplit_once('.').unwrap();
        format!("Bearer {signed}.AAAA")
    });
    let headers = forged.each_ref().map(|bearer| [("Authorization", &**bearer)]);
    answers(&gateway, &headers.each_ref().map(|headers| &headers[..]))
}

/// A public route with these of the limits: `strict`, one an hour by this key.
fn public(limits: &str, key: &str) -> String {
    format!(
        "limits: {{ strict: {{ rate: 1/h, key: {key} }} }}\n\
         routes:\n- {{ match: {{ methods: [GET], path: / }}, public: {{ reason: x, owner: x }}, limits: {limits}, respond: 200 }}\n"
    )
}

/// The statuses of requests with these headers.
fn answers(gateway: &Gateway, requests: &[&[(&str, &str)]]) -> String {
    let statuses = requests
        .iter()
        .map(|headers| gateway.client().get("/", headers).status.to_string());
    statuses.collect::<Vec<_>>().join(" ")
}
