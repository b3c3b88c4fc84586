// SPDX-License-Identifier: Apache-2.0
#include "cli/recipe.h"

#include "tap.h"

static struct recipe r;
static struct err err;

static int parse(const char *text)
{
    err = (struct err)ERR_INIT;
    return recipe_parse("r", text, &r, &err);
}

// That the text is refused with this message.
static void refuses(const char *text, const char *message)
{
    if (!CHECK_MSG(parse(text) < 0 && err.code == ERR_INVALID &&
                       strncmp(err.message, message, strlen(message)) == 0,
                   "refused: %s", message))
        printf("# %s\n", err.message);
}

static void test_good(void)
{
    CHECK(parse("# a comment\nname = my-tools.v1\nbase = code-interpreter-v1\n"
                "packages = cowsay  libstdc++6\npackages = g++\n"
                "npm = left-pad@1.3.0 @scope/a-b @types/node@20.1.2-beta.1\n"
                "file = motd.txt /etc/motd\nfile = bin/run /usr/local/bin/run 755\n") == 0);
    CHECK_STR(r.name, "my-tools.v1");
    CHECK_STR(r.base, "code-interpreter-v1");
    CHECK_INT(r.package_count, 3);
    CHECK_STR(r.packages[1], "libstdc++6");
    CHECK_INT(r.npm_count, 3);
    CHECK_STR(r.npm[0], "left-pad@1.3.0");
    CHECK_STR(r.npm[2], "@types/node@20.1.2-beta.1");
    CHECK_INT(r.file_count, 2);
    CHECK_STR(r.files[0].source, "motd.txt");
    CHECK_STR(r.files[0].path, "/etc/motd");
    CHECK(r.files[0].mode == 0644 && r.files[1].mode == 0755);
    CHECK(parse("name = a\npackages = cowsay") == 0);
    CHECK_STR(r.base, "base");
    CHECK(parse("name = a\npackages = vim=2:9.0.1378-2+deb12u2~bpo1 cowsay") == 0);
    CHECK_STR(r.packages[0], "vim=2:9.0.1378-2+deb12u2~bpo1");
}

static void test_names(void)
{
    refuses("packages = cowsay", "r: name: is missing");
    refuses("name = a", "r: packages: there is nothing to add");
    refuses("name =", "r:1: name: '' is no name");
    refuses("name = ../a", "r:1: name: '../a' is no name");
    refuses("name = .hidden", "r:1: name: '.hidden' is no name");
    refuses("name = A", "r:1: name: 'A' is no name");
    refuses("name = aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "r:1: name: ");
    refuses("name = 0123456789abcdef", "r:1: name: ");
    refuses("name = base", "r:1: name: 'base' is a template of the service's own");
    refuses("name = a\nname = b", "r:2: name: 'b' is a second one");
    refuses("name = a\nbase = debian", "r:2: base: 'debian' is neither");
    refuses("name = a\nbase = base\nbase = base", "r:3: base: 'base' is a second one");
    refuses("\nstart = x", "r:2: start: 'x' is of no field");
}

// Each as the last word of such a line.
static void refuses_each(const char *before, const char *const *bad, size_t count,
                         const char *message)
{
    char text[128];

    for (size_t i = 0; i < count; i++) {
        (void)snprintf(text, sizeof(text), "%s%s", before, bad[i]);
        refuses(text, message);
    }
}

static void test_packages(void)
{
    static const char *const bad[] = {"a",     "-y",      "Cowsay",  "a_b",      "cow;say",
                                      "cow=",  "a/b",     "+x",      "=1",       "a=1",
                                      "cow=a", "cow=1_2", "cow=1=2", "cow=1;id", "cow=-1"};

    char text[RECIPE_PACKAGE_MAX + 32];

    refuses_each("packages = ok ", bad, sizeof(bad) / sizeof(bad[0]), "r:1: packages: ");
    refuses("packages = ", "r:1: packages: '' is empty");
    (void)snprintf(text, sizeof(text), "packages = %0*d", RECIPE_PACKAGE_MAX + 1, 0);
    refuses(text, "r:1: packages: ");
}

static void test_npm(void)
{
    static const char *const bad[] = {
        "-g",      "A",         ".a",       "@a",          "@/a",       "@a/",
        "@a/b/c",  "a/b",       "a@",       "a@1",         "a@latest",  "a@^1.0.0",
        "a@1.2.x", "a@1.2.3.4", "a@file:x", "git+ssh://x", "a@1.2.3;b", "@",
    };

    refuses_each("npm = ", bad, sizeof(bad) / sizeof(bad[0]), "r:1: npm: ");
}

static void test_files(void)
{
    static const char *const bad[] = {
        "a",         "a b",         "/etc/passwd /a", "../a /b", "a/../b /c", "a /b/../c",
        "a /b/..",   "a /b/",       "a /proc/x",      "a /tmp",  "a /work/x", "a /b 9",
        "a /b 1777", "a /b 0644 c", "a /b$x",         "-a /b",   "a /b:c",    "",
    };
    char text[1024];

    refuses_each("file = ", bad, sizeof(bad) / sizeof(bad[0]), "r:1: file: ");
    (void)snprintf(text, sizeof(text), "file = a /%0300d", 1);
    refuses(text, "r:1: file: ");
    CHECK(parse("name = a\nfile = a /b..c/..d\nfile = a /tmpfile 600") == 0);
}

// One more than is allowed, of each kind.
static void test_counts(void)
{
    static const char *const kinds[] = {"packages = pp\n", "npm = nn\n", "file = a /b\n"};
    char text[65 * 20];

    for (size_t k = 0; k < 3; k++) {
        text[0] = '\0';
        for (size_t i = 0, at = 0; i < RECIPE_PARTS_MAX + 1; i++)
            at += (size_t)snprintf(text + at, sizeof(text) - at, "%s", kinds[k]);
        refuses(text, "r:65: ");
    }
}

int main(void)
{
    test_good();
    test_names();
    test_packages();
    test_npm();
    test_files();
    test_counts();
    return tap_done();
}
