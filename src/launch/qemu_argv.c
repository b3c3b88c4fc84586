// SPDX-License-Identifier: Apache-2.0
#include "launch/qemu_argv.h"

#include "launch/launch.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static bool add(struct qemu_argv *a, const char *arg)
{
    if (a->count + 1 >= QEMU_ARGS_MAX)
        return false;
    a->argv[a->count++] = arg;
    a->argv[a->count] = NULL;
    return true;
}

__attribute__((format(printf, 2, 3))) static bool addf(struct qemu_argv *a, const char *fmt, ...)
{
    size_t room = QEMU_TEXT_MAX - a->used;
    char *at = a->text + a->used;
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(at, room, fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= room)
        return false;
    a->used += (size_t)n + 1;
    return add(a, at);
}

static bool add_all(struct qemu_argv *a, const char *const *args)
{
    for (; *args != NULL; args++)
        if (!add(a, *args))
            return false;
    return true;
}

// Under TCG the guest's time stamp counter is the host's. Told its frequency, the guest kernel does
// not calibrate by a timer, which hangs early boot when the host is busy. And TCG finds translated
// code by its virtual address, so a program loaded elsewhere is translated again: with a fixed
// layout the second process of a program starts several times as fast as the first.
static bool add_boot(struct qemu_argv *a, const struct qemu_machine *m)
{
    bool tcg = m->accel == LAUNCH_ACCEL_TCG;
    char tsc[64] = "";

    if (tcg && m->tsc_khz != 0)
        (void)snprintf(tsc, sizeof(tsc), " tsc_early_khz=%llu tsc=reliable",
                       (unsigned long long)m->tsc_khz);
    // The sysctls and nowatchdog stop periodic timers, so that a waiting clone stays asleep.
    return add(a, "-kernel") && addf(a, "/proc/self/fd/%d", QEMU_FD_KERNEL) && add(a, "-initrd") &&
           addf(a, "/proc/self/fd/%d", QEMU_FD_INITRD) && add(a, "-append") &&
           addf(a,
                "quiet reboot=t panic=-1 random.trust_cpu=on mitigations=off%s%s no_timer_check"
                " noreplace-smp 8250.nr_uarts=0 net.ifnames=0 rdinit=/init"
                " initcall_blacklist=cmos_init lsm=landlock audit=0 init_on_alloc=0 nowatchdog"
                " transparent_hugepage=madvise sysctl.vm.compaction_proactiveness=0"
                " sysctl.vm.stat_interval=120 sysctl.vm.dirty_writeback_centisecs=0",
                tsc, tcg ? " norandmaps" : "");
}

static bool add_machine(struct qemu_argv *a, const struct qemu_machine *m)
{
    bool kvm = m->accel == LAUNCH_ACCEL_KVM;
    // The cache of translated code, in MiB, takes memory as it fills. rustc alone fills 140; a full
    // one is emptied whole.
    static const char *const tcg_args[] = {"-accel", "tcg,thread=multi,tb-size=256", "-cpu",
                                           "max,-erms,-la57,-pku,-smap", NULL};
    static const char *const kvm_args[] = {"-accel", "kvm", "-cpu", "host", NULL};

    // Without a clock chip a guest kernel under KVM spends long on looking for one.
    return add(a, "-M") &&
           addf(a,
                "microvm,memory-backend=mem,isa-serial=off,rtc=%s,pcie=off,usb=off,"
                "auto-kernel-cmdline=off,mem-merge=off,dump-guest-core=off",
                kvm ? "on" : "off") &&
           add_all(a, kvm ? kvm_args : tcg_args) && add(a, "-m") && addf(a, "%u", m->memory_mib) &&
           add(a, "-smp") && addf(a, "%u", m->cpus) && add(a, "-object") &&
           addf(a, "memory-backend-file,id=mem,size=%uM,mem-path=/proc/self/fd/%d,share=%s",
                m->memory_mib, QEMU_FD_RAM, m->mode == LAUNCH_MODE_BOOT ? "on" : "off");
}

static bool add_devices(struct qemu_argv *a)
{
    static const char *const drive[] = {
        "-blockdev",
        "driver=file,node-name=rootf,filename=/dev/fdset/1,read-only=on,auto-read-only=off,"
        "locking=off",
        "-blockdev",
        "driver=raw,node-name=root,file=rootf,read-only=on",
        "-device",
        "virtio-blk-device,drive=root",
        "-device",
        "virtio-serial-device,max_ports=2",
        "-device",
        "virtserialport,chardev=csb,name=csb",
        NULL};

    return add(a, "-chardev") && addf(a, "socket,id=qmp,fd=%d", QEMU_FD_QMP) && add(a, "-mon") &&
           add(a, "chardev=qmp,mode=control") && add(a, "-chardev") &&
           addf(a, "socket,id=csb,fd=%d", QEMU_FD_CHANNEL) && add(a, "-add-fd") &&
           addf(a, "fd=%d,set=1", QEMU_FD_ROOTFS) && add_all(a, drive);
}

int qemu_argv_build(const struct qemu_machine *m, struct qemu_argv *ret)
{
    static const char *const common[] = {"-nodefaults", "-no-user-config", "-display",
                                         "none",        "-no-reboot",      NULL};
    // QEMU's own filter, on top of the jail's.
    static const char *const sandbox[] = {
        "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        NULL};
    static const char *const restore[] = {"-incoming", "defer", NULL};
    bool ok;

    ret->count = 0;
    ret->used = 0;
    ok = add(ret, m->path) && add_all(ret, common) && add(ret, "-name") && add(ret, m->name) &&
         add_machine(ret, m) && add_devices(ret) && add_all(ret, sandbox);
    ok = ok && (m->mode == LAUNCH_MODE_BOOT ? add_boot(ret, m) : add_all(ret, restore));
    return ok ? 0 : -E2BIG;
}
