//! API keys from their making to their end, and credentials that a route asks for together.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::config_keys::credentials::new_key;
use crate::support::gateway::{binary, check};
use crate::support::issuer::{AUDIENCE, ISSUER};
use crate::support::{Answer, Folder, Gateway, Keys, Origin, Reply, eventually};

/// Runs `durward keys` with these arguments.
fn keys(arguments: &[&str]) -> (bool, String) {
    let output = binary().arg("keys").args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

fn reason(gateway: &Gateway, answer: &Answer) -> String {
    let record = gateway.record(answer.header("x-request-id").unwrap());
    record["error.type"].as_str().unwrap_or("none").to_owned()
}

// S55, S56, U24, S85
#[test]
fn a_key_is_printed_once_kept_as_a_digest_and_says_who_calls() {
    let origin = Origin::start();
    let start = Gateway::with(&format!(
        "keys: {{ partners: {{ file: partners.json }} }}\nroles: {{ clerk: [clerk] }}\nupstreams: {{ o: {{ targets: [\"{}\"] }} }}\nroutes:\n\
         - {{ match: {{ methods: [GET], path: / }}, auth: {{ api_key: partners, scopes: [read], roles: [clerk] }}, upstream: o }}\n\
         - {{ match: {{ methods: [GET], path: /write }}, auth: {{ api_key: partners, scopes: [write] }}, upstream: o }}\n\
         - {{ match: {{ methods: [GET], path: /public }}, public: {{ reason: probe, owner: us }}, upstream: o }}\n",
        origin.address
    ));
    let file = start.path("partners.json");
    let key = new_key(&file, "acme", &["--scope", "read", "--role", "clerk"]);
    assert!(key.starts_with("dwk_live_"), "{key}");
    let kept = std::fs::read_to_string(&file).unwrap();
    let secret = key.split('_').nth(2).unwrap();
    assert!(!kept.contains(secret), "{kept}");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let gateway = start.start();
    let client = gateway.client();
    let answer = client.get("/", &[("X-Api-Key", &key)]);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = origin.only();
    assert_eq!(
        (seen.header("x-user-id"), seen.header("x-roles")),
        (Some("acme"), Some("clerk"))
    );
    assert_eq!(seen.header("x-api-key"), None, "ours alone");
    let record = gateway.record(answer.header("x-request-id").unwrap());
    assert_eq!(
        (
            &record["user.id"],
            &record["durward.client.id"],
            &record["durward.issuer"]
        ),
        (&"acme".into(), &"acme".into(), &"partners".into())
    );
    // in no spelling, and not where nobody looks at it
    let answer = client.get("/public", &[("X_Api_Key", &key)]);
    assert_eq!(answer.status, 200);
    let seen = origin.seen().pop().unwrap();
    assert_eq!((seen.header("x_api_key"), seen.header("x-api-key")), (None, None));

    let answer = client.get("/write", &[("X-Api-Key", &key)]);
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (403, "insufficient_scope")
    );
    assert_eq!(
        answer.header("www-authenticate"),
        None,
        "no token is asked for here"
    );
    let challenge = |answer: &Answer| answer.header("www-authenticate").unwrap().to_owned();
    let answer = client.get("/", &[]);
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (401, "credentials_missing")
    );
    assert_eq!(challenge(&answer), "ApiKey realm=\"durward\"");
    for (headers, path, expected) in [
        (vec![("X-Api-Key", "hunter2")], "/", "api_key_malformed"),
        (
            vec![("X-Api-Key", &key[..key.len() - 1])],
            "/",
            "api_key_malformed",
        ),
        (
            vec![("X-Api-Key", &*key), ("X-Api-Key", &*key)],
            "/",
            "api_key_repeated",
        ),
        (vec![], "/?api_key=1", "api_key_in_query"),
        (vec![("X-Api-Key", &*key)], "/?X-API-KEY=1", "api_key_in_query"),
    ] {
        let answer = client.get(path, &headers);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (401, "invalid_api_key"),
            "{expected}"
        );
        assert_eq!(reason(&gateway, &answer), expected);
        assert!(challenge(&answer).starts_with("ApiKey realm=\"durward\", error=\"invalid_api_key\""));
    }
    let said = gateway.messages() + &gateway.output() + &format!("{:?}", gateway.records());
    assert!(!said.contains(secret));
}

// S55: several at once, each with an end; S17
#[test]
fn keys_come_and_go_while_the_gateway_runs() {
    let start = Gateway::with(
        "keys: { partners: { file: partners.json } }\n\
         routes: [{ match: { methods: [GET], path: / }, auth: { api_key: partners }, respond: 200 }]\n",
    );
    let file = start.path("partners.json");
    let path = file.display().to_string();
    let old = new_key(&file, "acme", &[]);
    let short = new_key(&file, "acme", &["--expires", "1s"]);
    let gateway = start.start();
    let client = gateway.client();
    let ask = |key: &str| client.get("/", &[("X-Api-Key", key)]);
    assert_eq!(ask(&old).status, 200);
    let answer = eventually("the short one ends", || {
        Some(ask(&short)).filter(|answer| answer.status != 200)
    });
    assert_eq!(reason(&gateway, &answer), "api_key_expired");

    let new = new_key(&file, "acme", &[]);
    eventually("the new key is read", || (ask(&new).status == 200).then_some(()));
    assert_eq!(ask(&old).status, 200, "both");
    let (good, listed) = keys(&["list", "--json", "-f", &path]);
    assert!(good, "{listed}");
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let states: Vec<&str> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["active", "expired", "active"]);

    let id = listed[0]["id"].as_str().unwrap();
    let (good, said) = keys(&["revoke", "-f", &path, "--id", id]);
    assert!(good && said == format!("revoked {id} of acme\n"), "{said}");
    let answer = eventually("the old key is refused", || {
        Some(ask(&old)).filter(|answer| answer.status != 200)
    });
    assert_eq!(
        (answer.status, reason(&gateway, &answer).as_str()),
        (401, "api_key_revoked")
    );
    assert_eq!(ask(&new).status, 200);
    let (good, said) = keys(&["revoke", "-f", &path, "--id", id]);
    assert!(!good && said.contains("no such key"), "{said}");

    // what was found somewhere is taken back by itself
    let mut child = binary()
        .args(["keys", "revoke", "--leaked", "-f", &path])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), format!("{new}\n").as_bytes()).unwrap();
    assert!(child.wait_with_output().unwrap().status.success());
    eventually("the leaked key is refused", || {
        (ask(&new).status == 401).then_some(())
    });

    // what is not a file of keys changes nothing
    std::fs::write(&file, "{}").unwrap();
    eventually("the fault is told", || {
        gateway.messages().contains("not a file of keys").then_some(())
    });
    assert_eq!(ask(&new).status, 401);
    let (good, said) = keys(&["new", "-f", &path, "--client", "acme"]);
    assert!(!good && said.contains("is no file of keys"), "{said}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "{}");
}

// S55
#[test]
fn keys_made_at_the_same_time_are_all_kept_and_all_different() {
    let folder = Folder::new();
    let file = folder.0.join("keys.json");
    let made: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|n| {
                let file = &file;
                scope.spawn(move || new_key(file, &format!("client-{n}"), &[]))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let distinct: std::collections::BTreeSet<&String> = made.iter().collect();
    assert_eq!(distinct.len(), 8);
    let kept: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(kept["keys"].as_array().unwrap().len(), 8);
    let names: Vec<_> = std::fs::read_dir(&folder.0)
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert_eq!(names, ["keys.json"], "nothing is left behind");
}

/// What a request has of a kind of credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Has {
    None,
    Good,
    Bad,
}

/// The rule, written down once more: with these credentials, in the order of the list.
fn expected(combination: &str, parts: [Has; 2]) -> u16 {
    let any_bad = parts.contains(&Has::Bad);
    let good = parts.iter().filter(|part| **part == Has::Good).count();
    match (combination, any_bad, good) {
        (_, true, _) => 401,
        ("any_of", false, 1..) | ("all_of", false, 2) => 200,
        _ => 401,
    }
}

// S28, S61, M14
#[test]
fn every_combination_of_two_credentials_holds_to_its_truth_table() {
    const OPAQUE: &str = "opaque-and-good";
    let signing = Keys::new("k1");
    let issuer = Origin::answering(|seen| {
        let is_good = String::from_utf8_lossy(&seen.body).contains(OPAQUE);
        let said = json!({ "active": is_good, "aud": AUDIENCE, "sub": "bob", "scope": "read" });
        Reply::new(200, &[("Content-Type", "application/json")], &said.to_string())
    });
    let origin = Origin::start();
    let mut config = format!(
        "issuers:\n  main: {{ issuer: \"{ISSUER}\", audiences: [{AUDIENCE}], jwks: {{ inline: '{}' }}, introspection: {{ url: \"http://{}/\", client_id: us, client_secret: \"${{env:PATH}}\" }} }}\n\
         keys: {{ partners: {{ file: partners.json }}, apps: {{ file: apps.json, header: x-app, purpose: identification }} }}\n\
         upstreams: {{ o: {{ targets: [\"{}\"] }} }}\nroutes:\n",
        signing.jwks(),
        issuer.address,
        origin.address
    );
    // two kinds that one request can have at once
    let pairs = [
        ("jwt: main", "api_key: partners"),
        ("api_key: partners", "jwt: main"),
        ("introspection: main", "api_key: partners"),
        ("api_key: partners", "introspection: main"),
        ("jwt: main", "api_key: apps"),
        ("introspection: main", "api_key: apps"),
    ];
    let combinations: Vec<(&str, usize)> = ["any_of", "all_of"]
        .into_iter()
        .flat_map(|combination| (0..pairs.len()).map(move |pair| (combination, pair)))
        // S61: no key that only identifies is enough
        .filter(|(combination, pair)| *combination == "all_of" || !pairs[*pair].1.contains("apps"))
        .collect();
    for (combination, pair) in &combinations {
        let (first, second) = pairs[*pair];
        config += &format!(
            "- {{ match: {{ methods: [GET], path: /{combination}/{pair} }}, auth: {{ {combination}: [{{ {first} }}, {{ {second} }}] }}, upstream: o }}\n"
        );
    }
    let start = Gateway::with(&config);
    let partner = new_key(&start.path("partners.json"), "acme", &[]);
    let app = new_key(&start.path("apps.json"), "app", &[]);
    let gateway = start.start();
    let client = gateway.client();
    let (good, forged) = (
        format!("Bearer {}", signing.token(json!({}))),
        format!("Bearer {}", Keys::new("k1").token(json!({}))),
    );
    // a header for a kind of credential, and whom it makes of the caller
    let sent = |kind: &str, has: Has| -> Option<(&'static str, String)> {
        let is_good = has == Has::Good;
        (has != Has::None).then(|| match kind {
            "jwt: main" => (
                "Authorization",
                if is_good { good.clone() } else { forged.clone() },
            ),
            "introspection: main" => (
                "Authorization",
                format!("Bearer {}", if is_good { OPAQUE } else { "opaque-and-bad" }),
            ),
            "api_key: apps" => (
                "X-App",
                if is_good {
                    app.clone()
                } else {
                    partner.clone() + "x"
                },
            ),
            _ => ("X-Api-Key", if is_good { partner.clone() } else { app.clone() }),
        })
    };
    let subject = |kind: &str| match kind {
        "jwt: main" => "ada",
        "introspection: main" => "bob",
        _ => "acme",
    };
    let all = [Has::None, Has::Good, Has::Bad];
    let mut admitted = 0;
    for (combination, pair) in &combinations {
        let (first, second) = pairs[*pair];
        for a in all {
            for b in all {
                let what = format!("{combination} [{first}, {second}] with {a:?}, {b:?}");
                let headers: Vec<(&str, String)> =
                    sent(first, a).into_iter().chain(sent(second, b)).collect();
                let headers: Vec<(&str, &str)> =
                    headers.iter().map(|(name, value)| (*name, &**value)).collect();
                let answer = client.get(&format!("/{combination}/{pair}"), &headers);
                assert_eq!(
                    answer.status,
                    expected(combination, [a, b]),
                    "{what}: {}",
                    answer.text()
                );
                if answer.status == 200 {
                    admitted += 1;
                    let caller = if a == Has::Good {
                        subject(first)
                    } else {
                        subject(second)
                    };
                    let seen = origin.seen().pop().unwrap();
                    assert_eq!(seen.header("x-user-id"), Some(caller), "{what}");
                    assert_eq!(
                        (seen.header("x-api-key"), seen.header("x-app")),
                        (None, None),
                        "{what}"
                    );
                } else {
                    let challenge = answer.header("www-authenticate").unwrap();
                    let bad = [a, b].contains(&Has::Bad);
                    // of all that are asked for, what is missing may be noticed first
                    let missing = *combination == "all_of" && [a, b].contains(&Has::None);
                    let faulty = bad && (!missing || challenge.contains("error="));
                    assert_eq!(challenge.contains("error="), faulty, "{what}: {challenge}");
                }
            }
        }
    }
    assert_eq!(admitted, origin.seen().len(), "nothing else came through");
    assert_eq!(admitted, 4 * 3 + 6);
}

// M14: one route, three kinds
#[test]
fn a_token_that_looks_signed_is_never_asked_about_where_signed_ones_are_taken() {
    let signing = Keys::new("k1");
    let issuer = Origin::answering(|_| {
        let said = json!({ "active": true, "aud": AUDIENCE, "sub": "bob" });
        Reply::new(200, &[("Content-Type", "application/json")], &said.to_string())
    });
    let gateway = Gateway::start(&format!(
        "issuers:\n  main: {{ issuer: \"{ISSUER}\", audiences: [{AUDIENCE}], jwks: {{ inline: '{}' }}, introspection: {{ url: \"http://{}/\", client_id: us, client_secret: \"${{env:PATH}}\" }} }}\n\
         routes: [{{ match: {{ methods: [GET], path: / }}, auth: {{ any_of: [{{ jwt: main }}, {{ introspection: main }}] }}, respond: 200 }}]\n",
        signing.jwks(),
        issuer.address
    ));
    let client = gateway.client();
    assert_eq!(client.get_with("/", &signing.token(json!({}))).status, 200);
    // the issuer would say that it is active
    let answer = client.get_with("/", &Keys::new("k1").token(json!({})));
    assert_eq!(
        (answer.status, reason(&gateway, &answer).as_str()),
        (401, "signature_invalid")
    );
    assert_eq!(issuer.seen().len(), 0);
    assert_eq!(client.get_with("/", "opaque").status, 200);
    assert_eq!(issuer.seen().len(), 1);
}

// S28, S61: what cannot be meant is refused when the file is read
#[test]
fn combinations_that_mean_nothing_are_refused_with_their_place() {
    let folder = Folder::new();
    for name in ["a.json", "b.json", "apps.json"] {
        folder.write(name, crate::config_keys::credentials::NO_KEYS);
    }
    let asked =
        "introspection: { url: \"https://id.example/\", client_id: us, client_secret: \"${env:PATH}\" }";
    for (auth, expected) in [
        ("scopes: [a]", "`auth` has exactly one of"),
        ("jwt: main, api_key: a", "`auth` has exactly one of"),
        ("any_of: []", "`auth` has exactly one of"),
        (
            "any_of: [{ jwt: main, api_key: a }]",
            "each entry has exactly one of",
        ),
        (
            "any_of: [{ jwt: main }, { jwt: other }]",
            "there is a `jwt` already",
        ),
        (
            "any_of: [{ introspection: main }, { introspection: other }]",
            "there is an `introspection` already",
        ),
        (
            "any_of: [{ api_key: a }, { api_key: b }]",
            "sent in the same header",
        ),
        (
            "all_of: [{ api_key: a }, { api_key: b }]",
            "sent in the same header",
        ),
        (
            "all_of: [{ jwt: main }, { jwt: other }]",
            "a request carries one token",
        ),
        ("api_key: apps", "authenticate nobody"),
        (
            "any_of: [{ jwt: main }, { api_key: apps }]",
            "authenticate nobody",
        ),
        (
            "all_of: [{ api_key: apps }, { jwt: main }]",
            "authenticate nobody",
        ),
        ("api_key: c", "unknown ring of keys `c`"),
        ("introspection: nobody", "unknown issuer `nobody`"),
        ("introspection: signed", "is not asked about tokens"),
        ("jwt: asked", "has no keys to check signatures with"),
    ] {
        let config = format!(
            "version: 1\nlisteners: [{{ address: \"127.0.0.1:1\", plaintext: {{ reason: test }} }}]\n\
             issuers:\n  main: {{ issuer: \"https://a.example\", audiences: [x], jwks: {{ url: \"https://a.example/k\" }}, {asked} }}\n\
             \x20 other: {{ issuer: \"https://b.example\", audiences: [x], discovery: true, {asked} }}\n\
             \x20 signed: {{ issuer: \"https://c.example\", audiences: [x], discovery: true }}\n\
             \x20 asked: {{ issuer: \"https://d.example\", audiences: [x], {asked} }}\n\
             keys: {{ a: {{ file: a.json }}, b: {{ file: b.json }}, apps: {{ file: apps.json, header: x-app, purpose: identification }} }}\n\
             routes: [{{ match: {{ methods: [GET], path: / }}, auth: {{ {auth} }}, respond: 200 }}]\n"
        );
        let (good, said) = check(&folder, &config);
        assert!(!good && said.contains(expected), "{auth}: {said}");
        assert!(said.contains("(routes[0].auth"), "{auth}: {said}");
        assert!(said.contains("1 errors, 0 warnings"), "{auth}: {said}");
    }
}
