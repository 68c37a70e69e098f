#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Stands in for the QEMU of its name before the real one in PATH, and takes back
# the hardware accelerators that kunit.py asks for first: QEMU hangs on a
# /dev/kvm that is there but does not work.

set -eu

args=()
while (($# > 0)); do
	case "$1 ${2-}" in
	'-accel kvm' | '-accel hvf') shift ;;
	*) args+=("$1") ;;
	esac
	shift
done

PATH=${PATH#*:} exec "$(basename "$0")" "${args[@]}"
