//! The port of metrics and health. Read-only; no route of the gateway leads here (S45, S89).

mod certificates;
mod state;

use std::sync::Arc;

use async_trait::async_trait;
use http::{HeaderValue, Response, StatusCode, header};
use pingora_core::apps::http_app::ServeHttp;
use pingora_core::protocols::http::ServerSession;
use serde_json::json;

use crate::clock::UnixTime;
use crate::running::live::Live;
use crate::telemetry::Telemetry;
use crate::telemetry::record::timestamp;
use state::State;

/// Answers `/metrics`, `/livez`, `/healthz`, `/readyz`, `/config/status` and `/explain/ID`.
#[derive(Debug)]
pub struct Admin {
    live: Arc<Live>,
    telemetry: Arc<Telemetry>,
    state: State,
}

#[async_trait]
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let request = session.req_header();
        let host = request
            .headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok())
            .unwrap_or_default();
        self.answer(request.method.as_str(), request.uri.path(), host)
    }
}

impl Admin {
    /// Tells what runs, and what happened.
    ///
    /// # Errors
    /// The name of a metric is registered twice.
    pub fn new(live: Arc<Live>, telemetry: Arc<Telemetry>) -> prometheus::Result<Admin> {
        let state = State::new(telemetry.metrics.registry())?;
        Ok(Admin {
            live,
            telemetry,
            state,
        })
    }

    fn answer(&self, method: &str, path: &str, host: &str) -> Response<Vec<u8>> {
        let running = self.live.current();
        if running.gateway.admin.ip().is_loopback() && !is_local(host) {
            // a web page that was told that its own name is 127.0.0.1 (DNS rebinding)
            return response(
                StatusCode::MISDIRECTED_REQUEST,
                TEXT,
                b"ask by address\n".to_vec(),
            );
        }
        if !matches!(method, "GET" | "HEAD") {
            let mut refusal = response(StatusCode::METHOD_NOT_ALLOWED, TEXT, Vec::new());
            refusal
                .headers_mut()
                .insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refusal;
        }
        match path {
            "/metrics" => {
                self.state.read(&self.live, &self.telemetry);
                response(
                    StatusCode::OK,
                    "text/plain; version=0.0.4",
                    self.telemetry.metrics.text(),
                )
            }
            "/livez" | "/healthz" => response(StatusCode::OK, TEXT, b"ok\n".to_vec()),
            "/readyz" => {
                let mut failing = Vec::new();
                if self.live.lifecycle().is_draining() {
                    failing.push(json!({ "dependency": "lifecycle", "state": "draining" }));
                }
                for state in running.memory.keys_missing(&running.gateway) {
                    failing.push(
                        json!({ "dependency": "keys", "issuer": &*state.issuer, "failures": state.failures }),
                    );
                }
                for upstream in running
                    .gateway
                    .upstreams
                    .iter()
                    .filter(|upstream| !upstream.is_resolved())
                {
                    failing.push(json!({ "dependency": "upstream", "upstream": &*upstream.name }));
                }
                let lists = running.memory.revocations().states(UnixTime::of_system());
                for list in lists.iter().filter(|list| !list.is_usable) {
                    failing.push(json!({ "dependency": "revocation", "source": list.source }));
                }
                if self.telemetry.records.is_full() {
                    failing.push(json!({ "dependency": "records", "state": "full" }));
                }
                let status = if failing.is_empty() {
                    StatusCode::OK
                } else {
                    StatusCode::SERVICE_UNAVAILABLE
                };
                let body = json!({ "ready": failing.is_empty(), "failing": failing, "config": running.gateway.hash });
                response(status, "application/json", format!("{body}\n").into_bytes())
            }
            "/config/status" => {
                let reload = self.live.last_reload();
                let body = json!({
                    "running": { "hash": running.gateway.hash, "since": timestamp(running.since) },
                    "file": {
                        "hash": reload.file,
                        "read": timestamp(reload.at),
                        "faults": reload.faults,
                    },
                    "revocation": running.memory.revocations().states(UnixTime::of_system()).iter().map(|list| {
                        json!({
                            "source": list.source, "entries": list.entries, "usable": list.is_usable, "fault": list.fault,
                        })
                    }).collect::<Vec<_>>(),
                    "current": reload.file.as_deref() == Some(&*running.gateway.hash) && reload.faults.is_empty(),
                });
                response(
                    StatusCode::OK,
                    "application/json",
                    format!("{body}\n").into_bytes(),
                )
            }
            _ => self.explained(path).unwrap_or_else(|| {
                response(
                    StatusCode::NOT_FOUND,
                    TEXT,
                    b"/metrics /livez /readyz /config/status /explain/ID\n".to_vec(),
                )
            }),
        }
    }
}

impl Admin {
    /// Why a request was refused, by its decision id.
    fn explained(&self, path: &str) -> Option<Response<Vec<u8>>> {
        let id = path.strip_prefix("/explain/")?.parse().ok()?;
        let explanation = self.live.explanations().find(id)?;
        let body = format!("{explanation}\n").into_bytes();
        Some(response(StatusCode::OK, "application/json", body))
    }
}

const TEXT: &str = "text/plain; charset=utf-8";

fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok()
}

fn response(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response<Vec<u8>> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let length = HeaderValue::from(response.body().len());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CONTENT_LENGTH, length);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
