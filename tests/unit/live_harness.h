// SPDX-License-Identifier: Apache-2.0
//
// What the tests of sandboxes of their owners share: an engine over the fake driver, a store in a
// directory of its own, and tables over both, one after the other, as services that start again.
#ifndef CSB_TESTS_LIVE_HARNESS_H
#define CSB_TESTS_LIVE_HARNESS_H

#include "driver/driver.h"
#include "sandbox/live.h"
#include "store/store.h"

#include <stdatomic.h>

#define LIFE_MS 3600000

extern struct store *store; // from start_engine() to end_engine()
extern const struct live_pair metadata[2];

// Both abort when they cannot.
void start_engine(const struct driver_ops *ops);
struct live_table *start_table(uint32_t max, uint32_t per_key);
extern uint64_t cpu_seconds_per_hour; // what tenants of the next table may use; 0: no limit
extern struct tenant_table *tenants;  // of the last table

void end_engine(void);

// One of the template "base", with all tokens; NULL with *err filled.
struct live *create(struct live_table *t, const char *key, uint64_t timeout_ms, struct err *err);

// True when it comes to be within a minute.
bool comes(bool (*is)(struct live_table *t, void *arg), struct live_table *t, void *arg);

bool is_gone(struct live_table *t, void *id);
int count_rows(void);                           // of sandboxes; -1 when they cannot be read
bool is_empty(struct live_table *t, void *arg); // the store has none; both may be NULL

// One of the template "base" that lives ten minutes, with an access token; its id has room for 32
// bytes. Aborts when there is none. make_one() keeps no reference.
struct live *make(struct live_table *t, enum live_on_timeout on_timeout, char id[32]);
void make_one(struct live_table *t, enum live_on_timeout on_timeout, char id[32]);

// Ends the one of that id; false when there is none.
bool kill_one(struct live_table *t, const char *id);

// Of that id; for comes(), too.
bool runs(struct live_table *t, void *id);
bool is_told(struct live_table *t, const char *id, enum live_state state);
bool is_paused(struct live_table *t, void *id);

// The fake driver with images that outlive a table, and faults that are made to happen in its
// calls.
const struct driver_ops *disk_driver(void);
extern struct driver *driver;         // the one the engine opened
extern atomic_int load_fault;         // enum err_code of image_load, 0: none
extern atomic_int store_fault;        // of image_store, likewise
extern atomic_int freeze_fault;       // of snapshot
extern atomic_int go_on_fault;        // of resume
extern atomic_int usage_fault;        // of usage
extern atomic_uint_fast64_t cpu_told; // by usage, of each
extern atomic_bool hold;              // storing waits
extern atomic_int held;               // that wait so, and have
extern atomic_bool power_is_off;      // images are neither stored nor removed any more

// Called around what changes the disk, by the thread that does; NULL: not.
enum image_step { BEFORE_STORE, AFTER_STORE, BEFORE_REMOVE, AFTER_REMOVE };
extern void (*on_image)(enum image_step step);

int count_images(void);
bool is_imageless(struct live_table *t, void *arg); // there are none; both may be NULL
int count_in_state(const char *state);              // rows of the store

#endif
