#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Lists the kernel's files that the patches in integration/ touch.

set -eu

cd "$(dirname "$0")/../integration"
sed -n 's|^+++ b/\([^[:space:]]*\).*|\1|p' ./*.patch | sort -u
