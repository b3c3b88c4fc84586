// SPDX-License-Identifier: Apache-2.0
//
// From the initramfs to the root image.
#ifndef CSB_AGENT_INIT_ROOT_H
#define CSB_AGENT_INIT_ROOT_H

#include "base/err.h"

// Mounts the erofs image on `device` with a layer of memory over it, takes the shims in /csb along,
// makes it the root, and frees what the initramfs held. /dev, /proc and /sys move along.
int init_root(const char *device, struct err *err);

#endif
