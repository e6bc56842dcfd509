//! What the demo prints: requests to copy and paste, each with the status to expect and why.
//!
//! They are data first ([`Demo::examples`]), so that a test can run what is printed.

use std::fmt::Write as _;

use super::issuer::SECRET;
use super::token::CLIENT;
use super::{Demo, ca, default_dir};

/// The vehicle asked about.
const VIN: &str = "1HGCM82633A004352";

/// One request with curl.
#[derive(Debug, Clone)]
pub struct Example {
    /// The status of the answer.
    pub status: u16,
    /// Why it is that.
    pub why: &'static str,
    /// A line for a POSIX shell. It prints the head of the answer, then its body.
    pub command: String,
}

impl Demo {
    /// The requests, in the order in which they teach.
    #[must_use]
    pub fn examples(&self) -> Vec<Example> {
        let liens = format!("/v1/vehicles/{VIN}/liens");
        let history = format!("/v1/vehicles/{VIN}/history");
        let reader = self.token("--scope read:lien_info");
        let writer = self.token("--scope write:history");
        let json = "-H 'Content-Type: application/json'";
        let example = |status, why, command: String| Example { status, why, command };
        vec![
            example(
                200,
                "a token with the scope that the route asks for",
                self.curl(&bearer(&reader), &liens),
            ),
            example(
                200,
                "the same scope and a role; the answer shows what the service is told of the caller",
                self.curl(
                    &bearer(&self.token("--scope read:history --role vehicle-analyst --sub ada")),
                    &history,
                ),
            ),
            example(
                201,
                "JSON to a route that takes JSON",
                self.curl(
                    &format!("{} {json} -d '{{\"event\":\"service\"}}'", bearer(&writer)),
                    &history,
                ),
            ),
            example(
                200,
                "public: the configuration says why, and who answers for it",
                self.curl("", "/healthz"),
            ),
            example(401, "no token", self.curl("", &liens)),
            example(
                401,
                "a token whose signature was tampered with",
                // The first letters of the signature: the last one has spare bits, and would be refused for its form.
                self.curl(
                    &bearer(&format!(
                        "{reader} | sed 's/\\.[^.]\\{{8\\}}\\([^.]*\\)$/.tampered\\1/'"
                    )),
                    &liens,
                ),
            ),
            example(
                403,
                "a good token without the scope",
                self.curl(&bearer(&self.token("--scope read:vehicle")), &liens),
            ),
            example(
                403,
                "the scope without the role",
                self.curl(&bearer(&self.token("--scope read:history")), &history),
            ),
            example(
                404,
                "no route: what is not configured does not exist",
                self.curl(&bearer(&reader), "/v1/owners"),
            ),
            example(
                405,
                "the route knows GET only, and Allow says so",
                self.curl(&format!("-X DELETE {}", bearer(&reader)), &liens),
            ),
            example(413, "a body one byte over the limit of 1 MiB", {
                let arguments = format!("{} {json} --data-binary @-", bearer(&writer));
                format!("head -c 1048577 /dev/zero | {}", self.curl(&arguments, &history))
            }),
            example(
                415,
                "XML to a route that takes JSON",
                self.curl(
                    &format!("{} -H 'Content-Type: text/xml' -d '<event/>'", bearer(&writer)),
                    &history,
                ),
            ),
            example(
                500,
                "the service breaks, and its stack trace stays inside",
                self.curl(
                    &bearer(&self.token("--scope read:vehicle")),
                    &format!("/v1/vehicles/{VIN}/broken"),
                ),
            ),
            example(
                301,
                "plain HTTP leads to HTTPS",
                format!("curl -sS -i http://127.0.0.1:{}{liens}", self.options.http_port),
            ),
        ]
    }

    /// What runs where, and the requests. To be printed once the gateway listens.
    #[must_use]
    pub fn lines(&self) -> String {
        let mut text = format!(
            "\nDurward demo. Everything is on 127.0.0.1; Ctrl-C stops all of it.\n\n\
             \x20 gateway        https://127.0.0.1:{https}   (certificates by {ca})\n\
             \x20 redirect       http://127.0.0.1:{http}\n\
             \x20 admin          http://127.0.0.1:{admin}/metrics, /livez, /readyz\n\
             \x20 vehicle data   http://{origin}   (what the gateway guards)\n\
             \x20 issuer         http://{issuer}   (/.well-known/openid-configuration, /jwks.json, /token)\n",
            https = self.options.https_port,
            http = self.options.http_port,
            admin = self.options.admin_port,
            ca = self.in_dir(ca::CA),
            origin = self.origin.address,
            issuer = self.issuer.address,
        );
        text.push_str("\nTry, in another terminal:\n");
        for Example { status, why, command } in self.examples() {
            // Writing to a String cannot fail.
            let _ = write!(text, "\n# {status}: {why}\n{command}\n");
        }
        let _ = write!(
            text,
            "\n# A token from the issuer itself (client credentials)\n\
             curl -sS -u \"{CLIENT}:$(cat {secret})\" -d grant_type=client_credentials -d scope=read:vehicle \
             http://{issuer}/token\n\n",
            secret = quoted(&self.in_dir(SECRET)),
            issuer = self.issuer.address,
        );
        text
    }

    fn curl(&self, arguments: &str, path: &str) -> String {
        let space = if arguments.is_empty() { "" } else { " " };
        let (ca, port) = (quoted(&self.in_dir(ca::CA)), self.options.https_port);
        format!("curl -sS -i --cacert {ca}{space}{arguments} https://127.0.0.1:{port}{path}")
    }

    /// The command that prints a token.
    fn token(&self, arguments: &str) -> String {
        let dir = if self.dir() == default_dir() {
            String::new()
        } else {
            format!(" --dir {}", quoted(&self.dir))
        };
        format!("{} demo token {arguments}{dir}", quoted(&self.program))
    }

    fn in_dir(&self, name: &str) -> String {
        format!("{}/{name}", self.dir.trim_end_matches('/'))
    }
}

fn bearer(command: &str) -> String {
    format!("-H \"Authorization: Bearer $({command})\"")
}

/// One word for a POSIX shell.
fn quoted(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+=:,@%".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::demo::{Options, start};
    use crate::pki::store::Scratch;

    fn demo(folder: &str) -> (Scratch, Demo) {
        let scratch = Scratch::new();
        let options = Options {
            dir: scratch.0.join(folder),
            https_port: 18443,
            program: Some("/opt/my tools/durward".into()),
            ..Options::default()
        };
        let demo = start(&options).unwrap();
        (scratch, demo)
    }

    #[test]
    fn every_status_promised_is_shown_and_every_line_is_printed() {
        let (_scratch, demo) = demo("state");
        let (examples, text) = (demo.examples(), demo.lines());
        for status in [200, 301, 401, 403, 404, 405, 413, 415] {
            assert!(
                examples.iter().any(|example| example.status == status),
                "{status}"
            );
        }
        for example in examples {
            assert!(text.contains(&format!(
                "# {}: {}\n{}\n",
                example.status, example.why, example.command
            )));
        }
        assert!(text.contains("https://127.0.0.1:18443"));
    }

    /// With functions in place of `curl` and `durward`, the shell shows which words it makes of a line.
    #[test]
    fn lines_survive_a_shell_whatever_the_directory_is_called() {
        let (_scratch, demo) = demo("it's a $HOME; dir");
        let ca = demo.in_dir(ca::CA);
        for example in demo.examples() {
            let line = example.command.replace("'/opt/my tools/durward'", "durward");
            let script = format!(
                "curl() {{ printf '<%s>' \"$@\"; }}\n\
                 durward() {{ for last; do :; done; test \"$last\" = \"$EXPECTED\" || exit 9; echo head.body.signature-rest; }}\n\
                 {line}"
            );
            let output = Command::new("sh")
                .args(["-euc", &script])
                .env("EXPECTED", &demo.dir)
                .output()
                .unwrap();
            let words = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(
                output.stderr.is_empty() && output.status.success(),
                "{example:?}: {output:?}"
            );
            if example.status != 301 {
                assert!(words.contains(&format!("<--cacert><{ca}>")), "{words}");
            }
            if example.command.contains("Bearer") {
                let tampered = example.command.contains("tampered");
                let token = if tampered {
                    "head.body.tamperede-rest"
                } else {
                    "head.body.signature-rest"
                };
                assert!(
                    words.contains(&format!("<Authorization: Bearer {token}>")),
                    "{words}"
                );
            }
        }
    }
}
