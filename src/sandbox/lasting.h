// SPDX-License-Identifier: Apache-2.0
//
// Machines that are no clones of the pool: made one by one for an owner.
#ifndef CSB_SANDBOX_LASTING_H
#define CSB_SANDBOX_LASTING_H

#include "base/err.h"

struct driver_image;
struct engine;
struct sandbox;
struct template;

// A machine of that template, of its own where clones share an agent; what the template offers does
// not run in it yet. Blocks some 100 ms. ERR_UNSUPPORTED when the driver has none, ERR_BUSY while
// there is no template, else as driver_ops.clone.
int lasting_start(struct engine *e, const struct template *is, struct sandbox **ret,
                  struct err *err);

// A machine of that template with all it offers: one that is ready, else one made now. Blocks some
// 100 ms. Errors as lasting_start() and contexts_start().
int lasting_take(struct engine *e, const struct template *is, struct sandbox **ret,
                 struct err *err);

// A machine as the image tells, synced: what ran in it runs on. Needs DRIVER_CAP_SNAPSHOT. Blocks
// some 100 ms. Errors as driver_ops.restore.
int lasting_restore(struct engine *e, struct driver_image *image, struct sandbox **ret,
                    struct err *err);

#endif
