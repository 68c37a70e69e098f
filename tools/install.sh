#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Puts this LUO into somebody's kernel tree as files, the way a maintainer
# would merge it, or takes it out again and leaves the tree as it was.
#
# usage: install.sh install|uninstall VERSION TREE

set -eu

repo=$(realpath "$(dirname "$0")/..")
action=$1
version=$2
tree=$3

die() {
	echo "$1" >&2
	exit 1
}

# apply TREE PATCH [OPTION...]
apply() {
	tree_=$1
	patch_=$2
	shift 2
	patch -d "$tree_" -p1 -F0 -f -s --no-backup-if-mismatch "$@" -i "$patch_"
}

[ -n "$tree" ] || die "no tree named: make $action KDIR=/path/to/linux-$version"
tree=$(realpath "$tree")
target=$tree/kernel/liveupdate/rust
pages=$tree/Documentation/core-api/liveupdate-rust

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/rust" "$scratch/tree"

cd "$repo"
for part in Kconfig Kbuild *.rs luo*_glue.* abi Documentation samples tests/kunit tests/driver; do
	[ ! -e "$part" ] || cp -r --parents "$part" "$scratch/rust"
done

case $action in
install)
	tools/check-tree.sh "$tree" "$version"
	cp -r "$scratch/rust" "$target"
	find rust -type f -exec cp --parents -t "$tree" {} +
	ln -s ../../kernel/liveupdate/rust/Documentation "$pages"
	for patch in integration/*.patch; do
		apply "$tree" "$repo/$patch"
	done
	;;
uninstall)
	[ -d "$target" ] || die "$tree has no LUO in Rust installed"
	[ ! -h "$target" ] || die "$target is a link: not made by 'make install'"
	changed=$(cd "$scratch/rust" && diff -rq -x '*.o' -x '.*.cmd' -x '*.a' -x '*.ko' -x '*.mod*' -x modules.order \
		. "$target") ||
		die "$target is not what this version installs: $(echo "$changed" | head -n 1)"
	find rust -type f | while read -r file; do
		cmp -s "$file" "$tree/$file" ||
			die "$tree/$file is not what this version installs"
	done
	tools/patched-files.sh | (cd "$tree" && xargs cp --parents -t "$scratch/tree")
	patches=$(printf '%s\n' integration/*.patch | sort -r)
	for patch in $patches; do
		apply "$scratch/tree" "$repo/$patch" -R >/dev/null 2>&1 ||
			die "$tree was changed where $patch patched it"
	done
	for patch in $patches; do
		apply "$tree" "$repo/$patch" -R
	done
	rm -r "$target" "$pages"
	find rust -type f | while read -r file; do
		rm "$tree/$file"
		rmdir -p --ignore-fail-on-non-empty "$tree/${file%/*}"
	done
	;;
esac
