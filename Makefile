# SPDX-License-Identifier: Apache-2.0
#
# sluice, in order of production: vmlinux → bpf objects → skeletons → library → sluice → tests → bench.
# Everything made lies under $(BUILD). `make help` lists the targets, `make V=1` shows the commands.

BUILD	  ?= build
CC	  ?= gcc
CLANG	  ?= clang
BPFTOOL	  ?= $(firstword $(wildcard /usr/sbin/bpftool /usr/local/sbin/bpftool) bpftool)
CFLAGS	  ?= -O2 -g
SANITIZE  ?=
T	  ?=
FUZZ_SECONDS ?= 20
PACKETS	  ?= 1000000
FRAMES	  ?= 10000000
VERSION	  := 0.1.0
PACKAGES  := gcc make clang llvm libclang-rt-dev bpftool pkg-config libbpf-dev libxdp-dev libelf-dev zlib1g-dev libyaml-dev \
	     liburing-dev libisal-dev libssl-dev libjson-c-dev libcriterion-dev libpcap-dev iproute2 iputils-ping nftables \
	     ethtool fio nmap ncat tcpdump tshark jq procps curl iperf3 gnutls-bin nginx-light traceroute iputils-tracepath python3
PACKAGES_VM := qemu-system-x86 busybox-static cpio kmod nvme-cli xfsprogs xdp-tools xz-utils zstd

WARNINGS  := -Wall -Wextra -Werror -Wno-unused-parameter -Wvla -Wshadow
CPPFLAGS  += -D_GNU_SOURCE -DSLUICE_VERSION='"$(VERSION)"' -Iinclude -Iuser -I$(BUILD)
LDLIBS	  := -lxdp -lbpf -lelf -lz -lyaml -luring -lisal -lssl -lcrypto -ljson-c -lpcap -lpthread -lm
BPF_ARCH  := $(patsubst x86_64,x86,$(patsubst aarch64,arm64,$(shell uname -m)))
BPF_FLAGS := -target bpf -mcpu=v3 -O2 -g -Wall -Wextra -Werror -Wno-unused-parameter -Wno-unused-function \
	     -D__TARGET_ARCH_$(BPF_ARCH) -Ivmlinux -Iinclude -Ibpf
ifneq ($(SANITIZE),)
CFLAGS	  += -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -O1
LDFLAGS	  += -fsanitize=address,undefined
endif

Q = $(if $(V),,@)
say = $(if $(V),,@printf '  %-8s %s\n' $(1) $(2))

BPF_OBJS  := $(patsubst bpf/%.bpf.c,$(BUILD)/bpf/%.bpf.o,$(wildcard bpf/*.bpf.c))
SKELETONS := $(BPF_OBJS:.bpf.o=.skel.h)
LIB_SRCS  := $(foreach d,base policy dataplane nvme storage control,$(wildcard user/$(d)/*.c))
CLI_SRCS  := $(wildcard user/cli/*.c)
LIB_OBJS  := $(LIB_SRCS:%.c=$(BUILD)/%.o)
CLI_OBJS  := $(CLI_SRCS:%.c=$(BUILD)/%.o)
TEST_LIB  := $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/lib/*.c))
TEST_BPF_OBJS := $(patsubst tests/%.bpf.c,$(BUILD)/tests/%.bpf.o,$(wildcard tests/*/*.bpf.c))
TEST_SKELS := $(TEST_BPF_OBJS:.bpf.o=.skel.h)
UNIT	  := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/unit/*.c))
BPF_TESTS := $(patsubst %.c,$(BUILD)/%,$(filter-out %.bpf.c,$(wildcard tests/bpf/*.c)))
BENCHES	  := $(patsubst %.c,$(BUILD)/%,$(filter-out %.bpf.c,$(wildcard tests/bench/*.c)))
FUZZERS	  := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/fuzz/*.c))

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all tests deps test test-vm check check-root asan fuzz differential bench bench-storage demo clean help

all: $(BUILD)/sluice ## the binary, at build/sluice

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

deps: ## installs the Debian packages that are missing
	$(Q)scripts/deps.sh $(PACKAGES)

# ---- bpf objects and skeletons ------------------------------------------------------------------------------------

$(BUILD)/%.bpf.o: %.bpf.c
	$(call say,BPF,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CLANG) $(BPF_FLAGS) -MMD -MP -c $< -o $@
	$(Q)llvm-strip -g $@ 2>/dev/null || true

$(BUILD)/%.skel.h: $(BUILD)/%.bpf.o
	$(call say,SKEL,$@)
	$(Q)$(BPFTOOL) gen skeleton $< name $(notdir $*)_bpf > $@

# ---- library and binary --------------------------------------------------------------------------------------------

$(LIB_OBJS) $(CLI_OBJS) $(TEST_LIB) $(UNIT:=.o) $(BPF_TESTS:=.o) $(BENCHES:=.o): | $(SKELETONS) $(TEST_SKELS)

$(BUILD)/%.o: %.c
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -std=gnu11 $(WARNINGS) -MMD -MP -Itests/lib -c $< -o $@

$(BUILD)/libsluice.a: $(LIB_OBJS)
	$(call say,AR,$@)
	$(Q)rm -f $@ && ar rcs $@ $^

$(BUILD)/sluice: $(CLI_OBJS) $(BUILD)/libsluice.a
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $^ $(LDLIBS) -o $@

# ---- tests ---------------------------------------------------------------------------------------------------------

$(UNIT): LDLIBS += -lcriterion
$(UNIT) $(BPF_TESTS) $(BENCHES): $(BUILD)/%: $(BUILD)/%.o $(TEST_LIB) $(BUILD)/libsluice.a
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $^ $(LDLIBS) -o $@

# What harnesses drive, instrumented; each links what it needs of it.
FUZZ_FLAGS := -O1 -g -std=gnu11 -Wall -fsanitize=address,undefined -fno-sanitize-recover=undefined -Itests/lib
FUZZ_LIB   := $(patsubst %.c,$(BUILD)/fuzz/%.o,$(filter-out user/dataplane/% user/control/%,$(LIB_SRCS)) tests/lib/storage_client.c)

$(BUILD)/fuzz/%.o: %.c | $(SKELETONS)
	$(call say,FUZZ,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CLANG) $(CPPFLAGS) $(FUZZ_FLAGS) -fsanitize=fuzzer-no-link -MMD -MP -c $< -o $@

$(BUILD)/fuzz/libfuzzed.a: $(FUZZ_LIB)
	$(call say,AR,$@)
	$(Q)rm -f $@ && ar rcs $@ $^

$(FUZZERS): $(BUILD)/%: $(BUILD)/fuzz/%.o $(BUILD)/fuzz/libfuzzed.a
	$(call say,LD,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CLANG) $(FUZZ_FLAGS) -fsanitize=fuzzer $^ \
		-lyaml -ljson-c -luring -lisal -lssl -lcrypto -lpcap -lpthread -lm -o $@

tests: all $(UNIT) $(BPF_TESTS) ## all that `make test` runs, built

test: deps ## every test that this machine can run; T='pdu/*' runs matching unit tests only
	$(Q)$(MAKE) $(if $(V),,-s) --no-print-directory tests $(FUZZERS) $(BENCHES)
	$(Q)$(MAKE) $(if $(V),,-s) --no-print-directory BUILD=$(BUILD)/asan SANITIZE=1 tests
	$(Q)tests/run.sh --build $(BUILD) --filter '$(T)' --fuzz-seconds $(FUZZ_SECONDS) unit asan fuzz bpf asan_bpf e2e

test-vm: deps ## guests with stock Debian kernels: their NVMe/TCP initiator, and the programs on them
	$(Q)scripts/deps.sh $(PACKAGES_VM)
	$(Q)$(MAKE) $(if $(V),,-s) --no-print-directory tests $(BENCHES)
	$(Q)tests/run.sh --build $(BUILD) --filter '$(T)' vm

check: tests ## the tests that need no root
	$(Q)tests/run.sh --build $(BUILD) --filter '$(T)' unit

check-root: tests $(BENCHES) ## the tests that need root
	$(Q)tests/run.sh --build $(BUILD) bpf e2e

asan: ## unit tests under ASan and UBSan
	$(Q)$(MAKE) $(if $(V),,-s) --no-print-directory BUILD=$(BUILD)/asan SANITIZE=1 tests
	$(Q)tests/run.sh --build $(BUILD) --filter '$(T)' asan

fuzz: $(FUZZERS) ## long fuzzing: FUZZ_SECONDS=600 a harness
	$(Q)tests/run.sh --build $(BUILD) --fuzz-seconds $(if $(filter 20,$(FUZZ_SECONDS)),600,$(FUZZ_SECONDS)) fuzz

differential: tests ## random policies and packets against the reference and the flow model: PACKETS=1000000 each, FRAMES=10000000
	$(Q)SLUICE_DIFFERENTIAL=$(PACKETS) $(BUILD)/tests/unit/policy_differential_test
	$(Q)SLUICE_DIFFERENTIAL=$(PACKETS) $(BUILD)/tests/bpf/differential_test
	$(Q)SLUICE_DIFFERENTIAL=$(PACKETS) $(BUILD)/tests/bpf/flow_model_test
	$(Q)SLUICE_DIFFERENTIAL=$(PACKETS) $(BUILD)/tests/bpf/flow_live_test
	$(Q)FRAMES=$(PACKETS) $(BUILD)/tests/bpf/frame_live_test
	$(Q)FRAMES=$(FRAMES) JOBS=2 $(BUILD)/tests/bpf/frame_fuzz_test

bench: deps ## figures, as ratios within one run
	$(Q)$(MAKE) $(if $(V),,-s) --no-print-directory all $(BENCHES)
	$(Q)tests/bench/run.sh --build $(BUILD)
	$(Q)tests/bench/report.sh $(BUILD)

bench-storage: deps ## the target's part of them
	$(Q)$(MAKE) $(if $(V),,-s) --no-print-directory all $(BENCHES)
	$(Q)tests/bench/run.sh --build $(BUILD) --only storage,noise
	$(Q)tests/bench/report.sh $(BUILD)

demo: deps ## the main job: four hosts, policies, NVMe/TCP, an intruder
	$(Q)$(MAKE) $(if $(V),,-s) --no-print-directory all
	$(Q)scripts/demo.sh --build $(BUILD)

clean: ## removes build/
	$(Q)rm -rf $(BUILD)

-include $(LIB_OBJS:.o=.d) $(CLI_OBJS:.o=.d) $(BPF_OBJS:.o=.d) $(TEST_BPF_OBJS:.o=.d) $(TEST_LIB:.o=.d) \
	 $(UNIT:=.d) $(BPF_TESTS:=.d) $(BENCHES:=.d) $(FUZZ_LIB:.o=.d) $(FUZZERS:$(BUILD)/%=$(BUILD)/fuzz/%.d)
