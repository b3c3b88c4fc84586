// SPDX-License-Identifier: Apache-2.0
//
// Which addresses and URLs are refused, in every spelling, and the signature.
#include "tap.h"
#include "webhook/address.h"
#include "webhook/sign.h"
#include "webhook/webhook.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/ipv6.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <unistd.h>

static struct err err;

static bool allowed(const char *text, const struct address_rules *rules)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};

    if (inet_pton(AF_INET, text, &v4.sin_addr) == 1)
        return address_allowed((const struct sockaddr *)&v4, rules);
    if (inet_pton(AF_INET6, text, &v6.sin6_addr) == 1)
        return address_allowed((const struct sockaddr *)&v6, rules);
    abort();
}

static void test_addresses(void)
{
    static const char *const refused[] = {
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "10.255.255.255",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.254",
        "168.63.129.16",
        "169.254.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.8",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "64:ff9b::8.8.8.8",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "2002:808:808::",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    };
    static const char *const fine[] = {
        "1.1.1.1",         "8.8.8.8",         "9.255.255.255", "11.0.0.0",        "100.63.255.255",
        "100.128.0.0",     "126.255.255.255", "128.0.0.1",     "169.253.255.255", "172.15.255.255",
        "172.32.0.0",      "192.167.255.255", "192.169.0.0",   "223.255.255.255", "::ffff:8.8.8.8",
        "2001:4860::8888", "2606:4700::1111", "2a00::1",
    };

    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        CHECK_MSG(!allowed(refused[i], NULL), "%s is refused", refused[i]);
    for (size_t i = 0; i < sizeof(fine) / sizeof(fine[0]); i++)
        CHECK_MSG(allowed(fine[i], NULL), "%s is public", fine[i]);
    CHECK(!address_allowed(&(struct sockaddr){.sa_family = AF_UNIX}, NULL));
}

static void test_rules(void)
{
    static const char *const bad[] = {"x",         "10.0.0.0/33",  "::1/129",
                                      "10.0.0.0/", "10.0.0/8",     "10.0.0.0/-1",
                                      "localhost", "127.0.0.1:80", "0x7f.1"};
    struct address_rules rules;

    CHECK_INT(address_rules_parse("", &rules, &err), 0);
    CHECK_INT(rules.count, 0);
    CHECK_INT(address_rules_parse("10.1.0.0/16, ::1,127.0.0.1", &rules, &err), 0);
    CHECK(allowed("10.1.2.3", &rules) && allowed("::ffff:10.1.2.3", &rules));
    CHECK(!allowed("10.2.0.1", &rules) && !allowed("169.254.169.254", &rules));
    CHECK(allowed("::1", &rules) && allowed("127.0.0.1", &rules) && !allowed("127.0.0.2", &rules));
    CHECK_INT(address_rules_parse("0.0.0.0/0", &rules, &err), 0);
    CHECK(allowed("127.0.0.1", &rules) && !allowed("::1", &rules));
    CHECK_INT(address_rules_parse("172.16.0.0/12,fd00::/8", &rules, &err), 0);
    CHECK(allowed("172.31.0.1", &rules) && !allowed("172.32.0.1", NULL) == false);
    CHECK(allowed("fd12::1", &rules) && !allowed("fc00::1", &rules));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CHECK_MSG(address_rules_parse(bad[i], &rules, &err) < 0 && err.code == ERR_INVALID,
                  "no rule: %s", bad[i]);
}

static void test_urls(void)
{
    static const char *const refused[] = {
        "",
        "x",
        "example.org/hook",
        "ftp://example.org/",
        "file:///etc/passwd",
        "gopher://example.org/",
        "http://",

        "http://user@example.org/",
        "http://user:word@example.org/",
        "http://:word@example.org/",
        "http://exa mple.org/",
        "http://example.org/\r\nX: y",
        "http://127.0.0.1/",
        "http://127.1/",
        "http://127.0.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.0.0.1/",
        "http://0177.0.0.1/",
        "http://017700000001/",
        "http://0/",
        "http://0.0.0.0/",
        "http://[::1]/",
        "http://[::]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[0:0:0:0:0:ffff:127.0.0.1]:80/",
        "http://[fe80::1%25eth0]/",
        "http://[fe80::1]/",
        "http://169.254.169.254/latest/meta-data/",
        "http://2852039166/",
        "http://10.0.0.1:8080/",
        "https://192.168.1.1/",
        "http://[fd00:ec2::254]/",
        "http://[64:ff9b::7f00:1]/",
        "http://\xef\xbc\x91\xef\xbc\x92\xef\xbc\x97.0.0.1/",
        "http://example.org:99999/",
    };
    static const char *const fine[] = {
        "http://example.org", "https://example.org/hook?x=y#z", "http://example.org:8080/hook",
        "http://8.8.8.8/",    "http://[2606:4700::1111]/",      "HTTPS://EXAMPLE.ORG/",
    };
    char text[WEBHOOK_URL_MAX + 2] = "http://example.org/";
    struct address_rules rules;

    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        CHECK_MSG(webhook_check_url(refused[i], NULL, &err) < 0 && err.code == ERR_INVALID,
                  "refused: %.60s",
                  strpbrk(refused[i], "\r\n") != NULL ? "(new line)" : refused[i]);
    for (size_t i = 0; i < sizeof(fine) / sizeof(fine[0]); i++)
        CHECK_MSG(webhook_check_url(fine[i], NULL, &err) == 0, "taken: %s", fine[i]);
    memset(text + strlen(text), 'a', sizeof(text) - 1 - strlen(text));
    CHECK_INT(webhook_check_url(text, NULL, &err), -1);
    text[WEBHOOK_URL_MAX] = '\0';
    CHECK_INT(webhook_check_url(text, NULL, &err), 0);
    CHECK_INT(address_rules_parse("127.0.0.1", &rules, &err), 0);
    CHECK_INT(webhook_check_url("http://0x7f000001/", &rules, &err), 0);
}

// A name that leads home is refused when it is resolved, before anything is connected.
static void test_names(void)
{
    struct webhook w = {.url = "http://localhost:1/",
                        .id = "j1",
                        .body = "{}",
                        .body_len = 2,
                        .secret = "secret",
                        .ca_file = "",
                        .timeout_ms = 30000};
    struct address_rules rules;

    CHECK_INT(webhook_check_url(w.url, NULL, &err), 0);
    CHECK_INT(webhook_send(&w, &err), -1);
    CHECK_INT(err.code, ERR_INVALID);
    w.url = "http://LOCALHOST.:1/";
    CHECK_INT(webhook_send(&w, &err), -1);
    CHECK_MSG(err.code == ERR_INVALID || err.code == ERR_GONE, "%s", err.message);
    CHECK_INT(address_rules_parse("127.0.0.1,::1", &rules, &err), 0);
    w.url = "http://localhost:1/";
    w.rules = &rules;
    CHECK_INT(webhook_send(&w, &err), -1);
    CHECK_INT(err.code, ERR_GONE); // allowed, but nobody is there
}

// A receiver of one call on a port of its own of every address of this host.
struct receiver {
    int fd;
    unsigned port;
    pthread_t thread;
};

static void *receive(void *arg)
{
    static const char answer[] = "HTTP/1.1 204 No Content\r\n\r\n";
    const struct receiver *r = arg;
    char head[1024];
    int fd = accept(r->fd, NULL, NULL);

    if (fd < 0)
        return NULL; // nobody called
    if (read(fd, head, sizeof(head)) > 0)
        (void)!write(fd, answer, sizeof(answer) - 1);
    (void)close(fd);
    return NULL;
}

static void receiver_start(struct receiver *r)
{
    struct sockaddr_in6 any = {.sin6_family = AF_INET6};
    socklen_t len = sizeof(any);

    r->fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_INT(bind(r->fd, (const struct sockaddr *)&any, len), 0);
    CHECK_INT(listen(r->fd, 4), 0);
    CHECK_INT(getsockname(r->fd, (struct sockaddr *)&any, &len), 0);
    r->port = ntohs(any.sin6_port);
    CHECK_INT(pthread_create(&r->thread, NULL, receive, r), 0);
}

static void receiver_stop(struct receiver *r)
{
    (void)shutdown(r->fd, SHUT_RDWR);
    (void)pthread_join(r->thread, NULL);
    (void)close(r->fd);
}

// What calling a receiver on this address of the host comes to.
static enum err_code call(const char *host, const struct address_rules *rules)
{
    struct receiver r;
    char url[64];
    struct webhook w = {.url = url,
                        .id = "j1",
                        .body = "{}",
                        .body_len = 2,
                        .secret = "secret",
                        .ca_file = "",
                        .timeout_ms = 30000,
                        .rules = rules};

    err = (struct err)ERR_INIT;
    receiver_start(&r);
    (void)snprintf(url, sizeof(url), "http://%s:%u/", host, r.port);
    if (webhook_send(&w, &err) < 0)
        printf("# %s: %s\n", url, err.message);
    receiver_stop(&r);
    return err.code;
}

static void test_literals(void)
{
    struct address_rules rules;

    CHECK_INT(address_rules_parse("127.0.0.1,::1", &rules, &err), 0);
    CHECK_INT(call("127.0.0.1", &rules), ERR_NONE);
    CHECK_INT(call("[::1]", &rules), ERR_NONE);
    CHECK_INT(call("[::ffff:127.0.0.1]", &rules), ERR_NONE);
    CHECK_INT(call("localhost", &rules), ERR_NONE);
}

// A new address of version 6 is tentative until the kernel has come to it: RFC 4862, section 5.4.
static int wait_usable(const struct in6_addr *address)
{
    const struct sockaddr_in6 sin6 = {.sin6_family = AF_INET6, .sin6_addr = *address};
    uint64_t deadline = clock_deadline_ms(10000);
    int r;

    do {
        int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        r = bind(fd, (const struct sockaddr *)&sin6, sizeof(sin6)) < 0 ? -errno : 0;
        (void)close(fd);
        if (r < 0)
            (void)poll(NULL, 0, 5);
    } while (r < 0 && clock_mono_ns() < deadline);
    return r;
}

// A network of its own whose loopback has these addresses, too. 0 or -errno.
static int become_public(const char *v4, const char *v6)
{
    struct ifreq up = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    struct ifreq address = {.ifr_name = "lo:1"};
    struct sockaddr_in sin = {.sin_family = AF_INET};
    struct in6_ifreq address6 = {.ifr6_prefixlen = 128, .ifr6_ifindex = 1}; // lo's in each network
    int fd, fd6, r = 0;

    if (unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
        return -errno;
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    fd6 = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    (void)inet_pton(AF_INET, v4, &sin.sin_addr);
    (void)inet_pton(AF_INET6, v6, &address6.ifr6_addr);
    memcpy(&address.ifr_addr, &sin, sizeof(sin));
    if (ioctl(fd, SIOCSIFFLAGS, &up) < 0 || ioctl(fd, SIOCSIFADDR, &address) < 0 ||
        ioctl(fd6, SIOCSIFADDR, &address6) < 0)
        r = -errno;
    (void)close(fd);
    (void)close(fd6);
    return r < 0 ? r : wait_usable(&address6.ifr6_addr);
}

// The host's own addresses are refused also where they are public: what listens there may not be
// meant for others. The last test: the network stays.
static void test_own_addresses(void)
{
    struct address_rules rules;
    int r = become_public("8.8.8.8", "2606:4700::1111");

    if (r < 0) {
        tap_skip("unit", strerror(-r));
        return;
    }
    CHECK_INT(call("8.8.8.8", NULL), ERR_INVALID);
    CHECK_INT(call("[::ffff:8.8.8.8]", NULL), ERR_INVALID);
    CHECK_INT(call("[2606:4700::1111]", NULL), ERR_INVALID);
    CHECK_MSG(allowed("8.8.4.4", NULL), "one that is not there is no own one");
    CHECK_INT(address_rules_parse("8.8.8.8,2606:4700::1111", &rules, &err), 0);
    CHECK_INT(call("8.8.8.8", &rules), ERR_NONE);
    CHECK_INT(call("[2606:4700::1111]", &rules), ERR_NONE);
}

static void test_signature(void)
{
    char signature[WEBHOOK_SIGNATURE_LEN + 1];

    // Of "1700000000.{}" with this key, by another implementation of RFC 2104.
    webhook_sign("a secret of some length", "1700000000", "{}", 2, signature);
    CHECK_STR(signature, "9008b8e96ac884fb56cbbbb39d8c4b578c2c6de7951cbcce7f1f18311f3cd9f2");
}

// What receivers were given stays good, and is nobody else's.
static void test_secrets(void)
{
    static const char service[] = "a secret of some length";
    char acme[WEBHOOK_SECRET_LEN + 1], other[WEBHOOK_SECRET_LEN + 1];
    char nobody[WEBHOOK_SECRET_LEN + 1], changed[WEBHOOK_SECRET_LEN + 1];

    webhook_secret_of(service, "acme", acme);
    webhook_secret_of(service, "acme2", other);
    webhook_secret_of(service, "", nobody);
    webhook_secret_of("another secret of some length", "acme", changed);
    // By another implementation of RFC 2104.
    CHECK_STR(acme, "3a01cf6ec007e9a2dce49f31032f2ea63bed516a188d0071045fb0157a808b67");
    CHECK_STR(nobody, "7554e395a6e5eeb928b1826a4700b4a4106adc03a1527c01cfe5092e3e58d4a4");
    CHECK(strcmp(acme, other) != 0);
    CHECK(strcmp(acme, changed) != 0);
}

int main(void)
{
    test_secrets();
    test_addresses();
    test_rules();
    test_urls();
    test_names();
    test_signature();
    test_literals();
    test_own_addresses();
    return tap_done();
}
