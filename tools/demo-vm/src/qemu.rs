// SPDX-License-Identifier: GPL-2.0

//! QEMU, as Debian has it, told what to do by QMP on its standard input and output.

use crate::{inheritable, serial::Serial};
use anyhow::{bail, Context, Result};
use luo_guest::vm::{INITRAMFS, KERNEL, MEMORY_MIB, VMM};
use nix::{
    errno::Errno,
    sys::{
        prctl::set_child_subreaper,
        wait::{waitpid, WaitStatus},
    },
};
use qapi::{
    qmp::{
        self, MigrateSetParameters, MigrationCapability, MigrationCapabilityStatus, MigrationStatus,
    },
    Qmp, Stream,
};
use serde_json::json;
use std::{
    fs::File,
    io::BufReader,
    os::fd::AsRawFd,
    process::{self, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::Duration,
};

const CMDLINE: &str = "console=ttyS0 quiet no_timer_check mitigations=off tsc_early_khz=1000000";

/// How QEMU gives the state of its devices away, and takes it.
#[derive(Clone, Copy, PartialEq)]
pub enum Way {
    /// As a migration: every QEMU can do that.
    Migration,
    /// As `cpr-reboot`, which is meant for it: from QEMU 8.2 on.
    CprReboot,
}

/// A running VMM.
pub struct Qemu {
    qmp: Qmp<Stream<BufReader<ChildStdout>, ChildStdin>>,
    pub serial: Serial,
}

impl Qemu {
    /// Starts it with this file for the guest's memory, and what it needs besides.
    pub fn start(ram: &File, arguments: &[&str]) -> Result<Self> {
        // What it leaves behind becomes ours to wait for.
        set_child_subreaper(true)?;
        let (serial, line) = Serial::new()?;
        let line = inheritable(line.into())?;
        let mut child = Command::new(VMM)
            .args(["-nodefaults", "-no-user-config", "-display", "none"])
            .args([
                "-machine",
                "pc,accel=kvm,memory-backend=ram,usb=off,vmport=off",
            ])
            .args(["-cpu", "host,-xsave"])
            .args(["-m", &MEMORY_MIB.to_string()])
            .arg("-object")
            .arg(format!(
                "memory-backend-file,id=ram,size={MEMORY_MIB}M,mem-path=/proc/self/fd/{},share=on",
                ram.as_raw_fd()
            ))
            .args(["-kernel", KERNEL, "-initrd", INITRAMFS, "-append", CMDLINE])
            .arg("-chardev")
            .arg(format!(
                "file,id=serial,path=/proc/self/fd/{}",
                line.as_raw_fd()
            ))
            .args(["-serial", "chardev:serial", "-qmp", "stdio"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context(VMM)?;
        let output = BufReader::new(child.stdout.take().context("no output")?);
        let mut qmp = Qmp::new(Stream::new(output, child.stdin.take().context("no input")?));
        qmp.handshake().context("QMP")?;
        Ok(Self { qmp, serial })
    }

    /// Stops the guest.
    pub fn stop(mut self) -> Result<Self> {
        self.qmp.execute(&qmp::stop {}).context("stop")?;
        Ok(self)
    }

    /// Lets the guest run.
    pub fn go_on(&mut self) -> Result<()> {
        self.qmp.execute(&qmp::cont {}).context("cont")?;
        Ok(())
    }

    /// Writes the state of the devices into a file; the guest's memory stays where it is.
    pub fn save(&mut self, state: &File, way: Way) -> Result<()> {
        self.prepare(way)?;
        let path = format!("/proc/{}/fd/{}", process::id(), state.as_raw_fd());
        let uri = match way {
            Way::Migration => format!("exec:cat >{path}"),
            Way::CprReboot => format!("file:{path}"),
        };
        self.qmp
            .execute(&qmp::migrate {
                uri: Some(uri),
                channels: None,
                detach: None,
                resume: None,
            })
            .context("migrate")?;
        self.migrated()
    }

    /// Reads the state of the devices from a file that QEMU has inherited.
    pub fn load(&mut self, state: &File, way: Way) -> Result<()> {
        self.prepare(way)?;
        let fd = state.as_raw_fd();
        let uri = match way {
            Way::Migration => format!("fd:{fd}"),
            Way::CprReboot => format!("file:/proc/self/fd/{fd}"),
        };
        self.qmp
            .execute(&qmp::migrate_incoming {
                uri: Some(uri),
                channels: None,
                exit_on_error: None,
            })
            .context("migrate-incoming")?;
        self.migrated()
    }

    /// Ends QEMU, and waits for it and for whatever it has started.
    pub fn quit(mut self) -> Result<()> {
        self.qmp.execute(&qmp::quit {}).context("quit")?;
        loop {
            match waitpid(None, None) {
                Ok(WaitStatus::Exited(_, 0)) => {}
                Ok(status) => bail!("QEMU: {status:?}"),
                Err(Errno::ECHILD) => return self.serial.end(),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Sets up what both sides of a migration have to agree on.
    fn prepare(&mut self, way: Way) -> Result<()> {
        let capabilities = vec![MigrationCapabilityStatus {
            capability: MigrationCapability::x_ignore_shared,
            state: true,
        }];
        self.qmp
            .execute(&qmp::migrate_set_capabilities { capabilities })
            .context("x-ignore-shared")?;
        if way == Way::CprReboot {
            // The crate has no other way to leave all the others as they are.
            let parameters: MigrateSetParameters =
                serde_json::from_value(json!({ "mode": "cpr-reboot" }))?;
            let set = qmp::migrate_set_parameters(parameters);
            self.qmp.execute(&set).context("cpr-reboot")?;
        }
        Ok(())
    }

    /// Waits for a migration to end.
    fn migrated(&mut self) -> Result<()> {
        loop {
            let info = self
                .qmp
                .execute(&qmp::query_migrate {})
                .context("query-migrate")?;
            match info.status {
                Some(MigrationStatus::completed) => return Ok(()),
                Some(MigrationStatus::failed | MigrationStatus::cancelled) => {
                    bail!(
                        "{}",
                        info.error_desc
                            .unwrap_or_else(|| "migration failed".to_owned())
                    )
                }
                _ => thread::sleep(Duration::from_millis(1)),
            }
        }
    }
}
