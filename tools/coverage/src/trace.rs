// SPDX-License-Identifier: GPL-2.0

//! QEMU's log of the instructions that it translated (`-d in_asm`).

use std::collections::BTreeSet;

/// The addresses of the instructions in a log.
pub fn addresses(log: &str) -> BTreeSet<u64> {
    log.lines()
        .filter_map(|line| {
            let (address, _) = line.strip_prefix("0x")?.split_once(':')?;
            u64::from_str_radix(address, 16).ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_of_all_blocks() {
        let log = "----------------\nIN: \n\
                   0xffffffff81226a49:  ba 20 10 00 00           movl     $0x1020, %edx\n\
                   0xffffffff81226a4e:  0f 84 00 00 00 00        je       0xffffffff81226a86\n\n\
                   ----------------\nIN: luo_open\n\
                   0xffffffff81226a49:  ba 20 10 00 00           movl     $0x1020, %edx\n";
        let expected = [0xffffffff81226a49, 0xffffffff81226a4e];
        assert_eq!(addresses(log), expected.into());
    }
}
