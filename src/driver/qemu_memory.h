// SPDX-License-Identifier: Apache-2.0
//
// The guest pages that a stopped VM changed since it was restored from its template. QEMU maps the
// template's RAM privately, so the kernel made a copy of every page that was written to; the
// process's page map tells those copies from pages of the template, and only they are read.
#ifndef CSB_DRIVER_QEMU_MEMORY_H
#define CSB_DRIVER_QEMU_MEMORY_H

#include "base/err.h"

#include <stdint.h>

struct launch_client;

#define QEMU_PAGE_BYTES 4096u

struct qemu_memory_spec {
    struct launch_client *launch;
    uint64_t vm_id;
    int ram_fd; // the template's RAM, which the VM maps
    uint64_t memory_bytes;
    uint64_t deadline_ns;
};

// Called with pages in no certain order, each at most as often as the VM maps it; `offset` is that
// in the guest's RAM, below memory_bytes. 0, or -errno to stop.
typedef int (*qemu_page_fn)(void *arg, uint64_t offset, const uint8_t *page);

// Calls `take` with every page that differs from the template's. QEMU may have been taken over by
// its guest: what it can make of this is wrong contents of its own image. ERR_GONE, ERR_TIMEOUT,
// ERR_PROTOCOL (mappings that make no sense), ERR_SYSTEM, also of `take`.
int qemu_memory_each(const struct qemu_memory_spec *spec, qemu_page_fn take, void *arg,
                     struct err *err);

#endif
