//! A certificate authority for the length of a test.

use openssl::asn1::{Asn1Object, Asn1OctetString, Asn1Time};
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509Extension, X509NameBuilder};

use super::Folder;

pub struct Authority {
    pub certificate: X509,
    key: PKey<Private>,
}

/// A server certificate and its key, in PEM.
pub struct Leaf {
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
}

pub fn ec_key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

impl Authority {
    pub fn new() -> Authority {
        Authority::named("test CA", None)
    }

    /// An authority whose certificate this one has signed.
    pub fn intermediate(&self) -> Authority {
        Authority::named("test intermediate CA", Some(self))
    }

    fn named(name: &str, issuer: Option<&Authority>) -> Authority {
        let key = ec_key();
        let mut builder = builder(name, &key);
        let own = subject(name);
        builder
            .set_issuer_name(issuer.map_or(&own, |issuer| issuer.certificate.subject_name()))
            .unwrap();
        builder
            .append_extension(BasicConstraints::new().critical().ca().build().unwrap())
            .unwrap();
        builder
            .append_extension(
                KeyUsage::new()
                    .critical()
                    .key_cert_sign()
                    .crl_sign()
                    .build()
                    .unwrap(),
            )
            .unwrap();
        builder
            .sign(issuer.map_or(&key, |issuer| &issuer.key), MessageDigest::sha256())
            .unwrap();
        Authority {
            certificate: builder.build(),
            key,
        }
    }

    pub fn pem(&self) -> Vec<u8> {
        self.certificate.to_pem().unwrap()
    }

    pub fn key_pem(&self) -> Vec<u8> {
        self.key.private_key_to_pem_pkcs8().unwrap()
    }

    /// For DNS names and addresses.
    pub fn leaf(&self, names: &[&str]) -> Leaf {
        self.leaf_of(&ec_key(), names)
    }

    /// The same for this key.
    pub fn leaf_of(&self, key: &PKey<Private>, names: &[&str]) -> Leaf {
        self.leaf_until(key, names, 2 * 86_400)
    }

    /// The same, good for so many seconds from now, for servers and clients.
    pub fn leaf_until(&self, key: &PKey<Private>, names: &[&str], seconds: i64) -> Leaf {
        let end = super::issuer::now() as i64 + seconds;
        self.leaf_with(key, names, |builder| {
            builder.set_not_after(&Asn1Time::from_unix(end).unwrap()).unwrap();
        })
    }

    /// The same, signed with this digest.
    pub fn leaf_signed(&self, key: &PKey<Private>, names: &[&str], digest: MessageDigest) -> Leaf {
        self.signed(key, names, digest, |_| ())
    }

    /// With something more in it, or something else.
    pub fn leaf_with(
        &self,
        key: &PKey<Private>,
        names: &[&str],
        change: impl FnOnce(&mut X509Builder),
    ) -> Leaf {
        self.signed(key, names, MessageDigest::sha256(), change)
    }

    /// A leaf that names its issuer's key, as those of public CAs do.
    pub fn identified_leaf(&self, names: &[&str]) -> Leaf {
        self.leaf_with(&ec_key(), names, |builder| {
            // AuthorityKeyIdentifier with a keyIdentifier of four bytes
            let der = Asn1OctetString::new_from_bytes(&[0x30, 0x06, 0x80, 0x04, 1, 2, 3, 4]).unwrap();
            let oid = Asn1Object::from_str("2.5.29.35").unwrap();
            builder
                .append_extension(X509Extension::new_from_der(&oid, false, &der).unwrap())
                .unwrap();
        })
    }

    fn signed(
        &self,
        key: &PKey<Private>,
        names: &[&str],
        digest: MessageDigest,
        change: impl FnOnce(&mut X509Builder),
    ) -> Leaf {
        let mut builder = builder(names[0], key);
        builder.set_issuer_name(self.certificate.subject_name()).unwrap();
        let mut san = SubjectAlternativeName::new();
        for name in names {
            if name.parse::<std::net::IpAddr>().is_ok() {
                san.ip(name);
            } else {
                san.dns(name);
            }
        }
        let san = san
            .build(&builder.x509v3_context(Some(&self.certificate), None))
            .unwrap();
        builder.append_extension(san).unwrap();
        builder
            .append_extension(
                ExtendedKeyUsage::new()
                    .server_auth()
                    .client_auth()
                    .build()
                    .unwrap(),
            )
            .unwrap();
        change(&mut builder);
        builder.sign(&self.key, digest).unwrap();
        Leaf {
            certificate: builder.build().to_pem().unwrap(),
            key: key.private_key_to_pem_pkcs8().unwrap(),
        }
    }

    /// Writes `tls.crt` and `tls.key` for these names into a folder of their own below `folder`, and returns it.
    pub fn install(&self, folder: &Folder, dir: &str, names: &[&str]) -> String {
        self.leaf(names).install(folder, dir)
    }
}

impl Leaf {
    /// Writes `tls.crt` and `tls.key` into a folder of their own below `folder`, and returns it.
    pub fn install(&self, folder: &Folder, dir: &str) -> String {
        std::fs::create_dir_all(folder.0.join(dir)).unwrap();
        folder.write(&format!("{dir}/tls.crt"), &self.certificate);
        folder.write(&format!("{dir}/tls.key"), &self.key);
        folder.0.join(dir).display().to_string()
    }
}

/// What is to be had from a CA (RFC 5280 section 4.2.2.1).
#[derive(Clone, Copy)]
pub enum Access {
    /// Whether a certificate is revoked.
    Ocsp = 1,
    /// The CA's own certificate.
    Issuers = 2,
}

/// The extension that says where: shorter than 100 bytes.
pub fn access(what: Access, url: &str) -> X509Extension {
    let length = u8::try_from(url.len()).unwrap();
    assert!(length < 100);
    // 1.3.6.1.5.5.7.48.N
    let method = [0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, what as u8];
    let head = [
        &[0x30, length + 14, 0x30, length + 12],
        &method[..],
        &[0x86, length],
    ]
    .concat();
    let der = [&head, url.as_bytes()].concat();
    let der = Asn1OctetString::new_from_bytes(&der).unwrap();
    let oid = Asn1Object::from_str("1.3.6.1.5.5.7.1.1").unwrap();
    X509Extension::new_from_der(&oid, false, &der).unwrap()
}

fn subject(name: &str) -> openssl::x509::X509Name {
    let mut builder = X509NameBuilder::new().unwrap();
    builder.append_entry_by_nid(Nid::COMMONNAME, name).unwrap();
    builder.build()
}

fn builder(name: &str, key: &PKey<Private>) -> X509Builder {
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let mut serial = BigNum::new().unwrap();
    serial.rand(120, MsbOption::MAYBE_ZERO, false).unwrap();
    builder
        .set_serial_number(&serial.to_asn1_integer().unwrap())
        .unwrap();
    builder.set_subject_name(&subject(name)).unwrap();
    builder.set_pubkey(key).unwrap();
    builder
        .set_not_before(&Asn1Time::from_unix(super::issuer::now() as i64 - 3600).unwrap())
        .unwrap();
    builder
        .set_not_after(&Asn1Time::days_from_now(2).unwrap())
        .unwrap();
    builder
}
