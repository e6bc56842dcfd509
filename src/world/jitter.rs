//! Moments that many gateways do not share: those that were started together would otherwise ask together for ever.

use std::time::Duration;

/// `span`, less a random part of it, at most `part` (0 to 1). Without randomness: `span` itself.
#[must_use]
pub fn earlier(span: Duration, part: f64) -> Duration {
    let mut bytes = [0; 2];
    if openssl::rand::rand_bytes(&mut bytes).is_err() {
        return span;
    }
    let chance = f64::from(u16::from_be_bytes(bytes)) / f64::from(u16::MAX);
    span.mul_f64(1.0 - part.clamp(0.0, 1.0) * chance)
}
