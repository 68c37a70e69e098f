// SPDX-License-Identifier: GPL-2.0

//! A stand-in for the kernel crate, so that the LUO runs as a program: what it uses of that crate,
//! our own files of it as they are, on top of the standard library, in a [`machine`] of which the caller decides what it remembers
//! of the kernel before.
//!
//! There is one thread, and nothing sleeps. What the kernel crate promises its users holds here as
//! well; a lock taken twice is a panic.

// Allow macros to refer to `::kernel` here as well.
extern crate self as kernel;

pub mod alloc;
pub mod bindings;
pub mod debugfs;
pub mod error;
#[path = "../../../../rust/kernel/fdt.rs"]
pub mod fdt;
#[path = "../../../../rust/kernel/folio.rs"]
pub mod folio;
pub mod fs;
#[path = "../../../../rust/kernel/kexec.rs"]
pub mod kexec;
pub mod kho;
pub mod kthread;
pub mod liveupdate;
pub mod machine;
pub mod memfd;
pub mod miscdevice;
pub mod module;
#[path = "../../../../rust/kernel/module_ref.rs"]
pub mod module_ref;
#[path = "../../../../rust/kernel/panic.rs"]
pub mod panic;
pub mod prelude;
pub mod rbtree;
pub mod seq_file;
#[path = "../../../../rust/kernel/siphash.rs"]
pub mod siphash;
pub mod sync;
pub mod time;
pub mod tracepoint;
pub mod types;
pub mod uaccess;

pub use module::Module;
pub use module::ModuleMetadata;
pub use module::ThisModule;

/// Formatting; the kernel crate formats as `core` does, with few exceptions.
pub mod fmt {
    pub use core::fmt::*;
}

/// The types of C.
pub mod ffi {
    pub use core::ffi::*;
}

/// Pages.
pub mod page {
    /// Their size, in bytes.
    pub const PAGE_SIZE: usize = 4096;
}

/// Numbers of ioctls.
#[allow(non_snake_case)]
pub mod ioctl {
    /// A command without an argument of known size.
    pub const fn _IO(kind: u32, nr: u32) -> u32 {
        kind << 8 | nr
    }

    /// The number in a command.
    pub const fn _IOC_NR(cmd: u32) -> u32 {
        cmd & 0xff
    }
}

/// Strings.
pub mod str {
    use core::ffi::c_char;
    use core::fmt;

    /// Bytes that are mostly text.
    #[repr(transparent)]
    pub struct BStr([u8]);

    impl BStr {
        /// Takes the bytes as they are.
        pub fn from_bytes(bytes: &[u8]) -> &Self {
            // SAFETY: The type is a transparent wrapper.
            unsafe { &*(core::ptr::from_ref(bytes) as *const Self) }
        }
    }

    impl fmt::Display for BStr {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.escape_ascii().fmt(f)
        }
    }

    /// What the kernel crate adds to [`CStr`](core::ffi::CStr).
    pub trait CStrExt {
        /// The first byte.
        fn as_char_ptr(&self) -> *const c_char;

        /// The string that begins there.
        ///
        /// # Safety
        ///
        /// It ends with a NUL, and stays as it is.
        unsafe fn from_char_ptr<'a>(ptr: *const c_char) -> &'a Self;
    }

    impl CStrExt for core::ffi::CStr {
        fn as_char_ptr(&self) -> *const c_char {
            self.as_ptr()
        }

        unsafe fn from_char_ptr<'a>(ptr: *const c_char) -> &'a Self {
            // SAFETY: The caller guarantees it.
            unsafe { Self::from_ptr(ptr) }
        }
    }
}

/// The name of something, or where it is made.
#[macro_export]
macro_rules! optional_name {
    ($name:literal) => {
        match ::core::ffi::CStr::from_bytes_with_nul(::core::concat!($name, "\0").as_bytes()) {
            Ok(name) => name,
            Err(_) => c"?",
        }
    };
}

/// Fails to compile unless the condition holds.
#[macro_export]
macro_rules! static_assert {
    ($condition:expr $(,)?) => {
        const _: () = assert!($condition);
    };
}

/// Makes a module of a crate, which is initialised by `init_module()`.
#[macro_export]
macro_rules! module {
    (type: $type:ty, name: $name:literal, $($rest:tt)*) => {
        const __LOG_PREFIX: &[u8] = $name.as_bytes();

        /// This module.
        pub struct LocalModule;

        impl $crate::ModuleMetadata for LocalModule {
            const NAME: &'static ::core::ffi::CStr = $crate::optional_name!($name);
            // SAFETY: It is built in.
            const THIS_MODULE: $crate::ThisModule =
                unsafe { $crate::ThisModule::from_ptr(::core::ptr::null_mut()) };
        }

        /// Initialises it.
        pub fn init_module() -> $crate::error::Result<impl Sized> {
            <$type as $crate::Module>::init($crate::module::this_module::<LocalModule>())
        }
    };
}

/// Initialises a struct whose fields may fail to be.
#[macro_export]
macro_rules! try_pin_init {
    ($($fields:tt)*) => {
        ::pin_init::pin_init!(#[default_error($crate::error::Error)] $($fields)*)
    };
}

/// Logs a message.
#[macro_export]
macro_rules! log {
    ($level:ident, $($args:tt)*) => {
        $crate::machine::log(
            $crate::machine::Level::$level,
            crate::__LOG_PREFIX,
            ::core::format_args!($($args)*),
        )
    };
}

/// Logs an error.
#[macro_export]
macro_rules! pr_err {
    ($($args:tt)*) => { $crate::log!(Err, $($args)*) };
}

/// Logs a warning.
#[macro_export]
macro_rules! pr_warn {
    ($($args:tt)*) => { $crate::log!(Warn, $($args)*) };
}

/// Logs what somebody should see.
#[macro_export]
macro_rules! pr_notice {
    ($($args:tt)*) => { $crate::log!(Warn, $($args)*) };
}

/// Logs what may be of interest.
#[macro_export]
macro_rules! pr_info {
    ($($args:tt)*) => { $crate::log!(Info, $($args)*) };
}
