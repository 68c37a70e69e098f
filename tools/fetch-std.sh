#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Fetches Rust's standard library for another processor than this machine's, as
# Debian packages it: of just the version that the compiler has. Installed as a
# foreign package it would bring the C library and much else with it.
#
# usage: fetch-std.sh ARCH DIRECTORY

set -eu

directory=$2
case $1 in
x86_64) arch=amd64 ;;
*) arch=$1 ;;
esac
# shellcheck source=tools/apt.sh
. "$(dirname "$0")/apt.sh"

command -v apt-get >/dev/null ||
	die "no Debian: put Rust's library for $1 below $directory/usr/lib/rustlib yourself"
# The package of the compiler tells which one its library is in.
package=$(dpkg-query -S "$(/usr/bin/rustc --print target-libdir)/libstd-*.rlib" | cut -d: -f1)
version=$(dpkg-query -W -f '${Version}' "$package")

lines=$(known_mirrors "deb [signed-by=$keyring] \$(REPO_URI) \$(RELEASE) \$(COMPONENT)")
workplace "$directory"
sources=debian.list
echo "$lines" | sort -u >"$sources"
set -- apt-get -o APT::Architecture="$arch" -o APT::Architectures="$arch"
own "$@" update
own "$@" download "$package=$version" ||
	die "Debian has no $package $version for $arch: install the compiler of the same version"
dpkg-deb -x "$package"_*.deb "$work/std"
mv -T "$work/std" "$directory"
