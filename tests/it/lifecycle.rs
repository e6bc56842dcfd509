//! The end of a process, and the beginning of its successor.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::smoke::routes;
use crate::support::client::request;
use crate::support::{Gateway, Keys, Origin, Reply, eventually};

fn start(keys: &Keys, origin: &Origin, drain: u32) -> Gateway {
    let server =
        format!("server: {{ state_dir: state, drain_seconds: {drain}, grace_period_seconds: 20 }}\n");
    Gateway::start(&(server + &keys.inline() + &routes(origin)))
}

#[test]
fn sigquit_without_a_successor_changes_nothing() {
    let (origin, keys) = (Origin::start(), Keys::new("k1"));
    let mut gateway = start(&keys, &origin, 0);
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
    let mut gateway = start(&keys, &origin, 30);
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

#[test]
fn an_upgrade_under_load_loses_no_request() {
    let (origin, keys) = (Origin::start(), Keys::new("k1"));
    let mut gateway = start(&keys, &origin, 0);
    let token = keys.token(json!({}));
    let stop = Arc::new(AtomicBool::new(false));
    let (good, bad) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let load = |keep_alive: bool| {
        let (client, token, stop) = (gateway.client(), token.clone(), stop.clone());
        let (good, bad) = (good.clone(), bad.clone());
        std::thread::spawn(move || {
            let bearer = format!("Bearer {token}");
            let text = request("GET", "/v1/vehicles/1/liens", &[("Authorization", &bearer)], "");
            let mut connection = client.connect();
            while !stop.load(Ordering::Relaxed) {
                connection.write(&text);
                let answer = connection.try_answer("GET");
                let fine = answer.as_ref().is_some_and(|answer| answer.status == 200);
                if fine { &good } else { &bad }.fetch_add(1, Ordering::Relaxed);
                let leaves = answer.is_none_or(|answer| answer.header("connection") == Some("close"));
                if leaves || !keep_alive {
                    connection = client.connect();
                }
            }
        })
    };
    let threads: Vec<_> = [true, true, false].map(load).into();
    let old = gateway.pid();
    let output = gateway.command("upgrade").output().unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stderr),
        gateway.messages()
    );
    let new = gateway.serving().unwrap();
    assert_ne!(new, old);
    eventually("the old process is gone", || gateway.has_ended().then_some(()));
    let before = good.load(Ordering::Relaxed);
    eventually("the new one serves", || {
        (good.load(Ordering::Relaxed) > before + 50).then_some(())
    });
    stop.store(true, Ordering::Relaxed);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(
        bad.load(Ordering::Relaxed),
        0,
        "of {}",
        good.load(Ordering::Relaxed)
    );
    assert_eq!(gateway.client().get("/healthz", &[]).status, 200);
}

#[test]
fn a_successor_that_cannot_start_leaves_the_old_one_serving() {
    let (origin, keys) = (Origin::start(), Keys::new("k1"));
    let mut gateway = start(&keys, &origin, 0);
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
