//! A small database of countries in MaxMind's DB format 2.0.
//! (Specification: https://maxmind.github.io/MaxMind-DB/)

use std::net::IpAddr;

/// A tree with records of 24 bits: what a bit of an address leads to.
#[derive(Clone, Copy)]
enum Record {
    Nothing,
    Node(usize),
    Data(usize),
}

/// These networks are of these countries.
pub fn countries(of: &[(&str, &str)]) -> Vec<u8> {
    let mut nodes = vec![[Record::Nothing; 2]];
    let mut data = Vec::new();
    for (network, country) in of {
        let (address, length) = network.split_once('/').unwrap();
        let length: usize = length.parse().unwrap();
        let (bits, length) = match address.parse().unwrap() {
            IpAddr::V4(address) => (u128::from(address.to_bits()), length + 96),
            IpAddr::V6(address) => (address.to_bits(), length),
        };
        let offset = data.len();
        map(&mut data, 1);
        text(&mut data, "country");
        map(&mut data, 1);
        text(&mut data, "iso_code");
        text(&mut data, country);
        let mut node = 0;
        for depth in 0..length {
            let bit = usize::from(bits >> (127 - depth) & 1 == 1);
            if depth + 1 == length {
                nodes[node][bit] = Record::Data(offset);
            } else if let Record::Node(next) = nodes[node][bit] {
                node = next;
            } else {
                nodes.push([Record::Nothing; 2]);
                nodes[node][bit] = Record::Node(nodes.len() - 1);
                node = nodes.len() - 1;
            }
        }
    }
    let count = nodes.len();
    let mut file = Vec::new();
    for record in nodes.iter().flatten() {
        let value = match record {
            Record::Nothing => count,
            Record::Node(node) => *node,
            Record::Data(offset) => count + 16 + offset,
        };
        file.extend_from_slice(&u32::try_from(value).unwrap().to_be_bytes()[1..]);
    }
    file.extend_from_slice(&[0; 16]);
    file.extend_from_slice(&data);
    file.extend_from_slice(b"\xab\xcd\xefMaxMind.com");
    map(&mut file, 9);
    for (name, kind, value) in [
        ("binary_format_major_version", 5, 2),
        ("binary_format_minor_version", 5, 0),
        ("ip_version", 5, 6),
        ("record_size", 5, 24),
        ("node_count", 6, count),
    ] {
        text(&mut file, name);
        // u16 and u32
        file.push(kind << 5 | 4 >> (kind == 5) as u8);
        let bytes = u32::try_from(value).unwrap().to_be_bytes();
        file.extend_from_slice(if kind == 5 { &bytes[2..] } else { &bytes });
    }
    text(&mut file, "build_epoch");
    // u64, of one byte
    file.extend_from_slice(&[1, 2, 1]);
    text(&mut file, "database_type");
    text(&mut file, "Test-Country");
    text(&mut file, "description");
    map(&mut file, 0);
    text(&mut file, "languages");
    // an array of nothing
    file.extend_from_slice(&[0, 4]);
    file
}

fn map(to: &mut Vec<u8>, members: u8) {
    to.push(7 << 5 | members);
}

fn text(to: &mut Vec<u8>, text: &str) {
    let length = u8::try_from(text.len()).unwrap();
    assert!(length < 29);
    to.push(2 << 5 | length);
    to.extend_from_slice(text.as_bytes());
}
