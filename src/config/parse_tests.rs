//! The reading layer as a whole, against a small configuration of the usual shapes.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::config::scalar::{Secret, Size, Span, Text};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u8,
    #[serde(default)]
    listeners: Vec<Listener>,
    #[serde(default)]
    issuers: BTreeMap<String, Issuer>,
    #[serde(default)]
    routes: Vec<Route>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listener {
    #[expect(dead_code, reason = "only read")]
    address: Address,
    #[serde(default)]
    #[expect(dead_code, reason = "only read")]
    tls: Option<Profile>,
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Address(#[expect(dead_code, reason = "only read")] std::net::SocketAddr);

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
            .map(Self)
            .map_err(|_| format!("`{text}` is not an address and a port"))
    }
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Profile {
    Modern,
    Intermediate,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Issuer {
    #[expect(dead_code, reason = "only read")]
    issuer: Text,
    #[serde(default)]
    #[expect(dead_code, reason = "only read")]
    dsn: Option<Secret>,
    #[serde(default)]
    #[expect(dead_code, reason = "only read")]
    password: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Route {
    #[serde(rename = "match")]
    to: Match,
    #[serde(default)]
    access: Option<Access>,
    #[serde(default)]
    max_body: Option<Size>,
    #[serde(default)]
    timeout: Option<Span>,
    #[serde(default)]
    body: Option<OneOrMany>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Match {
    path: String,
    #[serde(default)]
    methods: Vec<String>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Access {
    Closed,
    Jwt(String),
    Public { reason: String },
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(untagged, expecting = "a content type or a list of them")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

fn lines(text: &str) -> Vec<String> {
    parse::<File>("f.yaml", text)
        .faults
        .iter()
        .map(Fault::one_line)
        .collect()
}

const VALID: &str = r#"
version: 1
listeners:
  - { address: "127.0.0.1:80", tls: modern }
issuers:
  main: { issuer: "https://${env:HOST}", dsn: "${env:DSN}", password: x }
routes:
  - match: { path: /a, methods: [GET] }
    access: { jwt: main }
    max_body: 1mb
    timeout: 30s
    body: [a/b, c/d]
  - match: { path: /b }
    access: closed
    max_body: 512
    body: a/b
  - match: { path: /c }
    access: { public: { reason: probe } }
"#;

#[test]
fn a_valid_file_is_read_without_faults() {
    let (file, positions) = parse::<File>("f.yaml", VALID).accept().unwrap();
    assert_eq!(
        (file.version, file.listeners.len(), file.issuers.len()),
        (1, 1, 1)
    );
    let [a, b, c] = file.routes.as_slice() else {
        panic!("three routes")
    };
    assert_eq!((a.to.path.as_str(), a.to.methods.len()), ("/a", 1));
    assert_eq!(a.access, Some(Access::Jwt("main".to_owned())));
    assert_eq!(a.timeout, Some(Span::from_secs(30)));
    assert_eq!(
        a.body,
        Some(OneOrMany::Many(vec!["a/b".to_owned(), "c/d".to_owned()]))
    );
    assert_eq!(
        (&b.access, b.max_body),
        (&Some(Access::Closed), Some(Size::new(512)))
    );
    assert_eq!(b.body, Some(OneOrMany::One("a/b".to_owned())));
    assert_eq!(
        c.access,
        Some(Access::Public {
            reason: "probe".to_owned()
        })
    );
    assert_eq!(positions.line("routes[2].access.public.reason"), 18);
}

const BROKEN: &str = r#"version: one
listeners:
  - { address: "127.0.0.1:80", tls: modren }
  - { address: localhost }
issuers:
  main:
    issuer: 5
    issuer: https://id.example
routes:
  - mathc: { path: /a }
    access: { jwt: main }
  - match: { path: /b, methods: GET }
    max_body: 1mb
    max_body: 2mb
  - match: { paths: [] }
  - access: closed
  - match: { path: /c }
    access: { publik: {} }
    timeout: 30
verzion: 2
"#;

#[test]
fn every_fault_of_a_broken_file_is_reported_in_one_go() {
    assert_eq!(BROKEN.lines().count(), 20);
    let expected = [
        "f.yaml:1:10: error: version: expected an integer from 0 to 255, found the text `one`",
        "f.yaml:3:37: error: listeners[0].tls: unknown value `modren` (did you mean `modern`?)",
        "f.yaml:4:16: error: listeners[1].address: `localhost` is not an address and a port",
        "f.yaml:7:13: error: issuers.main.issuer: expected text, found the integer `5` (put it in quotes to make it text)",
        "f.yaml:8:5: error: issuers.main.issuer: key `issuer` is set twice: first at line 7, column 5 (remove one of the two)",
        "f.yaml:10:5: error: routes[0].mathc: unknown key `mathc` (did you mean `match`?)",
        "f.yaml:12:33: error: routes[1].match.methods: expected a list, found the text `GET`",
        "f.yaml:14:5: error: routes[1].max_body: key `max_body` is set twice: first at line 13, column 5 (remove one of the two)",
        "f.yaml:15:14: error: routes[2].match.paths: unknown key `paths` (did you mean `path`?)",
        "f.yaml:16:5: error: routes[3].match: missing key `match`",
        "f.yaml:18:15: error: routes[4].access.publik: unknown key `publik` (did you mean `public`?)",
        "f.yaml:19:14: error: routes[4].timeout: expected a duration with its unit such as `250ms`, `30s`, `5m`, `1h` or `7d`, found the integer `30`",
        "f.yaml:20:1: error: verzion: unknown key `verzion`",
    ];
    let found = lines(BROKEN);
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }
    assert_eq!(found.len(), expected.len());
}

#[test]
fn a_fault_shows_its_line() {
    let parsed = parse::<File>("f.yaml", "version: 1\nroutes:\n  - mathc: { path: /x }\n");
    let expected = "\
error: unknown key `mathc`
 --> f.yaml:3:5  (routes[0].mathc)
  |
3 |   - mathc: { path: /x }
  |     ^^^^^
  = help: did you mean `match`?";
    assert_eq!(parsed.faults[0].to_string(), expected);
    assert_eq!(parsed.faults.len(), 1, "`match` is not missing, it is misspelt");
    parsed.accept().unwrap_err();
}

#[test]
fn nothing_is_reported_as_missing_that_was_left_out_for_a_fault() {
    let parsed = parse::<File>(
        "f.yaml",
        "version: 1\nroutes:\n  - match: { path: 1 }\n  - match: { path: /b }\n",
    );
    assert_eq!(parsed.faults.len(), 1);
    assert_eq!(
        parsed.removed,
        ["routes[0]", "routes[0].match", "routes[0].match.path"]
    );
    assert_eq!(parsed.value.unwrap().routes[0].to.path, "/b");
}

#[test]
fn an_optional_part_is_lost_alone() {
    let parsed = parse::<File>(
        "f.yaml",
        "version: 1\nroutes:\n  - { match: { path: /a }, access: { public: { reason: 1 } } }\n",
    );
    let route = &parsed.value.unwrap().routes[0];
    assert_eq!((route.to.path.as_str(), &route.access), ("/a", &None));
    assert!(parsed.positions.removed("routes[0].access"));
}

#[test]
fn enums_say_what_they_take() {
    let access = |text: &str| {
        let text = format!("version: 1\nroutes: [{{ match: {{ path: /a }}, access: {text} }}]\n");
        lines(&text)
            .into_iter()
            .map(|line| line.split_once("access").unwrap().1.to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        access("jwt"),
        [": `jwt` needs settings of its own: write a map `jwt: …`"]
    );
    assert_eq!(access("{ closed: }"), Vec::<String>::new());
    assert_eq!(access("{ closed: x }"), [".closed: `closed` takes no settings"]);
    assert_eq!(
        access("{}"),
        [": expected exactly one key of: closed, jwt, public; found none"]
    );
    assert_eq!(
        access("{ jwt: a, closed: }"),
        [": expected exactly one key of: closed, jwt, public; found more than one"]
    );
    assert_eq!(
        access("[jwt]"),
        [": expected one of (closed, jwt, public), found a list"]
    );
    assert_eq!(access("{ jwt: [] }"), [".jwt: expected text, found a list"]);
    assert_eq!(
        access("{ public: [a] }"),
        [".public: expected a map of keys, found a list"]
    );
    assert_eq!(
        access("open"),
        [": unknown value `open` (allowed values: closed, jwt, public)"]
    );
    let line = lines("version: 1\nroutes: [{ match: { path: /a }, body: 5 }]\n");
    assert_eq!(
        line,
        ["f.yaml:2:39: error: routes[0].body: a content type or a list of them"]
    );
}

#[test]
fn a_struct_is_not_read_from_a_list_nor_a_list_from_nothing() {
    let line = lines("version: 1\nroutes:\n  - match: [/a]\nlisteners:\n");
    assert_eq!(
        line,
        [
            "f.yaml:3:5: error: routes[0].match: expected a map of keys, found a list",
            "f.yaml:4:1: error: listeners: expected a list, found nothing"
        ]
    );
}

#[test]
fn no_fault_gives_a_secret_away() {
    for text in [
        "version: 1\nissuers:\n  a: { issuer: x, password: hunter2, dns: 1 }\n",
        "version: 1\nissuers:\n  a: { issuer: x, password: &p hunter2 }\n  b: { issuer: [*p] }\n",
        "version: 1\nissuers:\n  a: { issuer: x, dsn: hunter2 }\n",
        "version: 1\nissuers:\n  a: { issuer: x, mistake: 1, dsn: hunter2 }\n",
        "version: 1\nissuers:\n  a: { issuer: x, dsn: [hunter2], password: [hunter2] }\n",
        "version: 1\nissuers:\n  a:\n    issuer: x\n    password:\n      - hunter2\n",
        "version: 1\nissuers:\n  a: { issuer: x, dsn: { b: [hunter2, c] } }\n",
        "version: 1\nissuers:\n  a:\n    pasword: hunter2\n",
        "version: 1\npassword: hunter2\n",
        "version: 1\npassword: \"hunter2\n",
        "version: 1\npassword: *hunter2\n",
        "version: 1\npassword: !hunter2 x\n",
        "version: 1\nkeys: [a, {hunter2\n",
        "version: 1\nsecret:\n  a: b: hunter2\n",
        "version: 1\nsecret: |\n  hunter2\nx: [\n",
    ] {
        let parsed = parse::<File>("f.yaml", text);
        assert!(!parsed.faults.is_empty(), "{text}");
        for fault in parsed.faults {
            // What is not below a secret key may be shown; here everything is.
            let shown = format!("{fault}\n{}", fault.one_line());
            assert!(!shown.contains("hunter"), "{text}\n{shown}");
        }
    }
}

#[test]
fn a_long_value_is_not_repeated() {
    let found = lines(&format!(
        "version: 1\nlisteners: [{{ address: {} }}]\n",
        "x".repeat(41)
    ));
    assert_eq!(
        found,
        ["f.yaml:2:24: error: listeners[0].address: `…` is not an address and a port"]
    );
}

#[test]
fn a_fault_in_a_repeated_value_is_shown_where_the_value_is_written() {
    let found = lines("version: 1\nissuers:\n  a: &a { issuer: 5 }\n  b: *a\n");
    let expected = "expected text, found the integer `5` (put it in quotes to make it text)";
    assert_eq!(
        found,
        [
            format!("f.yaml:3:19: error: issuers.a.issuer: {expected}"),
            format!("f.yaml:3:19: error: issuers.b.issuer: {expected}")
        ]
    );
}

#[test]
fn keys_may_be_numbers_and_enums() {
    #[derive(Debug, Deserialize)]
    struct Replies {
        replies: BTreeMap<u16, String>,
        #[serde(default)]
        #[expect(dead_code, reason = "only read")]
        profiles: Option<std::collections::HashMap<Key, u8>>,
    }
    #[derive(Debug, Deserialize, PartialEq, Eq, Hash)]
    #[serde(rename_all = "snake_case")]
    enum Key {
        Modern,
    }
    let text = "replies: { 404: gone, x: y, 70000: z }\nprofiles: { modern: 1, modrn: 2 }\n";
    let parsed = parse::<Replies>("f.yaml", text);
    let found: Vec<_> = parsed.faults.iter().map(Fault::one_line).collect();
    assert_eq!(
        found,
        [
            "f.yaml:1:23: error: replies.x: expected an integer from 0 to 65535, found the key `x`",
            "f.yaml:1:29: error: replies.70000: expected an integer from 0 to 65535, found the key `70000`",
            "f.yaml:2:24: error: profiles.modrn: unknown key `modrn` (did you mean `modern`?)",
        ]
    );
    assert_eq!(
        parsed.value.unwrap().replies.get(&404).map(String::as_str),
        Some("gone")
    );
}

#[test]
fn a_flood_of_faults_is_cut() {
    let text = "version: 1\nroutes:\n".to_owned() + &"  - { x: 1 }\n".repeat(500);
    let parsed = parse::<File>("f.yaml", &text);
    assert_eq!((parsed.faults.len(), parsed.value.is_none()), (MAX_FAULTS, true));
}

#[test]
fn without_a_root_there_is_no_value_but_every_fault() {
    let parsed = parse::<File>("f.yaml", "listeners: 5\nextra: 1\n");
    assert!(parsed.value.is_none());
    let found: Vec<_> = parsed.faults.iter().map(Fault::one_line).collect();
    assert_eq!(found.len(), 3, "{found:?}");
    assert_eq!(found[0], "f.yaml:1:1: error: version: missing key `version`");
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,80}") {
        let _ = parse::<File>("f.yaml", &text);
    }

    #[test]
    fn no_yaml_like_text_makes_it_panic(text in "([a-c]: |- |\\n|  |[\\[\\]{},&*!|>'\"#?%@]|version|routes|<<|~|\u{feff}|é|\\t|\\r|1){0,60}") {
        let _ = parse::<File>("f.yaml", &text);
    }

    #[test]
    fn no_change_to_a_file_makes_it_panic_or_fail_silently(
        broken: bool,
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0usize..12, "[ \\n:{}\\[\\]a\"1-]{0,4}"), 1..5),
    ) {
        let mut text: Vec<char> = (if broken { BROKEN } else { VALID }).chars().collect();
        for (at, length, insert) in edits {
            let at = at.index(text.len() + 1);
            let end = (at + length).min(text.len());
            text.splice(at..end, insert.chars());
        }
        let text: String = text.into_iter().collect();
        let parsed = parse::<File>("f.yaml", &text);
        prop_assert!(parsed.value.is_some() || !parsed.faults.is_empty());
        for fault in parsed.faults {
            let _ = (fault.to_string(), fault.one_line());
        }
    }
}
