// SPDX-License-Identifier: Apache-2.0
//
// What the tests of sandboxes of their owners share: an engine over the fake driver, a store in a
// directory of its own, and tables over both, one after the other, as services that start again.
#ifndef CSB_TESTS_LIVE_HARNESS_H
#define CSB_TESTS_LIVE_HARNESS_H

#include "driver/driver.h"
#include "sandbox/live.h"
#include "store/store.h"

#define LIFE_MS 3600000

extern struct store *store; // from start_engine() to end_engine()
extern const struct live_pair metadata[2];

// Both abort when they cannot.
void start_engine(const struct driver_ops *driver);
struct live_table *start_table(uint32_t max, uint32_t per_key);

void end_engine(void);

// One of the template "base", with all tokens; NULL with *err filled.
struct live *create(struct live_table *t, const char *key, uint64_t timeout_ms, struct err *err);

// True when it comes to be within a minute.
bool comes(bool (*is)(struct live_table *t, void *arg), struct live_table *t, void *arg);

bool is_gone(struct live_table *t, void *id);
int count_rows(void);                           // of sandboxes; -1 when they cannot be read
bool is_empty(struct live_table *t, void *arg); // the store has none; both may be NULL

#endif
