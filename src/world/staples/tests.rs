//! The rhythm of questions, on a clock that tests set; answers come from OpenSSL's own responder.

use std::process::Command;
use std::sync::atomic::AtomicBool;

use openssl::pkey::{PKey, Private};
use openssl::x509::X509;

use super::*;
use crate::pki::issue::{Authority, Key};
use crate::pki::store::{Readers, Scratch, State};

/// A CA with its responder, and a certificate of it.
struct Fixture {
    _scratch: Scratch,
    folder: State,
    certificate: CertifiedKey,
}

impl Fixture {
    fn new() -> Fixture {
        let scratch = Scratch::new();
        let folder = State::open(&scratch.0).unwrap();
        let now = UnixTime::of_system();
        let authority = Authority::new("test CA", 30, now).unwrap();
        let write = |name: &str, bytes: &[u8]| folder.write(name, bytes, Readers::Owner).unwrap();
        write("ca.crt", &authority.certificate.to_pem().unwrap());
        write("ca.key", &authority.key.private_key_to_pem_pkcs8().unwrap());
        let key: PKey<Private> = Key::P256.generate().unwrap();
        let leaf: X509 = authority
            .server(&key, "test", &["a.example".to_owned()], 9, now)
            .unwrap();
        let serial = leaf
            .serial_number()
            .to_bn()
            .unwrap()
            .to_hex_str()
            .unwrap()
            .to_string();
        write(
            "index",
            format!("V\t491231235959Z\t\t{serial}\tunknown\t/CN=test\n").as_bytes(),
        );
        let certificate = CertifiedKey::new(vec![leaf, authority.certificate], key).unwrap();
        Fixture {
            _scratch: scratch,
            folder,
            certificate,
        }
    }
}

/// Answers for a minute from now, by the system's clock; or not at all.
struct ByOpenssl {
    folder: State,
    away: AtomicBool,
}

impl Responder for ByOpenssl {
    async fn answer(&self, _: &Uri, question: Vec<u8>) -> Result<Vec<u8>, String> {
        if self.away.load(Ordering::Relaxed) {
            return Err("away".to_owned());
        }
        self.folder.write("request", &question, Readers::Owner).unwrap();
        let done = Command::new("openssl")
            .current_dir(self.folder.path())
            .args([
                "ocsp", "-index", "index", "-CA", "ca.crt", "-rsigner", "ca.crt", "-rkey", "ca.key",
            ])
            .args(["-nmin", "1", "-reqin", "request", "-respout", "response"])
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        Ok(self.folder.read("response", Readers::Everybody).unwrap().unwrap())
    }
}

// S18
#[tokio::test(start_paused = true)]
async fn a_proof_is_fetched_again_in_the_middle_of_its_life_and_kept_until_its_end() {
    let fixture = Fixture::new();
    let (began, start) = (UnixTime::of_system(), tokio::time::Instant::now());
    let now = move || began.saturating_add(start.elapsed());
    let responder = Arc::new(ByOpenssl {
        folder: fixture.folder.clone(),
        away: AtomicBool::new(false),
    });
    let staples = Staples::default();
    staples.hold([&fixture.certificate].into_iter());
    let id = fixture.certificate.fingerprint;
    assert_eq!(staples.of(&id, now()), None);

    let held = staples.held(&id).unwrap();
    let (certificate, asked) = (fixture.certificate.clone(), responder.clone());
    let url = Uri::from_static("http://127.0.0.1/");
    tokio::spawn(async move { held.keep_fresh(&certificate, &url, &*asked, now).await });
    tokio::time::sleep(Duration::from_secs(20)).await;
    let first = staples.of(&id, now()).expect("nothing was fetched");
    let life = first.next_update.saturating_since(first.this_update);
    assert_eq!(life, Duration::from_secs(60));
    assert_eq!(staples.states()[0].asked, [("good", 1), ("failed", 0)]);

    // at the latest after half a minute it is asked again; from then on in vain
    responder.away.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(12)).await;
    let state = &staples.states()[0];
    assert_eq!((state.failures, state.asked), (1, [("good", 1), ("failed", 1)]));
    assert_eq!(staples.of(&id, now()), Some(first.clone()));
    tokio::time::sleep(Duration::from_secs(25)).await;
    assert_eq!(
        staples.of(&id, now()),
        Some(first),
        "57 of its 60 seconds have passed"
    );
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(staples.of(&id, now()), None, "it is over");
    let failures = staples.states()[0].failures;
    assert!((2..5).contains(&failures), "{failures} failures: the wait grows");

    // what is no longer served is forgotten
    staples.hold(std::iter::empty());
    assert!(staples.states().is_empty());
}

// S18
#[tokio::test]
async fn only_a_good_answer_of_the_issuer_about_this_certificate_is_shown() {
    let (fixture, other) = (Fixture::new(), Fixture::new());
    let url = Uri::from_static("http://127.0.0.1/");
    let answer = async |fixture: &Fixture| {
        let [leaf, issuer] = &*fixture.certificate.chain else {
            panic!("two certificates")
        };
        let responder = ByOpenssl {
            folder: fixture.folder.clone(),
            away: AtomicBool::new(false),
        };
        let question = ocsp::question(leaf, issuer).unwrap();
        responder.answer(&url, question).await.unwrap()
    };
    let now = UnixTime::of_system();
    let judge = |der: &[u8], at| ocsp::judge(der, &fixture.certificate.chain, at);
    let good = answer(&fixture).await;
    assert_eq!(judge(&good, now).map(|staple| staple.der), Ok(good.clone()));
    let later = now.saturating_add(Duration::from_secs(61));
    let earlier = now.saturating_sub(Duration::from_secs(900));
    assert_eq!(judge(&good, later), Err(Rejected::Stale));
    assert_eq!(judge(&good, earlier), Err(Rejected::Stale));
    assert_eq!(judge(b"nothing", now), Err(Rejected::Malformed));
    // another CA's
    assert_eq!(judge(&answer(&other).await, now), Err(Rejected::Signature));
    // changed on the way: the last digit of its first time
    let mut forged = good.clone();
    let time = good.windows(2).position(|pair| pair == [0x18, 0x0f]).unwrap();
    forged[time + 15] ^= 1;
    assert_eq!(judge(&forged, now), Err(Rejected::Signature));
    // the CA's word on another certificate
    let stranger = Fixture {
        certificate: {
            let key = Key::P256.generate().unwrap();
            let authority = Authority {
                certificate: fixture.certificate.chain[1].clone(),
                key: PKey::private_key_from_pem(
                    &fixture.folder.read("ca.key", Readers::Owner).unwrap().unwrap(),
                )
                .unwrap(),
            };
            let leaf = authority
                .server(&key, "x", &["x.example".to_owned()], 9, now)
                .unwrap();
            CertifiedKey::new(vec![leaf, authority.certificate], key).unwrap()
        },
        folder: fixture.folder.clone(),
        _scratch: Scratch::new(),
    };
    let unknown = answer(&stranger).await;
    assert_eq!(judge(&unknown, now), Err(Rejected::OtherCertificate));
    assert_eq!(
        ocsp::judge(&unknown, &stranger.certificate.chain, now),
        Err(Rejected::Unknown)
    );
    // revoked
    let index = fixture.folder.read("index", Readers::Owner).unwrap().unwrap();
    let index = String::from_utf8(index)
        .unwrap()
        .replace("V\t491231235959Z\t\t", "R\t491231235959Z\t260101000000Z\t");
    fixture
        .folder
        .write("index", index.as_bytes(), Readers::Owner)
        .unwrap();
    assert_eq!(judge(&answer(&fixture).await, now), Err(Rejected::Revoked));
}
