#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs parts of the test suite, whatever becomes of the others, and adds up what
# they report. A part that fails without saying how counts as one.
#
# usage: test.sh OUT "PART..." MAKE...

set -euo pipefail

out=$1
read -ra parts <<<"$2"
shift 2
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

for name in "${parts[@]}"; do
	case $name in
	selftest-rust | selftest-c) part "$name" "${make[@]}" selftest IMPL="${name#*-}" ;;
	same-on-both)
		part "$name" "$out/cargo/release/luo-vm" compare "$out/selftest-c" "$out/selftest-rust"
		;;
	*) part "$name" "${make[@]}" "$name" ;;
	esac
done

echo "$passed passed, $failed failed"
((failed == 0))
