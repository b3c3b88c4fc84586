// SPDX-License-Identifier: Apache-2.0
// Times a guest of one million loop turns on /dev/kvm: about a millisecond where the processor runs
// guests itself, more than a second where something interprets them. Prints the microseconds.
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>

#define CODE_ADDRESS 0x1000

// Real mode: mov ecx, 1000000; again: dec ecx; jnz again; hlt
static const uint8_t code[] = {0x66, 0xb9, 0x40, 0x42, 0x0f, 0x00, 0x66, 0x49, 0x75, 0xfc, 0xf4};

static int fail(const char *what)
{
    perror(what);
    return 1;
}

static uint64_t now_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static int point_cpu_at_code(int cpu)
{
    struct kvm_sregs sregs;
    if (ioctl(cpu, KVM_GET_SREGS, &sregs) < 0)
        return -1;
    sregs.cs.base = 0;
    sregs.cs.selector = 0;
    if (ioctl(cpu, KVM_SET_SREGS, &sregs) < 0)
        return -1;
    struct kvm_regs regs = {.rip = CODE_ADDRESS, .rflags = 2};
    return ioctl(cpu, KVM_SET_REGS, &regs);
}

int main(void)
{
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (kvm < 0)
        return fail("/dev/kvm");
    int vm = ioctl(kvm, KVM_CREATE_VM, 0);
    if (vm < 0)
        return fail("KVM_CREATE_VM");
    uint8_t *memory =
        mmap(NULL, 0x2000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return fail("mmap");
    memcpy(memory + CODE_ADDRESS, code, sizeof(code));
    struct kvm_userspace_memory_region region = {.memory_size = 0x2000,
                                                 .userspace_addr = (uintptr_t)memory};
    if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) < 0)
        return fail("KVM_SET_USER_MEMORY_REGION");
    int cpu = ioctl(vm, KVM_CREATE_VCPU, 0);
    int size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (cpu < 0 || size < (int)sizeof(struct kvm_run))
        return fail("KVM_CREATE_VCPU");
    const struct kvm_run *run =
        mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, cpu, 0);
    if (run == MAP_FAILED || point_cpu_at_code(cpu) < 0)
        return fail("virtual processor");
    uint64_t start = now_us();
    if (ioctl(cpu, KVM_RUN, 0) < 0)
        return fail("KVM_RUN");
    uint64_t end = now_us();
    if (run->exit_reason != KVM_EXIT_HLT) {
        fprintf(stderr, "exit reason %u, not a halt\n", run->exit_reason);
        return 1;
    }
    printf("%llu\n", (unsigned long long)(end - start));
    return 0;
}
