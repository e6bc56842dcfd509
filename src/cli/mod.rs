//! The command line: one file a verb. Exit codes: 0 good, 1 not, 2 the call itself was wrong, or nobody could be asked.

mod admin;
mod check;
pub mod demo;
pub mod explain;
mod keys;
mod logging;
mod prove;
mod run;
mod seal;
mod status;
mod test;
mod tls;
mod upgrade;
mod version;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};

use crate::config::fault::{Fault, Severity};
use crate::gateway::Gateway;
use crate::gateway::compile::{Compiled, load};
use crate::secrets::keeper::Keeper;

/// An API security gateway that can prove what it lets through
#[derive(Debug, Parser)]
#[command(name = "durward", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the gateway
    Run(run::Run),
    /// Hand the sockets of the running gateway to a new process, without losing a request
    Upgrade(File),
    /// Ask the running gateway whether it runs what the file says
    Status(status::Status),
    /// Check a configuration: everything that is wrong with it, at once
    #[command(alias = "validate")]
    Check(check::Check),
    /// List every way in without a credential, and the layers of each route
    Prove(prove::Prove),
    /// Show how a decision came about: of a refused request, by its id, or offline of one that is described
    Explain(explain::Explain),
    /// Seal a secret into a file, for `${sealed:FILE}`
    Seal(seal::Seal),
    /// Make, list and take back API keys
    Keys(keys::Keys),
    /// Run the tests that stand in the configuration
    Test(test::Test),
    /// Make development certificates and requests for real ones; find out why a handshake fails
    Tls(tls::Tls),
    /// Print the JSON Schema of the configuration, for editors
    Schema,
    /// Print the version
    Version(version::Version),
    /// Run or use the embedded demo
    Demo(demo::Demo),
}

/// Which configuration.
#[derive(Debug, Args)]
struct File {
    /// Configuration file
    #[arg(
        short,
        long,
        value_name = "FILE",
        default_value = "/etc/durward/durward.yaml",
        env = "DURWARD_CONFIG"
    )]
    config: PathBuf,
}

/// The binary's main.
#[must_use]
pub fn main() -> ExitCode {
    logging::start();
    let outcome = match Cli::parse().verb {
        Verb::Run(run) => run::run(&run),
        Verb::Seal(seal) => seal.run(),
        Verb::Upgrade(file) => upgrade::upgrade(&file),
        Verb::Status(status) => status.run(),
        Verb::Check(check) => check.run(),
        Verb::Prove(prove) => prove.run(),
        Verb::Explain(explain) => explain.run(),
        Verb::Keys(keys) => keys.run(),
        Verb::Test(test) => test.run(),
        Verb::Tls(tls) => tls.run(),
        Verb::Schema => schema(),
        Verb::Version(version) => version.run(),
        Verb::Demo(demo) => demo.run(run::demo).map(|()| ExitCode::SUCCESS),
    };
    match outcome {
        Ok(code) => code,
        // whoever reads our output has seen enough: `durward prove | head`
        Err(why) if why.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(why) => {
            let _ = writeln!(io::stderr(), "durward: {why}");
            ExitCode::FAILURE
        }
    }
}

/// The compiled file; `None` after its faults were printed.
fn gateway(file: &File) -> io::Result<Option<Gateway>> {
    Ok(compiled(file, None)?.gateway)
}

/// The same, with the files that were read for it. Stores of secrets are asked only for a keeper.
fn compiled(file: &File, keeper: Option<&Arc<Keeper>>) -> io::Result<Compiled> {
    let compiled = load(&file.config, keeper).map_err(|why| {
        io::Error::new(
            why.kind(),
            format!("cannot read {}: {why}", file.config.display()),
        )
    })?;
    report(&compiled.faults)?;
    Ok(compiled)
}

/// Prints faults to the standard error.
fn report(faults: &[Fault]) -> io::Result<()> {
    let mut out = io::stderr().lock();
    for fault in faults {
        writeln!(out, "{fault}\n")?;
    }
    let count = |severity| faults.iter().filter(|fault| fault.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    if errors + warnings > 0 {
        let more = if faults.len() >= crate::config::parse::MAX_FAULTS {
            "; there may be more"
        } else {
            ""
        };
        writeln!(out, "{errors} errors, {warnings} warnings{more}")?;
    }
    Ok(())
}

fn schema() -> io::Result<ExitCode> {
    let schema = schemars::schema_for!(crate::config::Config);
    writeln!(io::stdout(), "{:#}", schema.as_value())?;
    Ok(ExitCode::SUCCESS)
}
