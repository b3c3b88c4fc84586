// SPDX-License-Identifier: Apache-2.0
//
// The tables are those of IANA's special-purpose registries (RFC 6890 and what came after), and one
// address of a cloud's own service. Of IPv6 only the space of public unicast is public, less what
// is reserved in it.
#include "webhook/address.h"

#include "base/fd.h"
#include "base/parse.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

struct range {
    const char *network;
    uint32_t bits;
};

static const struct range not_public_v4[] = {
    {"0.0.0.0", 8},        {"10.0.0.0", 8},     {"100.64.0.0", 10}, {"127.0.0.0", 8},
    {"168.63.129.16", 32}, // answers for the host, as 169.254.169.254 does elsewhere
    {"169.254.0.0", 16},   {"172.16.0.0", 12},  {"192.0.0.0", 24},  {"192.0.2.0", 24},
    {"192.88.99.0", 24},   {"192.168.0.0", 16}, {"198.18.0.0", 15}, {"198.51.100.0", 24},
    {"203.0.113.0", 24},   {"224.0.0.0", 4},    {"240.0.0.0", 4},
};

static const struct range public_v6 = {"2000::", 3};
static const struct range not_public_v6[] = {
    {"2001::", 23}, // Teredo and other tunnels
    {"2001:db8::", 32},
    {"2002::", 16}, // 6to4: an IPv4 address inside
    {"3fff::", 20},
};

static bool in_network(const uint8_t *address, const uint8_t *network, uint32_t bits)
{
    uint32_t whole = bits / 8;
    uint8_t mask = (uint8_t)(0xff00u >> bits % 8);

    if (memcmp(address, network, whole) != 0)
        return false;
    return bits % 8 == 0 || ((address[whole] ^ network[whole]) & mask) == 0;
}

static bool in_range(int family, const uint8_t *address, const struct range *range)
{
    uint8_t network[sizeof(struct in6_addr)];

    return inet_pton(family, range->network, network) == 1 &&
           in_network(address, network, range->bits);
}

static bool is_public_v4(const uint8_t *address)
{
    for (size_t i = 0; i < sizeof(not_public_v4) / sizeof(not_public_v4[0]); i++)
        if (in_range(AF_INET, address, &not_public_v4[i]))
            return false;
    return true;
}

static bool is_public_v6(const uint8_t *address)
{
    if (!in_range(AF_INET6, address, &public_v6))
        return false;
    for (size_t i = 0; i < sizeof(not_public_v6) / sizeof(not_public_v6[0]); i++)
        if (in_range(AF_INET6, address, &not_public_v6[i]))
            return false;
    return true;
}

static void map_v4(const uint8_t *v4, struct in6_addr *ret)
{
    memset(ret, 0, sizeof(*ret));
    ret->s6_addr[10] = ret->s6_addr[11] = 0xff;
    memcpy(ret->s6_addr + 12, v4, 4);
}

static int parse_rule(const char *text, struct address_rule *ret, struct err *err)
{
    char host[64];
    size_t len = strcspn(text, "/");
    uint64_t bits = 0;
    uint8_t v4[4];
    bool is_v4;

    if (len >= sizeof(host))
        return err_set(err, ERR_INVALID, "'%.60s' is not an address", text);
    memcpy(host, text, len);
    host[len] = '\0';
    is_v4 = inet_pton(AF_INET, host, v4) == 1;
    if (!is_v4 && inet_pton(AF_INET6, host, &ret->network) != 1)
        return err_set(err, ERR_INVALID, "'%.60s' is not an address", text);
    bits = is_v4 ? 32 : 128;
    if (text[len] == '/' && parse_u64(text + len + 1, 0, bits, &bits) < 0)
        return err_set(err, ERR_INVALID, "'%.60s' has no prefix length from 0 to %d", text,
                       is_v4 ? 32 : 128);
    if (is_v4)
        map_v4(v4, &ret->network);
    ret->bits = (uint32_t)bits + (is_v4 ? 96 : 0);
    return 0;
}

int address_rules_parse(const char *text, struct address_rules *ret, struct err *err)
{
    struct address_rules rules = {0};

    while (*text != '\0') {
        size_t len = strcspn(text, ", ");
        char one[128];

        if (len > 0) {
            if (len >= sizeof(one) || rules.count == ADDRESS_RULES_MAX)
                return err_set(err, ERR_INVALID, "too long a list of addresses");
            memcpy(one, text, len);
            one[len] = '\0';
            if (parse_rule(one, &rules.list[rules.count], err) < 0)
                return -1;
            rules.count++;
        }
        text += len + (text[len] != '\0');
    }
    *ret = rules;
    return 0;
}

// IPv4 as ::ffff:a.b.c.d. False for other families.
static bool as_v6(const struct sockaddr *address, struct in6_addr *ret)
{
    if (address->sa_family == AF_INET) {
        struct sockaddr_in v4;

        memcpy(&v4, address, sizeof(v4));
        map_v4((const uint8_t *)&v4.sin_addr, ret);
    } else if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 v6;

        memcpy(&v6, address, sizeof(v6));
        *ret = v6.sin6_addr;
    } else {
        return false;
    }
    return true;
}

// Whether packets to it would not leave this host: what listens here may trust them, and no
// firewall sees them. Then, and only then, the kernel sends from the address itself. A datagram
// socket that is connected asks for just that, and nothing is sent.
static bool is_own(const struct sockaddr *address, const struct in6_addr *a)
{
    socklen_t len =
        address->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    _cleanup_fd_ int fd = socket(address->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_storage from = {0};
    struct in6_addr own;

    if (fd < 0)
        return errno != EAFNOSUPPORT; // else it cannot be said; there is no way to a family we lack
    if (connect(fd, address, len) < 0)
        return false; // no way there: nor will there be for a connection
    len = sizeof(from);
    return getsockname(fd, (struct sockaddr *)&from, &len) < 0 ||
           !as_v6((const struct sockaddr *)&from, &own) || memcmp(&own, a, sizeof(own)) == 0;
}

bool address_allowed(const struct sockaddr *address, const struct address_rules *rules)
{
    struct in6_addr a;
    bool public;

    if (!as_v6(address, &a))
        return false;
    public = IN6_IS_ADDR_V4MAPPED(&a) ? is_public_v4(a.s6_addr + 12) : is_public_v6(a.s6_addr);
    public = public && !is_own(address, &a);
    for (size_t i = 0; !public && rules != NULL && i < rules->count; i++)
    public = in_network(a.s6_addr, rules->list[i].network.s6_addr, rules->list[i].bits);
    return public;
}
