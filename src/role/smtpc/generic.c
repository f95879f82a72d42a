/*
 * What the outside shall see: smtp_header_checks on the headers, then smtp_generic_maps on the addresses in
 * envelope and headers of what is sent (never of what stays here).
 */
#include <string.h>

#include "base/fd.h"
#include "intake/checks.h"
#include "mail/address.h"
#include "mail/header.h"
#include "maps/addrkeys.h"
#include "maps/strlist.h"
#include "role/smtpc/smtpc.h"

struct generic_state {
	struct span head;               /* headers as they go out */
	uint64_t replaces;              /* bytes of the original */
};

/* One pass over everything; whoever has to wait makes the whole pass wait. */
struct pass {
	struct delivery *d;
	struct fault *why;
	bool wait, failed;
};

static bool
is_local_domain(struct delivery *d, struct span addr)
{
	struct span local, domain;

	if (!address_split(addr, &local, &domain))
		return true;
	return span_eq_ci(domain, span_str(d->svc->p->myorigin)) || (d->svc->mydestination != NULL &&
	    strlist_find(d->svc->mydestination, domain, d->asks, d->arena, NULL, NULL) == MAP_FOUND);
}

static struct span
result(struct delivery *d, struct span addr, struct span value, struct span extension)
{
	struct arena *a = d->arena;
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
		.delimiter = d->svc->p->recipient_delimiter, .local_domain = d->svc->generic != NULL && is_local_domain(d, addr) };
	struct map_hit hit;
	struct span extension = SPAN("");

	if (addr.n == 0 || d->svc->generic == NULL)
		return false;
	switch (addrkeys_find(d->svc->generic, &q, d->asks, d->arena, &hit, &extension, p->why)) {
	case MAP_FOUND:
		*new_r = result(d, addr, hit.value, extension);
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

/* The block of headers at the front of the content. */
static struct span
read_head(struct delivery *d)
{
	size_t limit = (size_t)d->svc->p->header_size_limit, n = d->size < limit ? (size_t)d->size : limit;
	struct span text = d->content, rest, header;
	char *p;

	if (d->file >= 0) {
		p = arena_alloc(d->arena, n + 1);
		if (fd_pread_all(d->file, p, n, d->offset) < 0)
			return SPAN("");
		text = span_of(p, n);
	}
	rest = text;
	while (header_next(&rest, &header))
		;
	return span_slice(text, 0, text.n - rest.n);
}

static void
log_check(const struct delivery *d, const struct check *check, struct span text)
{
	if (!d->said_checks)            /* a pass that waited runs again */
		log_info(&d->log, "%s: header %.*s%s%.*s", check_word(check->action), SPAN_ARG(log_esc(span_slice(text, 0, 60))),
		    check->text.n > 0 ? ": " : "", SPAN_ARG(check->text));
}

/* smtp_header_checks: what becomes of the header; empty = nothing goes out. */
static struct span
checked(struct pass *p, struct span header, struct buf *out)
{
	struct delivery *d = p->d;
	struct span text = header_check_text(header, d->arena);
	struct map_hit hit;
	struct check check;
	enum map_result r = maps_find(d->svc->header_checks, text, d->asks, d->arena, &hit, p->why);

	p->wait |= r == MAP_WAIT;
	p->failed |= r == MAP_DEFER;
	if (r != MAP_FOUND)
		return header;
	if (!check_parse(hit.value, true, &check, p->why)) {
		p->failed = true;
		return header;
	}
	if (check.action == CHECK_IGNORE || check.action == CHECK_STRIP)
		header = SPAN("");
	if (check.action == CHECK_REPLACE)
		header = arena_printf(d->arena, "%.*s\r\n", SPAN_ARG(check.text));
	if (check.action == CHECK_PREPEND)
		buf_addf(out, "%.*s\r\n", SPAN_ARG(check.text));
	if (check.action != CHECK_DUNNO && check.action != CHECK_IGNORE)
		log_check(d, &check, text);
	return header;
}

static void
one_header(struct pass *p, struct span header, struct buf *out)
{
	struct span name, value;
	struct buf changed;

	if (p->d->svc->header_checks != NULL && header_split(header, &name, &value) && (header_flags(name) & HEADER_MIME) == 0)
		header = checked(p, header, out);
	if (p->d->svc->generic == NULL || !header_split(header, &name, &value) || (header_flags(name) & (HEADER_SENDER | HEADER_RECIPIENT)) == 0) {
		buf_add_span(out, header);
		return;
	}
	buf_init(&changed, header.n * 8 + 65536);
	if (header_rewrite_addresses(value, (size_t)p->d->svc->p->header_address_token_limit, rewrite_header, p,
	    p->d->arena, &changed) && !span_eq(buf_span(&changed), value))
		buf_addf(out, "%.*s: %.*s\r\n", SPAN_ARG(name), SPAN_ARG(buf_span(&changed)));
	else
		buf_add_span(out, header);
	buf_release(&changed);
}

static void
headers(struct pass *p, struct generic_state *g)
{
	struct span head = read_head(p->d), rest = head, header;
	struct buf out;

	buf_init(&out, head.n * 8 + 65536);
	while (header_next(&rest, &header))
		one_header(p, header, &out);
	if (!out.full && !span_eq(buf_span(&out), head)) {
		g->head = arena_dup(p->d->arena, buf_span(&out));
		g->replaces = head.n;
	}
	buf_release(&out);
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
generic_run(struct delivery *d, struct fault *why)
{
	struct pass p = { .d = d, .why = why };
	struct generic_state *g;

	if (d->gstate != NULL || (maps_empty(d->svc->generic) && maps_empty(d->svc->header_checks)))
		return MAP_FOUND;
	g = ARENA_NEW(d->arena, struct generic_state);
	headers(&p, g);
	envelope(&p);
	if (p.wait)
		return MAP_WAIT;
	d->said_checks = true;
	if (p.failed)
		return MAP_DEFER;
	d->gstate = g;
	return MAP_FOUND;
}

struct span
generic_head(const struct delivery *d, uint64_t *replaced_r)
{
	*replaced_r = d->gstate != NULL ? d->gstate->replaces : 0;
	return d->gstate != NULL ? d->gstate->head : SPAN("");
}
