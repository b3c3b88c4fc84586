// SPDX-License-Identifier: Apache-2.0
//
// Starting another program: fork and exec in one place, with the descriptors it gets named one by
// one. Only for single-threaded programs.
#ifndef CSB_BASE_PROC_H
#define CSB_BASE_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define PROC_FDS_MAX 16

struct proc_fd {
    int from; // in this process; kept open here
    int to;   // number in the new one, below 64
};

struct proc_spec {
    const char *path;  // no search
    char *const *argv; // NULL-terminated
    char *const *envp; // NULL: this process's environment
    // What is open in the new process beside 0, 1 and 2, which it inherits unless listed here.
    const struct proc_fd *fds;
    size_t fd_count;
    int death_signal; // sent to it when this process's thread ends; 0: none
    bool own_group;   // a process group of its own: the terminal's Ctrl-C does not reach it
};

// Blocks until the program was executed. Signals are at their defaults and unblocked in it. 0 with
// *ret_pid set (the caller reaps it), or -errno, also of the exec.
int proc_spawn(const struct proc_spec *spec, pid_t *ret_pid);

// All signals to their defaults, and unblocked: as proc_spawn()'s child has them. Safe after fork.
void proc_reset_signals(void);

// For PID 1: leaves it behind with nothing to do but to reap, and goes on in a child, so that
// programs whose parents ended do not pile up and nobody else need wait for them. Returns 0 in the
// child, or -errno; in PID 1 only when the child ended, with 1.
int proc_leave_init(void);

#endif
