#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Configures a kernel build: what the kernel tree's own live update selftest
# asks for, what our tests ask for, and which LUO is built. Fails unless every
# symbol asked for was granted, and unless the two LUOs get the same kernel. An
# older tree has the LUO in C alone, and a selftest that asks for less. So has the
# tree without our patches, `stock`, whose kernel has to be that of the LUO in C.
#
# A VARIANT has tests/VARIANT.config on top, and tests/VARIANT-ARCH.config if there is
# one; there may be several. So has ARCH, which is named as the first one where it is
# not x86_64, and so has every kernel but a benchmark's tests/lean.config.
#
# usage: configure.sh TREE BUILD rust|c|stock[-arm64][-VARIANT]... MAKE...

set -eu

repo=$(realpath "$(dirname "$0")/..")
tree=$1
selftest=$tree/tools/testing/selftests/liveupdate/config
build=$2
impl=${3%%-*}
variant=${3#"$impl"}
extra=
case $variant in
*-bench*) lean= ;;
*) lean=lean ;;
esac
for name in $lean $(echo "$ARCH${variant#-"$ARCH"}" | tr - ' '); do
	extra="$extra $repo/tests/$name.config"
	special=$repo/tests/$name-$ARCH.config
	[ ! -e "$special" ] || extra="$extra $special"
done
common=${build%"$3"}
shift 3

# All but a few objects are those of the other LUO's kernel: start from there.
case $impl in
rust) other=${common}c$variant ;;
c) other=${common}rust$variant ;;
stock) other= ;;
esac
if [ ! -e "$build" ] && [ -e "$other/.built" ]; then
	rm -rf "$build.new"
	cp -a "$other" "$build.new"
	rm "$build.new/.built"
	mv "$build.new" "$build"
fi

mkdir -p "$build"
requested=$build/requested.config
[ "$ARCH" = arm64 ] && machine=$selftest.aarch64 || machine=$selftest.$ARCH
[ -e "$machine" ] || machine=
if grep -q rust/Kconfig "$tree/kernel/liveupdate/Kconfig"; then
	luos='rust c'
	sample=y
else
	luos=$impl
	sample=n
fi

for luo in $luos; do
	[ "$luo" = rust ] && switch=y || switch=n
	# Asked for twice: the last one counts.
	# shellcheck disable=SC2086 # several files, or none
	printf '%s=%s\n' CONFIG_LIVEUPDATE_RUST "$switch" \
		CONFIG_LIVEUPDATE_RUST_KUNIT_TEST "$switch" \
		CONFIG_SAMPLE_RUST_LIVEUPDATE "$sample" |
		cat "$selftest" ${machine:+"$machine"} "$repo/tests/kernel.config" - $extra |
		awk -F= '/^CONFIG_/ { value[$1] = $2 } END { for (s in value) print s "=" value[s] }' |
		sort >"$requested"
	cp "$requested" "$build/$luo.config"
	KCONFIG_CONFIG=$build/$luo.config "$@" olddefconfig

	refused=
	while read -r line; do
		case $line in
		*=n) ! grep -q "^${line%n}" "$build/$luo.config" ;;
		*) grep -qxF "$line" "$build/$luo.config" ;;
		esac || refused="$refused $line"
	done <"$requested"
	if [ -n "$refused" ]; then
		"$@" rustavailable || true
		echo "error: the kernel's configuration does not grant:$refused"
		exit 1
	fi
	grep CONFIG_ "$build/$luo.config" |
		grep -v 'CONFIG_\(LIVEUPDATE_RUST\|LIVEUPDATE_MEMFD_RUST\|LIVEUPDATE_TEST_DRIVER\|SAMPLE_RUST_LIVEUPDATE\)' \
			>"$build/$luo.symbols"
done
[ "$impl" != stock ] || cp "${common}c$variant/c.symbols" "$build"

if ! diff --from-file="$build/$impl.symbols" "$build"/*.symbols; then
	echo "error: the kernels of the two LUOs would differ by more than the LUO"
	exit 1
fi
cp "$build/$impl.config" "$build/.config"
