/* What the TLS policy core is told about a next hop and its hosts; the rules themselves are in lib/tls. */
#include "base/log.h"
#include "conf/params.h"
#include "hop/hop_private.h"
#include "maps/maps.h"
#include "tls/report.h"

/* "file:line", or the table's name when it has no file. */
static struct span
source_of(struct arena *a, const struct map_hit *hit)
{
	if (hit->file.n == 0)
		return arena_dup(a, hit->table);
	return arena_printf(a, "%.*s:%u", SPAN_ARG(hit->file), hit->line);
}

static enum map_result
look_up(struct hop *h, struct maps *m, struct span key, struct map_hit *hit_r, struct fault *why)
{
	if (key.n > 0 && key.p[0] == '.')
		return maps_find_partial(m, key, h->asks, h->arena, hit_r, why);
	return maps_find(m, key, h->asks, h->arena, hit_r, why);
}

static void
take_hit(struct hop *h, struct span key, const struct map_hit *hit)
{
	h->table.state = TLS_ANSWER_FOUND;
	h->table.key = key;
	h->table.value = hit->value;
	h->table.source = source_of(h->arena, hit);
}

/* smtp_tls_policy_maps: the first key that is known, or that cannot be looked up, decides. */
static enum map_result
find_policy(struct hop *h)
{
	struct tls_keys keys;

	tls_policy_keys(h->key, h->arena, &keys);
	for (size_t i = 0; i < keys.count; i++) {
		struct map_hit hit;

		switch (look_up(h, h->svc->policy, keys.key[i], &hit, &h->table.why)) {
		case MAP_FOUND:
			take_hit(h, keys.key[i], &hit);
			return MAP_FOUND;
		case MAP_DEFER:
			h->table.state = TLS_ANSWER_FAILED;
			h->table.key = keys.key[i];
			return MAP_FOUND;
		case MAP_WAIT:
			return MAP_WAIT;
		case MAP_ABSENT:
			break;
		}
	}
	h->table.state = TLS_ANSWER_ABSENT;
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
per_site_one(struct hop *h, struct span key, int *rank, struct tls_table_answer *t)
{
	struct map_hit hit;
	enum map_result r = maps_find(h->svc->per_site, arena_lower(h->arena, key), h->asks, h->arena, &hit, &t->why);
	int found;

	if (r == MAP_DEFER)
		t->state = TLS_ANSWER_FAILED;
	if (r != MAP_FOUND)
		return r;
	found = per_site_rank(hit.value);
	if (found < 0) {
		t->state = TLS_ANSWER_FAILED;
		fault_set(&t->why, "4.7.5", "%.*s: unknown TLS policy '%.*s' for %.*s",
		    SPAN_ARG(source_of(h->arena, &hit)), SPAN_ARG(log_esc(hit.value)), SPAN_ARG(log_esc(key)));
		return MAP_DEFER;
	}
	if (found > *rank) {
		*rank = found;
		t->source = source_of(h->arena, &hit);
	}
	return MAP_FOUND;
}

static enum map_result
per_site(struct hop *h, struct span host, struct tls_table_answer *t_r)
{
	static const char *const levels[] = { "none", "may", "none", "encrypt", "verify" };
	struct span keys[2] = { h->key, host };
	int rank = 0;

	*t_r = (struct tls_table_answer){ .state = TLS_ANSWER_ABSENT, .per_site = true };
	for (int i = 0; i < 2; i++) {
		enum map_result r = per_site_one(h, keys[i], &rank, t_r);

		if (r == MAP_WAIT || r == MAP_DEFER)
			return r == MAP_WAIT ? MAP_WAIT : MAP_FOUND;
	}
	if (rank == 0 || (rank == 1 && h->svc->level > TLS_LEVEL_MAY))
		return MAP_FOUND;       /* nothing said, or MAY below a stronger global level */
	t_r->state = TLS_ANSWER_FOUND;
	t_r->key = h->key;
	t_r->value = span_str(levels[rank]);
	return MAP_FOUND;
}

enum map_result
hop_table(struct hop *h)
{
	h->table = (struct tls_table_answer){ .state = TLS_ANSWER_NONE };
	return maps_empty(h->svc->policy) ? MAP_FOUND : find_policy(h);
}

static bool
wants_tlsa(const struct hop *h, const struct hop_address *addr)
{
	struct arena *a = arena_new(8 << 20);
	struct tls_facts facts;
	bool wanted;

	hop_facts(h, addr, &facts);
	wanted = tls_policy_wants_tlsa(&facts, tls_policy_asked(&facts, a));
	arena_free(&a);
	return wanted;
}

enum map_result
hop_host(struct hop *h, struct hop_address *addr)
{
	addr->table = &h->table;
	if (h->svc->per_site != NULL && h->svc->policy == NULL) {
		struct tls_table_answer *own = ARENA_NEW(h->arena, struct tls_table_answer);

		if (per_site(h, addr->host, own) == MAP_WAIT)
			return MAP_WAIT;
		h->table = *own;
		addr->table = own;
	}
	addr->dane = NULL;
	return wants_tlsa(h, addr) ? hop_dane(h, addr) : MAP_FOUND;
}

enum map_result
hop_gather(struct hop *h, struct span nexthop, struct fault *why)
{
	enum map_result table, r;

	hop_begin(h, nexthop);
	fault_clear(why);
	table = hop_table(h);
	r = hop_resolve(h, why);
	for (size_t i = 0; table == MAP_FOUND && r != MAP_WAIT && i < h->count; i++)
		if (hop_host(h, &h->list[i]) == MAP_WAIT)
			r = MAP_WAIT;
	return table == MAP_WAIT ? MAP_WAIT : r;
}

/* ---- deciding */

void
hop_facts(const struct hop *h, const struct hop_address *addr, struct tls_facts *facts_r)
{
	*facts_r = (struct tls_facts){
		.params = &h->svc->tls,
		.nexthop = h->key,
		.host = addr->host,
		.host_canon = addr->canon,
		.port = addr->port,
		.unix_socket = addr->family == AF_UNIX,
		.tls_required_no = h->tls_required_no,
		.myhostname = span_str(h->svc->p->myhostname),
		.table = addr->table != NULL ? *addr->table : h->table,
		.from_mx = addr->from_mx,
		.mx_secure = addr->mx_status == DNS_SECURE,
		.mx_owner = h->mx.alias ? h->mx.canon : SPAN(""),
		.dane = addr->dane,
	};
}

bool
hop_reports(const struct hop *h)
{
	const char *name = h->svc->p->smtp_tlsrpt_socket_name;
	const struct tls_report_scope scope = { .enabled = h->svc->p->smtp_tlsrpt_enable && name != NULL && name[0] != '\0',
		.lmtp = h->svc->lmtp, .unix_socket = h->unix_socket, .tls_required_no = h->tls_required_no,
		.global_level = h->svc->tls.security_level, .domain = h->domain };

	return tls_report_wanted(&scope);
}

bool
hop_decide(const struct hop *h, const struct hop_address *addr, struct arena *a, struct tls_decision *dec_r)
{
	struct tls_facts facts;

	hop_facts(h, addr, &facts);
	return tls_policy_decide(&facts, a, dec_r);
}
