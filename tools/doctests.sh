#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs the examples in the documentation of what this directory adds to the kernel
# crate, which the kernel's build makes KUnit cases of.
#
# usage: doctests.sh TREE BUILD OUT [KUNIT.PY-OPTION...]

set -euo pipefail

repo=$(realpath "$(dirname "$0")/..")
# shellcheck source=tools/tally.sh
. "$repo/tools/tally.sh"

tree=$1
build=$2
out=$3
shift 3
cd "$repo/rust/kernel"
mapfile -t files < <(grep -rl '^[[:space:]]*//[/!] # Examples' . | sed 's|^\./||' | sort)
for file in "${files[@]}"; do
	name=${file%.rs}
	log=$out/logs/doctests-${name//\//_}.log
	status=0
	mkdir -p "$out/logs"
	"$repo/tools/kunit.sh" "$tree" "$build" "$out/kunit" \
		"rust_doctests_kernel.rust_doctest_kernel_${name//\//_}_rs_*" "$@" >"$log" 2>&1 ||
		status=$?
	tally "$log" "$status"
	if ((bad == 0)); then
		echo "ok $file: $ok"
	else
		echo "not ok $file, log: $log"
		tail -n 20 "$log"
	fi
done

echo "$passed passed, $failed failed"
((failed == 0))
