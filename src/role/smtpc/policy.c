/* What the TLS policy core is told about a next hop and its hosts; the rules themselves are in lib/tls. */
#include "log/lines_tls.h"
#include "role/smtpc/smtpc.h"

/* "file:line", or the table's name when it has no file. */
static struct span
source_of(struct arena *a, const struct map_hit *hit)
{
	if (hit->file.n == 0)
		return arena_dup(a, hit->table);
	return arena_printf(a, "%.*s:%u", SPAN_ARG(hit->file), hit->line);
}

static enum map_result
look_up(struct delivery *d, struct maps *m, struct span key, struct map_hit *hit_r, struct fault *why)
{
	if (key.n > 0 && key.p[0] == '.')
		return maps_find_partial(m, key, d->asks, d->arena, hit_r, why);
	return maps_find(m, key, d->asks, d->arena, hit_r, why);
}

static void
take_hit(struct delivery *d, struct span key, const struct map_hit *hit)
{
	d->table.state = TLS_ANSWER_FOUND;
	d->table.key = key;
	d->table.value = hit->value;
	d->table.source = source_of(d->arena, hit);
}

/* smtp_tls_policy_maps: the first key that is known, or that cannot be looked up, decides. */
static enum map_result
policy_table(struct delivery *d, struct span nexthop)
{
	struct tls_keys keys;

	tls_policy_keys(nexthop, d->arena, &keys);
	for (size_t i = 0; i < keys.count; i++) {
		struct map_hit hit;

		switch (look_up(d, d->svc->policy, keys.key[i], &hit, &d->table.why)) {
		case MAP_FOUND:
			take_hit(d, keys.key[i], &hit);
			return MAP_FOUND;
		case MAP_DEFER:
			d->table.state = TLS_ANSWER_FAILED;
			d->table.key = keys.key[i];
			return MAP_FOUND;
		case MAP_WAIT:
			return MAP_WAIT;
		case MAP_ABSENT:
			break;
		}
	}
	d->table.state = TLS_ANSWER_ABSENT;
	return MAP_FOUND;
}

/*
 * smtp_tls_per_site (tls-client.md 3.7), only without policy maps: values of the next hop and of the
 * host, the stronger one in the order MUST, MUST_NOPEERMATCH, NONE, MAY.
 */
static int
per_site_rank(struct span value)
{
	value = span_trim(value);
	if (span_eq_ci(value, SPAN("MUST")))
		return 4;
	if (span_eq_ci(value, SPAN("MUST_NOPEERMATCH")))
		return 3;
	if (span_eq_ci(value, SPAN("NONE")))
		return 2;
	return span_eq_ci(value, SPAN("MAY")) ? 1 : -1;
}

static enum map_result
per_site_one(struct delivery *d, struct span key, int *rank, struct tls_table_answer *t)
{
	struct map_hit hit;
	enum map_result r = maps_find(d->svc->per_site, arena_lower(d->arena, key), d->asks, d->arena, &hit, &t->why);
	int found;

	if (r == MAP_DEFER)
		t->state = TLS_ANSWER_FAILED;
	if (r != MAP_FOUND)
		return r;
	found = per_site_rank(hit.value);
	if (found < 0) {
		t->state = TLS_ANSWER_FAILED;
		fault_set(&t->why, "4.7.5", "%.*s: unknown TLS policy '%.*s' for %.*s",
		    SPAN_ARG(source_of(d->arena, &hit)), SPAN_ARG(log_esc(hit.value)), SPAN_ARG(log_esc(key)));
		return MAP_DEFER;
	}
	if (found > *rank) {
		*rank = found;
		t->source = source_of(d->arena, &hit);
	}
	return MAP_FOUND;
}

enum map_result
policy_per_site(struct delivery *d, struct span nexthop, struct span host, struct tls_table_answer *t_r)
{
	static const char *const levels[] = { "none", "may", "none", "encrypt", "verify" };
	struct span keys[2] = { nexthop, host };
	int rank = 0;

	*t_r = (struct tls_table_answer){ .state = TLS_ANSWER_ABSENT };
	for (int i = 0; i < 2; i++) {
		enum map_result r = per_site_one(d, keys[i], &rank, t_r);

		if (r == MAP_WAIT || r == MAP_DEFER)
			return r == MAP_WAIT ? MAP_WAIT : MAP_FOUND;
	}
	if (rank == 0 || (rank == 1 && d->svc->level > TLS_LEVEL_MAY))
		return MAP_FOUND;       /* nothing said, or MAY below a stronger global level */
	t_r->state = TLS_ANSWER_FOUND;
	t_r->key = nexthop;
	t_r->value = span_str(levels[rank]);
	return MAP_FOUND;
}

enum map_result
policy_facts(struct delivery *d, struct span nexthop)
{
	if (span_starts(nexthop, SPAN("unix:")))
		nexthop = span_from(nexthop, 5);
	else if (span_starts(nexthop, SPAN("inet:")))
		nexthop = span_from(nexthop, 5);
	d->table = (struct tls_table_answer){ .state = TLS_ANSWER_NONE };
	d->policy_key = nexthop;
	if (d->svc->policy == NULL || maps_empty(d->svc->policy))
		return MAP_FOUND;
	return policy_table(d, nexthop);
}

static void
log_warnings(const struct delivery *d, const struct tls_decision *dec)
{
	for (size_t i = 0; i < dec->n_warnings; i++)
		log_warning(&d->log, "%.*s", SPAN_ARG(dec->warnings[i]));
}

/* The decision could be made, but can it be carried out here? */
static bool
usable(struct delivery *d, const struct address *addr, const struct tls_decision *dec)
{
	bool needs = tls_level_needs_tls(dec->level) || dec->wrapper;
	struct fault why;

	if (!dec->try_tls && !dec->wrapper)
		return true;
	if (d->svc->tls_ctx == NULL) {
		if (needs)
			fault_set(&d->fault, "4.7.5", "TLS is required, but our TLS engine is unavailable");
		return !needs;
	}
	if (tls_client_ctx_usable(d->svc->tls_ctx, dec, &why))
		return true;
	log_tls_policy_lookup(&d->log, d->policy_key, addr->host, why.text);
	d->fault = why;
	return false;
}

bool
policy_decide(struct delivery *d, const struct address *addr, struct arena *a, struct tls_decision *dec_r)
{
	struct tls_facts facts = {
		.params = &d->svc->tls,
		.nexthop = d->policy_key,
		.host = addr->host,
		.host_canon = addr->canon,
		.port = addr->port,
		.unix_socket = addr->family == AF_UNIX,
		.tls_required_no = d->env.tls_optional,
		.myhostname = span_str(d->svc->p->myhostname),
		.table = d->table,
	};

	if (!tls_policy_decide(&facts, a, dec_r)) {
		log_warnings(d, dec_r);
		log_tls_policy_lookup(&d->log, d->policy_key, addr->host, dec_r->fault.text);
		d->fault = dec_r->fault;
		return false;
	}
	log_warnings(d, dec_r);
	if (dec_r->skip_host) {
		log_tls_policy_lookup(&d->log, d->policy_key, addr->host, dec_r->skip_fault.text);
		d->fault = dec_r->skip_fault;
		return false;
	}
	return usable(d, addr, dec_r);
}
