// SPDX-License-Identifier: GPL-2.0

//! A program as people use it: started by its name, and talked to line by line.

use crate::World;
use anyhow::{ensure, Context, Result};
use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

const BIN: &str = "/bin";

/// A command, its words separated by blanks.
pub fn command(words: &str) -> Result<Command> {
    let mut words = words.split_whitespace();
    // To look it up, the standard library would need sockets, which the kernel does not have.
    let program = format!("{BIN}/{}", words.next().context("no command")?);
    let mut command = Command::new(program);
    command.args(words).env("PATH", BIN);
    Ok(command)
}

/// A program that runs.
pub struct Program {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Program {
    /// Starts a command.
    pub fn start(words: &str) -> Result<Self> {
        println!("# $ {words}");
        let mut child = command(words)?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context(words.to_owned())?;
        let input = child.stdin.take().context("no input")?;
        let output = BufReader::new(child.stdout.take().context("no output")?);
        Ok(Self {
            child,
            input,
            output,
        })
    }

    /// Tells it a line.
    pub fn say(&mut self, line: &str) -> Result<()> {
        println!("# < {line}");
        Ok(writeln!(self.input, "{line}")?)
    }

    /// Its next line.
    pub fn hear(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let line = line.strip_suffix('\n').context("it says nothing more")?;
        println!("# {line}");
        Ok(line.to_owned())
    }

    /// Tells it a line, and gives what it says to that.
    pub fn answer(&mut self, line: &str) -> Result<String> {
        self.say(line)?;
        self.hear()
    }

    /// Leaves it running until the kexec.
    pub fn keep(self, world: &mut World) {
        world.keep(self.input);
        world.keep(self.output.into_inner());
    }

    /// Ends its input, and so the program.
    pub fn end(mut self) -> Result<()> {
        drop(self.input);
        let status = self.child.wait()?;
        ensure!(status.success(), "{status}");
        Ok(())
    }
}
