// SPDX-License-Identifier: GPL-2.0

//! Tests of [`crate::abi`]: that the structs and numbers are those of the C headers, and those that
//! are written down here, and how a damaged field is described.

use super::*;
use crate::{
    abi::block::Header,
    block::tests::FLBS_ON_A_PAGE,
    mock::Random, //
};
use core::{
    array,
    mem::offset_of, //
};
use kernel::{
    bindings,
    ioctl::_IOC_NR,
    page::PAGE_SIZE,
    prelude::*,
    str::CString, //
};
use uapi::Request;

/// Asserts that a struct, the one of C, and the numbers written down are the same. No struct has
/// padding, so the offsets and the size are also the sizes of the fields.
macro_rules! assert_layout {
    ($ours:ty, $c:ident: $size:literal bytes, aligned to $align:literal and $c_align:literal, {
        $($field:ident, $c_field:ident: $offset:literal;)*
    }) => {
        assert_eq!(size_of::<$ours>(), $size);
        assert_eq!(size_of::<bindings::$c>(), $size);
        assert_eq!(align_of::<$ours>(), $align);
        assert_eq!(align_of::<bindings::$c>(), $c_align);
        $(
            assert_eq!(offset_of!($ours, $field), $offset);
            assert_eq!(offset_of!(bindings::$c, $c_field), $offset);
        )*
    };
}

/// Whether `R` is the ioctl of that number, in C and as written down, and wants all of its struct.
fn is_ioctl<R: Request>(nr: u32, cmd: u32) -> bool {
    R::CMD == cmd
        && _IOC_NR(R::CMD) == nr
        && R::CMD == bindings::LIVEUPDATE_IOCTL_TYPE << 8 | nr
        && R::MIN_SIZE == size_of::<R>()
}

fn is_shown_as(found: Found, text: &[u8]) -> Result<bool> {
    let damage = Damage {
        record: "record",
        field: "field",
        found,
        why: "why",
    };

    Ok(CString::try_from_fmt(fmt!("{damage}"))?.to_bytes() == text)
}

#[kunit_tests(luo_abi)]
mod suite {
    use super::*;

    #[test]
    fn root_record() {
        assert_layout!(luo_v5::Root, luo_ser: 32 bytes, aligned to 8 and 1, {
            compatible, compatible: 0;
            liveupdate_num, liveupdate_num: 8;
            sessions_pa, sessions_pa: 16;
            flbs_pa, flbs_pa: 24;
        });
    }

    #[test]
    fn session_record() {
        assert_layout!(record::Session, luo_session_ser: 80 bytes, aligned to 8 and 1, {
            name, name: 0;
            file_set, file_set_ser: 64;
        });
        assert_layout!(record::FileSet, luo_file_set_ser: 16 bytes, aligned to 8 and 1, {
            files, files: 0;
            count, count: 8;
        });
    }

    #[test]
    fn file_record() {
        assert_layout!(record::File, luo_file_ser: 64 bytes, aligned to 8 and 1, {
            compatible, compatible: 0;
            data, data: 48;
            token, token: 56;
        });
    }

    #[test]
    fn flb_records() {
        assert_layout!(record::FlbHeader, luo_flb_header_ser: 16 bytes, aligned to 8 and 1, {
            pgcnt, pgcnt: 0;
            count, count: 8;
        });
        assert_layout!(record::Flb, luo_flb_ser: 64 bytes, aligned to 8 and 1, {
            name, name: 0;
            data, data: 48;
            count, count: 56;
        });
    }

    #[test]
    fn flb_page() {
        assert_eq!(offset_of!(record::FlbPage, header), 0);
        assert_eq!(offset_of!(record::FlbPage, entries), 16);
        assert_eq!(record::FLBS_PER_PAGE, FLBS_ON_A_PAGE);
        assert!(size_of::<record::FlbPage>() <= PAGE_SIZE);
    }

    #[test]
    fn block_header() {
        assert_layout!(Header, kho_block_header_ser: 16 bytes, aligned to 8 and 1, {
            next, next: 0;
            count, count: 8;
        });
    }

    #[test]
    fn strings() {
        assert_eq!(format::KHO_ENTRY.to_bytes_with_nul(), b"LUO\0");
        assert_eq!(bindings::LUO_KHO_ENTRY_NAME, b"LUO\0");
        assert_eq!(luo_v5::COMPATIBLE, *b"luo-v5\0\0");
        assert_eq!(bindings::LUO_ABI_COMPATIBLE, b"luo-v5\0");
        assert_eq!(uapi::NAME_LENGTH, 64);
        assert_eq!(bindings::LIVEUPDATE_SESSION_NAME_LENGTH, 64);
        assert_eq!(bindings::LIVEUPDATE_HNDL_COMPAT_LENGTH, 48);
        assert_eq!(bindings::LIVEUPDATE_FLB_COMPAT_LENGTH, 48);
    }

    #[test]
    fn create_session() {
        let nr = bindings::LIVEUPDATE_CMD_CREATE_SESSION;

        assert!(is_ioctl::<uapi::CreateSession>(nr, 0xba00));
        assert_layout!(
            uapi::CreateSession, liveupdate_ioctl_create_session: 72 bytes, aligned to 4 and 4, {
                size, size: 0;
                fd, fd: 4;
                name, name: 8;
            }
        );
    }

    #[test]
    fn retrieve_session() {
        let nr = bindings::LIVEUPDATE_CMD_RETRIEVE_SESSION;

        assert!(is_ioctl::<uapi::RetrieveSession>(nr, 0xba01));
        assert_layout!(
            uapi::RetrieveSession, liveupdate_ioctl_retrieve_session: 72 bytes,
            aligned to 4 and 4, {
                size, size: 0;
                fd, fd: 4;
                name, name: 8;
            }
        );
    }

    #[test]
    fn preserve_fd() {
        let nr = bindings::LIVEUPDATE_CMD_SESSION_PRESERVE_FD;

        assert!(is_ioctl::<uapi::PreserveFd>(nr, 0xba40));
        assert_layout!(
            uapi::PreserveFd, liveupdate_session_preserve_fd: 16 bytes, aligned to 8 and 8, {
                size, size: 0;
                fd, fd: 4;
                token, token: 8;
            }
        );
    }

    #[test]
    fn retrieve_fd() {
        let nr = bindings::LIVEUPDATE_CMD_SESSION_RETRIEVE_FD;

        assert!(is_ioctl::<uapi::RetrieveFd>(nr, 0xba41));
        assert_layout!(
            uapi::RetrieveFd, liveupdate_session_retrieve_fd: 16 bytes, aligned to 8 and 8, {
                size, size: 0;
                fd, fd: 4;
                token, token: 8;
            }
        );
    }

    #[test]
    fn finish() {
        let nr = bindings::LIVEUPDATE_CMD_SESSION_FINISH;

        assert!(is_ioctl::<uapi::Finish>(nr, 0xba42));
        assert_layout!(
            uapi::Finish, liveupdate_session_finish: 8 bytes, aligned to 4 and 4, {
                size, size: 0;
                reserved, reserved: 4;
            }
        );
    }

    #[test]
    fn get_name() {
        let nr = bindings::LIVEUPDATE_CMD_SESSION_GET_NAME;

        assert!(is_ioctl::<uapi::GetName>(nr, 0xba43));
        assert_layout!(
            uapi::GetName, liveupdate_session_get_name: 72 bytes, aligned to 4 and 4, {
                size, size: 0;
                reserved, reserved: 4;
                name, name: 8;
            }
        );
    }

    #[test]
    fn until_the_first_nul() {
        assert_eq!(until_nul(b"ab\0cd\0"), Some(b"ab".as_slice()));
        assert_eq!(until_nul(b"ab\0"), Some(b"ab".as_slice()));
        assert_eq!(until_nul(b"\0ab"), Some(b"".as_slice()));
    }

    #[test]
    fn a_string_without_a_nul_is_none() {
        assert_eq!(until_nul(b"ab"), None);
        assert_eq!(until_nul(b""), None);
    }

    #[test]
    fn what_is_put_leaves_the_rest() {
        let mut field = *b"......";

        put(&mut field, b"");
        assert_eq!(field, *b"......");
        put(&mut field, b"abc");
        assert_eq!(field, *b"abc...");
    }

    #[test]
    fn what_is_put_ends_with_the_field() {
        let mut field = *b"......";

        put(&mut field, b"abcdef");
        assert_eq!(field, *b"abcdef");
        put(&mut field, b"0123456789");
        assert_eq!(field, *b"012345");
    }

    #[test]
    fn a_string_field_ends_at_its_first_nul() {
        let mut random = Random(1);

        for _ in 0..1000 {
            // Bytes that are next to NUL in one way or another, too.
            let field: [u8; 24] = array::from_fn(|_| match random.below(8) {
                0 => 0,
                1 => 1,
                2 => 0x80,
                3 => 0xff,
                _ => random.below(256) as u8,
            });
            let mut due = [0; 24];

            put(&mut due, until_nul(&field).unwrap_or(&field));
            assert_eq!(string_field(&field), due);
            assert!(is_same_string(&field, &due));

            // Whatever changes in front of the first NUL, and nothing behind it.
            let end = until_nul(&field).unwrap_or(&field).len();
            let at = random.below(24);
            let mut other = field;
            other[at] ^= 1 << random.below(8);
            assert_eq!(is_same_string(&field, &other), at > end);
            assert_eq!(is_same_string(&other, &field), at > end);
        }
    }

    #[test]
    fn what_would_end_a_word_is_escaped() -> Result {
        let escaped = |bytes: &[u8]| CString::try_from_fmt(fmt!("{}", Escaped(bytes)));

        for (bytes, text) in [
            (&b""[..], &b""[..]),
            (b"!plain-~", b"!plain-~"),
            (b"a b\tc\nd", b"a\\040b\\011c\\012d"),
            (b"\\040", b"\\134040"),
            (b"\x01\x7f\x80\xff", b"\\001\\177\\200\\377"),
        ] {
            assert!(escaped(bytes)?.to_bytes() == text);
        }
        Ok(())
    }

    #[test]
    fn a_damaged_field_is_named() -> Result {
        assert!(is_shown_as(Found::Nothing, b"record.field: why")?);
        Ok(())
    }

    #[test]
    fn a_damaged_number_is_hexadecimal() -> Result {
        for (number, text) in [
            (0, b"record.field is 0x0: why".as_slice()),
            (4096, b"record.field is 0x1000: why"),
            (u64::MAX, b"record.field is 0xffffffffffffffff: why"),
        ] {
            assert!(is_shown_as(Found::Number(number), text)?);
        }
        Ok(())
    }

    #[test]
    fn an_unknown_version_ends_at_its_nul() -> Result {
        for (version, text) in [
            (b"luo-v4\0\0", b"record.field is 'luo-v4': why".as_slice()),
            (b"luo-v5\0x", b"record.field is 'luo-v5': why"),
            (b"\0\0\0\0\0\0\0\0", b"record.field is '': why"),
            (b"luo-v100", b"record.field is 'luo-v100': why"),
        ] {
            assert!(is_shown_as(Found::version(version), text)?);
        }
        Ok(())
    }

    #[test]
    fn an_unknown_version_cannot_garble_the_log() -> Result {
        let version = Found::version(b"\n\x1b[\xff\0\0\0\0");

        assert!(is_shown_as(
            version,
            b"record.field is '\\n\\x1b[\\xff': why"
        )?);
        Ok(())
    }
}
