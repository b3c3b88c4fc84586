// SPDX-License-Identifier: Apache-2.0
//
// The rate of the host's time stamp counter.
#ifndef CSB_LAUNCH_TSC_H
#define CSB_LAUNCH_TSC_H

#include <stdint.h>

// Measures for about 60 ms. kHz, or 0 where there is no such counter or the readings are no good.
uint64_t tsc_measure_khz(void);

#endif
