//! Sessions that are resumed carry trust from one name to another: here there are none (pingora.md, fact 1).

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use super::ROUTES;
use crate::support::pki::{Held, authority, client};
use crate::support::{Folder, Gateway};

/// OpenSSL's own client: asks for a path, and tells whether the session was resumed, and what the status was.
struct Session<'a> {
    address: SocketAddr,
    folder: &'a Folder,
    version: &'a str,
    tickets: bool,
}

impl Session<'_> {
    fn ask(&self, name: &str, path: &str, held: Option<&Held>, resume: bool) -> (bool, u16) {
        let mut command = Command::new("openssl");
        command
            .args([
                "s_client",
                "-connect",
                &self.address.to_string(),
                "-servername",
                name,
            ])
            .args([self.version, "-ign_eof"])
            .args(["-sess_out", &self.path("session.out")]);
        if !self.tickets {
            command.arg("-no_ticket");
        }
        if let Some(held) = held {
            let pem = [held.pem(), held.key.private_key_to_pem_pkcs8().unwrap()].concat();
            let file = self.folder.write("client.pem", pem);
            command.args(["-cert", &file, "-key", &file]);
        }
        if resume {
            command.args(["-sess_in", &self.path("session.in")]);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
        child
            .stdin
            .as_mut()
            .unwrap()
            .write_all(request.as_bytes())
            .unwrap();
        // it reads until the gateway closes, and sees every ticket on the way
        let (sent, output) = read_to_end(child);
        drop(sent);
        let status = output
            .split("HTTP/1.1 ")
            .nth(1)
            .and_then(|rest| rest.get(..3)?.parse().ok())
            .unwrap_or_default();
        (output.contains("Reused, TLS"), status)
    }

    fn path(&self, name: &str) -> String {
        self.folder.0.join(name).display().to_string()
    }

    /// Offers the session of the last connection from now on; whether there was one.
    fn keep(&self) -> bool {
        std::fs::rename(self.path("session.out"), self.path("session.in")).is_ok()
    }
}

fn read_to_end(mut child: std::process::Child) -> (Option<std::process::ChildStdin>, String) {
    let stdin = child.stdin.take();
    let mut output = String::new();
    let mut stdout = child.stdout.take().unwrap();
    std::io::Read::read_to_string(&mut stdout, &mut output).unwrap();
    child.wait().unwrap();
    (stdin, output)
}

fn start(ca: &Held) -> (Gateway, SocketAddr) {
    // the plain listener's place is taken by one with TLS that asks for nothing
    let gateway = Gateway::whole(&format!(
        "version: 1\nadmin: {{ address: \"{{admin}}\" }}\nrecords: {{ to: {{ file: records.jsonl }} }}\n\
         truststores: {{ partners: {{ ca: [ca.pem] }} }}\n\
         listeners:\n\
         - {{ address: \"{{https}}\", tls: {{ certificates: [{{ dir: \"{{certs}}\" }}], client_certificates: {{ mode: optional, trust: partners }} }} }}\n\
         - {{ address: \"{{http}}\", tls: {{ certificates: [{{ dir: \"{{certs}}\" }}] }} }}\n{ROUTES}"
    ))
    .file("ca.pem", ca.pem())
    .start();
    let open = gateway.http;
    (gateway, open)
}

// S26, S30: the attack, with real clients
#[test]
fn no_session_carries_a_certificate_or_its_absence_anywhere() {
    let ca = authority("root").root();
    let (gateway, open) = start(&ca);
    let held = ca.issue(&client("good"));
    for version in ["-tls1_2", "-tls1_3"] {
        for tickets in [true, false] {
            let what = format!("{version}, tickets {tickets}");
            let folder = Folder::new();
            let of = |address| Session {
                address,
                folder: &folder,
                version,
                tickets,
            };
            // the means work: where nothing is asked for, sessions are resumed
            let public = of(open);
            assert_eq!(public.ask("localhost", "/", None, false), (false, 200), "{what}");
            assert!(public.keep(), "{what}");
            assert_eq!(public.ask("localhost", "/", None, true), (true, 200), "{what}");
            // nowhere else, and not to a route behind certificates
            let asking = of(gateway.https);
            assert_eq!(
                asking.ask("api.example", "/mtls", None, true),
                (false, 401),
                "{what}"
            );
            // nor one of a connection without a certificate, under the name of another
            assert_eq!(asking.ask("localhost", "/", None, false), (false, 200), "{what}");
            if asking.keep() {
                assert_eq!(
                    asking.ask("api.example", "/mtls", None, true),
                    (false, 401),
                    "{what}"
                );
            }
            // nor one of a connection with a certificate, by somebody who has none
            assert_eq!(
                asking.ask("api.example", "/mtls", Some(&held), false),
                (false, 200),
                "{what}"
            );
            if asking.keep() {
                assert_eq!(
                    asking.ask("api.example", "/mtls", None, true),
                    (false, 401),
                    "{what}"
                );
                assert_eq!(
                    asking.ask("localhost", "/mtls", None, true),
                    (false, 401),
                    "{what}"
                );
                let own = asking.ask("api.example", "/mtls", Some(&held), true);
                assert_eq!(own, (false, 200), "{what}");
                assert_eq!(
                    of(open).ask("api.example", "/mtls", None, true),
                    (false, 401),
                    "{what}"
                );
            }
        }
    }
}
