// SPDX-License-Identifier: Apache-2.0
//
// Who waits for a sandbox and whose turn it is: one line per tenant, served by turns, so that one
// who sends much waits behind himself. What runs in the background has lines of its own, which are
// served when no other can be. While another tenant is active, who sends more than his part begins
// runs at a pace that leaves the other the room he needs: lines_has_room(). Pure; the pool guards
// all of it with its lock.
#ifndef CSB_SANDBOX_LINES_H
#define CSB_SANDBOX_LINES_H

#include <stdatomic.h>
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
    atomic_uint running_max; // sandboxes held at once; 0: no limit. May change at any time
    atomic_uint waiting_max; // likewise
    uint32_t running;        // counted by the pool
    uint32_t waiting;
    struct {
        struct line_waiter *first, *last;
        struct line *next; // the one whose turn is after this
        bool in_turn;
    } part[LINE_CLASSES];
    uint32_t young;         // of `running`, those that began a moment ago
    uint64_t begun_ns;      // when the last of them did
    uint64_t rested_ns;     // from when on its tenant, if he is greedy, may have the last slot
    uint64_t seen_ns;       // when one of its requests last came, in the foreground
    bool is_seen;           // it is among lines.seen
    struct line *next_seen; // another of these
    struct line_waiter *at; // of lines_each()
    uint32_t room;
};

struct lines {
    struct line *first[LINE_CLASSES]; // whose turn it is
    struct line *last[LINE_CLASSES];
    uint32_t waiting;
    uint32_t slots;    // runs that may be young at once where several are active; 0: any number
    uint32_t young;    // of all
    struct line *seen; // those that are active
    uint32_t seen_count;
    // As of lines_set_now():
    uint64_t now_ns;
    uint32_t kept; // slots for those who are not greedy
};

// Puts it at the end of its line.
void lines_add(struct lines *l, struct line_waiter *w);

// Takes it out of its line, wherever it stands.
void lines_remove(struct lines *l, struct line_waiter *w);

// Notes that a request of it came in the foreground: for LINE_ACTIVE_NS, and as long as one waits,
// its tenant is active.
#define LINE_ACTIVE_NS (1000000000ull)
void lines_note(struct lines *l, struct line *line);

// What time it is: who is active no more is forgotten, and what the others need is counted.
void lines_set_now(struct lines *l, uint64_t now_ns);

// A run of it began, was young for long enough, or ended before.
void lines_begin(struct lines *l, struct line *line);
void lines_settle(struct lines *l, struct line *line);

// Whether its tenant has an equal part of the slots and more of it wait, beside another that is
// active. `more`: those that do not wait yet, but are counted.
bool lines_is_greedy(const struct lines *l, const struct line *line, uint32_t more);

// Whether somebody who is active is greedy, and somebody who is not has a young run.
bool lines_spares_somebody(const struct lines *l);

// Whether one more of it may begin: it does not hold as many as it may, and if it is greedy, there
// are slots beyond those of others who are not, and beyond one more for each of them; the last of
// these half as long after its tenant's last run as that took, LINE_REST_MAX_NS at most: beside
// runs that follow each other at once another's take half as long again, for there are two threads
// to a core, and caches that all share. However many slots the others have, one begins each
// LINE_PACE_NS.
#define LINE_PACE_NS     (50000000ull)
#define LINE_REST_MAX_NS (5000000ull)
bool lines_has_room(const struct lines *l, const struct line *line, uint32_t more);

// Asks those that wait in the order of their turns until `take` says true of one; that one is out
// of its line, and its tenant's next turn comes after all others'. NULL when none was taken. Whose
// line has no room is not asked.
typedef bool (*lines_take_fn)(void *arg, const struct line_waiter *w);
struct line_waiter *lines_serve(struct lines *l, lines_take_fn take, void *arg);

// Tells those that could be served, in the order in which they would be, until `each` says false.
typedef bool (*lines_each_fn)(void *arg, const struct line_waiter *w);
void lines_each(struct lines *l, lines_each_fn each, void *arg);

// Whom to turn away so that one more of `line` may wait: the last of the longest line, if it stays
// no shorter than that of the newcomer; else NULL.
struct line_waiter *lines_surplus(const struct lines *l, const struct line *line);

#endif
