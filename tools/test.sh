#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs parts of the test suite, whatever becomes of the others, and adds up what
# they report.
#
# usage: test.sh OUT LUO-VM "PART..." MAKE...

set -euo pipefail

out=$1
luo_vm=$2
read -ra parts <<<"$3"
shift 3
make=("$@")
# shellcheck source=tools/tally.sh
. "$(dirname "$0")/tally.sh"

# part NAME COMMAND...
part() {
	local name=$1 log=$out/logs/test-$1.log status=0
	shift
	echo "# $name"
	mkdir -p "$out/logs"
	"$@" 2>&1 | tee "$log" | sed -E "s/$count/# &/" || status=$?

	tally "$log" "$status"
}

for name in "${parts[@]}"; do
	case $name in
	selftest-rust | selftest-c) part "$name" "${make[@]}" selftest IMPL="${name#*-}" ;;
	same-on-both)
		part "$name" "$luo_vm" compare "$out/selftest-c" "$out/selftest-rust"
		;;
	*) part "$name" "${make[@]}" "$name" ;;
	esac
done

echo "$passed passed, $failed failed"
((failed == 0))
