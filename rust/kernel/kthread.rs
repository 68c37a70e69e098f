// SPDX-License-Identifier: GPL-2.0

//! Kernel threads.
//!
//! [`call`] is for a function that may find itself called again by what it calls, as often as
//! others like: a stack has an end, and here each call can have one of its own.
//!
//! C header: [`include/linux/kthread.h`](srctree/include/linux/kthread.h)

use crate::{
    bindings,
    error::from_err_ptr,
    prelude::*,
    sync::Completion,
    task::Task, //
};
use pin_init::stack_pin_init;

/// What a thread is to do, and what came of it.
#[pin_data]
struct Call<F, R> {
    function: Option<F>,
    result: Option<R>,
    mm: *mut bindings::mm_struct,
    cred: *const bindings::cred,
    #[pin]
    done: Completion,
}

impl<F: FnOnce() -> R, R> Call<F, R> {
    /// # Safety
    ///
    /// `call` has to be a [`Call`] of these types that nobody else uses before it is done, with the
    /// memory and the credentials of a task that waits for that.
    unsafe extern "C" fn run(call: *mut c_void) -> c_int {
        let call = call.cast::<Self>();
        // SAFETY: The caller guarantees that nobody else uses it.
        let (function, mm, cred) = unsafe { ((*call).function.take(), (*call).mm, (*call).cred) };

        // SAFETY: This is a kernel thread without memory of its own, and the task that it stands in
        // for keeps both until this is done.
        let own = unsafe {
            if !mm.is_null() {
                bindings::kthread_use_mm(mm);
            }
            bindings::override_creds(cred)
        };
        let result = function.map(|function| function());

        // SAFETY: Undoes the above.
        unsafe {
            bindings::revert_creds(own);
            if !mm.is_null() {
                bindings::kthread_unuse_mm(mm);
            }
        }

        // SAFETY: The caller guarantees that nobody else uses it.
        unsafe { (*call).result = result };
        // SAFETY: The completion is valid until it is seen to be done.
        unsafe { (*call).done.complete_all() };
        0
    }
}

/// Calls a function on another stack, and returns what it returns.
///
/// A new kernel thread, called `name`, stands in for the current task, which waits for it: what the
/// function allocates is charged to whom it would be, and what it makes belongs to whom it would.
/// Other things of the task, such as its open files, are not to be had there, nor does a signal
/// reach it.
///
/// Returns `ENOMEM` or `EAGAIN` if there cannot be such a thread, `EINTR` if the current task is
/// killed before there is one; then the function is not called. May sleep.
///
/// # Examples
///
/// ```
/// use kernel::{
///     current,
///     kthread, //
/// };
///
/// let me = current!().pid();
/// let other = kthread::call(c"doctest", || current!().pid())?;
///
/// assert_ne!(me, other);
/// # Ok::<(), Error>(())
/// ```
pub fn call<F: FnOnce() -> R + Send, R: Send>(name: &CStr, function: F) -> Result<R> {
    let current = Task::current_raw();

    stack_pin_init!(let call = pin_init!(Call {
        function: Some(function),
        result: None,
        // SAFETY: The task is the current one, and only that changes it.
        mm: unsafe { (*current).mm },
        // SAFETY: As the memory, these are changed by the current task alone.
        cred: unsafe { (*current).cred },
        done <- Completion::new(),
    }));
    // SAFETY: Nothing is moved through this.
    let call: *mut Call<F, R> = unsafe { Pin::get_unchecked_mut(call) };

    // SAFETY: Nobody uses `call` but the thread, until it is done, and that is waited for. By the
    // bounds, both what is in there and what will be may go to another thread.
    let thread = from_err_ptr(unsafe {
        bindings::kthread_create_on_node(
            Some(Call::<F, R>::run),
            call.cast(),
            bindings::NUMA_NO_NODE,
            c"%s".as_char_ptr(),
            name.as_char_ptr(),
        )
    })?;
    // SAFETY: The thread is new, and does not end before it was woken.
    unsafe { bindings::wake_up_process(thread) };

    // SAFETY: `call` is on this stack.
    unsafe { (*call).done.wait_for_completion() };
    // SAFETY: The thread is done with it.
    unsafe { (*call).result.take() }.ok_or(EINTR)
}
