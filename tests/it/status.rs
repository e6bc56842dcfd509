//! `durward status`: the file and what runs.

use std::process::Output;

use serde_json::Value;

use crate::support::gateway::binary;
use crate::support::{Gateway, eventually, free_address};

const PUBLIC: &str = "routes:\n- { match: { methods: [GET], path: / }, public: { reason: test, owner: tests }, respond: 200 }\n";

fn status(gateway: &Gateway, more: &[&str]) -> Output {
    gateway.command("status").args(more).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Rewrites the file and waits until the gateway has read it.
fn rewrite(gateway: &Gateway, change: impl Fn(&str) -> String) {
    let read = || gateway.admin("/config/status").json()["file"]["read"].clone();
    let (file, before) = (gateway.folder.0.join("durward.yaml"), read());
    let text = std::fs::read_to_string(file).unwrap();
    gateway.folder.write("durward.yaml", change(&text));
    gateway.signal("HUP");
    eventually("the file is read", || (read() != before).then_some(()));
}

// U13
#[test]
fn status_says_whether_the_file_is_what_runs_and_if_not_why() {
    let gateway = Gateway::start(PUBLIC);
    let good = status(&gateway, &[]);
    assert_eq!(good.status.code(), Some(0), "{}", text(&good.stderr));
    assert!(
        text(&good.stdout).ends_with("\nthe file is what runs\n"),
        "{}",
        text(&good.stdout)
    );
    let before: Value = serde_json::from_slice(&status(&gateway, &["--json"]).stdout).unwrap();
    assert_eq!(before["current"], true);
    assert_eq!(before["running"]["hash"], before["file"]["hash"]);

    // a fault of meaning, then a text that is not even YAML: found by the address in it all the same
    for (breaks, line, says) in [("respond: 200 }", 8, "respond"), ("{{ not: yaml", 12, "error")] {
        rewrite(&gateway, |text| match breaks {
            "respond: 200 }" => text.replace(breaks, "respond: 2000 }"),
            more => format!("{text}{more}\n"),
        });
        let bad = status(&gateway, &[]);
        let said = text(&bad.stdout);
        assert_eq!(bad.status.code(), Some(1), "{said}{}", text(&bad.stderr));
        assert!(said.contains("NOT what runs") && said.contains(says), "{said}");
        assert!(said.contains(&format!("durward.yaml:{line}:")), "{said}");
        let after: Value = serde_json::from_slice(&status(&gateway, &["--json"]).stdout).unwrap();
        assert_eq!(after["current"], false);
        assert_eq!(
            after["running"], before["running"],
            "what runs has not changed, nor since when"
        );
        assert_eq!(after["last_read"]["hash"], after["file"]["hash"]);
        assert_ne!(after["file"]["hash"], before["file"]["hash"]);
        assert_eq!(gateway.client().get("/", &[]).status, 200);
    }
}

// U13
#[test]
fn status_sees_a_file_that_the_gateway_has_not_seen() {
    let gateway = Gateway::start(PUBLIC);
    // another file than the one that it watches
    let other = gateway.folder.write("other.yaml", "version: 1\n");
    let admin = gateway.admin.to_string();
    let output = binary()
        .args(["status", "-c", &other, "--admin", &admin])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stdout).contains("has changed since"),
        "{}",
        text(&output.stdout)
    );
}

// U13
#[test]
fn status_of_a_gateway_that_cannot_be_asked_is_an_error_of_its_own() {
    let gateway = Gateway::start(PUBLIC);
    let nobody = free_address().to_string();
    let not_admin = gateway.http.to_string();
    for (arguments, says) in [
        (vec!["--admin", &nobody], "cannot ask"),
        (vec!["--admin", &not_admin], "not the admin port"),
        (vec!["-c", "/nowhere.yaml"], "cannot read /nowhere.yaml"),
    ] {
        let mut command = binary();
        let config = gateway.folder.0.join("durward.yaml");
        if !arguments.contains(&"-c") {
            command.arg("status").arg("-c").arg(config);
        } else {
            command.arg("status");
        }
        let output = command.args(&arguments).output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(says) && output.stdout.is_empty(), "{said}");
    }
}
