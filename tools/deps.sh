#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Makes sure that the programs the builds and tests call are installed: root
# on Debian gets them installed, anyone else is told which packages to install. For
# another processor than this machine's, Rust's library for it is put into STD.
#
# usage: deps.sh LOGDIR BINDGEN ARCH [STD]

set -eu

here=$(dirname "$0")
logs=$1
bindgen=$2
arch=$3
std=${4:-}
missing=

# need FILE-OR-COMMAND PACKAGE
need() {
	[ -e "$1" ] || command -v "$1" >/dev/null || missing="$missing $2"
}

# header NAME PACKAGE: one that may lie in a directory named after the processor
header() {
	echo "#include <$1>" | gcc -E - >/dev/null 2>&1 || missing="$missing $2"
}

# shellcheck source=/dev/null
. /etc/os-release

if [ "$ID${VERSION_ID:-}" = debian12 ]; then
	need clang-19 clang-19
	need ld.lld-19 lld-19
	need llvm-objcopy-19 llvm-19
	need /usr/lib/llvm-19/lib/libclang.so libclang-19-dev
	need /usr/bin/rustc rustc-web
	need /usr/lib/rustlib/src/rust/library/core rust-web-src
	need /usr/bin/clippy-driver rust-web-clippy
	need /usr/bin/rustfmt rustfmt-web
	need /usr/bin/cargo cargo-web
else
	need clang clang
	need ld.lld lld
	need llvm-objcopy llvm
	need /usr/bin/rustc rustc
	need /usr/lib/rustlib/src/rust/library/core rust-src
	need /usr/bin/clippy-driver rust-clippy
	need /usr/bin/rustfmt rustfmt
	need /usr/bin/cargo cargo
	need /usr/bin/bindgen bindgen
fi
need gcc gcc
need /usr/include/stdio.h libc6-dev
need flex flex
need bison bison
need bc bc
need /usr/include/libelf.h libelf-dev
need /usr/include/openssl/ssl.h libssl-dev
header urcu/uatomic.h liburcu-dev
need perl perl
need python3 python3
need rsync rsync
need cpio cpio
need /sbin/depmod kmod
need patch patch
need xz xz-utils
need shellcheck shellcheck
need dtc device-tree-compiler
case $arch in
x86_64) need qemu-system-x86_64 qemu-system-x86 ;;
arm64) need qemu-system-aarch64 qemu-system-arm ;;
esac
case ${std:+$arch} in
x86_64)
	need x86_64-linux-gnu-gcc gcc-x86-64-linux-gnu
	need /usr/x86_64-linux-gnu/lib/libc.a libc6-dev-amd64-cross
	;;
arm64)
	need aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu
	need /usr/aarch64-linux-gnu/lib/libc.a libc6-dev-arm64-cross
	;;
esac
need /etc/ssl/certs/ca-certificates.crt ca-certificates

if [ -n "$missing" ]; then
	if [ "$ID" != debian ] || [ "$(id -u)" -ne 0 ]; then
		echo "please install (these are Debian's package names):$missing" >&2
		exit 1
	fi
	export DEBIAN_FRONTEND=noninteractive
	"$here/step.sh" "Updating the package lists" "$logs/apt-update.log" \
		apt-get -q update
	# shellcheck disable=SC2086 # a list of words
	"$here/step.sh" "Installing$missing" "$logs/apt-install.log" \
		apt-get -q -y --no-install-recommends install $missing
fi

# Debian 12 packages every tool but a bindgen that is new enough.
[ -x "$bindgen" ] ||
	RUSTC=/usr/bin/rustc "$here/step.sh" "Building bindgen" "$logs/bindgen.log" \
		/usr/bin/cargo install --locked --quiet --version 0.72.1 \
		--root "${bindgen%/bin/bindgen}" bindgen-cli

[ -z "$std" ] || [ -e "$std" ] ||
	"$here/step.sh" "Fetching Rust's library for $arch" "$logs/fetch-std.log" \
		"$here/fetch-std.sh" "$arch" "$std"
