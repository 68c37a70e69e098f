#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Builds our documentation with the kernel's Sphinx, in the place that it has in a
# tree, and fails if that warns of one of our pages.
#
# usage: htmldocs.sh TREE OUT MAKE...

set -euo pipefail

tree=$1
out=$2
make=("${@:3}")
log=$out/logs/htmldocs.log

if ! command -v sphinx-build >/dev/null; then
	echo "please install (this is Debian's package name): python3-sphinx" >&2
	exit 1
fi

mkdir -p "$out/htmldocs" "$out/logs"
"$(dirname "$0")/step.sh" 'Building the documentation' "$log" \
	"${make[@]}" -C "$tree" O="$out/htmldocs" SPHINXDIRS=core-api htmldocs
if grep -E 'liveupdate-rust.*(WARNING|ERROR)' "$log"; then
	exit 1
fi
echo "$out/htmldocs/Documentation/output/core-api/liveupdate-rust/index.html"
