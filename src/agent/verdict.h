// SPDX-License-Identifier: Apache-2.0
//
// Why a program ended, decided from what was seen of it. Pure. docs/API.md has the rules as
// clients are told them.
#ifndef CSB_AGENT_VERDICT_H
#define CSB_AGENT_VERDICT_H

#include "agent/step.h"

// Settles the result of a step that is done, whose reason is STEP_EXIT, STEP_SIGNAL or the limit we
// ended it for. `disk_full` says whether its space had no room left when it ended. A program that
// failed, by exit code or signal, after a limit refused it something, failed for that limit; one
// that got along with it did not.
void verdict_settle(struct step_result *r, bool disk_full);

#endif
