// SPDX-License-Identifier: GPL-2.0

//! What the guest says on its serial line.

use crate::tell;
use anyhow::{anyhow, Context, Result};
use luo_guest::vm::{Tick, What};
use std::{
    io::{self, BufRead, BufReader, PipeReader, PipeWriter},
    sync::mpsc::{self, Receiver, Sender},
    thread::{self, JoinHandle},
    time::Duration,
};

/// How long the guest may be silent.
const PATIENCE: Duration = Duration::from_secs(5);

/// The line's other end: passes on what comes, and knows when the guest counts.
pub struct Serial {
    counted: Receiver<()>,
    listener: JoinHandle<Result<()>>,
}

impl Serial {
    /// A line, and the end for the guest.
    pub fn new() -> Result<(Self, PipeWriter)> {
        let (reader, writer) = io::pipe()?;
        let (sender, counted) = mpsc::channel();
        let listener = thread::spawn(move || listen(reader, &sender));
        Ok((Self { counted, listener }, writer))
    }

    /// Waits until the guest has counted so often from now on.
    pub fn count(&self, times: usize) -> Result<()> {
        while self.counted.try_recv().is_ok() {}
        for _ in 0..times {
            self.counted
                .recv_timeout(PATIENCE)
                .context("the guest does not count")?;
        }
        Ok(())
    }

    /// Waits for the line's end, which is that of the VMM.
    pub fn end(self) -> Result<()> {
        let end = self.listener.join();
        end.map_err(|_| anyhow!("the listener panicked"))?
    }
}

/// Passes on line by line, and at the end what may be a part of one.
fn listen(reader: PipeReader, counted: &Sender<()>) -> Result<()> {
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = Vec::new();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let line = String::from_utf8_lossy(&line).into_owned();
        let counts = Tick::parse(&line).is_some();
        tell(What::Serial(line))?;
        if counts {
            // Nobody has to be waiting for it.
            let _ = counted.send(());
        }
    }
}
