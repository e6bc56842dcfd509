//! A PKCS#11 token of SoftHSM, and the tools of others that fill it.

use std::path::PathBuf;
use std::process::{Command, Output};

use openssl::pkey::{PKey, Private};

use super::Folder;

pub const LABEL: &str = "durward tests";
pub const PIN: &str = "8-ung:geheim";

/// A token of its own, removed with the value.
pub struct Token {
    pub folder: Folder,
}

/// The first of these files that is there.
fn first(candidates: &[&str]) -> String {
    let found = candidates.iter().find(|path| PathBuf::from(path).exists());
    found
        .unwrap_or_else(|| panic!("none of {candidates:?} is there: scripts/setup test"))
        .to_string()
}

/// The library of SoftHSM.
pub fn module() -> String {
    first(&[
        "/usr/lib/softhsm/libsofthsm2.so",
        "/usr/lib64/pkcs11/libsofthsm2.so",
    ])
}

/// The OpenSSL provider.
pub fn provider() -> String {
    let architecture = format!(
        "/usr/lib/{}-linux-gnu/ossl-modules/pkcs11.so",
        std::env::consts::ARCH
    );
    first(&[&architecture, "/usr/lib64/ossl-modules/pkcs11.so"])
}

impl Token {
    pub fn new() -> Token {
        let token = Token {
            folder: Folder::new(),
        };
        let objects = token.folder.0.join("tokens");
        std::fs::create_dir(&objects).unwrap();
        let settings = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            objects.display()
        );
        token.folder.write("softhsm2.conf", settings);
        token.util(&[
            "--init-token",
            "--free",
            "--label",
            LABEL,
            "--pin",
            PIN,
            "--so-pin",
            "12345678",
        ]);
        token
    }

    /// The variables by which a process finds it.
    pub fn environment(&self) -> [(&'static str, String); 2] {
        let settings = self.folder.0.join("softhsm2.conf").display().to_string();
        [("SOFTHSM2_CONF", settings), ("PKCS11_PROVIDER_MODULE", module())]
    }

    /// A data object.
    pub fn put(&self, label: &str, text: &str) {
        let file = self.folder.write("value", text);
        self.tool(&[
            "--write-object",
            &file,
            "--type",
            "data",
            "--private",
            "--label",
            label,
        ]);
    }

    /// A secret key that may be extracted.
    pub fn put_key(&self, label: &str, bytes: &[u8]) {
        let file = self.folder.write("value", bytes);
        self.tool(&[
            "--write-object",
            &file,
            "--type",
            "secrkey",
            "--key-type",
            "AES:32",
            "--label",
            label,
            "--extractable",
        ]);
    }

    /// A secret key that is made there and stays there.
    pub fn generate(&self, label: &str) {
        self.tool(&[
            "--keygen",
            "--key-type",
            "AES:32",
            "--sensitive",
            "--label",
            label,
        ]);
    }

    /// A private key that stays there from now on.
    pub fn import(&self, label: &str, id: &str, key: &PKey<Private>) {
        let file = self
            .folder
            .write("key.pem", key.private_key_to_pem_pkcs8().unwrap());
        self.util(&[
            "--import", &file, "--token", LABEL, "--pin", PIN, "--label", label, "--id", id,
        ]);
        std::fs::remove_file(file).unwrap();
    }

    /// The same, and it may agree on keys with others.
    pub fn import_agreeing(&self, label: &str, id: &str, key: &PKey<Private>) {
        let private = self
            .folder
            .write("private.der", key.private_key_to_der().unwrap());
        let public = self.folder.write("public.der", key.public_key_to_der().unwrap());
        let named = ["--label", label, "--id", id];
        let write = |file: &str, class: &str, usage: &[&str]| {
            self.tool(&[&["--write-object", file, "--type", class], &named[..], usage].concat());
        };
        write(&private, "privkey", &["--usage-derive", "--sensitive"]);
        write(&public, "pubkey", &[]);
        std::fs::remove_file(private).unwrap();
    }

    /// Objects of this type and label are there no more.
    pub fn remove(&self, class: &str, label: &str) {
        self.tool(&["--delete-object", "--type", class, "--label", label]);
    }

    fn util(&self, arguments: &[&str]) {
        self.run(Command::new("softhsm2-util").args(arguments));
    }

    fn tool(&self, arguments: &[&str]) {
        let mut command = Command::new("pkcs11-tool");
        command
            .args([
                "--module",
                &module(),
                "--token-label",
                LABEL,
                "--login",
                "--pin",
                PIN,
            ])
            .args(arguments);
        self.run(&mut command);
    }

    fn run(&self, command: &mut Command) {
        let Output {
            status,
            stdout,
            stderr,
        } = command.envs(self.environment()).output().unwrap();
        let said = String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned();
        assert!(status.success(), "{command:?}: {said}");
    }
}
