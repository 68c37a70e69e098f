// SPDX-License-Identifier: GPL-2.0

//! `luoctl put` and `luoctl get`: the contents of a plain file, carried in a sealed memfd.

use crate::{
    device::{self, of_file},
    failure::{Exit, Failure, Outcome, Trying},
    hold::session_name,
    keep::{leave, or_keep, Way},
    output::say,
    supervise::Program,
};
use clap::Args;
use liveupdate::{
    observe::{Name, Token},
    Session,
};
use rustix::fs::{fcntl_add_seals, memfd_create, MemfdFlags, SealFlags};
use std::{
    ffi::OsString,
    fs::File,
    io::{self, Seek},
    os::{fd::AsFd, unix::ffi::OsStrExt},
    path::PathBuf,
};

/// What a file is carried under.
const TOKEN: Token = Token(0);

/// Carry the contents of a file into the next kernel
///
/// Copies FILE into a sealed memfd, and preserves that under token 0 in a session of its own. A
/// process in the background keeps the session until the kexec, or until it is killed; or COMMAND
/// is run meanwhile, as by `luoctl hold`. In the next kernel, `luoctl get` gives the contents
/// back. What becomes of FILE later does not matter.
#[derive(Args)]
pub struct Put {
    /// The file; - is standard input, and needs --name
    file: PathBuf,
    /// The name of the session, instead of FILE's without its directory
    #[arg(long, value_parser = session_name)]
    name: Option<Name>,
    /// Run this, and keep the session no longer than it runs
    #[arg(last = true)]
    command: Vec<OsString>,
}

/// Get back the contents of a file
///
/// Retrieves what `luoctl put` has put into the session NAME of the previous kernel, writes it
/// to standard output or a file, and finishes the session. If writing fails, nothing is lost: a
/// process keeps the session, and the next `luoctl get` takes it over.
#[derive(Args)]
pub struct Get {
    /// The name of the session
    #[arg(value_parser = session_name)]
    name: Name,
    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Put {
    pub fn run(self) -> Outcome {
        let name = self.session()?;
        let program = match self.command.as_slice() {
            [] => None,
            command => Some(Program::new(command)?),
        };
        let memfd = if self.file.as_os_str() == "-" {
            sealed(&name, io::stdin().lock()).trying("standard input")?
        } else {
            let copied = File::open(&self.file).and_then(|file| sealed(&name, file));
            copied.trying(self.file.display())?
        };
        let session = device::create(&name)?;
        let preserved = session.preserve_fd(&memfd, TOKEN);
        preserved.map_err(|error| of_file(error, self.file.display()))?;
        drop(memfd);
        if let Some(program) = program {
            return program.run();
        }
        let pid = leave(session, Way::Outgoing, &name).trying("a process to keep the session")?;
        say(format!(
            "process {pid} keeps session '{name}' until the kexec"
        ));
        Ok(Exit::Done as u8)
    }

    fn session(&self) -> Result<Name, Failure> {
        if let Some(name) = &self.name {
            return Ok(name.clone());
        }
        let name = match self.file.file_name() {
            Some(name) if self.file.as_os_str() != "-" => Name::from(name.as_bytes()),
            _ => {
                return Err(Failure::new(
                    Exit::Usage,
                    "no name to be had from this FILE: --name",
                ))
            }
        };
        session_name(&name.to_string())
            .map_err(|why| Failure::new(Exit::Usage, format!("{why}: --name")))
    }
}

/// A memfd with these contents, which nobody can change any more.
fn sealed(name: &Name, mut from: impl io::Read) -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | MemfdFlags::NOEXEC_SEAL;
    let mut memfd = File::from(memfd_create(name.as_bytes(), flags)?);
    io::copy(&mut from, &mut memfd)?;
    memfd.rewind()?;
    fcntl_add_seals(
        &memfd,
        SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL,
    )?;
    Ok(memfd)
}

impl Get {
    pub fn run(self) -> Outcome {
        let session = device::retrieve(&self.name)?;
        or_keep(session, &self.name, |session| self.write(session))?;
        Ok(Exit::Done as u8)
    }

    fn write(&self, session: &Session) -> Result<(), Failure> {
        let memfd = session.retrieve_fd(TOKEN);
        let mut memfd = File::from(memfd.map_err(|error| of_file(error, TOKEN))?);
        memfd.rewind().trying(TOKEN)?;
        match &self.output {
            Some(path) => {
                let written = File::create(path).and_then(|mut file| {
                    io::copy(&mut memfd, &mut file)?;
                    file.sync_all()
                });
                written.trying(path.display())?;
            }
            // With nothing in between that is written later.
            None => {
                let out = io::stdout().as_fd().try_clone_to_owned().map(File::from);
                let written = out.and_then(|mut out| io::copy(&mut memfd, &mut out));
                written.trying("standard output")?;
            }
        }
        Ok(session.finish()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn contents_are_sealed() -> io::Result<()> {
        let mut memfd = sealed(&Name::from("file"), &b"contents"[..])?;
        let mut contents = String::new();
        memfd.read_to_string(&mut contents)?;
        assert_eq!(contents, "contents");
        let refused = memfd.write(b"more").map_err(|error| error.kind());
        assert_eq!(refused, Err(io::ErrorKind::PermissionDenied));
        Ok(())
    }
}
