// SPDX-License-Identifier: Apache-2.0
//
// Names whose servers do not answer: they hold up no stop of the service. This program's own
// getaddrinfo() stands before the C library's.
#include "base/clock.h"
#include "tap.h"
#include "webhook/address.h"
#include "webhook/lookup.h"
#include "webhook/webhook.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define ASKED 4 // two were quick, two were left

static struct err err;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool answers; // also for "slow"
static atomic_int asked, freed;

// Of "slow" nothing is said until somebody wants it; "none" is no name; others are 127.0.0.1.
int getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
                struct addrinfo **ret)
{
    struct addrinfo *a;
    struct sockaddr_in *v4;

    (void)port;
    if ((hints->ai_flags & AI_NUMERICHOST) != 0 || strcmp(host, "none") == 0)
        return EAI_NONAME;
    (void)pthread_mutex_lock(&lock);
    asked++;
    while (strcmp(host, "slow") == 0 && !answers)
        (void)pthread_cond_wait(&changed, &lock);
    (void)pthread_mutex_unlock(&lock);
    a = calloc(1, sizeof(*a) + sizeof(*v4));
    if (a == NULL)
        return EAI_MEMORY;
    v4 = (struct sockaddr_in *)(a + 1);
    *v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    *a = (struct addrinfo){.ai_family = AF_INET,
                           .ai_socktype = SOCK_STREAM,
                           .ai_addr = (struct sockaddr *)v4,
                           .ai_addrlen = sizeof(*v4)};
    *ret = a;
    return 0;
}

void freeaddrinfo(struct addrinfo *list)
{
    freed++;
    free(list);
}

static enum err_code look_up(const char *host, const atomic_bool *stop)
{
    struct addrinfo *list = NULL;

    err = (struct err)ERR_INIT;
    if (lookup_name(host, "80", stop, &list, &err) == 0) {
        CHECK(list != NULL && list->ai_family == AF_INET);
        freeaddrinfo(list);
    }
    return err.code;
}

static void test_answers(void)
{
    const atomic_bool stop = false;

    CHECK_INT(look_up("quick", NULL), ERR_NONE);
    CHECK_INT(look_up("quick", &stop), ERR_NONE);
    CHECK_INT(look_up("none", &stop), ERR_GONE);
}

static void *stop_soon(void *arg)
{
    (void)nanosleep(&(struct timespec){.tv_nsec = 200 * NS_PER_MS}, NULL);
    atomic_store((atomic_bool *)arg, true);
    return NULL;
}

// A stop that comes while the resolver is asked.
static void test_stop(void)
{
    atomic_bool stop = false;
    const struct webhook w = {.url = "http://slow/",
                              .id = "j1",
                              .body = "{}",
                              .body_len = 2,
                              .secret = "secret",
                              .ca_file = "",
                              .timeout_ms = 200,
                              .stop = &stop};
    uint64_t began = clock_mono_ns();
    pthread_t thread;

    CHECK_INT(pthread_create(&thread, NULL, stop_soon, &stop), 0);
    CHECK_INT(webhook_send(&w, &err), -1);
    CHECK_INT(err.code, ERR_CANCELLED);
    (void)pthread_join(thread, NULL);
    CHECK_INT(look_up("slow", &stop), ERR_CANCELLED);
    CHECK(clock_mono_ns() - began < 60 * NS_PER_S);
}

// What comes for those who left is freed.
static void test_late(void)
{
    (void)pthread_mutex_lock(&lock);
    answers = true;
    (void)pthread_cond_broadcast(&changed);
    (void)pthread_mutex_unlock(&lock);
    for (int i = 0; i < 3000 && freed < ASKED; i++)
        (void)nanosleep(&(struct timespec){.tv_nsec = 10 * NS_PER_MS}, NULL);
    CHECK_INT(asked, ASKED);
    CHECK_INT(freed, ASKED);
}

int main(void)
{
    test_answers();
    test_stop();
    test_late();
    return tap_done();
}
