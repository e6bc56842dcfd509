//! A changed configuration while it runs.

use serde_json::json;

use crate::support::{Answer, Authority, Client, Gateway, Keys, Origin, eventually};

fn body(keys: &Keys, origin: &Origin, path: &str) -> String {
    format!(
        "{}limits:\n  client: {{ rate: 2/m, key: subject }}\n\
         upstreams:\n  vehicles: {{ targets: [\"{}\"] }}\n\
         routes:\n\
         \x20 - match: {{ methods: [GET], path: {path} }}\n\
         \x20   auth: {{ jwt: main }}\n\
         \x20   limits: [client]\n\
         \x20   upstream: vehicles\n",
        keys.inline(),
        origin.address
    )
}

fn hang_up(gateway: &Gateway) {
    gateway.signal("HUP");
}

fn status(gateway: &Gateway) -> serde_json::Value {
    gateway.admin("/config/status").json()
}

/// Rewrites the configuration file.
fn rewrite(gateway: &Gateway, change: impl Fn(&str) -> String) {
    let file = gateway.folder.0.join("durward.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    gateway.folder.write("durward.yaml", change(&text));
}

// U12, U13
#[test]
fn a_changed_file_runs_after_a_hangup_and_limits_go_on() {
    let (origin, keys) = (Origin::start(), Keys::new("k1"));
    let gateway = Gateway::start(&body(&keys, &origin, "/old"));
    let (client, token) = (gateway.client(), keys.token(json!({})));
    let mut connection = client.connect();
    let ask = |connection: &mut crate::support::client::Connection, path: &str| -> Answer {
        let bearer = format!("Bearer {token}");
        connection.write(crate::support::client::request(
            "GET",
            path,
            &[("Authorization", &bearer)],
            "",
        ));
        connection.answer()
    };
    assert_eq!(ask(&mut connection, "/old").status, 200);
    let before = status(&gateway)["running"]["hash"].clone();

    rewrite(&gateway, |text| text.replace("path: /old", "path: /new"));
    hang_up(&gateway);
    let after = eventually("the new configuration runs", || {
        Some(status(&gateway)).filter(|status| status["running"]["hash"] != before)
    });
    assert_eq!(after["current"], true);
    // on the very connection that was open: nothing was cut
    assert_eq!(ask(&mut connection, "/new").status, 200);
    assert_eq!(
        ask(&mut connection, "/new").status,
        429,
        "the limit was forgotten"
    );
    assert_eq!(ask(&mut connection, "/old").status, 404);
}

// U13, U14
#[test]
fn a_bad_file_changes_nothing_and_says_so_everywhere() {
    let (origin, keys) = (Origin::start(), Keys::new("k1"));
    let gateway = Gateway::start(&body(&keys, &origin, "/old"));
    rewrite(&gateway, |text| {
        text.replace("upstream: vehicles", "upstream: vehiclse")
    });
    hang_up(&gateway);
    let status = eventually("the fault shows", || {
        Some(status(&gateway)).filter(|s| s["current"] == false)
    });
    let fault = status["file"]["faults"][0].as_str().unwrap();
    assert!(
        fault.contains("unknown upstream `vehiclse`") && fault.contains("durward.yaml:"),
        "{fault}"
    );
    assert!(fault.contains("did you mean `vehicles`?"), "{fault}");
    assert!(gateway.messages().contains("the running configuration stays"));
    let metrics = gateway.admin("/metrics").text();
    assert!(
        metrics.contains("durward_config_last_reload_successful 0"),
        "{metrics}"
    );
    assert_eq!(
        gateway.client().get_with("/old", &keys.token(json!({}))).status,
        200
    );
}

#[test]
fn what_a_running_process_cannot_change_needs_an_upgrade() {
    let (origin, keys) = (Origin::start(), Keys::new("k1"));
    let gateway = Gateway::start(&body(&keys, &origin, "/old"));
    rewrite(&gateway, |text| {
        text.replacen("certificates:", "profile: modern, certificates:", 1)
    });
    hang_up(&gateway);
    let status = eventually("the fault shows", || {
        Some(status(&gateway)).filter(|s| s["current"] == false)
    });
    assert!(
        status["file"]["faults"][0]
            .as_str()
            .unwrap()
            .contains("needs upgrade: `listeners`"),
        "{status}"
    );
}

// S16: a folder as Kubernetes mounts it, where `..data` is a symlink that is swapped
#[test]
fn a_swapped_certificate_serves_the_next_handshake_without_a_signal() {
    let (origin, keys) = (Origin::start(), Keys::new("k1"));
    let gateway = Gateway::start(&body(&keys, &origin, "/old"));
    let mut connection = gateway.client().connect();
    // two days from now, as the harness makes them
    let line = format!(
        "durward_tls_certificate_not_after_seconds{{listener=\"{}\",name=",
        gateway.https
    );
    let metrics = gateway.admin("/metrics").text();
    let ends: u64 = metrics
        .lines()
        .find(|l| l.starts_with(&line))
        .unwrap()
        .rsplit(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!(
        (170_000..175_000).contains(&(ends - crate::support::issuer::now())),
        "{ends}"
    );

    let other = Authority::new();
    let dir = gateway.folder.0.join("certs");
    other.install(&gateway.folder, "certs/..2", &["api.example"]);
    for file in ["tls.crt", "tls.key"] {
        let link = dir.join(format!("{file}.new"));
        std::os::unix::fs::symlink(dir.join("..2").join(file), &link).unwrap();
        std::fs::rename(link, dir.join(file)).unwrap();
    }
    eventually("the new certificate is served", || {
        Client::new(gateway.https).trusting(&other).try_connect().ok()
    });
    connection.write(crate::support::client::request("GET", "/nothing", &[], ""));
    assert_eq!(connection.answer().status, 404, "the old connection was cut");
}
