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

static bool has_room(const struct line *line)
{
    return line->running_max == 0 || line->running < line->running_max;
}

static struct line_waiter *serve_class(struct lines *l, enum line_class c, lines_take_fn take,
                                       void *arg)
{
    for (struct line *line = l->first[c]; line != NULL; line = line->part[c].next) {
        if (!has_room(line))
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
            line->room = !has_room(line)          ? 0
                         : line->running_max == 0 ? UINT32_MAX
                                                  : line->running_max - line->running;
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
