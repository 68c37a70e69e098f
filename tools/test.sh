#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs every part of the test suite, whatever becomes of the others, and adds
# up what they report. A part that fails without saying how counts as one.
#
# usage: test.sh OUT MAKE...

set -euo pipefail

out=$1
shift
make=("$@")
passed=0
failed=0
count='^([0-9]+) passed, ([0-9]+) failed$'

# part NAME COMMAND...
part() {
	local name=$1 log=$out/logs/test-$1.log status=0 ok=0 bad=0
	shift
	echo "# $name"
	mkdir -p "$out/logs"
	"$@" 2>&1 | tee "$log" | sed -E "s/$count/# &/" || status=$?

	if [[ $(grep -E "$count" "$log" | tail -n 1) =~ $count ]]; then
		ok=${BASH_REMATCH[1]}
		bad=${BASH_REMATCH[2]}
	elif ((status == 0)); then
		ok=1
	fi
	if ((status != 0 && bad == 0)); then
		bad=1
	fi
	passed=$((passed + ok))
	failed=$((failed + bad))
}

part lint "${make[@]}" lint
part kunit "${make[@]}" kunit
part selftest-rust "${make[@]}" selftest IMPL=rust
part selftest-c "${make[@]}" selftest IMPL=c
part same-on-both "$out/cargo/release/luo-vm" compare "$out/selftest-c" "$out/selftest-rust"

echo "$passed passed, $failed failed"
((failed == 0))
