//! `durward demo` and `durward demo token`.

use std::io;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::demo::token::{AUDIENCE, MAX_TTL};
use crate::demo::{self, Algorithm, Options, TokenRequest};

/// Show the gateway at work, with a service to guard, an issuer and certificates of its own
#[derive(Debug, Args)]
pub struct Demo {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Port of the HTTPS listener
    #[arg(long, default_value_t = 8443, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    https_port: u16,
    /// Port of the listener that redirects plain HTTP
    #[arg(long, default_value_t = 8080, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    http_port: u16,
    /// Port of metrics and health
    #[arg(long, default_value_t = 9100, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    admin_port: u16,
    /// Have the gateway sign what it sends to the service, and the service refuse everything else
    #[arg(long)]
    proof: bool,
    /// Directory of the demo's certificates and keys [default: $XDG_STATE_HOME/durward/demo]
    #[arg(long, global = true)]
    dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Print a token that the demo accepts
    Token(Token),
}

/// What the token says.
#[derive(Debug, Args)]
struct Token {
    /// Scopes, separated by spaces: read:vehicle read:lien_info read:history write:history
    #[arg(long)]
    scope: String,
    /// Subject
    #[arg(long, default_value = "demo-user")]
    sub: String,
    /// A role (may be repeated): vehicle-analyst
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// Seconds until it expires, at most a day
    #[arg(long, default_value_t = 300, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_TTL)))]
    ttl: u32,
    /// Audience
    #[arg(long, default_value = AUDIENCE)]
    audience: String,
    /// Signature algorithm
    #[arg(long, value_enum, default_value_t)]
    alg: Algorithm,
}

impl Demo {
    /// Prints a token, or starts the demo and hands it to `serve`, which runs the gateway until it is told to stop. The
    /// caller passes the gateway's entry; the demo itself knows none.
    ///
    /// # Errors
    /// Those of [`demo::start`], [`demo::token()`] and `serve`.
    pub fn run(self, serve: impl FnOnce(demo::Demo) -> io::Result<()>) -> io::Result<()> {
        let dir = self.dir.unwrap_or_else(demo::default_dir);
        match self.verb {
            Some(Verb::Token(token)) => {
                use io::Write as _;
                let token = demo::token(&dir, &token.into())?;
                writeln!(io::stdout(), "{token}")
            }
            None => serve(demo::start(&Options {
                dir,
                https_port: self.https_port,
                http_port: self.http_port,
                admin_port: self.admin_port,
                proof: self.proof,
                program: None,
            })?),
        }
    }
}

impl From<Token> for TokenRequest {
    fn from(token: Token) -> TokenRequest {
        TokenRequest {
            scope: token.scope,
            subject: token.sub,
            roles: token.roles,
            ttl_seconds: token.ttl,
            audience: token.audience,
            algorithm: token.alg,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        demo: Demo,
    }

    fn parse(line: &str) -> Result<Demo, clap::Error> {
        Cli::try_parse_from(std::iter::once("demo").chain(line.split(' '))).map(|cli| cli.demo)
    }

    #[test]
    fn the_directory_may_stand_before_or_after_token() {
        for line in [
            "--dir /d token --scope a",
            "token --scope a --dir /d --role x --role y --alg ES256",
        ] {
            assert_eq!(parse(line).unwrap().dir, Some(PathBuf::from("/d")), "{line}");
        }
    }

    #[test]
    fn ports_and_lifetimes_out_of_range_are_usage_errors() {
        for line in [
            "--https-port 0",
            "--http-port 65536",
            "token --scope a --ttl 0",
            "token --scope a --ttl 86401",
            "token",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
        assert_eq!(parse("--admin-port 1").unwrap().admin_port, 1);
    }

    #[test]
    fn without_a_verb_the_demo_is_started_with_the_ports_asked() {
        let scratch = crate::pki::store::Scratch::new();
        let line = format!("--https-port 1443 --dir {}", scratch.0.display());
        let mut variables = Vec::new();
        parse(&line)
            .unwrap()
            .run(|demo| {
                variables = demo.variables();
                Ok(())
            })
            .unwrap();
        assert!(variables.contains(&("DURWARD_DEMO_HTTPS", "127.0.0.1:1443".to_owned())));
        assert!(variables.contains(&("DURWARD_DEMO_HTTP", "127.0.0.1:8080".to_owned())));
    }
}
