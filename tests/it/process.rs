//! What the process may do and hold, and what it tells its service manager.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::support::{Client, Folder, Gateway, eventually, free_address};

const RESPOND: &str =
    "routes: [{ match: { methods: [GET], path: / }, public: { reason: a, owner: b }, respond: 200 }]\n";

/// A field of `/proc/PID/status`.
fn status(pid: u32, field: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{field}:")));
    line.unwrap().trim().to_owned()
}

fn is_root() -> bool {
    status(std::process::id(), "Uid").starts_with("0\t")
}

#[test]
fn root_is_given_up_and_all_that_is_left_is_to_listen() {
    let user = "nobody";
    let yaml = format!(
        "version: 1\nserver: {{ user: {user} }}\nadmin: {{ address: \"{{admin}}\" }}\nrecords: {{ to: off }}\n\
         listeners: [{{ address: \"{{https}}\", plaintext: {{ reason: test }} }}]\n{RESPOND}"
    );
    if !is_root() {
        let folder = Folder::new();
        let yaml = yaml
            .replace("{admin}", &free_address().to_string())
            .replace("{https}", &free_address().to_string());
        let file = folder.write("durward.yaml", yaml);
        let output = crate::support::gateway::binary()
            .args(["run", "-c", &file])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains("cannot become user `nobody`: only root can"),
            "{said}"
        );
        return;
    }
    let gateway = Gateway::whole(&yaml).start();
    let pid = gateway.pid();
    assert!(
        !status(pid, "Uid").split('\t').any(|id| id == "0"),
        "{}",
        status(pid, "Uid")
    );
    assert!(
        !status(pid, "Gid").split('\t').any(|id| id == "0"),
        "{}",
        status(pid, "Gid")
    );
    // CAP_NET_BIND_SERVICE is number 10
    for set in ["CapPrm", "CapEff", "CapInh", "CapAmb", "CapBnd"] {
        assert_eq!(status(pid, set), format!("{:016x}", 1 << 10), "{set}");
    }
    assert_eq!(status(pid, "NoNewPrivs"), "1");
    // of every thread
    for thread in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten() {
        let text = std::fs::read_to_string(thread.path().join("status")).unwrap();
        assert!(text.contains(&format!("CapEff:\t{:016x}\n", 1 << 10)), "{text}");
        assert!(!text.contains("Uid:\t0"), "{text}");
    }
    assert_eq!(Client::new(gateway.https).get("/", &[]).status, 200);
}

#[test]
fn all_files_that_the_system_grants_are_taken() {
    let gateway = Gateway::start(RESPOND);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", gateway.pid())).unwrap();
    let open = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .unwrap();
    let words: Vec<&str> = open.split_whitespace().collect();
    assert_eq!(words[3], words[4], "{open}");
}

#[test]
fn the_service_manager_is_told_who_serves_and_a_signal_brings_a_successor() {
    let folder = Folder::new();
    let socket = folder.0.join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let hear = || {
        let mut buffer = [0; 200];
        let length = manager.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let gateway = Gateway::with(&format!(
        "server: {{ state_dir: state, drain_seconds: 0 }}\n{RESPOND}"
    ))
    .env("NOTIFY_SOCKET", &socket.display().to_string())
    .start();
    assert_eq!(hear(), format!("READY=1\nMAINPID={}\n", gateway.pid()));
    gateway.signal("USR2");
    let told = hear();
    let successor = eventually("a successor serves", || {
        gateway.serving().filter(|pid| *pid != gateway.pid())
    });
    assert_eq!(told, format!("READY=1\nMAINPID={successor}\n"));
    eventually("the old one is gone", || gateway.has_ended().then_some(()));
    assert_eq!(gateway.client().get("/", &[]).status, 200);
}
