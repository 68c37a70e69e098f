#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Lists the kernel's files that patches touch: those in integration/, or in PATCHES.
#
# usage: patched-files.sh [PATCHES]

set -eu

cd "${1:-$(dirname "$0")/../integration}"
sed -n 's|^+++ b/\([^[:space:]]*\).*|\1|p' ./*.patch | sort -u
