//! Redis servers.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{Folder, eventually, free_address};

/// A Redis server of the test's own, ended with the value.
pub struct Redis {
    pub address: SocketAddr,
    _folder: Folder,
    process: Child,
}

impl Redis {
    pub fn start() -> Redis {
        Redis::at(free_address())
    }

    pub fn at(address: SocketAddr) -> Redis {
        let folder = Folder::new();
        let process = Command::new("redis-server")
            .args(["--port", &address.port().to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--requirepass", "s3cret"])
            .args(["--dir", &folder.0.display().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is there: scripts/setup test");
        let redis = Redis {
            address,
            _folder: folder,
            process,
        };
        eventually("redis is up", || {
            redis.try_say(&["PING"]).filter(|said| said == "+PONG")
        });
        redis
    }

    pub fn url(&self) -> String {
        format!("redis://:s3cret@{}/0", self.address)
    }

    /// Sends one command; the first line of the answer.
    pub fn try_say(&self, words: &[&str]) -> Option<String> {
        use std::io::{BufRead, BufReader, Write};
        let mut socket = std::net::TcpStream::connect(self.address).ok()?;
        socket.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
        for words in [&["AUTH", "s3cret"][..], words] {
            let mut text = format!("*{}\r\n", words.len());
            for word in words {
                text += &format!("${}\r\n{word}\r\n", word.len());
            }
            socket.write_all(text.as_bytes()).ok()?;
        }
        let mut lines = BufReader::new(socket).lines();
        lines.next()?.ok()?;
        lines.next()?.ok()
    }

    pub fn say(&self, words: &[&str]) -> String {
        self.try_say(words).unwrap()
    }

    /// Ends the process.
    pub fn stop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Adds an entry to the set, and tells of it.
    pub fn revoke(&self, entry: &str) {
        self.say(&["ZADD", "durward:revoked", "+inf", entry]);
        self.say(&["PUBLISH", "durward:revoked", entry]);
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.stop();
    }
}
