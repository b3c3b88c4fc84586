// SPDX-License-Identifier: Apache-2.0
#include "sandbox/run_program.h"

#include "sandbox/runtime.h"
#include "sandbox/wrap.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DISK_PAGE_BYTES 4096u

static bool matches(char *const *patterns, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (fnmatch(patterns[i], name, 0) == 0)
            return true;
    return false;
}

static bool needs_cold_start(const struct run_request *req)
{
    const struct runtime *rt = req->runtime;

    for (size_t i = 0; i < req->file_count; i++)
        if (matches(rt->cold_files, rt->cold_files_count, req->files[i].path))
            return true;
    for (size_t i = 0; req->env != NULL && req->env[i] != NULL; i++) {
        char name[256];

        (void)snprintf(name, sizeof(name), "%.*s", (int)strcspn(req->env[i], "="), req->env[i]);
        if (matches(rt->cold_env, rt->cold_env_count, name))
            return true;
    }
    return false;
}

static bool must_wrap(const struct run_request *req)
{
    const struct run_file *f = &req->files[0];

    return req->runtime->wrap_unless != NULL &&
           !wrap_has_words((const char *)f->data, f->len, req->runtime->wrap_unless);
}

static int wrap(struct program *p, struct err *err)
{
    const struct run_request *req = &p->req;
    const struct runtime *rt = req->runtime;
    const struct run_file *f = &req->files[0];

    if (buf_append(&p->wrapped, rt->wrap_prefix, strlen(rt->wrap_prefix)) < 0 ||
        buf_append(&p->wrapped, f->data, f->len) < 0 || buf_append(&p->wrapped, "\n", 1) < 0 ||
        buf_append(&p->wrapped, rt->wrap_suffix, strlen(rt->wrap_suffix)) < 0)
        return err_set(err, ERR_INTERNAL, "out of memory");
    p->files = calloc(req->file_count, sizeof(*p->files));
    if (p->files == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    memcpy(p->files, req->files, req->file_count * sizeof(*p->files));
    p->files[0].data = p->wrapped.data;
    p->files[0].len = p->wrapped.len;
    p->req.files = p->files;
    return 0;
}

int program_init(const struct run_request *req, struct program *ret, struct err *err)
{
    struct program p = {.req = *req, .cold = needs_cold_start(req)};

    if (must_wrap(req) && wrap(&p, err) < 0) {
        program_release(&p);
        return -1;
    }
    *ret = p;
    return 0;
}

void program_release(struct program *p)
{
    buf_release(&p->wrapped);
    free(p->files);
    p->files = NULL;
}

bool program_has_artifact(const struct program *p)
{
    const char *name = p->req.runtime->compile_artifact;
    size_t len = name == NULL ? 0 : strlen(name);

    for (size_t i = 0; i < p->req.file_count && name != NULL; i++) {
        const char *path = p->req.files[i].path;

        if (strncmp(path, name, len) == 0 && (path[len] == '\0' || path[len] == '/'))
            return false;
    }
    return name != NULL;
}

static uint64_t pages(size_t len)
{
    return ((uint64_t)len + DISK_PAGE_BYTES - 1) / DISK_PAGE_BYTES * DISK_PAGE_BYTES;
}

bool program_has_room(const struct program *p, size_t artifact_len)
{
    uint64_t need = pages(artifact_len);

    for (size_t i = 0; i < p->req.file_count; i++)
        need += pages(p->req.files[i].len);
    return need <= p->req.limits.disk_bytes;
}
