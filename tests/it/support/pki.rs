//! Certificates of clients, good ones and every kind of bad one.

use openssl::asn1::{Asn1Object, Asn1OctetString, Asn1Time};
use openssl::bn::{BigNum, MsbOption};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::ssl::{SslConnectorBuilder, SslVersion};
use openssl::x509::extension::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName};
use openssl::x509::{
    X509, X509Crl, X509CrlBuilder, X509Extension, X509NameBuilder, X509RevokedBuilder, X509VerifyResult,
};

use super::certs::ec_key;
use super::issuer::now;
use super::{Client, Gateway};

/// A certificate with its key, and the certificates above it but for the last.
#[derive(Clone)]
pub struct Held {
    pub certificate: X509,
    pub key: PKey<Private>,
    /// Issuers, the nearest first.
    pub above: Vec<X509>,
}

/// What a certificate is to be like.
#[derive(Clone)]
pub struct Like {
    pub name: String,
    pub uris: Vec<String>,
    pub dns_names: Vec<String>,
    /// Seconds from now.
    pub from: i64,
    pub until: i64,
    pub purpose: Purpose,
    pub digest: MessageDigest,
    pub key: PKey<Private>,
    /// With this path length, if any.
    pub authority: Option<Option<u32>>,
    /// `permitted;DNS:good.example`
    pub constraints: Option<&'static str>,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Purpose {
    Client,
    Server,
    Unsaid,
}

pub fn rsa(bits: u32) -> PKey<Private> {
    PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap()
}

/// A certificate for a client, called so.
pub fn client(name: &str) -> Like {
    Like {
        name: name.to_owned(),
        uris: Vec::new(),
        dns_names: Vec::new(),
        from: -3600,
        until: 2 * 86_400,
        purpose: Purpose::Client,
        digest: MessageDigest::sha256(),
        key: ec_key(),
        authority: None,
        constraints: None,
    }
}

/// A CA, called so.
pub fn authority(name: &str) -> Like {
    Like {
        purpose: Purpose::Unsaid,
        authority: Some(None),
        ..client(name)
    }
}

impl Like {
    /// Its own issuer.
    pub fn root(&self) -> Held {
        self.made(None)
    }

    #[expect(deprecated, reason = "there is no other way to build name constraints")]
    fn made(&self, issuer: Option<&Held>) -> Held {
        let mut builder = X509::builder().unwrap();
        builder.set_version(2).unwrap();
        let mut serial = BigNum::new().unwrap();
        serial.rand(120, MsbOption::MAYBE_ZERO, false).unwrap();
        builder
            .set_serial_number(&serial.to_asn1_integer().unwrap())
            .unwrap();
        let mut name = X509NameBuilder::new().unwrap();
        name.append_entry_by_nid(Nid::ORGANIZATIONNAME, "Example")
            .unwrap();
        name.append_entry_by_nid(Nid::COMMONNAME, &self.name).unwrap();
        let name = name.build();
        builder.set_subject_name(&name).unwrap();
        builder
            .set_issuer_name(issuer.map_or(&name, |issuer| issuer.certificate.subject_name()))
            .unwrap();
        builder.set_pubkey(&self.key).unwrap();
        let at = |offset: i64| Asn1Time::from_unix(now() as i64 + offset).unwrap();
        builder.set_not_before(&at(self.from)).unwrap();
        builder.set_not_after(&at(self.until)).unwrap();
        if let Some(length) = self.authority {
            let mut constraints = BasicConstraints::new();
            constraints.critical().ca();
            if let Some(length) = length {
                constraints.pathlen(length);
            }
            builder.append_extension(constraints.build().unwrap()).unwrap();
            let usage = KeyUsage::new()
                .critical()
                .key_cert_sign()
                .crl_sign()
                .build()
                .unwrap();
            builder.append_extension(usage).unwrap();
        }
        if let Some(constraints) = self.constraints {
            let extension = X509Extension::new_nid(None, None, Nid::NAME_CONSTRAINTS, constraints).unwrap();
            builder.append_extension(extension).unwrap();
        }
        if !self.uris.is_empty() || !self.dns_names.is_empty() {
            let mut names = SubjectAlternativeName::new();
            for uri in &self.uris {
                names.uri(uri);
            }
            for name in &self.dns_names {
                names.dns(name);
            }
            let names = names.build(&builder.x509v3_context(None, None)).unwrap();
            builder.append_extension(names).unwrap();
        }
        let mut purpose = ExtendedKeyUsage::new();
        match self.purpose {
            Purpose::Client => builder.append_extension(purpose.client_auth().build().unwrap()),
            Purpose::Server => builder.append_extension(purpose.server_auth().build().unwrap()),
            Purpose::Unsaid => Ok(()),
        }
        .unwrap();
        builder
            .sign(issuer.map_or(&self.key, |issuer| &issuer.key), self.digest)
            .unwrap();
        let above = issuer.map_or(Vec::new(), |issuer| {
            let mut above = issuer.above.clone();
            // nobody sends a root
            if !issuer.is_root() {
                above.insert(0, issuer.certificate.clone());
            }
            above
        });
        Held {
            certificate: builder.build(),
            key: self.key.clone(),
            above,
        }
    }
}

impl Held {
    pub fn issue(&self, like: &Like) -> Held {
        like.made(Some(self))
    }

    fn is_root(&self) -> bool {
        self.certificate.issued(&self.certificate) == X509VerifyResult::OK
    }

    pub fn pem(&self) -> Vec<u8> {
        self.certificate.to_pem().unwrap()
    }

    /// SHA-256 in hexadecimal.
    pub fn sha256(&self) -> String {
        hex(&self.certificate.digest(MessageDigest::sha256()).unwrap())
    }

    /// SHA-256 of the public key, in hexadecimal.
    pub fn spki_sha256(&self) -> String {
        let key = self.key.public_key_to_der().unwrap();
        hex(&openssl::hash::hash(MessageDigest::sha256(), &key).unwrap())
    }

    /// The same without the certificates above it.
    pub fn alone(&self) -> Held {
        Held {
            above: Vec::new(),
            ..self.clone()
        }
    }

    /// A list of what this CA has taken back, current from and until so many seconds from now.
    pub fn revoking(&self, revoked: &[&Held], from: i64, until: i64) -> Vec<u8> {
        let at = |offset: i64| Asn1Time::from_unix(now() as i64 + offset).unwrap();
        let mut builder = X509CrlBuilder::new().unwrap();
        builder.set_issuer_name(self.certificate.subject_name()).unwrap();
        builder.set_last_update(&at(from)).unwrap();
        builder.set_next_update(&at(until)).unwrap();
        // the builder wants these, and one entry at least
        for (name, value) in [
            ("authorityKeyIdentifier", vec![0x30, 3, 0x80, 1, 1]),
            ("crlNumber", vec![2, 1, 1]),
        ] {
            let oid = Asn1Object::from_str(name).unwrap();
            let value = Asn1OctetString::new_from_bytes(&value).unwrap();
            let extension = X509Extension::new_from_der(&oid, false, &value).unwrap();
            builder.append_extension(extension).unwrap();
        }
        let nobody = BigNum::from_u32(1).unwrap().to_asn1_integer().unwrap();
        let serials = revoked.iter().map(|held| held.certificate.serial_number());
        for serial in serials.chain([&*nobody]) {
            let mut entry = X509RevokedBuilder::new().unwrap();
            entry.set_serial_number(serial).unwrap();
            entry.set_revocation_date(&at(-60)).unwrap();
            builder.add_revoked(entry.build()).unwrap();
        }
        builder.sort().unwrap();
        builder.sign(&self.key, MessageDigest::sha256()).unwrap();
        let crl: X509Crl = builder.build().unwrap();
        crl.to_pem().unwrap()
    }

    /// Has a client present it.
    pub fn present(&self, settings: &mut SslConnectorBuilder) {
        // what the gateway is to refuse must get there
        settings.set_security_level(0);
        settings.set_certificate(&self.certificate).unwrap();
        settings.set_private_key(&self.key).unwrap();
        for certificate in &self.above {
            settings.add_extra_chain_cert(certificate.clone()).unwrap();
        }
    }

    /// A client of the gateway that presents it.
    pub fn client(&self, gateway: &Gateway) -> Client {
        Client::new(gateway.https).tls(&gateway.authority, |settings| self.present(settings))
    }

    /// The same, with this version of TLS.
    pub fn speaking(&self, gateway: &Gateway, version: SslVersion) -> Client {
        Client::new(gateway.https).tls(&gateway.authority, |settings| {
            self.present(settings);
            settings.set_min_proto_version(Some(version)).unwrap();
            settings.set_max_proto_version(Some(version)).unwrap();
        })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
