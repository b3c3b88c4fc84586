// SPDX-License-Identifier: Apache-2.0
#include "sandbox/lines.h"

static void append_line(struct lines *l, struct line *line, enum line_class c)
{
    line->part[c].next = NULL;
    line->part[c].in_turn = true;
    if (l->first[c] == NULL)
        l->first[c] = line;
    else
        l->last[c]->part[c].next = line;
    l->last[c] = line;
}

static void remove_line(struct lines *l, struct line *line, enum line_class c)
{
    struct line *before = NULL;

    for (struct line *at = l->first[c]; at != line; at = at->part[c].next)
        before = at;
    if (before == NULL)
        l->first[c] = line->part[c].next;
    else
        before->part[c].next = line->part[c].next;
    if (l->last[c] == line)
        l->last[c] = before;
    line->part[c].in_turn = false;
}

void lines_add(struct lines *l, struct line_waiter *w)
{
    struct line *line = w->line;
    enum line_class c = w->class;

    w->next = NULL;
    if (line->part[c].first == NULL)
        line->part[c].first = w;
    else
        line->part[c].last->next = w;
    line->part[c].last = w;
    line->waiting++;
    l->waiting++;
    if (!line->part[c].in_turn)
        append_line(l, line, c);
}

void lines_remove(struct lines *l, struct line_waiter *w)
{
    struct line *line = w->line;
    enum line_class c = w->class;
    struct line_waiter *before = NULL;

    for (struct line_waiter *at = line->part[c].first; at != w; at = at->next)
        before = at;
    if (before == NULL)
        line->part[c].first = w->next;
    else
        before->next = w->next;
    if (line->part[c].last == w)
        line->part[c].last = before;
    line->waiting--;
    l->waiting--;
    if (line->part[c].first == NULL)
        remove_line(l, line, c);
}

static uint32_t count_others(const struct lines *l, const struct line *line)
{
    return l->slots == 0 ? 0 : l->seen_count - line->is_seen;
}

// Equal for all that are active, and one of them.
static uint32_t part_of(const struct lines *l, uint32_t others)
{
    return l->slots > others + 1 ? l->slots / (others + 1) : 1;
}

bool lines_is_greedy(const struct lines *l, const struct line *line, uint32_t more)
{
    uint32_t others = count_others(l, line);

    return others > 0 && line->young + line->waiting + more > part_of(l, others);
}

bool lines_spares_somebody(const struct lines *l)
{
    bool spared = false, greedy = false;

    for (const struct line *at = l->seen; at != NULL; at = at->next_seen)
        if (lines_is_greedy(l, at, 0))
            greedy = true;
        else
            spared = spared || at->young > 0;
    return spared && greedy;
}

void lines_note(struct lines *l, struct line *line)
{
    line->seen_ns = l->now_ns;
    if (line->is_seen)
        return;
    line->is_seen = true;
    line->next_seen = l->seen;
    l->seen = line;
    l->seen_count++;
}

static void forget(struct lines *l)
{
    for (struct line **at = &l->seen; *at != NULL;) {
        struct line *line = *at;

        if (line->part[LINE_FOREGROUND].in_turn || line->seen_ns + LINE_ACTIVE_NS > l->now_ns) {
            at = &line->next_seen;
            continue;
        }
        line->is_seen = false;
        *at = line->next_seen;
        l->seen_count--;
    }
}

void lines_set_now(struct lines *l, uint64_t now_ns)
{
    l->now_ns = now_ns;
    forget(l);
    l->kept = 0;
    for (const struct line *at = l->seen; at != NULL; at = at->next_seen)
        if (!lines_is_greedy(l, at, 0))
            l->kept += at->young > 0 ? at->young : 1;
}

void lines_begin(struct lines *l, struct line *line)
{
    line->begun_ns = l->now_ns;
    line->young++;
    l->young++;
}

void lines_settle(struct lines *l, struct line *line)
{
    uint64_t rest = (l->now_ns - line->begun_ns) / 2;

    line->rested_ns = l->now_ns + (rest < LINE_REST_MAX_NS ? rest : LINE_REST_MAX_NS);
    line->young--;
    l->young--;
}

// How many more may begin, as far as others are concerned.
static uint32_t slots_of(const struct lines *l, const struct line *line, uint32_t more)
{
    uint32_t part;

    if (!lines_is_greedy(l, line, more))
        return UINT32_MAX;
    if (l->young + l->kept < l->slots) {
        bool all = l->kept == 0 || line->rested_ns <= l->now_ns;
        return l->slots - l->young - l->kept - !all;
    }
    part = part_of(l, count_others(l, line));
    if (l->kept == 0)
        return line->young < part ? part - line->young : 0;
    return line->young == 0 && line->begun_ns + LINE_PACE_NS <= l->now_ns ? 1 : 0;
}

static uint32_t room_of(const struct lines *l, const struct line *line, uint32_t more)
{
    uint32_t slots = slots_of(l, line, more), max = line->running_max, room;

    if (max == 0)
        return slots;
    room = line->running < max ? max - line->running : 0;
    return slots < room ? slots : room;
}

bool lines_has_room(const struct lines *l, const struct line *line, uint32_t more)
{
    return room_of(l, line, more) > 0;
}

static struct line_waiter *serve_class(struct lines *l, enum line_class c, lines_take_fn take,
                                       void *arg)
{
    for (struct line *line = l->first[c]; line != NULL; line = line->part[c].next) {
        if (!lines_has_room(l, line, 0))
            continue;
        for (struct line_waiter *w = line->part[c].first; w != NULL; w = w->next) {
            if (!take(arg, w))
                continue;
            remove_line(l, line, c);
            append_line(l, line, c);
            lines_remove(l, w);
            return w;
        }
    }
    return NULL;
}

struct line_waiter *lines_serve(struct lines *l, lines_take_fn take, void *arg)
{
    struct line_waiter *w = NULL;

    for (int c = 0; w == NULL && c < LINE_CLASSES; c++)
        w = serve_class(l, (enum line_class)c, take, arg);
    return w;
}

// One round of turns. False: `each` did not want more.
static bool each_round(struct lines *l, enum line_class c, lines_each_fn each, void *arg,
                       bool *ret_any)
{
    *ret_any = false;
    for (struct line *line = l->first[c]; line != NULL; line = line->part[c].next) {
        if (line->at == NULL || line->room == 0)
            continue;
        *ret_any = true;
        if (!each(arg, line->at))
            return false;
        line->at = line->at->next;
        line->room--;
    }
    return true;
}

static bool each_class(struct lines *l, enum line_class c, lines_each_fn each, void *arg)
{
    bool any = true, more = true;

    for (struct line *line = l->first[c]; line != NULL; line = line->part[c].next)
        line->at = line->part[c].first;
    while (more && any)
        more = each_round(l, c, each, arg, &any);
    return more;
}

void lines_each(struct lines *l, lines_each_fn each, void *arg)
{
    for (int c = 0; c < LINE_CLASSES; c++)
        for (struct line *line = l->first[c]; line != NULL; line = line->part[c].next)
            line->room = room_of(l, line, 0);
    if (each_class(l, LINE_FOREGROUND, each, arg))
        (void)each_class(l, LINE_BACKGROUND, each, arg);
}

struct line_waiter *lines_surplus(const struct lines *l, const struct line *line)
{
    struct line *longest = NULL;

    for (int c = 0; c < LINE_CLASSES; c++)
        for (struct line *at = l->first[c]; at != NULL; at = at->part[c].next)
            if (longest == NULL || at->waiting > longest->waiting)
                longest = at;
    if (longest == NULL || longest == line || longest->waiting <= line->waiting + 1)
        return NULL;
    return longest->part[LINE_BACKGROUND].last != NULL ? longest->part[LINE_BACKGROUND].last
                                                       : longest->part[LINE_FOREGROUND].last;
}
