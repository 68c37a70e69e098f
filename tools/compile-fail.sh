#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Shows that misuse of the driver API does not compile. Each file below
# tests/compile-fail/ is compiled twice against the kernel crate, with the flags
# with which the kernel build compiled the sample: as it is, which has to succeed,
# and with --cfg fail, which has to fail with the error that the file names, and
# no other.
#
# usage: compile-fail.sh BUILD OUT

set -euo pipefail

repo=$(realpath "$(dirname "$0")/..")
# shellcheck source=tools/flags.sh
. "$repo/tools/flags.sh"
build=$1
out=$2/compile-fail
passed=0
failed=0
mkdir -p "$out"

# The command of the build, bar what it compiles.
flags=$(flags_of "$build" kernel/liveupdate/rust/samples/rust_liveupdate.o |
	sed -E 's/ --crate-name[= ][^ ]*//; s/ -o [^ ]*//; s| [^ ]*/rust_liveupdate\.rs||')

# compile FILE OPTION...
compile() {
	local file=$1
	shift
	(cd "$build" && RUSTC_BOOTSTRAP=1 eval "$flags" "$file" --emit=metadata \
		--out-dir "$out" --check-cfg "'cfg(fail)'" "$*") 2>&1
}

# report NAME STATUS
report() {
	if [ "$2" -eq 0 ]; then
		passed=$((passed + 1))
		echo "ok $((passed + failed)) $1"
	else
		failed=$((failed + 1))
		echo "not ok $((passed + failed)) $1, log: $log"
		tail -n 20 "$log"
	fi
}

files=("$repo"/tests/compile-fail/*.rs)
echo "KTAP version 1"
echo "1..$((2 * ${#files[@]}))"
for file in "${files[@]}"; do
	name=$(basename "$file" .rs)

	log=$out/$name.twin.log
	status=0
	compile "$file" >"$log" || status=1
	report "$name: the twin compiles" "$status"

	log=$out/$name.log
	due=$(sed -n 's|^// error: ||p' "$file")
	status=0
	! compile "$file" --cfg fail >"$log" || status=1
	[ "$(grep -o '^error\[E[0-9]*\]' "$log" | sort -u)" = "error[$due]" ] || status=1
	report "$name: $due" "$status"
done

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
