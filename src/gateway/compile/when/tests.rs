//! What the checker takes and what it refuses; and that what it takes has a value, the one that the language gives it.

use std::collections::HashMap;
use std::sync::Arc;

use cel::{Context, Env, Program};
use http::{HeaderMap, Method, Uri, Version};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{MAX_LENGTH, place, read};
use crate::clock::UnixTime;
use crate::gates::authn::tests::client_with;
use crate::gates::authz::{Facts, Fault, When};
use crate::head::{Head, RawHead};

const NOW: u64 = 1_767_268_800;

fn claims() -> Value {
    json!({
        "level": 3, "name": "ada", "admin": true, "ratio": 1.5,
        "groups": ["a", "b-1"], "numbers": [1, 2], "odd": ["a", 7], "car": { "vin": "1HG", "doors": 5 },
        "https://example/tier": "gold", "digits": "42", "auth_time": NOW - 60,
        "entries": [{ "kind": "x", "level": 1 }, { "kind": "y", "level": 4 }],
    })
}

fn head(target: &str) -> Head {
    let uri: Uri = target.parse().unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("host", "api.example:8443".parse().unwrap());
    let raw = RawHead {
        method: &Method::GET,
        uri: &uri,
        version: Version::HTTP_11,
        headers: &headers,
        ended: false,
    };
    Head::parse(raw).unwrap()
}

/// What it says to `GET /v1/m%C3%BCller` by a client with `claims`.
fn says(when: &When, claims: Value) -> Result<bool, Fault> {
    let mut when = when.clone();
    for (_, segment) in &mut when.parameters {
        *segment = 1;
    }
    let head = head("/v1/m%C3%BCller");
    let facts = Facts {
        head: &head,
        address: Some("::ffff:192.0.2.7".parse().unwrap()),
        now: UnixTime::from_seconds(NOW),
    };
    let mut client = Arc::into_inner(client_with(claims)).unwrap();
    client.scopes = ["read", "write"].map(Into::into).into();
    client.roles = ["clerk"].map(Into::into).into();
    client.client_id = None;
    when.holds(&facts, Some(&client))
}

#[test]
fn what_is_taken_has_the_value_that_it_should() {
    for (text, expected) in [
        ("request.method == 'GET'", Ok(true)),
        (
            "request.host == 'api.example' && request.path.startsWith('/v1/')",
            Ok(true),
        ),
        ("request.params.name == \"müller\"", Ok(true)),
        ("request.params['name'].endsWith('er')", Ok(true)),
        (
            "client.issuer == 'main' && client.credential in ['jwt', 'introspection']",
            Ok(true),
        ),
        ("'read' in client.scopes && !('chief' in client.roles)", Ok(true)),
        ("client.scopes.all(s, s != 'admin')", Ok(true)),
        ("client.roles.exists(r, r.startsWith('cl'))", Ok(true)),
        ("['admin', 'clerk'].exists(r, r in client.roles)", Ok(true)),
        ("cidr('192.0.2.0/24').containsIP(client.address)", Ok(true)),
        ("cidr('2001:db8::/32').containsIP(client.address)", Ok(false)),
        ("has(client.client_id)", Ok(false)),
        ("client.client_id == 'x'", Err(Fault::Missing)),
        ("claims.level >= 2 && claims.level < 4", Ok(true)),
        ("claims.admin", Ok(true)),
        ("claims.car.vin == '1HG' && claims['car']['doors'] == 5", Ok(true)),
        ("claims['https://example/tier'] in ['gold', 'silver']", Ok(true)),
        ("'https://example/tier' in claims", Ok(true)),
        ("has(claims.car.colour)", Ok(false)),
        ("has(claims.none) && claims.none.a == 1", Ok(false)),
        ("has(claims.none.a)", Err(Fault::Missing)),
        ("has(claims.level.a)", Err(Fault::Kind)),
        ("'a' in claims.groups", Ok(true)),
        ("2 in claims.numbers", Ok(true)),
        ("claims.groups.exists(g, g.contains('-'))", Ok(true)),
        ("claims.entries.exists(e, e.kind == 'y' && e.level > 3)", Ok(true)),
        ("claims.entries.all(e, e.level > 1)", Ok(false)),
        (
            "size(claims.groups) == 2 && size(claims.name) == 3 && claims.name.size() == 3",
            Ok(true),
        ),
        ("size(request.params.name) == 6", Ok(true)),
        ("now - claims.auth_time <= 60", Ok(true)),
        ("claims.groups[0] == 'a' && client.roles[0] == 'clerk'", Ok(true)),
        ("client.roles[1] == 'x'", Err(Fault::Missing)),
        ("client.roles[-1] == 'x'", Err(Fault::Missing)),
        ("string(claims.level) + '-' + claims.name == '3-ada'", Ok(true)),
        ("int(claims.digits) == 42 && int(claims.level) == 3", Ok(true)),
        ("int(claims.name) == 42", Err(Fault::Kind)),
        ("claims.admin ? claims.level == 3 : claims.none == 1", Ok(true)),
        ("(claims.admin ? claims.name : 'x') == 'ada'", Ok(true)),
        (
            "7 % claims.level == 1 && -claims.level * 2 == -6 && 7 / 2 == 3",
            Ok(true),
        ),
        ("claims.level % 0 == 1", Err(Fault::Division)),
        ("claims.level * 9223372036854775807 > 0", Err(Fault::Overflow)),
        // a claim that is not there, or not what it is taken for, is no reason to say yes; nor to say no where it does not matter
        ("claims.none != 'guest'", Err(Fault::Missing)),
        ("claims.level != 'guest'", Err(Fault::Kind)),
        ("!(claims.level == '3')", Err(Fault::Kind)),
        ("claims.ratio > 1", Err(Fault::Kind)),
        ("claims.car == 1", Err(Fault::Kind)),
        ("claims.name", Err(Fault::Kind)),
        ("'a' in claims.odd", Err(Fault::Kind)),
        ("'z' in claims.car", Err(Fault::Kind)),
        ("claims.none == 1 || claims.level == 3", Ok(true)),
        ("claims.none == 1 || claims.level == 4", Err(Fault::Missing)),
        ("claims.none == 1 && claims.level == 4", Ok(false)),
    ] {
        let when = read(text).unwrap_or_else(|why| panic!("{text}: {why:?}"));
        assert_eq!(says(&when, claims()), expected, "{text}");
    }
}

#[test]
fn what_names_the_client_is_asked_of_clients_only() {
    for (text, asks_client) in [
        ("request.method == 'GET'", false),
        ("cidr('10.0.0.0/8').containsIP(client.address) || now > 5", false),
        ("request.params.a == 'b'", false),
        ("client.subject == 'a'", true),
        ("request.path == '/' || has(claims.a)", true),
    ] {
        assert_eq!(read(text).unwrap().asks_client, asks_client, "{text}");
    }
}

#[test]
fn what_cannot_be_proven_is_refused_with_its_place() {
    let deep = format!("{}claims.a{}", "(".repeat(40), ")".repeat(40));
    let deeper = format!("{}claims.a{}", "(".repeat(900), ")".repeat(900));
    let long = format!("claims.a == '{}'", "x".repeat(MAX_LENGTH));
    let many = vec!["claims.a"; 120].join(" || ");
    let chain = format!("claims.a == {}1", "1 + ".repeat(40));
    for (text, at, expected) in [
        ("", 1, "the expression is empty"),
        ("true", 1, "the same for every request"),
        ("claims.a ==", 12, "this is not an expression of CEL"),
        ("claims.a = 1", 10, "this is not an expression of CEL"),
        ("'ü' == claims.a && foo", 20, "`foo` is not known"),
        ("client.subjct == 'a'", 1, "`client.subjct` is not known"),
        ("request.headers.a == 'a'", 1, "`request.headers` is not known"),
        ("request == 1", 1, "`request` is not known"),
        (
            "request.path",
            8,
            "the expression has to be true or false: a bool is needed, and this is a string",
        ),
        ("now", 1, "a bool is needed, and this is an int"),
        (
            "request.path < 5",
            14,
            "`<` has a string on one side and an int on the other",
        ),
        (
            "claims.a == 'x' + 1",
            17,
            "`+` has a string on one side and an int on the other",
        ),
        (
            "true + claims.a",
            6,
            "`+` is for numbers and strings, and this is a bool",
        ),
        ("claims.a && 1", 13, "both sides of `&&` have to be true or false"),
        ("!request.path", 9, "`!` turns a truth around"),
        ("-request.path == 1", 9, "`-` is for numbers"),
        ("claims.a == claims.b", 10, "`==` has claims on both sides"),
        ("claims.a < claims.b", 10, "`<` has claims on both sides"),
        ("claims.a in claims.b", 10, "`in` has claims on both sides"),
        (
            "client.scopes == ['a']",
            15,
            "`==` cannot compare a list of string with another",
        ),
        (
            "client.scopes == claims.a",
            15,
            "`==` cannot compare a list of string with another",
        ),
        (
            "client.address == '10.0.0.1'",
            16,
            "`==` has an address on one side",
        ),
        (
            "claims == claims",
            8,
            "`==` cannot compare all claims with another",
        ),
        (
            "1 in client.roles",
            3,
            "`in` looks for an int in a list of string",
        ),
        ("'a' in request.path", 5, "`in` looks for a string in a string"),
        (
            "claims[client.subject] == 'a'",
            14,
            "the name of a member has to be written here",
        ),
        (
            "client.subject in claims",
            16,
            "the name of a claim has to be written here",
        ),
        ("request.path.a == 1", 13, "a string has no member `a`"),
        ("request.path[0] == 'a'", 13, "a string has no elements to count"),
        ("has(client.subject)", 4, "`client.subject` is always there"),
        ("has(request.params.vin)", 4, "always there"),
        ("has(now)", 5, "this is not an expression of CEL"),
        (
            "claims.a.matches('.*')",
            17,
            "regular expressions are not known here",
        ),
        ("claims.a.lower() == 'a'", 15, "the function `lower` is not known"),
        (
            "startsWith(claims.a, 'a')",
            11,
            "`startsWith` does not take these arguments",
        ),
        ("client.roles.startsWith('a')", 7, "`startsWith` is for strings"),
        ("size(now) == 1", 5, "`size` is for strings and lists"),
        (
            "string(client.roles) == 'a'",
            7,
            "a list of string cannot be made a string",
        ),
        (
            "int(claims.admin == true) == 1",
            4,
            "a bool cannot be made an int",
        ),
        ("claims.a == 1.5", 13, "there are only whole numbers here"),
        ("claims.a == 1u", 13, "there are no unsigned numbers here"),
        ("claims.a == b'x'", 13, "there are no bytes here"),
        ("claims.a == null", 13, "nothing is compared with null here"),
        ("claims.a in []", 13, "a list of nothing"),
        (
            "claims.a in ['x', 1]",
            19,
            "the elements of a list are of one type",
        ),
        (
            "claims.a in {'x': 1}",
            13,
            "maps and structures cannot be written here",
        ),
        (
            "claims.a.map(x, x) == claims.b",
            13,
            "`map` and `filter` are not known",
        ),
        (
            "claims.a.exists_one(x, x == 1)",
            20,
            "`exists_one`, `map` and `filter` are not known",
        ),
        (
            "claims.a.all(x, claims.b.exists(y, y == 'a'))",
            32,
            "within another would take too long",
        ),
        ("claims.a.all(now, now > 1)", 13, "`now` has a meaning of its own"),
        (
            "request.path.all(x, x == 'a')",
            8,
            "look at a list, and this is a string",
        ),
        (
            "claims.a.exists(x, request.path)",
            27,
            "what is asked of an element has to be true or false",
        ),
        ("claims.a.exists(x, x == 1) && x == 1", 31, "`x` is not known"),
        (
            "cidr('10.0.0.1/8').containsIP(client.address)",
            5,
            "`10.0.0.1/8` is not a network",
        ),
        (
            "cidr('::ffff:10.0.0.0/104').containsIP(client.address)",
            5,
            "this is an IPv4 network",
        ),
        (
            "cidr(claims.a).containsIP(client.address)",
            5,
            "a network that is written here",
        ),
        (
            "cidr('10.0.0.0/8').containsIP('10.0.0.1')",
            31,
            "`containsIP` takes an address",
        ),
        (
            "cidr('10.0.0.0/8') == claims.a",
            5,
            "a network can only be asked what it contains",
        ),
        (
            "client.credential == 'JWT'",
            19,
            "`JWT` is not a kind of credential",
        ),
        (
            "client.credential in ['jwt', 'key']",
            19,
            "`key` is not a kind of credential",
        ),
        (
            "(claims.a ? claims : claims).b == 1",
            11,
            "`? :` cannot choose all claims",
        ),
        (
            "claims.a ? 1 : 'x'",
            10,
            "`? :` has an int on one side and a string on the other",
        ),
        (&deep, 1, "deeper than 32"),
        (&deeper, 1, "deeper than 32"),
        (&long, 1, "of at most 2000"),
        (&many, 0, "more than 200 parts"),
        (&chain, 0, "deeper than 32"),
    ] {
        let why = match read(text) {
            Err(why) => why,
            Ok(when) => panic!("{text} is taken: {when:?}"),
        };
        assert!(why.message.contains(expected), "{text}: {}", why.message);
        if at > 0 {
            assert_eq!(
                place(text, why.offset),
                format!("character {at} of the expression"),
                "{text}"
            );
        }
    }
}

#[test]
fn in_an_expression_of_several_lines_the_line_is_named() {
    let text = "claims.a &&\n  claims.ü";
    assert!(read(text).is_err());
    let text = "claims.a == 'ü' &&\n  foo\n";
    assert_eq!(
        place(text, read(text).unwrap_err().offset),
        "line 2, character 3 of the expression"
    );
}

// the longest list that fits into a token, and an expression that looks at all of it for each of its elements
#[test]
fn what_would_take_too_long_has_no_value() {
    let when = read("claims.groups.all(g, string(g) in claims.groups)").unwrap();
    let groups = |count: usize| json!({ "groups": vec!["a"; count] });
    assert_eq!(says(&when, groups(20)), Ok(true));
    assert_eq!(says(&when, groups(1000)), Err(Fault::TooMuch));
    let when =
        read("claims.none == 1 || claims.groups.all(g, string(g) in claims.groups) || claims.level == 3")
            .unwrap();
    assert_eq!(
        says(&when, json!({ "groups": vec!["a"; 1000], "level": 3 })),
        Err(Fault::TooMuch)
    );
}

#[test]
fn each_part_of_what_must_be_true_can_be_left_out() {
    let when = read("claims.level == 3 && claims.admin && claims.name == 'x'").unwrap();
    assert_eq!(says(&when, claims()), Ok(false));
    let looser = when.looser();
    let said: Vec<_> = looser.iter().map(|(_, when)| says(when, claims())).collect();
    assert_eq!(said, [Ok(false), Ok(false), Ok(true)]);
    assert!(looser[1].0.starts_with("part 2 of \"asks that claims.level == 3"));
    assert!(
        read("claims.admin || claims.level == 3")
            .unwrap()
            .looser()
            .is_empty()
    );
}

/// What is known, for the library's own evaluator.
fn known(claims: &Value) -> Context<'static, 'static> {
    fn value(json: &Value) -> cel::Value {
        match json {
            Value::Null => cel::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Number(number) => match number.as_i64() {
                Some(value) => cel::Value::Int(value),
                None => cel::Value::Float(number.as_f64().unwrap()),
            },
            Value::String(text) => text.as_str().into(),
            Value::Array(list) => list.iter().map(value).collect::<Vec<_>>().into(),
            Value::Object(members) => {
                let members = members.iter().map(|(name, one)| (name.clone(), value(one)));
                members.collect::<HashMap<_, _>>().into()
            }
        }
    }
    let mut context = Context::with_env(Arc::new(Env::stdlib()));
    let facts = [
        ("claims", claims.clone()),
        (
            "client",
            json!({ "issuer": "main", "scopes": ["read", "write"], "roles": ["clerk"], "credential": "jwt" }),
        ),
        (
            "request",
            json!({ "method": "GET", "host": "api.example", "path": "/v1/m%C3%BCller", "params": { "name": "müller" } }),
        ),
        ("now", json!(NOW)),
    ];
    for (name, json) in facts {
        context.add_variable_from_value(name, value(&json));
    }
    context
}

fn expression() -> impl Strategy<Value = String> {
    let leaf = proptest::sample::select(vec![
        "claims.level",
        "claims.name",
        "claims.admin",
        "claims.none",
        "claims.groups",
        "claims.numbers",
        "claims.car",
        "claims.car.vin",
        "claims.digits",
        "claims.odd",
        "client.scopes",
        "client.roles",
        "client.issuer",
        "request.path",
        "request.params.name",
        "now",
        "1",
        "3",
        "0",
        "-1",
        "'a'",
        "'3'",
        "'ada'",
        "'ü'",
        "true",
        "false",
        "x",
        "['a', 'b']",
        "[1, 3]",
        "9223372036854775807",
        "has(claims.none)",
        "has(claims.level)",
        "claims",
    ]);
    leaf.prop_map(str::to_owned).prop_recursive(5, 40, 3, |inner| {
        let operator = proptest::sample::select(vec![
            "==", "!=", "<", "<=", ">", ">=", "&&", "||", "+", "-", "*", "/", "%", "in",
        ]);
        let method = proptest::sample::select(vec!["startsWith", "endsWith", "contains"]);
        let quantifier = proptest::sample::select(vec!["all", "exists"]);
        prop_oneof![
            6 => (inner.clone(), operator, inner.clone()).prop_map(|(a, op, b)| format!("({a} {op} {b})")),
            1 => inner.clone().prop_map(|a| format!("!{a}")),
            1 => inner.clone().prop_map(|a| format!("-({a})")),
            1 => inner.clone().prop_map(|a| format!("size({a})")),
            1 => inner.clone().prop_map(|a| format!("string({a})")),
            1 => inner.clone().prop_map(|a| format!("int({a})")),
            1 => (inner.clone(), method, inner.clone()).prop_map(|(a, name, b)| format!("{a}.{name}({b})")),
            1 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a}[{b}]")),
            1 => (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            2 => (inner.clone(), quantifier, inner).prop_map(|(a, name, b)| format!("{a}.{name}(x, {b})")),
        ]
    })
}

/// Expressions of each type, so that most of them are taken. `x` is what a quantifier is looking at.
fn typed(depth: u32, has_element: bool) -> [BoxedStrategy<String>; 3] {
    let one = |of: &'static [&'static str]| proptest::sample::select(of).prop_map(str::to_owned).boxed();
    let texts: &[&str] = &[
        "'a'",
        "'3'",
        "'ada'",
        "'ü'",
        "''",
        "request.path",
        "request.params.name",
        "client.issuer",
        "claims.name",
        "claims.digits",
        "claims.car.vin",
        "claims.groups[0]",
        "client.roles[0]",
    ];
    let ints: &[&str] = &[
        "0",
        "1",
        "3",
        "-7",
        "9223372036854775807",
        "now",
        "claims.level",
        "claims.numbers[1]",
        "claims.car.doors",
    ];
    let bools: &[&str] = &[
        "true",
        "false",
        "claims.admin",
        "has(claims.none)",
        "has(claims.level)",
        "'a' in claims",
    ];
    let lists = one(&[
        "client.scopes",
        "claims.groups",
        "['a', claims.name]",
        "claims.odd",
    ]);
    let mut leaf = one(texts);
    if has_element {
        leaf = prop_oneof![leaf, Just("x".to_owned())].boxed();
    }
    if depth == 0 {
        return [leaf, one(ints), one(bools)];
    }
    let [text, int, bool] = typed(depth - 1, has_element);
    let order = || proptest::sample::select(vec!["==", "!=", "<", "<=", ">", ">="]);
    let two =
        |a: &BoxedStrategy<String>, operators: BoxedStrategy<&'static str>, b: &BoxedStrategy<String>| {
            (a.clone(), operators, b.clone())
                .prop_map(|(a, operator, b)| format!("({a} {operator} {b})"))
                .boxed()
        };
    let call = |name: &'static str, of: &BoxedStrategy<String>| {
        of.clone().prop_map(move |of| format!("{name}({of})")).boxed()
    };
    let choice = |of: &BoxedStrategy<String>| {
        (bool.clone(), of.clone(), of.clone())
            .prop_map(|(a, b, c)| format!("({a} ? {b} : {c})"))
            .boxed()
    };
    let method = proptest::sample::select(vec!["startsWith", "endsWith", "contains"]);
    let mut bools = prop_oneof![
        one(bools),
        two(&text, order().boxed(), &text),
        two(&int, order().boxed(), &int),
        two(
            &bool,
            proptest::sample::select(vec!["&&", "||", "&&", "||", "==", "!="]).boxed(),
            &bool
        ),
        two(&text, Just("in").boxed(), &lists),
        (text.clone(), method, text.clone()).prop_map(|(a, name, b)| format!("{a}.{name}({b})")),
        call("!", &bool),
        choice(&bool),
    ]
    .boxed();
    if !has_element {
        let [_, _, inner] = typed(depth - 1, true);
        let quantifier = proptest::sample::select(vec!["all", "exists"]);
        let quantified = (lists.clone(), quantifier, inner)
            .prop_map(|(list, name, inner)| format!("{list}.{name}(x, {inner})"));
        bools = prop_oneof![3 => bools, 1 => quantified].boxed();
    }
    let calculation = proptest::sample::select(vec!["+", "-", "*", "/", "%"]).boxed();
    let ints = prop_oneof![
        one(ints),
        two(&int, calculation, &int),
        call("size", &text),
        call("size", &lists),
        call("-", &int),
        call("int", &text),
        choice(&int),
    ];
    let texts = prop_oneof![
        leaf,
        two(&text, Just("+").boxed(), &text),
        call("string", &int),
        call("string", &bool),
        choice(&text)
    ];
    [texts.boxed(), ints.boxed(), bools]
}

fn claim() -> impl Strategy<Value = Value> {
    proptest::sample::select(vec![
        json!(3),
        json!(0),
        json!(-7),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(1.5),
        json!("a"),
        json!("3"),
        json!("ada"),
        json!(true),
        json!(false),
        json!(null),
        json!(["a", "b-1"]),
        json!([1, 3]),
        json!(["a", 7]),
        json!([]),
        json!({ "vin": "ü" }),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Whatever is taken is true, false or without a value; and where it has one, it is the one that the language gives it.
    #[test]
    fn what_is_taken_means_what_the_language_says(
        text in prop_oneof![1 => expression().boxed(), 5 => { let [_, _, bool] = typed(3, false); bool }], level in claim(), name in claim(), groups in claim(), admin in claim(),
    ) {
        if let Ok(when) = read(&text) {
            let mut claims = claims();
            for (key, value) in [("level", level), ("name", name), ("groups", groups), ("admin", admin)] {
                claims[key] = value;
            }
            // no claim, rather than a claim that is null: so `client_with` takes it
            claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
            if let Ok(value) = says(&when, claims.clone()) {
                let theirs = Program::compile(&text).unwrap().execute(&known(&claims));
                prop_assert_eq!(theirs, Ok(cel::Value::Bool(value)), "{} {}", text, claims);
            }
        }
    }

    /// Whatever is written is read or refused.
    #[test]
    fn no_text_ends_the_process(text in "[a-z0-9 .()\\[\\]{}!&|=<>'\"?:+*/%,\\-\\\\ü`]{0,60}") {
        let _ = read(&text);
    }
}
