//! `milepost completions` and `milepost man`: made from the command line's own definition.

use std::io::{self, Write};

use clap::CommandFactory;
use clap_complete::Shell;

use crate::Cli;
use crate::exit::{ExitCode, printed};

/// Print completions for a shell.
#[derive(Debug, clap::Args)]
pub(crate) struct Completions {
    /// For which shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(&self) -> ExitCode {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "milepost", &mut text);
        printed(io::stdout().write_all(&text))
    }
}

/// Print the manual page, in roff: milepost man | man -l -
#[derive(Debug, clap::Args)]
pub(crate) struct Man {
    /// The page of this command [default: that of milepost itself]
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
                    return crate::exit::complain(
                        format_args!("there is no command {name:?}"),
                        ExitCode::Usage,
                    );
                }
            },
        };
        printed(clap_mangen::Man::new(page).render(&mut io::stdout()))
    }
}
