//! The `durward` binary: arguments in, exit code out.

fn main() -> std::process::ExitCode {
    durward::cli::main()
}
