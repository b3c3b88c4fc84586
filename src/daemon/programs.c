// SPDX-License-Identifier: Apache-2.0
#include "daemon/programs.h"

#include "config/config.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void find(const char *configured, const char *name, const char *built, char ret[PATH_MAX])
{
    char dir[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", dir, sizeof(dir) - 1);
    char *slash;

    if (configured[0] != '\0') {
        (void)snprintf(ret, PATH_MAX, "%s", configured);
        return;
    }
    dir[n < 0 ? 0 : n] = '\0';
    slash = strrchr(dir, '/');
    if (slash != NULL)
        *slash = '\0';
    (void)snprintf(ret, PATH_MAX, "%.4000s/%s", dir, name);
    if (access(ret, X_OK) < 0)
        (void)snprintf(ret, PATH_MAX, "%.4000s/.." CONFIG_PROGRAMS "/%s", dir, name);
    if (access(ret, X_OK) < 0)
        (void)snprintf(ret, PATH_MAX, "%.4000s/../%s/%s", dir, built, name);
}

void programs_find_launch(const struct config *config, char ret[PATH_MAX])
{
    find(config->launch_path, "csb-launch", "launch", ret);
}

void programs_find_agent(const struct config *config, char ret[PATH_MAX])
{
    find(config->agent_path, "csb-agent", "agent", ret);
}
