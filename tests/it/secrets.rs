//! Secrets that are kept elsewhere: read when a configuration is loaded, noticed when they change, never shown, and never
//! replaced by nothing.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use durward::secrets::sigv4::{Credentials, Signed, authorization};
use serde_json::json;

use crate::support::gateway::{Start, binary};
use crate::support::issuer::{AUDIENCE, ISSUER};
use crate::support::vault::{ROLE, ROOT, SECRET_ID, SERVICE_ACCOUNT, Vault};
use crate::support::{Authority, Folder, Gateway, Origin, Reply, eventually};

/// A gateway whose secret for asking its issuer is behind this reference, and the issuer, which sees it with each question.
pub fn config(issuer: SocketAddr, reference: &str, secrets: &str) -> String {
    format!(
        "secrets: {{ {secrets} }}\n\
         issuers:\n  main:\n    issuer: \"{ISSUER}\"\n    audiences: [{AUDIENCE}]\n\
         \x20   introspection: {{ url: \"http://{issuer}/\", client_id: us, client_secret: \"{reference}\", negative_cache: 1s }}\n\
         routes:\n\
         \x20 - {{ match: {{ methods: [GET], path: / }}, auth: {{ introspection: main }}, respond: 200 }}\n"
    )
}

pub fn issuer() -> Origin {
    Origin::answering(|_| Reply::new(200, &[("Content-Type", "application/json")], "{\"active\":false}"))
}

/// The secret that the gateway shows its issuer now. Each token is asked about anew.
pub fn shown(gateway: &Gateway, issuer: &Origin) -> String {
    let token = format!("opaque-{}", issuer.seen().len());
    assert_eq!(gateway.client().get_with("/", &token).status, 401);
    let seen = issuer.seen().pop().unwrap();
    let basic = seen
        .header("authorization")
        .unwrap()
        .strip_prefix("Basic ")
        .unwrap()
        .to_owned();
    let decoded = String::from_utf8(STANDARD.decode(basic).unwrap()).unwrap();
    decoded.strip_prefix("us:").unwrap().to_owned()
}

pub fn text(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

fn approle() -> String {
    format!("auth: {{ approle: {{ role_id: {ROLE}, secret_id: \"${{env:SECRET_ID}}\" }} }}")
}

/// With what the Vault's block of `secrets` needs.
fn with_vault(vault: &Vault, reference: &str, more: &str) -> (Origin, Start) {
    let issuer = issuer();
    let block = format!(
        "refresh: 1s, vault: {{ address: \"{}\", ca: vault.pem, {more} }}",
        vault.address
    );
    let start = Gateway::with(&config(issuer.address, reference, &block))
        .file("vault.pem", vault.authority.pem())
        .env("SECRET_ID", SECRET_ID);
    (issuer, start)
}

// S20, S17: read at the start, noticed when it changes; what cannot be read any more stays as it was
#[test]
fn a_secret_in_vault_is_used_and_exchanged_when_it_changes() {
    let vault = Vault::start();
    vault.put(
        "secret/gateway/issuer",
        json!({ "client": "first-secret", "other": "x" }),
    );
    let (issuer, start) = with_vault(&vault, "${vault:gateway/issuer#client}", &approle());
    let gateway = start.start();
    assert_eq!(shown(&gateway, &issuer), "first-secret");

    vault.put(
        "secret/gateway/issuer",
        json!({ "client": "second-secret", "other": "x" }),
    );
    eventually("the new secret is used", || {
        (shown(&gateway, &issuer) == "second-secret").then_some(())
    });

    vault.seal(true);
    eventually("it is said that the secret cannot be read", || {
        gateway
            .messages()
            .contains("vault:gateway/issuer cannot be read again")
            .then_some(())
    });
    eventually("the metric says so", || {
        let metrics = gateway.admin("/metrics").text();
        metrics.contains("durward_secrets_failing 1\n").then_some(())
    });
    assert_eq!(shown(&gateway, &issuer), "second-secret");
    // a change of the file is refused for as long as its secrets are not to be had
    let file = gateway.folder.0.join("durward.yaml");
    let yaml = std::fs::read_to_string(&file).unwrap();
    gateway.folder.write("durward.yaml", format!("{yaml}# changed\n"));
    gateway.signal("HUP");
    eventually("the old configuration stays", || {
        let said = gateway.messages();
        (said.contains("the running configuration stays") && said.contains("${vault:gateway/issuer#client}"))
            .then_some(())
    });
    assert_eq!(shown(&gateway, &issuer), "second-secret");
    // and taken by itself once they are
    vault.put("secret/gateway/issuer", json!({ "client": "third-secret" }));
    vault.seal(false);
    eventually("the newest secret is used", || {
        (shown(&gateway, &issuer) == "third-secret").then_some(())
    });
    assert_eq!(vault.asked("auth/approle/login"), 1, "one login serves all of it");

    vault.put("secret/gateway/issuer", json!({ "other": "the field is gone" }));
    eventually("the missing field is named", || {
        gateway.messages().contains("no such field").then_some(())
    });
    assert_eq!(shown(&gateway, &issuer), "third-secret");
    let everything = gateway.messages() + &gateway.admin("/config/status").text() + &gateway.output();
    for secret in ["first-secret", "second-secret", "third-secret", SECRET_ID, "hvs."] {
        assert!(!everything.contains(secret), "{secret} in {everything}");
    }
}

// issue 5, point 7: renewed while the lease lasts; got again when it was taken away
#[test]
fn the_login_is_renewed_and_made_again_when_it_is_refused() {
    let vault = Vault::start();
    vault.put("secret/a", json!({ "b": "one" }));
    vault.lease(4);
    let (issuer, start) = with_vault(&vault, "${vault:a#b}", &approle());
    let gateway = start.start();
    eventually("the token is renewed", || {
        (vault.asked("auth/token/renew-self") > 1).then_some(())
    });
    assert_eq!(vault.asked("auth/approle/login"), 1);
    vault.revoke_all();
    vault.put("secret/a", json!({ "b": "two" }));
    eventually("a new login reads the new secret", || {
        (shown(&gateway, &issuer) == "two").then_some(())
    });
    assert!(vault.asked("auth/approle/login") > 1);
}

#[test]
fn every_login_of_vault_works() {
    let vault = Vault::start();
    vault.put("secret/a", json!({ "b": "through" }));
    let logins = [
        "auth: { token: \"${env:VAULT_TOKEN}\" }".to_owned(),
        approle(),
        format!("auth: {{ kubernetes: {{ role: {ROLE}, token_file: account.jwt }} }}"),
    ];
    for login in logins {
        let (issuer, start) = with_vault(&vault, "${vault:a#b}", &login);
        let gateway = start
            .env("VAULT_TOKEN", ROOT)
            .file("account.jwt", format!("{SERVICE_ACCOUNT}\n"))
            .start();
        assert_eq!(shown(&gateway, &issuer), "through", "{login}");
    }
}

/// `check` of a configuration with this reference, with `--network` or without.
fn check(vault: &Vault, reference: &str, more: &str, network: bool) -> Output {
    let folder = Folder::new();
    folder.write("vault.pem", vault.authority.pem());
    let block = format!(
        "timeout: 1s, vault: {{ address: \"{}\", ca: vault.pem, {more} }}",
        vault.address
    );
    let body = config("127.0.0.1:9".parse().unwrap(), reference, &block);
    let yaml = format!(
        "version: 1\nlisteners: [{{ address: \"127.0.0.1:1\", plaintext: {{ reason: test }} }}]\n{body}"
    );
    let file = folder.write("durward.yaml", yaml);
    let mut command = binary();
    command
        .args(["check", "-c", &file])
        .env("SECRET_ID", SECRET_ID)
        .env("WRONG", "not-the-secret-id");
    if network {
        command.arg("--network");
    }
    command.output().unwrap()
}

// S20: closed, and named; S8
#[test]
fn a_secret_that_cannot_be_had_is_named_and_nothing_starts() {
    let vault = Vault::start();
    vault.put("secret/a", json!({ "b": "c", "number": 5, "empty": "" }));
    let wrong = approle().replace("SECRET_ID", "WRONG");
    for (reference, more, said) in [
        (
            "${vault:none#b}",
            approle(),
            "cannot read `${vault:none#b}`: there is no such secret",
        ),
        (
            "${vault:a#none}",
            approle(),
            "cannot read `${vault:a#none}`: the secret has no such field",
        ),
        ("${vault:a#number}", approle(), "or it is not text"),
        (
            "${vault:a#empty}",
            approle(),
            "the references give an empty secret",
        ),
        ("${vault:a#b}", wrong, "the login was refused: 400"),
        (
            "${aws-sm:a}",
            approle(),
            "`secrets` does not say where this store is",
        ),
        ("${sealed:a}", approle(), "there are no `secrets.sealing_keys`"),
    ] {
        let output = check(&vault, reference, &more, true);
        assert!(
            !output.status.success() && text(&output).contains(said),
            "{said}: {}",
            text(&output)
        );
        assert!(!text(&output).contains("not-the-secret-id"));
    }
    vault.seal(true);
    assert!(text(&check(&vault, "${vault:a#b}", &approle(), true)).contains("the login was refused: 503"));
    vault.seal(false);
    // somebody else's certificate
    let mut other = vault.clone();
    other.authority = Vault::start().authority;
    assert!(text(&check(&other, "${vault:a#b}", &approle(), true)).contains("no connection"));
    assert!(check(&vault, "${vault:a#b}", &approle(), true).status.success());
}

// S20: without the network what was not looked up is said, and everything else is checked
#[test]
fn a_check_without_the_network_says_what_it_did_not_look_up() {
    let vault = Vault::start();
    let output = check(&vault, "${vault:a#b}", &approle(), false);
    assert!(output.status.success(), "{}", text(&output));
    assert!(
        text(&output).contains("not looked up: ${vault:a#b}"),
        "{}",
        text(&output)
    );
    assert_eq!(vault.asked("auth/approle/login"), 0, "nobody was asked");
    let output = check(&vault, "${aws-sm:a}", &approle(), false);
    assert!(!output.status.success(), "the store is not configured");
}

// S20: what stands in for a key that nobody was asked for is not held against its certificate
#[test]
fn keys_in_a_store_need_no_network_to_be_checked() {
    let (folder, authority) = (Folder::new(), Authority::new());
    authority.install(&folder, "certs", &["localhost"]);
    folder.write("ca.pem", authority.pem());
    let key = "cert: certs/tls.crt, key_pem: \"${vault:gateway#key}\"";
    let yaml = format!(
        "version: 1\nsecrets: {{ vault: {{ address: \"https://127.0.0.1:1\", auth: {{ token: \"${{env:T}}\" }} }} }}\n\
         listeners: [{{ address: \"127.0.0.1:1\", tls: {{ certificates: [{{ {key} }}] }} }}]\n\
         upstreams: {{ o: {{ targets: [\"127.0.0.1:9\"], tls: {{ server_name: o.internal, ca: ca.pem, {key} }} }} }}\n\
         routes: [{{ match: {{ host: localhost, methods: [GET], path: / }}, public: {{ reason: test, owner: us }}, upstream: o }}]\n"
    );
    let file = folder.write("durward.yaml", yaml);
    let run = |arguments: &[&str]| {
        let output = binary()
            .args(arguments)
            .args(["-c", &file])
            .env("T", "t")
            .output()
            .unwrap();
        (output.status.success(), text(&output))
    };
    let (good, said) = run(&["check"]);
    assert!(
        good && said.contains("not looked up: ${vault:gateway#key}"),
        "{said}"
    );
    assert!(!said.contains("warning"), "{said}");
    assert!(run(&["prove"]).0);
    for arguments in [&["check", "--network"][..], &["run"]] {
        let (good, said) = run(arguments);
        assert!(
            !good && said.contains("cannot read `${vault:gateway#key}`: no connection"),
            "{said}"
        );
    }
}

/// Runs `durward seal`.
pub fn seal(arguments: &[&str], key: &str, secret: &str) -> Output {
    let mut child = binary()
        .arg("seal")
        .args(arguments)
        .env("DURWARD_SEALING_KEY", key)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _ = child.stdin.take().unwrap().write_all(secret.as_bytes());
    child.wait_with_output().unwrap()
}

fn new_key() -> String {
    text(&seal(&["--new-key"], "", "")).trim().to_owned()
}

// S20, S33, S17: keys overlap
#[test]
fn sealed_files_are_opened_with_their_key_and_in_their_place_alone() {
    let (old, new, issuer, folder) = (new_key(), new_key(), issuer(), Folder::new());
    assert_eq!(STANDARD.decode(&old).unwrap().len(), 32);
    let path = |name: &str| folder.0.join(name).display().to_string();
    let sealed = |name: &str, key: &str, secret: &str| {
        let output = seal(&["--to", &path(name)], key, secret);
        assert!(output.status.success(), "{}", text(&output));
        let written = std::fs::read_to_string(path(name)).unwrap();
        assert!(!written.contains(secret) && written.starts_with("durward-sealed:v1:"));
        let mode = std::fs::metadata(path(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    };
    sealed("client", &old, "sealed-secret\n");
    let reference = format!("${{sealed:{}}}", path("client"));
    let keys = "sealing_keys: [\"${env:NEW}\", \"${env:OLD}\"]";
    let gateway = Gateway::with(&config(issuer.address, &reference, keys))
        .env("NEW", &new)
        .env("OLD", &old)
        .start();
    assert_eq!(shown(&gateway, &issuer), "sealed-secret");
    sealed("client", &new, "resealed-secret");
    eventually("the new file is used", || {
        (shown(&gateway, &issuer) == "resealed-secret").then_some(())
    });

    let check = |name: &str, key: &str| {
        let reference = format!("${{sealed:{}}}", path(name));
        let body = config(issuer.address, &reference, "sealing_keys: [\"${env:KEY}\"]");
        let yaml = format!(
            "version: 1\nlisteners: [{{ address: \"127.0.0.1:1\", plaintext: {{ reason: test }} }}]\n{body}"
        );
        let file = folder.write("checked.yaml", yaml);
        let output = binary()
            .args(["check", "-c", &file])
            .env("KEY", key)
            .output()
            .unwrap();
        text(&output)
    };
    assert!(
        check("client", &new).contains("good"),
        "{}",
        check("client", &new)
    );
    assert!(check("client", &old).contains("sealed with another key"));
    assert!(check("client", "hunter2").contains("not a sealing key"));
    std::fs::copy(path("client"), path("renamed")).unwrap();
    assert!(check("renamed", &new).contains("altered, or sealed for another purpose"));
    folder.write("plain", "hunter2");
    assert!(check("plain", &new).contains("not sealed"));
    assert!(
        !seal(&["--to", &path("x")], "hunter2", "s").status.success(),
        "a passphrase is no key"
    );
}

// S20
#[test]
fn a_secret_file_that_others_can_read_is_a_finding() {
    let folder = Folder::new();
    let secret = folder.write("secret", "hunter2");
    let body = config("127.0.0.1:9".parse().unwrap(), &format!("${{file:{secret}}}"), "");
    let yaml = format!(
        "version: 1\nlisteners: [{{ address: \"127.0.0.1:1\", plaintext: {{ reason: test }} }}]\n{body}"
    );
    let file = folder.write("durward.yaml", yaml);
    let check = || text(&binary().args(["check", "-c", &file]).output().unwrap());
    assert!(!check().contains("warning"), "{}", check());
    for mode in [0o640, 0o604] {
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(mode)).unwrap();
        let said = check();
        assert!(
            said.contains("can be read by others than its owner") && said.contains("good"),
            "{said}"
        );
        assert!(!said.contains("hunter2"));
    }
}

/// The Python of the tests.
pub fn python() -> PathBuf {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/venv/bin/python");
    assert!(
        python.exists(),
        "the Python packages of the tests are not installed: run `make test`, or `scripts/setup test` once"
    );
    python
}

/// Secrets Manager, as far as a signature goes: for the many questions that moto would take too long to start for. What a
/// good signature is, moto says (see [`Moto`]) and AWS's own example (in `src/secrets/sigv4.rs`).
pub fn aws_of_the_tests(
    region: &'static str,
    id: &str,
    secret: &str,
    session: Option<&'static str>,
) -> Origin {
    let credentials = Credentials {
        access_key_id: id.to_owned(),
        secret_access_key: secret.to_owned(),
        session_token: None,
    };
    Origin::answering(move |seen| {
        let header = |name| seen.header(name).unwrap_or_default();
        let mut headers = vec![
            ("content-type", header("content-type")),
            ("host", header("host")),
            ("x-amz-date", header("x-amz-date")),
        ];
        // what it should be, whatever was sent
        headers.extend(session.map(|token| ("x-amz-security-token", token)));
        headers.push(("x-amz-target", header("x-amz-target")));
        let signed = Signed {
            method: &seen.method,
            path: &seen.target,
            headers: &headers,
            body: &seen.body,
            time: header("x-amz-date"),
            region,
            service: "secretsmanager",
        };
        let (status, body) = if header("authorization") == authorization(&signed, &credentials).unwrap() {
            (200, json!({ "Name": "a", "SecretString": "text" }))
        } else {
            (400, json!({ "__type": "InvalidSignatureException" }))
        };
        Reply::new(
            status,
            &[("Content-Type", "application/x-amz-json-1.1")],
            &body.to_string(),
        )
    })
}

/// AWS as moto plays it, which verifies signatures with botocore.
struct Moto {
    child: Child,
    address: String,
    access_key: String,
    secret_key: String,
}

impl Moto {
    fn start() -> Moto {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/secrets_manager.py");
        let mut child = Command::new(python())
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let said: serde_json::Value =
            serde_json::from_str(&line).unwrap_or_else(|_| panic!("moto said {line:?}"));
        let field = |name: &str| said[name].as_str().unwrap().to_owned();
        Moto {
            child,
            address: field("address"),
            access_key: field("access_key"),
            secret_key: field("secret_key"),
        }
    }

    /// Writes a secret, as boto3 does.
    fn put(&mut self, name: &str, text: &str) {
        let line = json!({ "name": name, "text": text });
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        // it ends with its standard input
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

// S20, S17
#[test]
fn a_secret_in_aws_secrets_manager_is_used_and_exchanged_when_it_changes() {
    let mut moto = Moto::start();
    let issuer = issuer();
    let block = format!(
        "refresh: 1s, aws_sm: {{ region: eu-central-1, endpoint: \"{}\", access_key_id: {}, secret_access_key: \"${{env:AWS_SECRET}}\" }}",
        moto.address, moto.access_key
    );
    let body = config(issuer.address, "${aws-sm:gateway/issuer#client}", &block);
    let gateway = Gateway::with(&body).env("AWS_SECRET", &moto.secret_key).start();
    assert_eq!(shown(&gateway, &issuer), "first-secret");
    moto.put(
        "gateway/issuer",
        &json!({ "client": "second-secret" }).to_string(),
    );
    eventually("the new secret is used", || {
        (shown(&gateway, &issuer) == "second-secret").then_some(())
    });

    let check = |reference: &str, secret: &str| {
        let yaml = std::fs::read_to_string(gateway.folder.0.join("durward.yaml")).unwrap();
        let yaml = yaml.replace("${aws-sm:gateway/issuer#client}", reference);
        let file = gateway.folder.write("checked.yaml", yaml);
        let output = binary()
            .args(["check", "--network", "-c", &file])
            .env("AWS_SECRET", secret)
            .output()
            .unwrap();
        text(&output)
    };
    let good = moto.secret_key.clone();
    assert!(
        check("${aws-sm:gateway/issuer}", &good).contains("good"),
        "the whole text"
    );
    assert!(check("${aws-sm:none}", &good).contains("there is no such secret"));
    assert!(check("${aws-sm:gateway/issuer#none}", &good).contains("no such field"));
    let said = check("${aws-sm:gateway/issuer}", "anothersecret");
    assert!(
        said.contains("refused: 40") && !said.contains("anothersecret"),
        "{said}"
    );
}
