// SPDX-License-Identifier: Apache-2.0
//
// RAM of a machine as a compressed stream of its pages that are not zero; the format is described
// in template_store.h. Reading trusts nothing: the file may be damaged.
#ifndef CSB_DRIVER_TEMPLATE_RAM_H
#define CSB_DRIVER_TEMPLATE_RAM_H

#include <stdint.h>

// Writes the RAM to `file_fd` from its current offset on. 0 or -errno.
int template_ram_save(int ram_fd, uint64_t memory_bytes, int file_fd);

// Reads it into a memfd that is all zero. 0, -errno, or -EBADMSG when the file is damaged.
int template_ram_load(int file_fd, int ram_fd, uint64_t memory_bytes);

#endif
