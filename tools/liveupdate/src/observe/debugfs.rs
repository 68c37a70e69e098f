// SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0

//! What debugfs tells root about LUO as a whole.

use super::{lines, malformed, word, Direction, Name, SessionState};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The directory `liveupdate` of a debugfs.
///
/// Every method reads its file anew.
#[derive(Clone, Debug)]
pub struct Debugfs(PathBuf);

/// What became of what the previous kernel handed over.
#[derive(Clone, Debug, Eq, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(tag = "state", content = "text", rename_all = "lowercase")
)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub enum Handover {
    /// It handed nothing over.
    None,
    /// Its sessions wait for the first open of the device.
    Pending,
    /// Its sessions are there, or were.
    Restored,
    /// It cannot be believed; the kernel's words, as in its log.
    Refused(String),
    /// What a newer kernel says.
    Other(Name),
}

/// The image of the next kernel, by what becomes of the sessions.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Image {
    /// None is loaded.
    None,
    /// It carries them.
    Carries,
    /// It loses them, so the reboot will be refused: `kexec_load()` loaded it.
    Loses,
    /// It is being loaded or entered.
    Busy,
    /// What a newer kernel says.
    Other(String),
}

words!(Image {
    None = "none",
    Carries = "carries",
    Loses = "loses",
    Busy = "busy";
    Other
});

/// A session, also if nobody has a descriptor of it.
#[derive(Clone, Debug, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct SessionLine {
    /// Its name.
    pub name: Name,
    /// How far it has come.
    pub state: SessionState,
    /// How many files it has.
    pub files: u64,
}

/// A registered file handler.
#[derive(Clone, Debug, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Handler {
    /// Its compatible string.
    pub compatible: Name,
    /// How many files it takes care of.
    pub files: u64,
    /// The module it is in, if it is not built in.
    pub module: Option<Name>,
}

/// A registered file-lifecycle-bound object.
#[derive(Clone, Debug, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Flb {
    /// Its compatible string.
    pub compatible: Name,
    /// How many preserved files need it.
    pub outgoing: u64,
    /// How many files of the previous kernel need it.
    pub incoming: u64,
    /// The module it is in, if it is not built in.
    pub module: Option<Name>,
}

/// How the kernel begins to say that it refuses a hand-over.
const REFUSED: &[u8] = b"refused what the previous kernel handed over";

impl Default for Debugfs {
    /// Where debugfs is usually mounted.
    fn default() -> Self {
        Self(PathBuf::from("/sys/kernel/debug/liveupdate"))
    }
}

impl Debugfs {
    /// The same at another place.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Whether LUO is on.
    pub fn enabled(&self) -> io::Result<bool> {
        match self.line("enabled")?.as_slice() {
            b"Y" => Ok(true),
            b"N" => Ok(false),
            text => Err(malformed("Y or N", text)),
        }
    }

    /// How many live updates led to this kernel.
    pub fn number(&self) -> io::Result<u64> {
        word("live update number", &self.line("number")?)
    }

    /// In which format the previous kernel handed over, if it did, or this one does.
    pub fn format(&self, direction: &Direction) -> io::Result<Option<Name>> {
        Ok(unless_dash(&self.line(&format!("format_{direction}"))?))
    }

    /// What became of the previous kernel's hand-over.
    pub fn handover(&self) -> io::Result<Handover> {
        let line = self.line("handover")?;
        Ok(match line.as_slice() {
            b"none" => Handover::None,
            b"pending" => Handover::Pending,
            b"restored" => Handover::Restored,
            text if text.starts_with(REFUSED) => {
                Handover::Refused(String::from_utf8_lossy(text).into_owned())
            }
            text => Handover::Other(text.into()),
        })
    }

    /// What would become of the sessions with the image that is loaded.
    pub fn image(&self) -> io::Result<Image> {
        word("image", &self.line("image")?)
    }

    /// The sessions of one direction, in the order of their creation.
    pub fn sessions(&self, direction: &Direction) -> io::Result<Vec<SessionLine>> {
        self.table(&format!("sessions/{direction}"), |[name, state, files]| {
            Ok(SessionLine {
                name: Name::unescape(name),
                state: word("state of a session", state)?,
                files: word("number of files", files)?,
            })
        })
    }

    /// The registered file handlers.
    pub fn handlers(&self) -> io::Result<Vec<Handler>> {
        self.table("handlers", |[compatible, files, module]| {
            Ok(Handler {
                compatible: Name::unescape(compatible),
                files: word("number of files", files)?,
                module: unless_dash(module),
            })
        })
    }

    /// The registered FLBs.
    pub fn flbs(&self) -> io::Result<Vec<Flb>> {
        self.table("flbs", |[compatible, outgoing, incoming, module]| {
            Ok(Flb {
                compatible: Name::unescape(compatible),
                outgoing: word("number of files", outgoing)?,
                incoming: word("number of files", incoming)?,
                module: unless_dash(module),
            })
        })
    }

    fn line(&self, file: &str) -> io::Result<Vec<u8>> {
        let text = fs::read(self.0.join(file))?;
        Ok(text.trim_ascii_end().to_vec())
    }

    /// Reads a file of lines of so many fields.
    fn table<T, const FIELDS: usize>(
        &self,
        file: &str,
        row: impl Fn([&[u8]; FIELDS]) -> io::Result<T>,
    ) -> io::Result<Vec<T>> {
        lines(&self.0.join(file))?
            .iter()
            .map(|line| {
                let fields: Vec<_> = line.split(|&byte| byte == b'\t').collect();
                let fields = fields.try_into().map_err(|_| malformed(file, line))?;
                row(fields)
            })
            .collect()
    }
}

fn unless_dash(text: &[u8]) -> Option<Name> {
    (text != b"-").then(|| Name::unescape(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with these files in it.
    fn debugfs(files: &[(&str, &str)]) -> io::Result<(tempfile::TempDir, Debugfs)> {
        let directory = tempfile::tempdir()?;
        fs::create_dir(directory.path().join("sessions"))?;
        for (name, text) in files {
            fs::write(directory.path().join(name), text)?;
        }
        let debugfs = Debugfs::at(directory.path());
        Ok((directory, debugfs))
    }

    #[test]
    fn a_kernel_that_was_live_updated() -> io::Result<()> {
        let (_directory, debugfs) = debugfs(&[
            ("enabled", "Y\n"),
            ("number", "3\n"),
            ("format_incoming", "luo-v5\n"),
            ("format_outgoing", "luo-fdt\n"),
            ("handover", "restored\n"),
            ("image", "loses\n"),
            (
                "sessions/outgoing",
                "vm\\0401\tcreated\t2\nempty\tcreated\t0\n",
            ),
            ("sessions/incoming", "old\twaiting\t7\n"),
            ("handlers", "memfd-v2\t9\t-\nvfio\\011\t0\tvfio_pci\n"),
            ("flbs", "iommu\t1\t2\tiommufd\n"),
        ])?;
        assert!(debugfs.enabled()?);
        assert_eq!(debugfs.number()?, 3);
        let format = |direction| debugfs.format(&direction);
        assert_eq!(format(Direction::Incoming)?, Some("luo-v5".into()));
        assert_eq!(format(Direction::Outgoing)?, Some("luo-fdt".into()));
        assert_eq!(debugfs.handover()?, Handover::Restored);
        assert_eq!(debugfs.image()?, Image::Loses);
        let session = |name: &str, state, files| SessionLine {
            name: name.into(),
            state,
            files,
        };
        assert_eq!(
            debugfs.sessions(&Direction::Outgoing)?,
            [
                session("vm 1", SessionState::Created, 2),
                session("empty", SessionState::Created, 0)
            ]
        );
        assert_eq!(
            debugfs.sessions(&Direction::Incoming)?,
            [session("old", SessionState::Waiting, 7)]
        );
        let handler = |compatible: &str, files, module: Option<&str>| Handler {
            compatible: compatible.into(),
            files,
            module: module.map(Name::from),
        };
        assert_eq!(
            debugfs.handlers()?,
            [
                handler("memfd-v2", 9, None),
                handler("vfio\t", 0, Some("vfio_pci"))
            ]
        );
        assert_eq!(
            debugfs.flbs()?,
            [Flb {
                compatible: "iommu".into(),
                outgoing: 1,
                incoming: 2,
                module: Some("iommufd".into())
            }]
        );
        Ok(())
    }

    #[test]
    fn a_first_kernel() -> io::Result<()> {
        let (_directory, debugfs) = debugfs(&[
            ("enabled", "N\n"),
            ("number", "0\n"),
            ("format_incoming", "-\n"),
            ("handover", "none\n"),
            ("sessions/outgoing", ""),
        ])?;
        assert!(!debugfs.enabled()?);
        assert_eq!(debugfs.format(&Direction::Incoming)?, None);
        assert_eq!(debugfs.handover()?, Handover::None);
        assert_eq!(debugfs.sessions(&Direction::Outgoing)?, []);
        let missing = debugfs.handlers().map_err(|error| error.kind());
        assert_eq!(missing, Err(io::ErrorKind::NotFound));
        Ok(())
    }

    #[test]
    fn what_became_of_a_handover() -> io::Result<()> {
        let refused = "refused what the previous kernel handed over \
            (session 'a\\012b'): luo_ser.sessions_pa: 0x1";
        for (text, due) in [
            ("pending", Handover::Pending),
            (refused, Handover::Refused(refused.into())),
            ("refused", Handover::Other("refused".into())),
            ("lost", Handover::Other("lost".into())),
        ] {
            let (_directory, debugfs) = debugfs(&[("handover", text)])?;
            assert_eq!(debugfs.handover()?, due);
        }
        Ok(())
    }

    #[test]
    fn what_means_nothing() -> io::Result<()> {
        let (_directory, debugfs) = debugfs(&[
            ("enabled", "maybe\n"),
            ("number", "-1\n"),
            ("sessions/outgoing", "name\tcreated\n"),
            ("handlers", "memfd-v2\tmany\t-\n"),
        ])?;
        let kind = |result: io::Result<()>| result.map_err(|error| error.kind());
        let invalid = Err(io::ErrorKind::InvalidData);
        assert_eq!(kind(debugfs.enabled().map(drop)), invalid);
        assert_eq!(kind(debugfs.number().map(drop)), invalid);
        assert_eq!(
            kind(debugfs.sessions(&Direction::Outgoing).map(drop)),
            invalid
        );
        assert_eq!(kind(debugfs.handlers().map(drop)), invalid);
        Ok(())
    }
}
