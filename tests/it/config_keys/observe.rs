//! Ways to see what a configuration does, from the cheapest: what `check` says, what `prove` lists, what `explain`
//! decides, what the running gateway answers.

use std::sync::LazyLock;

use serde_json::Value;

use crate::support::gateway::{Start, binary};
use crate::support::{Answer, Folder, Gateway, Keys};

/// Signs the tokens of all rows.
pub static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys::new("k1"));

/// A configuration that is never run: a plaintext listener, and these other keys.
pub fn offline(body: &str) -> String {
    format!(
        "version: 1\nlisteners: [{{ address: \"127.0.0.1:1\", plaintext: {{ reason: test }} }}]\n{body}\n"
    )
}

/// A public route that answers 200 by itself.
pub const PUBLIC: &str = "routes:\n- { match: { methods: [GET], path: / }, public: { reason: test, owner: tests }, respond: 200 }\n";

/// Writes a configuration, runs a verb on it, and returns both outputs.
fn run(verb: &[&str], config: &str, folder: &Folder, environment: &[(&str, &str)]) -> (String, String) {
    let file = folder.write("durward.yaml", config);
    let output = binary()
        .args(verb)
        .args(["-c", &file])
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr))
}

/// The first fault that `check` finds, or `good`.
pub fn check(config: &str) -> String {
    check_in(&Folder::new(), config, &[])
}

/// The same beside other files.
pub fn check_in(folder: &Folder, config: &str, environment: &[(&str, &str)]) -> String {
    let (_, said) = run(&["check"], config, folder, environment);
    let first = said.lines().next().unwrap_or("good");
    first.to_owned()
}

/// What `durward test` says.
pub fn test(config: &str) -> String {
    let (said, faults) = run(&["test"], config, &Folder::new(), &[("CLIENT_SECRET", "s")]);
    assert!(!said.is_empty(), "{faults}\n{config}");
    said
}

/// What `prove` says.
pub fn prove(config: &str) -> Value {
    let (printed, said) = run(&["prove", "--json"], config, &Folder::new(), &[]);
    serde_json::from_str(&printed).unwrap_or_else(|why| panic!("{why}: {said}\n{config}"))
}

/// What `explain` says to a request.
pub fn explained(config: &str, request: &str) -> Value {
    let folder = Folder::new();
    let file = folder.write("request.yaml", request);
    let (printed, said) = run(&["explain", "--json", "-r", &file], config, &folder, &[]);
    serde_json::from_str(&printed).unwrap_or_else(|why| panic!("{why}: {said}\n{config}"))
}

/// `allow`, or the reason why not.
pub fn explain(config: &str, request: &str) -> String {
    let decision = explained(config, request);
    decision["reason"].as_str().unwrap_or("allow").to_owned()
}

/// The only value of a header of an answer.
pub fn header(answer: &Answer, name: &str) -> String {
    answer.header(name).unwrap_or("absent").to_owned()
}

/// A gateway with everything but what the harness adds; see [`Gateway::start`].
pub fn running(body: &str) -> Gateway {
    Gateway::start(body)
}

/// A gateway of one plaintext listener, with these other keys.
pub fn plaintext(body: &str) -> Start {
    let admin = if body.contains("admin:") {
        ""
    } else {
        "admin: { address: \"{admin}\" }\n"
    };
    let listener = "listeners: [{ address: \"{https}\", plaintext: { reason: test } }]\n";
    Gateway::whole(&format!("version: 1\n{admin}{listener}{body}\n"))
}
