#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Runs one long step as one line on the terminal, its output in a log.
#
# usage: step.sh TITLE LOG COMMAND...

set -eu

title=$1
log=$2
shift 2

mkdir -p "$(dirname "$log")"
printf '%s ... ' "$title"
start=$(date +%s)
status=0
"$@" >"$log" 2>&1 </dev/null || status=$?
elapsed=$(($(date +%s) - start))

if [ "$status" -eq 0 ]; then
	echo "$elapsed s"
	exit 0
fi

echo "failed after $elapsed s"
{
	grep -n -i -E '\b(error|fatal|undefined)\b|\*\*\*' "$log" | tail -n 15
	echo "--- last lines:"
	tail -n 10 "$log"
	echo "FAILED: $title (exit $status), log: $log"
} >&2
exit 1
