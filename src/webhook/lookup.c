// SPDX-License-Identifier: Apache-2.0
#include "webhook/lookup.h"

#include "base/clock.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#define STOP_POLL_MS 100

// Freed by whoever is through with it last: the thread that asks, or who waits for it.
struct lookup {
    char host[LOOKUP_HOST_MAX]; // fixed, as the next
    char port[LOOKUP_PORT_MAX];
    pthread_mutex_t lock; // guards what follows
    pthread_cond_t changed;
    bool done; // by the thread
    bool left; // by who waited
    int result;
    struct addrinfo *list;
};

static void lookup_free(struct lookup *l)
{
    if (l->list != NULL)
        freeaddrinfo(l->list);
    (void)pthread_cond_destroy(&l->changed);
    (void)pthread_mutex_destroy(&l->lock);
    free(l);
}

static void *ask(void *arg)
{
    static const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct lookup *l = arg;
    struct addrinfo *list = NULL;
    int r = getaddrinfo(l->host, l->port, &hints, &list);
    bool left;

    (void)pthread_mutex_lock(&l->lock);
    l->result = r;
    l->list = r == 0 ? list : NULL;
    l->done = true;
    left = l->left;
    (void)pthread_cond_signal(&l->changed);
    (void)pthread_mutex_unlock(&l->lock);
    if (left)
        lookup_free(l);
    return NULL;
}

static struct lookup *lookup_start(const char *host, const char *port, struct err *err)
{
    struct lookup *l = calloc(1, sizeof(*l));
    pthread_t thread;
    int r;

    if (l == NULL) {
        (void)err_set(err, ERR_INTERNAL, "out of memory");
        return NULL;
    }
    (void)snprintf(l->host, sizeof(l->host), "%s", host);
    (void)snprintf(l->port, sizeof(l->port), "%s", port);
    (void)pthread_mutex_init(&l->lock, NULL);
    clock_cond_init(&l->changed);
    r = pthread_create(&thread, NULL, ask, l);
    if (r != 0) {
        (void)err_sys(err, r, "cannot start a thread");
        lookup_free(l);
        return NULL;
    }
    (void)pthread_detach(thread);
    return l;
}

// True when it is answered. Else it is the thread's from now on.
static bool wait_for(struct lookup *l, const atomic_bool *stop)
{
    bool done;

    (void)pthread_mutex_lock(&l->lock);
    while (!l->done && (stop == NULL || !atomic_load(stop))) {
        struct timespec until = clock_to_timespec(clock_deadline_ms(STOP_POLL_MS));

        (void)pthread_cond_timedwait(&l->changed, &l->lock, &until);
    }
    done = l->done;
    l->left = !done;
    (void)pthread_mutex_unlock(&l->lock);
    return done;
}

int lookup_name(const char *host, const char *port, const atomic_bool *stop, struct addrinfo **ret,
                struct err *err)
{
    struct lookup *l = lookup_start(host, port, err);
    int r = 0;

    if (l == NULL)
        return -1;
    if (!wait_for(l, stop))
        return err_set(err, ERR_CANCELLED, "the service is shutting down");
    if (l->result != 0) {
        r = err_set(err, ERR_GONE, "the name cannot be resolved: %s", gai_strerror(l->result));
    } else {
        *ret = l->list;
        l->list = NULL;
    }
    lookup_free(l);
    return r;
}
