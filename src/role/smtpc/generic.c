/* smtp_generic_maps: the addresses in envelope and headers of what is sent (never of what stays here). */
#include "mail/address.h"
#include "mail/header.h"
#include "maps/addrkeys.h"
#include "maps/strlist.h"
#include "role/smtpc/smtpc.h"

/* One pass over the envelope or a header; whoever has to wait makes the whole pass wait. */
struct pass {
	struct delivery *d;
	struct asks *asks;
	struct arena *arena;
	struct fault *why;
	bool wait, failed;
};

static bool
is_local_domain(struct pass *p, struct span addr)
{
	struct delivery *d = p->d;
	struct span local, domain;

	if (!address_split(addr, &local, &domain))
		return true;
	return span_eq_ci(domain, span_str(d->svc->p->myorigin)) || (d->svc->mydestination != NULL &&
	    strlist_find(d->svc->mydestination, domain, p->asks, p->arena, NULL, NULL) == MAP_FOUND);
}

static struct span
result(struct pass *p, struct span addr, struct span value, struct span extension)
{
	struct delivery *d = p->d;
	struct arena *a = p->arena;
	struct span first, local, domain;
	bool propagate = span_find_ci(span_str(d->svc->p->propagate_unmatched_extensions), SPAN("generic")) >= 0;

	value = span_trim(value);
	(void)span_cut(value, ',', &first, &value);
	first = address_internal(span_trim(first), a);
	if (first.n > 0 && first.p[0] == '@') {         /* @domain: the local part stays */
		(void)address_split(addr, &local, &domain);
		return arena_printf(a, "%.*s%.*s", SPAN_ARG(local), SPAN_ARG(first));
	}
	if (!address_split(first, &local, &domain)) {
		local = first;
		domain = span_str(d->svc->p->myorigin);
	}
	return arena_printf(a, "%.*s%.*s@%.*s", SPAN_ARG(local), SPAN_ARG(propagate ? extension : SPAN("")),
	    SPAN_ARG(domain));
}

/* The new address, or false when it stays (or cannot be known yet). */
static bool
rewrite(struct pass *p, struct span addr, struct span *new_r)
{
	struct delivery *d = p->d;
	const struct addrkey_query q = { .addr = addr, .keys = ADDRKEYS_CANONICAL,
		.delimiter = d->svc->p->recipient_delimiter, .local_domain = d->svc->generic != NULL && is_local_domain(p, addr) };
	struct map_hit hit;
	struct span extension = SPAN("");

	if (addr.n == 0 || d->svc->generic == NULL || p->failed)
		return false;
	if (p->arena != d->arena && arena_bytes(p->arena) > GENERIC_SCRATCH_BUDGET) {
		p->failed = true;
		return fault_set(p->why, "4.3.0", "header takes too much memory");
	}
	switch (addrkeys_find(d->svc->generic, &q, p->asks, p->arena, &hit, &extension, p->why)) {
	case MAP_FOUND:
		*new_r = result(p, addr, hit.value, extension);
		return !span_eq(*new_r, addr);
	case MAP_WAIT:
		p->wait = true;
		return false;
	case MAP_DEFER:
		p->failed = true;
		return false;
	case MAP_ABSENT:
		return false;
	}
	return false;
}

static bool
rewrite_header(void *ctx, struct span addr, struct span *new_r)
{
	return rewrite(ctx, addr, new_r);
}

enum map_result
generic_value(struct delivery *d, struct asks *asks, struct arena *a, struct span value, struct buf *out, struct fault *why)
{
	struct pass p = { .d = d, .asks = asks, .arena = a, .why = why };

	header_rewrite_addresses(value, (size_t)d->svc->p->header_address_token_limit, rewrite_header, &p, a, out);
	return p.wait ? MAP_WAIT : p.failed ? MAP_DEFER : MAP_FOUND;
}

static void
envelope(struct pass *p)
{
	struct delivery *d = p->d;
	struct span new;

	if (rewrite(p, d->env.sender, &new))
		d->tx_sender = new;
	for (size_t i = 0; i < d->n_rcpts; i++)
		if (rewrite(p, d->rcpts[i].addr, &new))
			d->rcpt_out[i] = new;
}

enum map_result
generic_envelope(struct delivery *d, struct fault *why)
{
	struct pass p = { .d = d, .asks = d->asks, .arena = d->arena, .why = why };

	if (d->generic_done || maps_empty(d->svc->generic))
		return MAP_FOUND;
	envelope(&p);
	if (p.wait)
		return MAP_WAIT;
	if (p.failed)
		return MAP_DEFER;
	d->generic_done = true;
	return MAP_FOUND;
}
