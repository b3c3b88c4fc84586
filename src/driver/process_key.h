// SPDX-License-Identifier: Apache-2.0
//
// What the sandboxes of the process driver are made of, as a hash.
#ifndef CSB_DRIVER_PROCESS_KEY_H
#define CSB_DRIVER_PROCESS_KEY_H

#include "driver/driver.h"

#define PROCESS_KEY_LEN 64 // hex digits

// From the key of the root tree, the agent's program, the runtimes' files and the seed.
int process_key(const struct driver_config *config, const struct driver_template_spec *spec,
                char ret[PROCESS_KEY_LEN + 1], struct err *err);

#endif
