//! `profile: production`: what is only for trying out is refused (S21).

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use openssl::pkey::PKey;

use crate::support::gateway::{binary, check};
use crate::support::{Authority, Folder, Gateway, eventually};

const ROUTES: &str =
    "routes: [{ match: { methods: [GET], path: / }, public: { reason: a, owner: b }, respond: 200 }]\n";

/// What `durward check` says in each profile; empty: nothing.
fn judged(folder: &Folder, body: &str) -> (String, String) {
    let said = |profile: &str| {
        let (good, said) = check(folder, &format!("version: 1\nprofile: {profile}\n{body}{ROUTES}"));
        assert_eq!(good, !said.contains("error:"), "{said}");
        said
    };
    (said("development"), said("production"))
}

fn listener(address: &str, certificate: &str) -> String {
    format!("listeners: [{{ address: \"{address}\", tls: {{ certificates: [{certificate}] }} }}]\n")
}

fn mode(file: &Path, mode: u32) {
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// `durward tls dev-ca` in this folder.
fn dev_ca(folder: &Folder) -> String {
    let dir = folder.0.join("dev").display().to_string();
    let made = binary()
        .args(["tls", "dev-ca", "-o", &dir, "api.example"])
        .stdout(Stdio::null())
        .status();
    assert!(made.unwrap().success());
    dir
}

// S21: each with where it is, why, and what to do
#[test]
fn what_is_only_for_trying_out_is_an_error_in_production_alone() {
    let folder = Folder::new();
    let dev = dev_ca(&folder);
    let authority = Authority::new();
    let good = authority.install(&folder, "good", &["api.example"]);
    // signed by itself, and a server's
    folder.write("self.crt", authority.pem());
    folder.write("self.key", authority.key_pem());
    mode(&folder.0.join("self.key"), 0o600);
    let own = "{ cert: self.crt, key: self.key }";
    let of = |dir: &str| format!("{{ dir: \"{dir}\" }}");
    let acme = |directory: &str, keys: &str| {
        format!(
            "acme: {{ ca: {{ directory: \"{directory}\", terms_agreed: true, storage: acme, challenge: tls-alpn-01{keys} }} }}\n\
             secrets: {{ sealing_keys: [\"${{file:{}}}\"] }}\n{}",
            sealing_key(&folder),
            listener("127.0.0.1:1", &of(&good))
        )
    };
    let staging = "https://acme-staging-v02.api.letsencrypt.org/directory";
    let real = "https://acme-v02.api.letsencrypt.org/directory";
    let with = |more: &str| format!("{more}{}", listener("127.0.0.1:1", &of(&good)));
    for (body, expected, place) in [
        (
            listener("127.0.0.1:1", &of(&dev)),
            "is for development",
            "checked.yaml:3:",
        ),
        (listener("0.0.0.0:1", own), "is self-signed", "checked.yaml:3:"),
        (
            with(&format!("truststores: {{ t: {{ ca: [\"{dev}/ca.crt\"] }} }}\n")),
            "is for development",
            "checked.yaml:3:",
        ),
        (
            with(&format!(
                "upstreams: {{ u: {{ targets: [\"127.0.0.1:9\"], tls: {{ server_name: api.example, ca: \"{dev}/ca.crt\" }} }} }}\n"
            )),
            "is for development",
            "checked.yaml:3:",
        ),
        (acme(staging, ""), "are for tests", "checked.yaml:3:"),
        (
            acme(real, ", plain_storage: true"),
            "kept in the clear",
            "checked.yaml:3:",
        ),
    ] {
        let (development, production) = judged(&folder, &body);
        assert!(!development.contains("error:"), "{development}");
        assert!(
            production.contains("not for profile `production`")
                && production.contains(expected)
                && production.contains(place),
            "{expected}: {production}"
        );
        assert!(production.contains("help"), "{production}");
    }
    for body in [
        listener("0.0.0.0:1", &of(&good)),
        // nobody else can reach it
        listener("127.0.0.1:1", own),
        acme(real, ""),
    ] {
        let (_, production) = judged(&folder, &body);
        assert!(!production.contains("error:"), "{production}");
    }
    // its group may be how the gateway reads it
    let key = Path::new(&good).join("tls.key");
    for (bits, is_refused) in [(0o600, false), (0o640, false), (0o644, true), (0o604, true)] {
        mode(&key, bits);
        let (development, production) = judged(&folder, &listener("127.0.0.1:1", &of(&good)));
        assert_eq!(
            production.contains("error:"),
            is_refused,
            "{bits:o}: {production}"
        );
        assert_eq!(
            development.contains("warning"),
            bits != 0o600,
            "{bits:o}: {development}"
        );
        assert_eq!(
            production.contains("can be read by"),
            bits != 0o600,
            "{bits:o}: {production}"
        );
    }
}

/// A new key that seals what is stored: the path of its file.
fn sealing_key(folder: &Folder) -> String {
    let made = binary().args(["seal", "--new-key"]).output().unwrap();
    let path = folder.write("sealing.key", made.stdout);
    mode(Path::new(&path), 0o600);
    path
}

// S21: nothing is served with it, and what runs is not exchanged for it
#[test]
fn the_gateway_does_not_start_with_a_development_certificate_and_a_reload_keeps_what_runs() {
    let folder = Folder::new();
    let dev = dev_ca(&folder);
    let file = folder.write(
        "durward.yaml",
        format!(
            "version: 1\nprofile: production\n{}{ROUTES}",
            listener("127.0.0.1:1", &format!("{{ dir: \"{dev}\" }}"))
        ),
    );
    let run = binary().args(["run", "-c", &file]).output().unwrap();
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(
        !run.status.success() && said.contains("is for development"),
        "{said}"
    );

    let gateway = Gateway::start(&format!("profile: production\n{ROUTES}"));
    let before = gateway.client().connect();
    let shown = before.ssl().peer_certificate().unwrap().to_der().unwrap();
    let certs = gateway.folder.0.join("certs");
    for name in ["tls.key", "tls.crt"] {
        std::fs::copy(Path::new(&dev).join(name), certs.join(name)).unwrap();
    }
    gateway.signal("HUP");
    eventually("the reload is refused", || {
        let said = gateway.messages();
        (said.contains("the running configuration stays") && said.contains("is for development"))
            .then_some(())
    });
    let after = gateway.client().connect();
    assert_eq!(after.ssl().peer_certificate().unwrap().to_der().unwrap(), shown);
    // of which this is the key
    assert!(PKey::private_key_from_pem(&std::fs::read(certs.join("tls.key")).unwrap()).is_ok());
}
