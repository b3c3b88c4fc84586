// SPDX-License-Identifier: Apache-2.0
//
// A guest of one long-mode loop of a million rounds, a millisecond on hardware. Opening /dev/kvm,
// KVM_CREATE_VM and KVM_RUN may each block for as long as they please where KVM is emulated, so all
// of it happens in a process that can be killed.
#include "launch/kvm_probe.h"

#include "jail/jail.h"

#include "base/clock.h"
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

// Starting a process and a VM takes long on a busy or emulated machine and says nothing about the
// speed of the guest, so the loop's time counts from where it is about to start.
#define START_DEADLINE_MS 2000
#define PROBE_DEADLINE_MS 220
#define TRIES             3
#define HARDWARE_LIMIT_US 100000

#define KVM_NODE          "/dev/kvm"

#define GUEST_BYTES       0x8000u
#define PML4              0x1000u
#define PDPT              0x2000u
#define PD                0x3000u
#define CODE              0x4000u

// mov ecx, 1000000; 1: dec ecx; jnz 1b; hlt
static const uint8_t code[] = {0xb9, 0x40, 0x42, 0x0f, 0x00, 0xff, 0xc9, 0x75, 0xfc, 0xf4};

static void note(struct launch_kvm *k, const char *what)
{
    (void)snprintf(k->note, sizeof(k->note), "%s: %s", what, strerror(errno));
}

static void fill_memory(uint8_t *mem)
{
    const uint64_t present_writable = 3;
    const uint64_t large = 0x80;
    uint64_t entry = PDPT | present_writable;

    memcpy(mem + PML4, &entry, sizeof(entry));
    entry = PD | present_writable;
    memcpy(mem + PDPT, &entry, sizeof(entry));
    entry = present_writable | large; // the first 2 MiB onto themselves
    memcpy(mem + PD, &entry, sizeof(entry));
    memcpy(mem + CODE, code, sizeof(code));
}

static int set_registers(int vcpu)
{
    struct kvm_sregs s;
    struct kvm_regs r = {.rip = CODE, .rflags = 2};
    struct kvm_segment data = {
        .limit = 0xffffffff, .selector = 16, .present = 1, .type = 3, .s = 1, .g = 1, .db = 1};
    struct kvm_segment text = {
        .limit = 0xffffffff, .selector = 8, .present = 1, .type = 11, .s = 1, .g = 1, .l = 1};

    if (ioctl(vcpu, KVM_GET_SREGS, &s) < 0)
        return -errno;
    s.cr3 = PML4;
    s.cr4 |= 1u << 5;             // PAE
    s.cr0 |= 1u | 1u << 31;       // PE, PG
    s.efer |= 1u << 8 | 1u << 10; // LME, LMA
    s.cs = text;
    s.ds = s.es = s.fs = s.gs = s.ss = data;
    if (ioctl(vcpu, KVM_SET_SREGS, &s) < 0 || ioctl(vcpu, KVM_SET_REGS, &r) < 0)
        return -errno;
    return 0;
}

static void time_loop(int vcpu, struct kvm_run *run, struct launch_kvm *k)
{
    uint64_t t0;

    // Told before the loop starts, for the case that it does not end in time.
    k->present = 1;
    if (fd_write_all(STDOUT_FILENO, k, sizeof(*k)) < 0)
        return;
    t0 = clock_mono_ns();
    do {
        if (ioctl(vcpu, KVM_RUN, 0) < 0 && errno != EINTR) {
            note(k, "KVM_RUN");
            return;
        }
    } while (run->exit_reason == KVM_EXIT_INTR);
    k->loop_us = (clock_mono_ns() - t0) / 1000u;
    if (run->exit_reason != KVM_EXIT_HLT)
        (void)snprintf(k->note, sizeof(k->note), "the guest loop ended with exit reason %u",
                       run->exit_reason);
    else
        k->accelerated = k->loop_us < HARDWARE_LIMIT_US;
}

static void run_guest(int kvm, int vm, struct launch_kvm *k)
{
    uint8_t *mem =
        mmap(NULL, GUEST_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct kvm_userspace_memory_region region = {.memory_size = GUEST_BYTES,
                                                 .userspace_addr = (uint64_t)(uintptr_t)mem};
    int size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    _cleanup_fd_ int vcpu = -1;
    void *run;

    if (mem == MAP_FAILED || size < (int)sizeof(struct kvm_run))
        return note(k, "guest memory");
    fill_memory(mem);
    if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) < 0)
        return note(k, "KVM_SET_USER_MEMORY_REGION");
    vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
    if (vcpu < 0)
        return note(k, "KVM_CREATE_VCPU");
    run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
    if (run == MAP_FAILED)
        return note(k, "map of the virtual CPU");
    if (set_registers(vcpu) < 0)
        return note(k, "KVM_SET_SREGS");
    time_loop(vcpu, run, k);
}

int kvm_probe_main(void)
{
    struct launch_kvm k = {0};
    _cleanup_fd_ int kvm = open(KVM_NODE, O_RDWR | O_CLOEXEC);
    _cleanup_fd_ int vm = -1;

    if (kvm < 0) {
        note(&k, KVM_NODE);
        return fd_write_all(STDOUT_FILENO, &k, sizeof(k)) < 0;
    }
    vm = ioctl(kvm, KVM_CREATE_VM, 0);
    if (vm < 0) {
        note(&k, "KVM_CREATE_VM");
        return fd_write_all(STDOUT_FILENO, &k, sizeof(k)) < 0;
    }
    run_guest(kvm, vm, &k);
    return fd_write_all(STDOUT_FILENO, &k, sizeof(k)) < 0;
}

// Reads the word that the loop starts and then the result, or a result at once. False: out of time.
static bool collect(int fd, struct launch_kvm *k)
{
    uint64_t deadline = clock_deadline_ms(START_DEADLINE_MS);

    for (;;) {
        struct launch_kvm got;
        int r = fd_wait(fd, POLLIN, deadline);

        if (r <= 0)
            return false;
        if (fd_read_all(fd, &got, sizeof(got)) < 0)
            return true;
        got.note[sizeof(got.note) - 1] = '\0';
        *k = got;
        if (got.loop_us != 0 || got.note[0] != '\0')
            return true;
        deadline = clock_deadline_ms(PROBE_DEADLINE_MS);
    }
}

static void probe_once(struct launch_kvm *ret)
{
    static const char *const argv[] = {"/proc/self/exe", KVM_PROBE_MODE, NULL};
    static const char *const envp[] = {NULL};
    uint64_t start = clock_mono_ns();
    struct jail_child child = JAIL_CHILD_INIT;
    struct jail_plan plan = JAIL_PLAN_INIT;
    struct err err = ERR_INIT;
    struct launch_kvm k = {0};
    int fds[2];

    *ret = k;
    if (pipe2(fds, O_CLOEXEC) < 0) {
        note(ret, "pipe");
        return;
    }
    plan.uid = geteuid();
    plan.gid = getegid();
    plan.seccomp = JAIL_SECCOMP_VMM;
    plan.no_new_privs = 1;
    plan.die_with_parent = 1;
    plan.argv = argv;
    plan.envp = envp;
    plan.fds = &(struct jail_fd){fds[1], STDOUT_FILENO};
    plan.fd_count = 1;
    if (jail_spawn(&plan, &child, &err) < 0) {
        (void)snprintf(k.note, sizeof(k.note), "%.150s", err.message);
    } else {
        fd_close(&fds[1]);
        if (!collect(fds[0], &k)) {
            k.loop_us = (clock_mono_ns() - start) / 1000u;
            (void)snprintf(k.note, sizeof(k.note),
                           "a guest loop of 1 ms did not end in %d ms: KVM is emulated here",
                           PROBE_DEADLINE_MS);
        } else if (k.present && k.note[0] == '\0') {
            (void)snprintf(k.note, sizeof(k.note), "a guest loop of 1 ms took %llu us",
                           (unsigned long long)k.loop_us);
        }
    }
    jail_child_release(&child);
    fd_close(&fds[0]);
    fd_close(&fds[1]);
    *ret = k;
}

// Whether a jail's /dev can have a node of its own. Where it cannot (a container, a bounding set
// without CAP_MKNOD) the jail binds the outer one instead (jail_devproc.c), with its owner and
// mode.
static bool makes_nodes(dev_t device)
{
    _cleanup_fd_ int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
    _cleanup_fd_ int dir = -1;

    if (fs < 0 || fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return true; // then no jail can be made either, which says more
    dir = fsmount(fs, FSMOUNT_CLOEXEC, 0);
    return dir < 0 || mknodat(dir, "kvm", S_IFCHR | 0600, device) == 0 || errno != EPERM;
}

// Whether a VMM may open what this process may. It has another uid than a launcher that is root,
// and no group of the host's.
static bool is_for_vmms(struct launch_kvm *k)
{
    const mode_t others = S_IROTH | S_IWOTH;
    struct stat st;

    if (geteuid() != 0 || stat(KVM_NODE, &st) < 0 || (st.st_mode & others) == others ||
        makes_nodes(st.st_rdev))
        return true;
    (void)snprintf(k->note, sizeof(k->note),
                   KVM_NODE " is not open to VMMs, which have uids of their own, and no other node "
                            "can be made here: chmod 666 " KVM_NODE);
    return false;
}

// A host that is busy at the moment may keep the loop waiting for a processor.
void kvm_probe(struct launch_kvm *ret)
{
    *ret = (struct launch_kvm){0};
    for (int i = 0; i < TRIES && is_for_vmms(ret); i++) {
        probe_once(ret);
        if (ret->accelerated || !ret->present)
            return;
    }
}
