// SPDX-License-Identifier: GPL-2.0

//! Tests of the crate root: which ioctl is refused for which reason, how their arguments are read,
//! which root record is believed, and what is there for the next kernel.

use super::*;
use crate::{
    kho_tests::{
        published,
        Preservations, //
    },
    luo_session::tests::{
        incoming_session,
        logged,
        outgoing_session, //
    }, //
};
use abi::{
    luo_v5,
    record,
    uapi::Request, //
};
use core::ptr;
use kernel::{
    bindings,
    kho::{
        Extent,
        Memory, //
    },
    page::PAGE_SIZE,
    str::CString,
    uaccess::{
        extensible::Argument,
        UserSlice, //
    }, //
};

// See tests/kunit/glue.h.
unsafe extern "C" {
    fn luo_kunit_user_page(writable: bool) -> c_ulong;
    fn luo_kunit_user_write(addr: c_ulong, data: *const c_void, len: c_int) -> bool;
}

/// A page of user memory with nothing behind it. It lives as long as the test.
pub(crate) struct UserPage(usize);

impl UserPage {
    /// Makes a page of zeroes.
    pub(crate) fn new() -> Result<Self> {
        Self::map(true)
    }

    /// Makes a page that LUO cannot write to.
    pub(crate) fn read_only() -> Result<Self> {
        Self::map(false)
    }

    fn map(writable: bool) -> Result<Self> {
        // SAFETY: This is a test's own task, and may sleep.
        match unsafe { luo_kunit_user_page(writable) } {
            0 => Err(ENOMEM),
            addr => Ok(Self(addr)),
        }
    }

    /// The address of a byte.
    pub(crate) fn at(&self, offset: usize) -> UserPtr {
        UserPtr::from_addr(self.0 + offset)
    }

    /// Writes `bytes` to `offset`.
    pub(crate) fn write(&self, offset: usize, bytes: &[u8]) -> Result {
        // SAFETY: `bytes` can be read; any address in user memory will do.
        unsafe {
            luo_kunit_user_write(self.0 + offset, bytes.as_ptr().cast(), bytes.len() as c_int)
        }
        .then_some(())
        .ok_or(EFAULT)
    }

    /// Writes the argument of an ioctl to the beginning, and returns its address.
    pub(crate) fn argument<T: Request>(&self, request: &T) -> Result<UserPtr> {
        self.write(0, request.as_bytes())?;
        Ok(self.at(0))
    }

    /// Reads the answer to an ioctl.
    pub(crate) fn answer<T: Request>(&self) -> Result<T> {
        let mut answer = T::new_zeroed();

        self.read(0, answer.as_mut_bytes())?;
        Ok(answer)
    }

    fn read(&self, offset: usize, bytes: &mut [u8]) -> Result {
        UserSlice::new(self.at(offset), bytes.len())
            .reader()
            .read_slice(bytes)
    }
}

/// What answers ioctls, and which it takes.
struct Dispatcher {
    ioctl: KBox<dyn Fn(u32, UserPtr) -> Result>,
    taken: &'static [u32],
    /// Those that are for sessions of the other direction.
    wrong_direction: &'static [u32],
    /// An argument that all commands answer with `E2BIG`.
    argument: UserPtr,
}

impl Dispatcher {
    fn device(page: &UserPage) -> Result<Self> {
        Ok(Self {
            ioctl: KBox::new(ioctl, GFP_KERNEL)?,
            taken: &[0xba00, 0xba01],
            wrong_direction: &[],
            argument: page.at(0),
        })
    }

    fn outgoing(page: &UserPage) -> Result<Self> {
        let session = outgoing_session()?;

        Ok(Self {
            ioctl: KBox::new(
                move |cmd, arg: UserPtr| {
                    session.ioctl(&mock::ioctl(cmd, arg.as_const_ptr().addr()))
                },
                GFP_KERNEL,
            )?,
            taken: &[0xba40, 0xba43],
            wrong_direction: &[0xba41, 0xba42],
            argument: page.at(0),
        })
    }

    fn incoming(page: &UserPage) -> Result<Self> {
        let session = incoming_session()?;

        Ok(Self {
            ioctl: KBox::new(
                move |cmd, arg: UserPtr| {
                    session.ioctl(&mock::ioctl(cmd, arg.as_const_ptr().addr()))
                },
                GFP_KERNEL,
            )?,
            taken: &[0xba41, 0xba42, 0xba43],
            wrong_direction: &[0xba40],
            argument: page.at(0),
        })
    }

    fn all() -> Result<[Self; 3]> {
        let page = UserPage::new()?;

        page.write(0, &[0xff; 256])?;
        page.write(0, &128u32.to_ne_bytes())?;
        Ok([
            Self::device(&page)?,
            Self::outgoing(&page)?,
            Self::incoming(&page)?,
        ])
    }

    fn commands(&self) -> impl Iterator<Item = u32> {
        [self.taken, self.wrong_direction]
            .into_iter()
            .flatten()
            .copied()
    }

    fn has_number_of(&self, cmd: u32) -> bool {
        self.commands().any(|command| command & 0xff == cmd & 0xff)
    }

    fn is_answered_with(&self, err: Error, cmd: u32) -> bool {
        (self.ioctl)(cmd, self.argument) == Err(err)
    }
}

#[kunit_tests(luo_core)]
mod suite {
    use super::*;

    #[test]
    fn numbers_out_of_range_are_einval() -> Result {
        for dispatcher in Dispatcher::all()? {
            for nr in 0..256 {
                if !dispatcher.has_number_of(nr) {
                    assert!(dispatcher.is_answered_with(EINVAL, nr));
                    assert!(dispatcher.is_answered_with(EINVAL, 0xba00 | nr));
                    assert!(dispatcher.is_answered_with(EINVAL, 0xffff_ff00 | nr));
                }
            }
        }
        Ok(())
    }

    #[test]
    fn every_other_type_is_enotty() -> Result {
        for dispatcher in Dispatcher::all()? {
            for cmd in dispatcher.commands() {
                for kind in (0..256).filter(|&kind| kind != 0xba) {
                    let cmd = kind << 8 | cmd & 0xff;
                    assert!(dispatcher.is_answered_with(ENOIOCTLCMD, cmd));
                }
            }
        }
        Ok(())
    }

    #[test]
    fn every_other_direction_and_size_is_enotty() -> Result {
        for dispatcher in Dispatcher::all()? {
            for cmd in dispatcher.commands() {
                for high in 1..1 << 16 {
                    assert!(dispatcher.is_answered_with(ENOIOCTLCMD, high << 16 | cmd));
                }
            }
        }
        Ok(())
    }

    #[test]
    fn commands_of_the_other_direction_are_einval_whatever_their_argument() -> Result {
        for dispatcher in Dispatcher::all()? {
            for &cmd in dispatcher.wrong_direction {
                assert!(dispatcher.is_answered_with(EINVAL, cmd));
            }
        }
        Ok(())
    }

    #[test]
    fn all_other_commands_are_taken() -> Result {
        for dispatcher in Dispatcher::all()? {
            for &cmd in dispatcher.taken {
                assert!(dispatcher.is_answered_with(E2BIG, cmd));
            }
        }
        Ok(())
    }

    #[test]
    fn the_number_is_looked_at_first_the_command_last() -> Result {
        let page = UserPage::new()?;

        for mut dispatcher in Dispatcher::all()? {
            dispatcher.argument = page.at(PAGE_SIZE);
            for nr in 0..256 {
                let err = if dispatcher.has_number_of(nr) {
                    EFAULT
                } else {
                    EINVAL
                };
                assert!(dispatcher.is_answered_with(err, nr));
                assert!(dispatcher.is_answered_with(err, 0xba00 | nr));
                assert!(dispatcher.is_answered_with(err, 0xffff_ff00 | nr));
            }
        }
        Ok(())
    }

    #[test]
    fn a_size_out_of_reach_is_efault() -> Result {
        let page = UserPage::new()?;

        for ptr in [
            page.at(PAGE_SIZE),
            page.at(PAGE_SIZE - 1),
            page.at(PAGE_SIZE - 3),
            UserPtr::from_addr(0),
            UserPtr::from_addr(usize::MAX - 1),
            UserPtr::from_addr(usize::MAX << 63),
        ] {
            assert!(Argument::new(ptr).is_err_and(|err| err == EFAULT));
        }
        assert!(Argument::new(page.at(PAGE_SIZE - 4)).is_ok());
        Ok(())
    }

    #[test]
    fn an_argument_too_short_is_einval() -> Result {
        fn is_refused<T: Request>(page: &UserPage, size: u32) -> Result<bool> {
            page.write(0, &size.to_ne_bytes())?;
            Ok(Argument::new(page.at(0))?.read::<T>().err() == Some(EINVAL))
        }

        let page = UserPage::new()?;
        for size in 0..72 {
            assert_eq!(is_refused::<uapi::Finish>(&page, size)?, size < 8);
            assert_eq!(is_refused::<uapi::PreserveFd>(&page, size)?, size < 16);
            assert_eq!(is_refused::<uapi::RetrieveFd>(&page, size)?, size < 16);
            assert!(is_refused::<uapi::GetName>(&page, size)?);
            assert!(is_refused::<uapi::CreateSession>(&page, size)?);
            assert!(is_refused::<uapi::RetrieveSession>(&page, size)?);
        }
        Ok(())
    }

    #[test]
    fn an_argument_is_read_to_its_end() -> Result {
        let page = UserPage::new()?;
        let offset = PAGE_SIZE - 72;
        let mut bytes = [0; 72];

        for (byte, value) in bytes.iter_mut().zip(100..) {
            *byte = value;
        }
        bytes[..4].copy_from_slice(&72u32.to_ne_bytes());
        page.write(offset, &bytes)?;

        let request: uapi::GetName = Argument::new(page.at(offset))?.read()?;
        assert_eq!(request.as_bytes(), bytes);
        Ok(())
    }

    #[test]
    fn a_longer_argument_may_end_in_zeroes() -> Result {
        let page = UserPage::new()?;

        for size in 16..=PAGE_SIZE as u32 {
            page.write(0, &size.to_ne_bytes())?;
            page.write(8, &[0xff; 8])?;
            let request: uapi::PreserveFd = Argument::new(page.at(0))?.read()?;
            assert_eq!((request.size, request.token), (size, u64::MAX));
        }
        Ok(())
    }

    #[test]
    fn a_longer_argument_that_ends_in_anything_else_is_e2big() -> Result {
        let page = UserPage::new()?;

        page.write(0, &128u32.to_ne_bytes())?;
        for offset in 16..=128 {
            for byte in [1, 0x80] {
                page.write(offset, &[byte])?;
                let request = Argument::new(page.at(0))?.read::<uapi::PreserveFd>();
                // What is behind the end of the argument is nobody's business.
                assert_eq!(request.err(), (offset < 128).then_some(E2BIG));
            }
            page.write(offset, &[0])?;
        }
        Ok(())
    }

    #[test]
    fn an_argument_that_ends_out_of_reach_is_efault() -> Result {
        let page = UserPage::new()?;

        // The struct itself, and what is behind it.
        for (offset, size) in [
            (PAGE_SIZE - 71, 72),
            (PAGE_SIZE - 4, 72),
            (PAGE_SIZE - 72, 73),
            (0, PAGE_SIZE as u32 + 1),
            (0, u32::MAX),
        ] {
            page.write(offset, &size.to_ne_bytes())?;
            let request = Argument::new(page.at(offset))?.read::<uapi::GetName>();
            assert_eq!(request.err(), Some(EFAULT));
            page.write(offset, &[0; 4])?;
        }
        Ok(())
    }

    #[test]
    fn an_answer_is_as_long_as_the_struct() -> Result {
        let page = UserPage::new()?;
        let answer = uapi::PreserveFd {
            size: 1,
            fd: 2,
            token: u64::MAX,
        };

        for size in [16, 17, 64] {
            page.write(0, &[0; 64])?;
            page.write(0, &u32::to_ne_bytes(size))?;
            let arg = Argument::new(page.at(0))?;

            page.write(16, &[0xee; 48])?;
            arg.respond(&answer)?;

            let mut bytes = [0; 64];
            page.read(0, &mut bytes)?;
            assert_eq!(&bytes[..16], answer.as_bytes());
            assert_eq!(bytes[16..], [0xee; 48]);
        }
        Ok(())
    }

    #[test]
    fn an_answer_that_cannot_be_written_is_efault() -> Result {
        let page = UserPage::read_only()?;
        let request = uapi::PreserveFd {
            size: 16,
            fd: 0,
            token: 0,
        };

        let arg = Argument::new(page.argument(&request)?)?;
        assert!(arg.read::<uapi::PreserveFd>().is_ok());
        assert_eq!(arg.respond(&request), Err(EFAULT));
        Ok(())
    }

    #[test]
    fn the_format_is_chosen_by_name() -> Result {
        for name in ["luo-fdt", "luo-v5"] {
            let log = logged(|| set_abi(name.as_bytes()))?;

            assert!(log.is_empty());
            assert_eq!(outgoing_format().name(), name);
        }

        for unknown in ["", "luo-v4", "luo-fd", "luo-fdt2", "LUO-FDT", "\n"] {
            set_abi(b"luo-fdt");
            let log = logged(|| set_abi(unknown.as_bytes()))?;
            let shown = BStr::from_bytes(unknown.as_bytes());
            let warning = CString::try_from_fmt(fmt!(
                "luo: liveupdate.abi={shown} is unknown, the default is used\n"
            ))?;

            assert_eq!(*log, *warning.to_bytes());
            assert_eq!(outgoing_format().name(), "luo-v5");
        }
        Ok(())
    }

    #[test]
    fn a_root_record_waits_for_the_next_kernel() -> Result {
        let (phys, size) = published(c"LUO").ok_or(ENOENT)?;
        let root: luo_v5::Root = Preservations.read(Extent::page(phys)).ok_or(EINVAL)?;
        let flbs: record::FlbHeader = Preservations
            .read(Extent::page(root.flbs_pa))
            .ok_or(EINVAL)?;

        assert_eq!(size, 32);
        assert_eq!(&root.compatible, b"luo-v5\0\0");
        // This kernel was not started by a live update, so the next one is the first that is.
        assert_eq!(root.liveupdate_num, 1);
        assert_eq!(root.sessions_pa, 0);
        assert_eq!((flbs.pgcnt, flbs.count), (1, 0));
        Ok(())
    }

    #[test]
    fn what_becomes_of_damage_is_chosen_by_name() -> Result {
        for name in ["panic", "refuse"] {
            let log = logged(|| set_damaged(name.as_bytes()))?;

            assert!(log.is_empty());
        }
        let log = logged(|| set_damaged(b"Panic"))?;
        assert_eq!(
            *log,
            *b"luo: liveupdate.damaged=Panic is unknown, the default is used\n"
        );
        Ok(())
    }

    #[test]
    fn the_device_is_opened_once() -> Result {
        open()?;
        let second = open();
        release();
        assert_eq!(second, Err(EBUSY));

        open()?;
        release();
        Ok(())
    }

    #[test]
    fn nothing_works_when_live_update_is_off() {
        let mut flb = pin_init::zeroed();
        let mut obj = ptr::null_mut();

        set_enabled(false);
        let off = (sessions().err(), reboot(true));
        // SAFETY: The FLB is nobody else's, and the result may be written.
        let flb_off = unsafe { bindings::liveupdate_flb_get_incoming(&mut flb, &mut obj) };
        set_enabled(true);

        // A reboot goes on without live update.
        assert_eq!(off, (Some(EOPNOTSUPP), Ok(())));
        assert_eq!(flb_off, EOPNOTSUPP.to_errno());
        assert!(sessions().is_ok());
    }
}
