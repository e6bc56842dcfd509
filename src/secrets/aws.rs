//! AWS Secrets Manager: `GetSecretValue`, API version 2017-10-17.

use std::fmt;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{Method, Request, StatusCode, Uri};
use http_body_util::Full;
use serde_json::{Value, json};

use super::sigv4::{Credentials, Signed, authorization};
use super::store::{MAX_ANSWER, StoreError};
use crate::world::http::Asker;

/// Where it is, and who we are there.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// `https://secretsmanager.REGION.amazonaws.com/`, or what stands for it.
    pub endpoint: Uri,
    /// Region.
    pub region: String,
    /// Ours.
    pub credentials: Credentials,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "aws_sm {} {}", self.region, self.endpoint)
    }
}

const TYPE: &str = "application/x-amz-json-1.1";
const TARGET: &str = "secretsmanager.GetSecretValue";

/// The current version of a secret: its text.
pub(super) async fn read(settings: &Settings, asker: &Asker, name: &str) -> Result<Value, StoreError> {
    let body = json!({ "SecretId": name }).to_string();
    let authority = settings
        .endpoint
        .authority()
        .ok_or(StoreError::Unusable("no host"))?;
    let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let mut headers = vec![
        ("content-type", TYPE),
        ("host", authority.as_str()),
        ("x-amz-date", &time),
    ];
    let session = settings.credentials.session_token.as_deref();
    headers.extend(session.map(|token| ("x-amz-security-token", token)));
    headers.push(("x-amz-target", TARGET));
    let signed = Signed {
        method: "POST",
        path: "/",
        headers: &headers,
        body: body.as_bytes(),
        time: &time,
        region: &settings.region,
        service: "secretsmanager",
    };
    let authorization =
        authorization(&signed, &settings.credentials).map_err(|_| StoreError::Unusable("cannot sign"))?;
    let mut request = Request::builder().method(Method::POST).uri(&settings.endpoint);
    for (name, value) in &headers {
        request = request.header(*name, *value);
    }
    let request = request
        .header(AUTHORIZATION, authorization)
        .body(Full::new(Bytes::from(body)))
        .map_err(|_| StoreError::Unusable("the request cannot be written"))?;
    let (head, body) = asker.exchange(request, MAX_ANSWER).await?.into_parts();
    let status = head.status;
    let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
    match status {
        StatusCode::OK => match answer.get("SecretString") {
            Some(Value::String(text)) => Ok(Value::String(text.clone())),
            _ => Err(StoreError::Unusable("it has no text (SecretString)")),
        },
        // `__type` is a word of the API, possibly behind a namespace and `#`
        _ => {
            let kind = answer.get("__type").and_then(Value::as_str).unwrap_or_default();
            let kind = kind.rsplit('#').next().unwrap_or_default();
            Err(match kind {
                "ResourceNotFoundException" => StoreError::Missing,
                _ if kind.len() < 64 && kind.bytes().all(|b| b.is_ascii_alphanumeric()) => {
                    StoreError::Refused(status, kind.to_owned())
                }
                _ => StoreError::Refused(status, String::new()),
            })
        }
    }
}
