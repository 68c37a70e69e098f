# SPDX-License-Identifier: GPL-2.0
#
# The commands that people type: build, test, try and install the Live Update
# Orchestrator in Rust. The kernel's build reads Kbuild instead of this file.

LINUX ?= 7.3
impl-given := $(filter-out undefined,$(origin IMPL))
IMPL ?= rust
host := $(shell uname -m)
ARCH ?= $(host)
PAGES ?= 4K
O ?= build
KDIR ?=

ifeq ($(filter rust c,$(IMPL)),)
$(error IMPL is rust or c, not '$(IMPL)')
endif
given := $(ARCH)
override ARCH := $(patsubst aarch64,arm64,$(patsubst x86,x86_64,$(ARCH)))
ifeq ($(filter x86_64 arm64,$(ARCH)),)
$(error ARCH is x86_64 or arm64, not '$(given)')
endif
sizes := 4K $(if $(filter arm64,$(ARCH)),16K 64K)
ifeq ($(filter $(PAGES),$(sizes)),)
$(error PAGES on $(ARCH) is one of $(sizes), not '$(PAGES)')
endif

override O := $(abspath $(O))
cache := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/luo
release := $(shell . /etc/os-release && echo $$ID$$VERSION_ID)

# Debian 12 has the LLVM and bindgen that Linux needs only beside its default
# ones. All of Rust comes from one place, as its parts read each other's files.
ifeq ($(release),debian12)
LLVM ?= -19
BINDGEN ?= $(cache)/bindgen/bin/bindgen
export LIBCLANG_PATH ?= /usr/lib/llvm-19/lib
else
LLVM ?= 1
BINDGEN ?= /usr/bin/bindgen
endif
rust := RUSTC=/usr/bin/rustc HOSTRUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc \
	RUSTFMT=/usr/bin/rustfmt CLIPPY_DRIVER=/usr/bin/clippy-driver CARGO=/usr/bin/cargo \
	BINDGEN=$(BINDGEN)

# As the compilers call them: what runs in QEMU, and what this machine is.
cpu := $(patsubst arm64,aarch64,$(ARCH))
target := $(cpu)-unknown-linux-gnu
host_target := $(host)-unknown-linux-gnu
image := $(if $(filter arm64,$(ARCH)),Image.gz,bzImage)

# What is built and found out for which machine: x86-64 has no name for that, the others have.
empty :=
flavour := $(subst $(empty) ,-,$(strip $(filter arm64,$(ARCH)) $(filter-out 4K,$(PAGES))))
v := $(flavour:%=-%)
out := $(O)$(flavour:%=/%)

source := $(or $(abspath $(KDIR)),$(cache)/linux-$(LINUX))
tree := $(O)/linux-$(LINUX)
kernel = $(tree)-$(IMPL)$(v)
guest := $(O)/cargo/$(target)/release
logs := $(out)/logs
step := tools/step.sh
from = $(tree)
kmake = $(MAKE) -j$(shell nproc) -C $(from) ARCH=$(ARCH) LLVM=$(LLVM) $(rust)
cargo := env RUSTC=/usr/bin/rustc /usr/bin/cargo build --release --locked \
	--manifest-path tools/Cargo.toml --target-dir $(O)/cargo

# What the kernel builds of this directory.
sources := $(shell find Kconfig Kbuild *.rs luo*_glue.* abi rust samples tests/kunit tests/driver -type f 2>/dev/null)

# The kernel's make and ours have variables of the same name.
MAKEOVERRIDES :=
MAKEFLAGS += --no-print-directory
export O LINUX KDIR LLVM BINDGEN ARCH PAGES

.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo demo-vm test kernel headers kunit selftest bench coverage lint install uninstall clean
.PHONY: selftest-vm interop interop-c chain races hostile hostile-deferred fuzz fuzz-smoke memblock doctests
.PHONY: compile-fail htmldocs luoctl tools-test arm64 other-pages x86-only small-pages
.PHONY: test-debug kunit-debug selftest-debug
.PHONY: deps vm fuzzer tests/fuzz/linux FORCE

help:
	@echo 'make demo                 boot this LUO in QEMU and live-update it, from nothing'
	@echo 'make demo-vm              live-update the host of a running virtual machine, from nothing'
	@echo 'make test                 lint, KUnit, fuzzing, selftests, hand-overs to and from C, from nothing'
	@echo 'make arm64                KUnit and a few of the selftests on this LUO for arm64'
	@echo 'make test-debug           KUnit and the selftests on a kernel that checks itself'
	@echo 'make kernel               build a kernel: $(kernel)'
	@echo 'make headers              install its uapi headers: $(O)/headers/include'
	@echo 'make kunit                run the KUnit suites in QEMU; ARGS= takes a filter'
	@echo 'make doctests             run the examples of what we add to the kernel crate'
	@echo 'make selftest             run the selftests in QEMU, on both LUOs; IMPL= for one'
	@echo 'make selftest-vm          run the example of a VMM across a live update, on KVM in QEMU'
	@echo 'make luoctl               build the command line tool, one static binary'
	@echo 'make tools-test           run the tests of the tools that need no machine of their own'
	@echo 'make compile-fail         show that misuse of the driver API does not compile'
	@echo 'make interop              live updates between this LUO and those in C of 7.2 and 7.3'
	@echo 'make chain                a large memfd through 100 live updates, to and from C; ROUNDS= for more'
	@echo 'make races                race with 200 rounds of refused reboots; ROUNDS= for more'
	@echo 'make hostile              damage a hand-over in every way, on both LUOs'
	@echo 'make memblock             run the kernel tests of memblock, which our patches change'
	@echo 'make bench                count what live update costs, side by side; N= takes a list'
	@echo 'make coverage             run KUnit and the selftests, and tell which lines they executed'
	@echo 'make fuzz                 hand over random damage for a minute; TIME= takes seconds'
	@echo 'make lint                 rustfmt, clippy, rustdoc, checkpatch, shellcheck'
	@echo 'make htmldocs             build the documentation, with that of the kernel around it'
	@echo 'make install KDIR=...     put this LUO into a kernel tree'
	@echo 'make uninstall KDIR=...   take it out again'
	@echo 'make clean                remove $(O)'
	@echo
	@echo 'IMPL=rust|c     which LUO is built or tested (rust)'
	@echo 'LINUX=7.3       the version of Linux that Debian packages'
	@echo 'KDIR=/path      build from this kernel tree instead; it is not changed'
	@echo 'ARCH=x86_64|arm64  for which processors ($(ARCH)); QEMU emulates any'
	@echo 'PAGES=4K|16K|64K   the pages of a kernel for arm64 (4K)'
	@echo 'ONLY=...        of the selftests, these'
	@echo 'O=build         where everything is built'

deps:
	@tools/deps.sh $(logs) $(BINDGEN) $(ARCH) $(std)

$(cache)/linux-$(LINUX): | deps
	@$(step) 'Fetching Linux $(LINUX)' $(logs)/fetch.log tools/fetch-linux.sh $(LINUX) $@

$(tree)/.staged: FORCE | deps $(if $(KDIR),,$(source))
	@tools/stage.sh $(source) $(LINUX) $(tree)

# Kernels for arm64 are for several processors as they are.
bench_smp := $(if $(filter x86_64,$(ARCH)),rust$v-bench-smp c$v-bench-smp)
bench := rust$v-bench c$v-bench $(bench_smp) stock$v-bench
deferred := rust$v-deferred c$v-deferred
builds := $(addprefix $(tree)-,rust$v c$v rust$v-debug $(bench) $(deferred))
$(builds:%=%/.config): $(tree)-%/.config: $(tree)/.staged $(filter %Kconfig,$(sources)) \
		tests/kernel.config tests/$(ARCH).config tools/configure.sh
	@$(step) 'Configuring Linux $(LINUX) with the LUO in $*' $(logs)/config-$*.log \
		tools/configure.sh $(from) $(@D) $* $(kmake) O=$(@D)

$(if $(filter-out 4K,$(PAGES)),$(builds:%=%/.config): tests/$(PAGES).config)
$(tree)-rust$v-debug/.config: tests/debug.config
$(bench:%=$(tree)-%/.config): tests/bench.config $(wildcard tests/bench-$(ARCH).config)
$(filter-out $(bench:%=$(tree)-%/.config),$(builds:%=%/.config)): tests/lean.config \
	$(wildcard tests/lean-$(ARCH).config)
$(bench_smp:%=$(tree)-%/.config): tests/smp.config
$(deferred:%=$(tree)-%/.config): tests/deferred.config

# What live update costs in the tree as it is, with nothing of ours in it.
$(tree)-stock$v-bench/.config: | $(tree)-c$v-bench/.config
$(tree)-stock$v-bench/%: private from := $(source)

$(builds:%=%/.built): $(tree)-%/.built: $(tree)-%/.config $(sources)
	@$(step) 'Building Linux $(LINUX) with the LUO in $*' $(logs)/kernel-$*.log \
		$(kmake) O=$(@D) $(image) modules
	@touch $@

kernel: $(kernel)/.built

# The same drivers that are built in, for the tests that load them; the C LUO exports nothing.
modules := $(O)/driver-rust$v/luo_test.ko $(O)/samples-rust$v/rust_liveupdate.ko
debug_modules := $(O)/driver-rust$v-debug/luo_test.ko $(O)/samples-rust$v-debug/rust_liveupdate.ko
$(filter %/luo_test.ko,$(modules) $(debug_modules)): $(O)/driver-%/luo_test.ko: $(tree)-%/.built
	$(call module,the test driver,tests/driver,CONFIG_LIVEUPDATE_TEST_DRIVER)
$(filter %/rust_liveupdate.ko,$(modules) $(debug_modules)): $(O)/samples-%/rust_liveupdate.ko: \
		$(tree)-%/.built
	$(call module,the sample,samples,CONFIG_SAMPLE_RUST_LIVEUPDATE)

# module WHAT,DIRECTORY,SYMBOL
define module
@$(step) 'Building $(1) as a module' $(logs)/module-$(basename $(@F))-$*.log \
	$(kmake) O=$(tree)-$* M=$(CURDIR)/$(2) MO=$(@D) $(3)=m modules
@touch $@
endef

$(out)/headers/.installed: $(tree)/.staged | $(kernel)/.config
	@$(step) 'Installing the uapi headers' $(logs)/headers.log \
		$(kmake) O=$(kernel) headers_install INSTALL_HDR_PATH=$(@D)
	@touch $@

headers: $(out)/headers/.installed

selftests := $(tree)/tools/testing/selftests/liveupdate
$(out)/kselftest/.built: $(out)/headers/.installed
	@mkdir -p $(@D)
	@$(step) "Building the kernel tree's selftests" $(logs)/kselftest.log \
		$(MAKE) -C $(@D) -I $(selftests) -f $(selftests)/Makefile VPATH=$(selftests) \
		OUTPUT=$(@D) KHDR_INCLUDES='-isystem $(<D)/include' LDFLAGS=-static \
		LLVM= CC=$(cpu)-linux-gnu-gcc
	@touch $@

# Static programs; Rust's library for another processor than this machine's is the fetched one.
std := $(if $(filter-out $(host),$(cpu)),$(cache)/rust-std-$(cpu))
static := -C target-feature=+crt-static
host_cargo := env RUSTFLAGS='$(static)' $(cargo) --target $(host_target)
linker-aarch64 := CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
linker-x86_64 := CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER=x86_64-linux-gnu-gcc
static_cargo := $(if $(std),env RUSTFLAGS='$(static) --sysroot=$(std)/usr' $(linker-$(cpu)) \
	$(cargo) --target $(target),$(host_cargo))
programs = --workspace --bins --examples --exclude luo-coverage $(if $(no_guests),--exclude luo-demo-vm)

# The harness asks the tests beside it for their names, which for another processor do not run here.
vm: | deps
	@$(step) 'Building the VM harness and the guest programs' $(logs)/vm.log \
		$(host_cargo) $(programs)
	@$(if $(std),$(step) 'Building the guest programs for $(ARCH)' $(logs)/guest.log \
		$(static_cargo) $(programs) --exclude luo-vm)
	@mkdir -p $(O)/cargo/release
	@ln -sfn ../$(host_target)/release/luo-vm $(luo_vm)

luoctl: | deps
	@$(step) 'Building luoctl' $(logs)/luoctl.log $(static_cargo) -p luoctl
	@echo 'It is $(guest)/luoctl'

# The larger pages are, the less of them the kernel reserves at its start, from which KHO takes how
# large its scratch areas are to be, and the larger is what they are multiples of: 32 or 512 MiB.
memory-16K := 2G
params-16K := kho_scratch=64M,256M,256M
memory-64K := 8G
params-64K := kho_scratch=64M,512M,512M
memory := $(memory-$(PAGES))
params := $(params-$(PAGES))
luo_vm := $(O)/cargo/release/luo-vm
machine := $(memory:%=--memory %) $(params:%=--param %)
parts := tools/test.sh $(out) $(luo_vm)

# On both LUOs, and what their callbacks did compared, unless one is asked for.
both := selftest-rust selftest-c same-on-both
ifneq ($(impl-given),)
selftest: $(kernel)/.built $(out)/kselftest/.built vm $(if $(filter rust,$(IMPL)),$(modules))
	@$(luo_vm) selftest --impl $(IMPL) --kernel $(kernel) $(machine) \
		--kselftest $(out)/kselftest --guest $(guest) --out $(out)/selftest-$(IMPL) \
		$(if $(filter rust,$(IMPL)),$(addprefix --module ,$(modules))) $(addprefix --only ,$(ONLY))
else
selftest: | deps
	@$(parts) '$(both)' $(MAKE)
endif

# From one LUO to the other. The older kernel and the long chain are not in make test.
alternate := $(luo_vm) selftest $(machine) --guest $(guest) --kselftest $(out)/kselftest
ours := $(LINUX)-rust$v
theirs := $(LINUX)-c$v
interop-c: $(tree)-rust$v/.built $(tree)-c$v/.built $(out)/kselftest/.built vm
	@tools/interop.sh $(out) '$(theirs):$(ours) $(ours):$(theirs)' $(alternate)

# On arm64 there are kernels with other pages, too; 7.2 does not know that it can hand nothing over
# to one.
ifeq ($(ARCH),arm64)
other := $(if $(filter 4K,$(PAGES)),16K,4K)
others := $(LINUX)-rust-arm64$(patsubst %,-%,$(filter-out 4K,$(other)))
endif
interop: $(tree)-rust$v/.built $(tree)-c$v/.built $(out)/kselftest/.built vm
	@$(MAKE) kernel IMPL=c LINUX=7.2 KDIR=
	@$(if $(other),$(MAKE) kernel IMPL=rust PAGES=$(other))
	@tools/interop.sh $(out) '$(ours):$(ours) \
		$(foreach c,7.2-c$v $(theirs),$(c):$(ours) $(ours):$(c) $(ours):$(c):memfd-unknown) \
		$(theirs):$(ours):chain-memfd $(theirs):$(ours):chain-100 \
		$(others:%=7.2-c$v:%:other-pages)' $(alternate)

other-pages: $(tree)-rust$v/.built $(out)/kselftest/.built vm
	@$(MAKE) kernel IMPL=rust PAGES=$(other)
	@tools/interop.sh $(out) '$(ours):$(others):other-pages' $(alternate)

chain: private ROUNDS := 100
chain: $(tree)-rust$v/.built $(tree)-c$v/.built $(out)/kselftest/.built vm
	@$(alternate) --impl c --kernel $(tree)-c$v --next-impl rust --next $(tree)-rust$v \
		--out $(out)/chain --only chain-memfd --stages $$(($(ROUNDS) + 1)) --timeout 7200
	@sed -n 's/^.*# kernel/kernel/p' $(out)/chain/chain-memfd.log | sed -e 3q
	@sed -n 's/^.*# kernel/kernel/p' $(out)/chain/chain-memfd.log | tail -n 3

# The guests of these tests are for x86-64, and QEMU for that is taken along from this machine.
no_guests := $(filter-out x86_64,$(ARCH) $(host))
x86-only:
	@$(if $(no_guests),echo 'error: the guests of $(MAKECMDGOALS) are for x86-64' >&2; exit 1,:)

# What needs a kernel with KVM, in a machine that emulates a processor for it.
selftest-vm: x86-only $(tree)-rust$v/.built vm
	@$(luo_vm) selftest --kvm --impl rust --kernel $(tree)-rust$v \
		--guest $(guest) --out $(out)/selftest-vm --accel icount

ROUNDS ?= 200
races: $(tree)-rust$v/.built $(tree)-c$v/.built $(out)/kselftest/.built vm
	@$(foreach luo,rust c,$(alternate) --impl $(luo) --kernel $(tree)-$(luo)$v \
		--out $(out)/races-$(luo) --only races --param LUO_ROUNDS=$(ROUNDS) --timeout 3600 &&) :

kunit_machine := $(memory:%=--qemu_args '-m %') $(params:%=--kernel_args '%')
kunit: $(tree)-rust$v/.built
	@tools/kunit.sh $(tree) $(tree)-rust$v $(out)/kunit '$(ARGS)' $(kunit_machine)

doctests: $(tree)-rust$v/.built
	@tools/doctests.sh $(tree) $(tree)-rust$v $(out) $(kunit_machine)

# The same kernel but for our crate, which has debug information, and code for
# every line, as nothing is optimised away or merged.
traced := $(tree)-rust$v-coverage
$(traced)/.built: $(tree)-rust$v/.built
	@[ -e $(@D) ] || { rm -rf $(@D).new && cp -a $(<D) $(@D).new && \
		rm $(@D).new/.built && mv $(@D).new $(@D); }
	@cp -p $(<D)/.config $(@D)
	@$(step) 'Building Linux $(LINUX) for coverage' $(logs)/kernel-coverage.log \
		$(kmake) O=$(@D) LUO_RUSTFLAGS='-Copt-level=0 -Cdebuginfo=2' $(image)
	@touch $@

coverage: $(traced)/.built $(out)/kselftest/.built vm $(modules)
	@$(step) 'Building the coverage tool' $(logs)/coverage.log $(cargo) -p luo-coverage
	@tools/coverage.sh $(tree) $(traced) $(out) $(O)/cargo $(guest) $(modules)

# With 1G, KHO finds no room for a scratch area that such a kernel fits into. It is so slow
# that it logs every other callback for that. What is freed, it keeps aside for a while.
debug_memory := 2G
debug_params := kho_scratch=32M,256M,256M panic_on_warn=1 log_buf_len=4M

kunit-debug: $(tree)-rust$v-debug/.built
	@tools/kunit.sh $(tree) $(tree)-rust$v-debug $(out)/kunit-debug '$(ARGS)' --timeout 600 \
		--kernel_args '$(debug_params)' --qemu_args '-m $(debug_memory)'

selftest-debug: $(tree)-rust$v-debug/.built $(out)/kselftest/.built vm $(debug_modules)
	@$(luo_vm) selftest --impl rust --kernel $(tree)-rust$v-debug \
		--kselftest $(out)/kselftest --guest $(guest) --out $(out)/selftest-debug \
		$(addprefix --module ,$(debug_modules)) --memory $(debug_memory) \
		--timeout 600 $(addprefix --param ,$(debug_params) LUO_SLACK=12)

test-debug: | deps
	@$(parts) 'kunit-debug selftest-debug' $(MAKE)

hostile: $(tree)-rust$v/.built $(tree)-c$v/.built vm
	@$(luo_vm) hostile $(machine) --c $(tree)-c$v --rust $(tree)-rust$v --guest $(guest) \
		--out $(out)/hostile $(ARGS)
	@$(if $(ARGS),,$(MAKE) hostile-deferred)

# Addresses of pages that were not preserved, where their struct pages say that they were.
unused := $(addsuffix -unused-page,$(addprefix --only=damaged-,entry sessions_pa flbs_pa files no-files \
	$(foreach chain,sessions files,$(addprefix $(chain)-next-,0 2)) \
	$(addprefix memfd-,data folios-first chunk-next chunk-0 pfn runs-frame)))
hostile-deferred: $(deferred:%=$(tree)-%/.built) vm
	@$(luo_vm) hostile --c $(tree)-c$v-deferred --rust $(tree)-rust$v-deferred \
		--guest $(guest) --out $(out)/hostile-deferred --memory $(or $(memory),2G) \
		$(params:%=--param %) --param LUO_FILL=1 $(unused)

demo: $(tree)-rust$v/.built vm
	@$(luo_vm) demo $(machine) --kernel $(tree)-rust$v --guest $(guest) --out $(out)/demo

demo-vm: x86-only $(tree)-rust$v/.built vm
	@$(luo_vm) demo-vm --kernel $(tree)-rust$v --guest $(guest) \
		--out $(out)/demo-vm --accel icount --memory 2G --timeout 300

small-pages:
	@$(if $(filter 4K,$(PAGES)),:,echo 'error: the benchmark is one of pages of 4 KiB' >&2; exit 1)

bench: small-pages $(bench:%=$(tree)-%/.built) vm
	@$(luo_vm) bench --c $(tree)-c$v-bench --rust $(tree)-rust$v-bench --stock $(tree)-stock$v-bench \
		--c-smp $(tree)-$(firstword $(filter c%,$(bench_smp)) c$v-bench) \
		--rust-smp $(tree)-$(firstword $(filter rust%,$(bench_smp)) rust$v-bench) \
		--guest $(guest) --out $(out)/bench $(addprefix -n ,$(N)) $(ARGS)

# The crates as programs for libFuzzer, with the checks that a debug build has.
fuzzers := $(O)/fuzz/cargo/$(host_target)/release
sancov := -Cpasses=sancov-module $(addprefix -Cllvm-args=-sanitizer-coverage-, \
	level=4 inline-8bit-counters pc-table trace-compares)

tests/fuzz/linux: $(tree)/.staged
	@ln -sfn $(tree) $@

fuzzer: tests/fuzz/linux
	@$(step) 'Building the fuzz targets' $(logs)/fuzzer.log \
		env CXX=clang++$(filter -%,$(LLVM)) RUSTFLAGS='$(sancov)' RUSTC=/usr/bin/rustc \
		/usr/bin/cargo build --release --locked --manifest-path tests/fuzz/Cargo.toml \
		--target $(host_target) --target-dir $(O)/fuzz/cargo

TIME ?= 60
fuzz: fuzzer
	@tools/fuzz.sh $(fuzzers)/handover tests/fuzz/corpus $(O)/fuzz -max_total_time=$(TIME)
	@tools/fuzz.sh $(fuzzers)/memfd tests/fuzz/corpus-memfd $(O)/fuzz/memfd -max_total_time=$(TIME)

fuzz-smoke: fuzzer
	@rm -rf $(O)/fuzz/smoke
	@tools/fuzz.sh $(fuzzers)/handover tests/fuzz/corpus $(O)/fuzz/smoke -runs=50000 -seed=1
	@tools/fuzz.sh $(fuzzers)/memfd tests/fuzz/corpus-memfd $(O)/fuzz/smoke/memfd -runs=20000 -seed=1

htmldocs: $(tree)/.staged
	@tools/htmldocs.sh $(tree) $(O) $(MAKE)

tools-test: | deps
	@$(step) 'Testing the tools' $(logs)/tools-test.log \
		env RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc /usr/bin/cargo test --locked \
		--manifest-path tools/Cargo.toml --target-dir $(O)/cargo \
		-p liveupdate --features liveupdate/schemars -p luoctl -p luo-vm
	@$(step) 'Packaging the crate, and building what is in the package' $(logs)/tools-package.log \
		env RUSTC=/usr/bin/rustc /usr/bin/cargo package --locked --offline --allow-dirty \
		--manifest-path tools/Cargo.toml --target-dir $(O)/cargo -p liveupdate --all-features

memblock: $(tree)/.staged
	@tools/memblock.sh $(tree) $(O)

compile-fail: $(kernel)/.built
	@tools/compile-fail.sh $(kernel) $(out)

lint: $(tree)-rust$v/.built tests/fuzz/linux
	@tools/lint.sh $(tree) $(tree)-rust$v $(out) $(O)

more := $(if $(filter arm64,$(ARCH)),other-pages) $(if $(no_guests),,demo-vm selftest-vm)
test: | deps
	@$(parts) 'lint tools-test compile-fail memblock kunit doctests fuzz-smoke $(both) interop-c $(more)' \
		$(MAKE)

# A glance at arm64; another kernel to build is too much for make test on x86-64.
few := liveupdate luo_kexec_simple luo_multi_session chain contents flb memfd memfd-runs module \
	retrieve rust-driver undo
arm64:
	@ONLY='$(few)' tools/test.sh $(O)/arm64 $(luo_vm) 'kunit selftest-rust' \
		$(MAKE) ARCH=arm64 PAGES=4K

install uninstall:
	@tools/install.sh $@ $(LINUX) '$(KDIR)'

clean:
	rm -rf $(O)
