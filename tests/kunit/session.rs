// SPDX-License-Identifier: GPL-2.0

//! Tests of [`crate::luo_session`]: names, the life of sessions of both directions, what is written
//! down for the next kernel, and what becomes of a hand-over that is sound or damaged.

use super::*;
use crate::{
    abi::{
        format::FORMATS,
        luo_fdt::LuoFdt,
        luo_v5::LuoV5, //
    },
    block::tests::{
        Pages,
        FILES_IN_2_PAGES,
        FILES_PER_BLOCK,
        SESSIONS_PER_BLOCK, //
    },
    callbacks::FileHandler,
    common::{
        preserved_order,
        HandedOverPages, //
    },
    handover::tests::contents_of,
    kho_tests::{
        handed_over,
        Preservations, //
    },
    mock,
    tests::UserPage, //
};
use core::{
    mem,
    ops::Range,
    ptr::{
        self,
        NonNull, //
    }, //
};
use kernel::{
    bindings,
    error::{
        from_err_ptr,
        from_result, //
    },
    fs::File,
    kho::{
        Extent,
        Memory, //
    },
    page::PAGE_SIZE,
    str::CString,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        }, //
    },
    types::Opaque, //
};

// See tests/kunit/glue.h.
unsafe extern "C" {
    fn luo_kunit_log_end() -> u64;
    fn luo_kunit_log_line(seq: *mut u64, line: *mut u8, size: usize) -> usize;
}

/// The lines that LUO writes to the log in `action`, from the prefix on.
pub(crate) fn logged(action: impl FnOnce()) -> Result<KVec<u8>> {
    let mut log = KVec::new();
    let mut line = [0; 512];

    // SAFETY: May be called from anywhere.
    let mut seq = unsafe { luo_kunit_log_end() };
    action();
    loop {
        // SAFETY: The line may be written.
        match unsafe { luo_kunit_log_line(&mut seq, line.as_mut_ptr(), line.len()) } {
            0 => return Ok(log),
            len => {
                let line = line.get(..len).ok_or(EINVAL)?;

                if let Some(start) = line.windows(5).position(|text| text == b"luo: ") {
                    log.extend_from_slice(line.get(start..).ok_or(EINVAL)?, GFP_KERNEL)?;
                }
            }
        }
    }
}

/// A file descriptor; dropped, it is closed, and the file released.
pub(super) struct Fd(pub(super) i32);

impl Fd {
    /// A file of which [`Handler`] knows what to do.
    fn new() -> Result<Self> {
        let fd = FileDescriptorReservation::get_unused_fd_flags(O_CLOEXEC)?;
        let number = fd.reserved_fd() as i32;

        fd.fd_install(file()?);
        Ok(Self(number))
    }
}

impl Drop for Fd {
    fn drop(&mut self) {
        // SAFETY: The file descriptor belongs to this test, which is in no system call. Kernel
        // threads leave the release of files to a worker; waiting for it may sleep.
        unsafe {
            bindings::close_fd(self.0 as u32);
            bindings::flush_delayed_fput();
        }
    }
}

/// The file descriptor that would be given out next.
pub(super) fn next_fd() -> Result<u32> {
    Ok(FileDescriptorReservation::get_unused_fd_flags(0)?.reserved_fd())
}

fn file() -> Result<ARef<File>> {
    const OPS: &bindings::file_operations = &pin_init::zeroed();

    // SAFETY: The name is NUL-terminated, and the file operations are static.
    let file = from_err_ptr(unsafe {
        bindings::anon_inode_getfile(c"kunit".as_char_ptr(), OPS, ptr::null_mut(), 0)
    })?;
    // SAFETY: The file is new, with a reference for its caller.
    Ok(unsafe { ARef::from_raw(NonNull::new(file.cast()).ok_or(ENOMEM)?) })
}

type Args = bindings::liveupdate_file_op_args;

/// A callback, and the number that its file got when it was preserved.
type Call = (&'static str, u64);

/// A file handler that takes any file, and notes its calls.
#[repr(C)]
#[pin_data]
pub(crate) struct Handler {
    raw: Opaque<bindings::liveupdate_file_handler>,
    #[pin]
    calls: Mutex<KVec<Call>>,
    preserved: Atomic<u64>,
    /// The number of a file that cannot be frozen.
    never_freezes: Atomic<u64>,
    can_finish: Atomic<bool>,
}

impl Handler {
    const OPS: &bindings::liveupdate_file_ops = &bindings::liveupdate_file_ops {
        can_preserve: Some(Self::can_preserve),
        preserve: Some(Self::preserve),
        unpreserve: Some(Self::unpreserve),
        freeze: Some(Self::freeze),
        unfreeze: Some(Self::unfreeze),
        retrieve: Some(Self::retrieve),
        can_finish: Some(Self::can_finish),
        finish: Some(Self::finish),
        ..pin_init::zeroed()
    };

    fn new() -> Result<Pin<KBox<Self>>> {
        Self::named(b"kunit")
    }

    fn named(name: &[u8]) -> Result<Pin<KBox<Self>>> {
        let mut compatible = [0; 48];
        crate::abi::put(&mut compatible, name);

        KBox::pin_init(
            pin_init!(Self {
                raw: Opaque::new(bindings::liveupdate_file_handler {
                    ops: Self::OPS,
                    compatible,
                    ..pin_init::zeroed()
                }),
                calls <- new_mutex!(KVec::new()),
                preserved: Atomic::new(0),
                never_freezes: Atomic::new(0),
                can_finish: Atomic::new(true),
            }),
            GFP_KERNEL,
        )
    }

    /// Whether there were these calls, and no others, since last asked.
    fn called(&self, expected: &[Call]) -> bool {
        *mem::take(&mut *self.calls.lock()) == *expected
    }

    fn forget_calls(&self) {
        self.calls.lock().clear();
    }

    /// Notes a call; returns the handler, and the number of the file.
    fn note<'a>(args: *mut Args, call: &'static str) -> (&'a Self, u64) {
        // SAFETY: LUO calls a handler with valid arguments. The handler is the first field.
        let (handler, number) =
            unsafe { (&*(*args).handler.cast::<Self>(), (*args).serialized_data) };

        // What is not noted is missed later.
        let _ = handler.calls.lock().push((call, number), GFP_KERNEL);
        (handler, number)
    }

    extern "C" fn can_preserve(
        _: *mut bindings::liveupdate_file_handler,
        _: *mut bindings::file,
    ) -> bool {
        true
    }

    extern "C" fn preserve(args: *mut Args) -> c_int {
        // SAFETY: As in `note()`.
        unsafe {
            let handler = &*(*args).handler.cast::<Self>();

            (*args).serialized_data = handler.preserved.fetch_add(1, Relaxed) + 1;
        }
        Self::note(args, "preserve");
        0
    }

    extern "C" fn unpreserve(args: *mut Args) {
        Self::note(args, "unpreserve");
    }

    extern "C" fn freeze(args: *mut Args) -> c_int {
        let (handler, number) = Self::note(args, "freeze");

        if handler.never_freezes.load(Relaxed) == number {
            ETXTBSY.to_errno()
        } else {
            0
        }
    }

    extern "C" fn unfreeze(args: *mut Args) {
        Self::note(args, "unfreeze");
    }

    extern "C" fn retrieve(args: *mut Args) -> c_int {
        Self::note(args, "retrieve");
        from_result(|| {
            let file = ARef::into_raw(file()?);

            // SAFETY: As in `note()`.
            unsafe { (*args).file = file.as_ptr().cast() };
            Ok(0)
        })
    }

    extern "C" fn can_finish(args: *mut Args) -> bool {
        // SAFETY: As in `note()`.
        let handler = unsafe { &*(*args).handler.cast::<Self>() };

        handler.can_finish.load(Relaxed)
    }

    extern "C" fn finish(args: *mut Args) {
        Self::note(args, "finish");
    }
}

/// An orchestrator of the test's own, and its handler "kunit". They are never freed, as sessions
/// keep them for ever.
pub(crate) fn orchestrator(handed_over: HandOver) -> Result<(&'static Sessions, &'static Handler)> {
    orchestrator_of(&LuoV5, handed_over)
}

/// The same, of a kernel that writes `format`.
fn orchestrator_of(
    format: &'static dyn Format,
    handed_over: HandOver,
) -> Result<(&'static Sessions, &'static Handler)> {
    let sessions = KBox::pin_init(Sessions::new(format, handed_over), GFP_KERNEL)?;
    let handler = Handler::new()?;
    let pointers: (*const Sessions, *const Handler) = (&*sessions, &*handler);

    mem::forget((sessions, handler));
    // SAFETY: They are pinned, and never freed.
    let (sessions, handler) = unsafe { (&*pointers.0, &*pointers.1) };
    let raw = NonNull::new(handler.raw.get()).ok_or(EINVAL)?;

    // SAFETY: The handler is complete, and never freed.
    let registered = unsafe { FileHandler::new(raw) };
    sessions.registry.register(registered)?;
    Ok((sessions, handler))
}

/// A session of this kernel, without files.
pub(crate) fn outgoing_session() -> Result<Arc<Session<Outgoing>>> {
    let (sessions, _) = orchestrator(HandOver::nothing())?;

    sessions.outgoing.lock().add(sessions, &name(b"kunit")?)
}

/// A session of a previous kernel, without files.
pub(crate) fn incoming_session() -> Result<Arc<Session<Incoming>>> {
    let (sessions, _) = orchestrator(HandOver::nothing())?;
    let record = SessionRecord {
        name: name(b"kunit")?,
        files: Table::new(),
    };
    let session = Session::adopt(sessions, &record)?;

    session.state.store(true, Relaxed);
    Ok(session)
}

fn field(text: &[u8]) -> [u8; 64] {
    let mut field = [0; 64];

    crate::abi::put(&mut field, text);
    field
}

fn name(text: &[u8]) -> Result<Name> {
    Name::new(&field(text)).ok_or(EINVAL)
}

/// The name of one of some thousand sessions.
pub(super) fn name_of(number: usize) -> Result<Name> {
    name(&[number / 64, number % 64].map(|digit| b'0' + digit as u8))
}

/// Creates a session as userspace does.
fn create(sessions: &'static Sessions, page: &UserPage, text: &[u8]) -> Result<Fd> {
    let arg = page.argument(&uapi::CreateSession {
        size: 72,
        fd: -1,
        name: field(text),
    })?;

    sessions.create(&Argument::new(arg)?)?;
    Ok(Fd(page.answer::<uapi::CreateSession>()?.fd))
}

/// Retrieves a session as userspace does.
fn retrieve(sessions: &'static Sessions, page: &UserPage, text: &[u8]) -> Result<Fd> {
    let arg = page.argument(&uapi::RetrieveSession {
        size: 72,
        fd: -1,
        name: field(text),
    })?;

    sessions.retrieve(&Argument::new(arg)?)?;
    Ok(Fd(page.answer::<uapi::RetrieveSession>()?.fd))
}

/// An ioctl with its argument in user memory.
fn ioctl(cmd: u32, arg: UserPtr) -> Ioctl {
    mock::ioctl(cmd, arg.as_const_ptr().addr())
}

fn finish(session: &Session<Incoming>, page: &UserPage, reserved: u32) -> Result {
    let arg = page.argument(&uapi::Finish { size: 8, reserved })?;

    session.ioctl(&ioctl(uapi::Finish::CMD, arg))
}

impl OutgoingTable {
    fn get(&self, text: &[u8]) -> Result<Arc<Session<Outgoing>>> {
        let name = name(text)?;

        self.sessions.get(&name).cloned().ok_or(ENOENT)
    }
}

impl IncomingTable {
    /// What was handed over waits to be restored.
    pub(crate) fn waiting(records: Table<SessionRecord>) -> Self {
        Self {
            stage: Stage::Waiting(records),
            sessions: Table::new(),
            told: KVec::new(),
        }
    }

    fn get(&self, text: &[u8]) -> Result<Arc<Session<Incoming>>> {
        self.sessions.get(&name(text)?).cloned().ok_or(ENOENT)
    }
}

const SESSION: usize = size_of::<wire::Session>() / 8;
const FILE: usize = size_of::<wire::File>() / 8;

/// Writes two sessions, "a" and "b", into page 0, and three and one files into pages 1 and 2, which
/// are at `phys`. Their data is 1000 and their token.
fn write_hand_over(phys: [u64; 3], mut word: impl FnMut(usize, usize, u64)) {
    word(0, 1, 2);
    for (session, files) in [3, 1].into_iter().enumerate() {
        let page = session + 1;
        let at = 2 + session * SESSION;

        word(0, at, u64::from(b'a') + session as u64);
        word(0, at + 8, phys[page]);
        word(0, at + 9, files);
        word(page, 1, files);
        for file in 0..files {
            let at = 2 + file as usize * FILE;

            word(page, at, u64::from_le_bytes(*b"kunit\0\0\0"));
            word(page, at + 6, 1000 + file);
            word(page, at + 7, file);
        }
    }
}

fn hand_over() -> Result<Pages> {
    let mut pages = Pages::chain(&[0, 0, 0])?;
    let phys = [0, 1, 2].map(Pages::phys);

    for page in 0..3 {
        pages.word(page, 0, 0);
    }
    write_hand_over(phys, |page, at, value| pages.word(page, at, value));
    Ok(pages)
}

/// The same, in pages that KHO itself takes for handed over.
fn hand_over_by_kho() -> Result<[HandedOverPages; 3]> {
    let mut pages = [
        HandedOverPages::new(0)?,
        HandedOverPages::new(0)?,
        HandedOverPages::new(0)?,
    ];
    let phys = pages.each_ref().map(HandedOverPages::phys);

    write_hand_over(phys, |page, at, value| pages[page].words()[at] = value);
    Ok(pages)
}

/// An orchestrator that has restored [`hand_over`].
fn restored() -> Result<(&'static Sessions, &'static Handler)> {
    let contents = contents_of(&hand_over()?, &LuoV5, Pages::phys(0), 0)?;
    let (sessions, handler) = orchestrator(HandOver::sound(contents))?;

    sessions.restore()?;
    Ok((sessions, handler))
}

/// Reads the hand-over whose first block of sessions is at `head`; returns it, and how many pages
/// it was in.
fn read(
    sessions: &'static Sessions,
    memory: &impl Memory,
    head: u64,
) -> Result<(ByName<Incoming>, usize)> {
    let mut contents = contents_of(memory, &LuoV5, head, 0)?;
    let mut table = IncomingTable::waiting(contents.take_sessions());

    table.restore(sessions)?;
    Ok((table.sessions, contents.pages().len()))
}

/// Sessions: name and files of each.
pub(crate) type Meaning = KVec<(KVec<u8>, crate::luo_file::tests::Meaning)>;

/// What sessions say, once they are restored.
pub(crate) fn meaning(
    sessions: &'static Sessions,
    records: Table<SessionRecord>,
) -> Result<Meaning> {
    let mut table = IncomingTable::waiting(records);
    let mut found = KVec::new();

    table.restore(sessions)?;
    for session in table.sessions.iter() {
        let mut name = KVec::new();

        name.extend_from_slice(session.name().as_bytes(), GFP_KERNEL)?;
        found.push((name, session.files.meaning()?), GFP_KERNEL)?;
    }
    Ok(found)
}

/// Whether a hand-over with these words changed, each in a page and at a place, is refused with one
/// line in the log that says so.
fn is_refused(changes: &[(usize, usize, u64)], session: &str, why: &str) -> Result<bool> {
    let (sessions, _) = orchestrator(HandOver::nothing())?;
    let mut pages = hand_over()?;
    let mut refused = false;

    for &(page, at, value) in changes {
        pages.word(page, at, value);
    }
    let log = logged(|| {
        refused = read(sessions, &pages, Pages::phys(0)).is_err_and(|err| err == EIO);
    })?;
    let line = CString::try_from_fmt(fmt!(
        "luo: refused what the previous kernel handed over (session '{session}'): {why}\n"
    ))?;

    Ok(refused && *log == *line.to_bytes())
}

/// As [`is_refused`], as the block in a page claims to have so many entries.
fn is_refused_for_count(page: usize, count: u64, session: &str) -> Result<bool> {
    let why = CString::try_from_fmt(fmt!(
        "kho_block_header_ser.count is {count:#x}: more than a block holds"
    ))?;
    let why = why.to_str().map_err(|_| EINVAL)?;

    is_refused(&[(page, 1, count)], session, why)
}

/// Writes down all sessions, and returns how that went and where the next kernel would find them.
///
/// The root blob is the test's own, and has no sessions before.
fn serialize(sessions: &Sessions) -> Result<(Result, u64)> {
    let mut table = sessions.outgoing.lock();
    let format = table.format;
    let mut blob = Preserved::zeroed(format.blob_size())?;
    let content = format::Root {
        liveupdate_num: 7,
        sessions_pa: 0,
        flbs_pa: 0x7000,
    };

    format.write(&mut blob, &content)?;
    table.root = Some(Root {
        blob: blob.publish(c"kunit-session")?,
        content,
        flbs: Preserved::new()?,
    });
    let result = table.serialize(&sessions.registry);
    let root = table.root.take().ok_or(ENOENT)?;
    let written = format.read(&root.blob).map_err(|_| EINVAL)?;

    assert_eq!((written.liveupdate_num, written.flbs_pa), (7, 0x7000));
    Ok((result, written.sessions_pa))
}

/// Creates a session and preserves a file for each of `tokens` in it.
fn create_with_files(
    sessions: &'static Sessions,
    text: &[u8],
    tokens: Range<u64>,
) -> Result<Arc<Session<Outgoing>>> {
    let session = sessions.outgoing.lock().add(sessions, &name(text)?)?;

    preserve(&session, tokens)?;
    Ok(session)
}

fn preserve(session: &Session<Outgoing>, tokens: Range<u64>) -> Result {
    for token in tokens {
        let fd = Fd::new()?;
        let registry = &session.sessions.registry;

        session.files.preserve_fd(registry, token, fd.0)?;
    }
    Ok(())
}

#[kunit_tests(luo_session)]
mod suite {
    use super::*;

    #[test]
    fn a_name_ends_at_its_first_nul() {
        let mut bytes = [b'n'; 64];

        bytes[63] = 0;
        assert!(Name::new(&bytes).is_some_and(|name| name.as_bytes() == &bytes[..63]));

        bytes[5] = 0;
        assert!(Name::new(&bytes).is_some_and(|name| name.as_bytes() == b"nnnnn"));
        assert!(Name::new(&bytes) == Name::new(&field(b"nnnnn")));
    }

    #[test]
    fn a_name_is_not_empty() {
        assert!(Name::new(&[0; 64]).is_none());
        assert!(Name::new(&field(b"\0name")).is_none());
    }

    #[test]
    fn a_name_has_a_nul() {
        assert!(Name::new(&[b'n'; 64]).is_none());
    }

    #[test]
    fn a_name_may_have_any_other_byte() {
        let mut bytes = [0xff; 64];

        bytes[0] = b'\n';
        bytes[63] = 0;
        assert!(Name::new(&bytes).is_some_and(|name| name.as_bytes() == &bytes[..63]));
    }

    #[test]
    fn every_byte_of_a_name_counts() -> Result {
        let whole = [b'a'; 63];

        for at in 0..whole.len() {
            let mut other = whole;

            other[at] = b'b';
            assert!(name(&other)? != name(&whole)? && name(&other)? == name(&other)?);
            if at > 0 {
                assert!(name(&whole[..at])? != name(&whole)?);
                assert!(name(&whole[..at])? == name(&whole[..at])?);
            }
        }
        Ok(())
    }

    #[test]
    fn a_name_is_taken_until_its_session_is_closed() -> Result {
        let (sessions, _) = orchestrator(HandOver::nothing())?;
        let page = UserPage::new()?;

        let first = create(sessions, &page, b"a")?;
        let _second = create(sessions, &page, b"b")?;
        assert_eq!(create(sessions, &page, b"a").err(), Some(EEXIST));
        assert_eq!(sessions.outgoing.lock().sessions.len(), 2);

        drop(first);
        assert_eq!(sessions.outgoing.lock().sessions.len(), 1);
        assert!(create(sessions, &page, b"a").is_ok());
        Ok(())
    }

    #[test]
    fn a_name_may_be_taken_in_both_directions() -> Result {
        let (sessions, _) = restored()?;
        let page = UserPage::new()?;

        let _outgoing = create(sessions, &page, b"a")?;
        assert!(retrieve(sessions, &page, b"a").is_ok());
        Ok(())
    }

    #[test]
    fn a_session_is_not_created_without_a_name() -> Result {
        let (sessions, _) = orchestrator(HandOver::nothing())?;
        let page = UserPage::new()?;
        let fd = next_fd()?;

        for name in [b"".as_slice(), b"\0a", &[b'a'; 64]] {
            assert_eq!(create(sessions, &page, name).err(), Some(EINVAL));
        }
        assert_eq!(next_fd()?, fd);
        assert_eq!(sessions.outgoing.lock().sessions.len(), 0);
        Ok(())
    }

    #[test]
    fn a_session_is_not_created_if_its_owner_cannot_be_told() -> Result {
        let (sessions, _) = orchestrator(HandOver::nothing())?;
        let page = UserPage::read_only()?;
        let fd = next_fd()?;

        assert_eq!(create(sessions, &page, b"a").err(), Some(EFAULT));
        assert_eq!(next_fd()?, fd);

        let mut table = sessions.outgoing.lock();
        assert_eq!((table.sessions.len(), table.blocks.head()), (0, 0));
        assert!(table.add(sessions, &name(b"a")?).is_ok());
        Ok(())
    }

    #[test]
    fn a_refused_name_takes_no_block() -> Result {
        let (sessions, _) = orchestrator(HandOver::nothing())?;
        let mut table = sessions.outgoing.lock();

        for number in 0..SESSIONS_PER_BLOCK {
            table.add(sessions, &name_of(number)?)?;
        }
        assert!(table
            .add(sessions, &name_of(0)?)
            .is_err_and(|err| err == EEXIST));

        // One block holds them all: one entry more does not fit.
        let count = table.sessions.len();
        let file_set = wire::FileSet { files: 0, count: 0 };
        let entry = wire::Session {
            name: [0; 64],
            file_set,
        };
        assert_eq!(table.blocks.write(count, entry), Err(ENOSPC));
        Ok(())
    }

    #[test]
    fn sessions_stay_in_the_order_of_their_creation() -> Result {
        let (sessions, _) = orchestrator(HandOver::nothing())?;

        // One of so many stays, whichever that is.
        for stays in 1..=7 {
            let mut table = OutgoingTable::new(format::DEFAULT);
            let mut due = KVec::new();

            for number in 1..=200 {
                due.push(table.add(sessions, &name(&[number])?)?, GFP_KERNEL)?;
                if number % stays != 0 {
                    let any = usize::from(number) * 7 % due.len();
                    table.remove(&*due.remove(any).map_err(|_| EINVAL)?);
                }

                let there = table.sessions.iter().map(|it| it.name());
                assert!(there.eq(due.iter().map(|it| it.name())));
            }
        }
        Ok(())
    }

    #[test]
    fn a_session_tells_its_name() -> Result {
        let page = UserPage::new()?;
        let mut request = uapi::GetName {
            size: 72,
            reserved: 0,
            name: [0xff; 64],
        };

        let outgoing = outgoing_session()?;
        outgoing.ioctl(&ioctl(uapi::GetName::CMD, page.argument(&request)?))?;
        assert!(page.answer::<uapi::GetName>()?.name == field(b"kunit"));

        let incoming = incoming_session()?;
        incoming.ioctl(&ioctl(uapi::GetName::CMD, page.argument(&request)?))?;
        assert!(page.answer::<uapi::GetName>()?.name == field(b"kunit"));

        request.reserved = 1;
        let refused = outgoing.ioctl(&ioctl(uapi::GetName::CMD, page.argument(&request)?));
        assert_eq!(refused, Err(EINVAL));
        Ok(())
    }

    #[test]
    fn closing_an_outgoing_session_undoes_it() -> Result {
        let (sessions, handler) = orchestrator(HandOver::nothing())?;
        let page = UserPage::new()?;

        let fd = create(sessions, &page, b"a")?;
        let session = sessions.outgoing.lock().get(b"a")?;
        preserve(&session, 0..2)?;
        assert!(handler.called(&[("preserve", 1), ("preserve", 2)]));

        drop(fd);
        assert!(handler.called(&[("unpreserve", 2), ("unpreserve", 1)]));
        let table = sessions.outgoing.lock();
        assert_eq!((table.sessions.len(), table.blocks.head()), (0, 0));
        assert!(table.get(b"a").is_err());
        Ok(())
    }

    #[test]
    fn closing_a_session_leaves_the_others() -> Result {
        let (sessions, handler) = orchestrator(HandOver::nothing())?;
        let page = UserPage::new()?;

        let first = create(sessions, &page, b"a")?;
        create_with_files(sessions, b"b", 0..1)?;
        drop(first);
        assert!(handler.called(&[("preserve", 1)]));
        assert!(sessions.outgoing.lock().get(b"b").is_ok());
        Ok(())
    }

    #[test]
    fn closing_a_retrieved_session_finishes_it() -> Result {
        let (sessions, handler) = restored()?;
        let page = UserPage::new()?;

        drop(retrieve(sessions, &page, b"a")?);
        assert!(handler.called(&[("finish", 1002), ("finish", 1001), ("finish", 1000)]));
        assert_eq!(retrieve(sessions, &page, b"a").err(), Some(ENOENT));

        drop(retrieve(sessions, &page, b"b")?);
        assert!(handler.called(&[("finish", 1000)]));
        Ok(())
    }

    #[test]
    fn closing_a_finished_session_removes_it() -> Result {
        let (sessions, handler) = restored()?;
        let page = UserPage::new()?;
        let fd = retrieve(sessions, &page, b"a")?;
        let session = sessions.incoming.lock().get(b"a")?;

        finish(&session, &page, 0)?;
        assert!(handler.called(&[("finish", 1002), ("finish", 1001), ("finish", 1000)]));
        // It is there until it is closed, and can be finished again.
        finish(&session, &page, 0)?;
        assert_eq!(retrieve(sessions, &page, b"a").err(), Some(EINVAL));

        drop(fd);
        assert!(handler.called(&[]));
        assert_eq!(retrieve(sessions, &page, b"a").err(), Some(ENOENT));
        Ok(())
    }

    #[test]
    fn a_session_that_cannot_finish_can_be_retrieved_again() -> Result {
        let (sessions, handler) = restored()?;
        let page = UserPage::new()?;
        let fd = retrieve(sessions, &page, b"a")?;
        let session = sessions.incoming.lock().get(b"a")?;

        handler.can_finish.store(false, Relaxed);
        assert_eq!(finish(&session, &page, 0), Err(EBUSY));
        let log = logged(|| drop(fd))?;
        assert_eq!(
            *log,
            *b"luo: session 'a' cannot finish yet, it can be retrieved again\n"
        );
        assert!(handler.called(&[]));

        let fd = retrieve(sessions, &page, b"a")?;
        handler.can_finish.store(true, Relaxed);
        drop(fd);
        assert!(handler.called(&[("finish", 1002), ("finish", 1001), ("finish", 1000)]));
        Ok(())
    }

    #[test]
    fn what_is_reserved_in_finish_is_zero() -> Result {
        let (sessions, handler) = restored()?;
        let page = UserPage::new()?;
        let session = sessions.incoming.lock().get(b"a")?;

        assert_eq!(finish(&session, &page, 1), Err(EINVAL));
        assert!(handler.called(&[]));
        Ok(())
    }

    #[test]
    fn a_session_is_retrieved_by_one() -> Result {
        let (sessions, _) = restored()?;
        let page = UserPage::new()?;
        let _first = retrieve(sessions, &page, b"a")?;
        let fd = next_fd()?;

        assert_eq!(retrieve(sessions, &page, b"a").err(), Some(EINVAL));
        assert_eq!(next_fd()?, fd);
        assert!(retrieve(sessions, &page, b"b").is_ok());
        Ok(())
    }

    #[test]
    fn a_session_that_was_not_handed_over_is_not_retrieved() -> Result {
        let (sessions, _) = restored()?;
        let page = UserPage::new()?;
        let fd = next_fd()?;

        for name in [b"".as_slice(), b"c", b"aa", b"\0a", &[b'a'; 64]] {
            assert_eq!(retrieve(sessions, &page, name).err(), Some(ENOENT));
        }
        assert_eq!(next_fd()?, fd);
        Ok(())
    }

    #[test]
    fn a_session_is_not_retrieved_if_its_owner_cannot_be_told() -> Result {
        let (sessions, handler) = restored()?;
        let fd = next_fd()?;

        let refused = retrieve(sessions, &UserPage::read_only()?, b"a").err();
        assert_eq!(refused, Some(EFAULT));
        assert_eq!(next_fd()?, fd);
        assert!(handler.called(&[]));
        assert!(retrieve(sessions, &UserPage::new()?, b"a").is_ok());
        Ok(())
    }

    #[test]
    fn sessions_are_handed_over_in_the_order_of_creation() -> Result {
        let (sessions, _) = orchestrator(HandOver::nothing())?;

        create_with_files(sessions, b"z", 0..0)?;
        let gone = create_with_files(sessions, b"y", 0..0)?;
        create_with_files(sessions, b"a", 0..0)?;
        // Who goes and comes again comes last.
        sessions.outgoing.lock().remove(&gone);
        create_with_files(sessions, b"b", 0..0)?;
        create_with_files(sessions, b"y", 0..0)?;

        let (result, head) = serialize(sessions)?;
        assert_eq!(result, Ok(()));
        let contents = contents_of(&Preservations, &LuoV5, head, 0)?;
        let order = contents.sessions().iter().map(|it| it.name.as_bytes());
        assert!(order.eq([b"z", b"a", b"b", b"y"]));
        Ok(())
    }

    #[test]
    fn what_is_handed_over_is_read_by_the_next_kernel() -> Result {
        const MANY: u64 = FILES_PER_BLOCK as u64 + 1;

        let (old, _) = orchestrator(HandOver::nothing())?;
        let (new, handler) = orchestrator(HandOver::nothing())?;

        create_with_files(old, b"b", 0..2)?;
        create_with_files(old, b"a", 0..0)?;
        create_with_files(old, b"c", 5..5 + MANY)?;
        let (result, head) = serialize(old)?;
        assert_eq!(result, Ok(()));

        // A block of sessions, one of the files of "b", and two of those of "c".
        let contents = contents_of(&Preservations, &LuoV5, head, 0)?;
        let mut orders = contents.pages().iter().map(|it| preserved_order(it.phys));
        assert!(orders.all(|order| order == Some(0)));
        let (table, pages) = read(new, &Preservations, head)?;
        assert_eq!(pages, 4);
        let names = table.iter().map(|session| session.name().as_bytes());
        assert!(names.eq([b"b", b"a", b"c"]));
        new.incoming.lock().sessions = table;

        for (session, token, number) in [
            (b"b", 0, 1),
            (b"b", 1, 2),
            (b"c", 5, 3),
            (b"c", 4 + MANY, 2 + MANY),
        ] {
            let session = new.incoming.lock().get(session)?;

            assert!(session.files.retrieve(&new.registry, token).is_ok());
            assert!(handler.called(&[("retrieve", number)]));
        }
        for (session, token) in [(b"a", 0), (b"b", 2), (b"c", 4), (b"c", 5 + MANY)] {
            let session = new.incoming.lock().get(session)?;
            let nothing = session.files.retrieve(&new.registry, token).err();

            assert_eq!(nothing, Some(ENOENT));
        }
        Ok(())
    }

    #[test]
    fn every_format_is_read_in_blocks_of_its_size() -> Result {
        // How many files fit into a block, and the orders of the blocks of sessions and files.
        for (format, full, orders) in [
            (&LuoV5 as &dyn Format, FILES_PER_BLOCK as u64, [0, 0, 0]),
            (&LuoFdt, FILES_IN_2_PAGES as u64, [4, 1, 1]),
        ] {
            let (old, _) = orchestrator_of(format, HandOver::nothing())?;

            create_with_files(old, b"full", 0..full)?;
            create_with_files(old, b"more", 0..full + 1)?;
            let (result, head) = serialize(old)?;
            assert_eq!(result, Ok(()));

            // What this kernel itself writes is of no account.
            for own in FORMATS {
                let contents = contents_of(&Preservations, format, head, 0)?;
                let mut sorted = KVec::new();
                let found = contents.pages().iter().map(|it| preserved_order(it.phys));
                // One of sessions, one of files, and two of one more.
                let [sessions, one, two] = orders.map(Some);
                let mut expected = [sessions, one, two, two];
                expected.sort_unstable();
                for order in found {
                    sorted.push(order, GFP_KERNEL)?;
                }
                sorted.sort_unstable();
                assert_eq!(*sorted, expected);

                let (new, handler) = orchestrator_of(own, HandOver::sound(contents))?;
                new.restore()?;
                let session = new.incoming.lock().get(b"more")?;
                assert!(session.files.retrieve(&new.registry, full).is_ok());
                assert!(handler.called(&[("retrieve", 2 * full + 1)]));
            }
        }
        Ok(())
    }

    #[test]
    fn larger_blocks_are_restored_and_released() -> Result {
        let mut pages = [
            HandedOverPages::new(4)?,
            HandedOverPages::new(1)?,
            HandedOverPages::new(1)?,
        ];
        let phys = pages.each_ref().map(HandedOverPages::phys);
        write_hand_over(phys, |page, at, value| pages[page].words()[at] = value);

        // In blocks of another size it is not there.
        assert!(contents_of(&handed_over(), &LuoV5, phys[0], 0).is_err());
        let contents = contents_of(&handed_over(), &LuoFdt, phys[0], 0)?;
        let (sessions, _) = orchestrator(HandOver::sound(contents))?;

        sessions.restore()?;
        for page in &pages {
            assert!(handed_over().read::<u64>(page.extent()).is_none());
        }
        assert!(retrieve(sessions, &UserPage::new()?, b"b").is_ok());
        Ok(())
    }

    #[test]
    fn no_session_is_no_block() -> Result {
        let (sessions, _) = orchestrator(HandOver::nothing())?;

        assert_eq!(serialize(sessions)?, (Ok(()), 0));
        let gone = create_with_files(sessions, b"a", 0..0)?;
        assert!(serialize(sessions)?.1 != 0);
        sessions.outgoing.lock().remove(&gone);
        assert_eq!(serialize(sessions)?, (Ok(()), 0));
        Ok(())
    }

    #[test]
    fn more_than_c_reads_is_told_of() -> Result {
        let mut world = mock::World::new()?;
        let handler = world.handler('a', 0..10)?;
        world.edit(handler, |ops| ops.get_id = Some(mock::another_id));
        world.register(handler)?;
        world.file(1)?;
        let file = world.file_of(1)?;
        let sessions = world.sessions();
        // One file goes into each block.
        let files = OutgoingFiles::new(name(b"a")?, 16 + size_of::<wire::File>());
        let session = Session::<Outgoing>::new(sessions, 0, files)?;
        let preserve = |token| {
            let get = || Ok(file.clone());

            session.files.preserve(&sessions.registry, token, get)
        };
        let told = || {
            let mut result = Ok(());
            let log = logged(|| {
                result = serialize(sessions).and_then(|(result, _)| result);
            })?;

            result.map(|()| log)
        };

        let mut table = sessions.outgoing.lock();
        let vacant = table.sessions.vacant(session.name())?.ok_or(EEXIST)?;
        vacant.insert(session.clone())?;
        table.blocks.reserve(1)?;
        drop(table);

        (0..10_000).try_for_each(preserve)?;
        assert!(told()?.is_empty());
        preserve(10_000)?;
        assert_eq!(
            *told()?,
            *b"luo: more than 10000 blocks in a chain: the next kernel must not be C\n"
        );

        sessions.outgoing.lock().remove(&session);
        drop((session, file));
        world.settled()
    }

    #[test]
    fn a_refused_reboot_leaves_nothing_written() -> Result {
        let (sessions, handler) = orchestrator(HandOver::nothing())?;

        for (text, tokens) in [(b"a", 0..2), (b"b", 0..1), (b"c", 0..2), (b"d", 0..1)] {
            create_with_files(sessions, text, tokens)?;
        }
        handler.never_freezes.store(5, Relaxed);
        handler.forget_calls();

        assert_eq!(serialize(sessions)?, (Err(ETXTBSY), 0));
        assert!(handler.called(&[
            ("freeze", 1),
            ("freeze", 2),
            ("freeze", 3),
            ("freeze", 4),
            ("freeze", 5),
            ("unfreeze", 4),
            ("unfreeze", 3),
            ("unfreeze", 2),
            ("unfreeze", 1),
        ]));
        let head = sessions.outgoing.lock().blocks.head();
        let mut words = KVec::from_elem(u64::MAX, PAGE_SIZE / 8, GFP_KERNEL)?;
        Preservations
            .copy(Extent::page(head), 0, words.as_mut_bytes())
            .ok_or(EINVAL)?;
        assert!(words.iter().all(|&word| word == 0));
        Ok(())
    }

    #[test]
    fn a_refused_reboot_can_be_tried_again() -> Result {
        let (sessions, _) = orchestrator(HandOver::nothing())?;
        let page = UserPage::new()?;

        // There is no root record yet.
        assert_eq!(sessions.serialize(true), Err(ENODEV));
        assert_eq!(sessions.serialize(true), Err(ENODEV));
        assert!(create(sessions, &page, b"a").is_ok());
        Ok(())
    }

    #[test]
    fn an_image_that_carries_nothing_is_refused_if_there_is_something() -> Result {
        let (sessions, handler) = orchestrator(HandOver::nothing())?;
        let page = UserPage::new()?;

        // It comes as far as to the root record, which is not there.
        assert_eq!(sessions.serialize(false), Err(ENODEV));
        let fd = create(sessions, &page, b"a")?;
        preserve(&*sessions.outgoing.lock().get(b"a")?, 0..1)?;
        handler.forget_calls();

        let mut result = Ok(());
        let log = logged(|| result = sessions.serialize(false))?;
        assert_eq!(result, Err(ENOEXEC));
        assert_eq!(
            *log,
            *CString::try_from_fmt(fmt!(
                "luo: the loaded image cannot carry 1 sessions: load it by \
                 kexec_file_load() (kexec -s), for pages of {} KiB\n",
                PAGE_SIZE / 1024
            ))?
            .to_bytes()
        );
        // Nothing is frozen, and the gate is open.
        assert!(handler.called(&[]));
        assert!(create(sessions, &page, b"b").is_ok());
        drop(fd);
        assert_eq!(sessions.serialize(false), Err(ENODEV));
        Ok(())
    }

    #[test]
    fn a_sound_hand_over_is_restored_once() -> Result {
        let pages = hand_over_by_kho()?;
        let contents = contents_of(&handed_over(), &LuoV5, pages[0].phys(), 0)?;
        let (sessions, _) = orchestrator(HandOver::sound(contents))?;
        let user = UserPage::new()?;

        sessions.restore()?;
        for page in &pages {
            assert!(handed_over().read::<u64>(page.extent()).is_none());
        }

        // What was retrieved stays so, what was finished stays away.
        let _fd = retrieve(sessions, &user, b"a")?;
        drop(retrieve(sessions, &user, b"b")?);
        sessions.restore()?;
        assert_eq!(retrieve(sessions, &user, b"a").err(), Some(EINVAL));
        assert_eq!(retrieve(sessions, &user, b"b").err(), Some(ENOENT));
        Ok(())
    }

    #[test]
    fn sessions_wait_for_the_handlers_of_their_files() -> Result {
        let mut pages = hand_over()?;
        let kunix = u64::from_le_bytes(*b"kunix\0\0\0");
        let kunis = u64::from_le_bytes(*b"kunis\0\0\0");

        pages.word(1, SECOND_FILE, kunix);
        pages.word(1, SECOND_FILE + FILE, kunis);
        pages.word(2, 2, kunix);
        let contents = contents_of(&pages, &LuoV5, Pages::phys(0), 0)?;
        let (sessions, _) = orchestrator(HandOver::sound(contents))?;
        let user = UserPage::new()?;

        // Each is told of once.
        let mut result = Ok(());
        let log = logged(|| result = sessions.restore())?;
        assert_eq!(result, Err(EIO));
        assert_eq!(
            *log,
            *b"luo: refused what the previous kernel handed over (session 'a'): \
                no file handler 'kunix' for token 0x1\n\
                luo: refused what the previous kernel handed over (session 'a'): \
                no file handler 'kunis' for token 0x2\n"
        );
        let log = logged(|| result = sessions.restore())?;
        assert!(result == Err(EIO) && log.is_empty());
        assert_eq!(retrieve(sessions, &user, b"a").err(), Some(ENOENT));

        for name in [b"kunix", b"kunis"] {
            assert_eq!(sessions.restore(), Err(EIO));
            let handler = Handler::named(name)?;
            let raw = NonNull::new(handler.raw.get()).ok_or(EINVAL)?;

            mem::forget(handler);
            // SAFETY: The handler is complete, and never freed.
            let handler = unsafe { FileHandler::new(raw) };
            sessions.registry.register(handler)?;
        }
        sessions.restore()?;
        assert!(retrieve(sessions, &user, b"a").is_ok());
        assert!(retrieve(sessions, &user, b"b").is_ok());
        Ok(())
    }

    #[test]
    fn a_refused_hand_over_stays_where_it_is() -> Result {
        let mut pages = hand_over_by_kho()?;

        // The last thing that is read: the only file of the last session.
        pages[2].words()[2..8].fill(u64::MAX);
        assert!(contents_of(&handed_over(), &LuoV5, pages[0].phys(), 0).is_err());
        for page in &pages {
            assert!(handed_over().read::<u64>(page.extent()).is_some());
        }

        let (sessions, _) = orchestrator(HandOver::damaged())?;
        for _ in 0..2 {
            assert_eq!(sessions.restore(), Err(EIO));
        }
        let nobody = retrieve(sessions, &UserPage::new()?, b"a").err();
        assert_eq!(nobody, Some(ENOENT));
        Ok(())
    }

    #[test]
    fn a_refused_hand_over_does_not_stop_the_next() -> Result {
        let (sessions, _) = orchestrator(HandOver::damaged())?;

        assert_eq!(sessions.restore(), Err(EIO));
        create_with_files(sessions, b"a", 0..1)?;
        let (result, head) = serialize(sessions)?;
        assert_eq!(result, Ok(()));
        assert!(read(orchestrator(HandOver::nothing())?.0, &Preservations, head).is_ok());
        Ok(())
    }

    #[test]
    fn a_sound_hand_over_names_all_its_blocks() -> Result {
        let (sessions, _) = orchestrator(HandOver::nothing())?;
        let (table, _) = read(sessions, &hand_over()?, Pages::phys(0))?;

        assert_eq!(table.iter().count(), 2);
        let contents = contents_of(&hand_over()?, &LuoV5, Pages::phys(0), 0)?;
        let phys = contents.pages().iter().map(|page| page.phys);
        assert!(phys.eq([0, 1, 2].map(Pages::phys)));
        Ok(())
    }

    const B: usize = 2 + SESSION;
    const SECOND_FILE: usize = 2 + FILE;
    const ALL: u64 = u64::MAX;

    #[test]
    fn damaged_names_are_refused() -> Result {
        let why = "luo_session_ser.name: empty, or without a NUL";
        assert!(is_refused(&[(0, 2, 0)], "-", why)?);
        let no_nul = [2, 3, 4, 5, 6, 7, 8, 9].map(|at| (0, at, ALL));
        assert!(is_refused(&no_nul, "-", why)?);
        // What is behind the last session is taken for one.
        assert!(is_refused(&[(0, 1, 3)], "-", why)?);

        let why = "luo_session_ser.name: a second session of this name";
        assert!(is_refused(&[(0, B, u64::from(b'a'))], "a", why)?);
        Ok(())
    }

    #[test]
    fn damaged_addresses_of_files_are_refused() -> Result {
        let why = "luo_file_set_ser.files is 0x80008: not a page that was handed over";
        assert!(is_refused(&[(0, 2 + 8, 0x80008)], "a", why)?);
        let why = "luo_file_set_ser.files is 0x540000: not a page that was handed over";
        assert!(is_refused(&[(0, B + 8, 0x540000)], "b", why)?);

        // Nowhere, the sessions' own block, the other session's block.
        let why = "luo_file_set_ser.count is 0x3: not the number of files in the blocks";
        assert!(is_refused(&[(0, 2 + 8, 0)], "a", why)?);
        let why = "luo_file_set_ser.files is 0x70000: a block that belongs to a chain already";
        assert!(is_refused(&[(0, 2 + 8, Pages::phys(0))], "a", why)?);
        let why = "luo_file_set_ser.count is 0x3: not the number of files in the blocks";
        assert!(is_refused(&[(0, 2 + 8, Pages::phys(2))], "a", why)?);
        Ok(())
    }

    #[test]
    fn damaged_numbers_of_files_are_refused() -> Result {
        for (count, session, at, why) in [
            (2, "a", 2, "luo_file_set_ser.count is 0x2: "),
            (4, "a", 2, "luo_file_set_ser.count is 0x4: "),
            (0, "b", B, "luo_file_set_ser.count is 0x0: "),
            (
                ALL,
                "b",
                B,
                "luo_file_set_ser.count is 0xffffffffffffffff: ",
            ),
        ] {
            let why = CString::try_from_fmt(fmt!("{why}not the number of files in the blocks"))?;
            let why = why.to_str().map_err(|_| EINVAL)?;
            assert!(is_refused(&[(0, at + 9, count)], session, why)?);
        }
        Ok(())
    }

    #[test]
    fn damaged_blocks_of_files_are_refused() -> Result {
        let why = "luo_file_set_ser.count is 0x3: not the number of files in the blocks";
        assert!(is_refused(&[(1, 1, 2)], "a", why)?);
        let why = "kho_block_header_ser.count is 0x0: \
            no entries, and not the last of several blocks";
        assert!(is_refused(&[(1, 1, 0)], "a", why)?);
        assert!(is_refused_for_count(2, FILES_PER_BLOCK as u64 + 1, "b")?);
        Ok(())
    }

    #[test]
    fn damaged_links_of_files_are_refused() -> Result {
        let why = "kho_block_header_ser.next is 0x80000: a block that belongs to a chain already";
        assert!(is_refused(&[(1, 0, Pages::phys(1))], "a", why)?);
        let why = "kho_block_header_ser.next is 0x1: not a page that was handed over";
        assert!(is_refused(&[(2, 0, 1)], "b", why)?);

        // On to the sessions' block, on to the other session's.
        let why = "kho_block_header_ser.next is 0x70000: a block that belongs to a chain already";
        assert!(is_refused(&[(1, 0, Pages::phys(0))], "a", why)?);
        let why = "luo_file_set_ser.count is 0x3: not the number of files in the blocks";
        assert!(is_refused(&[(1, 0, Pages::phys(2))], "a", why)?);
        Ok(())
    }

    #[test]
    fn a_damaged_block_of_sessions_is_refused() -> Result {
        let why = "kho_block_header_ser.count is 0x0: \
            no entries, and not the last of several blocks";
        assert!(is_refused(&[(0, 1, 0)], "-", why)?);
        assert!(is_refused_for_count(0, SESSIONS_PER_BLOCK as u64 + 1, "-")?);
        let why = "kho_block_header_ser.next is 0x70000: a block that belongs to a chain already";
        assert!(is_refused(&[(0, 0, Pages::phys(0))], "-", why)?);
        let why = "kho_block_header_ser.next is 0x60000: not a page that was handed over";
        assert!(is_refused(&[(0, 0, 0x60000)], "-", why)?);

        // On to a block of files: it belongs to session "a" then, and to the chain of sessions.
        let why = "luo_file_set_ser.files is 0x80000: a block that belongs to a chain already";
        assert!(is_refused(&[(0, 0, Pages::phys(1))], "a", why)?);
        Ok(())
    }

    #[test]
    fn damaged_files_are_refused() -> Result {
        let why = "luo_file_ser.compatible: no NUL at its end";
        let no_nul = [2, 3, 4, 5, 6, 7].map(|at| (2, at, ALL));
        assert!(is_refused(&no_nul, "b", why)?);

        let kunix = u64::from_le_bytes(*b"kunix\0\0\0");
        let why = "no file handler 'kunix' for token 0x1";
        assert!(is_refused(&[(1, SECOND_FILE, kunix)], "a", why)?);
        let why = "no file handler '' for token 0x1";
        assert!(is_refused(&[(1, SECOND_FILE, 0)], "a", why)?);

        let why = "luo_file_ser.token is 0x0: a second file of this token";
        assert!(is_refused(&[(1, SECOND_FILE + 7, 0)], "a", why)?);
        Ok(())
    }

    #[test]
    fn a_block_of_two_sessions_is_refused() -> Result {
        // Both have one file now, and it is the same.
        let changes = [(0, 2 + 8, Pages::phys(2)), (0, 2 + 9, 1)];
        let why = "luo_file_set_ser.files is 0x90000: a block that belongs to a chain already";

        assert!(is_refused(&changes, "b", why)?);
        Ok(())
    }
}
