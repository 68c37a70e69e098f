#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Makes the tree that is built: hard links to a pristine source, the patches of
# integration/, and links to this directory and to each file in its rust/, so that
# a change here is a change there. The source is never written to: what is patched
# is copied first. An older Linux, which keeps the LUO in C, has patches of its own
# below integration/.
#
# usage: stage.sh SOURCE VERSION TREE

set -eu

repo=$(realpath "$(dirname "$0")/..")
source=$(realpath "$1")
version=$2
tree=$3
stamp=$tree/.staged
patched=$tree/.patched
patches=$repo/integration
linked=$(cd "$repo" && find rust -type f | sort)
if [ -d "$patches/$version" ]; then
	patches=$patches/$version
	linked=
fi

for left in "$source"/.config "$source"/include/config "$source"/arch/*/include/generated; do
	if [ -e "$left" ]; then
		echo "$source was built in place: run 'make mrproper' in it first" >&2
		exit 1
	fi
done
"$repo/tools/check-tree.sh" "$source" "$version" "$patches"

state="$source $(cd "$source" && {
	"$repo/tools/patched-files.sh" "$patches" | xargs cat "$patches"/*.patch
	echo "$linked"
} | sha256sum)"
if [ -e "$stamp" ] && [ "$(cat "$stamp")" = "$state" ]; then
	changed=$(find "$source" -path "$source/.git" -prune -o -newer "$stamp" -print -quit)
	[ -n "$changed" ] || exit 0
fi

mkdir -p "$tree"
touch "$patched"
echo "$linked" | sed 's|^.|/&|' |
	rsync -a --delete --link-dest="$source" --exclude=/.git --exclude=/.staged \
		--exclude=/.patched --exclude=/kernel/liveupdate/rust \
		--exclude=/Documentation/core-api/liveupdate-rust --exclude-from="$patched" \
		--exclude-from=- "$source/" "$tree/"

if [ ! -e "$stamp" ] || [ "$(cat "$stamp")" != "$state" ]; then
	rm -f "$stamp"
	"$repo/tools/patched-files.sh" "$patches" | sed 's|^|/|' >"$patched.new"
	before=$(mktemp -d)
	trap 'rm -rf "$before"' EXIT
	sort -u "$patched" "$patched.new" | while read -r file; do
		mkdir -p "$before${file%/*}"
		[ ! -e "$tree$file" ] || mv "$tree$file" "$before$file"
		[ ! -e "$source$file" ] || cp "$source$file" "$tree$file"
	done
	for patch in "$patches"/*.patch; do
		patch -d "$tree" -p1 -F0 -f -s --no-backup-if-mismatch -i "$patch"
	done
	# What is as it was is not built again.
	while read -r file; do
		! cmp -s "$before$file" "$tree$file" || mv "$before$file" "$tree$file"
	done <"$patched.new"
	mv "$patched.new" "$patched"
	ln -sfn "$repo" "$tree/kernel/liveupdate/rust"
	ln -sfn ../../kernel/liveupdate/rust/Documentation \
		"$tree/Documentation/core-api/liveupdate-rust"
	for file in $linked; do
		mkdir -p "$tree/${file%/*}"
		ln -sfn "$repo/$file" "$tree/$file"
	done
fi
echo "$state" >"$stamp"
