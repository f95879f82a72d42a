/* What DANE makes of a level: the rows of tls-client.md 7.1, in their order, and the names of usage 2. */
#include "base/log.h"
#include "tls/decide_private.h"
#include "tls/policy_private.h"

static bool
is_only(const struct making *m)
{
	return m->d->level == TLS_LEVEL_DANE_ONLY;
}

/* `dane` goes on at `to`; `dane-only` defers with `text`. */
static bool
give_way(struct making *m, enum tls_level to, const char *text, const char *failure_type, struct span why)
{
	bool only = is_only(m);

	if (!only)
		m->d->level = to;
	decide_step(m, text, only ? SPAN("defer") : span_str(tls_level_name(to)), why);
	if (!only)
		return true;
	m->d->failure_type = failure_type;
	m->d->invalid = true;
	return fault_set(&m->d->fault, "4.7.5", "%s", text);
}

static bool
lookup_failed(struct making *m, const struct tls_dane_facts *f)
{
	struct span host = m->f->host;

	decide_warn(m, f != NULL && f->why.n > 0 ? log_esc(f->why) : SPAN("TLSA records were not looked up"));
	decide_step(m, "TLSA lookup failed", f != NULL ? f->why : SPAN(""), f != NULL ? f->qname : SPAN(""));
	m->d->failure_type = f != NULL && f->bogus ? "dnssec-invalid" : NULL;   /* no answer is trouble that passes (RFC 8460 section 4.3.4) */
	m->d->invalid = true;
	return fault_set(&m->d->fault, "4.7.5", "TLSA lookup error for %.*s:%u", SPAN_ARG(log_esc(host)), m->f->port);
}

static int
compare(const struct tls_tlsa *a, const struct tls_tlsa *b)
{
	uint8_t ka[3] = { a->usage, a->selector, a->matching }, kb[3] = { b->usage, b->selector, b->matching };
	size_t n = a->data.n < b->data.n ? a->data.n : b->data.n;
	int c = memcmp(ka, kb, 3);

	if (c == 0 && n > 0)
		c = memcmp(a->data.p, b->data.p, n);
	return c != 0 ? c : (a->data.n > b->data.n) - (a->data.n < b->data.n);
}

/* Name servers rotate their answers; a decision shall not change with that. */
static void
copy_sorted(struct tls_decision *d, const struct tls_dane_facts *f, struct arena *a)
{
	for (size_t i = 0; i < f->count && d->n_tlsa < TLS_TLSA_RECORDS_MAX; i++) {
		size_t j = d->n_tlsa++;

		for (; j > 0 && compare(&d->tlsa[j - 1], &f->records[i]) > 0; j--)
			d->tlsa[j] = d->tlsa[j - 1];
		d->tlsa[j] = f->records[i];
	}
	for (size_t i = 0; i < d->n_tlsa; i++)
		d->tlsa[i].data = arena_dup(a, d->tlsa[i].data);
}

/* The records into the decision, each with its fate. */
static bool
take_records(struct making *m, const struct tls_dane_facts *f)
{
	struct tls_decision *d = m->d;
	struct fault why;

	if (!tls_dane_digests_parse(span_str(m->p->dane_digests), &d->dane_digests, &why))
		return decide_invalid(m, arena_printf(m->a, "tls_dane_digests: %s", why.text));
	d->tlsa = ARENA_ARRAY(m->a, struct tls_tlsa, TLS_TLSA_RECORDS_MAX);
	copy_sorted(d, f, m->a);
	if (f->count > d->n_tlsa)
		decide_warn(m, arena_printf(m->a, "%.*s: only the first %d of %zu TLSA records are looked at",
		    SPAN_ARG(log_esc(f->qname)), TLS_TLSA_RECORDS_MAX, f->count));
	d->tlsa_base = arena_dup(m->a, f->base);
	d->n_tlsa_usable = tls_dane_judge(&d->dane_digests, d->tlsa, d->n_tlsa);
	decide_step(m, "TLSA records", arena_printf(m->a, "%zu found, %zu usable", d->n_tlsa, d->n_tlsa_usable), f->qname);
	return true;
}

/* Records that nobody can use still say that the server has TLS (RFC 7672 section 2.2). */
static bool
none_usable(struct making *m)
{
	bool only = is_only(m);

	if (!only)
		decide_warn(m, arena_printf(m->a, "%.*s: all TLSA records unusable, fallback to unauthenticated TLS",
		    SPAN_ARG(log_esc(m->f->host))));
	if (!give_way(m, TLS_LEVEL_ENCRYPT, "TLSA records unusable", "tlsa-invalid", m->d->tlsa_base))
		return false;
	m->d->failure_type = "tlsa-invalid";
	return true;
}

static bool
mx_insecure(const struct tls_facts *f)
{
	return f->from_mx && !f->mx_secure;
}

static bool
insecure_mx_policy_is(const struct tls_params *p, const char *word)
{
	return span_eq(span_str(p->dane_insecure_mx_policy), span_str(word));
}

/* An MX record without proof, but a proven host behind it: half-dane, or less. */
static void
half_dane(struct making *m)
{
	m->d->level = insecure_mx_policy_is(m->p, "encrypt") ? TLS_LEVEL_ENCRYPT : TLS_LEVEL_HALF_DANE;
	decide_step(m, "MX records without DNSSEC", span_str(tls_level_name(m->d->level)),
	    SPAN("smtp_tls_dane_insecure_mx_policy"));
}

static bool
by_records(struct making *m)
{
	const struct tls_dane_facts *f = m->f->dane;

	if (f == NULL || f->state == TLS_DANE_FAILED)
		return lookup_failed(m, f);
	if (f->state == TLS_DANE_ABSENT)
		return give_way(m, TLS_LEVEL_MAY, "no TLSA records found", "dane-required", f->why);
	if (!take_records(m, f))
		return false;
	if (m->d->n_tlsa_usable == 0)
		return none_usable(m);
	if (mx_insecure(m->f))
		half_dane(m);
	return true;
}

bool
tls_policy_wants_tlsa(const struct tls_facts *f, enum tls_level asked)
{
	if (!tls_level_is_dane(asked) || f->params->no_dane != NULL || f->unix_socket)
		return false;
	return !mx_insecure(f) || (asked == TLS_LEVEL_DANE && !insecure_mx_policy_is(f->params, "may"));
}

bool
decide_dane_comes_first(struct making *m)
{
	const struct tls_dane_facts *f = m->f->dane;
	struct tls_dane_digests digests;
	struct tls_tlsa *copy;

	if (mx_insecure(m->f) || (f != NULL && f->state == TLS_DANE_ABSENT))
		return false;
	if (f == NULL || f->state == TLS_DANE_FAILED || !tls_dane_digests_parse(span_str(m->p->dane_digests), &digests, NULL))
		return true;
	copy = ARENA_ARRAY(m->a, struct tls_tlsa, f->count + 1);
	memcpy(copy, f->records, f->count * sizeof(*copy));
	return tls_dane_judge(&digests, copy, f->count < TLS_TLSA_RECORDS_MAX ? f->count : TLS_TLSA_RECORDS_MAX) > 0;
}

bool
decide_dane(struct making *m)
{
	struct tls_decision *d = m->d;

	if (!tls_level_is_dane(d->level))
		return true;
	if (m->p->no_dane != NULL)
		return decide_invalid(m, arena_printf(m->a, "next-hop destination \"%.*s\": level %s needs DNSSEC: %s",
		    SPAN_ARG(log_esc(m->f->nexthop)), tls_level_name(d->level), m->p->no_dane));
	if (mx_insecure(m->f) && (is_only(m) || insecure_mx_policy_is(m->p, "may")))
		return give_way(m, TLS_LEVEL_MAY, "non DNSSEC destination", "dane-required", m->f->nexthop);
	return by_records(m);
}

void
decide_dane_names(struct making *m)
{
	const struct tls_facts *f = m->f;
	struct span nexthop = decide_nexthop_name(m);
	bool expanded = f->host_canon.n > 0 && span_eq_ci(m->d->tlsa_base, f->host_canon);

	m->d->names = ARENA_ARRAY(m->a, struct tls_name, NAMES_MAX);
	decide_put_name(m, m->d->tlsa_base, false, "TLSA base domain");
	if (f->from_mx && f->mx_secure) {
		decide_put_name(m, nexthop, false, "nexthop");
		if (f->mx_owner.n > 0 && !span_eq_ci(f->mx_owner, nexthop))
			decide_put_name(m, f->mx_owner, false, "MX owner");
	} else if (!f->from_mx && expanded) {
		decide_put_name(m, nexthop, false, "nexthop");
	}
	decide_step(m, "names to match (DANE)", m->d->tlsa_base, SPAN("RFC 7672 section 3.2.2"));
}
