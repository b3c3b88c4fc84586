// SPDX-License-Identifier: Apache-2.0
//
// Who waits for a sandbox and whose turn it is: one line per tenant, served by turns, so that one
// who sends much waits behind himself. What runs in the background has lines of its own, which are
// served when no other can be. Pure; the pool guards all of it with its lock.
#ifndef CSB_SANDBOX_LINES_H
#define CSB_SANDBOX_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct line;

enum line_class { LINE_FOREGROUND, LINE_BACKGROUND, LINE_CLASSES };

// One that waits; embedded by whoever waits.
struct line_waiter {
    struct line *line;
    enum line_class class;
    size_t bucket;
    struct line_waiter *next; // behind it
};

// Of one tenant. Zeros but for the limits: nobody waits and nothing runs.
struct line {
    uint32_t running_max; // sandboxes held at once; 0: no limit
    uint32_t waiting_max; // 0: no limit
    uint32_t running;     // counted by the pool
    uint32_t waiting;
    struct {
        struct line_waiter *first, *last;
        struct line *next; // the one whose turn is after this
        bool in_turn;
    } part[LINE_CLASSES];
    struct line_waiter *at; // of lines_each()
    uint32_t room;
};

struct lines {
    struct line *first[LINE_CLASSES]; // whose turn it is
    struct line *last[LINE_CLASSES];
    uint32_t waiting;
};

// Puts it at the end of its line.
void lines_add(struct lines *l, struct line_waiter *w);

// Takes it out of its line, wherever it stands.
void lines_remove(struct lines *l, struct line_waiter *w);

// Asks those that wait in the order of their turns until `take` says true of one; that one is out
// of its line, and its tenant's next turn comes after all others'. NULL when none was taken. Who
// holds as many as he may is not asked.
typedef bool (*lines_take_fn)(void *arg, const struct line_waiter *w);
struct line_waiter *lines_serve(struct lines *l, lines_take_fn take, void *arg);

// Tells those that could be served, in the order in which they would be, until `each` says false.
typedef bool (*lines_each_fn)(void *arg, const struct line_waiter *w);
void lines_each(struct lines *l, lines_each_fn each, void *arg);

// Whom to turn away so that one more of `line` may wait: the last of the longest line, if it stays
// no shorter than that of the newcomer; else NULL.
struct line_waiter *lines_surplus(const struct lines *l, const struct line *line);

#endif
