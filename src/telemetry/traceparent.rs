//! W3C Trace Context: a trace that came in goes on, else one begins (S86).
//!
//! <https://www.w3.org/TR/trace-context/>, level 1. An identifier is taken from anybody: it says nothing that is believed.

use std::ops::Range;

use http::header::{HeaderName, HeaderValue};
use uuid::Uuid;

/// The field that a trace goes on by.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Where a request stands in its trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    /// `traceparent` for the next hop.
    value: HeaderValue,
    went_on: bool,
}

impl TraceContext {
    /// Goes on with a `traceparent`, as a new part of its trace; begins a trace where there is none, or none that is
    /// well-formed.
    #[must_use]
    pub fn next(traceparent: Option<&str>) -> TraceContext {
        let random = Uuid::new_v4().as_u128();
        let span = (random as u64) | 1;
        let came = traceparent.and_then(parse);
        let (trace, sampled) = came.unwrap_or_else(|| (Uuid::new_v4().as_u128(), false));
        TraceContext {
            value: traceparent_of(trace, span, sampled),
            went_on: came.is_some(),
        }
    }

    /// Whether the client's trace goes on.
    #[must_use]
    pub fn went_on(&self) -> bool {
        self.went_on
    }

    /// As the value of `traceparent`.
    #[must_use]
    pub fn header_value(&self) -> HeaderValue {
        self.value.clone()
    }

    /// Of the whole trace: 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> &str {
        self.part(TRACE)
    }

    /// Of our part in it: 16 hexadecimal digits.
    #[must_use]
    pub fn span_id(&self) -> &str {
        self.part(SPAN)
    }

    fn part(&self, range: Range<usize>) -> &str {
        let part = self.value.as_bytes().get(range).unwrap_or_default();
        std::str::from_utf8(part).unwrap_or_default()
    }
}

/// Places in a `traceparent`: "00-" trace "-" span "-" flags.
const TRACE: Range<usize> = 3..35;
const SPAN: Range<usize> = 36..52;
const FLAGS: Range<usize> = 53..55;

fn traceparent_of(trace: u128, span: u64, sampled: bool) -> HeaderValue {
    let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
    for (range, value) in [(TRACE, trace), (SPAN, span.into()), (FLAGS, sampled.into())] {
        let into = text.get_mut(range).unwrap_or_default();
        let digits = into.len();
        for (place, byte) in into.iter_mut().enumerate() {
            let nibble = (value >> (4 * (digits - 1 - place))) as u8 & 0xf;
            *byte = nibble + if nibble < 10 { b'0' } else { b'a' - 10 };
        }
    }
    HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static(""))
}

/// Trace id and sampled flag of a `traceparent`.
fn parse(text: &str) -> Option<(u128, bool)> {
    let mut parts = text.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |text: &str, digits: usize| {
        text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let well_formed = hex(version, 2) && hex(trace, 32) && hex(span, 16) && hex(flags, 2);
    // later versions may say more behind what they have in common; version ff is forbidden
    if !well_formed || version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let trace = u128::from_str_radix(trace, 16).ok().filter(|trace| *trace != 0)?;
    u64::from_str_radix(span, 16).ok().filter(|span| *span != 0)?;
    let flags = u8::from_str_radix(flags, 16).ok()?;
    Some((trace, flags & 1 == 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    // S86: the examples of the recommendation
    #[test]
    fn a_well_formed_trace_goes_on_and_any_other_begins_anew() {
        let came = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = TraceContext::next(Some(came));
        assert!(context.went_on());
        assert_eq!(context.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_ne!(context.span_id(), "00f067aa0ba902b7");
        let value = context.header_value();
        let expected = format!("00-{}-{}-01", context.trace_id(), context.span_id());
        assert_eq!(value, expected);
        let again = TraceContext::next(value.to_str().ok());
        assert!(again.went_on());
        assert_eq!(again.trace_id(), context.trace_id());
        assert_ne!(again.span_id(), context.span_id());
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            let context = TraceContext::next(Some(bad));
            assert!(!context.went_on(), "{bad}");
            let begun = context.header_value();
            assert!(TraceContext::next(begun.to_str().ok()).went_on(), "{begun:?}");
        }
        assert!(
            TraceContext::next(Some(
                "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what"
            ))
            .went_on()
        );
    }
}
