#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs every checker over this directory, the kernel's own where there is one.
# The Rust checkers get the flags that the kernel build gave its compiler.
#
# usage: lint.sh TREE BUILD OUT CARGO-OUT

# shellcheck disable=SC2317 # the functions are called through check()

set -euo pipefail

repo=$(realpath "$(dirname "$0")/..")
tree=$1
build=$2
out=$3
cargo_out=$4
failed=0
export TERM=dumb
# shellcheck source=tools/flags.sh
. "$repo/tools/flags.sh"

cd "$repo"
mkdir -p "$out/logs" "$out/lint"

# check NAME COMMAND...
check() {
	local name=$1 log=$out/logs/lint-$1.log
	shift
	if "$@" >"$log" 2>&1; then
		echo "ok   $name"
	else
		echo "FAIL $name, log: $log"
		tail -n 20 "$log"
		failed=1
	fi
}

# with_flags_of OBJECT TOOL OPTION...: with the flags of the kernel build
with_flags_of() {
	local command object=$1
	shift
	command=$(flags_of "$build" "$object" | sed -e "s| /usr/bin/rustc | $* |" \
		-e "s| @./include/generated/rustc_cfg | @${cfg:-./include/generated/rustc_cfg} |") ||
		return 1
	(cd "$build" && RUSTC_BOOTSTRAP=1 CLIPPY_CONF_DIR=${conf:-$tree} eval "$command")
}

# luo TOOL OPTION...: for each of our crates
luo() {
	with_flags_of kernel/liveupdate/rust/luo_core.o "$@" &&
		with_flags_of kernel/liveupdate/rust/luo_memfd.o "$@"
}

# What we add to the kernel crate, by what clippy says of all of it.
kernel_crate() {
	local said=$out/lint/kernel.log
	if ! with_flags_of rust/kernel.o /usr/bin/clippy-driver --emit=metadata \
		--out-dir "$out/lint" --color=never 2>"$said"; then
		cat "$said"
		return 1
	fi
	if grep -A 20 -E -- "--> .*($(ours '|'))" "$said"; then
		return 1
	fi
}

# ours SEPARATOR: the files of the kernel crate that are ours
ours() {
	find rust/kernel -name '*.rs' | paste -sd "$1"
}

# Leaf files neither touch what bindgen made nor need unsafe: that has its rooms.
rooms() {
	! grep -nwE 'unsafe|bindings' abi/*.rs samples/*.rs ./*.rs |
		grep -vE '^\./(c_api|callbacks|list_private)\.rs:' | grep -vE ':[0-9]+: *//' ||
		return 1
	! grep -nE 'c_api' ./*.rs abi/*.rs | grep -v '^./luo_core.rs:[0-9]*:mod c_api;$'
}

# strict: what tests may do and kernel code may not, so without the tests. No
# unsafe without its reason is among what the kernel's own options ask for.
strict() {
	sed '/^--cfg=CONFIG_LIVEUPDATE_RUST_KUNIT_TEST/d' \
		"$build/include/generated/rustc_cfg" >"$out/lint/rustc_cfg"
	{
		echo 'missing-docs-in-crate-items = true'
		cat "$tree/.clippy.toml"
	} >"$out/lint/clippy.toml"
	conf=$out/lint cfg=$out/lint/rustc_cfg luo /usr/bin/clippy-driver \
		--emit=metadata --out-dir "$out/lint" -D warnings \
		-D clippy::missing_docs_in_private_items -D clippy::unwrap_used \
		-D clippy::expect_used -D clippy::panic -D clippy::unreachable \
		-D clippy::todo -D clippy::unimplemented -D clippy::indexing_slicing
}

# What is exported lies in Rust files, and a Kconfig names the one it includes.
checkpatch() {
	"$tree/scripts/checkpatch.pl" --no-tree --quiet --no-summary \
		--ignore EXPORT_SYMBOL,EMBEDDED_FILENAME "$@"
}

# Named as a file, a patch that git knows would be taken for a source file.
checkpatch_patches() {
	local patch status=0
	for patch in integration/*.patch integration/*/*.patch; do
		checkpatch --no-signoff - <"$patch" || status=1
	done
	return "$status"
}

mapfile -t kernel_rust < <(find ./*.rs abi rust samples tests/kunit tests/compile-fail \
	-name '*.rs' 2>/dev/null)
mapfile -t kernel_c < <(find Kconfig Kbuild luo*_glue.* luo_trace.h rust/helpers samples tests/driver tests/kunit \
	\( -name '*.[ch]' -o -name 'K*' \) 2>/dev/null)
cargo=(/usr/bin/env CARGO=/usr/bin/cargo RUSTC=/usr/bin/rustc RUSTFMT=/usr/bin/rustfmt)
manifest=(--manifest-path tools/Cargo.toml)

# It takes as long as all others together, which keep one processor busy.
(
	check tools-clippy "${cargo[@]}" /usr/bin/cargo-clippy clippy --locked --workspace \
		--all-targets "${manifest[@]}" --target-dir "$cargo_out/cargo" -- -D warnings
	exit "$failed"
) &
tools_clippy=$!
check rustfmt /usr/bin/rustfmt --check --config-path "$tree/.rustfmt.toml" "${kernel_rust[@]}"
check rooms rooms
check clippy luo /usr/bin/clippy-driver --emit=metadata -D warnings --out-dir "$out/lint"
check clippy-strict strict
check clippy-kernel kernel_crate
# No item is public to anybody but us, so a link to a private one is no mistake.
check rustdoc luo /usr/bin/rustdoc --document-private-items -D warnings \
	-A rustdoc::private_intra_doc_links -o "$out/rustdoc"
check checkpatch checkpatch -f "${kernel_c[@]}"
check checkpatch-patches checkpatch_patches
check tools-rustfmt "${cargo[@]}" /usr/bin/cargo-fmt fmt --check --all "${manifest[@]}"
# What is ours of it, and without building libFuzzer.
fuzz=(--manifest-path tests/fuzz/Cargo.toml -p luo-fuzz -p kernel -p macros)
check fuzz-rustfmt "${cargo[@]}" /usr/bin/cargo-fmt fmt --check "${fuzz[@]}"
check fuzz-clippy "${cargo[@]}" CUSTOM_LIBFUZZER_PATH=/none/libnone.a /usr/bin/cargo-clippy clippy --locked \
	--no-deps "${fuzz[@]}" --target-dir "$cargo_out/fuzz/clippy" -- -D warnings
check shellcheck shellcheck tools/*.sh .ci/run
check docs python3 tools/check-docs.py "$tree"

wait "$tools_clippy" || failed=1

exit $failed
