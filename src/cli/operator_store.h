// SPDX-License-Identifier: Apache-2.0
//
// The store of a service on this host, for the commands of its operator: whoever may write the
// state directory is that, which no key could show better; the service may run meanwhile.
#ifndef CSB_CLI_OPERATOR_STORE_H
#define CSB_CLI_OPERATOR_STORE_H

#include <jansson.h>

struct err;
struct store;
struct store_tenant_limit;

// Opens the store of STATE_DIR: of the environment, else of the configuration file, else
// build/state. It is made when the service has not run yet. store_close() closes it. Errors name
// the path; ERR_INVALID names a setting.
int operator_store_open(struct store **ret, struct err *err);

// A tenant's limit: SETTING=NUMBER on standard output, and as a member of an object (0, or -1).
void operator_limit_print(const struct store_tenant_limit *limit);
int operator_limit_put(json_t *object, const struct store_tenant_limit *limit);

#endif
