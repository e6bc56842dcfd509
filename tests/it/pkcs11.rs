//! PKCS#11: secrets and private keys in an HSM, which here is SoftHSM.

#[cfg(not(feature = "pkcs11"))]
mod without {
    use crate::support::Folder;
    use crate::support::gateway::check;

    #[test]
    fn a_build_without_it_refuses_a_configuration_that_needs_it() {
        let yaml = "version: 1\n\
            secrets: { pkcs11: { module: /usr/lib/softhsm/libsofthsm2.so, token: t, pin: \"${env:HOME}\" } }\n\
            listeners: [{ address: \"127.0.0.1:1\", plaintext: { reason: test } }]\n\
            routes: [{ match: { methods: [GET], path: / }, public: { reason: test, owner: us }, respond: 200 }]\n";
        let (good, said) = check(&Folder::new(), yaml);
        assert!(!good && said.contains("this build has no PKCS#11"), "{said}");
        assert!(said.contains("--features pkcs11"), "{said}");
    }
}

#[cfg(feature = "pkcs11")]
mod with {
    use std::process::{Command, Output};

    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use durward::config::scalar::{ObjectType, TokenObject};
    use durward::secrets::pkcs11::{Settings, Token as Ours};
    use openssl::pkey::{Id, PKey, Private};
    use openssl::rsa::Rsa;
    use openssl::ssl::SslVersion;

    use crate::encrypted;
    use crate::proof;
    use crate::secrets::{config, issuer, seal, shown, text};
    use crate::support::certs::ec_key;
    use crate::support::gateway::{Start, binary};
    use crate::support::token::{LABEL, PIN, Token, module, provider};
    use crate::support::{Authority, Client, Folder, Gateway, Keys, Origin, Reply, eventually};
    use crate::upstream_tls::demanding;

    /// `secrets.pkcs11`, with all that it can have.
    fn block() -> String {
        format!(
            "pkcs11: {{ module: \"{}\", token: \"{LABEL}\", pin: \"${{env:PIN}}\", provider: \"{}\" }}",
            module(),
            provider()
        )
    }

    fn knowing(mut start: Start, token: &Token) -> Start {
        for (name, value) in token.environment() {
            start = start.env(name, &value);
        }
        start.env("PIN", PIN)
    }

    // S20, S17: as every store: read at the start, noticed when it changes, kept when it cannot be read any more
    #[test]
    fn a_secret_in_a_token_is_used_and_exchanged_when_it_changes() {
        let (token, issuer) = (Token::new(), issuer());
        token.put("client", "first-secret\n");
        let secrets = format!("refresh: 1s, {}", block());
        let body = config(issuer.address, "${pkcs11:object=client}", &secrets);
        let gateway = knowing(Gateway::with(&body), &token).start();
        assert_eq!(shown(&gateway, &issuer), "first-secret");
        token.remove("data", "client");
        let gone = "pkcs11:object=client;type=data cannot be read again: token `durward tests` (slot ";
        eventually("it is said that the secret is gone", || {
            let said = gateway.messages();
            (said.contains(gone) && said.contains("there is no object `object=client;type=data`"))
                .then_some(())
        });
        eventually("the metric says so", || {
            let metrics = gateway.admin("/metrics").text();
            metrics.contains("durward_secrets_failing 1\n").then_some(())
        });
        assert_eq!(shown(&gateway, &issuer), "first-secret");
        token.put("client", "second-secret");
        eventually("the new secret is used", || {
            (shown(&gateway, &issuer) == "second-secret").then_some(())
        });
        let everything = gateway.messages() + &gateway.admin("/config/status").text() + &gateway.output();
        for secret in ["first-secret", "second-secret", PIN] {
            assert!(!everything.contains(secret), "{secret} in {everything}");
        }
    }

    // S20, S33: what opens sealed files is in the token, and what opens the token may be sealed by another key
    #[test]
    fn a_sealing_key_may_be_in_the_token_and_the_pin_may_be_sealed() {
        let (token, issuer, folder) = (Token::new(), issuer(), Folder::new());
        let (stored, kept) = ([7; 32], STANDARD.encode([8; 32]));
        token.put_key("sealing", &stored);
        let path = |name: &str| folder.0.join(name).display().to_string();
        let sealed = |name: &str, key: &str, secret: &str| {
            let output = seal(&["--to", &path(name)], key, secret);
            assert!(output.status.success(), "{}", text(&output));
        };
        sealed("client", &STANDARD.encode(stored), "sealed-secret");
        sealed("pin", &kept, PIN);
        let secrets = format!(
            "sealing_keys: [\"${{pkcs11:object=sealing;type=secret-key}}\", \"${{env:KEPT}}\"], {}",
            block().replace("${env:PIN}", &format!("${{sealed:{}}}", path("pin")))
        );
        let body = config(
            issuer.address,
            &format!("${{sealed:{}}}", path("client")),
            &secrets,
        );
        let gateway = knowing(Gateway::with(&body), &token).env("KEPT", &kept).start();
        assert_eq!(shown(&gateway, &issuer), "sealed-secret");
        // nobody is asked without the network, and so nothing can be said against what is sealed
        let output = gateway.command("check").env("KEPT", &kept).output().unwrap();
        let said = text(&output);
        assert!(output.status.success(), "{said}");
        assert!(
            said.contains("not looked up: ") && said.contains("${pkcs11:object=sealing;type=secret-key}"),
            "{said}"
        );
    }

    /// The key of a server, of each kind.
    fn keys() -> [(Id, PKey<Private>); 2] {
        let rsa = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        [(Id::EC, ec_key()), (Id::RSA, rsa)]
    }

    // S20: TLS 1.2 and 1.3, EC and RSA, with keys that never are in the process
    #[test]
    fn handshakes_are_signed_by_the_token() {
        let token = Token::new();
        let keys = keys();
        let body = format!(
            "secrets: {{ refresh: 1s, {} }}\n\
             routes: [{{ match: {{ methods: [GET], path: / }}, public: {{ reason: test, owner: us }}, respond: 200 }}]\n",
            block()
        );
        let mut start = knowing(Gateway::with(&body).names(&["localhost"]), &token);
        for (index, (kind, key)) in keys.iter().enumerate() {
            let (label, id) = (format!("tls key {index}"), format!("0{}", index + 1));
            token.import(&label, &id, key);
            start = start.certificate(|authority, folder| {
                let leaf = authority.leaf_of(key, &["api.example"]);
                let file = folder.write(&format!("{index}.crt"), leaf.certificate);
                let reference = match *kind {
                    // by its label, and by its identifier
                    Id::EC => "object=tls%20key%200;type=private",
                    _ => "id=%02;type=private",
                };
                format!("{{ cert: \"{file}\", key_pem: \"${{pkcs11:{reference}}}\" }}")
            });
        }
        let gateway = start.start();
        let client = |version: SslVersion, kind: Id| {
            Client::new(gateway.https).tls(&gateway.authority, |builder| {
                builder.set_min_proto_version(Some(version)).unwrap();
                builder.set_max_proto_version(Some(version)).unwrap();
                let algorithms = if kind == Id::EC {
                    "ECDSA+SHA256"
                } else {
                    "rsa_pss_rsae_sha256:RSA+SHA256"
                };
                builder.set_sigalgs_list(algorithms).unwrap();
            })
        };
        let shown = |client: &Client| {
            let connection = client.connect();
            connection.ssl().peer_certificate().unwrap().public_key().unwrap()
        };
        for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
            for (kind, key) in &keys {
                let client = client(version, *kind);
                assert!(shown(&client).public_eq(key), "{version:?} {kind:?}");
                assert_eq!(client.get("/", &[]).status, 200);
            }
        }
        // many at once, on all workers
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..10 {
                        assert_eq!(client(SslVersion::TLS1_3, Id::EC).get("/", &[]).status, 200);
                    }
                });
            }
        });
        // S17: another key and its certificate, under the same names
        let next = ec_key();
        token.remove("privkey", "tls key 0");
        token.remove("pubkey", "tls key 0");
        token.import("tls key 0", "07", &next);
        let leaf = gateway.authority.leaf_of(&next, &["api.example"]);
        gateway.folder.write("0.crt", leaf.certificate);
        eventually("the next key is shown", || {
            shown(&client(SslVersion::TLS1_3, Id::EC))
                .public_eq(&next)
                .then_some(())
        });
        assert!(!gateway.messages().contains(PIN), "{}", gateway.messages());
    }

    // S31, M12: the gateway's own certificate towards services, and its signature
    #[test]
    fn requests_to_services_are_signed_by_the_token_and_their_connections_too() {
        let (ours, clients) = (Authority::new(), Authority::new());
        let (token, key) = (Token::new(), ec_key());
        token.import("gateway", "01", &key);
        let leaf = ours.leaf(&["o.internal"]);
        let origin = Origin::tls_with(&leaf.certificate, &leaf.key, |_| Reply::ok(), demanding(&clients));
        let reference = "${pkcs11:object=gateway;type=private}";
        let sign = format!("algorithm: ecdsa-p256-sha256, key: \"{reference}\", keyid: gateway-1");
        let tls = format!(
            "}}, tls: {{ server_name: o.internal, ca: ca.pem, cert: gateway.crt, key_pem: \"{reference}\""
        );
        let body = proof::config(&origin, &Keys::new("k1"), &(sign + &tls));
        let body = format!("secrets: {{ {} }}\n{body}", block());
        let start = Gateway::with(&body).file("ca.pem", ours.pem()).file(
            "gateway.crt",
            clients.leaf_of(&key, &["gateway.internal"]).certificate,
        );
        let gateway = knowing(start, &token).start();
        assert_eq!(gateway.client().get("/public", &[]).status, 200);
        let public = String::from_utf8(key.public_key_to_pem().unwrap()).unwrap();
        let answers = proof::verified(&[proof::as_json(&origin.only(), "ecdsa-p256-sha256", &public)]);
        assert_eq!(answers[0]["keyid"], "gateway-1", "{answers:?}");
    }

    // S34: a body that is encrypted for a key which never leaves the token
    #[test]
    fn encrypted_bodies_are_opened_by_the_token() {
        let (token, key, origin) = (Token::new(), ec_key(), Origin::start());
        token.import_agreeing("bodies", "01", &key);
        let body = format!(
            "secrets: {{ {} }}\nupstreams: {{ o: {{ targets: [\"{}\"] }} }}\n\
             routes: [{{ match: {{ methods: [POST], path: / }}, public: {{ reason: test, owner: us }}, upstream: o, \
             request: {{ jwe: {{ keys: [{{ algorithm: ECDH-ES, key: \"${{pkcs11:object=bodies;type=private}}\" }}] }} }} }}]\n",
            block(),
            origin.address
        );
        let gateway = knowing(Gateway::with(&body), &token).start();
        let message = encrypted::message(&key, "ECDH-ES", serde_json::json!({}), b"{\"a\": 1}");
        let jwe = encrypted::encrypted(&[message]).remove(0);
        let headers = [("Content-Type", "application/jose")];
        assert_eq!(gateway.client().request("POST", "/", &headers, &jwe).status, 200);
        assert_eq!(origin.only().body, b"{\"a\": 1}");
    }

    /// What `check --network` says of a configuration with this secret.
    fn checked(token: &Token, reference: &str, block: &str, environment: &[(&str, &str)]) -> String {
        let yaml = format!(
            "version: 1\nlisteners: [{{ address: \"127.0.0.1:1\", plaintext: {{ reason: test }} }}]\n{}",
            config("127.0.0.1:9".parse().unwrap(), reference, block)
        );
        run(token, &yaml, environment)
    }

    fn run(token: &Token, yaml: &str, environment: &[(&str, &str)]) -> String {
        let folder = Folder::new();
        let file = folder.write("durward.yaml", yaml);
        let output: Output = binary()
            .args(["check", "--network", "-c", &file])
            .envs(token.environment())
            .env("PIN", PIN)
            .envs(environment.iter().copied())
            .output()
            .unwrap();
        text(&output)
    }

    // S20: closed, and named: the token, its slot, the object, and never what it holds
    #[test]
    fn what_is_wrong_with_a_token_is_said_by_name() {
        let token = Token::new();
        token.put("good", "value-of-it");
        token.put("twice", "value-of-it");
        token.put("twice", "value-of-another");
        token.generate("locked");
        token.import("key", "01", &ec_key());
        let good = block();
        let no_module = good.replace(&module(), "/etc/hostname");
        let no_token = good.replace(LABEL, "another token");
        for (reference, block, environment, said) in [
            (
                "${pkcs11:object=none}",
                &good,
                &[][..],
                "token `durward tests` (slot ",
            ),
            (
                "${pkcs11:object=none}",
                &good,
                &[],
                "): there is no object `object=none;type=data`",
            ),
            (
                "${pkcs11:object=good;id=%09}",
                &good,
                &[],
                "there is no object `object=good;id=%09;type=data`",
            ),
            (
                "${pkcs11:object=twice}",
                &good,
                &[],
                "there are 2 objects `object=twice;type=data`",
            ),
            (
                "${pkcs11:object=locked;type=secret-key}",
                &good,
                &[],
                "it is not extractable",
            ),
            (
                "${pkcs11:object=key;type=private}",
                &good,
                &[],
                "a private key stays in its token",
            ),
            (
                "x${pkcs11:object=key;type=private}",
                &good,
                &[],
                "a private key stays in its token",
            ),
            (
                "${pkcs11:object=good}",
                &good,
                &[("PIN", "0000")],
                "the PIN is refused",
            ),
            (
                "${pkcs11:object=good}",
                &no_token,
                &[],
                "token `another token`: there is no such token",
            ),
            (
                "${pkcs11:object=good}",
                &no_module,
                &[],
                "the module cannot be loaded",
            ),
            (
                "${pkcs11:object=good}",
                &"refresh: 5m".to_owned(),
                &[],
                "does not say where this store is",
            ),
        ] {
            let output = checked(&token, reference, block, environment);
            assert!(output.contains(said), "{said}: {output}");
            for secret in ["value-of", PIN, "0000"] {
                assert!(!output.contains(secret), "{secret}: {output}");
            }
        }
        let output = checked(&token, "${pkcs11:object=good}", &good, &[]);
        assert!(output.contains("good"), "{output}");
    }

    // S20: what a private key in the token needs besides
    #[test]
    fn what_a_private_key_in_a_token_lacks_is_said() {
        let (token, authority, key) = (Token::new(), Authority::new(), ec_key());
        token.import("tls", "01", &key);
        let certificate = |leaf: crate::support::certs::Leaf| {
            let file = token.folder.write("tls.crt", leaf.certificate);
            format!("{{ cert: \"{file}\", key_pem: \"${{pkcs11:object=tls;type=private}}\" }}")
        };
        let yaml = |secrets: &str, certificate: &str| {
            format!(
                "version: 1\nsecrets: {{ {secrets} }}\n\
                 listeners: [{{ address: \"127.0.0.1:1\", tls: {{ certificates: [{certificate}] }} }}]\n\
                 routes: [{{ match: {{ methods: [GET], path: / }}, public: {{ reason: test, owner: us }}, respond: 200 }}]\n"
            )
        };
        let its = certificate(authority.leaf_of(&key, &["localhost"]));
        let without = block().replace(&format!(", provider: \"{}\"", provider()), "");
        let said = run(&token, &yaml(&without, &its), &[]);
        assert!(said.contains("`secrets.pkcs11.provider` is needed"), "{said}");
        let said = run(
            &token,
            &yaml(&block(), &its),
            &[("PKCS11_PROVIDER_MODULE", "/elsewhere.so")],
        );
        assert!(said.contains("start with PKCS11_PROVIDER_MODULE="), "{said}");
        let said = run(&token, &yaml(&block(), &its), &[]);
        assert!(!said.contains("error"), "{said}");
        let others = certificate(authority.leaf_of(&ec_key(), &["localhost"]));
        let said = run(&token, &yaml(&block(), &others), &[]);
        assert!(said.contains("the key is not the certificate's"), "{said}");
    }

    // S20: a token that was away is found again; a PIN that was refused is not tried again
    #[test]
    fn a_session_that_was_lost_is_opened_again() {
        let token = Token::new();
        token.put("a", "one");
        // where the token is comes from the environment, and a process cannot change its own
        let inner = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "pkcs11::with::in_a_process_of_its_own", "--ignored"])
            .envs(token.environment())
            .output()
            .unwrap();
        assert!(text(&inner).contains("1 passed"), "{}", text(&inner));
    }

    #[test]
    #[ignore = "started by the test above"]
    fn in_a_process_of_its_own() {
        let settings = |pin: &str| Settings {
            module: module().into(),
            token: LABEL.to_owned(),
            pin: pin.to_owned(),
            provider: None,
        };
        let object = TokenObject {
            label: Some("a".to_owned()),
            id: None,
            class: ObjectType::Data,
        };
        let token = Ours::of(&settings(PIN));
        assert_eq!(token.read(&object).unwrap()["value"], "one");
        // all sessions of the process end with this
        cryptoki::context::Pkcs11::new(module())
            .unwrap()
            .finalize()
            .unwrap();
        assert_eq!(token.read(&object).unwrap()["value"], "one");
        cryptoki::context::Pkcs11::new(module())
            .unwrap()
            .finalize()
            .unwrap();
        let wrong = Ours::of(&settings("0000"));
        assert!(
            wrong
                .read(&object)
                .unwrap_err()
                .to_string()
                .contains("the PIN is refused")
        );
        let again = Ours::of(&settings("0000")).read(&object).unwrap_err().to_string();
        assert!(again.contains("not tried again"), "{again}");
        assert_eq!(token.read(&object).unwrap()["value"], "one");
    }
}
