// SPDX-License-Identifier: Apache-2.0
#include "webhook/sign.h"

#include <assert.h>
#include <nettle/hmac.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

// What the service's secret is used for; no tenant's name has a colon. Never changed: receivers
// have what is made of it.
#define PURPOSE "csb-webhook:"

static_assert(2 * SHA256_DIGEST_SIZE == WEBHOOK_SECRET_LEN &&
                  2 * SHA256_DIGEST_SIZE == WEBHOOK_SIGNATURE_LEN,
              "two digits a byte");

static void begin(struct hmac_sha256_ctx *hmac, const char *key)
{
    hmac_sha256_set_key(hmac, strlen(key), (const uint8_t *)key);
}

static void add(struct hmac_sha256_ctx *hmac, const char *text)
{
    hmac_sha256_update(hmac, strlen(text), (const uint8_t *)text);
}

static void end(struct hmac_sha256_ctx *hmac, char *ret)
{
    uint8_t digest[SHA256_DIGEST_SIZE];

    hmac_sha256_digest(hmac, sizeof(digest), digest);
    for (size_t i = 0; i < sizeof(digest); i++)
        (void)snprintf(ret + 2 * i, 3, "%02x", digest[i]);
}

void webhook_secret_of(const char *service_secret, const char *tenant,
                       char ret[WEBHOOK_SECRET_LEN + 1])
{
    struct hmac_sha256_ctx hmac;

    begin(&hmac, service_secret);
    add(&hmac, PURPOSE);
    add(&hmac, tenant);
    end(&hmac, ret);
}

void webhook_sign(const char *secret, const char *timestamp, const void *body, size_t len,
                  char ret[WEBHOOK_SIGNATURE_LEN + 1])
{
    struct hmac_sha256_ctx hmac;

    begin(&hmac, secret);
    add(&hmac, timestamp);
    add(&hmac, ".");
    hmac_sha256_update(&hmac, len, body);
    end(&hmac, ret);
}
