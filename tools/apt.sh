# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0
#
# To be sourced: what Debian offers, through the mirrors that this machine's apt is
# set up for and checked by Debian's signatures. Nothing of the machine's own apt
# state is read beyond that or changed.

# shellcheck disable=SC2034 # for those who source this
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

die() {
	echo "$1" >&2
	exit 1
}

# mirrors FORMAT FILTER...: of Debian's package lists that apt is set up for
mirrors() {
	apt-get indextargets --format "$@" 'Created-By: Packages' 'Origin: Debian'
}

# known_mirrors FORMAT FILTER...: the same; what apt does not know yet, root makes it learn
known_mirrors() {
	found=$(mirrors "$@")
	if [ -z "$found" ] && [ "$(id -u)" -eq 0 ]; then
		apt-get -q update >&2
		found=$(mirrors "$@")
	fi
	[ -n "$found" ] ||
		die "apt knows no Debian mirror: set one up, or run 'apt-get update' as root"
	echo "$found"
}

# workplace DIRECTORY: sets $work, next to DIRECTORY, and goes where the function `own`
# has its lists and its sources; is gone in the end
workplace() {
	mkdir -p "$(dirname "$1")"
	work=$(mktemp -d "$1.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	trap 'exit 1' HUP INT TERM
	chmod 755 "$work"
	mkdir -p "$work/apt/lists/partial" "$work/apt/cache/archives/partial"
	cd "$work/apt" || exit
}

# own COMMAND...: of apt, with lists, cache and sources of its own
own() {
	command=$1
	shift
	"$command" -q -o Dir::State="$work/apt" -o Dir::State::Lists="$work/apt/lists" \
		-o Dir::Cache="$work/apt/cache" -o Dir::Etc::SourceParts=/dev/null \
		-o Dir::Etc::SourceList="$work/apt/${sources:-debian.sources}" \
		-o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null \
		-o APT::Sandbox::User=root "$@"
}
