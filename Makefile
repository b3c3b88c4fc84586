# SPDX-License-Identifier: Apache-2.0
# The front door. Meson does the building (meson.build), image/*.sh the guest image.
#
#   make run      install what is missing, build all, serve on http://127.0.0.1:8000
#   make test     all that, and every test (SUITE=unit: one suite)
#   make test-full  and what emulated processors take an hour more for
#   make install  PREFIX=/usr/local DESTDIR=: the programs, not the image (codesandbox-image builds it)
#   make uninstall  takes that away again; with the PREFIX and DESTDIR it was given
#   make deb      the same as a Debian package, in build/
#   make bench    measures (BENCH="--isolation microvm --count 10": options of tests/bench/bench.py)

BUILD ?= build
IMAGE := $(BUILD)/image
MACHINE := $(BUILD)/machine
RELEASE := $(BUILD)/release
DAEMON := $(RELEASE)/src/daemon/codesandboxd
AGENT := $(RELEASE)/src/agent/csb-agent
WERROR := $(if $(CI),true,false)
# Suites whose tests may not be skipped.
MUST_RUN ?= unit,fuzz,jail,integration,process,vm,honest,machine,e2b
SUITE ?=

ENVIRONMENT = ROOTFS_PATH=$${ROOTFS_PATH:-$(IMAGE)/rootfs.erofs} \
	KERNEL_PATH=$${KERNEL_PATH:-$(IMAGE)/vmlinuz} \
	INITRD_PATH=$${INITRD_PATH:-$(IMAGE)/initrd.img} \
	RUNTIMES_DIR=$${RUNTIMES_DIR:-runtimes} \
	STATE_DIR=$${STATE_DIR:-$(BUILD)/state}

.PHONY: all deps image download-kernel build-rootfs build-agent build-api run run-dev test \
	test-full check bench install uninstall deb clean

all: build-api build-agent image

deps:
	@tools/deps.sh run

# The kernel, its modules and the root file system are made together and cached by one key.
download-kernel build-rootfs: deps
	@image/build.sh $(IMAGE)

$(RELEASE)/build.ninja:
	meson setup $(RELEASE) --buildtype=debugoptimized -Dwerror=$(WERROR)

build-api: deps $(RELEASE)/build.ninja
	@ninja -C $(RELEASE)

build-agent: build-api

image: build-rootfs build-agent
	@image/initrd.sh $(AGENT) $(IMAGE)

run: all
	@exec env $(ENVIRONMENT) $(DAEMON)

run-dev: all
	@exec env $(ENVIRONMENT) LOG_LEVEL=debug $(DAEMON)

# Static checks. Only clang-tidy looks at a build, where there is one.
check:
	@tools/check-layers
	@tools/check-source
	@shellcheck -x tools/*.sh tools/check-tidy image/*.sh tests/machine/*.sh tests/honest/*.sh \
		packaging/*.sh packaging/*.in packaging/deb/*.sh packaging/container/*.sh \
		packaging/deb/prerm packaging/deb/post*
	@tools/check-tidy $(RELEASE)

test:
	@tools/deps.sh test
	@+MAKE="$(MAKE)" BUILD=$(BUILD) MUST_RUN=$(MUST_RUN) tools/test.sh $(SUITE)

test-full:
	@CSB_TEST_FULL=1 $(MAKE) --no-print-directory test

bench: all
	@tools/deps.sh test
	@$(ENVIRONMENT) tests/bench/bench.py --daemon $(DAEMON) --image $(IMAGE) --out $(BUILD)/bench \
		$(BENCH)

PREFIX ?= /usr/local
DESTDIR ?=

install: build-api
	@packaging/install.sh $(RELEASE) "$(DESTDIR)" "$(PREFIX)"

uninstall: build-api
	@packaging/install.sh --remove $(RELEASE) "$(DESTDIR)" "$(PREFIX)"

deb: build-api
	@packaging/deb/build.sh $(RELEASE) $(BUILD)

clean:
	rm -rf $(BUILD)
