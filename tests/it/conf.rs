//! What ships in `conf/` is good, complete and described by its schema.

use std::path::Path;
use std::process::Output;

use crate::config_keys::schema;
use crate::golden;
use crate::support::gateway::binary;
use crate::support::{Authority, Folder};

pub const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Certificates for the names that the files use, as `certs/dev-ca` lays them out.
pub fn certificates() -> Folder {
    let (folder, authority) = (Folder::new(), Authority::new());
    let leaf = authority.leaf(&["localhost", "api.localhost", "127.0.0.1"]);
    folder.write("tls.crt", leaf.certificate);
    folder.write("tls.key", leaf.key);
    folder.write("ca.crt", authority.pem());
    folder
}

/// Runs a verb on a file of `conf/`, with these certificates.
fn run(verb: &str, file: &str, certificates: &Folder) -> Output {
    binary()
        .current_dir(ROOT)
        .args([verb, "-c", &format!("conf/{file}")])
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

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn every_configuration_that_ships_is_good_and_names_its_schema() {
    let certificates = certificates();
    let mut files = 0;
    for entry in std::fs::read_dir(Path::new(ROOT).join("conf")).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if !name.ends_with(".yaml") {
            continue;
        }
        files += 1;
        let output = run("check", &name, &certificates);
        assert_eq!(
            (output.status.code(), text(&output.stderr).as_str()),
            (Some(0), ""),
            "{name}"
        );
        let written = std::fs::read_to_string(entry.path()).unwrap();
        assert_eq!(
            written.lines().next(),
            Some("# yaml-language-server: $schema=durward.schema.json"),
            "{name}"
        );
    }
    assert!(files >= 3, "conf/ was not found");
}

#[test]
fn the_schema_that_ships_is_the_binarys() {
    let kept = std::fs::read_to_string(Path::new(ROOT).join("conf/durward.schema.json")).unwrap();
    let printed = text(&binary().arg("schema").output().unwrap().stdout);
    assert!(
        kept == printed,
        "write it anew: durward schema > conf/durward.schema.json"
    );
}

#[test]
fn the_documented_configuration_has_every_key() {
    let written = std::fs::read_to_string(Path::new(ROOT).join("conf/durward.yaml")).unwrap();
    let named = |key: &str| {
        written.match_indices(&format!("{key}:")).any(|(at, _)| {
            written[..at]
                .chars()
                .next_back()
                .is_none_or(|before| !(before.is_alphanumeric() || before == '_'))
        })
    };
    for key in schema::keys() {
        let last = key
            .rsplit('.')
            .find(|part| *part != "*")
            .unwrap()
            .trim_end_matches("[]");
        assert!(named(last), "{key} is not in conf/durward.yaml");
    }
}

// S92, M2
#[test]
fn prove_says_what_the_documented_configuration_lets_through() {
    let output = run("prove", "durward.yaml", &certificates());
    let printed = text(&output.stdout);
    let (hash, _) = printed.split_once('(').unwrap().1.split_once(')').unwrap();
    assert!(
        hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{hash}"
    );
    golden::assert_same("prove.txt", &printed.replace(hash, "HASH"));
}

// S69
#[test]
fn the_documented_configuration_has_both_layers_of_limits_with_the_usual_rates() {
    let written = std::fs::read_to_string(Path::new(ROOT).join("conf/durward.yaml")).unwrap();
    let limits = written
        .split("\nlimits:\n")
        .nth(1)
        .unwrap()
        .split("\n\n")
        .next()
        .unwrap();
    let rate = |name: &str| -> u32 {
        let entry = limits.split(&format!("  {name}:\n")).nth(1).unwrap();
        let rate = entry
            .split("rate: ")
            .nth(1)
            .unwrap()
            .split_whitespace()
            .next()
            .unwrap();
        rate.strip_suffix("/s").unwrap().parse().unwrap()
    };
    assert!((100..=1000).contains(&rate("backend")));
    assert!((10..=50).contains(&rate("address")));
    assert!((10..=50).contains(&rate("client")));
    assert!(written.contains("    limits: [backend, address, client]"));
}
