//! W3C Trace Context: a trace that came in goes on, else one begins (S86).
//!
//! <https://www.w3.org/TR/trace-context/>, level 1. An identifier is taken from anybody: it says nothing that is believed.

use std::fmt;

use http::HeaderValue;
use uuid::Uuid;

/// Where a request stands in its trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// Of the whole trace. Not 0.
    pub trace: u128,
    /// Of our part in it. Not 0.
    pub span: u64,
    /// Whether whoever began the trace keeps it.
    pub sampled: bool,
}

impl TraceContext {
    /// Goes on with a `traceparent`, as a new part of its trace; begins a trace where there is none, or none that is
    /// well-formed. `true`: went on.
    #[must_use]
    pub fn next(traceparent: Option<&str>) -> (TraceContext, bool) {
        let random = Uuid::new_v4().as_u128();
        let span = (random as u64) | 1;
        match traceparent.and_then(parse) {
            Some((trace, sampled)) => (TraceContext { trace, span, sampled }, true),
            None => (
                TraceContext {
                    trace: Uuid::new_v4().as_u128(),
                    span,
                    sampled: false,
                },
                false,
            ),
        }
    }

    /// As the value of `traceparent`.
    #[must_use]
    pub fn header_value(&self) -> HeaderValue {
        // "00-" trace "-" span "-" flags
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        let digits = |into: &mut [u8], value: u128| {
            for (place, byte) in into.iter_mut().rev().enumerate() {
                let nibble = (value >> (4 * place)) as u8 & 0xf;
                *byte = if nibble < 10 {
                    b'0' + nibble
                } else {
                    b'a' + nibble - 10
                };
            }
        };
        for (range, value) in [
            (3..35, self.trace),
            (36..52, self.span.into()),
            (53..55, self.sampled.into()),
        ] {
            if let Some(into) = text.get_mut(range) {
                digits(into, value);
            }
        }
        HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static(""))
    }

    /// The trace id in a `traceparent` of ours: 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id_in(traceparent: &str) -> Option<&str> {
        traceparent.get(3..35)
    }

    /// The span id in a `traceparent` of ours: 16 hexadecimal digits.
    #[must_use]
    pub fn span_id_in(traceparent: &str) -> Option<&str> {
        traceparent.get(36..52)
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "00-{:032x}-{:016x}-{:02x}",
            self.trace,
            self.span,
            u8::from(self.sampled)
        )
    }
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
        let (context, went_on) = TraceContext::next(Some(came));
        assert!(went_on && context.sampled);
        let text = context.to_string();
        assert_eq!(
            TraceContext::trace_id_in(&text),
            Some("4bf92f3577b34da6a3ce929d0e0e4736")
        );
        assert_ne!(TraceContext::span_id_in(&text), Some("00f067aa0ba902b7"));
        assert_eq!(context.header_value().to_str().unwrap(), context.to_string());
        let (again, went_on) = TraceContext::next(Some(&context.to_string()));
        assert!(went_on && again.trace == context.trace && again.span != context.span);
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
            let (context, went_on) = TraceContext::next(Some(bad));
            assert!(!went_on && context.trace != 0 && context.span != 0, "{bad}");
        }
        assert!(
            TraceContext::next(Some(
                "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what"
            ))
            .1
        );
    }
}
