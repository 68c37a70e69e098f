// SPDX-License-Identifier: GPL-2.0

//! Waiting. Nobody ever does: there is nobody who could change what is waited for.

use super::MutexGuard;
use pin_init::pin_data;
use pin_init::pin_init;
use pin_init::PinInit;

/// What others are told through.
#[pin_data]
pub struct CondVar {}

/// Initialises a [`CondVar`].
#[macro_export]
macro_rules! new_condvar {
    ($name:literal) => {
        $crate::sync::CondVar::new()
    };
}

impl CondVar {
    /// Returns an initialiser.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {})
    }

    /// Waits.
    pub fn wait<T>(&self, _: &mut MutexGuard<'_, T>) {
        panic!("waits for ever");
    }

    /// Waits.
    pub fn wait_killable<T>(&self, _: &mut MutexGuard<'_, T>) -> bool {
        panic!("waits for ever");
    }

    /// Tells nobody.
    pub fn notify_all(&self) {}
}
