// SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0

//! Names and tokens, as they are written for people: names are bytes of any kind, tokens numbers
//! of 64 bits.

use std::{
    fmt::{self, Display, Formatter, Write},
    num::ParseIntError,
    str::FromStr,
};

/// A name: of a session, a file handler, an FLB, a process.
///
/// Written out, what is not printable is three octal digits behind a backslash, and so is the
/// backslash itself; read back, that gives the same name.
///
/// ```
/// use liveupdate::observe::Name;
///
/// let name = Name::from(&b"two\nlines"[..]);
/// assert_eq!(name.to_string(), r"two\012lines");
/// assert_eq!(name.to_string().parse(), Ok(name));
/// ```
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(into = "String"))]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Name(Vec<u8>);

impl Name {
    /// The name behind octal escapes; a backslash that begins none stands for itself.
    pub fn unescape(text: &[u8]) -> Self {
        let mut name = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some((&byte, behind)) = rest.split_first() {
            let escape = (byte == b'\\').then(|| behind.split_at_checked(3).and_then(octal));
            let (byte, behind) = escape.flatten().unwrap_or((byte, behind));
            name.push(byte);
            rest = behind;
        }
        Self(name)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The byte that three digits stand for, and what follows them.
fn octal<'a>((digits, behind): (&[u8], &'a [u8])) -> Option<(u8, &'a [u8])> {
    let digits = digits.iter().all(u8::is_ascii_digit).then_some(digits)?;
    let byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()?;
    Some((byte, behind))
}

impl AsRef<[u8]> for Name {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<&[u8]> for Name {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for Name {
    fn from(text: String) -> Self {
        Self(text.into_bytes())
    }
}

impl From<Vec<u8>> for Name {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.to_string()
    }
}

impl FromStr for Name {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::unescape(text.as_bytes()))
    }
}

impl Display for Name {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(self.0.len());
        for chunk in self.0.utf8_chunks() {
            for char in chunk.valid().chars() {
                if char == '\\' || char.is_control() {
                    escape(&mut text, char.encode_utf8(&mut [0; 4]).as_bytes())?;
                } else {
                    text.push(char);
                }
            }
            escape(&mut text, chunk.invalid())?;
        }
        f.pad(&text)
    }
}

fn escape(text: &mut String, bytes: &[u8]) -> fmt::Result {
    bytes
        .iter()
        .try_for_each(|byte| write!(text, "\\{byte:03o}"))
}

/// What a file is asked for by, in its session. Written in hexadecimal, read in decimal as well.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(into = "String"))]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Token(pub u64);

impl Display for Token {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:#x}", self.0))
    }
}

impl From<u64> for Token {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

impl From<Token> for String {
    fn from(token: Token) -> Self {
        token.to_string()
    }
}

impl FromStr for Token {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => text.parse(),
        };
        number.map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_escapes() {
        for (text, name) in [
            (&b"plain"[..], &b"plain"[..]),
            (br"a\040b\011c\012d\134e", b"a b\tc\nd\\e"),
            (br"\377\001", b"\xff\x01"),
            (b"\xe9", b"\xe9"),
            (br"\", br"\"),
            (br"\12", br"\12"),
            (br"\400\089", br"\400\089"),
            (b"", b""),
        ] {
            assert_eq!(Name::unescape(text).as_bytes(), name);
        }
    }

    #[test]
    fn every_name_comes_back() {
        let bytes: Vec<_> = (0..=u8::MAX).collect();
        for name in [&bytes[..], "größe ✓".as_bytes(), br"\101"] {
            let name = Name::from(name);
            let text = name.to_string();
            assert!(!text.contains(char::is_control), "{text}");
            assert_eq!(text.parse(), Ok(name));
        }
        assert_eq!(Name::from("größe ✓").to_string(), "größe ✓");
    }

    #[test]
    fn tokens() {
        for (text, token) in [
            ("0", 0),
            ("17", 17),
            ("0x1f", 31),
            ("0xffffffffffffffff", u64::MAX),
        ] {
            assert_eq!(text.parse(), Ok(Token(token)));
        }
        for text in ["", "-1", "0x", "1x", "18446744073709551616"] {
            assert!(text.parse::<Token>().is_err(), "{text}");
        }
        assert_eq!(Token(31).to_string(), "0x1f");
    }
}
