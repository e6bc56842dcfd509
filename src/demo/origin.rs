//! The demo's vehicle-data service, which the gateway guards.
//!
//! It trusts whoever calls, names its software in every answer and shows a stack trace when it breaks: it is what services
//! behind gateways are like. Every answer tells the caller that the gateway reported.

use std::io;

use bytes::Bytes;
use http::header::{ALLOW, HeaderValue, LOCATION, SERVER};
use http::{HeaderMap, Method, Request, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use super::proof::Verifier;
use super::serve::{self, Answer, Server};
use super::vehicle::Vin;
use crate::clock::UnixTime;

/// Starts the origin on a free port. With a verifier, it takes requests of the gateway alone.
///
/// # Errors
/// Those of the operating system.
pub fn start(verifier: Option<Verifier>) -> io::Result<Server> {
    serve::serve("demo-origin", serve::bind()?, move |request| {
        answer(request, verifier.as_ref())
    })
}

fn answer(request: &Request<Bytes>, verifier: Option<&Verifier>) -> Answer {
    let now = UnixTime::of_system().seconds();
    let mut answer = match verifier.map_or(Ok(()), |verifier| verifier.verify(request, now)) {
        Ok(()) => route(request),
        Err(why) => refuse(StatusCode::FORBIDDEN, why.as_str()),
    };
    // What the gateway has to remove.
    answer
        .headers_mut()
        .insert(SERVER, HeaderValue::from_static("demo-origin/1.0"));
    answer
        .headers_mut()
        .insert("x-powered-by", HeaderValue::from_static("demo"));
    answer
}

fn route(request: &Request<Bytes>) -> Answer {
    let segments: Vec<&str> = request.uri().path().split('/').skip(1).collect();
    let (text, resource) = match segments.as_slice() {
        ["healthz"] => return read_only(request, || json!({"status": "ok"})),
        ["v1", "vehicles", vin] => (*vin, ""),
        ["v1", "vehicles", vin, resource] => (*vin, *resource),
        _ => return refuse(StatusCode::NOT_FOUND, "no such resource"),
    };
    let Some(vin) = Vin::parse(text) else {
        return refuse(StatusCode::NOT_FOUND, "no such vehicle");
    };
    match resource {
        "" => read_only(request, || vin.vehicle()),
        "liens" => read_only(request, || vin.liens()),
        "history" if request.method() == Method::POST => record(request, vin),
        "history" => read_only(request, || vin.history()),
        "broken" => serve::json(
            StatusCode::INTERNAL_SERVER_ERROR,
            &json!({
                "error": "NullPointerException",
                "trace": [
                    "at com.example.vehicles.LienStore.find(LienStore.java:118)",
                    "at com.example.vehicles.Api.handle(Api.java:42)",
                    "jdbc:postgresql://db-internal.example:5432/vehicles?user=vehicles",
                ],
            }),
        ),
        _ => refuse(StatusCode::NOT_FOUND, "no such resource"),
    }
}

/// 200 with what `body` says and the caller, for GET; 405 otherwise.
fn read_only(request: &Request<Bytes>, body: impl FnOnce() -> Value) -> Answer {
    if request.method() != Method::GET {
        let mut answer = refuse(StatusCode::METHOD_NOT_ALLOWED, "read only");
        answer
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET"));
        return answer;
    }
    let mut body = body();
    if let Some(object) = body.as_object_mut() {
        object.insert("caller".to_owned(), caller(request.headers()));
    }
    serve::json(StatusCode::OK, &body)
}

/// Takes an event into the history. Nothing is kept: a demo that remembers would grow.
fn record(request: &Request<Bytes>, vin: Vin<'_>) -> Answer {
    let Ok(event) = serde_json::from_slice::<Value>(request.body()) else {
        return refuse(StatusCode::BAD_REQUEST, "the body is not JSON");
    };
    let id = Uuid::now_v7().to_string();
    let body = json!({"id": id, "vin": vin.as_str(), "event": event, "caller": caller(request.headers())});
    let mut answer = serve::json(StatusCode::CREATED, &body);
    if let Ok(place) = HeaderValue::try_from(format!("/v1/vehicles/{}/history/{id}", vin.as_str())) {
        answer.headers_mut().insert(LOCATION, place);
    }
    answer
}

/// Whom the gateway says this is. Every value is shown, so that a forged one could not hide behind the first.
fn caller(headers: &HeaderMap) -> Value {
    let all = |name: &str| {
        let values: Vec<_> = headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .collect();
        (!values.is_empty()).then(|| values.join(", "))
    };
    json!({"user": all("x-user-id"), "roles": all("x-roles")})
}

fn refuse(status: StatusCode, text: &str) -> Answer {
    serve::json(status, &json!({"error": text}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::serve::exchange;

    const VIN: &str = "1HGCM82633A004352";

    /// Status, head in lower case and body.
    fn ask(line: &str, headers: &str, body: &str) -> (u16, String, Value) {
        let server = start(None).unwrap();
        let length = body.len();
        let answer = exchange(
            server.address,
            &format!(
                "{line} HTTP/1.1\r\nHost: o\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
            ),
        );
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (
            status,
            head.to_ascii_lowercase(),
            serde_json::from_str(body).unwrap(),
        )
    }

    #[test]
    fn every_resource_answers_with_the_caller_and_with_its_fingerprints() {
        for (path, member) in [
            (format!("/v1/vehicles/{VIN}"), "make"),
            (format!("/v1/vehicles/{VIN}/liens"), "liens"),
            (format!("/v1/vehicles/{VIN}/history"), "events"),
            ("/healthz".to_owned(), "status"),
        ] {
            let (status, head, body) = ask(&format!("GET {path}"), "X-User-Id: ada\r\nX-Roles: a,b\r\n", "");
            assert_eq!(status, 200, "{path}");
            assert!(
                head.contains("server: demo-origin/1.0") && head.contains("x-powered-by: demo"),
                "{head}"
            );
            assert!(body.get(member).is_some(), "{path}: {body}");
            assert_eq!(body["caller"], json!({"user": "ada", "roles": "a,b"}));
        }
    }

    #[test]
    fn all_values_of_an_identity_header_are_shown_and_none_is_null() {
        let (_, _, body) = ask("GET /healthz", "X-User-Id: ada\r\nX-User-Id: eve\r\n", "");
        assert_eq!(body["caller"], json!({"user": "ada, eve", "roles": null}));
    }

    #[test]
    fn an_event_is_taken_and_gets_an_id() {
        let line = format!("POST /v1/vehicles/{VIN}/history");
        let (status, head, body) = ask(&line, "", r#"{"event":"service"}"#);
        assert_eq!((status, &body["event"]["event"]), (201, &json!("service")));
        let id = body["id"].as_str().unwrap();
        assert!(head.contains(&format!("/history/{id}")), "{head}");
        assert_eq!(ask(&line, "", "{").0, 400);
    }

    #[test]
    fn the_broken_resource_leaks_and_the_unknown_is_not_found() {
        let (status, _, body) = ask(&format!("GET /v1/vehicles/{VIN}/broken"), "", "");
        assert!(
            status == 500 && body.to_string().contains("LienStore.java"),
            "{body}"
        );
        for path in ["/", "/v1/vehicles/short", "/v1/vehicles", "/nothing"] {
            assert_eq!(ask(&format!("GET {path}"), "", "").0, 404, "{path}");
        }
        assert_eq!(ask(&format!("DELETE /v1/vehicles/{VIN}/liens"), "", "").0, 405);
    }
}
