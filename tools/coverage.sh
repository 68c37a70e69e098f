#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs the KUnit suites and the selftests while QEMU logs what they execute of
# the kernel crate, and reports its line coverage. There is no report unless
# all tests pass.
#
# usage: coverage.sh TREE BUILD OUT CARGO GUEST MODULE...

set -euo pipefail

repo=$(realpath "$(dirname "$0")/..")
tree=$1
build=$2
cargo=$4
guest=$5
kselftest=$3/kselftest
out=$3/coverage
modules=("${@:6}")
modules=("${modules[@]/#/--module=}")

rm -rf "$out"
mkdir -p "$out"
ranges=$("$cargo/release/luo-coverage" ranges "$build/vmlinux")

"$repo/tools/kunit.sh" "$tree" "$build" "$out" '' --kernel_args nokaslr --timeout 600 \
	--qemu_args "-d in_asm -dfilter $ranges -D $out/kunit.trace"

"$cargo/release/luo-vm" selftest --impl rust --kernel "$build" --trace "$ranges" \
	--kselftest "$kselftest" --guest "$guest" \
	"${modules[@]}" --out "$out"

"$cargo/release/luo-coverage" report --source "$repo" --out "$out" "$build/vmlinux" "$out"/*.trace
echo "lines that were not executed: $out/uncovered.txt; for genhtml: $out/lcov.info"
