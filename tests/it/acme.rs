//! Certificates that are ordered and renewed without anybody's doing. The CA is Pebble, Let's Encrypt's own test server.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use openssl::x509::X509;

use crate::config_keys::acme::SEAL;
use crate::config_keys::acme::{ordering, stored};
use crate::support::ca::Ca;
use crate::support::gateway::check;
use crate::support::pki::authority;
use crate::support::{Authority, Client, Folder, Gateway, eventually, free_address};

const RESPOND: &str = "routes:\n\
    \x20 - match: { methods: [GET], path: /ok }\n\
    \x20   public: { reason: test, owner: test }\n\
    \x20   respond: 200\n";

const HMAC_KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

/// A CA whose proofs are looked for on the ports of a gateway.
struct Pebble {
    directory: SocketAddr,
    management: SocketAddr,
    /// Issued the certificate of its directory.
    authority: Authority,
    children: Vec<Child>,
    folder: Folder,
}

struct Ports {
    https: SocketAddr,
    http: SocketAddr,
}

impl Ports {
    fn new() -> Ports {
        Ports {
            https: free_address(),
            http: free_address(),
        }
    }
}

impl Pebble {
    /// `more`: members of its configuration.
    fn start(ports: &Ports, more: &str) -> Pebble {
        let (folder, authority) = (Folder::new(), Authority::new());
        let leaf = authority.leaf(&["localhost", "127.0.0.1"]);
        let (cert, key) = (
            folder.write("cert.pem", &leaf.certificate),
            folder.write("key.pem", &leaf.key),
        );
        let (directory, management, dns, dns_management) =
            (free_address(), free_address(), free_address(), free_address());
        let config = folder.write(
            "pebble.json",
            format!(
                "{{\"pebble\": {{ \"listenAddress\": \"{directory}\", \"managementListenAddress\": \"{management}\", \
                 \"certificate\": \"{cert}\", \"privateKey\": \"{key}\", \"httpPort\": {}, \"tlsPort\": {}{more} }} }}",
                ports.http.port(),
                ports.https.port()
            ),
        );
        let start = |command: &mut Command| {
            let out = std::fs::File::create(folder.0.join("out")).unwrap();
            command
                .stdin(Stdio::null())
                .stdout(out)
                .stderr(Stdio::null())
                .spawn()
                .expect("install it with scripts/setup test")
        };
        let names = start(Command::new("pebble-challtestsrv").args([
            "-dns01",
            &dns.to_string(),
            "-management",
            &dns_management.to_string(),
            "-defaultIPv4",
            "127.0.0.1",
            "-defaultIPv6",
            "",
            "-http01",
            "",
            "-https01",
            "",
            "-tlsalpn01",
            "",
        ]));
        let ca = start(
            Command::new("pebble")
                .args(["-config", &config, "-dnsserver", &dns.to_string(), "-strict"])
                .env("PEBBLE_VA_NOSLEEP", "1")
                .env("PEBBLE_AUTHZREUSE", "0")
                // every third nonce is turned down: as CAs do when they restart
                .env("PEBBLE_WFE_NONCEREJECT", "33"),
        );
        let pebble = Pebble {
            directory,
            management,
            authority,
            children: vec![names, ca],
            folder,
        };
        eventually("the CA listens", || {
            let all = [directory, management, dns_management];
            all.iter()
                .all(|address| std::net::TcpStream::connect(address).is_ok())
                .then_some(())
        });
        pebble
    }

    /// Configuration of a gateway that orders from here; more keys of the account, as lines.
    fn gateway(&self, ports: &Ports, names: &str, account: &str) -> crate::support::gateway::Start {
        let start = Gateway::whole(&format!(
            "version: 1\nadmin: {{ address: \"{{admin}}\" }}\nrecords: {{ to: {{ file: records.jsonl }} }}\n\
             listeners:\n\
             \x20 - {{ address: \"{}\", tls: {{ certificates: [{{ acme: pebble, names: [{names}] }}] }} }}\n\
             \x20 - {{ address: \"{}\", redirect_https: {{ port: {} }} }}\n\
             acme:\n  pebble:\n    directory: \"https://{}/dir\"\n    ca: pebble-ca.crt\n    terms_agreed: true\n    \
             contact: [\"mailto:ops@example.com\"]\n    storage: acme\n{account}\
             secrets: {{ sealing_keys: [\"${{env:SEAL}}\"] }}\n{RESPOND}",
            ports.https,
            ports.http,
            ports.https.port(),
            self.directory
        ));
        start
            .file("pebble-ca.crt", self.authority.pem())
            .env("SEAL", SEAL)
    }

    /// The root that issued what it issues.
    fn root(&self) -> X509 {
        let answer = Client::new(self.management)
            .trusting(&self.authority)
            .sni("localhost")
            .get("/roots/0", &[]);
        X509::from_pem(&answer.body).unwrap()
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let out = std::fs::read_to_string(self.folder.0.join("out")).unwrap_or_default();
            eprintln!("the CA said:\n{out}");
        }
    }
}

/// The certificate that a name is shown, if the handshake succeeds with this root.
fn shown(https: SocketAddr, name: &str, root: &X509) -> Option<X509> {
    let mut builder = SslConnector::builder(SslMethod::tls_client()).unwrap();
    let mut store = openssl::x509::store::X509StoreBuilder::new().unwrap();
    store.add_cert(root.clone()).unwrap();
    builder.set_cert_store(store.build());
    let stream = std::net::TcpStream::connect(https).ok()?;
    let stream = builder.build().connect(name, stream).ok()?;
    stream.ssl().peer_certificate()
}

fn mode(path: &std::path::Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

// S15
#[test]
fn a_certificate_is_ordered_by_a_file_on_plain_http_kept_and_served() {
    let ports = Ports::new();
    let pebble = Pebble::start(&ports, "");
    let mut gateway = pebble.gateway(&ports, "api.example, www.example", "").start();
    let root = pebble.root();
    let first = eventually("the certificate", || shown(ports.https, "api.example", &root));
    let same = shown(ports.https, "www.example", &root).unwrap();
    assert_eq!(same.to_der().unwrap(), first.to_der().unwrap());
    // names that were not ordered are shown the same, which is not for them
    assert!(shown(ports.https, "other.example", &root).is_none());
    // what was asked, is told
    let record = eventually("the record of the CA's question", || {
        gateway.records().into_iter().find(|record| {
            record["url.path"]
                .as_str()
                .is_some_and(|path| path.starts_with("/.well-known/acme-challenge/"))
        })
    });
    assert_eq!(record["http.response.status_code"], 200);
    // and is gone: the port redirects as before
    let answer = Client::new(ports.http).get("/.well-known/acme-challenge/nothing", &[]);
    assert_eq!(answer.status, 301);
    let metrics = gateway.admin("/metrics").text();
    for line in [
        "durward_acme_orders_total{account=\"pebble\",name=\"api.example\",outcome=\"issued\"} 1",
        "durward_acme_failures{account=\"pebble\",name=\"api.example\"} 0",
        "durward_tls_certificate_not_after_seconds{",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    // only its owner can read what is kept
    let folder = gateway.folder.0.join("acme");
    assert_eq!(mode(&folder), 0o700);
    let files: Vec<_> = std::fs::read_dir(&folder).unwrap().flatten().collect();
    assert_eq!(files.len(), 2, "{files:?}");
    assert!(files.iter().all(|file| mode(&file.path()) == 0o600), "{files:?}");
    // and he needs the sealing key for that (S33)
    for file in &files {
        let text = std::fs::read_to_string(file.path()).unwrap();
        assert!(text.starts_with("durward-sealed:v1:"), "{text}");
    }
    // another start serves at once with what is there, without the CA
    gateway.stop();
    drop(pebble);
    let mut again = gateway.command("run");
    let again = again.env("SEAL", SEAL).stderr(Stdio::null());
    let again = Running(again.spawn().unwrap());
    let kept = eventually("it serves again", || shown(ports.https, "api.example", &root));
    assert_eq!(kept.to_der().unwrap(), first.to_der().unwrap());
    drop(again);
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

// S15: renewed while it serves, with proofs on the very port that it serves on
#[test]
fn a_certificate_is_renewed_over_tls_alone_and_no_handshake_and_no_request_is_lost() {
    let ports = Ports::new();
    // 40 seconds, of which a tenth is waited for
    let pebble = Pebble::start(&ports, ", \"certificateValidityPeriod\": 40");
    let account = "    challenge: tls-alpn-01\n    renew_after_percent: 10\n";
    let gateway = pebble.gateway(&ports, "api.example", account).start();
    let root = pebble.root();
    let first = eventually("the certificate", || shown(ports.https, "api.example", &root));

    // one client stays, others come and go, while it is renewed twice
    let over = Arc::new(AtomicBool::new(false));
    let (served, ends) = (Arc::new(AtomicU32::new(0)), over.clone());
    let (counted, trusted) = (served.clone(), root.clone());
    let https = ports.https;
    let clients = std::thread::spawn(move || {
        while !ends.load(Ordering::Relaxed) {
            assert!(
                shown(https, "api.example", &trusted).is_some(),
                "a handshake was lost"
            );
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let mut builder = SslConnector::builder(SslMethod::tls_client()).unwrap();
    builder.set_verify(SslVerifyMode::NONE);
    let stream = std::net::TcpStream::connect(https).unwrap();
    let mut stays = builder.build().connect("api.example", stream).unwrap();
    let mut ask = || {
        use std::io::{Read, Write};
        stays
            .write_all(b"GET /ok HTTP/1.1\r\nHost: api.example\r\n\r\n")
            .unwrap();
        let mut head = [0; 12];
        stays.read_exact(&mut head).unwrap();
        let mut rest = Vec::new();
        while !rest.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stays.read_exact(&mut byte).unwrap();
            rest.push(byte[0]);
        }
        head == *b"HTTP/1.1 200"
    };
    let mut last = first;
    for renewal in 1..=2 {
        last = eventually("it is renewed", || {
            assert!(ask(), "the open connection was cut");
            let now = shown(https, "api.example", &root).unwrap();
            (now.to_der().unwrap() != last.to_der().unwrap()).then_some(now)
        });
        let metrics = gateway.admin("/metrics").text();
        let issued = format!(
            "durward_acme_orders_total{{account=\"pebble\",name=\"api.example\",outcome=\"issued\"}} {}",
            renewal + 1
        );
        assert!(metrics.contains(&issued), "{metrics}");
    }
    over.store(true, Ordering::Relaxed);
    clients.join().unwrap();
    assert!(served.load(Ordering::Relaxed) > 10);
    assert!(
        gateway
            .messages()
            .contains("certificate for api.example: issued, good until")
    );
}

// S15, S30: a CA has no certificate of a client, and needs none for its question
#[test]
fn a_certificate_is_ordered_over_tls_where_clients_need_certificates() {
    let ports = Ports::new();
    let pebble = Pebble::start(&ports, "");
    let required = "client_certificates: { mode: required, trust: partners }";
    let gateway = pebble
        .gateway(&ports, "api.example", "    challenge: tls-alpn-01\n")
        .replacing(
            "names: [api.example] }] }",
            &format!("names: [api.example] }}], {required} }}"),
        )
        .replacing(
            "version: 1\n",
            "version: 1\ntruststores: { partners: { ca: [partners.pem] } }\n",
        )
        .file("partners.pem", authority("partners").root().pem())
        .start();
    let root = pebble.root();
    eventually("the certificate", || shown(ports.https, "api.example", &root));
    // without one, that is all there is to see
    let mut connection = Client::new(ports.https)
        .tls(&gateway.authority, |settings| {
            settings.set_verify(SslVerifyMode::NONE)
        })
        .connect();
    connection.write("GET /ok HTTP/1.1\r\nHost: api.example\r\n\r\n");
    assert!(connection.rest().is_empty());
}

// S15
#[test]
fn an_account_is_bound_to_one_that_the_ca_has_already() {
    let ports = Ports::new();
    let keys = format!(
        ", \"externalAccountBindingRequired\": true, \"externalAccountMACKeys\": {{ \"kid-1\": \"{HMAC_KEY}\" }}"
    );
    let pebble = Pebble::start(&ports, &keys);
    let account = "    external_account: { kid: kid-1, hmac_key: \"${env:HMAC_KEY}\" }\n";
    let gateway = pebble
        .gateway(&ports, "api.example", account)
        .env("HMAC_KEY", HMAC_KEY)
        .start();
    let root = pebble.root();
    eventually("the certificate", || shown(ports.https, "api.example", &root));
    drop(gateway);
    // without it, the reason is told, and nothing else fails
    let ports = Ports::new();
    let gateway = pebble.gateway(&ports, "api.example", "").start();
    eventually("why not", || {
        let said = gateway.messages();
        (said.contains("certificate for api.example: not issued, there is none to serve with")
            && said.contains("externalAccountRequired"))
        .then_some(())
    });
    let metrics = gateway.admin("/metrics").text();
    assert!(
        metrics.contains("durward_acme_failures{account=\"pebble\",name=\"api.example\"} 1"),
        "{metrics}"
    );
    assert!(!metrics.contains(HMAC_KEY) && !gateway.messages().contains(HMAC_KEY));
}

/// What is said to an account with these keys, and a certificate with these.
fn checked(account: &str, certificate: &str, more: &str) -> (bool, String) {
    let folder = Folder::new();
    check(
        &folder,
        &format!(
            "version: 1\nlisteners:\n  - {{ address: \"127.0.0.1:1\", tls: {{ certificates: [{{ {certificate} }}] }} }}\n{more}\
             acme:\n  ca: {{ directory: \"https://ca.example/dir\", storage: acme, plain_storage: true, {account} }}\n{RESPOND}"
        ),
    )
}

// S15, S23
#[test]
fn what_cannot_be_ordered_is_said_when_it_is_loaded() {
    const PLAIN: &str = "  - { address: \"127.0.0.1:2\", redirect_https: true }\n";
    const GOOD: &str = "acme: ca, names: [api.example]";
    assert_eq!(checked("terms_agreed: true", GOOD, PLAIN), (true, String::new()));
    for (account, certificate, more, part) in [
        ("terms_agreed: false", GOOD, PLAIN, "does not agree to its terms"),
        (
            "terms_agreed: true",
            "acme: cb, names: [api.example]",
            PLAIN,
            "did you mean `ca`?",
        ),
        ("terms_agreed: true", "acme: ca", PLAIN, "there is no name"),
        (
            "terms_agreed: true",
            "acme: ca, names: [\"*.example\"]",
            PLAIN,
            "a wildcard needs a challenge by DNS",
        ),
        (
            "terms_agreed: true",
            "acme: ca, names: [10.0.0.1]",
            PLAIN,
            "not a DNS name",
        ),
        (
            "terms_agreed: true",
            "acme: ca, names: [a.example, A.example]",
            PLAIN,
            "is there twice",
        ),
        (
            "terms_agreed: true",
            "acme: ca, names: [a.example], dir: x",
            PLAIN,
            "or `acme` with `names`",
        ),
        (
            "terms_agreed: true",
            GOOD,
            "",
            "is answered on a listener with `redirect_https`",
        ),
        (
            "terms_agreed: true, renew_after_percent: 95",
            GOOD,
            PLAIN,
            "must be 10 to 90",
        ),
        (
            "terms_agreed: true, contact: [\"ops@example.com\"]",
            GOOD,
            PLAIN,
            "`mailto:`",
        ),
    ] {
        let (good, said) = checked(account, certificate, more);
        assert!(!good && said.contains(part), "{part}: {said}");
    }
    // proofs in TLS need no other port
    let (good, said) = checked("terms_agreed: true, challenge: tls-alpn-01", GOOD, "");
    assert_eq!((good, said.as_str()), (true, ""));
}

// S15: RFC 9773; Pebble 2.4 does not suggest anything, so a CA of our own does
#[test]
fn a_certificate_is_renewed_when_its_ca_suggests_it_and_says_which_one_it_replaces() {
    let ca = Ca::suggesting(Some(("2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z")));
    // issued an hour ago, for two days: left alone, it would be renewed tomorrow
    let gateway = stored(ordering(&ca, "dir", "", "names: [api.example]")).start();
    let order = ca.payload("/order");
    let replaces = order["replaces"].as_str().unwrap();
    assert!(replaces.starts_with("AQIDBA."), "{replaces}");
    let asked = ca.origin.seen().into_iter().map(|seen| seen.target);
    assert!(
        asked.clone().any(|target| target == format!("/info/{replaces}")),
        "{:?}",
        asked.collect::<Vec<_>>()
    );
    // it is not issued: the present one serves on
    eventually("it is said", || {
        gateway
            .messages()
            .contains("not issued, the present one goes on: the CA answers 403")
            .then_some(())
    });
    assert!(shown(gateway.https, "api.example", &gateway.authority.certificate).is_some());

    let later = Ca::suggesting(Some(("2099-01-01T00:00:00Z", "2099-01-02T00:00:00Z")));
    let gateway = stored(ordering(
        &later,
        "dir",
        "renew_after_percent: 10",
        "names: [api.example]",
    ))
    .start();
    let metrics = eventually("the plan", || {
        let metrics = gateway.admin("/metrics").text();
        metrics
            .contains("durward_acme_next_order_timestamp_seconds{")
            .then_some(metrics)
    });
    let line = metrics
        .lines()
        .find(|line| line.starts_with("durward_acme_next_order_timestamp_seconds{"))
        .unwrap();
    let planned: u64 = line.rsplit(' ').next().unwrap().parse().unwrap();
    // however late the CA suggests it: before the end
    let left = planned - crate::support::issuer::now();
    assert!((40 * 3600..47 * 3600).contains(&left), "{left} seconds");
}
