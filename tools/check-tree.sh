#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Tells in one line why a kernel tree cannot take this LUO, before anything in
# it is changed.
#
# usage: check-tree.sh TREE VERSION [PATCHES]

set -eu

repo=$(realpath "$(dirname "$0")/..")
tree=$1
version=$2
patches=${3:-$repo/integration}

die() {
	echo "$tree $1" >&2
	exit 1
}

if [ ! -f "$tree/Makefile" ] || [ ! -f "$tree/Kbuild" ]; then
	die "is not a Linux source tree"
fi
found=$(sed -n -e 's/^VERSION = //p' -e 's/^PATCHLEVEL = /./p' "$tree/Makefile" | tr -d '\n')
[ "$found" = "$version" ] || die "is Linux $found, not $version"

[ ! -e "$tree/kernel/liveupdate/rust" ] ||
	die "has a kernel/liveupdate/rust already: take it out first (make uninstall)"

{
	echo Documentation/core-api/liveupdate-rust
	cd "$repo" && find rust -type f
} | while read -r file; do
	[ ! -e "$tree/$file" ] || die "has a $file already"
done

if [ ! -f "$tree/kernel/liveupdate/luo_core.c" ] ||
	! grep -qs '"luo-v5"' "$tree/include/linux/kho/abi/luo.h"; then
	die "has no LUO in C that speaks luo-v5"
fi

[ -f "$tree/rust/kernel/lib.rs" ] || die "has no support for Rust"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$tree"
"$repo/tools/patched-files.sh" "$patches" | while read -r file; do
	[ ! -f "$file" ] || cp --parents "$file" "$scratch"
done
for patch in "$patches"/*.patch; do
	patch -d "$scratch" -p1 -F0 -f -s -i "$patch" >/dev/null 2>&1 ||
		die "is modified where ${patch#"$repo"/} patches it"
done
