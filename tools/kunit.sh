#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Has the kernel's kunit.py run KUnit suites of a kernel that is built: those of
# LUO and its lists, or what a filter names. What kunit.py lets pass fails too: a
# skipped case, a run without a case, and a kernel that complains.
#
# usage: kunit.sh TREE BUILD OUT FILTER [KUNIT.PY-OPTION...]

set -euo pipefail

repo=$(realpath "$(dirname "$0")/..")
config=$repo/tests/kunit/.kunitconfig
tree=$(realpath "$1")
build=$(realpath "$2")
out=$(realpath "$3")
filter=${4:-l*} # luo_*, list-private-kunit-test
shift 4
log=$build/test.log
status=0
# As in tools/vm/src/console.rs.
complaint='WARNING: |BUG: |BUG [a-z0-9_-]+ \(|\bOops\b|KASAN: |KFENCE: |UBSAN: |Kernel panic|panicked at|'
complaint+='general protection fault|Unable to handle kernel|Internal error|Call [Tt]race:|refcount_t: |INFO: .*(blocked|stall|lock|hung)|'
complaint+='DEBUG_LOCKS_WARN_ON|possible (circular|recursive) locking|ODEBUG: '

fail() {
	echo "KUnit: $1" >&2
	failed=$((failed + 1))
}

if lacks=$(grep '^CONFIG_' "$config" | grep -vxFf "$build/.config"); then
	echo "KUnit: the kernel is built without" "${lacks//$'\n'/ }" >&2
	exit 1
fi

case $ARCH in
arm64)
	qemu="qemu-system-aarch64"
	# As in tools/vm/src/arch.rs.
	machine=(--qemu_args '-cpu cortex-a76')
	;;
*)
	qemu="qemu-system-x86_64"
	machine=(--kernel_args no_timer_check)
	;;
esac
mkdir -p "$out/bin"
ln -sf "$repo/tools/qemu-tcg.sh" "$out/bin/$qemu"
rm -f "$out/kunit.json" "$log"
PATH=$out/bin:$PATH "$tree/tools/testing/kunit/kunit.py" exec --arch "$ARCH" \
	--build_dir "$build" --kunitconfig "$config" --json="$out/kunit.json" --timeout 120 \
	--kernel_args 'kho=on liveupdate=on panic=-1' "${machine[@]}" "$@" "$filter" || status=$?

if [ ! -e "$out/kunit.json" ]; then
	echo "KUnit: kunit.py gave no results, exit $status" >&2
	exit 1
fi
read -r ran passed errors < <(python3 -c 'if True:
	import json, sys
	count = json.load(open(sys.argv[1]))["misc"]
	print(count["tests"], count["passed"], count["errors"])
	' "$out/kunit.json")
failed=$((ran - passed))

if grep -E "$complaint" "$log"; then
	fail 'the kernel complained'
fi
# The tree that this suite has written has to be the expected one, in the eyes of dtc.
if grep -q 'Subtest: luo_fdt' "$log"; then
	perl -ne 'print pack "H*", $1 if /luo_fdt: ([0-9a-f]{16})\s*$/' "$log" >"$out/luo_fdt.dtb"
	if ! dtc -I dtb -O dts -o "$out/luo_fdt.dts" "$out/luo_fdt.dtb" ||
		! dtc -I dts -O dts "$repo/tests/kunit/luo_fdt.dts" | diff "$out/luo_fdt.dts" -; then
		fail "the tree of luo_fdt is not $repo/tests/kunit/luo_fdt.dts"
	fi
fi
if ((ran == 0)); then
	fail "no case of '$filter' ran"
elif ((errors > 0)); then
	fail "the output has $errors errors"
fi
if ((status != 0 && failed == 0)); then
	fail "kunit.py ended with status $status"
fi
((failed == 0)) || echo "log: $log"
echo "$passed passed, $failed failed"
((failed == 0))
