// SPDX-License-Identifier: Apache-2.0
//
// Frozen machines on disk. A template is a directory named by its key:
//
//   ram.zst   the machine's RAM as one zstd frame with checksum, of records: u64le offset, u64le
//             length, then that many bytes; page-aligned, ascending; length 0 ends. What no record
//             covers is zero.
//   state     the VMM's device state, as the VMM wrote it
//   manifest  key = value: version, key, memory_bytes, ram_bytes (size of ram.zst), state_bytes,
//             state_sha256, root
//
// A directory appears under its name complete and synced, by rename, or not at all.
#ifndef CSB_DRIVER_TEMPLATE_STORE_H
#define CSB_DRIVER_TEMPLATE_STORE_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TEMPLATE_KEY_LEN   64
#define TEMPLATE_STATE_MAX (16u << 20) // bytes of device state

// A frozen machine in memory.
struct template_image {
    int ram_fd; // a memfd; sealed against any change once frozen
    uint64_t memory_bytes;
    uint64_t root; // id of its root file system; 0: the image's
    uint8_t *state;
    size_t state_len;
};
#define TEMPLATE_IMAGE_INIT {.ram_fd = -1}

void template_image_release(struct template_image *image);

// A new memfd for a machine's RAM. 0 or -errno.
int template_ram_new(uint64_t memory_bytes, int *ret_fd);
// Forbids every later change of it. 0 or -errno; -EBUSY while something maps it writable.
int template_ram_seal(int ram_fd);

// Opens the store below `state_dir_fd`, making it if it is missing, and removes what an interrupted
// save left there.
int template_store_open(int state_dir_fd, int *ret_fd, struct err *err);

// Writes a template under its key, in place of an older one.
int template_store_save(int store_fd, const char *key, const struct template_image *image,
                        struct err *err);

// Reads and checks a template. The RAM of *ret is sealed. ERR_GONE: there is none; any other error:
// it is damaged or cannot be read.
int template_store_load(int store_fd, const char *key, uint64_t memory_bytes,
                        struct template_image *ret, struct err *err);

void template_store_remove(int store_fd, const char *key);

// Whether a template is wanted although it is neither of those two.
typedef bool (*template_wanted_fn)(void *arg, const char *key);

// Removes all but `key`, the three used last before it, and those `wanted` (or NULL). Best effort.
void template_store_prune(int store_fd, const char *key, template_wanted_fn wanted, void *arg);

// SHA-256 as 64 hex digits and NUL.
void template_hash(const uint8_t *data, size_t len, char ret[TEMPLATE_KEY_LEN + 1]);

#endif
