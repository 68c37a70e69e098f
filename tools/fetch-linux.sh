#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Fetches the source of Linux as Debian packages it, through the mirror that
# this machine's apt is set up for and checked by Debian's signatures. Nothing
# of the machine's own apt state is read beyond that or changed.
#
# usage: fetch-linux.sh VERSION DIRECTORY

set -eu

version=$1
directory=$2
package=linux-source-$version
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

die() {
	echo "$1" >&2
	exit 1
}

mirror() {
	# shellcheck disable=SC2016 # for apt to expand
	apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' \
		'Origin: Debian' 'Label: Debian' | head -n 1
}

if ! command -v apt-get >/dev/null || [ ! -e "$keyring" ]; then
	die "no Debian, no $package: name a Linux $version tree with KDIR="
fi

uri=$(mirror)
if [ -z "$uri" ] && [ "$(id -u)" -eq 0 ]; then
	apt-get -q update
	uri=$(mirror)
fi
[ -n "$uri" ] || die "apt knows no Debian mirror: set one up, or run 'apt-get update' as root"

mkdir -p "$(dirname "$directory")"
work=$(mktemp -d "$directory.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
chmod 755 "$work"
mkdir -p "$work/apt/lists/partial" "$work/apt/cache/archives/partial" "$work/linux"
cd "$work/apt"

# own COMMAND...: of apt, with lists, cache and sources of its own
own() {
	command=$1
	shift
	"$command" -q -o Dir::State="$work/apt" -o Dir::State::Lists="$work/apt/lists" \
		-o Dir::Cache="$work/apt/cache" -o Dir::Etc::SourceParts=/dev/null \
		-o Dir::Etc::SourceList="$work/apt/debian.sources" \
		-o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null \
		-o APT::Sandbox::User=root "$@"
}

offered=
for suite in trixie-backports testing unstable; do
	cat >debian.sources <<-EOF
		Types: deb
		URIs: $uri
		Suites: $suite
		Components: main
		Signed-By: $keyring
	EOF
	if ! own apt-get update; then
		offered="$offered $suite cannot be read;"
		continue
	fi
	if [ -n "$(own apt-cache policy "$package")" ]; then
		own apt-get download "$package"
		break
	fi
	found=$(own apt-cache pkgnames linux-source- | sort -V | tr '\n' ' ')
	offered="$offered $suite has ${found:-none };"
done
set -- "$package"_*.deb
[ -e "$1" ] || die "no $package in Debian's suites:${offered%;}"

dpkg-deb -x "$1" .
tar -xJf "usr/src/$package.tar.xz" -C "$work/linux" --strip-components=1
mv -T "$work/linux" "$directory"
