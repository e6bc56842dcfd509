//! One entry for several tenants of a provider, and the shapes of tokens that common providers issue (S57, U4).

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::support::gateway::{Start, check};
use crate::support::issuer::AUDIENCE;
use crate::support::{Answer, Folder, Gateway, Keys, Origin, Reply, eventually};

/// A provider with these tenants: `/TENANT/v2.0` is an issuer with metadata and keys of its own.
struct Provider {
    origin: Origin,
    /// Tenants whose keys cannot be had.
    broken: Arc<Mutex<BTreeSet<String>>>,
}

impl Provider {
    fn start(tenants: &[(&str, &Keys)]) -> Provider {
        let sets: Vec<(String, String)> = tenants
            .iter()
            .map(|(tenant, keys)| ((*tenant).to_owned(), keys.jwks()))
            .collect();
        let broken = Arc::new(Mutex::new(BTreeSet::new()));
        let is_broken = broken.clone();
        let origin = Origin::answering(move |seen| {
            let own = format!("http://{}", seen.header("host").unwrap());
            let (tenant, rest) = seen.target[1..].split_once('/').unwrap_or_default();
            let set = sets.iter().find(|(known, _)| known == tenant);
            let Some((_, set)) = set.filter(|_| !is_broken.lock().unwrap().contains(tenant)) else {
                return Reply::new(404, &[], "");
            };
            match rest {
                "v2.0/.well-known/openid-configuration" => json_reply(
                    &json!({ "issuer": format!("{own}/{tenant}/v2.0"), "jwks_uri": format!("{own}/{tenant}/keys") })
                        .to_string(),
                ),
                "keys" => json_reply(set),
                _ => Reply::new(404, &[], ""),
            }
        });
        Provider { origin, broken }
    }

    fn issuer(&self, tenant: &str) -> String {
        format!("http://{}/{tenant}/v2.0", self.origin.address)
    }

    /// A gateway that takes tokens of these tenants; `/contoso` takes those of one.
    fn gateway(&self, tenants: &str, service: &Origin) -> Start {
        Gateway::with(&format!(
            "issuers:\n  entra: {{ issuer: \"{}\", tenants: {tenants}, audiences: [{AUDIENCE}], discovery: true }}\n\
             identity_headers: {{ inject: {{ X-User-Id: subject, X-Issuer: issuer, X-Tenant: tenant }} }}\n\
             limits: {{ each: {{ rate: 3/m, key: [issuer, subject] }} }}\n\
             upstreams: {{ o: {{ targets: [\"{}\"] }} }}\n\
             routes:\n\
             \x20 - {{ match: {{ methods: [GET], path: / }}, auth: {{ jwt: entra }}, upstream: o }}\n\
             \x20 - {{ match: {{ methods: [GET], path: /contoso }}, auth: {{ jwt: entra/contoso }}, upstream: o }}\n\
             \x20 - {{ match: {{ methods: [GET], path: /limited }}, auth: {{ jwt: entra }}, limits: [each], upstream: o }}\n",
            self.issuer("{tenant}"),
            service.address
        ))
    }
}

fn json_reply(text: &str) -> Reply {
    Reply::new(200, &[("Content-Type", "application/json")], text)
}

fn reason(gateway: &Gateway, answer: &Answer) -> String {
    let record = gateway.record(answer.header("x-request-id").unwrap());
    record["error.type"].as_str().unwrap_or("none").to_owned()
}

// S57, U4: the two tenants name their keys alike
#[test]
fn each_tenant_is_an_issuer_of_its_own_with_keys_of_its_own() {
    let (contoso, fabrikam, evil) = (Keys::new("1"), Keys::new("1"), Keys::new("1"));
    let provider = Provider::start(&[("contoso", &contoso), ("fabrikam", &fabrikam), ("evil", &evil)]);
    let service = Origin::start();
    let gateway = provider.gateway("[contoso, fabrikam]", &service).start();
    let client = gateway.client();
    let of = |tenant: &str| json!({ "iss": provider.issuer(tenant) });
    for (tenant, keys) in [("contoso", &contoso), ("fabrikam", &fabrikam)] {
        let answer = client.get_with("/", &keys.token(of(tenant)));
        assert_eq!(answer.status, 200, "{tenant}: {}", answer.text());
        let record = gateway.record(answer.header("x-request-id").unwrap());
        let name = format!("entra/{tenant}");
        assert_eq!(record["durward.issuer"], *name);
        let seen = service.seen().pop().unwrap();
        assert_eq!(seen.header("x-issuer"), Some(&*name));
        assert_eq!(seen.header("x-tenant"), Some(tenant));
    }
    assert_eq!(
        client.get_with("/contoso", &contoso.token(of("contoso"))).status,
        200
    );
    let passed = service.seen().len();
    let address = provider.origin.address;
    let spelled = |iss: &str| contoso.token(json!({ "iss": iss }));
    for (what, path, token, expected) in [
        // whoever has a tenant, or its keys, has no other
        (
            "another's key",
            "/",
            contoso.token(of("fabrikam")),
            "signature_invalid",
        ),
        (
            "another's key",
            "/",
            fabrikam.token(of("contoso")),
            "signature_invalid",
        ),
        (
            "a tenant of the attacker's",
            "/",
            evil.token(of("evil")),
            "issuer_unknown",
        ),
        (
            "its key for ours",
            "/",
            evil.token(of("contoso")),
            "signature_invalid",
        ),
        (
            "not on this route",
            "/contoso",
            fabrikam.token(of("fabrikam")),
            "issuer_not_for_route",
        ),
        (
            "the template itself",
            "/",
            spelled(&provider.issuer("{tenant}")),
            "issuer_unknown",
        ),
        ("no tenant", "/", spelled(&provider.issuer("")), "issuer_unknown"),
        (
            "another case",
            "/",
            spelled(&provider.issuer("Contoso")),
            "issuer_unknown",
        ),
        (
            "two tenants",
            "/",
            spelled(&provider.issuer("contoso/fabrikam")),
            "issuer_unknown",
        ),
        (
            "a way around",
            "/",
            spelled(&provider.issuer("evil/../contoso")),
            "issuer_unknown",
        ),
        (
            "encoded",
            "/",
            spelled(&provider.issuer("c%6fntoso")),
            "issuer_unknown",
        ),
        (
            "more behind it",
            "/",
            spelled(&format!("{}/", provider.issuer("contoso"))),
            "issuer_unknown",
        ),
        (
            "more before it",
            "/",
            spelled(&format!("http://evil@{address}/contoso/v2.0")),
            "issuer_unknown",
        ),
        (
            "for somebody else",
            "/",
            contoso.token(json!({ "iss": provider.issuer("contoso"), "aud": "other" })),
            "audience_mismatch",
        ),
    ] {
        let answer = client.get_with(path, &token);
        assert_eq!(
            (answer.status, reason(&gateway, &answer).as_str()),
            (401, expected),
            "{what}"
        );
    }
    assert_eq!(service.seen().len(), passed, "a refused request goes nowhere");
    let asked: Vec<String> = provider
        .origin
        .seen()
        .into_iter()
        .map(|seen| seen.target)
        .collect();
    assert!(
        !asked.iter().any(|target| target.contains("evil")),
        "nobody asks for other tenants: {asked:?}"
    );
}

// S57, U2, U3: each tenant has its own trouble, and label
#[test]
fn one_tenant_without_keys_is_not_the_others_trouble() {
    let (contoso, fabrikam) = (Keys::new("c"), Keys::new("f"));
    let provider = Provider::start(&[("contoso", &contoso), ("fabrikam", &fabrikam)]);
    provider.broken.lock().unwrap().insert("fabrikam".to_owned());
    let service = Origin::start();
    let gateway = provider.gateway("[contoso, fabrikam]", &service).start();
    let client = gateway.client();
    let of = |tenant: &str| json!({ "iss": provider.issuer(tenant) });
    assert_eq!(client.get_with("/", &contoso.token(of("contoso"))).status, 200);
    let answer = client.get_with("/", &fabrikam.token(of("fabrikam")));
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "identity_provider_unavailable")
    );
    assert_eq!(
        gateway.admin("/readyz").status,
        200,
        "{}",
        gateway.admin("/readyz").text()
    );
    let metrics = gateway.admin("/metrics").text();
    for line in [
        "durward_jwks_usable{issuer=\"entra/contoso\"} 1",
        "durward_jwks_usable{issuer=\"entra/fabrikam\"} 0",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    // a flood of unknown keys of one tenant asks for nothing of the other's
    let before = provider.origin.seen().len();
    for n in 0..10 {
        let token = Keys {
            kid: format!("k{n}"),
            ..fabrikam.clone()
        }
        .token(of("fabrikam"));
        assert_eq!(client.get_with("/", &token).status, 503);
    }
    let asked = provider.origin.seen();
    assert!(
        asked[before..]
            .iter()
            .all(|seen| seen.target.contains("/fabrikam/"))
    );
}

// U2: without any keys there is nobody to serve
#[test]
fn a_provider_without_keys_for_any_tenant_is_missed() {
    let keys = Keys::new("1");
    let provider = Provider::start(&[("contoso", &keys), ("fabrikam", &keys)]);
    provider
        .broken
        .lock()
        .unwrap()
        .extend(["contoso".to_owned(), "fabrikam".to_owned()]);
    let gateway = provider.gateway("[contoso, fabrikam]", &Origin::start()).start();
    let failing = gateway.admin("/readyz");
    assert_eq!(failing.status, 503);
    let failing = failing.json()["failing"].clone();
    let issuers: Vec<&str> = failing
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|one| one["issuer"].as_str())
        .collect();
    assert_eq!(issuers, ["entra/contoso", "entra/fabrikam"]);
}

// S57, U13: a tenant that is struck off is out at once, whatever is remembered of its tokens
#[test]
fn a_tenant_that_is_no_longer_listed_is_refused_after_a_reload() {
    let (contoso, fabrikam) = (Keys::new("c"), Keys::new("f"));
    let provider = Provider::start(&[("contoso", &contoso), ("fabrikam", &fabrikam)]);
    let gateway = provider.gateway("[contoso, fabrikam]", &Origin::start()).start();
    let client = gateway.client();
    let token = |keys: &Keys, tenant: &str| keys.token(json!({ "iss": provider.issuer(tenant) }));
    let (stays, goes) = (token(&fabrikam, "fabrikam"), token(&contoso, "contoso"));
    assert_eq!(client.get_with("/", &goes).status, 200);
    assert_eq!(client.get_with("/", &stays).status, 200);
    let file = gateway.folder.0.join("durward.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text
        .replace("[contoso, fabrikam]", "[fabrikam]")
        .replace("entra/contoso", "entra/fabrikam");
    gateway.folder.write("durward.yaml", text);
    gateway.signal("HUP");
    let refused = eventually("the tenant is out", || {
        Some(client.get_with("/", &goes)).filter(|answer| answer.status != 200)
    });
    assert_eq!(
        (refused.status, reason(&gateway, &refused).as_str()),
        (401, "issuer_unknown")
    );
    let fetches = provider.origin.seen().len();
    assert_eq!(client.get_with("/", &stays).status, 200);
    assert_eq!(
        provider.origin.seen().len(),
        fetches,
        "the other's keys were kept"
    );
}

// S57, S69, U25: who is who is a matter of the tenant
#[test]
fn limits_and_the_deny_list_know_tenants() {
    let (contoso, fabrikam) = (Keys::new("c"), Keys::new("f"));
    let provider = Provider::start(&[("contoso", &contoso), ("fabrikam", &fabrikam)]);
    let start = provider.gateway("[contoso, fabrikam]", &Origin::start());
    let gateway = start
        .replacing(
            "limits: { each",
            "revocation: { file: revoked.txt }\nlimits: { each",
        )
        .file("revoked.txt", "sub entra/contoso bob\nsub entra eve\n")
        .start();
    let client = gateway.client();
    let token = |keys: &Keys, tenant: &str, sub: &str| {
        keys.token(json!({ "iss": provider.issuer(tenant), "sub": sub }))
    };
    for (sub, of_contoso, of_fabrikam) in [("ada", 200, 200), ("bob", 401, 200), ("eve", 401, 401)] {
        let answers = [
            client.get_with("/", &token(&contoso, "contoso", sub)),
            client.get_with("/", &token(&fabrikam, "fabrikam", sub)),
        ];
        assert_eq!(
            answers.map(|answer| answer.status),
            [of_contoso, of_fabrikam],
            "{sub}"
        );
    }
    let (of_contoso, of_fabrikam) = (
        token(&contoso, "contoso", "ada"),
        token(&fabrikam, "fabrikam", "ada"),
    );
    for expected in [200, 200, 200, 429] {
        assert_eq!(client.get_with("/limited", &of_contoso).status, expected);
    }
    assert_eq!(
        client.get_with("/limited", &of_fabrikam).status,
        200,
        "the same name, another person"
    );
}

/// Tenants of Microsoft Entra are named by GUIDs.
const OURS: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";
const THEIRS: &str = "f8cdef31-a31e-4b4a-93e4-5f571e91255a";
/// That of personal accounts.
const CONSUMERS: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";

fn entra(tenant: &str) -> String {
    format!("https://login.microsoftonline.com/{tenant}/v2.0")
}

// S57, U4: the set that Microsoft Entra publishes for all tenants, in which keys say whose they are
#[test]
fn in_a_set_that_tenants_share_a_key_counts_for_whom_it_names() {
    let [any, consumers, silent, elsewhere] = ["any", "consumers", "silent", "elsewhere"].map(Keys::new);
    // two keys of one name: the one that is not for us comes first
    let twin = Keys::new("any");
    let issued = |keys: &Keys, issuer: &str| {
        let mut jwk = keys.jwk();
        jwk["issuer"] = issuer.into();
        jwk["cloud_instance_name"] = "microsoftonline.com".into();
        jwk
    };
    let set = json!({ "keys": [
        issued(&twin, &entra(CONSUMERS)),
        issued(&any, &entra("{tenantid}")),
        issued(&consumers, &entra(CONSUMERS)),
        silent.jwk(),
        issued(&elsewhere, "https://login.microsoftonline.us/{tenantid}/v2.0"),
    ] })
    .to_string();
    let keys = Origin::answering(move |_| json_reply(&set));
    let gateway = Gateway::start(&format!(
        "issuers:\n  entra: {{ issuer: \"{}\", tenants: [\"{OURS}\", \"{CONSUMERS}\"], audiences: [{AUDIENCE}], \
         jwks: {{ url: \"http://{}/common/discovery/v2.0/keys\" }} }}\n\
         routes: [{{ match: {{ methods: [GET], path: / }}, auth: {{ jwt: entra }}, respond: 200 }}]\n",
        entra("{tenant}"),
        keys.address
    ));
    let client = gateway.client();
    for (keys, tenant, expected) in [
        (&any, OURS, "none"),
        (&consumers, CONSUMERS, "none"),
        (&twin, CONSUMERS, "none"),
        (&any, CONSUMERS, "none"),
        (&any, THEIRS, "issuer_unknown"),
        (&consumers, OURS, "key_issuer"),
        (&twin, OURS, "signature_invalid"),
        (&silent, OURS, "key_issuer"),
        (&elsewhere, OURS, "key_issuer"),
    ] {
        let token = keys.token(json!({ "iss": entra(tenant), "tid": tenant }));
        let answer = client.get_with("/", &token);
        let status = if expected == "none" { 200 } else { 401 };
        assert_eq!(
            (answer.status, reason(&gateway, &answer).as_str()),
            (status, expected),
            "{} for {tenant}: {}",
            keys.kid,
            gateway.messages()
        );
    }
}

// S57, U18: claims as Keycloak, Microsoft Entra and Google write them
#[test]
fn tokens_of_common_providers_say_who_and_what() {
    let keys = Keys::new("k");
    let inline = keys.jwks();
    let mut of_entra = keys.jwk();
    of_entra["issuer"] = entra("{tenantid}").into();
    let of_entra = json!({ "keys": [of_entra] });
    let service = Origin::start();
    let gateway = Gateway::start(&format!(
        "issuers:\n\
         \x20 keycloak: {{ issuer: \"https://sso.example/realms/{{tenant}}\", tenants: [staff], audiences: [{AUDIENCE}], jwks: {{ inline: '{}' }} }}\n\
         \x20 entra: {{ issuer: \"{}\", tenants: [\"{OURS}\"], audiences: [\"api://vehicles\"], jwks: {{ inline: '{of_entra}' }}, claims: {{ subject: oid }} }}\n\
         \x20 google: {{ issuer: \"https://accounts.google.com\", audiences: [vehicles.apps.googleusercontent.com], jwks: {{ inline: '{inline}' }} }}\n\
         identity_headers: {{ inject: {{ X-User-Id: subject, X-Roles: roles, X-Scopes: scopes, X-Client: client_id, X-Tenant: tenant }} }}\n\
         roles: {{ clerk: [vehicle-clerk, Vehicles.Read] }}\n\
         upstreams: {{ o: {{ targets: [\"{}\"] }} }}\n\
         routes:\n\
         \x20 - {{ match: {{ methods: [GET], path: / }}, auth: {{ jwt: [keycloak, entra, google] }}, upstream: o }}\n\
         \x20 - {{ match: {{ methods: [GET], path: /clerks }}, auth: {{ jwt: [keycloak, entra, google], scopes: [vehicles.read], roles: [clerk] }}, upstream: o }}\n",
        json!({ "keys": [{ "issuer": "https://sso.example/realms/staff", "kty": "RSA", "kid": "k", "alg": "RS256", "use": "sig",
            "n": keys.jwk()["n"], "e": keys.jwk()["e"] }] }),
        entra("{tenant}"),
        service.address
    ));
    let token = |claims: Value| {
        let times =
            json!({ "iat": crate::support::issuer::now(), "exp": crate::support::issuer::now() + 300 });
        let mut claims = claims;
        claims
            .as_object_mut()
            .unwrap()
            .extend(times.as_object().unwrap().clone());
        keys.sign(&json!({ "alg": "RS256", "typ": "JWT", "kid": "k" }), &claims)
    };
    let of_keycloak = token(json!({
        "iss": "https://sso.example/realms/staff", "aud": [AUDIENCE, "account"], "sub": "5f1c2c4e-9b43", "typ": "Bearer",
        "azp": "portal", "session_state": "8c2f", "acr": "1", "allowed-origins": ["https://app.example"],
        "realm_access": { "roles": ["offline_access", "vehicle-clerk"] },
        "resource_access": { "account": { "roles": ["view-profile"] } },
        "scope": "openid vehicles.read", "preferred_username": "ada",
    }));
    let of_entra = token(json!({
        "iss": entra(OURS), "aud": "api://vehicles", "sub": "pairwise", "oid": "00000000-0000-0000-66f3-3332eca7ea81",
        "tid": OURS, "azp": "6731de76-14a6-49ae-97bc-6eba6914391e", "azpacr": "0", "ver": "2.0", "nbf": crate::support::issuer::now(),
        "scp": "vehicles.read vehicles.write", "roles": ["Vehicles.Read"], "aio": "x", "rh": "y", "uti": "z",
    }));
    let of_google = token(json!({
        "iss": "https://accounts.google.com", "aud": "vehicles.apps.googleusercontent.com",
        "azp": "vehicles.apps.googleusercontent.com", "sub": "110169484474386276334", "email": "ada@example.com",
        "email_verified": true, "at_hash": "HK6E_P6Dh8Y93mRNtsDB1Q", "hd": "example.com",
    }));
    let client = gateway.client();
    for (token, who, roles, scopes, azp, tenant) in [
        (
            &of_keycloak,
            "5f1c2c4e-9b43",
            "offline_access,vehicle-clerk",
            "openid,vehicles.read",
            "portal",
            Some("staff"),
        ),
        (
            &of_entra,
            "00000000-0000-0000-66f3-3332eca7ea81",
            "Vehicles.Read",
            "vehicles.read,vehicles.write",
            "6731de76-14a6-49ae-97bc-6eba6914391e",
            Some(OURS),
        ),
        (
            &of_google,
            "110169484474386276334",
            "",
            "",
            "vehicles.apps.googleusercontent.com",
            None,
        ),
    ] {
        let answer = client.get_with("/", token);
        assert_eq!(
            answer.status,
            200,
            "{}: {}",
            answer.text(),
            reason(&gateway, &answer)
        );
        let seen = service.seen().pop().unwrap();
        let said = ["x-user-id", "x-roles", "x-scopes", "x-client"]
            .map(|name| seen.header(name).unwrap_or_default());
        assert_eq!(said, [who, roles, scopes, azp]);
        assert_eq!(seen.header("x-tenant"), tenant);
    }
    assert_eq!(client.get_with("/clerks", &of_keycloak).status, 200);
    assert_eq!(client.get_with("/clerks", &of_entra).status, 200);
    let answer = client.get_with("/clerks", &of_google);
    assert_eq!(
        (answer.status, reason(&gateway, &answer).as_str()),
        (403, "scope_missing")
    );
    // Google's issuer has no slash at its end, and no other spelling
    let other = token(
        json!({ "iss": "https://accounts.google.com/", "aud": "vehicles.apps.googleusercontent.com", "sub": "1" }),
    );
    let answer = client.get_with("/", &other);
    assert_eq!(
        (answer.status, reason(&gateway, &answer).as_str()),
        (401, "issuer_unknown")
    );
}

fn checked(issuers: &str, auth: &str) -> (bool, String) {
    let folder = Folder::new();
    folder.write("keys.json", Keys::new("k").jwks());
    let yaml = format!(
        "version: 1\nlisteners: [{{ address: \"127.0.0.1:1\", plaintext: {{ reason: test }} }}]\nissuers:\n{issuers}\
         routes: [{{ match: {{ methods: [GET], path: / }}, auth: {{ {auth} }}, respond: 200 }}]\n"
    );
    check(&folder, &yaml)
}

// S57, U4, U14: what would take more tenants than somebody meant is not taken
#[test]
fn tenants_are_a_list_and_stand_where_they_differ() {
    let entra = |more: &str| format!("  entra: {{ audiences: [{AUDIENCE}], {more} }}\n");
    let template = "issuer: \"https://id.example/{tenant}/v2.0\"";
    let long = "x".repeat(129);
    let many: Vec<String> = (0..257).map(|n| format!("t{n}")).collect();
    for (issuers, expected) in [
        (entra(&format!("{template}, discovery: true")), "`{tenant}` stands for nothing"),
        (entra(&format!("{template}, tenants: [], discovery: true")), "there is no tenant"),
        (entra(&format!("{template}, tenants: [\"*\"], discovery: true")), "`*` cannot be a tenant"),
        (entra(&format!("{template}, tenants: [\"a/b\"], discovery: true")), "`a/b` cannot be a tenant"),
        (entra(&format!("{template}, tenants: [\"..\"], discovery: true")), "`..` cannot be a tenant"),
        (entra(&format!("{template}, tenants: [\"%61\"], discovery: true")), "`%61` cannot be a tenant"),
        (entra(&format!("{template}, tenants: [\"\"], discovery: true")), "`` cannot be a tenant"),
        (entra(&format!("{template}, tenants: [{long}], discovery: true")), "cannot be a tenant"),
        (entra(&format!("{template}, tenants: [a, b, a], discovery: true")), "`a` is listed twice"),
        (entra(&format!("{template}, tenants: [{}], discovery: true", many.join(", "))), "more than 256 tenants"),
        (
            entra("issuer: \"https://id.example/v2.0\", tenants: [a, b], discovery: true"),
            "is the same for all tenants",
        ),
        (
            entra("issuer: \"https://id.example/{tenantid}/v2.0\", discovery: true"),
            "holds a brace",
        ),
        (
            entra("issuer: \"https://id.example/{tenant}/{version}\", tenants: [a], discovery: true"),
            "holds a brace",
        ),
        (
            entra(&format!("{template}, tenants: [a], discovery: \"https://id.example/common/metadata\"")),
            "metadata that are the same for all tenants",
        ),
        (
            entra(&format!("{template}, tenants: [a], jwks: {{ file: keys.json }}")),
            "no key of the set is one of `https://id.example/a/v2.0`",
        ),
        (
            entra(&format!(
                "{template}, tenants: [a], introspection: {{ url: \"https://id.example/\", client_id: us, client_secret: \"${{env:PATH}}\" }}"
            )),
            "does not say which tenant to ask",
        ),
        (
            format!(
                "{}  \"entra/a\": {{ issuer: \"https://other.example/\", audiences: [{AUDIENCE}], discovery: true }}\n",
                entra(&format!("{template}, tenants: [a], discovery: true"))
            ),
            "`entra/a` is the name of another issuer",
        ),
        (
            format!(
                "{}  other: {{ issuer: \"https://id.example/a/v2.0\", audiences: [{AUDIENCE}], discovery: true }}\n",
                entra(&format!("{template}, tenants: [a], discovery: true"))
            ),
            "is the issuer of `entra/a` already",
        ),
        (
            "  entra: { issuer: \"https://id.example/\", audiences: [\"api://{tenant}\"], discovery: true }\n".to_owned(),
            "`{tenant}` stands for nothing",
        ),
    ] {
        let (is_good, said) = checked(&issuers, "jwt: entra");
        assert!(!is_good && said.contains(expected), "{issuers}: {said}");
    }
    let good = entra(&format!("{template}, tenants: [a, b], discovery: true"));
    for (auth, expected) in [
        ("jwt: entra/c", "unknown issuer `entra/c`"),
        ("introspection: entra", "does not say which tenant"),
    ] {
        let (is_good, said) = checked(&good, auth);
        assert!(!is_good && said.contains(expected), "{auth}: {said}");
    }
    for auth in ["jwt: entra", "jwt: entra/b", "jwt: [entra/a, entra]"] {
        assert_eq!(checked(&good, auth), (true, String::new()), "{auth}");
    }
}

// S57, M6: what is described is of one tenant; keys at hand may be of all
#[test]
fn described_tokens_are_of_a_tenant() {
    let (folder, keys) = (Folder::new(), Keys::new("k"));
    folder.write("keys.json", keys.jwks());
    let real = keys.token(json!({ "iss": "https://id.example/b/v2.0" }));
    let config = |issuer: &str| {
        format!(
            "version: 1\nlisteners: [{{ address: \"127.0.0.1:1\", plaintext: {{ reason: test }} }}]\n\
             issuers: {{ entra: {{ issuer: \"https://id.example/{{tenant}}/v2.0\", tenants: [a, b], audiences: [{AUDIENCE}], discovery: true }} }}\n\
             routes:\n\
             \x20 - {{ match: {{ methods: [GET], path: / }}, auth: {{ jwt: entra }}, respond: 200 }}\n\
             \x20 - {{ match: {{ methods: [GET], path: /a }}, auth: {{ jwt: entra/a }}, respond: 200 }}\n\
             tests:\n\
             \x20 - {{ name: one, request: {{ method: GET, url: \"https://x.example/\", token: {{ issuer: {issuer} }} }}, expect: allow }}\n\
             \x20 - {{ name: two, request: {{ method: GET, url: \"https://x.example/a\", token: {{ issuer: entra/b }} }}, expect: issuer_not_for_route }}\n\
             \x20 - {{ name: real, request: {{ method: GET, url: \"https://x.example/\", at: \"{}\", keys: {{ entra: keys.json }}, headers: {{ Authorization: \"Bearer {real}\" }} }}, expect: allow }}\n",
            jiff::Timestamp::now()
        )
    };
    let file = folder.write("durward.yaml", config("entra/a"));
    let output = crate::support::gateway::binary()
        .args(["test", "-c", &file])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && said.contains("3 tests, 0 failed"),
        "{said}"
    );
    let (is_good, said) = check(&folder, &config("entra"));
    assert!(
        !is_good && said.contains("`entra` has tenants, and a token is of one"),
        "{said}"
    );
    assert!(said.contains("`entra/a`"), "{said}");
}
