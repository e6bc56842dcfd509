//! The main job, end to end.

use serde_json::json;

use crate::support::{Gateway, Keys, Origin, h2};

/// Routes on an origin: liens with a scope, a POST, and a public probe.
pub fn routes(origin: &Origin) -> String {
    format!(
        "upstreams:\n  vehicles: {{ targets: [\"{}\"] }}\n\
         routes:\n\
         \x20 - match: {{ methods: [GET], path: \"/v1/vehicles/{{vin}}/liens\" }}\n\
         \x20   auth: {{ jwt: main, scopes: [\"read:lien_info\"] }}\n\
         \x20   upstream: vehicles\n\
         \x20 - match: {{ methods: [GET], path: /healthz }}\n\
         \x20   public: {{ reason: \"load balancer probe\", owner: platform }}\n\
         \x20   upstream: vehicles\n",
        origin.address
    )
}

// S35, S46, S63
#[test]
fn a_client_with_a_token_reaches_the_service_and_everybody_else_is_told_why_not() {
    let (origin, keys) = (Origin::start(), Keys::new("k1"));
    let gateway = Gateway::start(&(keys.inline() + &routes(&origin)));
    let client = gateway.client();
    let path = "/v1/vehicles/1HG/liens";

    let answer = client.get_with(path, &keys.token(json!({})));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(origin.only().header("x-user-id"), Some("ada"));

    for (answer, status, code) in [
        (client.get(path, &[]), 401, "credentials_missing"),
        (client.get_with(path, "a.b.c"), 401, "invalid_token"),
        (
            client.get_with(path, &keys.token(json!({ "scope": "other" }))),
            403,
            "insufficient_scope",
        ),
        (client.get("/other", &[]), 404, "route_unknown"),
        (client.request("DELETE", path, &[], ""), 405, "method_not_allowed"),
    ] {
        assert_eq!((answer.status, answer.code().as_str()), (status, code));
    }
    assert_eq!(origin.seen().len(), 1, "a refused request reached the origin");

    let answer = h2::get(gateway.https, &gateway.authority, "/healthz", &[]);
    assert_eq!(answer.status, 200);
    let record = gateway.record(answer.header("x-request-id").unwrap());
    assert_eq!(record["auth.public.owner"], "platform");
}
