/* Networks and addresses as numbers. */
#include "maps/cidr.h"

#include <arpa/inet.h>

static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

static void
unmap(struct cidr *c)
{
	if (!c->v6 || memcmp(c->addr, mapped, sizeof(mapped)) != 0)
		return;
	memmove(c->addr, c->addr + 12, 4);
	memset(c->addr + 4, 0, 12);
	c->v6 = false;
	c->bits = 32;
}

static bool
parse_addr(struct span text, struct cidr *c_r)
{
	char copy[64];

	if (text.n == 0 || text.n >= sizeof(copy) || memchr(text.p, '\0', text.n) != NULL)
		return false;
	memcpy(copy, text.p, text.n);
	copy[text.n] = '\0';
	*c_r = (struct cidr){ 0 };
	c_r->v6 = span_index(text, ':') >= 0;
	c_r->bits = c_r->v6 ? 128 : 32;
	return inet_pton(c_r->v6 ? AF_INET6 : AF_INET, copy, c_r->addr) == 1;
}

static bool
unbracket(struct span *text)
{
	if (text->n == 0 || text->p[0] != '[')
		return true;
	if (text->p[text->n - 1] != ']')
		return false;
	*text = span_slice(*text, 1, text->n - 1);
	return true;
}

bool
cidr_addr(struct span text, struct cidr *c_r)
{
	if (!unbracket(&text) || !parse_addr(text, c_r))
		return false;
	unmap(c_r);
	return true;
}

static void
mask(struct cidr *c)
{
	for (unsigned i = 0; i < sizeof(c->addr); i++) {
		unsigned keep = c->bits <= i * 8 ? 0 : c->bits - i * 8 >= 8 ? 8 : c->bits - i * 8;

		c->addr[i] &= (uint8_t)(0xff00u >> keep);
	}
}

static bool
host_bits(const struct cidr *c, struct span text, struct fault *why)
{
	struct cidr net = *c;
	char name[INET6_ADDRSTRLEN];

	mask(&net);
	if (memcmp(net.addr, c->addr, sizeof(net.addr)) == 0)
		return true;
	inet_ntop(c->v6 ? AF_INET6 : AF_INET, net.addr, name, sizeof(name));
	return fault_set(why, "4.3.5", "\"%.*s\" has host bits set, perhaps %s%s%s/%u is meant",
	    SPAN_ARG(text), c->v6 ? "[" : "", name, c->v6 ? "]" : "", c->bits);
}

bool
cidr_parse(struct span text, struct cidr *c_r, struct fault *why)
{
	struct span addr, len, whole = text;
	uint64_t bits;
	bool has_len;

	if (text.n > 0 && text.p[0] == '[' && text.p[text.n - 1] == ']')
		whole = span_slice(text, 1, text.n - 1);        /* "[addr/len]" or "[addr]" */
	has_len = span_cut(whole, '/', &addr, &len);
	if (!unbracket(&addr) || !parse_addr(addr, c_r))
		return fault_set(why, "4.3.5", "\"%.*s\" is not an address", SPAN_ARG(text));
	if (has_len) {
		if (!span_u64(len, c_r->bits, &bits))
			return fault_set(why, "4.3.5", "\"%.*s\" has a bad prefix length", SPAN_ARG(text));
		c_r->bits = (unsigned)bits;
		return host_bits(c_r, text, why);
	}
	unmap(c_r);
	return true;
}

bool
cidr_match(const struct cidr *net, const struct cidr *addr)
{
	size_t bytes = net->bits / 8;
	unsigned rest = net->bits % 8;

	if (net->v6 != addr->v6 || memcmp(net->addr, addr->addr, bytes) != 0)
		return false;
	return rest == 0 || ((net->addr[bytes] ^ addr->addr[bytes]) & (uint8_t)(0xff00u >> rest)) == 0;
}
