//! What the tests stand on: the gateway as a process, origins that record, issuers that misbehave, clients that say
//! exactly what they are told to.

pub mod ca;
pub mod certs;
pub mod client;
pub mod frames;
pub mod gateway;
pub mod h2;
pub mod issuer;
pub mod jose;
pub mod mmdb;
pub mod origin;
pub mod pki;
pub mod redis;
#[cfg(feature = "pkcs11")]
pub mod token;
pub mod vault;
pub mod ws;

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub use certs::Authority;
pub use client::{Answer, Client};
pub use gateway::Gateway;
pub use issuer::{Issuer, Keys};
pub use origin::{Origin, Reply};

/// An address that nobody listens on now, and that no other test of this process was given.
pub fn free_address() -> SocketAddr {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        if GIVEN.lock().unwrap().insert(address.port()) {
            return address;
        }
    }
}

/// An address that refuses connections for as long as the socket is held: bound, and not listened on.
pub fn refusing_address() -> (tokio::net::TcpSocket, SocketAddr) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// A folder of its own, removed with the value.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "durward-test-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    /// Writes a file that only its owner can read, and returns its path.
    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> String {
        use std::io::Write;
        use std::os::unix::fs::OpenOptionsExt;
        let path = self.0.join(name);
        let mut file = std::fs::OpenOptions::new();
        let mut file = file
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .unwrap();
        file.write_all(contents.as_ref()).unwrap();
        path.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Waits until something is so; for what happens in another process. Panics after ten seconds.
pub fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(Instant::now() < end, "never came true: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
