// SPDX-License-Identifier: GPL-2.0

//! A driver whose files survive a live update.
//!
//! Each open file of `/dev/rust-liveupdate` holds a text: what is written replaces it, and can be
//! read again. Preserved in a session of `/dev/liveupdate` and retrieved from there after a kexec,
//! a file has its text still.
//!
//! All texts are on one shelf, which counts how often they were carried over, and is carried over
//! itself for as long as there are texts on it. Two ioctls read that count.

use kernel::{
    fs::{
        file::flags::O_RDWR,
        File,
        Kiocb, //
    },
    ioctl::{
        _IOC_SIZE,
        _IOR, //
    },
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    kho,
    liveupdate::{
        self,
        flb::{
            Flb,
            Object, //
        },
        FileHandler,
        Handle,
        Handler,
        Registration,
        Session, //
    },
    miscdevice::{
        MiscDevice,
        MiscDeviceOptions,
        MiscDeviceRegistration, //
    },
    new_mutex,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        Mutex, //
    },
    uaccess::UserSlice, //
};

module! {
    type: TextModule,
    name: "rust_liveupdate",
    authors: ["The LUO in Rust developers"],
    description: "Sample of a driver whose files survive a live update",
    license: "GPL",
}

/// How many live updates brought the texts here.
const RUST_LIVEUPDATE_GENERATION: u32 = _IOR::<u64>('T' as u32, 0x80);
/// The same as the next kernel will see it, if a text is preserved.
const RUST_LIVEUPDATE_NEXT_GENERATION: u32 = _IOR::<u64>('T' as u32, 0x81);

/// The device, and below it what has to be there as long as programs can open it.
#[pin_data]
struct TextModule {
    #[pin]
    _device: MiscDeviceRegistration<Text>,
    _handler: Option<Registration<Text>>,
}

impl kernel::InPlaceModule for TextModule {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            // Without live update, this is a device as any other.
            _handler: if liveupdate::is_enabled() {
                Some(TEXTS.register()?)
            } else {
                None
            },
            _device <- MiscDeviceRegistration::register(MiscDeviceOptions {
                name: c"rust-liveupdate",
            }),
        })
    }
}

// What an open file is.

/// An open file.
#[pin_data]
struct Text {
    #[pin]
    content: Mutex<KVVec<u8>>,
}

impl Text {
    /// What is behind an open file with this content.
    fn new(content: KVVec<u8>) -> Result<Pin<KBox<Self>>> {
        KBox::try_pin_init(
            try_pin_init!(Self {
                content <- new_mutex!(content),
            }),
            GFP_KERNEL,
        )
    }

    /// What is behind `file`, if it is one of these.
    fn of(file: &File) -> Option<Pin<&Self>> {
        MiscDeviceRegistration::<Self>::private_data(file)
    }
}

#[vtable]
impl MiscDevice for Text {
    type Ptr = Pin<KBox<Self>>;

    fn open(_file: &File, _device: &MiscDeviceRegistration<Self>) -> Result<Self::Ptr> {
        Text::new(KVVec::new())
    }

    fn read_iter(mut kiocb: Kiocb<'_, Self::Ptr>, iov: &mut IovIterDest<'_>) -> Result<usize> {
        let text = kiocb.file();
        let content = text.content.lock();

        iov.simple_read_from_buffer(kiocb.ki_pos_mut(), &content)
    }

    fn write_iter(mut kiocb: Kiocb<'_, Self::Ptr>, iov: &mut IovIterSource<'_>) -> Result<usize> {
        // What cannot be carried over is not taken.
        if iov.len() > Saved::ROOM {
            return Err(EFBIG);
        }

        let mut new = KVVec::new();
        let len = iov.copy_from_iter_vec(&mut new, GFP_KERNEL)?;

        *kiocb.file().content.lock() = new;
        // The next read begins at the beginning.
        *kiocb.ki_pos_mut() = 0;
        Ok(len)
    }

    fn ioctl(_text: Pin<&Self>, _file: &File, cmd: u32, arg: usize) -> Result<isize> {
        // As long as there is the guard that these return, there is the object.
        let generation = match cmd {
            RUST_LIVEUPDATE_GENERATION => SHELF.incoming()?.generation,
            RUST_LIVEUPDATE_NEXT_GENERATION => SHELF.outgoing()?.generation,
            _ => return Err(ENOTTY),
        };

        UserSlice::new(UserPtr::from_addr(arg), _IOC_SIZE(cmd))
            .writer()
            .write(&generation)?;
        Ok(0)
    }
}

// How an open file gets to the next kernel.

/// What is handed over of a text. Whoever changes this gives [`FileHandler::COMPATIBLE`] another
/// version.
#[repr(C)]
#[derive(FromBytes, IntoBytes)]
struct Saved {
    len: u64,
    bytes: [u8; Saved::ROOM],
}

impl Saved {
    /// The most that a text may have: two pages, but for the length.
    const ROOM: usize = 8192 - size_of::<u64>();

    /// The text. What was handed over may say anything about its length.
    fn text(&self) -> Result<&[u8]> {
        usize::try_from(self.len)
            .ok()
            .and_then(|len| self.bytes.get(..len))
            .ok_or(EINVAL)
    }

    /// Puts down a text.
    fn save(&mut self, text: &[u8]) -> Result {
        self.bytes
            .get_mut(..text.len())
            .ok_or(EFBIG)?
            .copy_from_slice(text);
        self.len = text.len() as u64;
        Ok(())
    }
}

/// Who preserves the files, with the shelf that these are on.
static TEXTS: Handler<Text> = Handler::new(&[&SHELF]);

#[vtable]
impl FileHandler for Text {
    const COMPATIBLE: &'static CStr = c"rust-liveupdate-text-v1";

    type Preserved = kho::Preserved<Saved>;
    type Restored = kho::Restored<Saved>;

    fn can_preserve(file: &File) -> bool {
        Text::of(file).is_some()
    }

    // Gets the memory. What goes into it may change until the kernel ends.
    fn preserve(_file: &File, _session: &Session<'_>) -> Result<kho::Preserved<Saved>> {
        kho::Preserved::new()
    }

    // There is nothing to undo, if the kernel goes on: so there is no `unfreeze()`.
    fn freeze(file: &File, saved: &mut kho::Preserved<Saved>, _session: &Session<'_>) -> Result {
        let text = Text::of(file).ok_or(EINVAL)?;
        let content = text.content.lock();

        saved.save(&content)
    }

    fn restore(handle: Handle) -> Result<kho::Restored<Saved>> {
        handle.restore()
    }

    fn retrieve(saved: kho::Restored<Saved>, _session: &Session<'_>) -> Result<ARef<File>> {
        let mut content = KVVec::new();
        content.extend_from_slice(saved.text()?, GFP_KERNEL)?;

        let generation = SHELF.incoming()?.generation;
        pr_info!(
            "a text of {} bytes, generation {generation}\n",
            content.len()
        );

        MiscDeviceRegistration::<Text>::new_file(c"[rust-liveupdate]", O_RDWR, Text::new(content)?)
    }
}

// What all files share.

/// What is handed over of the shelf.
#[repr(C)]
#[derive(FromBytes, IntoBytes)]
struct Count {
    /// How many live updates the texts will have seen when somebody reads this.
    generation: u64,
}

/// How many live updates brought texts here, as far as this kernel knows.
static GENERATION: Atomic<u64> = Atomic::new(0);

/// The shelf that all texts are on.
struct Shelf;

static SHELF: Flb<Shelf> = Flb::new();

#[vtable]
impl Object for Shelf {
    const COMPATIBLE: &'static CStr = c"rust-liveupdate-shelf-v1";

    type Preserved = kho::Preserved<Count>;
    type Restored = kho::Restored<Count>;

    fn preserve() -> Result<kho::Preserved<Count>> {
        let mut count = kho::Preserved::<Count>::new()?;

        count.generation = GENERATION.load(Relaxed).saturating_add(1);
        Ok(count)
    }

    fn restore(handle: Handle) -> Result<kho::Restored<Count>> {
        let count = handle.restore::<Count>()?;

        GENERATION.store(count.generation, Relaxed);
        Ok(count)
    }
}
