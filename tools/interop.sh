#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs the live update tests between two kernels that take turns, for each pair
# FROM:TO of them, and shows in a grid what came of it. Kernels are named
# VERSION-LUO, or VERSION-LUO-MACHINE, and found in $O/linux-NAME. A pair that has a
# TEST behind it runs only that, FROM:TO:TEST, and is left out of the grid.
#
# usage: interop.sh OUT "PAIR..." LUO-VM-SELFTEST...

set -euo pipefail

tools=$(dirname "$0")
out=$1
read -ra pairs <<<"$2"
shift 2
# shellcheck source=tools/tally.sh
. "$tools/tally.sh"
kernels=()
declare -A cell

for pair in "${pairs[@]}"; do
	IFS=: read -r from to only <<<"$pair"
	IFS=- read -r _ from_luo _ <<<"$from"
	IFS=- read -r _ to_luo _ <<<"$to"
	name=$from-to-$to${only:+-$only}
	log=$out/logs/interop-$name.log
	options=()
	if [ -n "$only" ]; then
		options=(--only "$only" --timeout 1800)
	fi
	status=0
	"$tools/step.sh" "Live updates from $from to $to${only:+, $only}" "$log" \
		"$@" --impl "$from_luo" --kernel "$O/linux-$from" \
		--next-impl "$to_luo" --next "$O/linux-$to" \
		--out "$out/interop/$name" "${options[@]}" ||
		status=$?
	[ "$status" -eq 0 ] || grep -E '^ *not ok|^# log: ' "$log" || true
	tally "$log" "$status"
	if [ -z "$only" ]; then
		kernels+=("$from" "$to")
		cell[$from:$to]=$([ "$bad" -eq 0 ] && echo "$ok ok" || echo "$bad failed")
	fi
done

if ((${#kernels[@]} > 0)); then
	mapfile -t kernels < <(printf '%s\n' "${kernels[@]}" | sort -u)
	width=12
	for name in "${kernels[@]}"; do
		width=$((${#name} + 2 > width ? ${#name} + 2 : width))
	done
	printf '\n%-*s' "$width" 'from \ to'
	printf "%${width}s" "${kernels[@]}"
	for from in "${kernels[@]}"; do
		printf '\n%-*s' "$width" "$from"
		for to in "${kernels[@]}"; do
			printf '%*s' "$width" "${cell[$from:$to]:--}"
		done
	done
	printf '\n\n'
fi
printf '%s passed, %s failed\n' "$passed" "$failed"
((failed == 0))
