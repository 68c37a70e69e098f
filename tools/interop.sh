#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs the live update tests between two kernels that take turns, for each pair
# FROM:TO of them, and shows in a grid what came of it. Kernels are named
# VERSION-LUO, and KERNELS is where they are built, with a % for their names. A pair
# that has a TEST behind it runs only that, FROM:TO:TEST, and is left out of the grid.
#
# usage: interop.sh OUT KERNELS "PAIR..." LUO-VM-SELFTEST...

set -euo pipefail

tools=$(dirname "$0")
out=$1
built=$2
read -ra pairs <<<"$3"
shift 3
# shellcheck source=tools/tally.sh
. "$tools/tally.sh"
kernels=()
declare -A cell

for pair in "${pairs[@]}"; do
	IFS=: read -r from to only <<<"$pair"
	name=$from-to-$to${only:+-$only}
	log=$out/logs/interop-$name.log
	options=()
	if [ -n "$only" ]; then
		options=(--only "$only" --timeout 1800)
	fi
	status=0
	"$tools/step.sh" "Live updates from $from to $to${only:+, $only}" "$log" \
		"$@" --impl "${from##*-}" --kernel "${built/\%/$from}" \
		--next-impl "${to##*-}" --next "${built/\%/$to}" \
		--out "$out/interop/$name" "${options[@]}" ||
		status=$?
	[ "$status" -eq 0 ] || grep -E '^ *not ok|^# log: ' "$log" || true
	tally "$log" "$status"
	if [ -z "$only" ]; then
		kernels+=("$from" "$to")
		cell[$from:$to]=$([ "$bad" -eq 0 ] && echo "$ok ok" || echo "$bad failed")
	fi
done

mapfile -t kernels < <(printf '%s\n' "${kernels[@]}" | sort -u)
printf '\n%-12s' 'from \ to'
printf '%12s' "${kernels[@]}"
for from in "${kernels[@]}"; do
	printf '\n%-12s' "$from"
	for to in "${kernels[@]}"; do
		printf '%12s' "${cell[$from:$to]:--}"
	done
done
printf '\n\n%s passed, %s failed\n' "$passed" "$failed"
((failed == 0))
