# SPDX-License-Identifier: GPL-2.0
#
# The commands that people type: build, test, try and install the Live Update
# Orchestrator in Rust. The kernel's build reads Kbuild instead of this file.

LINUX ?= 7.3
impl-given := $(filter-out undefined,$(origin IMPL))
IMPL ?= rust
O ?= build
KDIR ?=

ifeq ($(filter rust c,$(IMPL)),)
$(error IMPL is rust or c, not '$(IMPL)')
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

source := $(or $(abspath $(KDIR)),$(cache)/linux-$(LINUX))
tree := $(O)/linux-$(LINUX)
kernel = $(tree)-$(IMPL)
guest := $(O)/cargo/x86_64-unknown-linux-gnu/release
logs := $(O)/logs
step := tools/step.sh
from = $(tree)
kmake = $(MAKE) -j$(shell nproc) -C $(from) LLVM=$(LLVM) $(rust)
cargo := env RUSTC=/usr/bin/rustc /usr/bin/cargo build --release --locked \
	--manifest-path tools/Cargo.toml --target-dir $(O)/cargo

# What the kernel builds of this directory.
sources := $(shell find Kconfig Kbuild *.rs luo*_glue.* abi rust samples tests/kunit tests/driver -type f 2>/dev/null)

# The kernel's make and ours have variables of the same name.
MAKEOVERRIDES :=
MAKEFLAGS += --no-print-directory
export O LINUX KDIR LLVM BINDGEN

.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo demo-vm test kernel headers kunit selftest bench coverage lint install uninstall clean
.PHONY: selftest-vm interop interop-c chain races hostile hostile-deferred fuzz fuzz-smoke memblock doctests
.PHONY: compile-fail htmldocs luoctl tools-test
.PHONY: test-debug kunit-debug selftest-debug
.PHONY: deps vm fuzzer tests/fuzz/linux FORCE

help:
	@echo 'make demo                 boot this LUO in QEMU and live-update it, from nothing'
	@echo 'make demo-vm              live-update the host of a running virtual machine, from nothing'
	@echo 'make test                 lint, KUnit, fuzzing, selftests, hand-overs to and from C, from nothing'
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
	@echo 'O=build         where everything is built'

deps:
	@tools/deps.sh $(logs) $(BINDGEN)

$(cache)/linux-$(LINUX): | deps
	@$(step) 'Fetching Linux $(LINUX)' $(logs)/fetch.log tools/fetch-linux.sh $(LINUX) $@

$(tree)/.staged: FORCE | deps $(if $(KDIR),,$(source))
	@tools/stage.sh $(source) $(LINUX) $(tree)

smp := rust-bench-smp c-bench-smp
bench := rust-bench c-bench $(smp) stock-bench
deferred := rust-deferred c-deferred
builds := $(addprefix $(tree)-,rust c rust-debug rust-vm $(bench) $(deferred))
$(builds:%=%/.config): $(tree)-%/.config: $(tree)/.staged $(filter %Kconfig,$(sources)) \
		tests/kernel.config tools/configure.sh
	@$(step) 'Configuring Linux $(LINUX) with the LUO in $*' $(logs)/config-$*.log \
		tools/configure.sh $(from) $(@D) $* $(kmake) O=$(@D)

$(tree)-rust-debug/.config: tests/debug.config
$(tree)-rust-vm/.config: tests/vm.config
$(bench:%=$(tree)-%/.config): tests/bench.config
$(smp:%=$(tree)-%/.config): tests/smp.config
$(deferred:%=$(tree)-%/.config): tests/deferred.config

# What live update costs in the tree as it is, with nothing of ours in it.
$(tree)-stock-bench/.config: | $(tree)-c-bench/.config
$(tree)-stock-bench/%: private from := $(source)

$(builds:%=%/.built): $(tree)-%/.built: $(tree)-%/.config $(sources)
	@$(step) 'Building Linux $(LINUX) with the LUO in $*' $(logs)/kernel-$*.log \
		$(kmake) O=$(@D) bzImage modules
	@touch $@

kernel: $(kernel)/.built

# The same drivers that are built in, for the tests that load them; the C LUO exports nothing.
modules := $(O)/driver-rust/luo_test.ko $(O)/samples-rust/rust_liveupdate.ko
debug_modules := $(O)/driver-rust-debug/luo_test.ko $(O)/samples-rust-debug/rust_liveupdate.ko
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

$(O)/headers/.installed: $(tree)/.staged | $(kernel)/.config
	@$(step) 'Installing the uapi headers' $(logs)/headers.log \
		$(kmake) O=$(kernel) headers_install INSTALL_HDR_PATH=$(O)/headers
	@touch $@

headers: $(O)/headers/.installed

selftests := $(tree)/tools/testing/selftests/liveupdate
$(O)/kselftest/.built: $(O)/headers/.installed
	@mkdir -p $(@D)
	@$(step) "Building the kernel tree's selftests" $(logs)/kselftest.log \
		$(MAKE) -C $(@D) -I $(selftests) -f $(selftests)/Makefile VPATH=$(selftests) \
		OUTPUT=$(@D) KHDR_INCLUDES='-isystem $(O)/headers/include' LDFLAGS=-static
	@touch $@

static_cargo := env RUSTFLAGS='-C target-feature=+crt-static' $(cargo) \
	--target x86_64-unknown-linux-gnu

vm: | deps
	@$(step) 'Building the VM harness' $(logs)/vm.log $(cargo) -p luo-vm
	@$(step) 'Building the guest programs' $(logs)/guest.log $(static_cargo) \
		--workspace --bins --examples $(addprefix --exclude ,luo-vm luo-coverage luo-demo-vm)

luoctl: | deps
	@$(step) 'Building luoctl' $(logs)/luoctl.log $(static_cargo) -p luoctl
	@echo 'It is $(guest)/luoctl'

# On both LUOs, and what their callbacks did compared, unless one is asked for.
both := selftest-rust selftest-c same-on-both
ifneq ($(impl-given),)
selftest: $(kernel)/.built $(O)/kselftest/.built vm $(if $(filter rust,$(IMPL)),$(modules))
	@$(O)/cargo/release/luo-vm selftest --impl $(IMPL) --kernel $(kernel) \
		--kselftest $(O)/kselftest --guest $(guest) --out $(O)/selftest-$(IMPL) \
		$(if $(filter rust,$(IMPL)),$(addprefix --module ,$(modules)))
else
selftest: | deps
	@tools/test.sh $(O) '$(both)' $(MAKE)
endif

# From one LUO to the other. The older kernel and the long chain are not in make test.
interop-c: $(tree)-rust/.built $(tree)-c/.built $(O)/kselftest/.built vm
	@tools/interop.sh $(O) $(guest) $(LINUX)-c:$(LINUX)-rust $(LINUX)-rust:$(LINUX)-c

interop: $(tree)-rust/.built $(tree)-c/.built $(O)/kselftest/.built vm
	@$(MAKE) kernel IMPL=c LINUX=7.2 KDIR=
	@tools/interop.sh $(O) $(guest) $(LINUX)-rust:$(LINUX)-rust \
		$(foreach c,7.2-c $(LINUX)-c,$(c):$(LINUX)-rust $(LINUX)-rust:$(c)) \
		$(foreach c,7.2-c $(LINUX)-c,$(LINUX)-rust:$(c):memfd-unknown) \
		$(LINUX)-c:$(LINUX)-rust:chain-memfd $(LINUX)-c:$(LINUX)-rust:chain-100

chain: private ROUNDS := 100
chain: $(tree)-rust/.built $(tree)-c/.built $(O)/kselftest/.built vm
	@$(O)/cargo/release/luo-vm selftest --impl c --kernel $(tree)-c \
		--next-impl rust --next $(tree)-rust --kselftest $(O)/kselftest --guest $(guest) \
		--out $(O)/chain --only chain-memfd --stages $$(($(ROUNDS) + 1)) --timeout 7200
	@sed -n 's/^.*# kernel/kernel/p' $(O)/chain/chain-memfd.log | sed -e 3q
	@sed -n 's/^.*# kernel/kernel/p' $(O)/chain/chain-memfd.log | tail -n 3

# What needs a kernel with KVM, in a machine that emulates a processor for it.
selftest-vm: $(tree)-rust-vm/.built vm
	@$(O)/cargo/release/luo-vm selftest --kvm --impl rust --kernel $(tree)-rust-vm \
		--guest $(guest) --out $(O)/selftest-vm --accel icount

ROUNDS ?= 200
races: $(tree)-rust/.built $(tree)-c/.built $(O)/kselftest/.built vm
	@$(foreach luo,rust c,$(O)/cargo/release/luo-vm selftest --impl $(luo) \
		--kernel $(tree)-$(luo) --kselftest $(O)/kselftest --guest $(guest) \
		--out $(O)/races-$(luo) --only races --param LUO_ROUNDS=$(ROUNDS) --timeout 3600 &&) :

kunit: $(tree)-rust/.built
	@tools/kunit.sh $(tree) $(tree)-rust $(O)/kunit '$(ARGS)'

doctests: $(tree)-rust/.built
	@tools/doctests.sh $(tree) $(tree)-rust $(O)

# The same kernel but for our crate, which has debug information, and code for
# every line, as nothing is optimised away or merged.
traced := $(tree)-rust-coverage
$(traced)/.built: $(tree)-rust/.built
	@[ -e $(@D) ] || { rm -rf $(@D).new && cp -a $(<D) $(@D).new && \
		rm $(@D).new/.built && mv $(@D).new $(@D); }
	@cp -p $(<D)/.config $(@D)
	@$(step) 'Building Linux $(LINUX) for coverage' $(logs)/kernel-coverage.log \
		$(kmake) O=$(@D) LUO_RUSTFLAGS='-Copt-level=0 -Cdebuginfo=2' bzImage
	@touch $@

coverage: $(traced)/.built $(O)/kselftest/.built vm $(modules)
	@$(step) 'Building the coverage tool' $(logs)/coverage.log $(cargo) -p luo-coverage
	@tools/coverage.sh $(tree) $(traced) $(O) $(modules)

# With 1G, KHO finds no room for a scratch area that such a kernel fits into. It is so slow
# that it logs every other callback for that. What is freed, it keeps aside for a while.
debug_memory := 2G
debug_params := kho_scratch=32M,256M,256M panic_on_warn=1 log_buf_len=4M

kunit-debug: $(tree)-rust-debug/.built
	@tools/kunit.sh $(tree) $(tree)-rust-debug $(O)/kunit-debug '$(ARGS)' --timeout 600 \
		--kernel_args '$(debug_params)' --qemu_args '-m $(debug_memory)'

selftest-debug: $(tree)-rust-debug/.built $(O)/kselftest/.built vm $(debug_modules)
	@$(O)/cargo/release/luo-vm selftest --impl rust --kernel $(tree)-rust-debug \
		--kselftest $(O)/kselftest --guest $(guest) --out $(O)/selftest-debug \
		$(addprefix --module ,$(debug_modules)) --memory $(debug_memory) \
		--timeout 600 $(addprefix --param ,$(debug_params) LUO_SLACK=12)

test-debug: | deps
	@tools/test.sh $(O) 'kunit-debug selftest-debug' $(MAKE)

hostile: $(tree)-rust/.built $(tree)-c/.built vm
	@$(O)/cargo/release/luo-vm hostile --c $(tree)-c --rust $(tree)-rust --guest $(guest) \
		--out $(O)/hostile $(ARGS)
	@$(if $(ARGS),,$(MAKE) hostile-deferred)

# Addresses of pages that were not preserved, where their struct pages say that they were.
unused := $(addsuffix -unused-page,$(addprefix --only=damaged-,entry sessions_pa flbs_pa files no-files \
	$(foreach chain,sessions files,$(addprefix $(chain)-next-,0 2)) \
	$(addprefix memfd-,data folios-first chunk-next chunk-0 pfn runs-frame)))
hostile-deferred: $(deferred:%=$(tree)-%/.built) vm
	@$(O)/cargo/release/luo-vm hostile --c $(tree)-c-deferred --rust $(tree)-rust-deferred \
		--guest $(guest) --out $(O)/hostile-deferred --memory 2G --param LUO_FILL=1 $(unused)

demo: $(tree)-rust/.built vm
	@$(O)/cargo/release/luo-vm demo --kernel $(tree)-rust --guest $(guest) --out $(O)/demo

demo-vm: $(tree)-rust-vm/.built vm
	@$(step) 'Building the guest that survives' $(logs)/demo-vm.log $(static_cargo) -p luo-demo-vm
	@$(O)/cargo/release/luo-vm demo-vm --kernel $(tree)-rust-vm --guest $(guest) \
		--out $(O)/demo-vm --accel icount --memory 2G --timeout 300

bench: $(bench:%=$(tree)-%/.built) vm
	@$(O)/cargo/release/luo-vm bench --c $(tree)-c-bench --rust $(tree)-rust-bench \
		--stock $(tree)-stock-bench --c-smp $(tree)-c-bench-smp \
		--rust-smp $(tree)-rust-bench-smp \
		--guest $(guest) --out $(O)/bench $(addprefix -n ,$(N)) $(ARGS)

# The crates as programs for libFuzzer, with the checks that a debug build has.
fuzzers := $(O)/fuzz/cargo/x86_64-unknown-linux-gnu/release
sancov := -Cpasses=sancov-module $(addprefix -Cllvm-args=-sanitizer-coverage-, \
	level=4 inline-8bit-counters pc-table trace-compares)

tests/fuzz/linux: $(tree)/.staged
	@ln -sfn $(tree) $@

fuzzer: tests/fuzz/linux
	@$(step) 'Building the fuzz targets' $(logs)/fuzzer.log \
		env CXX=clang++$(filter -%,$(LLVM)) RUSTFLAGS='$(sancov)' RUSTC=/usr/bin/rustc \
		/usr/bin/cargo build --release --locked --manifest-path tests/fuzz/Cargo.toml \
		--target x86_64-unknown-linux-gnu --target-dir $(O)/fuzz/cargo

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
	@tools/compile-fail.sh $(kernel) $(O)

lint: $(tree)-rust/.built tests/fuzz/linux
	@tools/lint.sh $(tree) $(tree)-rust $(O)

test: | deps
	@tools/test.sh $(O) 'lint tools-test compile-fail memblock kunit doctests fuzz-smoke $(both) interop-c demo-vm selftest-vm' $(MAKE)

install uninstall:
	@tools/install.sh $@ $(LINUX) '$(KDIR)'

clean:
	rm -rf $(O)
