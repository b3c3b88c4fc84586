// SPDX-License-Identifier: Apache-2.0
//
// By whose fault a run ended without a result.
#include "api/api_internal.h"
#include "api/metrics.h"
#include "api/metrics_internal.h"
#include "base/buf.h"
#include "metrics/exposition.h"
#include "sandbox/runtime.h"
#include "tap.h"

#include <fcntl.h>
#include <unistd.h>

static struct api_metrics *metrics;
static const struct runtime *python;

static bool counted(const char *row)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    struct exposition x = {.buf = &text};

    api_metrics_put_errors(&x, metrics);
    return strstr(buf_cstr(&text), row) != NULL;
}

#define ROW(error, fault, count)                                                                   \
    "codesandbox_run_errors_total{language=\"python\",error=\"" error "\",fault=\"" fault          \
    "\"} " count "\n"

static void test_faults(void)
{
    struct err left = {.code = ERR_CANCELLED, .message = "the client went away"};
    struct err lost = {.code = ERR_GONE, .message = "lost"};
    struct err cut = left;

    api_run_failed(metrics, python, false, &left);
    CHECK(counted(ROW("cancelled", "client", "1")) && counted(ROW("cancelled", "service", "0")));
    CHECK_STR(left.message, "the client went away");
    api_run_failed(metrics, python, true, &cut);
    CHECK(counted(ROW("cancelled", "client", "1")) && counted(ROW("cancelled", "service", "1")));
    CHECK_STR(cut.message, "the service is shutting down");
    CHECK_INT(cut.code, ERR_CANCELLED);
    api_run_failed(metrics, python, true, &lost); // as it also could have been at another time
    CHECK(counted(ROW("gone", "sandbox", "1")) && counted(ROW("cancelled", "service", "1")));
    CHECK_STR(lost.message, "lost");
}

int main(int argc, char **argv)
{
    struct runtime_table *runtimes = NULL;
    struct err err = ERR_INIT;
    int fd = open(argc == 2 ? argv[1] : "", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    CHECK_INT(runtime_table_load(fd, &runtimes, &err), 0);
    CHECK_INT(api_metrics_new(runtimes, &metrics, &err), 0);
    python = runtime_find(runtimes, "python");
    test_faults();
    api_metrics_free(metrics);
    runtime_table_free(runtimes);
    (void)close(fd);
    return tap_done();
}
