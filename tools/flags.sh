# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# To be sourced: what the kernel build gave its Rust compiler.

# flags_of BUILD OBJECT: the command that made the object, for eval, bar what says
# where to write which output; fails if nothing made it
flags_of() {
	local made=$1/${2%/*}/.${2##*/}.cmd
	if ! grep -qs '^savedcmd_' "$made"; then
		echo "$2 was not built in $1" >&2
		return 1
	fi
	sed -n 's/^savedcmd_[^ ]* := *//p' "$made" |
		sed -E -e 's/ ;.*//; s/ --(emit|out-dir|remap-path-[a-z]+)[= ][^ ]*//g' \
			-e 's/\$\$/$/g; s/\\#/#/g'
}
