//! `durward test`: what ships passes, and no gate of it could be deleted without a test to tell (M6).

use std::path::Path;
use std::process::Output;

use crate::conf::{ROOT, certificates};
use crate::support::Folder;
use crate::support::gateway::binary;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn test(file: &str, more: &[&str], certificates: &Folder) -> Output {
    binary()
        .current_dir(ROOT)
        .args(["test", "-c", file])
        .args(more)
        .env("DURWARD_CERTS", &certificates.0)
        .env("DURWARD_DEMO_DIR", &certificates.0)
        .env("DURWARD_INTROSPECTION_SECRET", "of the tests alone")
        .env(
            "DURWARD_ATTESTATION_SECRET",
            "b2YgdGhlIHRlc3RzIGFsb25lLCBhbmQgbG9uZyBlbm91Z2g=",
        )
        .output()
        .unwrap()
}

// M6
#[test]
fn the_tests_of_every_configuration_that_ships_notice_every_mutant() {
    let certificates = certificates();
    for name in ["durward.yaml", "minimal.yaml", "demo.yaml"] {
        let output = test(&format!("conf/{name}"), &["--mutate"], &certificates);
        let said = text(&output.stdout);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{name}: {said}{}",
            text(&output.stderr)
        );
        assert!(said.contains(" tests, 0 failed ("), "{said}");
        assert!(said.ends_with(" mutants noticed: 100 %\n"), "{said}");
    }
}

/// Lines that are a gate of their own, and what is left of them without it.
const GATES: [(&str, &str, &str); 8] = [
    ("minimal.yaml", ", scopes: [\"read:lien_info\"]", ""),
    (
        "minimal.yaml",
        "auth: { jwt: main, scopes: [\"read:lien_info\"] }",
        "public: { reason: x, owner: x }",
    ),
    ("demo.yaml", ", roles: [analyst]", ""),
    ("durward.yaml", "    conditions: [office]", "    conditions: []"),
    (
        "durward.yaml",
        "      deny: [\"192.0.2.66\"]",
        "      deny: [\"192.0.2.67\"]",
    ),
    (
        "durward.yaml",
        "    conditions: [own_vehicle]",
        "    conditions: []",
    ),
    ("durward.yaml", "    rate: 50/s", "    rate: 51/s"),
    ("durward.yaml", "    rate: 500/s", "    rate: 501/s"),
];

// M6: the same by hand, on the text
#[test]
fn deleting_a_gate_of_what_ships_fails_its_tests() {
    let certificates = certificates();
    for (name, gate, without) in GATES {
        let folder = Folder::new();
        for entry in std::fs::read_dir(Path::new(ROOT).join("conf")).unwrap().flatten() {
            std::fs::copy(entry.path(), folder.0.join(entry.file_name())).unwrap();
        }
        let file = folder.0.join(name);
        let written = std::fs::read_to_string(&file).unwrap();
        assert!(written.contains(gate), "{name} has no {gate}");
        std::fs::write(&file, written.replacen(gate, without, 1)).unwrap();
        let output = test(&file.display().to_string(), &[], &certificates);
        let said = text(&output.stdout);
        assert_eq!(
            output.status.code(),
            Some(1),
            "{name} {gate}: {said}{}",
            text(&output.stderr)
        );
        assert!(said.contains("FAILED "), "{said}{}", text(&output.stderr));
    }
}

// M6
#[test]
fn a_failed_test_shows_how_the_decision_came_about_and_a_mutant_where_its_gate_is() {
    let (folder, certificates) = (Folder::new(), certificates());
    let config = |tests: &str| {
        folder.write(
            "durward.yaml",
            format!(
                "version: 1\nlisteners: [{{ address: \"127.0.0.1:1\", plaintext: {{ reason: test }} }}]\n\
                 conditions: {{ c: {{ networks: {{ deny: [10.0.0.0/8] }} }} }}\n\
                 routes:\n- match: {{ methods: [GET], path: / }}\n  public: {{ reason: x, owner: x }}\n  conditions: [c]\n  respond: 200\n{tests}\n"
            ),
        )
    };
    let request = "request: { method: GET, url: \"https://a/\", from: \"10.0.0.1:1\" }";
    let file = config(&format!("tests:\n- {{ name: open, {request}, expect: allow }}"));
    let output = test(&file, &[], &certificates);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1));
    for expected in [
        &*format!("FAILED {file}:10: open"),
        "expected allow, got network_not_allowed by route `GET /`",
        &*format!(
            "authz    DENY  network_not_allowed: from any network but not 10.0.0.0/8 (condition c)  [{file}:3]"
        ),
        "1 tests, 1 failed (",
    ] {
        assert!(said.contains(expected), "{expected}\n{said}");
    }

    let file = config(&format!(
        "tests:\n- {{ name: open, {}, expect: allow }}",
        request.replace("10.", "11.")
    ));
    let output = test(&file, &["--mutate"], &certificates);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1));
    let expected = format!(
        "NOT NOTICED {file}:3: route `GET /` without \"from any network but not 10.0.0.0/8 (condition c)\""
    );
    assert!(
        said.contains(&expected) && said.ends_with("0 of 1 mutants noticed: 0 %\n"),
        "{said}"
    );

    let output = test(&config(""), &[], &certificates);
    assert_eq!(output.status.code(), Some(1), "nothing was tested");
}
