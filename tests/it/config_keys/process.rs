//! `version:`, `server:`, `admin:`, `records:`

use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier, Mutex};

use super::Row;
use super::observe::{PUBLIC, check, offline, plaintext};
use crate::support::{Client, Origin, Reply, eventually};

pub fn rows() -> Vec<Row> {
    vec![
        Row {
            key: "version",
            settings: [("1", "good"), ("2", "error: version 2 is unknown")],
            observe: |version| check(&offline(PUBLIC).replace("version: 1", &format!("version: {version}"))),
        },
        Row {
            key: "profile",
            settings: [
                ("development", "good"),
                (
                    "production",
                    "error: not for profile `production`: private keys are kept in the clear",
                ),
            ],
            observe: |profile| {
                let account = "acme: { ca: { directory: \"https://ca.example/dir\", terms_agreed: true, storage: acme, \
                               plain_storage: true, challenge: tls-alpn-01 } }";
                check(&offline(&format!("profile: {profile}\n{account}\n{PUBLIC}")))
            },
        },
        Row {
            key: "server.threads",
            settings: [("1", "1 workers"), ("3", "3 workers")],
            observe: workers,
        },
        Row {
            // a thread that shares work shares its poller too
            key: "server.work_stealing",
            settings: [("true", "shared pollers"), ("false", "a poller for each worker")],
            observe: pollers,
        },
        Row {
            key: "server.grace_period_seconds",
            settings: [("0", "cut off"), ("3600", "answered 200")],
            observe: request_at_the_end,
        },
        Row {
            key: "server.drain_seconds",
            settings: [("0", "gone"), ("600", "still served, and told to leave")],
            observe: told_to_end,
        },
        Row {
            key: "server.state_dir",
            settings: [("one", "one"), ("two", "two")],
            observe: |dir| {
                let gateway = plaintext(&format!("server: {{ state_dir: {dir} }}\n{PUBLIC}")).start();
                eventually("the process is entered", || {
                    let entered = |dir: &&str| gateway.folder.0.join(dir).join("pid").exists();
                    ["one", "two"].into_iter().find(entered).map(str::to_owned)
                })
            },
        },
        Row {
            key: "server.user",
            settings: [("nobody", "good"), ("\"\"", "not the name of a user")],
            observe: |user| {
                let said = check(&offline(&format!("server: {{ user: {user} }}\n{PUBLIC}")));
                // who it becomes is seen where it runs as root
                let found = said.contains("not the name of a user");
                if found { "not the name of a user" } else { "good" }.to_owned()
            },
        },
        Row {
            key: "server.body_memory",
            settings: [("1mb", "503"), ("4mb", "200")],
            observe: |size| {
                let origin = Origin::start();
                let gateway = plaintext(&format!(
                    "server: {{ body_memory: {size} }}\nupstreams: {{ a: {{ targets: [\"{}\"] }} }}\n\
                     routes: [{{ match: {{ methods: [POST], path: / }}, public: {{ reason: x, owner: x }}, upstream: a, \
                     request: {{ content_types: [\"*/*\"], max_body: 700k }} }}]\n",
                    origin.address
                ))
                .start();
                // half a megabyte waits for its end
                let half = "0".repeat(500_000);
                let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:";
                let mut waiting = Client::new(gateway.https).connect();
                waiting.write(format!("{head} 500001\r\n\r\n{half}"));
                eventually("the first half is held", || {
                    let metrics = gateway.admin("/metrics").text();
                    let held = metrics
                        .lines()
                        .find_map(|line| line.strip_prefix("durward_body_memory_bytes "))?;
                    (held.parse::<u64>().unwrap() >= 500_000).then_some(())
                });
                let mut second = Client::new(gateway.https).connect();
                second.write(format!("{head} 500000\r\n\r\n{half}"));
                let status = second.answer().status.to_string();
                waiting.write("0");
                assert_eq!(waiting.answer().status, 200);
                status
            },
        },
        Row {
            key: "server.upstream_keepalive_pool_size",
            settings: [("1", "opens connections again"), ("128", "keeps its connections")],
            observe: upstream_connections,
        },
        Row {
            key: "admin.address",
            settings: [
                ("{admin}", "on the admin address"),
                ("{http}", "on the other address"),
            ],
            observe: |address| {
                // the harness waits for the admin address: where that is not the admin port, it is a listener
                let other = if address == "{admin}" { "{http}" } else { "{admin}" };
                let gateway = crate::support::Gateway::whole(&format!(
                    "version: 1\nadmin: {{ address: \"{address}\" }}\n\
                     listeners: [{{ address: \"{other}\", plaintext: {{ reason: test }} }}]\n{PUBLIC}"
                ))
                .start();
                let serves = |at| Client::new(at).get_as("/livez", "127.0.0.1").status == 200;
                match (serves(gateway.admin), serves(gateway.http)) {
                    (true, false) => "on the admin address".to_owned(),
                    (false, true) => "on the other address".to_owned(),
                    both => format!("{both:?}"),
                }
            },
        },
        Row {
            key: "records.to",
            settings: [("stdout", "1 records"), ("off", "0 records")],
            observe: |to| {
                let mut gateway = plaintext(&format!(
                    "server: {{ drain_seconds: 0, grace_period_seconds: 0 }}\nrecords: {{ to: {to} }}\n{PUBLIC}"
                ))
                .start();
                assert_eq!(Client::new(gateway.https).get("/", &[]).status, 200);
                gateway.stop();
                let count = gateway
                    .output()
                    .lines()
                    .filter(|line| line.contains("durward.decision.id"))
                    .count();
                format!("{count} records")
            },
        },
        Row {
            key: "records.to.file",
            settings: [("one.jsonl", "one.jsonl"), ("two.jsonl", "two.jsonl")],
            observe: |file| {
                let gateway = plaintext(&format!("records: {{ to: {{ file: {file} }} }}\n{PUBLIC}")).start();
                assert_eq!(Client::new(gateway.https).get("/", &[]).status, 200);
                eventually("a record in a file", || {
                    let filled = |name: &&str| {
                        std::fs::metadata(gateway.folder.0.join(name)).is_ok_and(|meta| meta.len() > 0)
                    };
                    ["one.jsonl", "two.jsonl"]
                        .into_iter()
                        .find(filled)
                        .map(str::to_owned)
                })
            },
        },
        Row {
            key: "records.queue",
            settings: [("1", "records lost"), ("100000", "no record lost")],
            observe: records_to_a_reader_that_sleeps,
        },
        Row {
            // a sink that takes nothing, and room for four
            key: "records.when_full",
            settings: [
                ("drop", "200 200 200 200 200 200"),
                ("refuse", "200 200 200 200 503 503"),
            ],
            observe: |policy| {
                let records =
                    format!("records: {{ to: {{ file: /dev/full }}, queue: 4, when_full: {policy} }}\n");
                let gateway = plaintext(&(records + PUBLIC)).start();
                let statuses = (0..6).map(|_| Client::new(gateway.https).get("/", &[]).status.to_string());
                statuses.collect::<Vec<_>>().join(" ")
            },
        },
        Row {
            key: "records.summary_interval",
            settings: [("0s", "3 records"), ("1h", "1 records and a count of 2")],
            observe: records_of_one_bad_credential,
        },
    ]
}

/// The same bad token three times; the end of the process tells what is left.
fn records_of_one_bad_credential(interval: &str) -> String {
    let mut gateway = plaintext(&format!(
        "server: {{ drain_seconds: 0, grace_period_seconds: 0 }}\n\
         records: {{ to: stdout, summary_interval: {interval} }}\n{}\
         routes: [{{ match: {{ methods: [GET], path: / }}, auth: {{ jwt: main }}, respond: 200 }}]\n",
        super::observe::KEYS.inline()
    ))
    .start();
    for _ in 0..3 {
        assert_eq!(Client::new(gateway.https).get_with("/", "a.b.c").status, 401);
    }
    gateway.stop();
    let output = gateway.output();
    let lines = output.lines().map(|line| serde_json::from_str(line).unwrap());
    let lines: Vec<serde_json::Value> = lines.collect();
    let counts: Vec<_> = lines
        .iter()
        .filter_map(|line| line["durward.refusals.count"].as_u64())
        .collect();
    let records = lines.len() - counts.len();
    match counts[..] {
        [] => format!("{records} records"),
        [count] => format!("{records} records and a count of {count}"),
        ref more => format!("{more:?}"),
    }
}

fn workers(threads: &str) -> String {
    let gateway = plaintext(&format!("server: {{ threads: {threads} }}\n{PUBLIC}")).start();
    let tasks = std::fs::read_dir(format!("/proc/{}/task", gateway.pid())).unwrap();
    let names = tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    format!("{} workers", names.filter(|name| name.trim() == "proxy").count())
}

fn pollers(work_stealing: &str) -> String {
    let pollers = |threads: u32| {
        let server = format!("server: {{ threads: {threads}, work_stealing: {work_stealing} }}\n");
        let gateway = plaintext(&(server + PUBLIC)).start();
        // once it answers, every worker has what it needs
        assert_eq!(Client::new(gateway.https).get("/", &[]).status, 200);
        let files = std::fs::read_dir(format!("/proc/{}/fd", gateway.pid())).unwrap();
        let links = files
            .flatten()
            .filter_map(|file| std::fs::read_link(file.path()).ok());
        links
            .filter(|link| link.to_string_lossy().contains("eventpoll"))
            .count()
    };
    match pollers(4).saturating_sub(pollers(1)) {
        0 => "shared pollers".to_owned(),
        3.. => "a poller for each worker".to_owned(),
        more => format!("{more} more pollers"),
    }
}

/// Nothing is under way when the gateway is told to end.
fn told_to_end(seconds: &str) -> String {
    let gateway = plaintext(&format!("server: {{ drain_seconds: {seconds} }}\n{PUBLIC}")).start();
    gateway.signal("TERM");
    if seconds == "0" {
        eventually("the process is gone", || gateway.has_ended().then_some(()));
        return "gone".to_owned();
    }
    eventually("readiness is off", || {
        (gateway.admin("/readyz").status == 503).then_some(())
    });
    let answer = Client::new(gateway.https).get("/", &[]);
    assert!(!gateway.has_ended());
    match (answer.status, answer.header("connection")) {
        (200, Some("close")) => "still served, and told to leave".to_owned(),
        other => format!("{other:?}"),
    }
}

/// A request is with the service when the gateway is told to end.
fn request_at_the_end(seconds: &str) -> String {
    let (arrived, arrival) = channel();
    let (release, released) = channel();
    let (arrived, released) = (Mutex::new(arrived), Arc::new(Mutex::new(released)));
    let origin = Origin::answering(move |_| {
        arrived.lock().unwrap().send(()).unwrap();
        let _ = released.lock().unwrap().recv();
        Reply::ok()
    });
    let mut gateway = plaintext(&format!(
        "server: {{ drain_seconds: 0, grace_period_seconds: {seconds} }}\n{}",
        through(&origin)
    ))
    .start();
    let mut connection = Client::new(gateway.https).connect();
    connection.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    arrival.recv().unwrap();
    if seconds == "0" {
        gateway.stop();
    } else {
        gateway.signal("TERM");
        eventually("the end of listening", || {
            std::net::TcpStream::connect(gateway.https).is_err().then_some(())
        });
    }
    release.send(()).unwrap();
    match connection.try_answer("GET") {
        Some(answer) => format!("answered {}", answer.status),
        None => "cut off".to_owned(),
    }
}

fn through(origin: &Origin) -> String {
    format!(
        "upstreams: {{ service: {{ targets: [\"{}\"] }} }}\n\
         routes: [{{ match: {{ methods: [GET], path: / }}, public: {{ reason: test, owner: tests }}, upstream: service }}]\n",
        origin.address
    )
}

/// Two requests at a time need two connections; how many are needed when that happens again and again?
fn upstream_connections(size: &str) -> String {
    let together = Arc::new(Barrier::new(2));
    let origin = Origin::answering(move |_| {
        together.wait();
        Reply::ok()
    });
    let server = format!("server: {{ threads: 1, upstream_keepalive_pool_size: {size} }}\n");
    let gateway = plaintext(&(server + &through(&origin))).start();
    let mut clients = [
        Client::new(gateway.https).connect(),
        Client::new(gateway.https).connect(),
    ];
    for _ in 0..20 {
        for client in &mut clients {
            client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        }
        for client in &mut clients {
            assert_eq!(client.answer().status, 200);
        }
    }
    if origin.connections() > 10 {
        "opens connections again"
    } else {
        "keeps its connections"
    }
    .to_owned()
}

/// The sink is a pipe that is open and never read: it takes what a pipe takes, and then the writer waits.
fn records_to_a_reader_that_sleeps(queue: &str) -> String {
    let start = plaintext(&format!(
        "records: {{ to: {{ file: pipe }}, queue: {queue} }}\n{PUBLIC}"
    ));
    let pipe = start.path("pipe");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let _reader = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&pipe)
        .unwrap();
    let gateway = start.start();
    let mut client = Client::new(gateway.https).connect();
    for _ in 0..1000 {
        client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.answer().status, 200);
    }
    let metrics = gateway.admin("/metrics").text();
    let lost = metrics
        .lines()
        .find(|line| line.starts_with("durward_records_dropped_total "))
        .unwrap();
    if lost.ends_with(" 0") {
        "no record lost"
    } else {
        "records lost"
    }
    .to_owned()
}
