// SPDX-License-Identifier: GPL-2.0

//! What the kernel does with memory of files: whom it is charged to, whether it is swapped out,
//! whether it is in huge pages.

use anyhow::{ensure, Context, Result};
use luo_guest::PAGE;
use nix::{
    errno::Errno,
    libc::{swapoff, swapon},
    mount::{mount, MsFlags},
};
use std::{
    ffi::CStr,
    fs::{self, File},
    io,
    ops::Range,
    os::{
        fd::AsRawFd,
        unix::fs::{FileExt, FileTypeExt},
    },
    path::{Path, PathBuf},
};

/// A memory cgroup, which ends with this.
pub struct Cgroup(PathBuf);

impl Cgroup {
    const ROOT: &str = "/sys/fs/cgroup";

    /// One that nobody is in.
    pub fn new(name: &str) -> Result<Self> {
        let control = Path::new(Self::ROOT).join("cgroup.subtree_control");
        if !control.exists() {
            let kind = Some("cgroup2");
            let flags = MsFlags::empty();
            mount(kind, Self::ROOT, kind, flags, None::<&str>).context("no cgroups")?;
        }
        fs::write(control, "+memory").context("no memory cgroups")?;
        let path = Path::new(Self::ROOT).join(name);
        fs::create_dir(&path).with_context(|| path.display().to_string())?;
        Ok(Self(path))
    }

    /// Has this process be in it from now on.
    pub fn enter(&self) -> Result<()> {
        Ok(fs::write(self.0.join("cgroup.procs"), "0")?)
    }

    /// Runs `body` while this process is in it: what is allocated stays charged to it.
    pub fn run<T>(&self, body: impl FnOnce() -> T) -> Result<T> {
        self.enter()?;
        let value = body();
        fs::write(Path::new(Self::ROOT).join("cgroup.procs"), "0")?;
        Ok(value)
    }

    /// How many bytes are charged to it.
    pub fn charged(&self) -> Result<u64> {
        self.number("memory.current")
    }

    /// How many bytes of it are swapped out.
    pub fn swapped_out(&self) -> Result<u64> {
        self.number("memory.swap.current")
    }

    /// What a line of a file of it says.
    pub fn line(&self, file: &str, key: &str) -> Result<u64> {
        let number = fs::read_to_string(self.0.join(file))?
            .lines()
            .find_map(|line| line.strip_prefix(key)?.trim().parse().ok());
        number.with_context(|| format!("no {key} in {file}"))
    }

    /// Allows it so many bytes.
    pub fn limit(&self, bytes: u64) -> Result<()> {
        Ok(fs::write(self.0.join("memory.max"), bytes.to_string())?)
    }

    /// Drives out so many bytes, or fails with `EAGAIN` when no more can be.
    pub fn reclaim(&self, bytes: u64) -> io::Result<()> {
        // The kernel goes by numbers of up to two seconds ago, but for who asks for them.
        fs::read(self.0.join("memory.stat"))?;
        fs::write(self.0.join("memory.reclaim"), bytes.to_string())
    }

    fn number(&self, file: &str) -> Result<u64> {
        self.line(file, "")
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let removed = fs::remove_dir(&self.0);
        debug_assert!(removed.is_ok());
    }
}

/// Memory that other memory is swapped out to, until this is dropped.
pub struct Swap(());

impl Swap {
    const DISK: &CStr = c"/dev/ram0";
    /// What the last bytes of the first page say.
    const MAGIC: &[u8] = b"SWAPSPACE2";

    /// Makes a swap area, and has it used.
    pub fn on() -> Result<Self> {
        let path = Self::DISK.to_str()?;
        let disk = File::options().write(true).open(path).context(path)?;
        ensure!(disk.metadata()?.file_type().is_block_device(), path);
        let sectors = fs::read_to_string("/sys/class/block/ram0/size")?;
        let pages = u32::try_from(sectors.trim().parse::<usize>()? * 512 / *PAGE)?;

        let mut header = vec![0; *PAGE];
        // The version, and the last page.
        header[1024..1028].copy_from_slice(&1u32.to_ne_bytes());
        header[1028..1032].copy_from_slice(&(pages - 1).to_ne_bytes());
        header[*PAGE - Self::MAGIC.len()..].copy_from_slice(Self::MAGIC);
        disk.write_all_at(&header, 0)?;
        disk.sync_all()?;
        // SAFETY: The path is NUL-terminated.
        Errno::result(unsafe { swapon(Self::DISK.as_ptr(), 0) }).context("swapon")?;
        Ok(Self(()))
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        // SAFETY: The path is NUL-terminated.
        let off = unsafe { swapoff(Self::DISK.as_ptr()) };
        debug_assert_eq!(off, 0);
    }
}

/// Runs `body` while new memory of files is in huge pages wherever it can be.
pub fn in_huge_pages<T>(body: impl FnOnce() -> T) -> Result<T> {
    const SETTING: &str = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";

    fs::write(SETTING, "always").context("no huge pages")?;
    let value = body();
    fs::write(SETTING, "never")?;
    Ok(value)
}

/// Makes small pages of the huge ones of a file. They stay where they are.
pub fn split_huge_pages(file: &File) -> Result<()> {
    let pages = file.metadata()?.len().div_ceil(*PAGE as u64);
    let which = format!("/proc/self/fd/{},0x0,{pages:#x}", file.as_raw_fd());
    fs::write("/sys/kernel/debug/split_huge_pages", which).context("no huge pages")
}

/// The page frames of the scratch areas, where the next kernel will begin.
pub fn scratch_areas() -> Result<Vec<Range<u64>>> {
    let frames = |what| -> Result<Vec<u64>> {
        let path = format!("/sys/kernel/debug/kho/out/scratch_{what}");
        let text = fs::read_to_string(&path).context(path)?;
        let numbers = text.lines().map(|line| {
            let digits = line.strip_prefix("0x").unwrap_or(line);
            Ok(u64::from_str_radix(digits, 16)? / *PAGE as u64)
        });
        numbers.collect()
    };
    let areas = frames("phys")?.into_iter().zip(frames("len")?);
    Ok(areas.map(|(start, count)| start..start + count).collect())
}
