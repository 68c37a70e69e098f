#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs the kernel's own tests of memblock, which patches of integration/ change, on
# the staged tree, with NUMA and without.
#
# usage: memblock.sh TREE OUT

set -euo pipefail

tests=$1/tools/testing/memblock
log=$2/logs/memblock.log
passed=0
failed=0

mkdir -p "$2/logs"
for numa in '' NUMA=1; do
	make -C "$tests" clean >/dev/null
	make -j"$(nproc)" -C "$tests" $numa >"$log" 2>&1 || {
		tail -n 20 "$log"
		exit 1
	}
	for option in '' --movable-node; do
		name=memblock${numa:+ $numa}${option:+ $option}
		# A test that fails ends the program.
		if (cd "$tests" && ./main -v $option) >"$log" 2>&1; then
			echo "ok $name"
		else
			echo "not ok $name"
			tail -n 5 "$log"
			failed=$((failed + 1))
		fi
		passed=$((passed + $(grep -c '^ok ' "$log" || :)))
	done
done
make -C "$tests" clean >/dev/null

echo "$passed passed, $failed failed"
((passed > 0 && failed == 0))
