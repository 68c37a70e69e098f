// SPDX-License-Identifier: GPL-2.0

//! What the kernel holds on behalf of LUO, counted, so that a test that leaves something behind
//! fails.
//!
//! That is what KHO preserves, and memory: with `slab_debug=U,kmalloc-*` the kernel knows of each
//! object the call stack that allocated it. What LUO wanted, or somebody on its behalf, has one of
//! its functions in that stack. What a driver registered stays for as long as the driver does, and
//! has an initcall in it; arrays that have grown with the number of sessions stay as they are, and
//! have `make_room`; and what the slab allocator takes to manage other objects has
//! `alloc_empty_sheaf`.

use crate::{preserved, World};
use anyhow::{ensure, Context, Result};
use std::{collections::BTreeMap, fs, mem, path::Path};

const CACHES: &str = "/sys/kernel/slab";
const TRACES: &str = "/sys/kernel/debug/slab";

/// Functions in whose name memory is kept on purpose.
const KEPT: [&str; 3] = [" do_one_initcall+", "make_room+", "alloc_empty_sheaf+"];

/// How many objects there are, by the function of LUO that wanted them.
type Counts = BTreeMap<String, u64>;

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
        ensure!(
            parameters.contains("slab_debug=U,kmalloc-*"),
            "the kernel was not told to remember who allocated what"
        );
        let mut held = Self::default();
        for cache in fs::read_dir(CACHES).context(CACHES)? {
            let cache = cache?.file_name();
            if cache.to_string_lossy().starts_with("kmalloc-") {
                // KASAN holds freed objects back until told to let them go.
                fs::write(Path::new(CACHES).join(&cache).join("shrink"), "1")?;
                held.add(&Path::new(TRACES).join(&cache).join("alloc_traces"))?;
            }
        }
        let preserved = preserved::blocks()?.map(|number| ("KHO".to_owned(), number));
        held.made.extend(preserved);
        Ok(held)
    }

    /// Adds what is LUO's in a list of stacks, each below a line that begins with the number of
    /// objects: "     12 function+0x34/0x56 age=78 ...".
    fn add(&mut self, path: &Path) -> Result<()> {
        let stacks = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        for stack in stacks
            .split("\n\n")
            .filter(|stack| !KEPT.iter().any(|function| stack.contains(function)))
        {
            let mut words = stack.split_whitespace();
            let luo = |word: &&str| word.contains("luo_");
            if let (Some(number), Some(function)) = (words.next(), words.find(luo)) {
                let counts = if stack.contains(" misc_open+") {
                    &mut self.restored
                } else {
                    &mut self.made
                };
                let (function, _) = function.split_once('+').unwrap_or((function, ""));
                *counts.entry(function.to_owned()).or_default() += number.parse::<u64>()?;
            }
        }
        Ok(())
    }
}

/// Expects everything that is there `now` to have been there `before`.
fn expect_no_more(now: &Counts, before: &Counts) -> Result<()> {
    let more: Vec<_> = now
        .iter()
        .map(|(function, now)| (function, now, before.get(function).unwrap_or(&0)))
        .filter(|(_, now, before)| now > before)
        .map(|(function, now, before)| format!("{} for {function}", now - before))
        .collect();
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
