//! The PROXY protocol, versions 1 and 2: who is behind a proxy that passes bytes on (HAProxy's `proxy-protocol.txt`).
//!
//! Strict: what is not spelled as the document spells it is no header. Nothing is read beyond its end.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

/// Who sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The proxy itself, as for its health checks, or somebody it cannot name.
    Proxy,
    /// This client.
    Client(SocketAddr),
}

/// It is no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// The first bytes of version 2.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line of version 1, with its end.
const MAX_LINE: usize = 107;
/// What follows the first sixteen bytes of version 2 at most: addresses, and what else a proxy tells.
const MAX_REST: usize = 2048;

/// Reads a header, to its last byte and no further.
///
/// # Errors
/// The stream ends or breaks; [`io::ErrorKind::InvalidData`]: this is no header.
pub async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Source> {
    let malformed = |_| io::Error::from(io::ErrorKind::InvalidData);
    // the shortest header is longer than this
    let mut start = [0; 12];
    stream.read_exact(&mut start).await?;
    if start == SIGNATURE {
        let mut fixed = [0; 4];
        stream.read_exact(&mut fixed).await?;
        let [_, _, high, low] = fixed;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length > MAX_REST {
            return Err(malformed(Malformed));
        }
        let mut rest = vec![0; length];
        stream.read_exact(&mut rest).await?;
        return version2(fixed, &rest).map_err(malformed);
    }
    if !start.starts_with(b"PROXY ") {
        return Err(malformed(Malformed));
    }
    let mut line = start.to_vec();
    while !line.ends_with(b"\n") {
        if line.len() == MAX_LINE {
            return Err(malformed(Malformed));
        }
        line.push(stream.read_u8().await?);
    }
    version1(&line).map_err(malformed)
}

/// A line of version 1, with its end.
fn version1(line: &[u8]) -> Result<Source, Malformed> {
    let line = line.strip_suffix(b"\r\n").ok_or(Malformed)?;
    if memchr::memchr2(b'\r', b'\n', line).is_some() {
        return Err(Malformed);
    }
    let line = std::str::from_utf8(line).map_err(|_| Malformed)?;
    let mut words = line.split(' ');
    if words.next() != Some("PROXY") {
        return Err(Malformed);
    }
    let family = words.next().ok_or(Malformed)?;
    if family == "UNKNOWN" {
        // whatever follows is to be ignored
        return Ok(Source::Proxy);
    }
    let (Some(source), Some(destination), Some(source_port), Some(destination_port), None) = (
        words.next(),
        words.next(),
        words.next(),
        words.next(),
        words.next(),
    ) else {
        return Err(Malformed);
    };
    let address = |text: &str| -> Result<IpAddr, Malformed> {
        match family {
            "TCP4" => text.parse::<Ipv4Addr>().map(IpAddr::V4).map_err(|_| Malformed),
            "TCP6" => text.parse::<Ipv6Addr>().map(IpAddr::V6).map_err(|_| Malformed),
            _ => Err(Malformed),
        }
    };
    let source = SocketAddr::new(address(source)?, port(source_port)?);
    address(destination)?;
    port(destination_port)?;
    Ok(Source::Client(source))
}

/// No sign, and no zero in front.
fn port(text: &str) -> Result<u16, Malformed> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain).ok_or(Malformed)
}

/// What follows the signature of version 2: four bytes, and the rest that they announce.
fn version2(fixed: [u8; 4], rest: &[u8]) -> Result<Source, Malformed> {
    let [command, family, ..] = fixed;
    if command == 0x20 {
        // LOCAL: whatever follows is to be ignored
        return Ok(Source::Proxy);
    }
    if command != 0x21 {
        return Err(Malformed);
    }
    // by family and transport (section 2.2): AF_UNSPEC, AF_INET, AF_INET6, AF_UNIX; UNSPEC, STREAM, DGRAM
    let (addresses, is_stream) = match family {
        0x00 => (0, true),
        0x11 | 0x12 => (12, family == 0x11),
        0x21 | 0x22 => (36, family == 0x21),
        0x31 | 0x32 => (216, family == 0x31),
        _ => return Err(Malformed),
    };
    if rest.len() < addresses {
        return Err(Malformed);
    }
    check_values(rest.get(addresses..).unwrap_or_default())?;
    match (family, rest) {
        (0x11, [a, b, c, d, _, _, _, _, high, low, ..]) => {
            let port = u16::from_be_bytes([*high, *low]);
            let address = Ipv4Addr::new(*a, *b, *c, *d);
            Ok(Source::Client(SocketAddr::new(address.into(), port)))
        }
        (0x21, _) => {
            let octets: Option<[u8; 16]> = rest.get(..16).and_then(|octets| octets.try_into().ok());
            let port: Option<[u8; 2]> = rest.get(32..34).and_then(|port| port.try_into().ok());
            let (octets, port) = octets.zip(port).ok_or(Malformed)?;
            let address = Ipv6Addr::from(octets);
            Ok(Source::Client(SocketAddr::new(
                address.into(),
                u16::from_be_bytes(port),
            )))
        }
        // AF_UNSPEC and AF_UNIX name nobody that we could name
        _ if is_stream => Ok(Source::Proxy),
        // HTTP comes over streams
        _ => Err(Malformed),
    }
}

/// Type, length, value; again and again, to the very end.
fn check_values(mut rest: &[u8]) -> Result<(), Malformed> {
    while let [_, high, low, after @ ..] = rest {
        rest = after
            .get(usize::from(u16::from_be_bytes([*high, *low]))..)
            .ok_or(Malformed)?;
    }
    if rest.is_empty() { Ok(()) } else { Err(Malformed) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is found, and what is left.
    fn parse(bytes: &[u8]) -> (io::Result<Source>, Vec<u8>) {
        let mut stream = bytes;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let found = runtime.block_on(read(&mut stream));
        (found, stream.to_vec())
    }

    fn encode(version: u8, source: SocketAddr) -> Vec<u8> {
        let destination: SocketAddr = match source {
            SocketAddr::V4(_) => "192.0.2.1:443".parse().unwrap(),
            SocketAddr::V6(_) => "[2001:db8::1]:443".parse().unwrap(),
        };
        if version == 1 {
            let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
            let (from, to) = (source.ip(), destination.ip());
            return format!("PROXY {family} {from} {to} {} 443\r\n", source.port()).into_bytes();
        }
        let octets = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        let mut rest = [octets(source.ip()), octets(destination.ip())].concat();
        rest.extend(source.port().to_be_bytes());
        rest.extend(443u16.to_be_bytes());
        // a value of type PP2_TYPE_NOOP
        rest.extend([4, 0, 2, 0, 0]);
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([0x21, if source.is_ipv4() { 0x11 } else { 0x21 }]);
        bytes.extend((rest.len() as u16).to_be_bytes());
        bytes.extend(rest);
        bytes
    }

    #[test]
    fn headers_that_name_nobody_are_the_proxy_s_own() {
        let local = [&SIGNATURE[..], &[0x20, 0x00, 0, 0]].concat();
        let unix = [&SIGNATURE[..], &[0x21, 0x31, 0, 216], &[0; 216]].concat();
        for header in [
            b"PROXY UNKNOWN\r\n".to_vec(),
            b"PROXY UNKNOWN ffff:: ::1 1 2\r\n".to_vec(),
            local,
            unix,
        ] {
            let (found, rest) = parse(&[&header[..], b"GET /"].concat());
            assert_eq!((found.unwrap(), &rest[..]), (Source::Proxy, &b"GET /"[..]));
        }
    }

    #[test]
    fn what_is_not_spelled_so_is_no_header() {
        let v2 = |fixed: [u8; 4], rest: &[u8]| [&SIGNATURE[..], &fixed, rest].concat();
        for bad in [
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n".to_vec(),
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n".to_vec(),
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n".to_vec(),
            b"PROXY TCP4 1.2.3.4  5.6.7.8 1 2\r\n".to_vec(),
            b"PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n".to_vec(),
            b"PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n".to_vec(),
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n".to_vec(),
            b"PROXY TCP4 ::1 ::1 1 2\r\n".to_vec(),
            b"PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n".to_vec(),
            b"PROXY TCP5 1.2.3.4 5.6.7.8 1 2\r\n".to_vec(),
            b"PROXY tcp4 1.2.3.4 5.6.7.8 1 2\r\n".to_vec(),
            b"proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n".to_vec(),
            b"PROXY TCP4 1.2.3.4\r 5.6.7.8 1 2\r\n".to_vec(),
            format!("PROXY UNKNOWN {}\r\n", "x".repeat(100)).into_bytes(),
            // versions, commands, families
            v2([0x11, 0x11, 0, 12], &[0; 12]),
            v2([0x22, 0x11, 0, 12], &[0; 12]),
            v2([0x31, 0x11, 0, 12], &[0; 12]),
            v2([0x21, 0x13, 0, 12], &[0; 12]),
            v2([0x21, 0x12, 0, 12], &[0; 12]),
            v2([0x21, 0x41, 0, 12], &[0; 12]),
            // too short for the addresses, or with a value that goes beyond the end
            v2([0x21, 0x11, 0, 11], &[0; 11]),
            v2([0x21, 0x21, 0, 12], &[0; 12]),
            v2([0x21, 0x11, 0, 13], &[0; 13]),
            v2(
                [0x21, 0x11, 0, 16],
                &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 2, 0],
            ),
            v2([0x21, 0x11, 0xff, 0xff], &[0; 65535]),
        ] {
            let found = parse(&bad).0.unwrap_err();
            assert_eq!(
                found.kind(),
                io::ErrorKind::InvalidData,
                "{}",
                bad[..bad.len().min(60)].escape_ascii()
            );
        }
        for short in [&b"PROXY "[..], b"PROXY TCP4 1.2.3.4", &SIGNATURE] {
            assert_eq!(parse(short).0.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    proptest! {
        #[test]
        fn every_client_is_found_and_nothing_behind_the_header_is_touched(
            version in 1u8..=2, v6 in any::<bool>(), bits in any::<u128>(), port in any::<u16>(),
        ) {
            let ip: IpAddr = if v6 { Ipv6Addr::from_bits(bits).into() } else { Ipv4Addr::from_bits(bits as u32).into() };
            let source = SocketAddr::new(ip, port);
            let bytes = [encode(version, source), b"\x16\x03".to_vec()].concat();
            let (found, rest) = parse(&bytes);
            prop_assert_eq!((found.unwrap(), &rest[..]), (Source::Client(source), &b"\x16\x03"[..]));
        }

        #[test]
        fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), start in 0u8..3) {
            let front: &[u8] = match start { 0 => b"", 1 => b"PROXY TCP4 ", _ => &SIGNATURE };
            bytes.splice(0..0, front.iter().copied());
            let _ = parse(&bytes);
        }
    }
}
