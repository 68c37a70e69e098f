#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Runs a fuzz target, first on the inputs of CORPUS, if there are any. New ones
# that reach something new are kept in OUT/corpus, one that fails in OUT.
#
# usage: fuzz.sh TARGET CORPUS OUT LIBFUZZER-OPTION...

set -eu

target=$1
corpus=$2
out=$3
shift 3
log=$out/fuzz.log

mkdir -p "$out/corpus"
echo "Fuzzing: $*"
if "$target" -artifact_prefix="$out/" -timeout=10 -max_len=4096 -print_final_stats=1 "$@" \
	"$out/corpus" "$corpus" >"$log" 2>&1; then
	reached=$(sed -n 's/^#.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
	sed -n "s/^stat::number_of_executed_units: *\(.*\)/\1 hand-overs, $reached edges reached/p" "$log"
	exit 0
fi
{
	grep -A 3 -E 'panicked at|^==[0-9]+== ?ERROR' "$log" || tail -n 10 "$log"
	input=$(sed -n 's/.*Test unit written to //p' "$log")
	echo "FAILED: fuzzing, log: $log${input:+, again with: $target $input}"
} >&2
exit 1
