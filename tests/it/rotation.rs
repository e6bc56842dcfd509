//! Every kind of secret is exchanged while clients keep sending: none of their requests fails.
//!
//! For each kind there are three steps: the new one is taken beside the old one, clients or services go over to it, and the old
//! one is taken no more. The next step begins when the one before is seen, never after a time.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use durward::demo::proof::Verifier;
use openssl::ssl::SslVerifyMode;
use openssl::x509::store::X509StoreBuilder;
use serde_json::json;

use crate::secrets::seal;
use crate::support::client::{Connection, request};
use crate::support::gateway::binary;
use crate::support::issuer::{AUDIENCE, ISSUER, now};
use crate::support::jose::{base64, signature, signed_part};
use crate::support::origin::Seen;
use crate::support::pki::{Held, authority, client};
use crate::support::vault::{ROLE, SECRET_ID, Vault};
use crate::support::{Authority, Client, Folder, Gateway, Keys, Origin, Reply, eventually};

const CLIENTS: usize = 200;
/// Each client sends a request so often. Every fourth makes a connection for each.
const PACE: Duration = Duration::from_millis(500);
const DAY: i64 = 86_400;
const OTHER: &str = "https://asked.example/";

/// What clients show now.
struct Shown {
    /// Rises with each change.
    version: usize,
    jwt: Keys,
    attestation: [u8; 32],
    api_key: String,
    certificate: Held,
}

impl Shown {
    fn next(&self) -> Shown {
        Shown {
            version: self.version + 1,
            jwt: self.jwt.clone(),
            attestation: self.attestation,
            api_key: self.api_key.clone(),
            certificate: self.certificate.clone(),
        }
    }

    /// The path that this kind of client asks for, and what it shows there.
    fn request(&self, kind: usize, number: usize) -> String {
        let with = |path: &str, headers: &[(&str, &str)]| request("GET", path, headers, "");
        match kind {
            0 => with(
                "/app",
                &[
                    ("Authorization", &format!("Bearer {}", self.jwt.token(json!({})))),
                    ("X-Attestation", &attested(&self.attestation)),
                ],
            ),
            // each is asked about
            1 => with("/asked", &[("Authorization", &format!("Bearer opaque-{number}"))]),
            2 => with("/key", &[("X-Api-Key", &self.api_key)]),
            _ => with("/certificate", &[]),
        }
    }
}

fn attested(secret: &[u8]) -> String {
    let signed = signed_part(
        json!({ "alg": "HS256", "typ": "JWT" }),
        json!({ "exp": now() + 100 }),
    );
    let key = openssl::pkey::PKey::hmac(secret).unwrap();
    format!("{signed}.{}", base64(signature("HS256", &key, &signed)))
}

/// The clients: what they show, and what became of it.
struct Clients {
    shown: Mutex<Arc<Shown>>,
    /// The version with which each has begun its latest request.
    begun: Vec<AtomicUsize>,
    sent: AtomicUsize,
    failed: Mutex<Vec<String>>,
    over: AtomicBool,
}

impl Clients {
    fn current(&self) -> Arc<Shown> {
        self.shown.lock().unwrap().clone()
    }

    /// From now on they show something else; returns when nobody shows what was before any more.
    fn go_over(&self, change: impl FnOnce(&mut Shown)) {
        let version = {
            let mut shown = self.shown.lock().unwrap();
            let mut next = shown.next();
            change(&mut next);
            *shown = Arc::new(next);
            shown.version
        };
        eventually("all clients have gone over", || {
            let have = |begun: &AtomicUsize| begun.load(Ordering::SeqCst) >= version;
            self.begun.iter().all(have).then_some(())
        });
    }

    /// A client, until it is over.
    fn run(&self, index: usize, gateway: &Gateway) {
        let kind = index % 4;
        let mut kept: Option<Connection> = None;
        let mut number = index;
        // not all of them at once
        std::thread::sleep(4 * PACE * u32::try_from(index).unwrap() / u32::try_from(CLIENTS).unwrap());
        while !self.over.load(Ordering::SeqCst) {
            let shown = self.current();
            self.begun[index].store(shown.version, Ordering::SeqCst);
            let connected = match kept.take() {
                Some(connection) => Ok(connection),
                None if kind == 3 => connect(&shown.certificate.client(gateway)),
                None => connect(&gateway.client()),
            };
            number += CLIENTS;
            let outcome = connected.and_then(|mut connection| {
                connection.write(shown.request(kind, number));
                let answer = connection.try_answer("GET").ok_or("no answer")?;
                // certificates are of connections, so these clients make one for each request
                kept = (kind != 3).then_some(connection);
                match answer.status {
                    200 => Ok(()),
                    status => Err(format!("{status} {}", answer.text())),
                }
            });
            self.sent.fetch_add(1, Ordering::SeqCst);
            if let Err(why) = outcome {
                self.failed
                    .lock()
                    .unwrap()
                    .push(format!("client of kind {kind}: {why}"));
            }
            std::thread::sleep(PACE);
        }
    }
}

/// A connection. One that the client's own system interrupts is begun again: no request was sent on it.
fn connect(client: &Client) -> Result<Connection, String> {
    loop {
        match client.try_connect() {
            Err(why) if why.contains("Interrupted") => {}
            outcome => return outcome,
        }
    }
}

/// An issuer that takes any of these secrets of ours, and what it has been shown.
struct Asked {
    taken: Mutex<BTreeSet<String>>,
    latest: Mutex<String>,
}

fn issuer(asked: &Arc<Asked>) -> Origin {
    let asked = asked.clone();
    Origin::answering(move |seen| {
        let basic = seen.header("authorization").unwrap_or_default();
        let decoded = STANDARD
            .decode(basic.trim_start_matches("Basic "))
            .unwrap_or_default();
        let secret = String::from_utf8(decoded).unwrap_or_default().replace("us:", "");
        let is_good = asked.taken.lock().unwrap().contains(&secret);
        *asked.latest.lock().unwrap() = secret;
        let json = [("Content-Type", "application/json")];
        if !is_good {
            return Reply::new(401, &json, "{}");
        }
        let answer = json!({
            "active": true, "iss": OTHER, "aud": AUDIENCE, "sub": "ada", "client_id": "tests", "exp": now() + 300,
        });
        Reply::new(200, &json, &answer.to_string())
    })
}

/// The service behind the gateway: which certificates and signatures it has been shown, and which signatures it takes.
struct Service {
    origin: Origin,
    certificates: Arc<Mutex<BTreeSet<String>>>,
    signers: Arc<Mutex<Vec<(String, Verifier)>>>,
    latest: Arc<Mutex<String>>,
}

fn service(ours: &Authority, gateways: &Authority) -> Service {
    let certificates: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let signers: Arc<Mutex<Vec<(String, Verifier)>>> = Arc::default();
    let latest: Arc<Mutex<String>> = Arc::default();
    let leaf = ours.leaf(&["o.internal"]);
    let (of_gateways, presented) = (gateways.certificate.clone(), certificates.clone());
    let (known, last) = (signers.clone(), latest.clone());
    let behaviour = move |seen: &Seen| {
        let request = crate::proof::request(seen);
        let known = known.lock().unwrap();
        match known
            .iter()
            .find(|(_, verifier)| verifier.verify(&request, now()).is_ok())
        {
            Some((name, _)) => {
                last.lock().unwrap().clone_from(name);
                Reply::ok()
            }
            None => Reply::new(
                403,
                &[("Content-Type", "text/plain")],
                "not signed by a key that is known",
            ),
        }
    };
    let origin = Origin::tls_with(&leaf.certificate, &leaf.key, behaviour, |acceptor| {
        let mut store = X509StoreBuilder::new().unwrap();
        store.add_cert(of_gateways).unwrap();
        acceptor.set_verify_cert_store(store.build()).unwrap();
        let mode = SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT;
        acceptor.set_verify_callback(mode, move |is_good, context| {
            if let (0, Some(leaf)) = (context.error_depth(), context.current_cert()) {
                let serial = leaf.serial_number().to_bn().unwrap().to_string();
                presented.lock().unwrap().insert(serial);
            }
            is_good
        });
    });
    Service {
        origin,
        certificates,
        signers,
        latest,
    }
}

fn serial(pem: &[u8]) -> String {
    let certificate = openssl::x509::X509::from_pem(pem).unwrap();
    certificate.serial_number().to_bn().unwrap().to_string()
}

fn keys(arguments: &[&str]) -> String {
    let output = binary().arg("keys").args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn sealed(folder: &Folder, name: &str, key: &str, secret: &str) {
    let path = folder.0.join(name).display().to_string();
    let output = seal(&["--to", &path], key, secret);
    assert!(output.status.success(), "{output:?}");
}

fn jwks(keys: &[&Keys]) -> String {
    json!({ "keys": keys.iter().map(|keys| keys.jwk()).collect::<Vec<_>>() }).to_string()
}

// S17; issue 5: certificate and key, truststore, revocation list, key of tokens, attestation secret, client secret, API key,
// upstream certificate, upstream signature, sealing key, and a login that is renewed and lost
#[test]
fn every_kind_of_secret_is_exchanged_and_no_request_of_200_clients_fails() {
    let vault = Vault::start();
    vault.lease(3);
    vault.put("secret/gateway", json!({ "client": "first" }));
    let asked = Arc::new(Asked {
        taken: Mutex::new(["first", "second"].map(str::to_owned).into()),
        latest: Mutex::default(),
    });
    let issuer = issuer(&asked);
    let (ours, gateways) = (Authority::new(), Authority::new());
    let service = service(&ours, &gateways);
    let hmac = [[1; 32], [2; 32]].map(|key| STANDARD.encode(key));
    let seals = [[3; 32], [4; 32]].map(|key| STANDARD.encode(key));
    let signer = |name: &str, key: &str| (name.to_owned(), Verifier::new("gateway", key).unwrap());
    *service.signers.lock().unwrap() = vec![signer("first", &hmac[0]), signer("second", &hmac[1])];
    let tokens = [Keys::new("k1"), Keys::new("k2")];
    let attesting: [[u8; 32]; 2] = [[5; 32], [6; 32]];
    let cas = ["first CA", "second CA"].map(|name| authority(name).root());
    let held = [0, 1].map(|index| cas[index].issue(&client("ours")));
    let spare = cas[1].issue(&client("spare"));
    let list = |ca: &Held, revoked: &[&Held]| ca.revoking(revoked, -60, DAY);
    let upstream = [0, 1].map(|_| gateways.leaf(&["gateway.internal"]));

    let start = Gateway::with(&format!(
        "secrets:\n\
         \x20 refresh: 1s\n\
         \x20 sealing_keys: [\"${{file:{{DIR}}/seal}}\", \"${{file:{{DIR}}/seal.before}}\"]\n\
         \x20 vault: {{ address: \"{vault}\", ca: vault.pem, auth: {{ approle: {{ role_id: {ROLE}, secret_id: \"${{env:SECRET_ID}}\" }} }} }}\n\
         issuers:\n\
         \x20 main: {{ issuer: \"{ISSUER}\", audiences: [{AUDIENCE}], jwks: {{ file: jwks.json }} }}\n\
         \x20 opaque:\n    issuer: \"{OTHER}\"\n    audiences: [{AUDIENCE}]\n\
         \x20   introspection: {{ url: \"http://{issuer}/\", client_id: us, client_secret: \"${{vault:gateway#client}}\" }}\n\
         attestations: {{ mobile: {{ secret: \"${{file:{{DIR}}/attest}}\", previous_secret: \"${{file:{{DIR}}/attest.before}}\" }} }}\n\
         keys: {{ apps: {{ file: keys.json }} }}\n\
         truststores: {{ partners: {{ ca: [ca.pem], crl: [ca.crl] }} }}\n\
         client_certificates: {{ partners: {{ trust: partners }} }}\n\
         upstreams:\n\
         \x20 o:\n    targets: [\"{origin}\"]\n\
         \x20   tls: {{ server_name: o.internal, ca: o.pem, cert: gw/tls.crt, key: gw/tls.key }}\n\
         \x20   sign: {{ algorithm: hmac-sha256, key: \"${{sealed:{{DIR}}/hmac}}\", keyid: gateway }}\n\
         routes:\n\
         \x20 - {{ match: {{ methods: [GET], path: /app }}, auth: {{ jwt: main, attestation: mobile }}, upstream: o }}\n\
         \x20 - {{ match: {{ methods: [GET], path: /asked }}, auth: {{ introspection: opaque }}, upstream: o }}\n\
         \x20 - {{ match: {{ methods: [GET], path: /key }}, auth: {{ api_key: apps }}, upstream: o }}\n\
         \x20 - {{ match: {{ methods: [GET], path: /certificate }}, auth: {{ client_certificate: partners }}, upstream: o }}\n",
        vault = vault.address,
        issuer = issuer.address,
        origin = service.origin.address,
    ))
    .tls("client_certificates: { mode: optional, trust: partners }")
    .env("SECRET_ID", SECRET_ID)
    .file("vault.pem", vault.authority.pem())
    .file("o.pem", ours.pem())
    .file("jwks.json", jwks(&[&tokens[0]]))
    .file("attest", STANDARD.encode(attesting[0]))
    .file("attest.before", STANDARD.encode(attesting[0]))
    .file("seal", &seals[0])
    .file("seal.before", &seals[0])
    .file("ca.pem", cas[0].pem())
    .file("ca.crl", list(&cas[0], &[]))
    .installed("gw", &upstream[0]);
    let dir = start.path("").display().to_string();
    let start = start.replacing("{DIR}", dir.trim_end_matches('/'));
    let ring = start.path("keys.json").display().to_string();
    let api_key = keys(&["new", "-f", &ring, "--client", "first"]);
    let hmac_file = start.path("hmac").display().to_string();
    assert!(seal(&["--to", &hmac_file], &seals[0], &hmac[0]).status.success());
    let gateway = start.start();

    let clients = Clients {
        shown: Mutex::new(Arc::new(Shown {
            version: 1,
            jwt: tokens[0].clone(),
            attestation: attesting[0],
            api_key,
            certificate: held[0].clone(),
        })),
        begun: (0..CLIENTS).map(|_| AtomicUsize::new(0)).collect(),
        sent: AtomicUsize::new(0),
        failed: Mutex::default(),
        over: AtomicBool::new(false),
    };
    let write = |name: &str, contents: Vec<u8>| {
        gateway.folder.write(name, contents);
        gateway.signal("HUP");
    };
    // what a request comes to that is none of the clients'
    let probe = |client: &Client, sent: &str| {
        let mut connection = client.try_connect().ok()?;
        connection.write(sent);
        connection.try_answer("GET").map(|answer| answer.status)
    };
    let becomes = |what: &str, status: u16, ask: &dyn Fn() -> Option<u16>| {
        eventually(what, || (ask() == Some(status)).then_some(()));
    };
    let rotate = || {
        clients.go_over(|_| ());

        // the gateway's own certificate and key
        let before = gateway.folder.0.join("certs/tls.crt");
        let before = serial(&std::fs::read(before).unwrap());
        let next = gateway.authority.leaf(&["localhost", "api.example", "127.0.0.1"]);
        next.install(&gateway.folder, "certs");
        gateway.signal("HUP");
        eventually("the new certificate is shown", || {
            let connection = gateway.client().try_connect().ok()?;
            let shown = connection.ssl().peer_certificate()?;
            let shown = serial(&shown.to_pem().unwrap());
            (shown != before && shown == serial(&next.certificate)).then_some(())
        });

        // truststore, with the list of the new CA; and then the list
        let at = |held: &Held| probe(&held.client(&gateway), &request("GET", "/certificate", &[], ""));
        write("ca.crl", [list(&cas[0], &[]), list(&cas[1], &[])].concat());
        write("ca.pem", [cas[0].pem(), cas[1].pem()].concat());
        becomes("the new CA is taken", 200, &|| at(&held[1]));
        assert_eq!(at(&held[0]), Some(200), "and the old one");
        clients.go_over(|shown| shown.certificate = held[1].clone());
        write("ca.pem", cas[1].pem());
        write("ca.crl", list(&cas[1], &[]));
        eventually("the old CA is not", || (at(&held[0]) != Some(200)).then_some(()));
        becomes("the spare one is taken", 200, &|| at(&spare));
        write("ca.crl", list(&cas[1], &[&spare]));
        eventually("what is revoked is not", || {
            (at(&spare) != Some(200)).then_some(())
        });

        // keys of tokens
        let at = |keys: &Keys| {
            let shown = clients.current();
            let (bearer, attested) = (keys.token(json!({})), attested(&shown.attestation));
            let headers = [
                ("Authorization", &*format!("Bearer {bearer}")),
                ("X-Attestation", &attested),
            ];
            probe(&gateway.client(), &request("GET", "/app", &headers, ""))
        };
        write("jwks.json", jwks(&[&tokens[0], &tokens[1]]).into_bytes());
        becomes("the new key is taken", 200, &|| at(&tokens[1]));
        assert_eq!(at(&tokens[0]), Some(200), "and the old one");
        clients.go_over(|shown| shown.jwt = tokens[1].clone());
        write("jwks.json", jwks(&[&tokens[1]]).into_bytes());
        becomes("the old key is not", 401, &|| at(&tokens[0]));

        // the secret of attestations
        let at = |secret: &[u8; 32]| {
            let (bearer, attested) = (clients.current().jwt.token(json!({})), attested(secret));
            let headers = [
                ("Authorization", &*format!("Bearer {bearer}")),
                ("X-Attestation", &attested),
            ];
            probe(&gateway.client(), &request("GET", "/app", &headers, ""))
        };
        write("attest", STANDARD.encode(attesting[1]).into_bytes());
        becomes("the new secret is taken", 200, &|| at(&attesting[1]));
        assert_eq!(at(&attesting[0]), Some(200), "and the old one");
        clients.go_over(|shown| shown.attestation = attesting[1]);
        write("attest.before", STANDARD.encode(attesting[1]).into_bytes());
        becomes("the old secret is not", 401, &|| at(&attesting[0]));

        // API keys
        let next = keys(&["new", "-f", &ring, "--client", "second"]);
        let before = clients.current().api_key.clone();
        let at = |key: &str| {
            probe(
                &gateway.client(),
                &request("GET", "/key", &[("X-Api-Key", key)], ""),
            )
        };
        gateway.signal("HUP");
        becomes("the new key is taken", 200, &|| at(&next));
        assert_eq!(at(&before), Some(200), "and the old one");
        clients.go_over(|shown| shown.api_key.clone_from(&next));
        keys(&["revoke", "-f", &ring, "--client", "first"]);
        gateway.signal("HUP");
        becomes("the old key is not", 401, &|| at(&before));

        // our secret at the issuer, from Vault; and its login, which is renewed, and taken away
        eventually("the login is renewed", || {
            (vault.asked("auth/token/renew-self") > 0).then_some(())
        });
        let logins = vault.asked("auth/approle/login");
        vault.revoke_all();
        vault.put("secret/gateway", json!({ "client": "second" }));
        eventually("the issuer is shown the new secret", || {
            (*asked.latest.lock().unwrap() == "second").then_some(())
        });
        assert!(vault.asked("auth/approle/login") > logins);
        // requests that had begun before ask with the old one
        clients.go_over(|_| ());
        clients.go_over(|_| ());
        asked.taken.lock().unwrap().remove("first");
        clients.go_over(|_| ());

        // our certificate at the service
        assert!(
            !service
                .certificates
                .lock()
                .unwrap()
                .contains(&serial(&upstream[1].certificate))
        );
        upstream[1].install(&gateway.folder, "gw");
        gateway.signal("HUP");
        eventually("the service is shown the new certificate", || {
            let presented = service.certificates.lock().unwrap();
            presented
                .contains(&serial(&upstream[1].certificate))
                .then_some(())
        });

        // what seals, and with it what signs
        write("seal", seals[1].clone().into_bytes());
        sealed(&gateway.folder, "hmac", &seals[1], &hmac[1]);
        gateway.signal("HUP");
        eventually("the service is shown the new signature", || {
            (*service.latest.lock().unwrap() == "second").then_some(())
        });
        write("seal.before", seals[1].clone().into_bytes());
        clients.go_over(|_| ());
        clients.go_over(|_| ());
        service.signers.lock().unwrap().remove(0);
        clients.go_over(|_| ());
    };

    let done = std::thread::scope(|scope| {
        for index in 0..CLIENTS {
            let (clients, gateway) = (&clients, &gateway);
            scope.spawn(move || clients.run(index, gateway));
        }
        // the clients have to end, whatever becomes of it
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(rotate));
        clients.over.store(true, Ordering::SeqCst);
        done
    });
    let failed = clients.failed.lock().unwrap();
    let sent = clients.sent.load(Ordering::SeqCst);
    assert!(
        failed.is_empty(),
        "{} of {sent} failed: {:#?}",
        failed.len(),
        &failed[..failed.len().min(10)]
    );
    if let Err(why) = done {
        std::panic::resume_unwind(why);
    }
    assert!(sent > 10 * CLIENTS, "only {sent} requests were sent");
    assert!(!gateway.messages().contains("ERROR"), "{}", gateway.messages());
}
