// SPDX-License-Identifier: Apache-2.0
//
// Runs a fuzz harness over the files of a corpus as an ordinary test: each file whole, then cut
// short at places spread over its length. Not linked when libFuzzer brings its own main.
//
//     fuzz_NAME DIRECTORY-OR-FILE...
#include "base/fd.h"

#include "tap.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <unistd.h>

#define INPUT_MAX (1u << 20)
#define CUTS      64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

// A copy of the exact size, so that a sanitizer sees every byte read beyond it.
static void run_copy(const char *data, size_t len)
{
    uint8_t *copy = malloc(len > 0 ? len : 1);

    if (copy == NULL)
        abort();
    memcpy(copy, data, len);
    (void)LLVMFuzzerTestOneInput(copy, len);
    free(copy);
}

static void run_file(int dirfd, const char *name)
{
    _cleanup_free_ char *data = NULL;
    size_t len = 0;
    int r = fd_read_file(dirfd, name, INPUT_MAX, &data, &len);

    if (r < 0) {
        tap_ok(false, "%s cannot be read: %s", name, strerror(-r));
        return;
    }
    run_copy(data, len);
    for (size_t i = 0; i < CUTS; i++)
        run_copy(data, len * i / CUTS);
    tap_ok(true, "%s", name);
}

static void run_directory(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;

    if (dir == NULL) {
        run_file(AT_FDCWD, path);
        return;
    }
    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] != '.')
            run_file(dirfd(dir), entry->d_name);
    }
    (void)closedir(dir);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        run_directory(argv[i]);
    CHECK_MSG(tap_count > 0, "the corpus is not empty");
    return tap_done();
}
