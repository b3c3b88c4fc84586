// SPDX-License-Identifier: Apache-2.0
//
// The body of POST /jobs, callback URLs among it. What is accepted must keep what the queue relies
// on, and what is stored must be accepted again when it is run.
#include "api/execute_parse.h"
#include "api/jobs_parse.h"
#include "config/config.h"
#include "fuzz_runtimes.h"
#include "webhook/address.h"
#include "webhook/webhook.h"
#include "json/read.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static struct config config;
static struct address_rules rules;
static struct runtime_table *runtimes;

static void set_up(void)
{
    struct err err = ERR_INIT;

    config_init(&config);
    if (config_set(&config, "webhook_secret", "a secret of some length", &err) < 0 ||
        config_finish(&config, &err) < 0 || address_rules_parse("10.1.0.0/16", &rules, &err) < 0)
        abort();
    runtimes = fuzz_runtimes();
}

static void check(const struct jobs_request *r)
{
    const struct queue_job *job = &r->job;
    struct execute_request x;
    struct err err = ERR_INIT;

    if (job->priority > QUEUE_PRIORITY_MAX || job->max_attempts < 1 ||
        job->max_attempts > QUEUE_ATTEMPTS_MAX || job->body_len == 0 ||
        job->body_len > config.job_body_max_bytes || strcmp(job->label, "python") != 0)
        abort();
    if (job->idempotency_key != NULL && strlen(job->idempotency_key) >= QUEUE_KEY_MAX)
        abort();
    if (job->hook_url != NULL && (strlen(job->hook_url) >= QUEUE_URL_MAX ||
                                  webhook_check_url(job->hook_url, &rules, &err) < 0))
        abort();
    if (execute_parse(&config, runtimes, job->body, job->body_len, &x, &err) < 0 || x.stream)
        abort();
    execute_request_release(&x);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct jobs_parse parse = {.config = &config, .rules = &rules, .owner = "me"};
    struct jobs_request r;
    struct err err = ERR_INIT;
    struct json_t *tree = NULL;
    struct json_in in;

    if (runtimes == NULL)
        set_up();
    parse.runtimes = runtimes;
    if (json_read("body", data, len, &tree, &err) < 0)
        return 0;
    in = json_top(tree);
    if (jobs_parse_one(&parse, &in, &r, &err) < 0) {
        if ((err.code != ERR_INVALID && err.code != ERR_TOO_LARGE) || err.field[0] == '\0' ||
            err.message[0] == '\0' || r.body.data != NULL)
            abort();
    } else {
        check(&r);
        jobs_request_release(&r);
    }
    json_free(&tree);
    return 0;
}
