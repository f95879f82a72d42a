/* Defaults that depend on the machine: its name, its domain, the networks it is in. */
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "conf/conf_private.h"

#define NETS_MAX 256

static unsigned
count_bits(const unsigned char *mask, size_t n)
{
	unsigned bits = 0;

	for (size_t i = 0; i < n; i++)
		for (unsigned b = mask[i]; b != 0; b &= b - 1)
			bits++;
	return bits;
}

static bool
take_address(const struct ifaddrs *i, struct conf_net *net)
{
	struct sockaddr_in v4, m4;
	struct sockaddr_in6 v6, m6;

	if (i->ifa_addr == NULL || i->ifa_netmask == NULL || !(i->ifa_flags & IFF_UP))
		return false;
	*net = (struct conf_net){ .v6 = i->ifa_addr->sa_family == AF_INET6 };
	if (i->ifa_addr->sa_family == AF_INET) {
		memcpy(&v4, i->ifa_addr, sizeof(v4));
		memcpy(&m4, i->ifa_netmask, sizeof(m4));
		memcpy(net->addr, &v4.sin_addr, 4);
		net->prefix = count_bits((const unsigned char *)&m4.sin_addr, 4);
		return true;
	}
	if (!net->v6)
		return false;
	memcpy(&v6, i->ifa_addr, sizeof(v6));
	memcpy(&m6, i->ifa_netmask, sizeof(m6));
	memcpy(net->addr, &v6.sin6_addr, 16);
	net->prefix = count_bits((const unsigned char *)&m6.sin6_addr, 16);
	return true;
}

void
conf_host_init(struct conf_host *h, struct arena *a)
{
	struct ifaddrs *all = NULL;
	char name[256] = "";

	*h = (struct conf_host){ .files = true, .nets = ARENA_ARRAY(a, struct conf_net, NETS_MAX) };
	if (gethostname(name, sizeof(name) - 1) != 0 || name[0] == '\0')
		snprintf(name, sizeof(name), "localhost");
	h->name = arena_cstr(a, span_str(name));
	if (getifaddrs(&all) != 0)
		return;
	for (struct ifaddrs *i = all; i != NULL && h->net_count < NETS_MAX; i = i->ifa_next)
		h->net_count += take_address(i, &h->nets[h->net_count]);
	freeifaddrs(all);
}

void
conf_host_test(struct conf_host *h, struct arena *a)
{
	static const struct conf_net nets[] = {
		{ .addr = { 127, 0, 0, 1 }, .prefix = 8 },
		{ .addr = { 192, 0, 2, 1 }, .prefix = 24 },
		{ .addr = { [15] = 1 }, .v6 = true, .prefix = 128 },
		{ .addr = { 0x20, 0x01, 0x0d, 0xb8, [15] = 1 }, .v6 = true, .prefix = 64 },
	};

	*h = (struct conf_host){ .name = "mail.example.com", .net_count = sizeof(nets) / sizeof(nets[0]) };
	h->nets = ARENA_ARRAY(a, struct conf_net, h->net_count);
	memcpy(h->nets, nets, sizeof(nets));
}

const char *
conf_host_myhostname(const struct conf_host *h, struct arena *a, const char *domain)
{
	if (strchr(h->name, '.') != NULL)
		return h->name;
	return arena_printf(a, "%s.%s", h->name, domain != NULL && *domain != '\0' ? domain : "localdomain").p;
}

const char *
conf_host_mydomain(struct arena *a, const char *myhostname)
{
	const char *dot = strchr(myhostname, '.');

	return dot != NULL && dot[1] != '\0' ? arena_cstr(a, span_str(dot + 1)) : "localdomain";
}

static unsigned
prefix_of(const struct conf_net *net, const char *style)
{
	if (strcmp(style, "subnet") == 0)
		return net->prefix;
	if (strcmp(style, "class") != 0 || net->v6)
		return net->v6 ? 128 : 32;
	return net->addr[0] < 128 ? 8 : net->addr[0] < 192 ? 16 : 24;
}

static void
mask_to(unsigned char *addr, size_t n, unsigned prefix)
{
	for (size_t i = 0; i < n; i++, prefix -= prefix < 8 ? prefix : 8)
		addr[i] &= (unsigned char)(prefix >= 8 ? 0xff : 0xff00U >> prefix);
}

/* One network in the form of mynetworks; false when the text holds it already. */
static void
add_net(struct buf *out, const struct conf_net *net, const char *style)
{
	struct conf_net n = *net;
	char addr[INET6_ADDRSTRLEN], text[INET6_ADDRSTRLEN + 16];

	n.prefix = prefix_of(net, style);
	mask_to(n.addr, n.v6 ? 16 : 4, n.prefix);
	if (inet_ntop(n.v6 ? AF_INET6 : AF_INET, n.addr, addr, sizeof(addr)) == NULL)
		return;
	snprintf(text, sizeof(text), n.v6 ? "[%s]/%u" : "%s/%u", addr, n.prefix);
	if (conf_list_has(out->n > 0 ? buf_cstr(out) : "", text))
		return;
	if (out->n > 0)
		buf_addc(out, ' ');
	buf_add_str(out, text);
}

static bool
is_loopback(const struct conf_net *net)
{
	static const unsigned char v6[16] = { [15] = 1 };

	return net->v6 ? memcmp(net->addr, v6, 16) == 0 : net->addr[0] == 127;
}

/* Does the host name have this address? (inet_interfaces may hold names; without files only localhost is known.) */
static bool
name_has(const struct conf_host *h, const char *name, const struct conf_net *net)
{
	struct addrinfo hints = { .ai_family = net->v6 ? AF_INET6 : AF_INET, .ai_socktype = SOCK_STREAM }, *all = NULL;
	bool found = false;

	if (!h->files)
		return strcmp(name, "localhost") == 0 && is_loopback(net);
	if (getaddrinfo(name, NULL, &hints, &all) != 0)
		return false;
	for (struct addrinfo *i = all; i != NULL && !found; i = i->ai_next) {
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;

		memset(&v6, 0, sizeof(v6));
		memset(&v4, 0, sizeof(v4));
		if (net->v6)
			memcpy(&v6, i->ai_addr, sizeof(v6));
		else
			memcpy(&v4, i->ai_addr, sizeof(v4));
		found = net->v6 ? memcmp(net->addr, &v6.sin6_addr, 16) == 0 : memcmp(net->addr, &v4.sin_addr, 4) == 0;
	}
	freeaddrinfo(all);
	return found;
}

/* One word of inet_interfaces: an address, [address], or a name. */
static bool
word_is(const struct conf_host *h, struct span word, const struct conf_net *net)
{
	unsigned char addr[16];
	char text[256];

	if (span_starts(word, SPAN("[")) && span_ends(word, SPAN("]")))
		word = span_slice(word, 1, word.n - 1);
	if (word.n >= sizeof(text))
		return false;
	memcpy(text, word.p, word.n);
	text[word.n] = '\0';
	if (inet_pton(AF_INET, text, addr) == 1)
		return !net->v6 && memcmp(addr, net->addr, 4) == 0;
	if (inet_pton(AF_INET6, text, addr) == 1)
		return net->v6 && memcmp(addr, net->addr, 16) == 0;
	return name_has(h, text, net);
}

/* Is this address among the listed interfaces? */
static bool
is_listed(const struct conf_host *h, const struct conf_net *net, const char *interfaces)
{
	struct span rest = span_str(interfaces), word;

	if (conf_list_has(interfaces, "all"))
		return true;
	if (conf_list_has(interfaces, "loopback-only"))
		return is_loopback(net);
	while (span_token(&rest, ", \t", &word))
		if (word_is(h, word, net))
			return true;
	return false;
}

const char *
conf_host_networks(const struct conf_host *h, struct arena *a, const char *style, const char *interfaces,
    const char *protocols)
{
	bool all = conf_list_has(protocols, "all");
	struct buf out;
	const char *text;

	buf_init(&out, 65536);
	for (size_t i = 0; i < h->net_count; i++) {
		const struct conf_net *net = &h->nets[i];

		if ((all || conf_list_has(protocols, net->v6 ? "ipv6" : "ipv4")) && is_listed(h, net, interfaces))
			add_net(&out, net, style);
	}
	text = arena_cstr(a, buf_span(&out));
	buf_release(&out);
	return text;
}
