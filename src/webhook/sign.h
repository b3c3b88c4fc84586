// SPDX-License-Identifier: Apache-2.0
//
// Who signs what is posted: each tenant has a secret of its own, made of the service's. Whoever
// knows one can check what was posted for that tenant, and sign as if for it; he learns neither
// the service's secret nor another tenant's. Pure.
#ifndef CSB_WEBHOOK_SIGN_H
#define CSB_WEBHOOK_SIGN_H

#include <stddef.h>

// Hexadecimal digits of HMAC-SHA256.
#define WEBHOOK_SECRET_LEN    64
#define WEBHOOK_SIGNATURE_LEN 64

// The secret of the tenant ("" is one, too): as text, which is also what signs. The same for as
// long as the service's is.
void webhook_secret_of(const char *service_secret, const char *tenant,
                       char ret[WEBHOOK_SECRET_LEN + 1]);

// The signature of `timestamp` (decimal), '.' and the body.
void webhook_sign(const char *secret, const char *timestamp, const void *body, size_t len,
                  char ret[WEBHOOK_SIGNATURE_LEN + 1]);

#endif
