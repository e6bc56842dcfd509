//! The gateway, as the process that users run.

use std::io::Read;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::certs::Leaf;
use super::{Authority, Client, Folder, free_address};

/// A running gateway with one TLS listener for `localhost` and `api.example`, ended with the value.
pub struct Gateway {
    pub https: SocketAddr,
    pub http: SocketAddr,
    pub admin: SocketAddr,
    pub authority: Authority,
    pub folder: Folder,
    child: Child,
}

/// What a gateway is started with.
pub struct Start {
    /// Everything but `version`, `admin`, `records` and `listeners`.
    body: String,
    /// The body is everything.
    is_whole: bool,
    /// Added to the TLS listener's `tls` map.
    tls: String,
    /// Added to `records`.
    records: String,
    names: Vec<String>,
    /// Further certificates, as flow YAML.
    certificates: Vec<String>,
    environment: Vec<(String, String)>,
    authority: Authority,
    folder: Folder,
}

/// The binary under test: the one that was built with the tests, or `DURWARD_BINARY`, as for measuring an optimized one.
pub fn binary() -> Command {
    Command::new(std::env::var_os("DURWARD_BINARY").unwrap_or(env!("CARGO_BIN_EXE_durward").into()))
}

/// `durward check` of a configuration in this folder: whether it is good, and what is said about it.
pub fn check(folder: &Folder, yaml: &str) -> (bool, String) {
    let file = folder.write("checked.yaml", yaml);
    let done = binary().args(["check", "-c", &file]).output().unwrap();
    (
        done.status.success(),
        String::from_utf8_lossy(&done.stderr).into_owned(),
    )
}

impl Gateway {
    /// Starts with these routes, upstreams, issuers…: everything but `version`, `admin`, `records` and `listeners`.
    pub fn start(body: &str) -> Gateway {
        Gateway::with(body).start()
    }

    /// A whole configuration, in which `{https}`, `{http}` and `{admin}` stand for free addresses and `{certs}` for the
    /// folder of the certificate. The admin port must be used.
    pub fn whole(template: &str) -> Start {
        Start {
            is_whole: true,
            ..Gateway::with(template)
        }
    }

    /// The same, with more to say.
    pub fn with(body: &str) -> Start {
        Start {
            body: body.to_owned(),
            is_whole: false,
            tls: String::new(),
            records: String::new(),
            names: ["localhost", "api.example", "127.0.0.1"]
                .map(str::to_owned)
                .to_vec(),
            certificates: Vec::new(),
            environment: Vec::new(),
            authority: Authority::new(),
            folder: Folder::new(),
        }
    }

    /// A client that trusts this gateway and asks for `api.example`.
    pub fn client(&self) -> Client {
        Client::new(self.https).trusting(&self.authority)
    }

    /// A client of the plain HTTP listener.
    pub fn plain(&self) -> Client {
        Client::new(self.http)
    }

    /// The gateway's process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells it to end (SIGTERM) and waits until it has.
    pub fn stop(&mut self) {
        self.signal("TERM");
        let _ = self.child.wait();
    }

    /// Everything that it has recorded so far, a JSON value a request.
    pub fn records(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.folder.0.join("records.jsonl")).unwrap_or_default();
        // the last line may be half written
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// The record of a request, by the `x-request-id` of its answer.
    pub fn record(&self, id: &str) -> serde_json::Value {
        super::eventually("the record of a request", || {
            self.records()
                .into_iter()
                .find(|record| record["durward.decision.id"] == id)
        })
    }

    /// `/metrics`, or another path of the admin port.
    pub fn admin(&self, path: &str) -> super::Answer {
        Client::new(self.admin).get_as(path, &format!("{}", self.admin))
    }

    /// What it said on its standard error.
    pub fn messages(&self) -> String {
        std::fs::read_to_string(self.folder.0.join("stderr")).unwrap_or_default()
    }

    /// What it said on its standard output.
    pub fn output(&self) -> String {
        std::fs::read_to_string(self.folder.0.join("stdout")).unwrap_or_default()
    }
}

impl Start {
    /// More keys for the listener's `tls`, as flow YAML: `profile: modern`.
    pub fn tls(mut self, keys: &str) -> Start {
        self.tls = format!(", {keys}");
        self
    }

    /// More keys for `records`, as flow YAML: `queue: 4`.
    pub fn records(mut self, keys: &str) -> Start {
        self.records = format!(", {keys}");
        self
    }

    /// Names of the certificate.
    pub fn names(mut self, names: &[&str]) -> Start {
        self.names = names.iter().map(|name| (*name).to_owned()).collect();
        self
    }

    /// Who issues its certificates.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// A further certificate, made with the gateway's authority in its folder: its entry, as flow YAML.
    pub fn certificate(mut self, make: impl FnOnce(&Authority, &Folder) -> String) -> Start {
        self.certificates.push(make(&self.authority, &self.folder));
        self
    }

    /// A variable of the process.
    pub fn env(mut self, name: &str, value: &str) -> Start {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A file beside the configuration.
    pub fn file(self, name: &str, contents: impl AsRef<[u8]>) -> Start {
        self.folder.write(name, contents);
        self
    }

    /// A certificate and its key in a folder beside the configuration.
    pub fn installed(self, dir: &str, leaf: &Leaf) -> Start {
        leaf.install(&self.folder, dir);
        self
    }

    /// Writes something else in the place of a part of it.
    pub fn replacing(mut self, part: &str, with: &str) -> Start {
        self.body = self.body.replace(part, with);
        self
    }

    /// Where a file beside the configuration is.
    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.0.join(name)
    }

    pub fn start(self) -> Gateway {
        let Start {
            body,
            is_whole,
            tls,
            records,
            names,
            certificates,
            environment,
            authority,
            folder,
        } = self;
        // tests of other gates try what they like from one address
        let body = if is_whole || body.contains("failed_authentication:") {
            body
        } else {
            format!("{body}\nfailed_authentication: {{ per_address: false, per_account: false }}\n")
        };
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let dir = authority.install(&folder, "certs", &names);
        let certificates = [vec![format!("{{ dir: \"{dir}\" }}")], certificates]
            .concat()
            .join(", ");
        // ports can be taken between here and there: then it is tried again
        for attempt in 0.. {
            let (https, http, admin) = (free_address(), free_address(), free_address());
            let generated = format!(
                "version: 1\n\
                 admin: {{ address: \"{admin}\" }}\n\
                 records: {{ to: {{ file: records.jsonl }}{records} }}\n\
                 listeners:\n\
                 \x20 - {{ address: \"{https}\", tls: {{ certificates: [{certificates}]{tls} }} }}\n\
                 \x20 - {{ address: \"{http}\", redirect_https: {{ port: {} }} }}\n{body}\n",
                https.port()
            );
            let yaml = if is_whole {
                [("{https}", https), ("{http}", http), ("{admin}", admin)]
                    .iter()
                    .fold(body.replace("{certs}", &dir), |yaml, (name, value)| {
                        yaml.replace(name, &value.to_string())
                    })
            } else {
                generated
            };
            let file = folder.write("durward.yaml", &yaml);
            let out = std::fs::File::create(folder.0.join("stdout")).unwrap();
            let err = std::fs::File::create(folder.0.join("stderr")).unwrap();
            let mut child = binary()
                .args(["run", "-c", &file])
                .envs(environment.iter().map(|(name, value)| (name, value)))
                .stdin(Stdio::null())
                .stdout(out)
                .stderr(err)
                .spawn()
                .unwrap();
            // a whole configuration need not use all of them
            let named = |address: &SocketAddr| yaml.contains(&address.to_string());
            let listeners: Vec<SocketAddr> = [admin, http, https].into_iter().filter(named).collect();
            if is_up(&mut child, &listeners) {
                return Gateway {
                    https,
                    http,
                    admin,
                    authority,
                    folder,
                    child,
                };
            }
            let _ = child.kill();
            let _ = child.wait();
            let said = std::fs::read_to_string(folder.0.join("stderr")).unwrap_or_default();
            assert!(
                attempt < 3 && said.contains("cannot listen"),
                "the gateway did not start:\n{yaml}\n{said}"
            );
        }
        unreachable!()
    }
}

/// Waits until this very process listens on all addresses: another one may have been given the same port meanwhile.
fn is_up(child: &mut Child, listeners: &[SocketAddr]) -> bool {
    let end = Instant::now() + Duration::from_secs(20);
    while Instant::now() < end {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        // twice in a row: it tries its addresses for a moment before it listens for good
        let all = |child: &Child| {
            listeners
                .iter()
                .all(|address| listens(child.id(), address.port()))
        };
        let before = all(child);
        std::thread::sleep(Duration::from_millis(10));
        if before && all(child) {
            return true;
        }
    }
    false
}

/// Whether a process has the listening socket of a port (proc(5): `/proc/net/tcp`, `/proc/PID/fd`).
fn listens(pid: u32, port: u16) -> bool {
    const LISTENING: &str = "0A";
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let sockets = table.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, local) = fields.get(1)?.split_once(':')?;
        let is_it = u16::from_str_radix(local, 16) == Ok(port) && fields.get(3) == Some(&LISTENING);
        is_it.then(|| format!("socket:[{}]", fields[9]))
    });
    let sockets: Vec<String> = sockets.collect();
    let files = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .flatten();
    files
        .filter_map(|file| std::fs::read_link(file.path()).ok())
        .any(|link| sockets.iter().any(|socket| link.as_os_str() == socket.as_str()))
}

impl Gateway {
    /// The process that serves now, which is another one after an upgrade. Needs `server: { state_dir: state }`.
    pub fn serving(&self) -> Option<u32> {
        std::fs::read_to_string(self.folder.0.join("state/pid"))
            .ok()?
            .trim()
            .parse()
            .ok()
    }

    /// Sends a signal by name (`TERM`) to the process that was started.
    pub fn signal(&self, name: &str) {
        // the shell's own `kill`: a small system has no other
        let line = format!("kill -{name} {}", self.pid());
        assert!(Command::new("sh").args(["-c", &line]).status().unwrap().success());
    }

    /// Whether the process that was started has ended.
    pub fn has_ended(&self) -> bool {
        is_gone(self.pid())
    }

    /// The verb of the command line on this gateway's configuration.
    pub fn command(&self, verb: &str) -> Command {
        let mut command = binary();
        command
            .arg(verb)
            .arg("-c")
            .arg(self.folder.0.join("durward.yaml"));
        command
    }
}

/// Whether a process has ended, waited for or not.
pub fn is_gone(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ")
        .next()
        .is_none_or(|state| state.is_empty() || state.starts_with('Z'))
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // a successor is nobody's child
        if let Some(pid) = self.serving().filter(|pid| *pid != self.child.id()) {
            let _ = Command::new("sh")
                .args(["-c", &format!("kill -KILL {pid}")])
                .status();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let mut said = String::new();
            if let Ok(mut file) = std::fs::File::open(self.folder.0.join("stderr")) {
                let _ = file.read_to_string(&mut said);
            }
            eprintln!("the gateway said:\n{said}");
        }
    }
}
