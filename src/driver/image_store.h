// SPDX-License-Identifier: Apache-2.0
//
// Frozen sandboxes on disk. An image is a directory named by its id:
//
//   stream.zst  what the VMM restores it from, as one zstd frame with checksum
//   manifest    key = value: version, id, template, build, machine, memory_mib, cpus, stream_bytes
//               (of the stream), stored_bytes (of stream.zst)
//
// A directory appears under its id complete and synced, by rename, or not at all.
#ifndef CSB_DRIVER_IMAGE_STORE_H
#define CSB_DRIVER_IMAGE_STORE_H

#include "base/err.h"
#include "driver/driver.h"
#include "driver/template_store.h"

#include <stdbool.h>
#include <stdint.h>

// What an image depends on. All keys are 64 hex digits.
struct image_facts {
    char template_key[TEMPLATE_KEY_LEN + 1];
    char build_key[TEMPLATE_KEY_LEN + 1];   // of the very template: two of one key are not the same
    char machine_key[TEMPLATE_KEY_LEN + 1]; // of what must not change under a running machine
    struct driver_shape shape;
    uint64_t stream_bytes;
    uint64_t stored_bytes; // set by storing and loading
};

bool image_id_is_valid(const char *id);

int image_store_open(int state_dir_fd, int *ret_fd, struct err *err);

// Writes an image under its id, in place of an older one, and sets facts->stored_bytes. The stream
// is read from offset 0 of `stream_fd`. ERR_SYSTEM.
int image_store_save(int store_fd, const char *id, int stream_fd, struct image_facts *facts,
                     struct err *err);

// What is told of an image without reading its stream. ERR_GONE when there is none, ERR_PROTOCOL
// when the manifest is damaged.
int image_store_facts(int store_fd, const char *id, struct image_facts *ret, struct err *err);

// Reads the stream of an image with these facts into `stream_fd`, an empty file. ERR_PROTOCOL when
// it is damaged, ERR_SYSTEM.
int image_store_load(int store_fd, const char *id, const struct image_facts *facts, int stream_fd,
                     struct err *err);

// ERR_SYSTEM when it is still there.
int image_store_remove(int store_fd, const char *id, struct err *err);

// Calls `each` with every id and the facts of those whose manifest can be read, else NULL.
void image_store_each(int store_fd,
                      void (*each)(void *arg, const char *id, const struct image_facts *facts),
                      void *arg);

#endif
