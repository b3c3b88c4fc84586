// SPDX-License-Identifier: Apache-2.0
//
// Which addresses and URLs are refused, in every spelling, and the signature.
#include "tap.h"
#include "webhook/address.h"
#include "webhook/webhook.h"

#include <arpa/inet.h>

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

static void test_signature(void)
{
    char signature[WEBHOOK_SIGNATURE_LEN + 1];

    // Of "1700000000.{}" with this key, by another implementation of RFC 2104.
    webhook_sign("a secret of some length", "1700000000", "{}", 2, signature);
    CHECK_STR(signature, "9008b8e96ac884fb56cbbbb39d8c4b578c2c6de7951cbcce7f1f18311f3cd9f2");
}

int main(void)
{
    test_addresses();
    test_rules();
    test_urls();
    test_names();
    test_signature();
    return tap_done();
}
