/* What is shown of facts and decisions: for people, one idea a line; for programs, the same as JSON. */
#include "explain/explain.h"

#include <string.h>

#include "base/log.h"
#include "tls/groups.h"
#include "tls/ladder.h"
#include "hop/outcome.h"
#include "tls/report.h"

static const char *const trust_when_matched[] = {
	[TLS_LEVEL_NONE] = "", [TLS_LEVEL_MAY] = "Anonymous, Untrusted or Trusted", [TLS_LEVEL_ENCRYPT] = "Anonymous, Untrusted or Trusted",
	[TLS_LEVEL_FINGERPRINT] = "Verified", [TLS_LEVEL_HALF_DANE] = "Trusted", [TLS_LEVEL_DANE] = "Verified",
	[TLS_LEVEL_DANE_ONLY] = "Verified", [TLS_LEVEL_VERIFY] = "Verified", [TLS_LEVEL_SECURE] = "Verified",
};

static void
line(struct buf *out, const char *label, struct span text)
{
	if (text.n > 0)
		buf_addf(out, "%-15s %.*s\n", label, SPAN_ARG(log_esc(text)));
}

static void
sub(struct buf *out, const char *label, struct span text)
{
	if (text.n > 0)
		buf_addf(out, "  %-13s %.*s\n", label, SPAN_ARG(text));
}

/* ---- the way */

void
explain_show_way(struct buf *out, const struct explain_way *way)
{
	line(out, "recipient", way->recipient);
	line(out, "transport", way->transport);
	line(out, "next hop", way->nexthop);
	line(out, "chosen by", way->source);
	line(out, "service", way->service);
}

json_t *
explain_way_json(const struct explain_way *way)
{
	const struct { const char *name; struct span text; } rows[] = {
		{ "asked", way->what }, { "recipient", way->recipient }, { "transport", way->transport }, { "nexthop", way->nexthop },
		{ "source", way->source }, { "service", way->service },
	};
	json_t *o = json_object();

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].text.n > 0)
			json_object_set_new(o, rows[i].name, explain_json_span(rows[i].text));
	return o;
}

/* ---- the next hop */

static struct span
answer_text(const struct hop_answer *h, struct arena *a)
{
	const char *what = h->nxdomain ? "no such name" : h->count == 0 ? "no record" : h->count == 1 ? "1 record" : NULL;

	if (h->type == 0)
		return SPAN("");
	if (h->status == DNS_BOGUS || h->status == DNS_FAILED)
		return arena_printf(a, "%s %s (%.*s)", dns_type_name(h->type), dns_status_name(h->status), SPAN_ARG(log_esc(h->why)));
	return arena_printf(a, "%s %s, %s%s", dns_type_name(h->type), what != NULL ? what : arena_printf(a, "%zu records", h->count).p,
	    dns_status_name(h->status), h->native ? " (by the system's ways)" : "");
}

static void
show_table(struct buf *out, const struct hop *h, struct arena *a)
{
	const struct tls_table_answer *t = &h->table;

	switch (t->state) {
	case TLS_ANSWER_NONE:
		line(out, "policy table", SPAN("none"));
		return;
	case TLS_ANSWER_ABSENT:
		line(out, "policy table", arena_printf(a, "no entry for %.*s", SPAN_ARG(h->key)));
		return;
	case TLS_ANSWER_FAILED:
		line(out, "policy table", arena_printf(a, "lookup failed: %s", t->why.text));
		return;
	case TLS_ANSWER_FOUND:
		line(out, "policy table", arena_printf(a, "%.*s: \"%.*s\" (%.*s)", SPAN_ARG(t->key), SPAN_ARG(t->value), SPAN_ARG(t->source)));
		return;
	}
}

void
explain_show_hop(struct buf *out, const struct hop *h)
{
	struct arena *a = arena_new(4u << 20);

	show_table(out, h, a);
	line(out, "MX", h->unix_socket ? SPAN("not asked: a UNIX-domain socket") : h->no_mx ? SPAN("not asked: the next hop names a host") :
	    answer_text(&h->mx, a));
	for (size_t i = 0; i < h->n_hosts; i++) {
		const struct hop_host *host = &h->hosts[i];
		struct span one = answer_text(&host->answers[0], a), two = answer_text(&host->answers[1], a);

		buf_addf(out, "  %5u %.*s  %.*s%s%.*s\n", host->pref, SPAN_ARG(log_esc(host->name)), SPAN_ARG(one),
		    one.n > 0 && two.n > 0 ? "; " : "", SPAN_ARG(two));
	}
	arena_free(&a);
}

void
explain_show_nowhere(struct buf *out, const struct fault *why, bool last)
{
	line(out, "servers", SPAN("none"));
	buf_addf(out, "%-15s no server to go to: %s %s; %s\n", "verdict", why->dsn, why->text, !last ? "the next hop that follows is tried" :
	    why->dsn[0] == '5' ? "the message is returned to its sender" : "the message is deferred");
}

/* ---- one server */

/* "host[address]", as in the log. */
static const char *
peer_name(const struct hop_address *addr, struct arena *a)
{
	return addr->family == AF_UNIX ? arena_cstr(a, addr->text) :
	    arena_printf(a, "%.*s[%.*s]", SPAN_ARG(log_esc(addr->host)), SPAN_ARG(addr->text)).p;
}

static struct span
outcome_text(const struct tls_decision *d, enum hop_event ev, const char *peer, struct arena *a)
{
	struct hop_outcome o;

	hop_outcome(d, ev, peer, &o);
	switch (o.next) {
	case TLS_NEXT_CLEAR:
		return arena_printf(a, "the message goes in clear on this connection (tls=%s)", o.field);
	case TLS_NEXT_CLEAR_LATER:
		return arena_printf(a, "plainer TLS, then the next server (tls=%s); in clear only for a message that has waited minimal_backoff_time and "
		    "without login", o.field);
	case TLS_NEXT_DEFER:
		return arena_printf(a, "the next server; when none is left the message is deferred: %s %s (tls=%s)", o.dsn, o.text, o.field);
	}
	return SPAN("");
}

/* What a TLSRPT collector is told when this happens there: the type of the result, NULL = nothing. */
static const char *
reported(const struct tls_decision *d, enum tls_report_at at)
{
	static const struct tls_verdict matched = { .matched = true, .chain_ok = true };
	const struct tls_report_facts f = { .decision = d, .at = at, .verdict = &matched };
	struct tls_report_event e;

	return tls_report_event(&f, &e) ? tls_report_code_name(e.code) : NULL;
}

static const struct {
	enum tls_report_at at;
	const char *name, *text;
} report_rows[] = {
	{ TLS_REPORT_AT_UNUSABLE, "unusable", "passed over" }, { TLS_REPORT_AT_NOT_OFFERED, "not_offered", "no STARTTLS" },
	{ TLS_REPORT_AT_REFUSED, "refused", "refused" }, { TLS_REPORT_AT_HANDSHAKE, "handshake_failure", "handshake fails" },
	{ TLS_REPORT_AT_VERDICT, "secured", "all is well" },
};
enum { N_REPORT_ROWS = sizeof(report_rows) / sizeof(report_rows[0]) };

/* Does the row belong to this server, whose policy is `usable`? */
static bool
report_row_fits(size_t i, const struct tls_decision *d, bool usable)
{
	enum tls_report_at at = report_rows[i].at;

	if (!usable)
		return d->invalid && at == TLS_REPORT_AT_UNUSABLE;
	return at != TLS_REPORT_AT_UNUSABLE && (d->try_tls || d->wrapper) &&
	    (!d->wrapper || at == TLS_REPORT_AT_HANDSHAKE || at == TLS_REPORT_AT_VERDICT);
}

static void
show_reports(struct buf *out, const struct hop *h, const struct tls_decision *d, bool usable, struct arena *a)
{
	struct tls_report_policy policy;
	struct span s = SPAN("");

	for (size_t i = 0; hop_reports(h) && i < N_REPORT_ROWS; i++) {
		const char *type = report_row_fits(i, d, usable) ? reported(d, report_rows[i].at) : NULL;

		if (type != NULL)
			s = arena_printf(a, "%.*s; %s: %s", SPAN_ARG(s), report_rows[i].text, type);
	}
	if (s.n == 0)
		return;
	tls_report_policy(d, h->domain, a, &policy);
	buf_addf(out, "  %-13s if _smtp._tls.%.*s asks for reports: policy %s of %.*s%.*s\n", "TLSRPT", SPAN_ARG(log_esc(h->domain)),
	    tls_report_policy_name(policy.type), SPAN_ARG(log_esc(policy.domain)), SPAN_ARG(s));
}

/* Why nobody will connect to this server; dsn empty = somebody may. */
static struct fault
unusable(const struct hop_address *addr, const struct tls_decision *d)
{
	struct fault why = { 0 };

	if (d->invalid)
		why = d->fault;
	else if (d->skip_host)
		why = d->skip_fault;
	else if (addr->local.n > 0)
		fault_set(&why, "4.7.5", "%.*s", SPAN_ARG(log_esc(addr->local)));
	return why;
}

static struct span
names_text(const struct tls_decision *d, struct arena *a)
{
	struct span s = SPAN("");

	for (size_t i = 0; i < d->n_names && s.n < 4000; i++)
		s = arena_printf(a, "%.*s%s%s%.*s (%s)", SPAN_ARG(s), i > 0 ? ", " : "", d->names[i].subdomains ? "." : "",
		    SPAN_ARG(d->names[i].name), d->names[i].strategy);
	return s;
}

static struct span
digests_text(const char *digest, const struct tls_digest *v, size_t n, struct arena *a)
{
	struct span s = SPAN("");

	for (size_t i = 0; i < n && s.n < 8000; i++) {
		s = arena_printf(a, "%.*s%s%s ", SPAN_ARG(s), i > 0 ? ", " : "", digest);
		for (size_t k = 0; k < v[i].n; k++)
			s = arena_printf(a, "%.*s%s%02X", SPAN_ARG(s), k > 0 ? ":" : "", v[i].bytes[k]);
	}
	return s;
}

struct span
explain_show_level(const struct tls_decision *d, struct arena *a)
{
	if (d->asked == d->level)
		return span_str(tls_level_name(d->level));
	return arena_printf(a, "%s (asked for: %s)", tls_level_name(d->level), tls_level_name(d->asked));
}

/* Of a delivery that goes well. */
static struct span
field_text(const struct tls_decision *d, struct arena *a)
{
	struct hop_outcome o;

	hop_outcome(d, HOP_EVENT_SECURED, "", &o);
	return arena_printf(a, "tls=%s", o.field);
}

static void
show_tlsa(struct buf *out, const struct hop_address *addr, const struct tls_decision *d, struct arena *a)
{
	const struct tls_dane_facts *f = addr->dane;

	if (f == NULL)
		return;
	if (f->state != TLS_DANE_FOUND) {
		sub(out, "TLSA", arena_printf(a, "%.*s%s%.*s", SPAN_ARG(log_esc(f->qname.n > 0 ? f->qname : f->base)),
		    f->state == TLS_DANE_FAILED ? ": lookup failed: " : ": none: ", SPAN_ARG(log_esc(f->why))));
		return;
	}
	sub(out, "TLSA", arena_printf(a, "%.*s, %zu record%s, secure", SPAN_ARG(log_esc(f->qname)), f->count, f->count == 1 ? "" : "s"));
	for (size_t i = 0; i < d->n_tlsa; i++)
		buf_addf(out, "  %-13s %.*s: %s\n", "", SPAN_ARG(tls_tlsa_text(&d->tlsa[i], a)), tls_tlsa_fate_text(d->tlsa[i].fate));
}

static void
show_steps(struct buf *out, const struct tls_decision *d)
{
	for (size_t i = 0; i < d->n_trail; i++)
		buf_addf(out, "  %-13s %s: %.*s  [%.*s]\n", i == 0 ? "because" : "", d->trail[i].rule, SPAN_ARG(log_esc(d->trail[i].result)),
		    SPAN_ARG(log_esc(d->trail[i].source)));
	for (size_t i = 0; i < d->n_warnings; i++)
		buf_addf(out, "  %-13s %.*s\n", "warning", SPAN_ARG(d->warnings[i]));
}

/* Those that a handshake offers: of the configured ones, what the library has. */
static struct span
groups_text(const struct tls_decision *d, struct arena *a)
{
	struct span s;
	struct buf list;

	buf_init(&list, 4096);
	tls_groups_probe_client(d->groups_curves, d->groups_ffdhe, &list);
	s = list.n > 0 ? arena_dup(a, buf_span(&list)) : SPAN("the library's own choice");
	buf_release(&list);
	return s;
}

static void
show_demands(struct buf *out, const struct tls_decision *d, struct arena *a)
{
	sub(out, "names", names_text(d, a));
	sub(out, "fingerprints", digests_text(d->digest_name, d->digests, d->n_digests, a));
	sub(out, "root CAs", digests_text(d->digest_name, d->rootca, d->n_rootca, a));
	for (size_t i = 0; i < d->n_tafiles; i++)
		sub(out, "anchors", d->tafiles[i].path);
	sub(out, "protocols", d->protocols_text);
	sub(out, "ciphers", arena_printf(a, "%.*s: %.*s", SPAN_ARG(d->cipher_grade), SPAN_ARG(d->ciphers)));
	sub(out, "groups", groups_text(d, a));
	sub(out, "SNI", d->sni.n > 0 ? d->sni : SPAN("none"));
}

enum { SHORT_KEYS = TLS_WEAK_RSA1024 | TLS_WEAK_DH1024 };

static void
show_outcomes(struct buf *out, const struct tls_decision *d, const char *peer, struct arena *a)
{
	if (!d->wrapper) {
		sub(out, "no STARTTLS", outcome_text(d, HOP_EVENT_NOT_OFFERED, peer, a));
		sub(out, "refused", outcome_text(d, HOP_EVENT_REFUSED, peer, a));
	}
	if (tls_ladder_has(d))
		sub(out, "plainer TLS", arena_printf(a, "%.*s (where only that works, it comes first for 24 h)",
		    SPAN_ARG(tls_ladder_text(d, a))));
	sub(out, "handshake", outcome_text(d, HOP_EVENT_HANDSHAKE, peer, a));
	if (d->must_match)
		sub(out, "no match", outcome_text(d, HOP_EVENT_MISMATCH, peer, a));
	else if (tls_level_needs_tls(d->level) && (d->weak & SHORT_KEYS) != SHORT_KEYS)
		sub(out, "weak keys", outcome_text(d, HOP_EVENT_MISMATCH, peer, a));
	sub(out, "in the log", arena_printf(a, "%s TLS connection established to ...; %.*s", trust_when_matched[d->level],
	    SPAN_ARG(field_text(d, a))));
}

void
explain_show_host(struct buf *out, const struct hop *h, const struct hop_address *addr, size_t n, struct arena *a)
{
	struct tls_decision d;
	struct fault why;

	(void)hop_decide(h, addr, a, &d);
	why = unusable(addr, &d);
	if (addr->family == AF_UNIX)
		buf_addf(out, "\nserver %zu        %.*s\n", n, SPAN_ARG(log_esc(addr->text)));
	else
		buf_addf(out, "\nserver %zu        %.*s[%.*s]:%u\n", n, SPAN_ARG(log_esc(addr->host)), SPAN_ARG(addr->text), addr->port);
	show_tlsa(out, addr, &d, a);
	if (why.dsn[0] != '\0') {
		sub(out, "verdict", arena_printf(a, "not usable: %s %s; when no server is left the message is deferred", why.dsn, why.text));
		show_steps(out, &d);
		show_reports(out, h, &d, false, a);
		return;
	}
	sub(out, "level", explain_show_level(&d, a));
	show_steps(out, &d);
	if (!d.try_tls && !d.wrapper) {
		sub(out, "verdict", SPAN("in clear: TLS is not tried"));
		return;
	}
	sub(out, "connection", d.wrapper ? SPAN("TLS from the first byte") : SPAN("STARTTLS when it is offered"));
	show_demands(out, &d, a);
	show_outcomes(out, &d, peer_name(addr, a), a);
	show_reports(out, h, &d, true, a);
}

/* ---- JSON */

static void
set(json_t *o, const char *name, struct span s)
{
	json_object_set_new(o, name, explain_json_span(s));
}

static const char *
next_word(enum tls_next next)
{
	switch (next) {
	case TLS_NEXT_CLEAR:
		return "clear";
	case TLS_NEXT_CLEAR_LATER:
		return "clear-later";
	case TLS_NEXT_DEFER:
		return "defer";
	}
	return "";
}

static void
outcome_json(json_t *all, const char *name, const struct tls_decision *d, enum hop_event ev, const char *peer)
{
	json_t *one = json_object();
	struct hop_outcome o;

	hop_outcome(d, ev, peer, &o);
	set(one, "next", span_str(next_word(o.next)));
	set(one, "tls", span_str(o.field));
	if (o.dsn[0] != '\0') {
		set(one, "dsn", span_str(o.dsn));
		set(one, "text", span_str(o.text));
	}
	json_object_set_new(all, name, one);
}

static json_t *
outcomes_json(const struct tls_decision *d, const char *peer)
{
	json_t *o = json_object();

	outcome_json(o, "lost", d, HOP_EVENT_LOST, peer);
	outcome_json(o, "not_offered", d, HOP_EVENT_NOT_OFFERED, peer);
	if (!d->try_tls && !d->wrapper)
		return o;
	outcome_json(o, "secured", d, HOP_EVENT_SECURED, peer);
	outcome_json(o, "refused", d, HOP_EVENT_REFUSED, peer);
	outcome_json(o, "handshake_failure", d, HOP_EVENT_HANDSHAKE, peer);
	outcome_json(o, "mismatch", d, HOP_EVENT_MISMATCH, peer);
	return o;
}

static json_t *
steps_json(const struct tls_decision *d)
{
	json_t *v = json_array();

	for (size_t i = 0; i < d->n_trail; i++) {
		json_t *o = json_object();

		set(o, "rule", span_str(d->trail[i].rule));
		set(o, "result", d->trail[i].result);
		set(o, "source", d->trail[i].source);
		json_array_append_new(v, o);
	}
	return v;
}

static json_t *
fates_json(const struct tls_decision *d, struct arena *a)
{
	json_t *v = json_array();

	for (size_t i = 0; i < d->n_tlsa; i++) {
		json_t *o = json_object();

		set(o, "record", tls_tlsa_text(&d->tlsa[i], a));
		set(o, "fate", span_str(tls_tlsa_fate_text(d->tlsa[i].fate)));
		json_object_set_new(o, "usable", json_boolean(d->tlsa[i].fate == TLS_TLSA_USABLE));
		json_array_append_new(v, o);
	}
	return v;
}

static void
demands_json(json_t *o, const struct tls_decision *d, struct arena *a)
{
	set(o, "names", names_text(d, a));
	set(o, "fingerprints", digests_text(d->digest_name, d->digests, d->n_digests, a));
	set(o, "rootca", digests_text(d->digest_name, d->rootca, d->n_rootca, a));
	set(o, "protocols", d->protocols_text);
	set(o, "cipher_grade", d->cipher_grade);
	set(o, "ciphers", d->ciphers);
	set(o, "groups", groups_text(d, a));
	set(o, "sni", d->sni);
	set(o, "on_no_starttls", span_str(next_word(d->on_no_starttls)));
	set(o, "on_starttls_refused", span_str(next_word(d->on_starttls_refused)));
	set(o, "plainer_tls", tls_ladder_text(d, a));
	set(o, "on_handshake_failure", span_str(next_word(d->on_handshake_failure)));
	set(o, "on_mismatch", span_str(next_word(d->on_mismatch)));
	set(o, "trust_when_matched", span_str(trust_when_matched[d->level]));
	set(o, "log_field", field_text(d, a));
}

static json_t *
reports_json(const struct hop *h, const struct tls_decision *d, bool usable, struct arena *a)
{
	struct tls_report_policy policy;
	json_t *o = json_object();

	tls_report_policy(d, h->domain, a, &policy);
	set(o, "record", tls_report_name(h->domain, a));
	set(o, "policy_type", span_str(tls_report_policy_name(policy.type)));
	set(o, "policy_domain", policy.domain);
	for (size_t i = 0; i < N_REPORT_ROWS; i++) {
		const char *type = report_row_fits(i, d, usable) ? reported(d, report_rows[i].at) : NULL;

		if (type != NULL)
			set(o, report_rows[i].name, span_str(type));
	}
	return o;
}

json_t *
explain_host_json(const struct hop *h, const struct hop_address *addr, struct arena *a)
{
	json_t *o = json_object(), *warnings = json_array();
	struct tls_decision d;
	struct fault why;

	(void)hop_decide(h, addr, a, &d);
	why = unusable(addr, &d);
	set(o, "nexthop", h->nexthop);
	set(o, "host", addr->host);
	set(o, "address", addr->text);
	json_object_set_new(o, "port", json_integer(addr->port));
	json_object_set_new(o, "usable", json_boolean(why.dsn[0] == '\0'));
	if (why.dsn[0] != '\0') {
		set(o, "dsn", span_str(why.dsn));
		set(o, "reason", span_str(why.text));
	}
	set(o, "asked", span_str(tls_level_name(d.asked)));
	set(o, "level", span_str(tls_level_name(d.level)));
	json_object_set_new(o, "starttls", json_boolean(d.try_tls));
	json_object_set_new(o, "wrapper", json_boolean(d.wrapper));
	json_object_set_new(o, "must_match", json_boolean(d.must_match));
	json_object_set_new(o, "tlsa", fates_json(&d, a));
	if (why.dsn[0] == '\0')
		json_object_set_new(o, "outcomes", outcomes_json(&d, peer_name(addr, a)));
	if (why.dsn[0] == '\0' && (d.try_tls || d.wrapper))
		demands_json(o, &d, a);
	if (hop_reports(h))
		json_object_set_new(o, "tlsrpt", reports_json(h, &d, why.dsn[0] == '\0', a));
	json_object_set_new(o, "trail", steps_json(&d));
	for (size_t i = 0; i < d.n_warnings; i++)
		json_array_append_new(warnings, explain_json_span(d.warnings[i]));
	json_object_set_new(o, "warnings", warnings);
	return o;
}
