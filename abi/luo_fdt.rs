// SPDX-License-Identifier: GPL-2.0

//! The format of before `luo-v5`: the root blob is a flattened device tree, and blocks are larger.
//!
//! ```text
//! / {
//!     compatible = "luo-v1";
//!     liveupdate-number = <u64>;
//!     luo-session {
//!         compatible = "luo-session-v4";
//!         luo-session-header = <u64>;
//!     };
//!     luo-flb {
//!         compatible = "luo-flb-v1";
//!         luo-flb-header = <u64>;
//!     };
//! };
//! ```
//!
//! Numbers are in the byte order of the machine, not in that of device trees.

use super::{
    format::{
        Field,
        Format,
        Root, //
    },
    Damage,
    Found, //
};
use kernel::{
    fdt::{
        self,
        Event,
        Reader,
        Writer, //
    },
    page::PAGE_SIZE,
    prelude::*, //
};

#[cfg(CONFIG_LIVEUPDATE_RUST_KUNIT_TEST)]
#[path = "../tests/kunit/luo_fdt.rs"]
mod tests;

const COMPATIBLE: &CStr = c"compatible";

/// A node, which has a version and a number.
struct Node {
    /// What the log calls it.
    record: &'static str,
    name: &'static CStr,
    /// How many nodes it is in, counting itself.
    depth: usize,
    compatible: &'static CStr,
    /// What the number is called.
    number: &'static CStr,
}

static NODES: [Node; 3] = [
    Node {
        record: "luo-fdt",
        name: c"",
        depth: 1,
        compatible: c"luo-v1",
        number: c"liveupdate-number",
    },
    Node {
        record: "luo-session",
        name: c"luo-session",
        depth: 2,
        compatible: c"luo-session-v4",
        number: c"luo-session-header",
    },
    Node {
        record: "luo-flb",
        name: c"luo-flb",
        depth: 2,
        compatible: c"luo-flb-v1",
        number: c"luo-flb-header",
    },
];

impl Node {
    fn write(&self, tree: &mut Writer<'_>, number: u64) -> Result {
        tree.property(COMPATIBLE, self.compatible.to_bytes_with_nul())?;
        tree.property(self.number, &number.to_ne_bytes())
    }

    fn field(&self) -> Field {
        (self.record, self.number.to_str().unwrap_or_default())
    }
}

/// What was found of a node.
struct Content<'a> {
    node: &'static Node,
    is_there: bool,
    compatible: Option<&'a [u8]>,
    number: Option<&'a [u8]>,
}

impl Content<'_> {
    /// The number, if this is the node that was expected.
    fn number(&self) -> Result<u64, Damage> {
        let (record, number) = self.node.field();

        if !self.is_there {
            return Err(Damage::new("luo-fdt", record, Found::Nothing, "missing"));
        }

        let missing = |field| Damage::new(record, field, Found::Nothing, "missing");
        let compatible = self.compatible.ok_or_else(|| missing("compatible"))?;
        let value = self.number.ok_or_else(|| missing(number))?;

        if compatible != self.node.compatible.to_bytes_with_nul() {
            let found = Found::version(compatible);
            return Err(Damage::new(
                record,
                "compatible",
                found,
                "not a known version",
            ));
        }
        value
            .try_into()
            .map(u64::from_ne_bytes)
            .map_err(|_| Damage::new(record, number, Found::Length(value.len()), "a number has 8"))
    }
}

/// The format.
pub(crate) struct LuoFdt;

impl Format for LuoFdt {
    fn name(&self) -> &'static str {
        "luo-fdt"
    }

    fn blob_size(&self) -> usize {
        PAGE_SIZE
    }

    fn session_block_size(&self) -> usize {
        16 * PAGE_SIZE
    }

    fn file_block_size(&self) -> usize {
        2 * PAGE_SIZE
    }

    fn sessions_field(&self) -> Field {
        let [_, session, _] = &NODES;

        session.field()
    }

    fn flbs_field(&self) -> Field {
        let [_, _, flb] = &NODES;

        flb.field()
    }

    fn is_format_of(&self, blob: &[u8]) -> bool {
        blob.starts_with(&fdt::MAGIC.to_be_bytes())
    }

    fn read(&self, blob: &[u8]) -> Result<Root, Damage> {
        let malformed =
            |what| Damage::new("luo-fdt", what, Found::Nothing, "not that of a device tree");
        let mut contents = NODES.each_ref().map(|node| Content {
            node,
            is_there: false,
            compatible: None,
            number: None,
        });
        let mut current: Option<&mut Content<'_>> = None;
        let mut reader = Reader::new(blob).ok_or_else(|| malformed("header"))?;

        while let Some(event) = reader.next_event().map_err(|_| malformed("structure"))? {
            match (event, &mut current) {
                (Event::Begin(name), _) => {
                    current = contents.iter_mut().find(|it| {
                        it.node.depth == reader.depth() && it.node.name.to_bytes() == name
                    });
                    if let Some(content) = &mut current {
                        if content.is_there {
                            let why = "a second node of this name";
                            let field = content.node.record;
                            return Err(Damage::new("luo-fdt", field, Found::Nothing, why));
                        }
                        content.is_there = true;
                    }
                }
                (Event::Property(name, value), Some(content)) => {
                    let (record, number) = content.node.field();
                    let (field, place) = if name == COMPATIBLE.to_bytes() {
                        ("compatible", &mut content.compatible)
                    } else if name == number.as_bytes() {
                        (number, &mut content.number)
                    } else {
                        continue;
                    };

                    if place.replace(value).is_some() {
                        let why = "a second property of this name";
                        return Err(Damage::new(record, field, Found::Nothing, why));
                    }
                }
                (Event::Property(..), None) => {}
                // Whatever follows is another node's.
                (Event::End, _) => current = None,
            }
        }

        let [root, session, flb] = &contents;
        Ok(Root {
            liveupdate_num: root.number()?,
            sessions_pa: session.number()?,
            flbs_pa: flb.number()?,
        })
    }

    fn write(&self, blob: &mut [u8], root: &Root) -> Result {
        let [top, session, flb] = &NODES;

        Writer::write(blob, |tree| {
            top.write(tree, root.liveupdate_num)?;
            tree.node(session.name, |tree| session.write(tree, root.sessions_pa))?;
            tree.node(flb.name, |tree| flb.write(tree, root.flbs_pa))
        })
    }
}
