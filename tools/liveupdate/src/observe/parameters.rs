// SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0

//! A kernel's command line, as the kernel reads it.

/// The parameters of a command line with their values, in order, up to `--`.
///
/// Blanks separate them, except in double quotes, which are not part of a value.
///
/// ```
/// use liveupdate::observe::parameters;
///
/// let mut parameters = parameters("quiet foo=\"a b\" kho=on -- init");
/// assert_eq!(parameters.next(), Some(("quiet".into(), None)));
/// assert_eq!(parameters.next(), Some(("foo".into(), Some("a b".into()))));
/// assert_eq!(parameters.next(), Some(("kho".into(), Some("on".into()))));
/// assert_eq!(parameters.next(), None);
/// ```
pub fn parameters(cmdline: &str) -> impl Iterator<Item = (String, Option<String>)> + '_ {
    let mut quoted = false;
    cmdline
        .split(move |char: char| {
            quoted ^= char == '"';
            char.is_ascii_whitespace() && !quoted
        })
        .filter(|word| !word.is_empty())
        .take_while(|word| *word != "--")
        .map(|word| {
            let plain = |text: &str| text.replace('"', "");
            match word.split_once('=') {
                Some((name, value)) => (plain(name), Some(plain(value))),
                None => (plain(word), None),
            }
        })
}

/// What the kernel takes for a boolean.
pub fn boolean(value: &str) -> Option<bool> {
    let mut letters = value.chars().map(|letter| letter.to_ascii_lowercase());
    match (letters.next()?, letters.next()) {
        ('y' | 't' | '1', _) | ('o', Some('n')) => Some(true),
        ('n' | 'f' | '0', _) | ('o', Some('f')) => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_blanks() {
        let read: Vec<_> = parameters(" a  \"b=c d\" e=\"\" f=g=h\n").collect();
        let due = [
            ("a", None),
            ("b", Some("c d")),
            ("e", Some("")),
            ("f", Some("g=h")),
        ];
        assert_eq!(
            read,
            due.map(|(name, value)| (name.to_owned(), value.map(str::to_owned)))
        );
        assert_eq!(parameters("").count(), 0);
        assert_eq!(parameters("-- liveupdate=on").count(), 0);
    }

    #[test]
    fn booleans() {
        for value in ["y", "Yes", "1", "true", "on", "ON"] {
            assert_eq!(boolean(value), Some(true), "{value}");
        }
        for value in ["n", "No", "0", "false", "off"] {
            assert_eq!(boolean(value), Some(false), "{value}");
        }
        for value in ["", "o", "2", "-"] {
            assert_eq!(boolean(value), None, "{value}");
        }
    }
}
