// SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0

//! Which token is what: a list that is preserved beside the files, so that the program in the next
//! kernel, perhaps a newer one, need not know by heart what this one has preserved.
//!
//! ```no_run
//! use liveupdate::{
//!     manifest::{Entry, Manifest},
//!     Device,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let (ram, state) = (std::fs::File::open("/ram")?, std::fs::File::open("/state")?);
//! let session = Device::open()?.create_session("vm")?;
//! let mut manifest = Manifest::new();
//! session.preserve_fd(&ram, 1)?;
//! manifest.insert(1, Entry::new("ram0").with("address", "0x0").with("size", "0x8000000"))?;
//! session.preserve_fd(&state, 2)?;
//! manifest.insert(2, Entry::new("vcpu0").with("format", "3"))?;
//! manifest.preserve(&session, 0)?;
//!
//! // In the next kernel.
//! let session = Device::open()?.retrieve_session("vm")?;
//! let manifest = Manifest::retrieve(&session, 0)?;
//! for (token, entry) in &manifest {
//!     println!("{} is {}", entry.name(), token);
//! }
//! let (token, vcpu) = manifest.find("vcpu0").ok_or("no vCPU")?;
//! assert!(vcpu.parse::<u32>("format")? <= 3);
//! let state = session.retrieve_fd(token)?;
//! # Ok(())
//! # }
//! ```
//!
//! # Format
//!
//! Lines of text, each of which ends with a newline. The first has the name of the format, its
//! version and the number of entries, with a blank between them; each other line is an entry, its
//! fields with a tab between them: the token in hexadecimal behind `0x`, the name, and any
//! attributes, each a key, `=`, and a value. With blanks for the tabs:
//!
//! ```text
//! luo-manifest 1 2
//! 0x1  ram0   address=0x0  size=0x8000000
//! 0x2  vcpu0  format=3
//! ```
//!
//! Names, keys and values are bytes, written as a [`Name`] is: a backslash, a control character and
//! what is not UTF-8 are octal digits behind a backslash. A key is not empty and has no `=`. Tokens
//! and names are there once each, and keys once in an entry; entries are in the order of their
//! tokens, attributes in that of their keys. So there is one way only to write a manifest, and what
//! is written in another way, is longer than [`MAX_SIZE`] or ends early is not believed.
//!
//! What attributes mean is up to the programs: one that a program does not know is none of its
//! business. The version is raised if older readers would misunderstand; they refuse it.

use crate::{error::Tried, Error, Name, Result, Session, Token};
use nix::{
    fcntl::{fcntl, FcntlArg, SealFlag},
    sys::memfd::{memfd_create, MFdFlags},
};
use std::{
    collections::{btree_map, BTreeMap, BTreeSet},
    fmt::{self, Display, Formatter},
    fs::File,
    io::{self, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::FileExt,
    },
    str::FromStr,
};

/// The version of the format that this crate writes, and the newest that it reads.
pub const VERSION: u32 = 1;

/// How many bytes a manifest has at most.
pub const MAX_SIZE: usize = 1 << 20;

/// What a manifest begins with.
const MAGIC: &str = "luo-manifest";

/// Which token is what.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Manifest(BTreeMap<Token, Entry>);

/// What the file of a token is: its name, and what else there is to know before it is used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    name: Name,
    attributes: BTreeMap<Name, Name>,
}

fn malformed(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.into())
}

fn failed(error: impl Into<io::Error>) -> Error {
    Error::new(Tried::Manifest, error)
}

impl Entry {
    /// An entry without attributes.
    pub fn new(name: impl Into<Name>) -> Self {
        Self {
            name: name.into(),
            attributes: BTreeMap::new(),
        }
    }

    /// The same with one more attribute, or another value of it.
    #[must_use]
    pub fn with(mut self, key: impl Into<Name>, value: impl Into<Name>) -> Self {
        self.attributes.insert(key.into(), value.into());
        self
    }

    /// What the file is called.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The value of an attribute, if the entry has it.
    pub fn get(&self, key: impl Into<Name>) -> Option<&Name> {
        self.attributes.get(&key.into())
    }

    /// The value of an attribute that has to be there, and to mean something: a number, say, or a
    /// [`Token`], which is a number of 64 bits that may be in hexadecimal.
    ///
    /// Fails without an errno if it is not like that ([`Malformed`](crate::ErrorKind::Malformed)).
    pub fn parse<T: FromStr>(&self, key: impl Into<Name>) -> Result<T> {
        let key = key.into();
        let value = self.attributes.get(&key);
        value
            .and_then(|value| std::str::from_utf8(value.as_bytes()).ok()?.parse().ok())
            .ok_or_else(|| {
                let name = &self.name;
                failed(malformed(match value {
                    Some(value) => format!("'{value}' is no {key} of '{name}'"),
                    None => format!("'{name}' has no {key}"),
                }))
            })
    }

    /// The attributes, in the order of their keys.
    pub fn attributes(&self) -> impl Iterator<Item = (&Name, &Name)> {
        self.attributes.iter()
    }

    /// Reads the fields behind the token.
    fn read(fields: &str) -> Option<Self> {
        let mut fields = fields.split('\t').map(str::as_bytes);
        let mut entry = Self::new(Name::unescape(fields.next()?));
        for field in fields {
            let end = field.iter().position(|&byte| byte == b'=')?;
            let (key, value) = (&field[..end], &field[end + 1..]);
            entry = entry.with(Name::unescape(key), Name::unescape(value));
        }
        Some(entry)
    }
}

impl Manifest {
    /// A manifest without entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds what the file of a token is.
    ///
    /// Fails without an errno if there is an entry of this token or name, or if a key is empty or
    /// has a `=` ([`Malformed`](crate::ErrorKind::Malformed)); then nothing has changed.
    pub fn insert(&mut self, token: impl Into<Token>, entry: Entry) -> Result<()> {
        self.try_insert(token.into(), entry).map_err(failed)
    }

    fn try_insert(&mut self, token: Token, entry: Entry) -> io::Result<()> {
        let sound = |key: &Name| !key.as_bytes().is_empty() && !key.as_bytes().contains(&b'=');
        if let Some(key) = entry.attributes.keys().find(|key| !sound(key)) {
            return Err(malformed(format!("'{key}' is no key")));
        }
        if self.0.contains_key(&token) {
            return Err(malformed(format!("token {token} is there already")));
        }
        if self.iter().any(|(_, it)| it.name == entry.name) {
            return Err(malformed(format!("'{}' is there already", entry.name)));
        }
        self.0.insert(token, entry);
        Ok(())
    }

    /// What the file of a token is.
    pub fn get(&self, token: impl Into<Token>) -> Option<&Entry> {
        self.0.get(&token.into())
    }

    /// The token of the file of this name, and what else is known of it.
    pub fn find(&self, name: impl Into<Name>) -> Option<(Token, &Entry)> {
        let name = name.into();
        self.iter().find(|(_, entry)| entry.name == name)
    }

    /// The entries, in the order of their tokens.
    pub fn iter(&self) -> Iter<'_> {
        Iter(self.0.iter())
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Manifest {
    /// Preserves the manifest under a token of the caller's choice, in a sealed memfd: from now on
    /// it cannot be changed.
    ///
    /// Fails as [`Self::to_memfd`] and [`Session::preserve_fd`] do.
    pub fn preserve(&self, session: &Session, token: impl Into<Token>) -> Result<()> {
        session.preserve_fd(self.to_memfd()?, token)
    }

    /// Retrieves the manifest that was preserved under a token, and reads it.
    ///
    /// Fails as [`Session::retrieve_fd`] and [`Self::read`] do.
    pub fn retrieve(session: &Session, token: impl Into<Token>) -> Result<Self> {
        Self::read(session.retrieve_fd(token)?)
    }

    /// The manifest in a sealed memfd.
    ///
    /// Fails without an errno if it would be longer than [`MAX_SIZE`]
    /// ([`Malformed`](crate::ErrorKind::Malformed)), or with what the system calls fail with.
    pub fn to_memfd(&self) -> Result<OwnedFd> {
        self.sealed().map_err(failed)
    }

    fn sealed(&self) -> io::Result<OwnedFd> {
        let text = self.to_string();
        if text.len() > MAX_SIZE {
            return Err(malformed("too long"));
        }
        let noexec = MFdFlags::from_bits_retain(nix::libc::MFD_NOEXEC_SEAL);
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING | noexec;
        let mut memfd = File::from(memfd_create(MAGIC, flags)?);
        memfd.write_all(text.as_bytes())?;
        let seals = SealFlag::F_SEAL_WRITE
            | SealFlag::F_SEAL_GROW
            | SealFlag::F_SEAL_SHRINK
            | SealFlag::F_SEAL_SEAL;
        fcntl(&memfd, FcntlArg::F_ADD_SEALS(seals))?;
        Ok(memfd.into())
    }

    /// Reads a manifest from a file, wherever that comes from, and checks it.
    ///
    /// It is copied first, so that it does not matter whether somebody can change the file. Fails
    /// without an errno if it is not a regular file or not a manifest
    /// ([`Malformed`](crate::ErrorKind::Malformed)), or one of a later version
    /// ([`TooNew`](crate::ErrorKind::TooNew)).
    pub fn read(file: impl AsFd) -> Result<Self> {
        Self::copy(file).map_err(failed)
    }

    fn copy(file: impl AsFd) -> io::Result<Self> {
        let file = File::from(file.as_fd().try_clone_to_owned()?);
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(malformed("not a regular file"));
        }
        let size = usize::try_from(metadata.len()).ok();
        let size = size.filter(|&size| size <= MAX_SIZE);
        let mut text = vec![0; size.ok_or_else(|| malformed("too long"))?];
        file.read_exact_at(&mut text, 0)?;
        Self::parse(&text)
    }

    fn parse(text: &[u8]) -> io::Result<Self> {
        let text = std::str::from_utf8(text).map_err(|_| malformed("not text"))?;
        let (head, lines) = text.split_once('\n').ok_or_else(|| malformed("no line"))?;
        let version = head
            .strip_prefix(MAGIC)
            .and_then(|head| head.strip_prefix(' ')?.split(' ').next()?.parse().ok());
        match version.ok_or_else(|| malformed("no manifest"))? {
            VERSION => {}
            older @ ..VERSION => return Err(malformed(format!("no version {older}"))),
            newer => {
                let text =
                    format!("version {newer}, and no later one than {VERSION} is known here");
                return Err(io::Error::new(io::ErrorKind::Unsupported, text));
            }
        }
        let entry = |line: &str| {
            let (token, fields) = line.split_once('\t')?;
            Some((token.parse().ok()?, Entry::read(fields)?))
        };
        let entries = lines.lines().map(|line| {
            entry(line).ok_or_else(|| malformed(format!("no entry: '{}'", Name::from(line))))
        });
        let manifest = Self(entries.collect::<io::Result<_>>()?);
        let names: BTreeSet<_> = manifest.0.values().map(Entry::name).collect();
        // Whatever is there twice is missing now.
        if names.len() < manifest.len() || manifest.to_string() != text {
            return Err(malformed("incomplete, or not written as a manifest is"));
        }
        Ok(manifest)
    }
}

/// As it is written.
impl Display for Manifest {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{MAGIC} {VERSION} {}", self.len())?;
        self.iter()
            .try_for_each(|(token, entry)| writeln!(f, "{token}\t{entry}"))
    }
}

/// As it is written, behind its token.
impl Display for Entry {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        self.attributes()
            .try_for_each(|(key, value)| write!(f, "\t{key}={value}"))
    }
}

/// Reads the text of a manifest, and checks it as [`Manifest::read`] does.
impl TryFrom<&[u8]> for Manifest {
    type Error = Error;

    fn try_from(text: &[u8]) -> Result<Self> {
        Self::parse(text).map_err(failed)
    }
}

/// The entries of a manifest, in the order of their tokens.
#[derive(Clone, Debug)]
pub struct Iter<'a>(btree_map::Iter<'a, Token, Entry>);

impl<'a> Iterator for Iter<'a> {
    type Item = (Token, &'a Entry);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(&token, entry)| (token, entry))
    }
}

impl<'a> IntoIterator for &'a Manifest {
    type Item = (Token, &'a Entry);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    /// What cannot be written plainly, and what can.
    fn sample() -> Result<Manifest> {
        let mut manifest = Manifest::new();
        let bytes: Vec<_> = (0..=u8::MAX).collect();
        let ram = Entry::new("ram\t\n\\0").with("größe", "0x8000000");
        manifest.insert(u64::MAX, ram.with("a\\b", "=x="))?;
        manifest.insert(1, Entry::new("").with("state", &bytes[..]))?;
        manifest.insert(16, Entry::new("plain"))?;
        Ok(manifest)
    }

    fn kind<T>(result: Result<T>) -> Option<ErrorKind> {
        result.err().map(|error| error.kind())
    }

    fn read(text: &str) -> Result<Manifest> {
        Manifest::try_from(text.as_bytes())
    }

    #[test]
    fn as_documented() -> Result<()> {
        let mut manifest = Manifest::new();
        manifest.insert(2, Entry::new("vcpu0").with("format", "3"))?;
        let ram = Entry::new("ram0").with("size", "0x8000000");
        manifest.insert(1, ram.with("address", "0x0"))?;
        let text = "luo-manifest 1 2\n\
            0x1\tram0\taddress=0x0\tsize=0x8000000\n0x2\tvcpu0\tformat=3\n";
        assert_eq!(manifest.to_string(), text);
        assert_eq!(read(text)?, manifest);
        assert_eq!(read("luo-manifest 1 0\n")?, Manifest::new());
        Ok(())
    }

    #[test]
    fn everything_comes_back() -> Result<()> {
        let manifest = sample()?;
        assert_eq!(read(&manifest.to_string())?, manifest);
        assert_eq!(Manifest::read(manifest.to_memfd()?)?, manifest);
        Ok(())
    }

    #[test]
    fn what_is_asked_for() -> Result<()> {
        let manifest = sample()?;
        let (token, ram) = manifest.find("ram\t\n\\0").expect("an entry");
        assert_eq!(token, Token(u64::MAX));
        assert_eq!(ram.parse::<Token>("größe")?, Token(0x800_0000));
        assert_eq!(kind(ram.parse::<u64>("größe")), Some(ErrorKind::Malformed));
        let error = ram.parse::<u64>("size").expect_err("no size");
        let said = r"manifest: 'ram\011\012\1340' has no size";
        assert_eq!(error.to_string(), said);
        assert_eq!(manifest.get(16).map(Entry::name), Some(&"plain".into()));
        assert_eq!(manifest.get(2), None);
        assert_eq!(manifest.find("none"), None);
        let tokens: Vec<_> = manifest.iter().map(|(token, _)| token.0).collect();
        assert_eq!(tokens, [1, 16, u64::MAX]);
        Ok(())
    }

    #[test]
    fn what_cannot_be_written() -> Result<()> {
        let mut manifest = sample()?;
        for (token, entry) in [
            (16, Entry::new("other")),
            (17, Entry::new("plain")),
            (17, Entry::new("key").with("", "value")),
            (17, Entry::new("key").with("a=b", "value")),
        ] {
            let refused = manifest.insert(token, entry.clone());
            assert_eq!(kind(refused), Some(ErrorKind::Malformed), "{entry}");
        }
        assert_eq!(manifest, sample()?);
        manifest.insert(17, Entry::new("long").with("long", &[b'x'; MAX_SIZE][..]))?;
        assert_eq!(kind(manifest.to_memfd()), Some(ErrorKind::Malformed));
        Ok(())
    }

    #[test]
    fn nobody_changes_it() -> io::Result<()> {
        let memfd = File::from(sample()?.to_memfd()?);
        let refused = memfd.write_at(b"x", 0).map_err(|error| error.kind());
        assert_eq!(refused, Err(io::ErrorKind::PermissionDenied));
        for size in [0, 1 << 20] {
            assert!(memfd.set_len(size).is_err());
        }
        Ok(())
    }

    #[test]
    fn what_ends_early() -> Result<()> {
        let text = sample()?.to_string();
        for end in 0..text.len() {
            let read = Manifest::try_from(&text.as_bytes()[..end]);
            assert_eq!(kind(read), Some(ErrorKind::Malformed), "{end}");
        }
        Ok(())
    }

    /// Of whatever is made of it, only what could have been written is believed.
    #[test]
    fn what_is_damaged() -> Result<()> {
        let text = sample()?.to_string().into_bytes();
        for place in 0..text.len() {
            for bit in 0..u8::BITS {
                let mut damaged = text.clone();
                damaged[place] ^= 1 << bit;
                if let Ok(read) = Manifest::try_from(&damaged[..]) {
                    assert_eq!(read.to_string().into_bytes(), damaged);
                }
            }
        }
        Ok(())
    }

    #[test]
    fn what_is_not_believed() {
        for text in [
            "",
            "\n",
            "luo-manifest\n",
            "luo-manifest2 0\n",
            "luo-manifest 0 0\n",
            "luo-manifest  1 0\n",
            "luo-manifest 1 0 \n",
            "luo-manifest 1 0\r\n",
            "luo-manifest 1 00\n",
            "luo-manifest 1 -1\n",
            "luo-manifest 1 1\n",
            "luo-manifest 1 0\n\n",
            "luo-manifest 1 0\n0x1\tname\n",
            "luo-manifest 1 1\n0x1\tname",
            "luo-manifest 1 1\n1\tname\n",
            "luo-manifest 1 1\n0x01\tname\n",
            "luo-manifest 1 1\n0x1\n",
            "luo-manifest 1 1\n0x1 name\n",
            "luo-manifest 1 1\n0x10000000000000000\tname\n",
            "luo-manifest 1 1\n0x1\tname\tkey\n",
            "luo-manifest 1 1\n0x1\tname\tb=\ta=\n",
            "luo-manifest 1 1\n0x1\tname\ta=\ta=\n",
            "luo-manifest 1 1\n0x1\tna\\me\n",
            "luo-manifest 1 1\n0x1\t\\141\n",
            "luo-manifest 1 2\n0x1\ta\n0x1\tb\n",
            "luo-manifest 1 2\n0x1\ta\n0x2\ta\n",
            "luo-manifest 1 2\n0x2\ta\n0x1\tb\n",
            "#!/bin/sh\n",
        ] {
            assert_eq!(kind(read(text)), Some(ErrorKind::Malformed), "{text:?}");
        }
    }

    #[test]
    fn of_a_later_version() {
        let error = read("luo-manifest 2 1 more\nanything\n").expect_err("too new");
        assert_eq!(error.kind(), ErrorKind::TooNew);
        let said = "manifest: version 2, and no later one than 1 is known here";
        assert_eq!(error.to_string(), said);
    }

    #[test]
    fn what_is_no_file_of_a_manifest() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let large = tempfile::tempfile()?;
        large.set_len(1 << 40)?;
        for file in [
            File::open("/dev/zero")?,
            File::open(directory.path())?,
            large,
        ] {
            let refused = kind(Manifest::read(&file));
            assert_eq!(refused, Some(ErrorKind::Malformed), "{file:?}");
        }
        Ok(())
    }
}
