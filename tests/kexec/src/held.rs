// SPDX-License-Identifier: GPL-2.0

//! What the kernel holds on behalf of LUO, counted, so that a test that leaves something behind
//! fails.
//!
//! That is what KHO preserves, and memory: told to by [`OWNERS`], the kernel knows of each object
//! the call stack that allocated it. What LUO wanted, or somebody on its behalf, has one of its
//! functions in that stack. What a driver registered stays for as long as the driver does, and has
//! an initcall in it, and so do the arrays with room for the sessions that a test makes; what the
//! slab allocator takes to manage the objects of other caches was asked for in exchanging a sheaf of
//! a processor's, or in noting down which cgroup they are charged to.

use crate::{preserved, World};
use anyhow::{ensure, Context, Result};
use luo_guest::{NO_OWNERS, OWNERS};
use std::{collections::BTreeMap, fs, mem, path::Path};

const CACHES: &str = "/sys/kernel/slab";
const TRACES: &str = "/sys/kernel/debug/slab";

/// Parts of the names of functions that keep memory on purpose. The compiler may merge the one
/// that allocates a sheaf with its callers.
const KEPT: [&str; 4] = [
    " do_one_initcall+",
    "_sheaf",
    "__pcs_replace_",
    "__memcg_slab_post_alloc_hook+",
];

/// How many objects there are, by the function of LUO that wanted them, and by call stack.
type Counts = BTreeMap<String, BTreeMap<String, u64>>;

/// What is held at one moment.
#[derive(Clone, Default)]
pub struct Held {
    /// What this kernel made.
    made: Counts,
    /// What the first open of the device made of the previous kernel's sessions.
    restored: Counts,
}

impl Held {
    /// What is held now.
    pub fn now() -> Result<Self> {
        let parameters = fs::read_to_string("/proc/cmdline")?;
        let mut held = Self::default();
        if !parameters.contains(NO_OWNERS) {
            ensure!(
                parameters.contains(OWNERS),
                "the kernel was not told to remember who allocated what"
            );
            held.add_caches()?;
        }
        if let Some(number) = preserved::blocks()? {
            let stacks = [("kho_preserve_pages".to_owned(), number)].into();
            held.made.insert("KHO".to_owned(), stacks);
        }
        Ok(held)
    }

    /// Adds what was allocated and is LUO's.
    fn add_caches(&mut self) -> Result<()> {
        for cache in fs::read_dir(CACHES).context(CACHES)? {
            let cache = cache?.file_name();
            if cache.to_string_lossy().starts_with("kmalloc-") {
                // KASAN holds freed objects back until told to let them go.
                fs::write(Path::new(CACHES).join(&cache).join("shrink"), "1")?;
                self.add(&Path::new(TRACES).join(&cache).join("alloc_traces"))?;
            }
        }
        Ok(())
    }

    /// Adds what is LUO's in a list of stacks, each below a line that begins with the number of
    /// objects: "     12 function+0x34/0x56 age=78 ...".
    fn add(&mut self, path: &Path) -> Result<()> {
        let stacks = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        for stack in stacks
            .split("\n\n")
            .filter(|stack| !KEPT.iter().any(|function| stack.contains(function)))
        {
            let functions = stack
                .split_whitespace()
                .filter_map(|word| Some(word.split_once("+0x")?.0));
            let luo = functions.clone().find(|function| function.contains("luo_"));
            if let (Some(number), Some(luo)) = (stack.split_whitespace().next(), luo) {
                let counts = if stack.contains(" misc_open+") {
                    &mut self.restored
                } else {
                    &mut self.made
                };
                let stacks = counts.entry(luo.to_owned()).or_default();
                // The function at the top stands there twice.
                let stack: Vec<_> = functions.skip(1).collect();
                *stacks.entry(stack.join(" < ")).or_default() += number.parse::<u64>()?;
            }
        }
        Ok(())
    }
}

/// Expects everything that is there `now` to have been there `before`.
fn expect_no_more(now: &Counts, before: &Counts) -> Result<()> {
    let nothing = BTreeMap::new();
    let mut more = vec![];
    for (function, now) in now {
        let before = before.get(function).unwrap_or(&nothing);
        let total = |stacks: &BTreeMap<_, u64>| stacks.values().sum::<u64>();
        if total(now) > total(before) {
            let new = now
                .iter()
                .filter(|(stack, number)| before.get(*stack) < Some(number));
            let new: Vec<_> = new.map(|(stack, _)| stack.as_str()).collect();
            let number = total(now) - total(before);
            more.push(format!("{number} for {function} ({})", new.join("; ")));
        }
    }
    ensure!(more.is_empty(), "left behind: {}", more.join(", "));
    Ok(())
}

/// Expects a case that keeps no descriptor to leave nothing behind in the kernel, either.
pub fn watch(
    world: &mut World,
    held: &mut Held,
    case: impl FnOnce(&mut World) -> Result<()>,
) -> Result<()> {
    let kept = world.kept.len();
    let result = case(world);
    let before = mem::replace(held, Held::now()?);
    result?;
    if world.lost || world.kept.len() > kept {
        return Ok(());
    }
    expect_no_more(&held.made, &before.made)
}

/// Expects nothing to be left at the end of a group, when everything was closed and finished.
pub fn nothing_left(world: &mut World) -> Result<()> {
    world.kept.clear();
    if world.lost {
        return Ok(());
    }
    let held = Held::now()?;
    expect_no_more(&held.made, &world.start.made)?;
    expect_no_more(&held.restored, &world.start.restored)
}
