//! `durward test`: the tests that stand in the configuration (M6).

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;

use super::{File, gateway};
use crate::gateway::Gateway;
use crate::policy_test::mutate::mutants;
use crate::policy_test::{Outcome, PolicyTest, Prepared, runtime};

/// Which tests.
#[derive(Debug, Args)]
pub(super) struct Test {
    #[command(flatten)]
    file: File,
    /// Remove or loosen each gate in turn, and fail where no test notices
    #[arg(long)]
    mutate: bool,
}

impl Test {
    pub(super) fn run(&self) -> io::Result<ExitCode> {
        let Some(mut gateway) = gateway(&self.file)? else {
            return Ok(ExitCode::FAILURE);
        };
        let file = self.file.config.display().to_string();
        let mut out = io::stdout().lock();
        let tests = std::mem::take(&mut gateway.tests);
        if tests.is_empty() {
            writeln!(out, "{file}: there are no `tests`")?;
            return Ok(ExitCode::FAILURE);
        }
        let base = self.file.config.parent().unwrap_or(Path::new(""));
        let runtime = runtime()?;
        let began = Instant::now();
        let prepared: Vec<Prepared<'_>> = tests
            .iter()
            .map(|test| {
                test.prepare(&mut gateway, base)
                    .map_err(|why| io::Error::other(format!("{file}:{}: {}: {why}", test.line, test.name)))
            })
            .collect::<io::Result<_>>()?;
        let outcomes: Vec<Outcome> = prepared.iter().map(|test| test.run(&gateway, &runtime)).collect();
        let took = began.elapsed().as_secs_f64() * 1000.0;
        let mut failed = 0;
        for (test, outcome) in tests.iter().zip(&outcomes).filter(|(_, outcome)| !outcome.holds) {
            failed += 1;
            tell(&file, test, outcome, &mut out)?;
        }
        writeln!(out, "{} tests, {failed} failed ({took:.1} ms)", tests.len())?;
        if failed > 0 {
            return Ok(ExitCode::FAILURE);
        }
        if self.mutate {
            return mutate(&file, &mut gateway, &prepared, &outcomes, &runtime, &mut out);
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What a test expected, what it got, and how that came about.
fn tell(file: &str, test: &PolicyTest, outcome: &Outcome, out: &mut impl Write) -> io::Result<()> {
    let of = |route: Option<&str>| route.map_or(String::new(), |route| format!(" by route `{route}`"));
    writeln!(out, "FAILED {file}:{}: {}", test.line, test.name)?;
    writeln!(
        out,
        "    expected {}{}, got {}{}",
        test.expect,
        of(test.route.as_deref()),
        outcome.verdict(),
        of(outcome.decision.route.as_deref())
    )?;
    let mut decision = Vec::new();
    outcome.decision.write(file, &mut decision)?;
    for line in String::from_utf8_lossy(&decision)
        .lines()
        .filter(|line| !line.is_empty())
    {
        writeln!(out, "      {line}")?;
    }
    writeln!(out)
}

/// Whether the tests notice every mutant.
fn mutate(
    file: &str,
    gateway: &mut Gateway,
    tests: &[Prepared<'_>],
    outcomes: &[Outcome],
    runtime: &tokio::runtime::Runtime,
    out: &mut impl Write,
) -> io::Result<ExitCode> {
    let mut mutants = mutants(gateway);
    let mut survived = 0;
    for mutant in &mut mutants {
        if !mutant.is_noticed(gateway, tests, outcomes, runtime) {
            survived += 1;
            writeln!(out, "NOT NOTICED {file}:{}: {}", mutant.line, mutant.what)?;
        }
    }
    let (all, noticed) = (mutants.len(), mutants.len() - survived);
    let score = (noticed * 100).checked_div(all).unwrap_or(100);
    writeln!(out, "{noticed} of {all} mutants noticed: {score} %")?;
    Ok(if survived == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
