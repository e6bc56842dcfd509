//! The end of a process, and the beginning of its successor.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::smoke::routes;
use crate::support::client::request;
use crate::support::gateway::is_gone;
use crate::support::{Gateway, Keys, Origin, Reply, eventually, h2};

fn start(keys: &Keys, origin: &Origin, drain: u32) -> Gateway {
    let server =
        format!("server: {{ state_dir: state, drain_seconds: {drain}, grace_period_seconds: 20 }}\n");
    let uploads = "  - match: { methods: [POST], path: /uploads }\n\
        \x20   auth: { jwt: main }\n\
        \x20   request: { content_types: [\"*/*\"] }\n\
        \x20   upstream: vehicles\n";
    Gateway::start(&(server + &keys.inline() + &routes(origin) + uploads))
}

/// A body that is sent in this many parts of this many bytes, with a pause after each: longer than a reload takes, and
/// than the sockets need to change hands.
const UPLOAD: (usize, usize, Duration) = (30, 1000, Duration::from_millis(100));

#[test]
fn sigquit_without_a_successor_changes_nothing() {
    let (origin, keys) = (Origin::start(), Keys::new("k1"));
    let gateway = start(&keys, &origin, 0);
    gateway.signal("QUIT");
    eventually("it says why", || {
        gateway.messages().contains("no successor waits").then_some(())
    });
    assert_eq!(gateway.client().get("/healthz", &[]).status, 200);
    assert!(!gateway.has_ended());
}

#[test]
fn sigterm_lets_requests_finish_tells_clients_to_leave_and_ends_as_soon_as_it_is_idle() {
    let slow = |_: &crate::support::origin::Seen| Reply::ok().after(Duration::from_millis(1500));
    let (origin, keys) = (Origin::answering(slow), Keys::new("k1"));
    let gateway = start(&keys, &origin, 30);
    let mut under_way = gateway.client().connect();
    let mut idle = gateway.client().connect();
    idle.write(request("GET", "/nothing", &[], ""));
    assert_ne!(idle.answer().header("connection"), Some("close"));
    under_way.write(request("GET", "/healthz", &[], ""));
    eventually("the request is under way", || {
        (!origin.seen().is_empty()).then_some(())
    });

    gateway.signal("TERM");
    let readiness = eventually("readiness is off", || {
        Some(gateway.admin("/readyz")).filter(|a| a.status == 503)
    });
    assert_eq!(readiness.json()["failing"][0]["state"], "draining");
    // still served, and told to leave
    idle.write(request("GET", "/nothing", &[], ""));
    let told = idle.answer();
    assert_eq!((told.status, told.header("connection")), (404, Some("close")));

    // a second signal: no more waiting for clients to leave
    gateway.signal("TERM");
    assert_eq!(under_way.answer().status, 200, "a request under way was cut");
    // long before the 20 seconds of grace
    eventually("the process is gone", || gateway.has_ended().then_some(()));
    assert_eq!(gateway.records().len(), 3, "{:?}", gateway.records());
}

/// Ends what others do, once it goes.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Rounds of four reloads and an upgrade each: one, or as many as `DURWARD_SOAK` says.
fn rounds() -> u32 {
    std::env::var("DURWARD_SOAK").map_or(1, |rounds| rounds.parse().expect("DURWARD_SOAK is a number"))
}

#[test]
fn reloads_and_upgrades_under_load_lose_no_request() {
    let (origin, keys) = (Origin::start(), Keys::new("k1"));
    let gateway = start(&keys, &origin, 0);
    let bearer = format!(
        "Bearer {}",
        keys.token(json!({ "exp": crate::support::issuer::now() + 3600 }))
    );
    let stop = AtomicBool::new(false);
    let (good, bad) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let count = |fine: bool| _ = if fine { &good } else { &bad }.fetch_add(1, Ordering::Relaxed);
    let path = "/v1/vehicles/1/liens";
    let client = gateway.client();
    let http1 = |keep_alive: bool| {
        let text = request("GET", path, &[("Authorization", &bearer)], "");
        let mut connection = client.connect();
        while !stop.load(Ordering::Relaxed) {
            connection.write(&text);
            let answer = connection.try_answer("GET");
            count(answer.as_ref().is_some_and(|answer| answer.status == 200));
            let leaves = answer.is_none_or(|answer| answer.header("connection") == Some("close"));
            if leaves || !keep_alive {
                connection = client.connect();
            }
        }
    };
    let http2 = || {
        while !stop.load(Ordering::Relaxed) {
            let requests = (0..3).map(|_| {
                let request = http::Request::get(format!("https://api.example{path}"));
                (
                    request.header("authorization", &bearer).body(()).unwrap(),
                    Vec::new(),
                )
            });
            for answer in h2::exchange(gateway.https, &gateway.authority, requests.collect()) {
                count(answer.is_some_and(|answer| answer.status == 200));
            }
        }
    };
    // uploads begun by one process and ended by the next one's time: good, bad and those that saw an upgrade
    let (sent, across) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let uploaded = |before: Option<u32>, status: Option<u16>| {
        let fine = status == Some(200);
        count(fine);
        if fine {
            sent.fetch_add(1, Ordering::Relaxed);
            across.fetch_add(usize::from(gateway.serving() != before), Ordering::Relaxed);
        }
    };
    let (parts, size, pause) = UPLOAD;
    let upload1 = || {
        let length = (parts * size).to_string();
        let headers = [("Authorization", bearer.as_str()), ("Content-Length", &length)];
        let head = request("POST", "/uploads", &headers, "");
        while !stop.load(Ordering::Relaxed) {
            let before = gateway.serving();
            let mut connection = client.connect();
            connection.write(&head);
            for _ in 0..parts {
                connection.write(vec![b'a'; size]);
                std::thread::sleep(pause);
            }
            uploaded(before, connection.try_answer("POST").map(|answer| answer.status));
        }
    };
    let upload2 = || {
        while !stop.load(Ordering::Relaxed) {
            let before = gateway.serving();
            let request = http::Request::post("https://api.example/uploads").header("authorization", &bearer);
            let body = vec![vec![b'a'; size].into(); parts];
            let requests = vec![(request.body(()).unwrap(), body)];
            // none where it was told to leave before it began
            for answer in h2::exchange_slowly(gateway.https, &gateway.authority, requests, pause) {
                uploaded(before, answer.map(|answer| answer.status));
            }
        }
    };
    std::thread::scope(|scope| {
        // also where something below fails: nobody would end what has been spawned
        let _stopped = Stop(&stop);
        scope.spawn(upload1);
        scope.spawn(upload1);
        scope.spawn(upload2);
        scope.spawn(|| http1(true));
        scope.spawn(|| http1(true));
        scope.spawn(|| http1(false));
        scope.spawn(http2);
        for round in 0..rounds() {
            let serving = gateway.serving().unwrap();
            for reload in 0..4 {
                let file = gateway.folder.0.join("durward.yaml");
                let text = std::fs::read_to_string(&file).unwrap();
                let before = gateway.admin("/config/status").json()["running"]["hash"].clone();
                gateway
                    .folder
                    .write("durward.yaml", format!("{text}# {round}.{reload}\n"));
                signal(serving, "HUP");
                eventually("the reload", || {
                    Some(gateway.admin("/config/status").json())
                        .filter(|status| status["running"]["hash"] != before)
                });
            }
            let output = gateway.command("upgrade").output().unwrap();
            assert!(
                output.status.success(),
                "{}{}",
                String::from_utf8_lossy(&output.stderr),
                gateway.messages()
            );
            assert_ne!(gateway.serving().unwrap(), serving);
            eventually("the old process is gone", || is_gone(serving).then_some(()));
            let before = good.load(Ordering::Relaxed);
            eventually("the new one serves", || {
                (good.load(Ordering::Relaxed) > before + 50).then_some(())
            });
        }
    });
    let (sent, across) = (sent.load(Ordering::Relaxed), across.load(Ordering::Relaxed));
    println!(
        "{} requests, {} lost; {sent} slow uploads among them, {across} across an upgrade",
        good.load(Ordering::Relaxed),
        bad.load(Ordering::Relaxed)
    );
    let whole = |seen: &&crate::support::origin::Seen| {
        seen.method == "POST" && seen.complete && seen.body.len() == parts * size
    };
    assert_eq!(
        origin.seen().iter().filter(whole).count(),
        sent,
        "a body did not arrive as it was sent"
    );
    assert!(across > 0, "no upload lasted as long as an upgrade");
    assert_eq!(
        bad.load(Ordering::Relaxed),
        0,
        "of {}",
        good.load(Ordering::Relaxed)
    );
}

fn signal(pid: u32, name: &str) {
    let line = format!("kill -{name} {pid}");
    assert!(
        std::process::Command::new("sh")
            .args(["-c", &line])
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn a_successor_that_cannot_start_leaves_the_old_one_serving() {
    let (origin, keys) = (Origin::start(), Keys::new("k1"));
    let gateway = start(&keys, &origin, 0);
    let file = gateway.folder.0.join("durward.yaml");
    let text = std::fs::read_to_string(file).unwrap();
    gateway.folder.write(
        "durward.yaml",
        text.replace("upstream: vehicles", "upstream: vehiclse"),
    );
    let output = gateway.command("upgrade").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(gateway.serving(), Some(gateway.pid()));
    assert_eq!(gateway.client().get("/healthz", &[]).status, 200);
    assert!(!gateway.has_ended());
}

// whoever could wait at a place that is open to all would be given the sockets
#[test]
fn a_successor_without_a_state_folder_does_not_even_begin() {
    let (origin, keys) = (Origin::start(), Keys::new("k1"));
    let gateway = Gateway::start(&(keys.inline() + &routes(&origin)));
    for verb in [&["run", "--upgrade"][..], &["upgrade"]] {
        let file = gateway.folder.0.join("durward.yaml");
        let output = crate::support::gateway::binary()
            .args(verb)
            .arg("-c")
            .arg(file)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("server.state_dir"), "{said}");
    }
}
