//! The port of plain HTTP: to HTTPS, or no further (S10).
//!
//! A request that is safe to repeat is redirected. One that carried a credential or a body is refused, because what it
//! carried has crossed the network already and repeating it quietly would hide that.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use http::{HeaderValue, Method, Response, StatusCode, header};
use pingora_core::apps::http_app::ServeHttp;
use pingora_core::protocols::http::ServerSession;
use uuid::Uuid;

use super::intake::read_head;
use crate::clock::UnixTime;
use crate::denial::{Denial, PlainHttp, Verdict};
use crate::head::{BodyLength, Head};
use crate::problem;
use crate::running::live::Live;
use crate::telemetry::Telemetry;
use crate::telemetry::record::Record;

/// Headers that carry credentials.
const CREDENTIALS: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "x-api-key"];

/// Answers plain HTTP.
#[derive(Debug)]
pub struct Redirect {
    /// Port of the HTTPS address.
    pub port: u16,
    /// What runs, for the record.
    pub live: Arc<Live>,
    /// Where it is told.
    pub telemetry: Arc<Telemetry>,
}

#[async_trait]
impl ServeHttp for Redirect {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let started = Instant::now();
        let id = Uuid::now_v7();
        let peer = session
            .client_addr()
            .and_then(|address| address.as_inet())
            .map(|address| address.ip().to_canonical());
        let head = read_head(session, Head::parse);
        let request = session.req_header();
        let judged = match &head {
            Ok(head) => self.location(head, &request.headers),
            Err(why) => Err(Denial::Malformed(*why)),
        };
        let method = request.method.clone();
        let response = answer(&judged, &method, id);
        if judged.is_err() {
            session.set_keepalive(None);
        }
        self.record(head.as_ref().ok(), &judged, peer, id, started);
        response
    }
}

impl Redirect {
    /// Where the client should go instead.
    fn location(&self, head: &Head, headers: &http::HeaderMap) -> Verdict<String> {
        let running = self.live.current();
        let ours = running.gateway.keys.iter().map(|ring| &ring.header);
        if CREDENTIALS.iter().any(|name| headers.contains_key(*name))
            || ours.into_iter().any(|name| headers.contains_key(name))
        {
            return Err(Denial::PlainHttp(PlainHttp::Credential));
        }
        if !matches!(*head.method(), Method::GET | Method::HEAD) || head.body() != BodyLength::None {
            return Err(Denial::PlainHttp(PlainHttp::Body));
        }
        let port = if self.port == 443 {
            String::new()
        } else {
            format!(":{}", self.port)
        };
        Ok(format!("https://{}{port}{}", head.host(), head.target()))
    }

    fn record(
        &self,
        head: Option<&Head>,
        judged: &Verdict<String>,
        peer: Option<std::net::IpAddr>,
        id: Uuid,
        started: Instant,
    ) {
        let denial = judged.as_ref().err();
        let status = denial
            .map_or(StatusCode::MOVED_PERMANENTLY, Denial::status)
            .as_u16();
        let reason = denial.map(Denial::reason);
        let running = self.live.current();
        let metrics = &self.telemetry.metrics;
        if let Some(denial) = denial {
            metrics.denied("", denial);
        }
        metrics
            .duration(
                head.map(Head::method),
                "",
                Some(status),
                "http",
                reason.unwrap_or_default(),
            )
            .observe(started.elapsed().as_secs_f64());
        if !self.telemetry.records.is_on() {
            return;
        }
        let mut buffer = Uuid::encode_buffer();
        let record = Record {
            timestamp: UnixTime::of_system(),
            id: id.hyphenated().encode_lower(&mut buffer),
            method: head.map(|head| head.method().as_str()),
            host: head.map(Head::host),
            path: head.map(Head::path),
            status: Some(status),
            duration: started.elapsed(),
            client: peer,
            peer,
            outcome: if denial.is_some() { "deny" } else { "redirect" },
            gate: denial.map(|denial| denial.gate().as_str()),
            reason,
            config: running.gateway.hash.get(..12).unwrap_or_default(),
            scheme: "http",
            ..Record::default()
        };
        record.with_line(|line| self.telemetry.records.write(line));
    }
}

fn answer(judged: &Verdict<String>, method: &Method, id: Uuid) -> Response<Vec<u8>> {
    let (status, body) = match judged {
        Ok(_) => (StatusCode::MOVED_PERMANENTLY, Vec::new()),
        Err(denial) => (denial.status(), problem::document(denial, id).to_vec()),
    };
    let length = body.len();
    let mut response = Response::new(if *method == Method::HEAD { Vec::new() } else { body });
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    match judged {
        Ok(location) => {
            // a location that cannot be written is one that cannot be followed
            if let Ok(location) = HeaderValue::from_str(location) {
                headers.insert(header::LOCATION, location);
            }
        }
        Err(denial) => {
            headers.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/problem+json"),
            );
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            if let Some(Ok(allow)) = denial.allow().map(HeaderValue::from_str) {
                headers.insert(header::ALLOW, allow);
            }
        }
    }
    if let Ok(id) = HeaderValue::from_str(&id.hyphenated().to_string()) {
        headers.insert("x-request-id", id);
    }
    response
}
