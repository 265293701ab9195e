//! The command line of Milepost: one file for each command, rendering apart.
//!
//! - [`output`] finds out from a command's output how far it is; pure.
//! - `ffmpeg` knows how long ffmpeg's output will be.
//! - `run` puts a command, its output, a bar and a reporter together.
//! - `bars` draws.

mod argument_values;
mod bars;
mod cancel;
mod client;
mod complete;
mod demo;
mod exit;
mod ffmpeg;
mod jobs;
mod key;
mod log;
mod manual;
mod open;
pub mod output;
mod report;
mod run;
mod serve;
mod share;
mod status;
mod token;
mod top;
mod watch;

use std::process;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::CompleteEnv;

use exit::{EXIT_CODES, ExitCode};

/// Show how far long-running jobs are, live.
#[derive(Debug, Parser)]
#[command(name = "milepost", version, after_help = EXIT_CODES, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Args),
    Run(run::Args),
    Watch(watch::Args),
    Report(report::Args),
    Status(status::Args),
    Jobs(jobs::Args),
    Top(top::Args),
    Cancel(cancel::Cancel),
    Pause(cancel::Pause),
    Resume(cancel::Resume),
    Log(log::Args),
    Open(open::Args),
    Share(share::Args),
    Serve(serve::Args),
    Key(key::Args),
    Token(token::Args),
    Completions(manual::Completions),
    Man(manual::Man),
}

/// Runs the command in the arguments.
pub fn main() -> process::ExitCode {
    // Ends the process if a shell asks for completions.
    CompleteEnv::with_factory(Cli::command).var(complete::VARIABLE).complete();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and version are errors to clap too, with a code of 0.
        Err(error) if error.exit_code() == 0 => return exit::printed(error.print()).into(),
        Err(error) => {
            return exit::complain(first_sentence(&error.to_string()), ExitCode::Usage).into();
        }
    };
    // `serve` refuses to start with an unknown variable.
    if !matches!(cli.command, Command::Serve(_)) {
        warn_of_misspelt_variables();
    }
    match cli.command {
        Command::Demo(args) => args.run(),
        Command::Run(args) => args.run(),
        Command::Watch(args) => args.run(),
        Command::Report(args) => args.run(),
        Command::Status(args) => args.run(),
        Command::Jobs(args) => args.run(),
        Command::Top(args) => args.run(),
        Command::Cancel(args) => args.run(),
        Command::Pause(args) => args.run(),
        Command::Resume(args) => args.run(),
        Command::Log(args) => args.run(),
        Command::Open(args) => args.run(),
        Command::Share(args) => args.run(),
        Command::Serve(args) => args.run(),
        Command::Key(args) => args.run(),
        Command::Token(args) => args.run(),
        Command::Completions(args) => args.run(),
        Command::Man(args) => args.run(),
    }
    .into()
}

/// One line on stderr for each variable that has no effect because of a wrong letter.
fn warn_of_misspelt_variables() {
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if let Some(meant) = milepost_reporter::misspelt_variable(&name) {
            let problem =
                format!("the environment variable {name} has no effect: did you mean {meant}?");
            exit::warn(problem);
        }
    }
}

/// What is wrong, out of clap's text about it: up to the first empty line, in one.
fn first_sentence(text: &str) -> String {
    let lines: Vec<&str> =
        text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    let text = lines.join(" ");
    format!("{} (see --help)", text.strip_prefix("error: ").unwrap_or(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn wrong_usage_is_one_line() {
        let line = |arguments: &[&str]| {
            first_sentence(&Cli::try_parse_from(arguments).unwrap_err().to_string())
        };
        assert_eq!(
            line(&["milepost", "status"]),
            "the following required arguments were not provided: <JOB> (see --help)"
        );
        assert!(
            line(&["milepost", "status", "a/b"]).starts_with("invalid value 'a/b' for '<JOB>': ")
        );
    }
}
