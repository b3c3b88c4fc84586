// SPDX-License-Identifier: Apache-2.0
//
// Whether /dev/kvm runs guests at the speed of the hardware. That it opens proves nothing: where
// KVM itself is emulated, every guest instruction is.
#ifndef CSB_LAUNCH_KVM_PROBE_H
#define CSB_LAUNCH_KVM_PROBE_H

#include "launch/launch.h"

#define KVM_PROBE_MODE "--kvm-probe" // the launcher as the probe's process

// Runs the loop in a process of its own, which is killed after 220 ms, three times unless it is
// fast: up to 0.7 s where KVM is emulated. A busy machine may take 2 s more to start a process.
// Not where VMMs, which have other uids than root, would be refused the node: then it is not there.
void kvm_probe(struct launch_kvm *ret);

// Body of that process: writes a struct launch_kvm to standard output. Returns the exit status.
int kvm_probe_main(void);

#endif
