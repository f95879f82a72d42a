/* The key order of address tables. */
#include "maps/addrkeys.h"

#include "mail/address.h"
#include "maps/maps.h"

struct search {
	const struct maps *m;
	const struct addrkey_query *q;
	struct asks *asks;
	struct arena *a;
	struct map_hit *hit;
	struct fault *why;
	struct span local, domain, user, extension;
	bool has_extension;
};

static enum map_result
try(const struct search *s, struct span key, bool partial)
{
	return partial ? maps_find_partial(s->m, key, s->asks, s->a, s->hit, s->why) :
	    maps_find(s->m, key, s->asks, s->a, s->hit, s->why);
}

/* The key as Postfix writes it: with the quotes a local part needs, and once more without. */
static enum map_result
try_quoted(const struct search *s, struct span key, bool partial)
{
	struct span external = address_external(key, s->a);
	enum map_result r = try(s, external, partial);

	return r == MAP_ABSENT && !span_eq(external, key) ? try(s, key, partial) : r;
}

static struct span
join(const struct search *s, struct span local, struct span domain)
{
	return arena_printf(s->a, "%.*s@%.*s", SPAN_ARG(local), SPAN_ARG(domain));
}

static enum map_result
try_address(const struct search *s, struct span *ext_r)
{
	enum map_result r = MAP_ABSENT;

	if (s->q->keys & ADDRKEY_FULL)
		r = try_quoted(s, s->q->addr, false);
	if (r == MAP_ABSENT && s->has_extension && s->q->keys & ADDRKEY_NOEXT) {
		r = try_quoted(s, join(s, s->user, s->domain), true);
		*ext_r = s->extension;
	}
	return r;
}

static enum map_result
try_local(const struct search *s, struct span *ext_r)
{
	enum map_result r;

	if (!(s->q->keys & ADDRKEY_LOCAL) || !s->q->local_domain)
		return MAP_ABSENT;
	*ext_r = span_str(NULL);
	r = try(s, s->local, true);
	if (r == MAP_ABSENT && s->has_extension) {
		r = try(s, s->user, true);
		*ext_r = s->extension;
	}
	return r;
}

static enum map_result
try_parents(const struct search *s)
{
	struct span name = s->domain;
	ptrdiff_t dot;

	while ((dot = span_index(span_from(name, name.n > 0), '.')) >= 0) {
		enum map_result r = MAP_ABSENT;

		name = span_from(name, (size_t)dot + 1);        /* ".parent" */
		if (s->q->keys & ADDRKEY_DOT_PARENTS)
			r = try(s, name, true);
		if (r == MAP_ABSENT && s->q->keys & ADDRKEY_PARENTS)
			r = try(s, span_from(name, 1), true);
		if (r != MAP_ABSENT)
			return r;
	}
	return MAP_ABSENT;
}

static enum map_result
try_domain(const struct search *s)
{
	enum map_result r = MAP_ABSENT;

	if (s->q->keys & ADDRKEY_AT_DOMAIN)
		r = try(s, join(s, SPAN(""), s->domain), true);
	if (r == MAP_ABSENT && s->q->keys & ADDRKEY_DOMAIN) {
		r = try(s, s->domain, true);
		if (r == MAP_ABSENT)
			r = try_parents(s);
	}
	return r;
}

static enum map_result
try_local_at(const struct search *s)
{
	enum map_result r;

	if (!(s->q->keys & ADDRKEY_LOCAL_AT))
		return MAP_ABSENT;
	r = try_quoted(s, join(s, s->local, SPAN("")), true);
	if (r == MAP_ABSENT && s->has_extension)
		r = try_quoted(s, join(s, s->user, SPAN("")), true);
	return r;
}

enum map_result
addrkeys_find(const struct maps *m, const struct addrkey_query *q, struct asks *asks, struct arena *a,
    struct map_hit *hit_r, struct span *extension_r, struct fault *why)
{
	struct search s = { .m = m, .q = q, .asks = asks, .a = a, .hit = hit_r, .why = why };
	struct span ext = span_str(NULL);
	bool has_domain = address_split(q->addr, &s.local, &s.domain);
	enum map_result r;

	s.has_extension = address_split_extension(s.local, q->delimiter, true, &s.user, &s.extension);
	/* with its delimiter */
	if (s.has_extension)
		s.extension = span_from(s.local, s.user.n);
	r = try_address(&s, &ext);
	if (r == MAP_ABSENT)
		r = try_local(&s, &ext);
	if (r == MAP_ABSENT) {
		ext = span_str(NULL);
		if (has_domain && s.domain.n > 0)
			r = try_domain(&s);
	}
	if (r == MAP_ABSENT && has_domain)
		r = try_local_at(&s);
	if (r == MAP_ABSENT && q->keys & ADDRKEY_STAR)
		r = try(&s, SPAN("*"), true);
	if (extension_r != NULL)
		*extension_r = r == MAP_FOUND ? arena_dup(a, ext) : span_str(NULL);
	return r;
}
