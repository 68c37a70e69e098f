// SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0

//! A virtual machine monitor whose guest survives the kernel of its host, to be copied: KVM by
//! kvm-ioctls, memory by vm-memory, and the state of the processor by serde.
//!
//! Started, it takes over the guest of the previous kernel, or boots one. At the first line on
//! standard input it preserves memory, while the guest runs. At the second it stops the guest, saves
//! its state and preserves that, and from then on waits for the kexec. Without a line, it ends.
//!
//! The guest, some bytes of code, fills memory with a pattern and counts: for each number it reads
//! the whole pattern, compares a count in a register with one in memory, and writes the number to a
//! port. It halts if something is not what it was.
//!
//! It has one processor and no interrupts. A monitor with more saves the state of all processors
//! when all are stopped, and that of the machine, which is restored before theirs: `irqchip`, `pit2`
//! and `clock`.

use anyhow::{bail, ensure, Context, Result};
use kvm_bindings::{
    kvm_cpuid_entry2, kvm_debugregs, kvm_mp_state, kvm_msr_entry, kvm_regs, kvm_segment, kvm_sregs,
    kvm_userspace_memory_region, kvm_vcpu_events, kvm_xcrs, kvm_xsave, CpuId, Msrs,
    KVM_MAX_CPUID_ENTRIES,
};
use kvm_ioctls::{Cap, Kvm, VcpuExit, VcpuFd, VmFd};
use liveupdate::{
    ram::{Ram, Region},
    Device, Session,
};
use nix::{
    libc::EINTR,
    sys::memfd::{memfd_create, MFdFlags},
};
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{self, BufReader, BufWriter, ErrorKind, Seek},
    num::NonZeroUsize,
    os::fd::AsFd,
    process,
    sync::{
        atomic::{AtomicBool, Ordering},
        Arc,
    },
    thread,
};
use vm_memory::{
    Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion,
};

const SESSION: &[u8] = b"vmm";
/// The token of the state. It has to be readable before anything is known of the guest.
const STATE: u64 = 0;
/// The token of the memory of slot 0.
const MEMORY: u64 = 0x100;

const REGIONS: [Region; 2] = [
    Region::new(0, 0, 2 << 20),
    Region::new(1, 16 << 20, 8 << 20),
];
/// How many threads retrieve memory.
const THREADS: NonZeroUsize = NonZeroUsize::new(2).unwrap();
/// Where the guest's code begins.
const ENTRY: u64 = 0x1000;
/// The port that the guest writes its numbers to.
const PORT: u16 = 0x10;

/// The guest's code, 32 bits, of which the program that it stands for is on the right.
#[rustfmt::skip]
const CODE: &[&[u8]] = &[
    &[0xbf, 0x00, 0x00, 0x00, 0x01],       //       mov  edi, 0x1000000
    &[0xb9, 0x00, 0x00, 0x04, 0x00],       //       mov  ecx, 0x40000
    &[0x89, 0xf8],                         // fill: mov  eax, edi
    &[0x35, 0x5a, 0x5a, 0x5a, 0x5a],       //       xor  eax, 0x5a5a5a5a
    &[0xab],                               //       stosd
    &[0xe2, 0xf6],                         //       loop fill
    &[0x43],                               // next: inc  ebx
    &[0xff, 0x05, 0x00, 0x20, 0x00, 0x00], //       inc  dword [0x2000]
    &[0xbe, 0x00, 0x00, 0x00, 0x01],       //       mov  esi, 0x1000000
    &[0xb9, 0x00, 0x00, 0x04, 0x00],       //       mov  ecx, 0x40000
    &[0x89, 0xf2],                         // read: mov  edx, esi
    &[0x81, 0xf2, 0x5a, 0x5a, 0x5a, 0x5a], //       xor  edx, 0x5a5a5a5a
    &[0xad],                               //       lodsd
    &[0x39, 0xd0],                         //       cmp  eax, edx
    &[0x75, 0x10],                         //       jne  halt
    &[0xe2, 0xf1],                         //       loop read
    &[0x3b, 0x1d, 0x00, 0x20, 0x00, 0x00], //       cmp  ebx, [0x2000]
    &[0x75, 0x06],                         //       jne  halt
    &[0x89, 0xd8],                         //       mov  eax, ebx
    &[0xe7, PORT as u8],                   //       out  PORT, eax
    &[0xeb, 0xd2],                         //       jmp  next
    &[0xf4],                               // halt: hlt
];

/// What the next kernel's monitor has to know of the guest, besides what is in its memory.
#[derive(Deserialize, Serialize)]
struct State {
    regions: Vec<Region>,
    /// Of all memory, for this demonstration: it takes time while the guest is stopped.
    checksum: u64,
    vcpu: VcpuState,
}

/// A processor: what KVM tells, in the order in which it is asked.
#[derive(Deserialize, Serialize)]
struct VcpuState {
    mp_state: kvm_mp_state,
    cpuid: Vec<kvm_cpuid_entry2>,
    tsc_khz: u32,
    regs: kvm_regs,
    sregs: kvm_sregs,
    xsave: kvm_xsave,
    xcrs: kvm_xcrs,
    debug_regs: kvm_debugregs,
    msrs: Vec<kvm_msr_entry>,
    events: kvm_vcpu_events,
}

impl VcpuState {
    /// Asks KVM for the state of a processor that is stopped.
    fn save(kvm: &Kvm, vcpu: &VcpuFd) -> Result<Self> {
        Ok(Self {
            // May take in events that wait at the interrupt controller, so it comes first.
            mp_state: vcpu.get_mp_state()?,
            cpuid: vcpu.get_cpuid2(KVM_MAX_CPUID_ENTRIES)?.as_slice().to_vec(),
            tsc_khz: vcpu.get_tsc_khz()?,
            regs: vcpu.get_regs()?,
            sregs: vcpu.get_sregs()?,
            xsave: vcpu.get_xsave()?,
            xcrs: vcpu.get_xcrs()?,
            debug_regs: vcpu.get_debug_regs()?,
            msrs: msrs(kvm, vcpu)?,
            events: vcpu.get_vcpu_events()?,
        })
    }

    /// Gives a new processor this state.
    fn restore(&self, kvm: &Kvm, vcpu: &VcpuFd) -> Result<()> {
        // What a processor can is what all else is checked against.
        vcpu.set_cpuid2(&CpuId::from_entries(&self.cpuid)?)?;
        // Before the counter itself, which is among the MSRs.
        vcpu.set_tsc_khz(self.tsc_khz)?;
        vcpu.set_mp_state(self.mp_state)?;
        vcpu.set_regs(&self.regs)?;
        // With the base of the interrupt controller. Its registers would follow here, and after them
        // the MSRs, as the one with its deadline has no effect before.
        vcpu.set_sregs(&self.sregs)?;
        vcpu.set_xcrs(&self.xcrs)?;
        // SAFETY: KVM reads no more than that, or `Guest::new()` would have failed.
        unsafe { vcpu.set_xsave(&self.xsave) }?;
        vcpu.set_debug_regs(&self.debug_regs)?;
        // Those that are as they should be are left alone: KVM refuses to set some that it tells,
        // such as what a guest has for an interrupt controller that this one is without.
        let has = msrs(kvm, vcpu)?;
        for &msr in self.msrs.iter().filter(|msr| !has.contains(msr)) {
            let set = vcpu.set_msrs(&Msrs::from_entries(&[msr])?)?;
            ensure!(set == 1, "MSR {:#x} cannot be restored", msr.index);
        }
        // Among them the interrupt that is being delivered, which `set_sregs()` also sets.
        vcpu.set_vcpu_events(&self.events)?;
        Ok(())
    }
}

/// All MSRs that KVM keeps for a processor of this kind.
fn msrs(kvm: &Kvm, vcpu: &VcpuFd) -> Result<Vec<kvm_msr_entry>> {
    let mut all = vec![];
    for &index in kvm.get_msr_index_list()?.as_slice() {
        let mut one = Msrs::from_entries(&[kvm_msr_entry {
            index,
            ..Default::default()
        }])?;
        // KVM lists some that only other processors have.
        if vcpu.get_msrs(&mut one)? == 1 {
            all.extend_from_slice(one.as_slice());
        }
    }
    Ok(all)
}

/// A guest, not running.
struct Guest {
    kvm: Kvm,
    // Declared in the order in which they may go: KVM uses the mappings until then.
    vcpu: VcpuFd,
    _vm: VmFd,
    memory: GuestMemoryMmap,
    /// Also at hand while the guest runs in its thread.
    ram: Arc<Ram>,
}

impl Guest {
    /// A machine with this memory; its processor is as after a reset.
    fn new(ram: Ram) -> Result<Self> {
        let mut ranges = vec![];
        for region in ram.regions() {
            let file = ram.file(region.file).context("no file")?.try_clone()?;
            let file = Some(FileOffset::new(file, region.offset));
            ranges.push((GuestAddress(region.address), region.size as usize, file));
        }
        let memory = GuestMemoryMmap::from_ranges_with_files(ranges)?;

        let kvm = Kvm::new().context("/dev/kvm")?;
        // If there is more, it has to be asked for by `get_xsave2()`.
        let xsave = kvm.check_extension_int(Cap::Xsave2);
        ensure!(xsave as usize <= size_of::<kvm_xsave>(), "large XSAVE");
        let vm = kvm.create_vm()?;
        for region in ram.regions() {
            let slot = kvm_userspace_memory_region {
                slot: region.slot,
                flags: 0,
                guest_phys_addr: region.address,
                memory_size: region.size,
                userspace_addr: memory.get_host_address(GuestAddress(region.address))? as u64,
            };
            // SAFETY: `memory` is mapped there for longer than the machine is there.
            unsafe { vm.set_user_memory_region(slot) }.with_context(|| format!("{region:?}"))?;
        }
        let vcpu = vm.create_vcpu(0)?;
        Ok(Self {
            kvm,
            vcpu,
            _vm: vm,
            memory,
            ram: Arc::new(ram),
        })
    }

    fn boot() -> Result<Self> {
        let guest = Self::new(Ram::create(&REGIONS)?)?;
        let code = CODE.concat();
        guest.memory.write_slice(&code, GuestAddress(ENTRY))?;
        let vcpu = &guest.vcpu;
        vcpu.set_cpuid2(&guest.kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)?)?;
        let mut sregs = vcpu.get_sregs()?;
        // Protected mode, and all addresses in each segment.
        sregs.cr0 |= 1;
        let data = kvm_segment {
            limit: u32::MAX,
            selector: 16,
            type_: 3,
            present: 1,
            db: 1,
            s: 1,
            g: 1,
            ..Default::default()
        };
        (sregs.ds, sregs.es, sregs.ss) = (data, data, data);
        sregs.cs = kvm_segment {
            selector: 8,
            type_: 11,
            ..data
        };
        vcpu.set_sregs(&sregs)?;
        vcpu.set_regs(&kvm_regs {
            rip: ENTRY,
            rflags: 2,
            ..Default::default()
        })?;
        Ok(guest)
    }

    /// Takes over the guest that the previous kernel's monitor has left.
    fn retrieve(session: &Session) -> Result<Self> {
        let mut file = File::from(session.retrieve_fd(STATE)?);
        // The position is that of the one who wrote it.
        file.rewind()?;
        let state: State = serde_json::from_reader(BufReader::new(file))?;
        let ram = Ram::retrieve(session, MEMORY, &state.regions, THREADS)?;
        let guest = Self::new(ram)?;
        state.vcpu.restore(&guest.kvm, &guest.vcpu)?;
        let checksum = guest.checksum()?;
        ensure!(checksum == state.checksum, "memory is not what it was");
        println!("retrieved, checksum {checksum:016x}");
        // Up to here, the session can be asked again for all of it.
        session.finish()?;
        Ok(guest)
    }

    /// Saves the stopped guest's state, and preserves it.
    fn save(&self, session: &Session) -> Result<()> {
        let state = State {
            regions: self.ram.regions().to_vec(),
            checksum: self.checksum()?,
            vcpu: VcpuState::save(&self.kvm, &self.vcpu)?,
        };
        let file = File::from(memfd_create("state", MFdFlags::MFD_CLOEXEC)?);
        let mut writer = BufWriter::new(file);
        serde_json::to_writer(&mut writer, &state)?;
        // All of it has to be written before, as preserving fixes the size.
        let file = writer.into_inner()?;
        session.preserve_fd(file.as_fd(), STATE)?;
        println!("state preserved, checksum {:016x}", state.checksum);
        Ok(())
    }

    /// FNV-1a of all memory, by words.
    fn checksum(&self) -> Result<u64> {
        let mut sum = 0xcbf2_9ce4_8422_2325;
        for region in self.memory.iter() {
            let mut bytes = vec![0; region.len() as usize];
            self.memory.read_slice(&mut bytes, region.start_addr())?;
            for word in bytes.chunks_exact(8) {
                sum ^= u64::from_le_bytes(word.try_into()?);
                sum = sum.wrapping_mul(0x100_0000_01b3);
            }
        }
        Ok(sum)
    }

    /// Runs the guest until it is to stop.
    fn run(mut self, stop: &AtomicBool) -> Result<Self> {
        self.vcpu.set_kvm_immediate_exit(0);
        // A guest that leaves KVM less often has to be called out: by a signal to this thread.
        while !stop.load(Ordering::Relaxed) {
            match self.vcpu.run()? {
                VcpuExit::IoOut(PORT, data) => {
                    println!("guest: {}", u32::from_le_bytes(data.try_into()?));
                }
                exit => bail!("the guest ended: {exit:?}"),
            }
        }
        // The instruction that the guest left KVM by is not over: KVM ends it on the way back in.
        self.vcpu.set_kvm_immediate_exit(1);
        match self.vcpu.run() {
            Err(error) if error.errno() == EINTR => Ok(self),
            end => bail!("the guest did not stop: {end:?}"),
        }
    }
}

/// Takes the kernel's word that there is no such session for an answer.
fn absent<T>(error: impl Into<io::Error>) -> io::Result<Option<T>> {
    let error = error.into();
    match error.kind() {
        ErrorKind::NotFound => Ok(None),
        _ => Err(error),
    }
}

/// Preserves memory, which takes the longest, while the guest runs.
fn prepare(ram: &Ram) -> Result<Session> {
    let collapsed = ram.collapse()?;
    println!("collapsed {} of {} bytes", collapsed.huge, collapsed.size);
    // The device is for one program at a time; a session does not need it.
    let session = Device::open()?.create_session(SESSION)?;
    ram.preserve(&session, MEMORY)?;
    println!("memory preserved");
    Ok(session)
}

pub fn run() -> Result<()> {
    let device = Device::open().context("/dev/liveupdate")?;
    let previous = device.retrieve_session(SESSION).map(Some);
    let guest = match previous.or_else(absent)? {
        Some(session) => Guest::retrieve(&session).context("cannot take over the guest")?,
        None => Guest::boot()?,
    };
    drop(device);

    let ram = guest.ram.clone();
    let stop = Arc::new(AtomicBool::new(false));
    let running = thread::spawn({
        let stop = stop.clone();
        move || {
            guest.run(&stop).unwrap_or_else(|error| {
                eprintln!("vmm: {error:#}");
                process::exit(1)
            })
        }
    });
    let mut orders = io::stdin().lines();
    let mut session = None;
    if orders.next().transpose()?.is_some() {
        session = Some(prepare(&ram)?);
        orders.next().transpose()?;
    }
    stop.store(true, Ordering::Relaxed);
    let Ok(guest) = running.join() else {
        bail!("the guest's thread panicked");
    };
    if let Some(session) = session {
        guest.save(&session)?;
        println!("ready for the kexec");
        // Without the session, everything would be given up.
        loop {
            thread::park();
        }
    }
    Ok(())
}
