# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# To be sourced: adds up what parts of a test run report, in $passed and $failed.

count='^([0-9]+) passed, ([0-9]+) failed$'
passed=0
failed=0

# tally LOG STATUS: adds the last counts in LOG, and leaves them in $ok and $bad. A
# part that says nothing counts as one, and so does one that fails without saying how.
tally() {
	ok=0
	bad=0
	if [[ $(grep -E "$count" "$1" | tail -n 1) =~ $count ]]; then
		ok=${BASH_REMATCH[1]}
		bad=${BASH_REMATCH[2]}
	elif (($2 == 0)); then
		ok=1
	fi
	if (($2 != 0 && bad == 0)); then
		bad=1
	fi
	passed=$((passed + ok))
	failed=$((failed + bad))
}
