// SPDX-License-Identifier: GPL-2.0

//! Tests of [`crate::abi::luo_fdt`], and with it of [`kernel::fdt`]: trees that are sound, that
//! lack something or have it twice, and that are damaged anywhere.

use super::*;
use crate::{
    abi::{
        block::capacity,
        format::format_of,
        luo_v5::LuoV5,
        record, //
    },
    block::tests::{
        FILES_IN_2_PAGES,
        SESSIONS_IN_16_PAGES, //
    }, //
};
use core::ops::Range;
use kernel::{
    fmt,
    str::{
        BStr,
        CString, //
    }, //
};

/// A property of one of [`NODES`].
#[derive(Clone, Copy)]
struct Property(usize, &'static CStr, &'static [u8]);

const NODES: [&CStr; 3] = [c"", c"luo-session", c"luo-flb"];

const ROOT: Root = Root {
    liveupdate_num: 0x1122_3344_5566_7788,
    sessions_pa: 0x7000,
    flbs_pa: u64::MAX,
};

/// The tree for [`ROOT`].
const PROPERTIES: [Property; 6] = [
    Property(0, c"compatible", b"luo-v1\0"),
    Property(0, c"liveupdate-number", b"\x88\x77\x66\x55\x44\x33\x22\x11"),
    Property(1, c"compatible", b"luo-session-v4\0"),
    Property(1, c"luo-session-header", b"\0\x70\0\0\0\0\0\0"),
    Property(2, c"compatible", b"luo-flb-v1\0"),
    Property(2, c"luo-flb-header", b"\xff\xff\xff\xff\xff\xff\xff\xff"),
];

/// What the log calls a node.
fn record(node: usize) -> &'static str {
    ["luo-fdt", "luo-session", "luo-flb"][node]
}

/// A page of zeroes.
fn page() -> Result<KVVec<u8>> {
    Ok(KVVec::from_elem(0, PAGE_SIZE, GFP_KERNEL)?)
}

/// A tree of these properties, and with `nodes` below the root.
fn tree(nodes: &[usize], properties: &[Property]) -> Result<KVVec<u8>> {
    let mut blob = page()?;
    let write = |tree: &mut Writer<'_>, wanted| {
        for &Property(node, name, value) in properties {
            if node == wanted {
                tree.property(name, value)?;
            }
        }
        Ok(())
    };

    Writer::write(&mut blob, |tree| {
        write(tree, 0)?;
        for &node in nodes {
            tree.node(NODES[node], |tree| write(tree, node))?;
        }
        Ok(())
    })?;
    Ok(blob)
}

/// The sound tree with one property in place of another.
fn changed(at: usize, value: &'static [u8]) -> Result<KVVec<u8>> {
    let mut properties = PROPERTIES;

    properties[at].2 = value;
    tree(&[1, 2], &properties)
}

/// The number at `at` in the header of a tree.
fn header(blob: &[u8], at: usize) -> usize {
    let bytes = blob[at..at + 4].iter();

    bytes.fold(0, |number, &byte| number << 8 | usize::from(byte))
}

/// The size of a tree.
fn size(blob: &[u8]) -> usize {
    header(blob, 4)
}

/// Where the tags of a tree are.
fn structure(blob: &[u8]) -> Range<usize> {
    let start = header(blob, 8);

    start..start + header(blob, 36)
}

/// Whether `blob` is refused, and with this text.
fn is_refused(blob: &[u8], text: fmt::Arguments<'_>) -> Result<bool> {
    let Err(damage) = LuoFdt.read(blob) else {
        return Ok(false);
    };
    let found = CString::try_from_fmt(fmt!("{damage}"))?;
    let expected = CString::try_from_fmt(text)?;

    if *found != *expected {
        pr_err!("refused as '{found:?}' instead of '{expected:?}'\n");
    }
    Ok(*found == *expected)
}

/// Asserts that a blob is refused, and with which text.
macro_rules! assert_refused {
    ($blob:expr, $($text:tt)+) => {
        assert!(is_refused($blob, fmt!($($text)+))?)
    };
}

fn is_read_as(blob: &[u8], root: &Root) -> bool {
    LuoFdt.read(blob).is_ok_and(|found| found == *root)
}

#[kunit_tests(luo_fdt)]
mod suite {
    use super::*;

    #[test]
    fn blocks_are_larger_than_those_of_luo_v5() {
        assert_eq!(LuoFdt.name(), "luo-fdt");
        assert_eq!(LuoFdt.blob_size(), PAGE_SIZE);
        assert_eq!(LuoFdt.session_block_size(), 16 * PAGE_SIZE);
        assert_eq!(LuoFdt.file_block_size(), 2 * PAGE_SIZE);
        assert_eq!(
            capacity::<record::Session>(LuoFdt.session_block_size()),
            SESSIONS_IN_16_PAGES
        );
        assert_eq!(
            capacity::<record::File>(LuoFdt.file_block_size()),
            FILES_IN_2_PAGES
        );

        assert_eq!(LuoV5.name(), "luo-v5");
        assert_eq!(LuoV5.blob_size(), 32);
        assert_eq!(LuoV5.session_block_size(), PAGE_SIZE);
        assert_eq!(LuoV5.file_block_size(), PAGE_SIZE);
    }

    #[test]
    fn a_tree_is_read() -> Result {
        assert!(is_read_as(&tree(&[1, 2], &PROPERTIES)?, &ROOT));
        Ok(())
    }

    #[test]
    fn the_same_tree_is_written() -> Result {
        let mut blob = page()?;

        // What was there before is gone.
        blob.fill(0xff);
        LuoFdt.write(&mut blob, &ROOT)?;
        assert_eq!(*blob, *tree(&[1, 2], &PROPERTIES)?);

        // For tools/kunit.sh, which asks dtc.
        let words = size(&blob).div_ceil(8);
        for word in blob.as_chunks().0.iter().take(words) {
            pr_info!("luo_fdt: {:016x}\n", u64::from_be_bytes(*word));
        }
        Ok(())
    }

    #[test]
    fn what_is_written_is_read() -> Result {
        let mut blob = page()?;
        let numbers = [0, 1, 0x1000, 1 << 52, u64::MAX];

        for liveupdate_num in numbers {
            for sessions_pa in numbers {
                for flbs_pa in numbers {
                    let root = Root {
                        liveupdate_num,
                        sessions_pa,
                        flbs_pa,
                    };

                    LuoFdt.write(&mut blob, &root)?;
                    assert!(is_read_as(&blob, &root));
                }
            }
        }
        Ok(())
    }

    #[test]
    fn a_blob_has_the_format_that_it_claims() -> Result {
        let mut blob = page()?;

        LuoFdt.write(&mut blob, &ROOT)?;
        assert_eq!(format_of(&blob).name(), "luo-fdt");
        assert_eq!(format_of(&blob[..4]).name(), "luo-fdt");
        LuoV5.write(&mut blob, &ROOT)?;
        assert_eq!(format_of(&blob).name(), "luo-v5");
        assert_eq!(LuoV5.read(&blob).ok(), Some(ROOT));

        // Whatever else it is, is told by the default format.
        for blob in [
            b"".as_slice(),
            b"\xd0\x0d\xfe",
            b"\xed\xfe\x0d\xd0",
            b"luo-v4\0\0",
        ] {
            assert_eq!(format_of(blob).name(), "luo-v5");
        }
        Ok(())
    }

    #[test]
    fn a_blob_too_small_is_not_written() -> Result {
        let mut blob = page()?;

        LuoFdt.write(&mut blob, &ROOT)?;
        let needed = size(&blob);
        for len in 0..needed {
            assert_eq!(LuoFdt.write(&mut blob[..len], &ROOT), Err(ENOSPC));
        }
        assert_eq!(LuoFdt.write(&mut blob[..needed], &ROOT), Ok(()));
        assert!(is_read_as(&blob[..needed], &ROOT));
        assert_eq!(LuoV5.write(&mut blob[..31], &ROOT), Err(ENOSPC));
        Ok(())
    }

    #[test]
    fn a_blob_out_of_alignment_is_neither_written_nor_read() -> Result {
        let mut blob = page()?;

        LuoFdt.write(&mut blob, &ROOT)?;
        let len = size(&blob);
        for offset in 1..8 {
            let mut moved = page()?;

            moved[offset..offset + len].copy_from_slice(&blob[..len]);
            assert_refused!(
                &moved[offset..],
                "luo-fdt.header: not that of a device tree"
            );
            assert_eq!(LuoFdt.write(&mut moved[offset..], &ROOT), Err(EINVAL));
        }
        Ok(())
    }

    #[test]
    fn order_does_not_matter() -> Result {
        let mut properties = PROPERTIES;

        properties.reverse();
        for nodes in [[1, 2], [2, 1]] {
            assert!(is_read_as(&tree(&nodes, &properties)?, &ROOT));
        }
        Ok(())
    }

    #[test]
    fn what_is_unknown_does_not_matter() -> Result {
        let mut blob = page()?;

        Writer::write(&mut blob, |tree| {
            for node in 0..3 {
                let number = PROPERTIES[2 * node + 1];
                let content = |tree: &mut Writer<'_>| {
                    tree.property(c"luo-mode", b"")?;
                    tree.property(c"compatible", PROPERTIES[2 * node].2)?;
                    tree.property(c"compatible-with", b"luo-v2\0")?;
                    tree.property(number.1, number.2)
                };

                if node == 0 {
                    content(tree)?;
                    continue;
                }
                tree.node(NODES[node], |tree| {
                    content(tree)?;
                    // Nodes deeper down are others, whatever they are called.
                    tree.node(c"luo-flb", |tree| tree.property(number.1, b"no"))
                })?;
                tree.node(c"luo", |tree| {
                    tree.property(c"compatible", b"luo-v2\0")?;
                    tree.node(c"luo-session", |tree| tree.property(number.1, b"no"))
                })?;
            }
            Ok(())
        })?;
        assert!(is_read_as(&blob, &ROOT));
        Ok(())
    }

    #[test]
    fn a_missing_node_is_named() -> Result {
        for (nodes, missing) in [(&[2][..], 1), (&[1], 2), (&[], 1)] {
            let blob = tree(nodes, &PROPERTIES)?;
            let missing = record(missing);

            assert_refused!(&blob, "luo-fdt.{missing}: missing");
        }
        Ok(())
    }

    #[test]
    fn a_second_node_is_named() -> Result {
        for (nodes, second) in [([1, 1, 2], 1), ([1, 2, 1], 1), ([2, 1, 2], 2)] {
            let blob = tree(&nodes, &PROPERTIES)?;
            let second = record(second);
            assert_refused!(&blob, "luo-fdt.{second}: a second node of this name");
        }
        Ok(())
    }

    #[test]
    fn nodes_are_below_the_root() -> Result {
        let mut blob = page()?;

        Writer::write(&mut blob, |tree| {
            tree.node(c"luo-session", |_| Ok(()))?;
            tree.node(c"luo-flb", |_| Ok(()))
        })?;
        assert_refused!(&blob, "luo-fdt.compatible: missing");

        Writer::write(&mut blob, |tree| {
            for Property(_, name, value) in &PROPERTIES[..2] {
                tree.property(name, value)?;
            }
            tree.node(c"luo-session", |tree| {
                for Property(_, name, value) in &PROPERTIES[2..4] {
                    tree.property(name, value)?;
                }
                tree.node(c"luo-flb", |tree| {
                    for Property(_, name, value) in &PROPERTIES[4..] {
                        tree.property(name, value)?;
                    }
                    Ok(())
                })
            })
        })?;
        assert_refused!(&blob, "luo-fdt.luo-flb: missing");
        Ok(())
    }

    #[test]
    fn properties_are_in_their_node() -> Result {
        for (at, Property(node, name, _)) in PROPERTIES.into_iter().enumerate() {
            for other in (0..3).filter(|&other| other != node) {
                let mut properties = PROPERTIES;

                properties[at].0 = other;
                let blob = tree(&[1, 2], &properties)?;
                let name = name.to_str().map_err(|_| EINVAL)?;
                // In the other node, one of this name may be there already.
                if name == "compatible" {
                    let record = record(other);
                    assert_refused!(&blob, "{record}.compatible: a second property of this name");
                } else {
                    let record = record(node);
                    assert_refused!(&blob, "{record}.{name}: missing");
                }
            }
        }
        Ok(())
    }

    #[test]
    fn a_missing_property_is_named() -> Result {
        for (at, Property(node, name, _)) in PROPERTIES.into_iter().enumerate() {
            let mut properties = PROPERTIES;
            let record = record(node);
            let name = name.to_str().map_err(|_| EINVAL)?;

            // It is there, but not known, and in no place.
            properties[at].1 = c"luo";
            let blob = tree(&[1, 2], &properties)?;
            assert_refused!(&blob, "{record}.{name}: missing");
        }
        Ok(())
    }

    #[test]
    fn a_second_property_is_named() -> Result {
        for again in PROPERTIES {
            let mut properties = KVec::new();
            let Property(node, name, _) = again;
            let record = record(node);
            let name = name.to_str().map_err(|_| EINVAL)?;

            properties.extend_from_slice(&PROPERTIES, GFP_KERNEL)?;
            properties.push(again, GFP_KERNEL)?;
            let blob = tree(&[1, 2], &properties)?;
            assert_refused!(&blob, "{record}.{name}: a second property of this name");
        }
        Ok(())
    }

    #[test]
    fn a_number_has_eight_bytes() -> Result {
        const BYTES: &[u8] = &[0; 17];

        for at in [1, 3, 5] {
            let Property(node, name, _) = PROPERTIES[at];
            let record = record(node);
            let name = name.to_str().map_err(|_| EINVAL)?;

            for len in (0..=17).filter(|&len| len != 8) {
                let blob = changed(at, &BYTES[..len])?;
                assert_refused!(&blob, "{record}.{name} has {len} bytes: a number has 8");
            }
            // As a string, it is too long.
            assert_refused!(
                &changed(at, b"0x7766554433\0\0")?,
                "{record}.{name} has 14 bytes: a number has 8"
            );
        }
        Ok(())
    }

    #[test]
    fn unknown_versions_are_named() -> Result {
        for (at, record, known, twice, unknown) in [
            (
                0,
                "luo-fdt",
                "luo-v1",
                b"luo-v1\0\0".as_slice(),
                [
                    b"luo-v0\0".as_slice(),
                    b"luo-v2\0",
                    b"luo-v11\0",
                    b"luo-v\0",
                    b"LUO-V1\0",
                ],
            ),
            (
                2,
                "luo-session",
                "luo-session-v4",
                b"luo-session-v4\0luo-session-v3\0",
                [
                    b"luo-session-v1\0",
                    b"luo-session-v2\0",
                    b"luo-session-v3\0",
                    b"luo-session-v5\0",
                    b"luo-v1\0",
                ],
            ),
            (
                4,
                "luo-flb",
                "luo-flb-v1",
                b"luo-flb-v1\0luo-flb-v1\0",
                [
                    b"luo-flb-v0\0",
                    b"luo-flb-v2\0",
                    b"luo-flb-v10\0",
                    b"luo-v1\0",
                    b"\0",
                ],
            ),
        ] {
            for version in unknown {
                let blob = changed(at, version)?;
                let text = BStr::from_bytes(version.strip_suffix(b"\0").ok_or(EINVAL)?);
                assert_refused!(
                    &blob,
                    "{record}.compatible is '{text}': not a known version"
                );
            }

            // The right one, but not as a string, or not alone.
            let bare = known.as_bytes();
            let blob = changed(at, bare)?;
            assert_refused!(
                &blob,
                "{record}.compatible is '{known}': not a known version"
            );
            let blob = changed(at, twice)?;
            assert_refused!(
                &blob,
                "{record}.compatible is '{known}': not a known version"
            );

            let blob = changed(at, b"")?;
            assert_refused!(&blob, "{record}.compatible is '': not a known version");
            let blob = changed(at, b"ABCDEFGHIJKLMNOPQRSTUVW\0")?;
            assert_refused!(
                &blob,
                "{record}.compatible is 'ABCDEFGHIJKLMNOP': not a known version"
            );
        }
        Ok(())
    }

    #[test]
    fn a_tree_that_is_cut_off_is_refused() -> Result {
        let mut blob = page()?;

        LuoFdt.write(&mut blob, &ROOT)?;
        for len in 0..size(&blob) {
            assert_refused!(&blob[..len], "luo-fdt.header: not that of a device tree");
        }
        assert!(is_read_as(&blob[..size(&blob)], &ROOT));
        Ok(())
    }

    #[test]
    fn a_tree_that_ends_early_or_late_is_refused() -> Result {
        const BEGIN: u32 = 1;
        const END: u32 = 2;
        const NOP: u32 = 4;
        const LAST: u32 = 9;

        let sound = tree(&[], &PROPERTIES[..2])?;
        let Range { start, end } = structure(&sound);
        let end = end - 4;
        assert_eq!(sound[start..start + 4], BEGIN.to_be_bytes());
        assert_eq!(sound[end - 4..end], END.to_be_bytes());
        assert_eq!(sound[end..end + 4], LAST.to_be_bytes());

        for (at, tag, text) in [
            (end - 4, END, "luo-fdt.luo-session: missing"),
            (end - 4, NOP, "luo-fdt.structure: not that of a device tree"),
            (
                end - 4,
                LAST,
                "luo-fdt.structure: not that of a device tree",
            ),
            (
                end - 4,
                BEGIN,
                "luo-fdt.structure: not that of a device tree",
            ),
            (end - 4, 0, "luo-fdt.structure: not that of a device tree"),
            (end, END, "luo-fdt.structure: not that of a device tree"),
            (end, NOP, "luo-fdt.structure: not that of a device tree"),
            (end, BEGIN, "luo-fdt.structure: not that of a device tree"),
            (start, LAST, "luo-fdt.structure: not that of a device tree"),
            (start, NOP, "luo-fdt.structure: not that of a device tree"),
            (start, END, "luo-fdt.structure: not that of a device tree"),
        ] {
            let mut blob = page()?;

            blob.copy_from_slice(&sound);
            blob[at..at + 4].copy_from_slice(&tag.to_be_bytes());
            assert_refused!(&blob, "{text}");
        }
        Ok(())
    }

    #[test]
    fn the_root_has_no_name() -> Result {
        let mut blob = tree(&[1, 2], &PROPERTIES)?;

        let name = structure(&blob).start + 4;
        blob[name] = b'a';
        assert_refused!(&blob, "luo-fdt.structure: not that of a device tree");
        Ok(())
    }

    #[test]
    fn every_bit_that_flips_is_seen() -> Result {
        let mut blob = tree(&[1, 2], &PROPERTIES)?;
        let (mut neutral, mut numbers) = (0, 0);

        for at in 0..size(&blob) {
            for bit in 0..8 {
                blob[at] ^= 1 << bit;
                match LuoFdt.read(&blob) {
                    Err(_) => {}
                    // In the header and the list of reserved memory, not all has a meaning.
                    Ok(root) if root == ROOT => {
                        neutral += u32::from(at >= structure(&blob).start);
                    }
                    Ok(root) => {
                        let flipped = (root.liveupdate_num ^ ROOT.liveupdate_num).count_ones()
                            + (root.sessions_pa ^ ROOT.sessions_pa).count_ones()
                            + (root.flbs_pa ^ ROOT.flbs_pa).count_ones();

                        assert_eq!(flipped, 1);
                        numbers += 1;
                    }
                }
                blob[at] ^= 1 << bit;
            }
        }
        assert_eq!(numbers, 3 * u64::BITS);
        // Padding: three bytes after the name of the root, and one after each version.
        assert_eq!(neutral, (3 + 3) * u8::BITS);
        Ok(())
    }
}
