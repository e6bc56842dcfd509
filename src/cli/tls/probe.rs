//! `durward tls probe`

use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use openssl::ssl::{
    ErrorCode, HandshakeError, Ssl, SslConnector, SslMethod, SslStream, SslVerifyMode, SslVersion, StatusType,
};
use openssl::x509::X509;

use super::advice::{self, Advice};
use super::{server_hello, show};
use crate::clock::UnixTime;
use crate::pki::{flaws, ocsp};

/// Nobody waits longer for a connection or a handshake.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a server may take to say that it wants a client certificate: in TLS 1.3 it does so after the handshake.
const AFTERTHOUGHT: Duration = Duration::from_millis(500);
/// Where systems keep the CAs that they trust.
const SYSTEM: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// One handshake with a server. Exit code 1: clients would refuse it, or it refuses them.
#[derive(Debug, Args)]
pub(super) struct Probe {
    /// `HOST:PORT`; without a port 443
    server: String,
    /// Name to ask for; default: the host
    #[arg(long, value_name = "NAME")]
    sni: Option<String>,
    /// PEM file of the CAs to trust; default: the system's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Newest version to offer, as an old client does
    #[arg(long, value_enum)]
    max_version: Option<Version>,
    /// Suites to offer up to TLS 1.2, by OpenSSL's names; default: all
    #[arg(long, value_name = "LIST")]
    ciphers: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Version {
    #[value(name = "1.0")]
    V1_0,
    #[value(name = "1.1")]
    V1_1,
    #[value(name = "1.2")]
    V1_2,
    #[value(name = "1.3")]
    V1_3,
}

impl Version {
    fn of_library(self) -> SslVersion {
        match self {
            Version::V1_0 => SslVersion::TLS1,
            Version::V1_1 => SslVersion::TLS1_1,
            Version::V1_2 => SslVersion::TLS1_2,
            Version::V1_3 => SslVersion::TLS1_3,
        }
    }
}

impl Probe {
    pub(super) fn run(&self) -> io::Result<ExitCode> {
        let (host, port) = target(&self.server)?;
        let name = self.sni.as_deref().unwrap_or(&host).to_ascii_lowercase();
        let mut out = io::stdout();
        let stream = match connect(&host, port) {
            Ok(stream) => stream,
            Err(why) => return told(&mut out, &[advice::of_connection(&why)]),
        };
        let mut stream = match self.ssl(&name)?.connect(Recorder::of(stream)) {
            Ok(stream) => stream,
            Err(HandshakeError::SetupFailure(why)) => return Err(why.into()),
            Err(HandshakeError::Failure(half) | HandshakeError::WouldBlock(half)) => {
                let received = &half.get_ref().received;
                return told(
                    &mut out,
                    &[advice::of_handshake(&half.error().to_string(), received, &name)],
                );
            }
        };
        let chain: Vec<X509> = stream
            .ssl()
            .peer_cert_chain()
            .map(|chain| chain.iter().map(ToOwned::to_owned).collect())
            .unwrap_or_default();
        let now = UnixTime::of_system();
        negotiated(&mut out, &stream)?;
        writeln!(out, "  {:<12}{}", "staple", staple(stream.ssl(), &chain, now))?;
        for (index, certificate) in chain.iter().enumerate() {
            show::certificate(&mut out, index + 1, certificate, now)?;
        }
        let mut wrong: Vec<Advice> = Vec::new();
        wrong.extend(chain.first().and_then(|leaf| advice::of_names(leaf, &name)));
        wrong.extend(flaws::of(&chain, now).into_iter().map(|flaw| Advice {
            fault: flaw.to_string(),
            help: flaw.help(),
        }));
        if let Err((why, words)) = flaws::leads_to(&chain, &self.authorities()?) {
            wrong.extend(advice::of_distrust(why, words, &chain));
        }
        wrong.extend(afterthought(&mut stream, &name));
        told(&mut out, &wrong)
    }

    /// A client that offers everything, however old, unless it is told otherwise; and looks at everything itself.
    fn ssl(&self, name: &str) -> io::Result<Ssl> {
        let mut builder = SslConnector::builder(SslMethod::tls_client())?;
        builder.set_verify(SslVerifyMode::NONE);
        builder.set_security_level(0);
        builder.set_min_proto_version(None)?;
        builder.set_max_proto_version(self.max_version.map(Version::of_library))?;
        builder.set_cipher_list(self.ciphers.as_deref().unwrap_or("ALL"))?;
        builder.set_alpn_protos(b"\x02h2\x08http/1.1")?;
        let settings = builder
            .build()
            .configure()?
            .verify_hostname(false)
            .use_server_name_indication(name.parse::<IpAddr>().is_err());
        let mut ssl = settings.into_ssl(name)?;
        ssl.set_status_type(StatusType::OCSP)?;
        Ok(ssl)
    }

    fn authorities(&self) -> io::Result<Vec<X509>> {
        let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
        let system = || {
            named
                .into_iter()
                .chain(SYSTEM.map(PathBuf::from))
                .find(|path| path.exists())
        };
        let Some(file) = self.ca.clone().or_else(system) else {
            return Ok(Vec::new());
        };
        read(&file)
            .map_err(|why| io::Error::new(why.kind(), format!("cannot read {}: {why}", file.display())))
    }
}

fn read(file: &Path) -> io::Result<Vec<X509>> {
    Ok(X509::stack_from_pem(&std::fs::read(file)?)?)
}

/// `HOST:PORT`, `[::1]:443`, or a host alone.
fn target(server: &str) -> io::Result<(String, u16)> {
    let (host, port) = match server.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port),
        _ => (server, "443"),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match port.parse() {
        Ok(port) if !host.is_empty() => Ok((host.to_owned(), port)),
        _ => Err(io::Error::other(format!("`{server}` is not HOST:PORT"))),
    }
}

fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::other("no address has this name");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                return Ok(stream);
            }
            Err(why) => last = why,
        }
    }
    Err(last)
}

fn negotiated(out: &mut impl Write, stream: &SslStream<Recorder>) -> io::Result<()> {
    let ssl = stream.ssl();
    let mut line = |what: &str, value: &str| writeln!(out, "  {what:<12}{value}");
    line("version", ssl.version_str())?;
    line("suite", ssl.current_cipher().map_or("none", |suite| suite.name()))?;
    let group = server_hello::group(&stream.get_ref().received);
    line("group", group.as_deref().unwrap_or("none: no forward secrecy"))?;
    let protocol = ssl.selected_alpn_protocol().map(String::from_utf8_lossy);
    line("protocol", protocol.as_deref().unwrap_or("none (HTTP/1.1)"))
}

fn staple(ssl: &openssl::ssl::SslRef, chain: &[X509], now: UnixTime) -> String {
    match ssl.ocsp_status().map(|der| ocsp::judge(der, chain, now)) {
        None => "none".to_owned(),
        Some(Ok(staple)) => {
            let minutes = staple.next_update.saturating_since(now).as_secs() / 60;
            format!("good, for {minutes} minutes more")
        }
        Some(Err(why)) => format!("one that clients refuse: {why}"),
    }
}

/// In TLS 1.3 a server refuses a client without a certificate only after the client is done.
fn afterthought(stream: &mut SslStream<Recorder>, name: &str) -> Option<Advice> {
    stream
        .get_ref()
        .stream
        .set_read_timeout(Some(AFTERTHOUGHT))
        .ok()?;
    let why = stream.ssl_read(&mut [0; 1]).err()?;
    let received = &stream.get_ref().received;
    (why.code() == ErrorCode::SSL).then(|| advice::of_handshake(&why.to_string(), received, name))
}

fn told(out: &mut impl Write, wrong: &[Advice]) -> io::Result<ExitCode> {
    for Advice { fault, help } in wrong {
        writeln!(out, "! {fault}\n  {help}")?;
    }
    if wrong.is_empty() {
        writeln!(out, "good: clients believe it")?;
        Ok(ExitCode::SUCCESS)
    } else {
        Ok(ExitCode::FAILURE)
    }
}

/// Keeps the beginning of what a server sends.
#[derive(Debug)]
struct Recorder {
    stream: TcpStream,
    received: Vec<u8>,
}

/// No handshake of interest is longer.
const KEPT: usize = 1 << 16;

impl Recorder {
    fn of(stream: TcpStream) -> Recorder {
        Recorder {
            stream,
            received: Vec::new(),
        }
    }
}

impl Read for Recorder {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.read(buffer)?;
        let room = KEPT.saturating_sub(self.received.len()).min(read);
        self.received.extend(buffer.iter().take(room));
        Ok(read)
    }
}

impl Write for Recorder {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.stream.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
