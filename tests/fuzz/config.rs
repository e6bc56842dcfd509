//! The configuration: good files, damaged.

use std::cell::Cell;

use durward::config::fault::Severity;
use durward::gateway::compile::compile;
use durward::secrets::Sources;
use proptest::prelude::*;

use crate::{hold, is_often};

const SECRET: &str = "hunter2hunter2";

/// A small file, and one with most of the kinds of values.
fn files() -> impl Strategy<Value = String> {
    let small = "version: 1\nlisteners: [{ address: \"127.0.0.1:1\", plaintext: { reason: test } }]\n\
                 routes:\n- match: { methods: [GET], path: \"/a/{b}\" }\n  public: { reason: a, owner: b }\n  respond: 200\n";
    let large = "version: 1\nserver: { threads: 2, drain_seconds: 5, body_memory: 64mb }\nadmin: { address: \"127.0.0.1:9\" }\n\
                 records: { to: stdout }\nlisteners:\n  - { address: \"127.0.0.1:1\", plaintext: { reason: test } }\n\
                 trusted_proxies: [\"10.0.0.0/8\"]\nroles: { a: [b, c] }\nlimits:\n  few: { rate: 5/s, key: [address] }\n\
                 upstreams:\n  one: { targets: [\"127.0.0.1:2\", { address: \"127.0.0.1:3\", weight: 2 }], timeouts: { read: 3s } }\n\
                 routes:\n- match: { host: a.example, methods: [GET, POST], path: \"/a/{b*}\" }\n  public: { reason: a, owner: b }\n\
                 \x20 limits: [few]\n  request: { max_body: 10k, body: stream }\n  websocket: { idle: 5s }\n  upstream: one\n";
    prop::sample::select(vec![small.to_owned(), large.to_owned()])
}

#[derive(Debug, Clone)]
enum Damage {
    Insert(prop::sample::Index, String),
    Remove(prop::sample::Index, usize),
    Line(prop::sample::Index),
    Twice(prop::sample::Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = || any::<prop::sample::Index>();
    prop_oneof![
        (at(), "[ -~\n]{1,3}").prop_map(|(at, text)| Damage::Insert(at, text)),
        (
            at(),
            prop::sample::select(vec![
                "&a ",
                "*a",
                "<<: ",
                "!!x ",
                "${env:X}",
                "${",
                "- ",
                ": ",
                "# ",
                "|\n",
                "999999999999999999999",
                "-1",
                "é",
                "\u{0}",
                "\t"
            ])
        )
            .prop_map(|(at, text)| Damage::Insert(at, text.to_owned())),
        (at(), 1usize..5).prop_map(|(at, length)| Damage::Remove(at, length)),
        at().prop_map(Damage::Line),
        at().prop_map(Damage::Twice),
    ]
}

fn damaged(text: &str, damage: &[Damage]) -> String {
    let mut text: Vec<char> = text.chars().collect();
    for one in damage {
        match one {
            Damage::Insert(at, more) => {
                let at = at.index(text.len() + 1);
                text.splice(at..at, more.chars());
            }
            Damage::Remove(at, length) if !text.is_empty() => {
                let at = at.index(text.len());
                text.drain(at..(at + length).min(text.len()));
            }
            Damage::Line(which) | Damage::Twice(which) => {
                let whole: String = text.iter().collect();
                let mut lines: Vec<&str> = whole.split('\n').collect();
                let at = which.index(lines.len());
                match one {
                    Damage::Line(_) => _ = lines.remove(at),
                    _ => lines.insert(at, lines[at]),
                }
                text = lines.join("\n").chars().collect();
            }
            Damage::Remove(..) => {}
        }
    }
    text.into_iter().collect()
}

#[test]
fn a_file_is_good_or_every_fault_has_its_place_and_no_secret_is_told() {
    let (good, bad) = (Cell::new(0), Cell::new(0));
    let strategy = (files(), prop::collection::vec(damage(), 0..3), any::<bool>());
    hold("configurations", strategy, |(file, damage, secret)| {
        let mut text = damaged(&file, &damage);
        if secret {
            text.push_str(&format!(
                "issuers: {{ a: {{ issuer: \"https://a/\", client_secret: {SECRET} }} }}\n"
            ));
        }
        let compiled = compile("test.yaml", &text, &Sources::default());
        let errors = compiled
            .faults
            .iter()
            .filter(|fault| fault.severity == Severity::Error)
            .count();
        prop_assert_eq!(compiled.gateway.is_some(), errors == 0, "{}", text);
        if errors == 0 {
            good.set(good.get() + 1);
        } else {
            bad.set(bad.get() + 1);
        }
        for fault in &compiled.faults {
            let told = format!("{fault}{}", fault.one_line());
            prop_assert!(!told.contains(SECRET), "{}", told);
            prop_assert!(fault.one_line().starts_with("test.yaml"), "{}", fault.one_line());
        }
        // said the same way again
        let again = compile("test.yaml", &text, &Sources::default());
        let lines = |compiled: &durward::gateway::compile::Compiled| -> Vec<String> {
            compiled
                .faults
                .iter()
                .map(durward::config::fault::Fault::one_line)
                .collect()
        };
        prop_assert_eq!(lines(&compiled), lines(&again));
        prop_assert_eq!(compiled.hash, again.hash);
        Ok(())
    });
    is_often("a file was good", &good);
    is_often("a file was not", &bad);
}
