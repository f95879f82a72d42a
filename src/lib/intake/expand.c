/*
 * The envelope's way: every recipient made canonical, copied where bcc maps say so, expanded by
 * virtual_alias_maps; duplicates out. Straight code, run again from the start after MAP_WAIT.
 */
#include <stdlib.h>

#include "base/hmap.h"
#include "base/text.h"
#include "conf/params.h"
#include "intake/intake.h"
#include "intake/rewrite.h"
#include "log/lines_cleanup.h"
#include "mail/address.h"
#include "maps/maps.h"

/* What one lookup may add to the scratch arena before we look at the budget again. */
#define LOOKUP_ROOM ((size_t)4 * MAPS_VALUE_MAX)

struct seen {
	struct hmap_node node;
	const struct envelope_rcpt *rcpt;
};

struct expand {
	struct rewrite r;
	const struct envelope *in;
	struct envelope *out;           /* in r.arena */
	unsigned flags;
	struct hmap seen;
};

/* The alias of one recipient, growing while it is expanded: list[done..count) is still to be looked up. */
struct worklist {
	struct span *list;
	size_t count, cap;
	struct span *at_rest;           /* expanded to themselves: never looked up again */
	size_t rest_count;
};

/* A table can only make the message wait, never the process end: memory is budgeted. */
static bool
has_room(const struct expand *x)
{
	if (arena_bytes(x->r.arena) + LOOKUP_ROOM <= INTAKE_ENVELOPE_ROOM)
		return true;
	log_cleanup_warning(x->r.log, "alias expansion takes too much memory -- message not accepted, try again later");
	return fault_set(x->r.why, "4.6.0", "Alias expansion error");
}

/* Continue after a MAP_WAIT with what does not depend on it, so that questions travel together. */
static enum map_result
worse(enum map_result a, enum map_result b)
{
	if (a == MAP_DEFER || b == MAP_DEFER)
		return MAP_DEFER;
	return a == MAP_WAIT ? a : b;
}

/* --- virtual aliases --- */

static enum map_result
refuse_expansion(const struct expand *x, const char *what, struct span addr)
{
	log_cleanup_warning(x->r.log, "unreasonable virtual_alias_maps map %s for %.*s -- message not accepted, "
	    "try again later", what, SPAN_ARG(log_esc(addr)));
	fault_set(x->r.why, "4.6.0", "Alias expansion error");
	return MAP_DEFER;
}

static void
worklist_add(struct worklist *w, struct arena *a, struct span addr)
{
	if (w->count == w->cap) {
		size_t cap = w->cap == 0 ? 8 : w->cap * 2;
		struct span *list = ARENA_ARRAY(a, struct span, cap);

		if (w->count > 0)
			memcpy(list, w->list, w->count * sizeof(*list));
		w->list = list;
		w->cap = cap;
	}
	w->list[w->count++] = addr;
}

/* The list of addresses at rest is as long as it has to be: it grows rarely. */
static void
put_at_rest(const struct expand *x, struct worklist *w, struct span addr)
{
	struct span *list = ARENA_ARRAY(x->r.arena, struct span, w->rest_count + 1);

	if (w->rest_count > 0)
		memcpy(list, w->at_rest, w->rest_count * sizeof(*list));
	list[w->rest_count++] = addr;
	w->at_rest = list;
}

/* One step of one address: its results take its place and the places behind the list's end. */
static enum map_result
alias_step(struct expand *x, struct worklist *w, size_t at, bool *rests_r)
{
	const struct params *p = x->r.conf->p;
	bool propagate = x->r.conf->propagate & INTAKE_PROPAGATE_VIRTUAL;
	struct span key = w->list[at], *found;
	enum map_result res;
	bool self = false;
	size_t n;

	*rests_r = true;
	if (!has_room(x))
		return MAP_DEFER;
	res = rewrite_lookup(&x->r, x->r.conf->virtual_alias_maps, "virtual_alias_maps", key, propagate,
	    &found, &n);
	if (res == MAP_ABSENT)
		return MAP_FOUND;
	if (res != MAP_FOUND) {
		if (res == MAP_DEFER)
			fault_set(x->r.why, "4.6.0", "Alias expansion error");
		return res;
	}
	*rests_r = false;
	for (size_t i = 0; i < n; i++) {
		if (found[i].n > (size_t)p->virtual_alias_address_length_limit)
			return refuse_expansion(x, "result", key);
		self = self || address_same(found[i], key);
	}
	w->list[at] = found[0];
	for (size_t i = 1; i < n; i++)
		worklist_add(w, x->r.arena, found[i]);
	/* An address that expands to itself, alone or among others, is expanded once. */
	if (self)
		put_at_rest(x, w, key);
	return MAP_FOUND;
}

static bool
is_at_rest(const struct worklist *w, struct span addr)
{
	for (size_t i = 0; i < w->rest_count; i++)
		if (address_same(w->at_rest[i], addr))
			return true;
	return false;
}

static enum map_result
alias_expand(struct expand *x, struct span addr, struct worklist *w)
{
	const struct params *p = x->r.conf->p;

	worklist_add(w, x->r.arena, addr);
	if (x->r.no_mappings || maps_empty(x->r.conf->virtual_alias_maps))
		return MAP_FOUND;
	for (size_t at = 0; at < w->count; at++) {
		bool rests = false;

		for (int depth = 0; !rests && !is_at_rest(w, w->list[at]); depth++) {
			enum map_result res;

			if (w->count > (size_t)p->virtual_alias_expansion_limit)
				return refuse_expansion(x, "expansion size", addr);
			if (depth >= p->virtual_alias_recursion_limit)
				return refuse_expansion(x, "nesting", addr);
			res = alias_step(x, w, at, &rests);
			if (res != MAP_FOUND)
				return res;
		}
	}
	return MAP_FOUND;
}

/* --- the list of recipients --- */

static bool
same_rcpt(const struct expand *x, const struct envelope_rcpt *a, const struct envelope_rcpt *b)
{
	if (!address_same(a->addr, b->addr))
		return false;
	/* With enable_original_recipient two ways to the same place are two deliveries, each with its X-Original-To. */
	if (!x->r.conf->p->enable_original_recipient)
		return true;
	return span_eq(a->orig, b->orig) && span_eq(a->orcpt, b->orcpt) && a->notify == b->notify;
}

static bool
is_duplicate(struct expand *x, const struct envelope_rcpt *rcpt)
{
	uint64_t hash = span_hash_ci(rcpt->addr);
	struct seen *s;

	HMAP_EACH_HASH(n, &x->seen, hash)
		if (same_rcpt(x, HMAP_ENTRY(n, struct seen, node)->rcpt, rcpt))
			return true;
	if (x->seen.count >= (size_t)x->r.conf->p->duplicate_filter_limit)
		return false;
	s = ARENA_NEW(x->r.arena, struct seen);
	s->rcpt = arena_alloc(x->r.arena, sizeof(*rcpt));
	memcpy((void *)(uintptr_t)s->rcpt, rcpt, sizeof(*rcpt));
	hmap_add(&x->seen, &s->node, hash);
	return false;
}

static enum map_result
emit(struct expand *x, const struct envelope_rcpt *rcpt)
{
	if (!has_room(x))
		return MAP_DEFER;
	if (is_duplicate(x, rcpt) || envelope_add_rcpt(x->out, x->r.arena, rcpt))
		return MAP_FOUND;
	fault_set(x->r.why, "4.5.3", "too many recipients after alias expansion");
	return MAP_DEFER;
}

/* Expand one canonical recipient and emit what comes out. */
static enum map_result
expand_rcpt(struct expand *x, const struct envelope_rcpt *rcpt)
{
	struct envelope_rcpt r = *rcpt;
	struct worklist w = { 0 };
	enum map_result res = alias_expand(x, rcpt->addr, &w);

	if (res != MAP_FOUND)
		return res;
	/* RFC 3461 section 5.2.7.3, way (c): "expanded" is reported here, SUCCESS goes no further. */
	if (w.count > 1 && (r.notify & ENVELOPE_NOTIFY_SUCCESS)) {
		envelope_add_expanded(x->out, x->r.arena, rcpt);
		r.notify &= ~(unsigned)ENVELOPE_NOTIFY_SUCCESS;
		if (r.notify == 0)
			r.notify = ENVELOPE_NOTIFY_NEVER;
	}
	for (size_t i = 0; i < w.count && res == MAP_FOUND; i++) {
		r.addr = w.list[i];
		res = emit(x, &r);
	}
	return res;
}

/* --- ORCPT --- */

static struct span
orcpt_utf8(struct span external, struct arena *a)
{
	struct span result;
	struct buf b;

	buf_init(&b, size_add(size_mul(external.n, 8), 16));
	buf_add_str(&b, "utf-8;");
	address_add_unitext(&b, external);
	result = arena_dup(a, buf_span(&b));
	buf_release(&b);
	return result;
}

/* The one parameter a relay may add (RFC 3461 section 5.2.1 (b)): where the mail was first addressed to. */
static struct span
make_orcpt(struct span addr, struct arena *a)
{
	struct span external = address_external(addr, a), result;
	struct buf b;

	if (!span_is_ascii(addr))
		return span_is_utf8(addr) ? orcpt_utf8(external, a) : SPAN("");
	buf_init(&b, size_add(size_mul(external.n, 3), 16));
	buf_add_str(&b, "rfc822;");
	text_xtext(&b, external);
	result = arena_dup(a, buf_span(&b));
	buf_release(&b);
	return result;
}

/* --- bcc --- */

/* A copy: canonical form and aliases, but no canonical maps of its own and no reports. */
static enum map_result
add_bcc(struct expand *x, struct span addr)
{
	struct envelope_rcpt r = { .notify = ENVELOPE_NOTIFY_NEVER, .flags = ENVELOPE_RCPT_BCC };

	r.addr = rewrite_form(x->r.conf->p, NULL, addr, x->r.arena);
	r.orig = r.addr;
	r.orcpt = make_orcpt(r.addr, x->r.arena);
	return r.addr.n == 0 ? MAP_FOUND : expand_rcpt(x, &r);
}

static enum map_result
bcc_by_map(struct expand *x, struct maps *maps, const char *name, struct span key)
{
	struct span *list;
	size_t n;
	enum map_result res;

	if (key.n == 0)
		return MAP_FOUND;
	res = rewrite_lookup(&x->r, maps, name, key, false, &list, &n);
	if (res != MAP_FOUND)
		return res == MAP_ABSENT ? MAP_FOUND : res;
	for (size_t i = 0; i < n && res == MAP_FOUND; i++)
		res = add_bcc(x, list[i]);
	return res;
}

static enum map_result
bcc_of_sender(struct expand *x)
{
	const struct intake_conf *c = x->r.conf;
	struct span always = span_str(c->p->always_bcc);
	enum map_result res = MAP_FOUND;

	if (x->flags & INTAKE_NO_BCC)
		return MAP_FOUND;
	if (always.n > 0)
		res = add_bcc(x, address_internal(always, x->r.arena));
	if (res == MAP_FOUND && !x->r.no_mappings)
		res = bcc_by_map(x, c->sender_bcc_maps, "sender_bcc_maps", x->out->sender);
	return res;
}

static enum map_result
rcpt_way(struct expand *x, const struct envelope_rcpt *in)
{
	struct envelope_rcpt r = *in;
	enum map_result res;

	if (!has_room(x))
		return MAP_DEFER;
	if (r.orig.n == 0)
		r.orig = r.addr;
	if (r.orcpt.n == 0)
		r.orcpt = make_orcpt(r.orig, x->r.arena);
	/* Copies asked for by BCC actions go the way of copies. */
	if (r.flags & ENVELOPE_RCPT_BCC)
		return add_bcc(x, r.addr);
	res = rewrite_address(&x->r, INTAKE_ENVELOPE_RECIPIENT, NULL, r.addr, &r.addr);
	if (res == MAP_FOUND)
		res = expand_rcpt(x, &r);
	if (res == MAP_FOUND && !(x->flags & INTAKE_NO_BCC) && !x->r.no_mappings)
		res = bcc_by_map(x, x->r.conf->recipient_bcc_maps, "recipient_bcc_maps", r.addr);
	return res;
}

static enum map_result
way(struct expand *x)
{
	enum map_result res, one;

	res = rewrite_address(&x->r, INTAKE_ENVELOPE_SENDER, NULL, x->in->sender, &x->out->sender);
	for (size_t i = 0; i < x->in->rcpt_count && res != MAP_DEFER; i++) {
		one = rcpt_way(x, &x->in->rcpts[i]);
		res = worse(res, one);
	}
	if (res == MAP_FOUND)
		res = bcc_of_sender(x);
	x->out->redirect = rewrite_form(x->r.conf->p, NULL, x->in->redirect, x->r.arena);
	return res;
}

enum map_result
intake_envelope(const struct intake_conf *c, struct asks *asks, struct arena *a, const struct log *log,
    unsigned flags, const struct envelope *in, struct envelope *out_r, struct fault *why)
{
	/* Twice the room: the budget is looked at between lookups, never inside one. */
	struct arena *scratch = arena_new(2 * INTAKE_ENVELOPE_ROOM);
	struct envelope out = *in;
	struct expand x = {
		.r = { .conf = c, .asks = asks, .arena = scratch, .log = log, .why = why,
			.no_mappings = flags & INTAKE_NO_MAPPINGS },
		.in = in, .out = &out, .flags = flags,
	};
	enum map_result res;

	out.rcpts = out.expanded = NULL;
	out.rcpt_count = out.rcpt_cap = out.expanded_count = out.expanded_cap = 0;
	hmap_init(&x.seen);
	res = way(&x);
	if (res == MAP_FOUND)
		envelope_copy(out_r, &out, a);
	hmap_release(&x.seen);
	arena_free(&scratch);
	return res;
}
