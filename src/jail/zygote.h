// SPDX-License-Identifier: Apache-2.0
//
// Programs that are forked into their jail from a process that has done their start-up already.
//
// How it works. The agent starts the zygote as its child, in its own pid, mount, user and cgroup
// namespaces and with its privileges, for a zygote makes jails: an interpreter that loads zygote.so
// and calls csb_zygote() with one end of a SOCK_SEQPACKET pair. jail_zygote_spawn() on the other
// end sends a plan; the zygote does jail_fork() and answers with the jail's pid and descriptors,
// and takes the next while the jail is still being set up.
// The jail is the agent's child. Nothing that a user sent ever reaches the zygote.
#ifndef CSB_JAIL_ZYGOTE_H
#define CSB_JAIL_ZYGOTE_H

#include "base/err.h"
#include "jail/jail.h"

#define JAIL_CONTROL_FD 3

// Agent's side. As jail_spawn(), but the program goes on in the zygote's code and argv and envp are
// ignored. Paths are the zygote's, so also the agent's. Blocks for the time of the set-up, about a
// millisecond, at most 10 s. On ERR_GONE, ERR_PROTOCOL and ERR_TIMEOUT the zygote is of no more
// use.
int jail_zygote_spawn(int zygote_fd, const struct jail_plan *plan, struct jail_child *ret,
                      struct err *err);

// The same in two steps, for who does not wait: replies come in the order of the requests, one for
// each that was sent, when zygote_fd is readable. Sending blocks only when the socket is full of
// requests (some forty). What is received may still be being set up: hold its report_fd, see
// jail_settle().
int jail_zygote_send(int zygote_fd, const struct jail_plan *plan, struct err *err);
int jail_zygote_receive(int zygote_fd, struct jail_child *ret, struct err *err);

// Zygote's side, what zygote.so exports. `fd` is its end of the socket. In the zygote it serves
// requests and returns -1 when the agent closed its end or broke the protocol: the process must
// then _exit(). In a jail it returns JAIL_CONTROL_FD when the plan has a descriptor of that
// number, else 0; every descriptor but the plan's is closed, `fd` too.
//
// Only from a single-threaded process. An interpreter that is to know of the fork must be told by
// its own means, Python by calling PyOS_BeforeFork() before and PyOS_AfterFork_Child() in the jail.
int csb_zygote(int fd);

// Optional, before csb_zygote(): what the process forks between the two and lets run to its end is
// taken for an example of what every program does, and the memory it wrote to is copied for each
// later program when that is forked, not when it first writes. The last such child counts.
void csb_zygote_learn(void);

// Optional, in a jail, after csb_zygote_learn(): ends the process as exit(3) does, but calls
// nothing of the libraries when none was loaded since then: C's own streams are flushed and that is
// all.
_Noreturn void csb_zygote_leave(int status);

#endif
