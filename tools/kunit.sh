#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs the KUnit suites of this directory in QEMU, and has the kernel's own
# kunit.py read what they print. It does not start QEMU itself, as it would
# prefer KVM, which hangs where /dev/kvm is there but does not work.
#
# usage: kunit.sh TREE BUILD OUT [FILTER]

set -euo pipefail

tree=$1
build=$2
out=$3
filter=${4:-luo*}
log=$out/kunit.log
status=0

mkdir -p "$out"
timeout 120 qemu-system-x86_64 -accel tcg -m 1G -nodefaults -display none -no-reboot \
	-serial stdio -kernel "$build/arch/x86/boot/bzImage" -append "console=ttyS0 \
	no_timer_check panic=-1 liveupdate=on kunit.enable=1 kunit_shutdown=reboot \
	kunit.filter_glob=$filter" </dev/null >"$log" 2>&1 || status=$?
if ((status != 0)); then
	echo "KUnit: QEMU ended with status $status, log: $log" >&2
	exit 1
fi

"$tree/tools/testing/kunit/kunit.py" parse "$log" | tee "$out/kunit.txt" || status=$?
complaints=$(grep -cE 'WARNING:|BUG:|Oops|Kernel panic' "$log" || true)
if ((complaints > 0)); then
	grep -E 'WARNING:|BUG:|Oops|Kernel panic' "$log"
	status=1
fi

# "Testing complete. Ran 8 tests: passed: 7, failed: 1"
number() {
	grep '^.*Testing complete' "$out/kunit.txt" | grep -oE "$1: [0-9]+" | grep -oE '[0-9]+' || echo 0
}
passed=$(number passed)
failed=$(($(number failed) + $(number crashed) + $(number skipped) + $(number errors) + complaints))
if ((passed == 0 || (status != 0 && failed == 0))); then
	failed=$((failed + 1))
fi
((failed == 0)) || echo "log: $log"
echo "$passed passed, $failed failed"
((failed == 0))
