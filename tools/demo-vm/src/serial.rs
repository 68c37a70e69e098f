// SPDX-License-Identifier: GPL-2.0

//! What the guest says on its serial line.

use crate::tell;
use anyhow::{Context, Result};
use luo_guest::vm::{Tick, What};
use std::{
    io::{self, PipeReader, PipeWriter, Read},
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::Duration,
};

/// How long the guest may be silent: not as long as its host waits for us.
const PATIENCE: Duration = Duration::from_secs(60);

/// The line's other end: passes on what comes, and knows when the guest counts.
pub struct Serial(Receiver<()>);

impl Serial {
    /// A line, and the end for the guest.
    pub fn new() -> Result<(Self, PipeWriter)> {
        let (reader, writer) = io::pipe()?;
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || listen(reader, &sender));
        Ok((Self(receiver), writer))
    }

    /// Waits until the guest has counted so often from now on.
    pub fn count(&self, times: usize) -> Result<()> {
        while self.0.try_recv().is_ok() {}
        for _ in 0..times {
            self.0
                .recv_timeout(PATIENCE)
                .context("the guest does not count")?;
        }
        Ok(())
    }
}

/// Comes to an end with the guest's VMM.
fn listen(mut reader: PipeReader, counted: &Sender<()>) -> Result<()> {
    let mut line = String::new();
    let mut buffer = [0; 512];
    loop {
        let length = reader.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        line += &text;
        tell(What::Serial(text))?;
        while let Some((whole, rest)) = line.split_once('\n') {
            if Tick::parse(whole).is_some() {
                // Nobody has to be waiting for it.
                let _ = counted.send(());
            }
            line = rest.to_owned();
        }
    }
}
