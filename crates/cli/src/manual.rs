//! `milepost completions` and `milepost man`: made from the command line's own definition.

use std::io::{self, Write};

use clap::CommandFactory;
use clap_complete::Shell;
use clap_complete::env::Shells;

use crate::exit::{ExitCode, complain, printed};
use crate::{Cli, complete};

/// Print completions for a shell: source <(milepost completions bash)
///
/// Job ids are completed too: the shell asks the server in `MILEPOST_URL`.
#[derive(Debug, clap::Args)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(&self) -> ExitCode {
        let shells = Shells::builtins();
        let Some(completer) = shells.completer(&self.shell.to_string()) else {
            let what = format_args!("there are no completions for {}", self.shell);
            return complain(what, ExitCode::Usage);
        };
        let mut text = Vec::new();
        let written = completer.write_registration(
            complete::VARIABLE,
            "milepost",
            "milepost",
            "milepost",
            &mut text,
        );
        printed(written.and_then(|()| io::stdout().write_all(&text)))
    }
}

/// Print the manual page, in roff: milepost man | man -l -
#[derive(Debug, clap::Args)]
pub(crate) struct Man {
    /// Print the page of this command [default: milepost itself]
    command: Option<String>,
}

impl Man {
    pub(crate) fn run(&self) -> ExitCode {
        let mut cli = Cli::command();
        cli.build();
        let page = match &self.command {
            None => cli,
            Some(name) => match cli.find_subcommand(name) {
                Some(command) => command.clone().display_name(format!("milepost-{name}")),
                None => {
                    return complain(format_args!("there is no command {name:?}"), ExitCode::Usage);
                }
            },
        };
        printed(clap_mangen::Man::new(page).render(&mut io::stdout()))
    }
}
