#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Fetches the source of Linux as Debian packages it.
#
# usage: fetch-linux.sh VERSION DIRECTORY

set -eu

version=$1
directory=$2
package=linux-source-$version
# shellcheck source=tools/apt.sh
. "$(dirname "$0")/apt.sh"

if ! command -v apt-get >/dev/null || [ ! -e "$keyring" ]; then
	die "no Debian, no $package: name a Linux $version tree with KDIR="
fi

# shellcheck disable=SC2016 # for apt to expand
uri=$(known_mirrors '$(REPO_URI)' 'Label: Debian' | head -n 1)
workplace "$directory"

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
mkdir "$work/linux"
tar -xJf "usr/src/$package.tar.xz" -C "$work/linux" --strip-components=1
mv -T "$work/linux" "$directory"
