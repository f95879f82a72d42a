/*
 * TLSRPT (tls/report.h): the domain's record is asked for beside the delivery, and what became of TLS at a server waits for
 * it here, so that nothing of this delays or fails a delivery. A report belongs to one next hop of one delivery and may
 * outlive it; what has been found is sent to the collector without waiting, and is lost when nobody takes it.
 */
#include <netinet/in.h>

#include "log/lines_tls.h"
#include "role/smtpc/smtpc.h"
#include "tls/report.h"

#define ARENA_MAX ((size_t)16 << 20)
enum { REPORTS_MAX = 10000, WAITING_MAX = 64 };

/* Something that has happened, told when it is known that the domain wants to hear it. */
struct told {
	struct tls_report_event event;
	struct span mx;                 /* "host[address]", for the log */
	struct span policies;
};

struct report {
	struct list node;               /* role->reports */
	struct smtpc_role *role;
	struct service *svc;
	struct arena *arena;            /* the report is its first allocation */
	struct asks *asks;
	struct span domain, record;
	bool held;                      /* by the delivery */
	bool answered, asked_for;
	struct told waiting[WAITING_MAX];
	size_t n_waiting;
	struct span hosts[WAITING_MAX]; /* that could not be used: each is told of once */
	size_t n_hosts;
};

static void
report_free(struct report *r)
{
	struct arena *a = r->arena;

	asks_free(&r->asks);
	list_remove(&r->node);
	r->role->n_reports--;
	arena_free(&a);
}

static struct log
report_log(const struct report *r)
{
	return (struct log){ .tag = r->svc->cs->log_tag };
}

/* At smtp_tls_loglevel 2. */
static void
say_none(const struct report *r, const char *why)
{
	struct log l = report_log(r);

	if (r->svc->tls_log & LOG_TLS_VERBOSE)
		log_info(&l, "TLSRPT: no report for domain %.*s: %s", SPAN_ARG(log_esc(r->domain)), why);
}

/* ---- to the collector */

static void
tell(struct report *r, const struct told *t)
{
	const char *name = tls_report_code_name(t->event.code);
	struct log l = report_log(r);
	struct buf b;

	log_tls_report(&l, r->domain, t->mx, t->event.code == TLS_REPORT_SUCCESS ? NULL : name, t->event.reason);
	buf_init(&b, TLS_REPORT_DATAGRAM_MAX);
	tls_report_write(&b, r->domain, r->record, t->policies);
	collector_send(&r->role->collector, r->svc->collector, buf_span(&b));
	buf_release(&b);
}

/* ---- the record */

static void
found(struct report *r, const struct dns_answer *answer)
{
	struct fault why;

	switch (tls_report_find(answer, &r->record, &why)) {
	case TLS_REPORT_ASKED_FOR:
		r->record = arena_dup(r->arena, r->record);
		r->asked_for = true;
		return;
	case TLS_REPORT_NO_RECORD:
		return;
	case TLS_REPORT_SEVERAL:
		log_warning(NULL, "%.*s: several TLSRPT records: none is used (RFC 8460 section 3)", SPAN_ARG(log_esc(answer->name)));
		return;
	case TLS_REPORT_BAD_RECORD:
		log_warning(NULL, "%.*s: TLSRPT record not used: %s", SPAN_ARG(log_esc(answer->name)), why.text);
		return;
	case TLS_REPORT_FAILED:
		say_none(r, arena_printf(r->arena, "its record could not be looked up: %s", why.text).p);
		return;
	}
}

/* Once the answer is there. */
static void
settle(struct report *r)
{
	const struct dns_answer *answer;

	if (r->answered || asks_dns(r->asks, tls_report_name(r->domain, r->arena), DNS_TYPE_TXT, &answer) == MAP_WAIT)
		return;
	r->answered = true;
	found(r, answer);
	for (size_t i = 0; r->asked_for && i < r->n_waiting; i++)
		tell(r, &r->waiting[i]);
	r->n_waiting = 0;
}

static void
on_answer(void *ctx)
{
	struct report *r = ctx;

	settle(r);
	if (!r->held && r->answered)
		report_free(r);
}

static void
begin(struct delivery *d)
{
	struct smtpc_role *s = d->role;
	struct arena *a = arena_new(ARENA_MAX);
	struct report *r = ARENA_NEW(a, struct report);

	*r = (struct report){ .role = s, .svc = d->svc, .arena = a, .domain = arena_dup(a, d->facts.domain), .held = true };
	r->asks = asks_new(s->role->asks, on_answer, r);
	list_push_back(&s->reports, &r->node);
	s->n_reports++;
	d->report = r;
	settle(r);
}

void
report_begin(struct delivery *d)
{
	if (d->report == NULL && hop_reports(&d->facts) && d->role->n_reports < REPORTS_MAX)
		begin(d);
}

void
report_leave(struct delivery *d)
{
	struct report *r = d->report;

	d->report = NULL;
	if (r == NULL)
		return;
	r->held = false;
	if (r->answered || r->n_waiting == 0)
		report_free(r);
}

void
reports_drop(struct smtpc_role *s)
{
	while (!list_empty(&s->reports))
		report_free(LIST_ITEM(s->reports.next, struct report, node));
	collector_release(&s->collector);
}

/* ---- events */

static void
note(struct report *r, const struct tls_decision *d, const struct tls_report_event *e, const struct tls_report_peer *peer, struct span mx)
{
	struct told *t = &r->waiting[r->n_waiting], now;
	struct tls_report_policy policy;
	struct arena *a;
	size_t left_out;
	struct buf b;

	if (r->answered ? !r->asked_for : r->n_waiting == WAITING_MAX)
		return;
	a = arena_new(ARENA_MAX);
	if (r->answered)
		t = &now;
	buf_init(&b, TLS_REPORT_POLICIES_MAX);
	tls_report_policy(d, r->domain, a, &policy);
	left_out = tls_report_write_policies(&b, &policy, e, peer);
	if (r->answered)
		*t = (struct told){ .event = *e, .mx = mx, .policies = buf_span(&b) };
	else
		*t = (struct told){ .event = *e, .mx = arena_dup(r->arena, mx), .policies = arena_dup(r->arena, buf_span(&b)) };
	if (left_out > 0)
		log_warning(NULL, "TLSRPT: report for domain %.*s: %zu records or patterns of the policy had no room", SPAN_ARG(log_esc(r->domain)), left_out);
	if (r->answered)
		tell(r, t);
	else
		r->n_waiting++;
	buf_release(&b);
	arena_free(&a);
}

/* Where we connected from. */
static struct span
local_address(struct arena *a, int fd)
{
	union {
		struct sockaddr sa;
		struct sockaddr_in in4;
		struct sockaddr_in6 in6;
	} u = { 0 };
	socklen_t n = sizeof(u);

	if (fd < 0 || getsockname(fd, &u.sa, &n) != 0)
		return SPAN("");
	if (u.sa.sa_family == AF_INET)
		return dns_address_text(a, span_of(&u.in4.sin_addr, 4));
	return u.sa.sa_family == AF_INET6 ? dns_address_text(a, span_of(&u.in6.sin6_addr, 16)) : SPAN("");
}

void
report_event(struct conn *c, enum tls_report_at at, const struct tls_verdict *v)
{
	struct report *r = c->d->report;
	const struct tls_report_facts f = { .decision = &c->decision, .at = at, .verdict = v, .resumed = c->l.stream.resumed,
		.skip_resumed = c->svc->p->smtp_tlsrpt_skip_reused_handshakes, .reused = c->taken > 0, .reported = c->reported,
		.hidden = (c->d->discard & SMTPC_CAP_STARTTLS) != 0 || c->svc->p->smtp_never_send_ehlo };
	struct tls_report_event e;
	struct tls_report_peer peer;

	if (r == NULL || !tls_report_event(&f, &e))
		return;
	c->reported = true;
	c->report = tls_report_code_name(e.code);
	peer = (struct tls_report_peer){ .sending_ip = local_address(c->arena, c->l.fd), .mx = c->l.addr.host,
		.helo = span_str(c->l.engine_ready ? c->l.engine.server_name : ""), .receiving_ip = c->l.addr.text };
	note(r, &c->decision, &e, &peer, span_str(c->l.peer));
}

/* The same host comes with several addresses, and none of them was tried. */
static bool
is_new(struct report *r, struct span host)
{
	for (size_t i = 0; i < r->n_hosts; i++)
		if (span_eq_ci(r->hosts[i], host))
			return false;
	if (r->n_hosts < WAITING_MAX)
		r->hosts[r->n_hosts++] = arena_dup(r->arena, host);
	return true;
}

const char *
report_unusable(struct delivery *d, const struct hop_address *addr, const struct tls_decision *dec)
{
	const struct tls_report_facts f = { .decision = dec, .at = TLS_REPORT_AT_UNUSABLE };
	struct tls_report_event e;
	struct tls_report_peer peer = { .mx = addr->host };

	if (d->report == NULL || !dec->invalid || !tls_report_event(&f, &e))
		return NULL;
	if (is_new(d->report, addr->host))
		note(d->report, dec, &e, &peer, arena_printf(d->arena, "%.*s[%.*s]", SPAN_ARG(addr->host), SPAN_ARG(addr->text)));
	return tls_report_code_name(e.code);
}

const char *
report_said(const struct delivery *d, const char *event, struct arena *a)
{
	const struct report *r = d->report;

	if (r == NULL || event == NULL || (r->answered && !r->asked_for))
		return NULL;
	return r->answered ? event : arena_printf(a, "%s, if the domain asks for reports", event).p;
}

/* Names whose proof does not hold: of the MX records, or of all hosts. */
static bool
is_bogus(const struct hop *h, struct span *host_r)
{
	*host_r = SPAN("");
	if (h->mx.type != 0 && h->mx.status == DNS_BOGUS)
		return true;
	for (size_t i = 0; h->count == 0 && i < h->n_hosts; i++) {
		*host_r = h->hosts[i].name;
		for (int k = 0; k < 2; k++)
			if (h->hosts[i].answers[k].type != 0 && h->hosts[i].answers[k].status == DNS_BOGUS)
				return true;
	}
	return false;
}

/* There was no server to decide about, but that is what dane-only came to (tls-client.md 20.5). */
void
report_unresolved(struct delivery *d)
{
	struct hop_address nobody = { .host = d->facts.domain };
	struct tls_decision dec = { .invalid = true, .asked = TLS_LEVEL_DANE_ONLY, .level = TLS_LEVEL_DANE_ONLY, .failure_type = "dnssec-invalid" };
	struct tls_report_event e = { .code = TLS_REPORT_DNSSEC_INVALID };
	struct tls_report_peer peer = { 0 };
	struct tls_facts facts;

	if (d->report == NULL || !is_bogus(&d->facts, &peer.mx))
		return;
	hop_facts(&d->facts, &nobody, &facts);
	if (tls_policy_asked(&facts, d->arena) == TLS_LEVEL_DANE_ONLY)
		note(d->report, &dec, &e, &peer, peer.mx.n > 0 ? peer.mx : SPAN("none"));
}
