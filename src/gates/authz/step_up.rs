//! How, and how long ago, the caller has logged in (S58, RFC 9470): in which class, with which methods, and when.
//!
//! A token that falls short is a good one all the same, and its holder can get a better one: so it is answered with 401 and
//! a challenge that says what is asked for, and not with 403.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::list;
use crate::clock::UnixTime;
use crate::denial::{Denial, Short, Verdict};
use crate::gates::authn::claims::ClaimPath;
use crate::gates::authn::jwt::DEFAULT_CLOCK_SKEW;
use crate::identity::Client;

/// What a log-in has to be like. All that is named must hold; what a token does not say does not.
#[derive(Debug, Clone)]
pub struct StepUp {
    /// One of these classes (`acr`), the preferred first; empty: any.
    acr: Box<[Box<str>]>,
    /// All of these methods (`amr`, RFC 8176).
    amr: Box<[Box<str>]>,
    /// At most so long ago (`auth_time`).
    max_age: Option<Duration>,
    /// Parameters of the challenge.
    asks: Arc<str>,
    acr_path: ClaimPath,
    amr_path: ClaimPath,
}

impl StepUp {
    /// `acr` has to be of visible ASCII without `"` and `\`.
    #[must_use]
    pub fn new(acr: &[String], amr: &[String], max_age: Option<Duration>) -> StepUp {
        let boxed = |texts: &[String]| texts.iter().map(|text| text.as_str().into()).collect();
        let mut asks = String::new();
        if !acr.is_empty() {
            asks = format!(", acr_values=\"{}\"", acr.join(" "));
        }
        if let Some(age) = max_age {
            asks += &format!(", max_age=\"{}\"", age.as_secs());
        }
        StepUp {
            acr: boxed(acr),
            amr: boxed(amr),
            max_age,
            asks: asks.into(),
            acr_path: ClaimPath::of("acr"),
            amr_path: ClaimPath::of("amr"),
        }
    }

    /// Asks of a verified client, for this moment.
    ///
    /// # Errors
    /// [`Denial::StepUp`], with the first that falls short.
    pub fn check(&self, client: &Client, now: UnixTime) -> Verdict {
        let denied = |why| Err(Denial::StepUp(why, self.asks.clone(), client.scheme()));
        let claims = &client.claims;
        if !self.acr.is_empty() {
            let class = claims.text(&self.acr_path).ok().flatten();
            if !class.is_some_and(|class| self.acr.iter().any(|asked| **asked == *class)) {
                return denied(Short::Class);
            }
        }
        if !self.amr.is_empty() {
            let methods = claims.value(&self.amr_path).ok().flatten();
            let used = |asked: &str| match methods {
                Some(Value::String(method)) => method == asked,
                // a list with something else in it is not one that we can read (U18)
                Some(Value::Array(methods)) => {
                    methods.iter().all(Value::is_string)
                        && methods.iter().any(|method| method.as_str() == Some(asked))
                }
                _ => false,
            };
            if !self.amr.iter().all(|asked| used(asked)) {
                return denied(Short::Methods);
            }
        }
        if let Some(max_age) = self.max_age {
            let time = claims.date("auth_time").ok().flatten();
            let latest = now.saturating_add(DEFAULT_CLOCK_SKEW);
            if !time.is_some_and(|time| time <= latest && now.saturating_since(time) <= max_age) {
                return denied(Short::Age);
            }
        }
        Ok(())
    }

    /// Each with one thing less, and what that is; nothing where it is the only one.
    #[must_use]
    pub fn looser(&self) -> Vec<(String, StepUp)> {
        let owned = |texts: &[Box<str>]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        let (acr, amr) = (owned(&self.acr), owned(&self.amr));
        let mut looser = Vec::new();
        if !acr.is_empty() {
            looser.push(("its acr".to_owned(), StepUp::new(&[], &amr, self.max_age)));
        }
        for (position, method) in amr.iter().enumerate() {
            let mut rest = amr.clone();
            rest.remove(position);
            looser.push((format!("amr {method}"), StepUp::new(&acr, &rest, self.max_age)));
        }
        if self.max_age.is_some() {
            looser.push(("its max_age".to_owned(), StepUp::new(&acr, &amr, None)));
        }
        if looser.len() == 1 {
            looser.clear();
        }
        looser
    }
}

impl fmt::Display for StepUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("asks for a log-in")?;
        if !self.acr.is_empty() {
            f.write_str(" of class ")?;
            list(f, &*self.acr)?;
        }
        if !self.amr.is_empty() {
            f.write_str(" by ")?;
            list(f, &*self.amr)?;
        }
        match self.max_age {
            Some(age) => write!(f, " at most {} s ago", age.as_secs()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::gates::authn::tests::{NOW, NOW_SECONDS, client_with};

    const AGE: u64 = 300;

    // S58, M14: every combination of what is asked for and what holds
    #[test]
    fn all_that_is_asked_for_must_hold_and_the_first_that_does_not_is_named() {
        for bits in 0..64_u32 {
            let bit = |n: u32| bits >> n & 1 == 1;
            let (asks_acr, asks_amr, asks_age) = (bit(0), bit(1), bit(2));
            let (has_acr, has_amr, has_age) = (bit(3), bit(4), bit(5));
            let only = |asked: bool, texts: &[&str]| -> Vec<String> {
                texts
                    .iter()
                    .filter(|_| asked)
                    .map(|text| (*text).to_owned())
                    .collect()
            };
            let step_up = StepUp::new(
                &only(asks_acr, &["gold", "silver"]),
                &only(asks_amr, &["pwd", "hwk"]),
                asks_age.then_some(Duration::from_secs(AGE)),
            );
            let client = client_with(json!({
                "acr": if has_acr { "silver" } else { "bronze" },
                "amr": if has_amr { json!(["hwk", "user", "pwd"]) } else { json!(["pwd"]) },
                "auth_time": NOW_SECONDS - if has_age { AGE } else { AGE + 1 },
            }));
            let expected = if asks_acr && !has_acr {
                Err(Short::Class)
            } else if asks_amr && !has_amr {
                Err(Short::Methods)
            } else if asks_age && !has_age {
                Err(Short::Age)
            } else {
                Ok(())
            };
            let found = step_up.check(&client, NOW).map_err(|denial| match denial {
                Denial::StepUp(why, ..) => why,
                other => panic!("{other:?}"),
            });
            assert_eq!(found, expected, "{bits:06b}");
        }
    }

    // U18: nothing is guessed
    #[test]
    fn what_is_not_said_or_cannot_be_read_does_not_hold() {
        let acr = StepUp::new(&["gold".to_owned()], &[], None);
        let amr = StepUp::new(&[], &["mfa".to_owned()], None);
        let age = StepUp::new(&[], &[], Some(Duration::from_secs(AGE)));
        let cases: [(&StepUp, &str, &[Value]); 3] = [
            (
                &acr,
                "acr",
                &[json!(null), json!(["gold"]), json!("Gold"), json!("gold silver")],
            ),
            (
                &amr,
                "amr",
                &[
                    json!(null),
                    json!("pwd mfa"),
                    json!(["mfa", 1]),
                    json!({ "mfa": true }),
                ],
            ),
            (
                &age,
                "auth_time",
                &[
                    json!(null),
                    json!(NOW_SECONDS.to_string()),
                    json!(NOW_SECONDS + 31),
                    json!(0),
                ],
            ),
        ];
        for (step_up, name, values) in cases {
            for value in values {
                let client = client_with(json!({ name: value }));
                assert!(step_up.check(&client, NOW).is_err(), "{name}: {value}");
            }
        }
        for (step_up, name, value) in [
            (&amr, "amr", json!("mfa")),
            (&age, "auth_time", json!(NOW_SECONDS + 30)),
        ] {
            assert_eq!(step_up.check(&client_with(json!({ name: value })), NOW), Ok(()));
        }
    }
}
