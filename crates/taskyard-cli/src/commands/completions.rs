//! `completions SHELL`: prints the completion script of a shell.

use std::io::Write as _;

use clap::Args;
use clap_complete::Shell;
use taskyard_terminal::Failure;

/// Print the completions of a shell
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// bash, zsh, fish, elvish or powershell
    shell: Shell,
}

impl Completions {
    pub(crate) fn print(&self, command: &mut clap::Command) -> Result<u8, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, command, "taskyard", &mut script);
        std::io::stdout().lock().write_all(&script)?;
        Ok(0)
    }
}
