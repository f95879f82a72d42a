/* Canonical form, on internal addresses. */
#include "route/rewrite.h"

#include "conf/params.h"

static struct span
join(struct arena *a, struct span x, const char *between, struct span y)
{
	return arena_printf(a, "%.*s%s%.*s", SPAN_ARG(x), between, SPAN_ARG(y));
}

/* "@relay1,@relay2:user@site" (RFC 5321 section 4.1.2: A-d-l, to be ignored). Colons of literals do not count. */
static struct span
strip_source_route(struct span addr)
{
	bool literal = false;

	if (addr.n == 0 || addr.p[0] != '@')
		return addr;
	for (size_t i = 1; i < addr.n; i++) {
		if (addr.p[i] == ':' && !literal)
			return span_from(addr, i + 1);
		literal = addr.p[i] == '[' || (literal && addr.p[i] != ']');
	}
	return addr;
}

/* An address without '@': other forms of routing, or our own origin. */
static struct span
add_domain(const struct params *p, struct span origin, struct span addr, struct arena *a)
{
	struct span site, user;
	ptrdiff_t percent;

	if (p->swap_bangpath && span_cut(addr, '!', &site, &user))
		return join(a, user, "@", site);
	percent = span_rindex(addr, '%');
	if (p->allow_percent_hack && percent >= 0)
		return join(a, span_slice(addr, 0, (size_t)percent), "@", span_from(addr, (size_t)percent + 1));
	if (p->append_at_myorigin && origin.n > 0)
		return join(a, addr, "@", origin);
	return addr;
}

/* Not dot-dot and not at-dot: those stay broken for all to see. */
static struct span
strip_dot(struct span addr)
{
	if (addr.n >= 2 && addr.p[addr.n - 1] == '.' && addr.p[addr.n - 2] != '.' && addr.p[addr.n - 2] != '@')
		addr.n--;
	return addr;
}

struct span
route_rewrite(const struct params *p, struct span origin, struct span domain, struct span addr,
    struct arena *a)
{
	ptrdiff_t at;

	addr = strip_source_route(addr);
	if (addr.n == 0 || span_eq(addr, SPAN("@")))
		return SPAN("");
	if (span_rindex(addr, '@') < 0)
		addr = add_domain(p, origin, addr, a);
	at = span_rindex(addr, '@');
	if (at >= 0 && (size_t)at + 1 < addr.n && p->append_dot_mydomain && domain.n > 0) {
		struct span own = span_from(addr, (size_t)at + 1);

		if (own.p[0] != '[' && span_index(own, '.') < 0)
			addr = join(a, addr, ".", domain);
	}
	return strip_dot(addr);
}

struct span
route_rewrite_local(const struct params *p, struct span addr, struct arena *a)
{
	return route_rewrite(p, span_str(p->myorigin), span_str(p->mydomain), addr, a);
}
