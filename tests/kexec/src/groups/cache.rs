// SPDX-License-Identifier: GPL-2.0

//! The example of a cache, as people would run it: it knows in the next kernel what it was told,
//! and in the one after that.

use crate::{program::Program, Group, World};
use anyhow::Result;

pub const GROUP: Group = Group {
    name: "cache",
    stages: &[
        &[("cold", cold)],
        &[("warm", warm)],
        &[("warm-again", warm_again)],
    ],
};

fn cold(world: &mut World) -> Result<()> {
    let mut cache = Program::start("cache")?;
    same!(cache.hear()?, "cold: 0 entries");
    same!(cache.answer("get colour")?, "no entry");
    same!(cache.answer("put colour blue")?, "ok");
    same!(cache.answer("put place behind the door")?, "ok");
    same!(cache.answer("put colour red")?, "ok");
    same!(cache.answer("get colour")?, "red");
    cache.keep(world);
    Ok(())
}

fn warm(world: &mut World) -> Result<()> {
    let mut cache = Program::start("cache")?;
    same!(cache.hear()?, "warm: 3 entries");
    same!(cache.answer("get colour")?, "red");
    same!(cache.answer("get place")?, "behind the door");
    same!(cache.answer("get size")?, "no entry");
    same!(cache.answer("put size large")?, "ok");
    cache.keep(world);
    Ok(())
}

fn warm_again(_: &mut World) -> Result<()> {
    let mut cache = Program::start("cache")?;
    same!(cache.hear()?, "warm: 4 entries");
    same!(cache.answer("get colour")?, "red");
    same!(cache.answer("get size")?, "large");
    cache.end()
}
