// SPDX-License-Identifier: Apache-2.0
#include "daemon/confinement.h"

#include "base/clock.h"
#include "base/log.h"
#include "config/config.h"
#include "launch/launch.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FRESH_MS   1000
#define PATIENT_MS 500
#define UIDS       65536

struct confinement {
    struct launch_client *launch; // constant
    bool process;                 // constant
    uint32_t uid_first;           // constant, of programs
    uint32_t uid_count;           // constant

    pthread_mutex_t lock; // guards what follows
    uint64_t fresh_until_ns;
    bool asking; // one thread at a time asks; the others take what there is
    struct api_confinement last;
};

// What follows for programs, in words: whoever reads it need not know what a missing wall would
// hold.
static void describe(const struct confinement *c, const struct launch_info *info,
                     struct api_confinement *ret)
{
    static const char no_group[] =
        "no control group: memory is bounded process by process and as address space, that of a "
        "whole program or sandbox is not, and processor time counts only what a program waited for";
    static const char vmm_no_group[] =
        "no control group: a virtual machine monitor's own memory and processor time have no limit "
        "but the size of its guest";
    static const char vmm_no_uid[] = "virtual machine monitors share this service's uid";
    const char *given = c->process ? info->agent_note : info->vmm_note;
    const char *uid = c->process || ret->uid ? "" : vmm_no_uid;
    const char *group = ret->cgroup ? "" : c->process ? no_group : vmm_no_group;
    const char *parts[] = {given, uid, group};
    size_t len = 0;

    ret->note[0] = '\0';
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        if (parts[i][0] != '\0' && len < sizeof(ret->note))
            len += (size_t)snprintf(ret->note + len, sizeof(ret->note) - len, "%s%s",
                                    len == 0 ? "" : "; ", parts[i]);
}

static void take(const struct confinement *c, const struct launch_info *info,
                 struct api_confinement *ret)
{
    uint32_t bits = c->process ? info->agent_confinement : info->confinement;

    *ret = (struct api_confinement){
        .known = true,
        .process = c->process,
        .uid = (bits & LAUNCH_CONFINED_UID) != 0,
        .network = (bits & LAUNCH_CONFINED_NET) != 0,
        .root = (bits & LAUNCH_CONFINED_ROOT) != 0,
        .seccomp = (bits & LAUNCH_CONFINED_SECCOMP) != 0,
        .cgroup = (bits & LAUNCH_CONFINED_CGROUP) != 0,
        .pid = (bits & LAUNCH_CONFINED_PID) != 0,
        .user_namespace = (bits & LAUNCH_CONFINED_USER) != 0,
        .landlock = (bits & LAUNCH_CONFINED_LANDLOCK) != 0,
        .uid_first = c->uid_first,
        .uid_count = c->uid_count,
        .cgroup_version = info->cgroup_version,
    };
    (void)snprintf(ret->cgroup_note, sizeof(ret->cgroup_note), "%s", info->cgroup_note);
    describe(c, info, ret);
    (void)snprintf(ret->vmm, sizeof(ret->vmm), "%s", info->qemu_version);
}

int confinement_new(struct launch_client *launch, const struct config *config,
                    struct confinement **ret, struct err *err)
{
    struct confinement *c = calloc(1, sizeof(*c));
    struct launch_info info;

    if (c == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    c->launch = launch;
    c->process = strcmp(config->isolation, "process") == 0;
    if (launch_hello(launch, &info, err) < 0) {
        free(c);
        return -1;
    }
    bool mapped = (info.agent_confinement & LAUNCH_CONFINED_RANGE) != 0;
    c->uid_first = mapped ? (uint32_t)config->uid_base + UIDS : geteuid();
    c->uid_count = mapped ? UIDS : 1;
    (void)pthread_mutex_init(&c->lock, NULL); // default attributes: cannot fail on Linux
    take(c, &info, &c->last);
    c->fresh_until_ns = clock_deadline_ms(FRESH_MS);
    *ret = c;
    return 0;
}

void confinement_free(struct confinement *c)
{
    if (c == NULL)
        return;
    (void)pthread_mutex_destroy(&c->lock);
    free(c);
}

// With the lock held, which it drops meanwhile.
static void refresh(struct confinement *c)
{
    struct launch_info info;
    struct err err = ERR_INIT;
    int r;

    c->asking = true;
    (void)pthread_mutex_unlock(&c->lock);
    r = launch_hello_by(c->launch, clock_deadline_ms(PATIENT_MS), &info, &err);
    (void)pthread_mutex_lock(&c->lock);
    c->asking = false;
    c->fresh_until_ns = clock_deadline_ms(FRESH_MS);
    if (r == 0)
        take(c, &info, &c->last);
    else if (err.code != ERR_TIMEOUT)
        c->last.known = false;
}

void confinement_get(void *arg, struct api_confinement *ret)
{
    struct confinement *c = arg;

    (void)pthread_mutex_lock(&c->lock);
    if (!c->asking && clock_mono_ns() >= c->fresh_until_ns)
        refresh(c);
    *ret = c->last;
    (void)pthread_mutex_unlock(&c->lock);
}

void confinement_log(struct confinement *c)
{
    struct api_confinement now;

    confinement_get(c, &now);
    if (now.process)
        log_warn("ISOLATION=process: programs share this host's kernel, a weaker boundary than a "
                 "microVM. uids %u to %u, cgroup v%u%s%s%s%s%s%s",
                 now.uid_first, now.uid_first + now.uid_count - 1, now.cgroup_version,
                 now.cgroup ? "" : " (NOT limited by cgroups: ", now.cgroup ? "" : now.cgroup_note,
                 now.cgroup ? "" : ")", now.landlock ? "" : ", no Landlock",
                 now.note[0] != '\0' ? "; " : "", now.note);
    else if (!now.cgroup || !now.uid)
        log_warn("virtual machines are confined less than fully%s%s%s: %s",
                 now.cgroup ? "" : " (NOT limited by cgroups: ", now.cgroup ? "" : now.cgroup_note,
                 now.cgroup ? "" : ")", now.note);
}
