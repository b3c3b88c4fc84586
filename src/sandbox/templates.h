// SPDX-License-Identifier: Apache-2.0
//
// The templates that a sandbox can be made from, by their public names: the service's own, and
// those that `csb template build` put into TEMPLATES_DIR. There a template NAME is a symbolic link
// to a directory named by an id of 16 hex digits, never used twice, in which are
//
//   rootfs/       its root tree, for process isolation; may be missing
//   rootfs.erofs  the same as an image, for virtual machines; may be missing
//   template.conf what is said of it, as `key = value`: id, base, bytes, built_s, and a part for
//   each
//                 package that its recipe names: deb or npm, its name, the version that is in it
//
// and, for people, packages.txt and package-lock.json, with all that these brought along.
//
// The launcher holds a lock (flock, shared) on a directory as long as anything runs in it; what
// cleans up takes away only those that it can lock for itself.
//
// The directory is looked at anew with every call, so that a template is offered as soon as it is
// there.
#ifndef CSB_SANDBOX_TEMPLATES_H
#define CSB_SANDBOX_TEMPLATES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TEMPLATE_NAME_MAX  40 // of [a-z0-9._-], beginning with a letter or digit
#define TEMPLATES_LIST_MAX 128

struct template
{
    char name[TEMPLATE_NAME_MAX + 1];
    uint64_t root;     // id of its root file system; 0: that of the image
    bool contexts;     // with the server of runtimes/contexts running in it
    uint64_t bytes;    // on disk; 0: not known
    uint64_t built_ms; // since 1970; 0: not known
};

// Whether there is one of that name. `dir` is TEMPLATES_DIR, or -1 where there is none. Any thread.
bool template_find(int dir, const char *name, struct template *ret);

// All of them, up to `max`: the service's own first, then by name. Returns how many.
size_t template_list(int dir, struct template *ret, size_t max);

// A package that its recipe names, as it was when the template was built.
struct template_part {
    char kind[8]; // "deb", "npm"
    char name[129];
    char version[97];
};

// Each part of the template of that name, in the recipe's order; of the service's own there is
// none.
typedef void (*template_part_fn)(void *arg, const struct template_part *part);
void template_each_part(int dir, const char *name, template_part_fn fn, void *arg);

#endif
