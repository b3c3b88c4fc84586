// SPDX-License-Identifier: Apache-2.0
#include "sandbox/templates.h"

#include "base/fd.h"
#include "tap.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/csb-templates-XXXXXX";
static int dir_fd = -1;

// A template as image/template.sh leaves one.
static void make(const char *name, const char *id, const char *conf)
{
    char path[64];
    int fd;

    (void)snprintf(path, sizeof(path), "%s/template.conf", id);
    CHECK(mkdirat(dir_fd, id, 0755) == 0 && symlinkat(id, dir_fd, name) == 0);
    fd = openat(dir_fd, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    CHECK(fd_write_all(fd, conf, strlen(conf)) == 0);
    fd_close(&fd);
}

static void test_own(void)
{
    struct template t;

    CHECK(template_find(-1, "base", &t) && t.root == 0 && !t.contexts);
    CHECK(template_find(dir_fd, "code-interpreter-v1", &t) && t.root == 0 && t.contexts);
    CHECK(!template_find(-1, "", &t) && !template_find(dir_fd, "Base", &t));
}

static void test_made(void)
{
    struct template list[8], t;

    make("tools", "00000000000000ff",
         "id = 00000000000000ff\nbase = base\nbytes = 42\n"
         "built_s = 1000\nkey = abc\npart = deb hello 2.10-3\npart = npm @a/b 1.2.3\npart = x\n");
    make("cells", "0123456789abcdef", "id = 0123456789abcdef\nbase = code-interpreter-v1\n");
    make("none", "1111111111111111", "bytes = 1\n");
    make("wrong", "2222222222222222", "id = 2222222222222222\nbytes = x\n");
    CHECK(template_find(dir_fd, "tools", &t) && t.root == 0xff && t.bytes == 42 &&
          t.built_ms == 1000000 && !t.contexts);
    CHECK_STR(t.name, "tools");
    CHECK(template_find(dir_fd, "cells", &t) && t.root == 0x0123456789abcdef && t.contexts);
    CHECK(!template_find(dir_fd, "none", &t) && !template_find(dir_fd, "wrong", &t));
    CHECK(!template_find(dir_fd, "gone", &t) && !template_find(dir_fd, "../tools", &t));
    CHECK(!template_find(dir_fd, "./tools", &t) && !template_find(dir_fd, ".", &t));
    CHECK(template_list(dir_fd, list, 8) == 4);
    CHECK_STR(list[0].name, "base");
    CHECK_STR(list[2].name, "cells");
    CHECK_STR(list[3].name, "tools");
    CHECK(template_list(dir_fd, list, 1) == 1 && template_list(-1, list, 8) == 2);
}

static void note_part(void *arg, const struct template_part *part)
{
    char *text = arg;
    size_t len = strlen(text);

    (void)snprintf(text + len, 256 - len, "%s=%s=%s ", part->kind, part->name, part->version);
}

static void test_parts(void)
{
    char text[256] = "";

    template_each_part(dir_fd, "tools", note_part, text);
    CHECK_STR(text, "deb=hello=2.10-3 npm=@a/b=1.2.3 ");
    text[0] = '\0';
    template_each_part(dir_fd, "cells", note_part, text);
    template_each_part(dir_fd, "base", note_part, text);
    template_each_part(dir_fd, "../tools", note_part, text);
    template_each_part(-1, "tools", note_part, text);
    CHECK_STR(text, "");
}

static void remove_all(void)
{
    static const char *const names[] = {"tools", "cells", "none", "wrong"};
    char target[17], path[64];

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        ssize_t n = readlinkat(dir_fd, names[i], target, sizeof(target) - 1);

        target[n > 0 ? n : 0] = '\0';
        (void)snprintf(path, sizeof(path), "%s/template.conf", target);
        (void)unlinkat(dir_fd, path, 0);
        (void)unlinkat(dir_fd, target, AT_REMOVEDIR);
        (void)unlinkat(dir_fd, names[i], 0);
    }
    (void)rmdir(dir);
}

int main(void)
{
    CHECK(mkdtemp(dir) != NULL);
    dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    test_own();
    test_made();
    test_parts();
    remove_all();
    fd_close(&dir_fd);
    return tap_done();
}
