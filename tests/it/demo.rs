//! The demo does what it prints.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use crate::support::gateway::binary;
use crate::support::{Client, Folder, eventually, free_address};

/// A running demo and what it printed.
struct Demo {
    child: Child,
    ports: [SocketAddr; 3],
    printed: Vec<String>,
    /// Open for as long as the demo may print.
    _output: BufReader<std::process::ChildStdout>,
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Demo {
    /// Starts it and reads until the last line that it prints by itself.
    fn start(folder: &Folder) -> Demo {
        Demo::start_with(folder, &[])
    }

    fn start_with(folder: &Folder, more: &[&str]) -> Demo {
        let ports = [free_address(), free_address(), free_address()];
        let [https, http, admin] = ports.map(|address| address.port().to_string());
        let mut child = binary()
            .args([
                "demo",
                "--https-port",
                &https,
                "--http-port",
                &http,
                "--admin-port",
                &admin,
                "--dir",
            ])
            .arg(folder.0.join("state"))
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut printed = Vec::new();
        while !printed
            .last()
            .is_some_and(|line: &String| line.contains("grant_type=client_credentials"))
        {
            let mut line = String::new();
            assert!(
                output.read_line(&mut line).unwrap() > 0,
                "the demo ended: {printed:#?}"
            );
            printed.push(line.trim_end().to_owned());
        }
        Demo {
            child,
            ports,
            printed,
            _output: output,
        }
    }

    /// The address behind a name in the printed list.
    fn address(&self, name: &str) -> SocketAddr {
        let line = self
            .printed
            .iter()
            .find(|line| line.trim_start().starts_with(name))
            .unwrap();
        let (_, rest) = line.split_once("http://").unwrap();
        rest.split([' ', '/']).next().unwrap().parse().unwrap()
    }

    /// The printed commands, each with the status that it promises.
    fn examples(&self) -> Vec<(String, &str)> {
        let lines = self.printed.windows(2).filter_map(|pair| {
            let (status, _) = pair[0].strip_prefix("# ")?.split_once(':')?;
            status.parse::<u16>().ok()?;
            Some((status.to_owned(), pair[1].as_str()))
        });
        lines.collect()
    }
}

/// Runs a line as a user would, and returns what it printed.
fn shell(line: &str) -> String {
    let output = Command::new("sh").args(["-c", line]).output().unwrap();
    assert!(
        output.status.success(),
        "{line}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn every_printed_line_does_what_it_promises_and_ctrl_c_ends_all_of_it() {
    let folder = Folder::new();
    let mut demo = Demo::start(&folder);
    for address in demo.ports {
        assert!(
            TcpStream::connect(address).is_ok(),
            "the lines were printed before {address} was listened on"
        );
    }

    let examples = demo.examples();
    for status in ["200", "301", "401", "403", "404", "405", "413", "415"] {
        assert!(
            examples.iter().any(|(promised, _)| promised == status),
            "{status} is not shown"
        );
    }
    for (promised, line) in &examples {
        let answer = shell(line);
        // curl shows an informational answer before the real one
        let status = answer
            .lines()
            .filter_map(|line| line.strip_prefix("HTTP/")?.split(' ').nth(1))
            .rfind(|status| !status.starts_with('1'));
        assert_eq!(status, Some(promised.as_str()), "{line}\n{answer}");
        if promised.starts_with('4') {
            assert!(
                answer.contains("\"code\":\""),
                "no reason is given: {line}\n{answer}"
            );
        }
    }
    let token = shell(demo.printed.last().unwrap());
    assert!(token.contains("\"access_token\""), "{token}");

    let behind = [demo.address("vehicle data"), demo.address("issuer")];
    shell(&format!("kill -INT {}", demo.child.id()));
    let ended = demo.child.wait().unwrap();
    assert!(ended.success(), "{ended}");
    for address in demo.ports.iter().chain(&behind) {
        eventually("a closed port", || {
            TcpStream::connect(address).is_err().then_some(())
        });
    }
}

// S40: the gateway's own requests pass, the same sent around it do not
#[test]
fn with_proof_the_service_takes_requests_of_the_gateway_alone() {
    let folder = Folder::new();
    let demo = Demo::start_with(&folder, &["--proof"]);
    let mut passed = 0;
    for (promised, line) in &demo.examples() {
        let answer = shell(line);
        assert!(answer.contains(&format!(" {promised}")), "{line}\n{answer}");
        passed += usize::from(promised == "200");
    }
    assert!(passed > 0);
    let origin = demo.address("vehicle data");
    let direct = Client::new(origin).get("/v1/vehicles/1HGCM82633A004352", &[("X-User-Id", "ada")]);
    assert_eq!(direct.status, 403);
    assert!(
        direct.text().contains("not signed by the gateway"),
        "{}",
        direct.text()
    );
}

#[test]
fn a_token_needs_a_demo_that_was_started_once() {
    let folder = Folder::new();
    let token = || {
        let dir = folder.0.join("state");
        binary()
            .args(["demo", "token", "--scope", "read:vehicle", "--dir"])
            .arg(dir)
            .output()
            .unwrap()
    };
    let before = token();
    let said = String::from_utf8_lossy(&before.stderr).into_owned();
    assert_eq!((before.status.code(), before.stdout.len()), (Some(1), 0));
    assert!(said.contains("start the demo once first: durward demo"), "{said}");
    drop(Demo::start(&folder));
    let after = token();
    assert!(after.status.success() && after.stdout.split(|byte| *byte == b'.').count() == 3);
}
