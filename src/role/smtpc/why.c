/*
 * Records for `signet tls why`: what became of each recipient at each server that a delivery tried or passed over, sent to
 * the logger and never waited for. Recipients with the same outcome share a record. While the logger is being started again
 * a bounded number of lines waits for it; when it is behind, records are dropped and counted: mail does not wait for its
 * explanation.
 */
#include "tls/why.h"

#include "base/clock.h"
#include "role/smtpc/smtpc.h"

#define BACKLOG_MAX ((size_t)1 << 20)
#define COMPLAIN_US (60 * US_PER_S)
enum { RECORDS_MAX = 128 };     /* of one delivery */

static bool
wanted(const struct delivery *d)
{
	return d->svc->p->tls_why_retention_time_ms > 0 && d->svc->p->tls_why_size_limit > 0;
}

/* ---- to the logger */

static void
complain(struct smtpc_role *s)
{
	if (s->why_lost == 0)
		return;
	s->why_complained_us = loop_now_us(s->loop);
	log_warning(NULL, "the logger is behind: %llu records for \"signet tls why\" were not written", (unsigned long long)s->why_lost);
	s->why_lost = 0;
}

static void
lost(struct smtpc_role *s)
{
	s->why_lost++;
	if (s->why_complained_us == 0 || loop_now_us(s->loop) >= s->why_complained_us + COMPLAIN_US)
		complain(s);
}

static void
send_line(struct smtpc_role *s, struct ipc_peer *log, struct span line)
{
	const struct ipc_why_record m = { .line = line };

	if (ipc_peer_backlog(log) > BACKLOG_MAX || !ipc_send_why_record(log, &m))
		lost(s);
}

/* It is being started again: what does not fit is told when it is there. */
static void
keep_line(struct smtpc_role *s, struct span line)
{
	if (s->why_waiting.n + line.n <= WHY_WAITING_MAX)
		buf_add_span(&s->why_waiting, line);
	else
		s->why_lost++;
}

void
why_log_up(struct smtpc_role *s, struct ipc_peer *log)
{
	struct span rest = buf_span(&s->why_waiting);

	while (rest.n > 0) {
		size_t n = (size_t)span_index(rest, '\n') + 1;

		send_line(s, log, span_slice(rest, 0, n));
		rest = span_from(rest, n);
	}
	buf_clear(&s->why_waiting);
	complain(s);
}

/* How many recipients found room in it. */
static size_t
send_record(struct delivery *d, const struct tls_why *w)
{
	struct ipc_peer *log = ipc_peer_any(d->role->role->hub, IPC_ROLE_LOG);
	struct buf b;
	size_t listed;

	buf_init(&b, 2 * TLS_WHY_MAX);
	listed = tls_why_write(&b, w);
	if (log != NULL)
		send_line(d->role, log, buf_span(&b));
	else
		keep_line(d->role, buf_span(&b));
	buf_release(&b);
	d->why_records++;
	return listed;
}

/* ---- what is said of whom */

struct said {
	const char *outcome;
	struct span dsn, text;
};

/* False: nothing new. `next` = what an outcome that is not decided is called, NULL = nothing. */
static bool
said(const struct delivery *d, size_t i, const char *next, const struct fault *why, struct said *s_r)
{
	static const char *const names[] = { "", "sent", "deferred", "bounced", "passed" };
	const struct outcome *o = &d->outcomes[i];

	if (o->told || (o->status == OUT_NONE && next == NULL))
		return false;
	*s_r = (struct said){ o->status == OUT_NONE ? next : names[o->status], span_str(o->dsn), o->text };
	if (d->probe && o->status == OUT_SENT)
		s_r->outcome = "deliverable";
	if (o->status == OUT_NONE && !o->passed_over) {
		s_r->dsn = span_str(why != NULL ? why->dsn : "");
		s_r->text = span_str(why != NULL ? why->text : "");
	}
	return true;
}

/* Texts of acceptance differ by queue ids and addresses only: the first one stands for all. */
static bool
same(const struct said *a, const struct said *b)
{
	return strcmp(a->outcome, b->outcome) == 0 && span_eq(a->dsn, b->dsn) &&
	    (strcmp(a->outcome, "sent") == 0 || span_eq(a->text, b->text));
}

static void
put(struct delivery *d, const struct said *s, size_t n)
{
	struct tls_why w = { .wall_us = clock_wall_us(), .qid = d->qid, .nexthop = d->facts.key, .rcpts = (unsigned)n,
		.tried = d->why_tried, .outcome = s->outcome, .dsn = s->dsn, .text = s->text };

	for (size_t at = 0; at < n && d->why_records < RECORDS_MAX; w.continued = true) {
		w.to = d->why_to + at;
		w.n_to = n - at;
		w.last = d->why_records == RECORDS_MAX - 1;
		if (w.last)
			w.outcome = "not recorded";
		w.peer = d->why_peer.n > 0 ? d->why_peer : d->why_brief;
		at += send_record(d, &w);
		d->why_peer = SPAN("");
	}
}

/* One record, or several when the recipients do not fit, for each outcome that is new. */
static void
tell(struct delivery *d, const char *next, const struct fault *why)
{
	struct said s, other;

	if (d->why_to == NULL)
		d->why_to = ARENA_ARRAY(d->arena, struct span, d->n_rcpts + 1);
	for (size_t i = 0; i < d->n_rcpts && d->why_records < RECORDS_MAX; i++) {
		size_t n = 0;

		if (!said(d, i, next, why, &s))
			continue;
		for (size_t k = i; k < d->n_rcpts; k++)
			if (said(d, k, next, why, &other) && same(&s, &other)) {
				d->why_to[n++] = d->rcpts[k].addr;
				d->outcomes[k].told = true;
			}
		put(d, &s, n);
	}
	for (size_t i = 0; i < d->n_rcpts; i++)
		if (d->outcomes[i].status == OUT_NONE)
			d->outcomes[i].told = d->outcomes[i].passed_over = false;
	d->why_tried += d->why_brief.n > 0;
	d->why_peer = d->why_brief = SPAN("");
}

/* ---- about which server */

static struct span
peer_text(struct arena *a, const struct tls_why_peer *p, bool brief)
{
	struct span s;
	struct buf b;

	buf_init(&b, 2 * TLS_WHY_MAX);
	if (brief)
		tls_why_write_brief(&b, p);
	else
		tls_why_write_peer(&b, p);
	s = arena_dup(a, buf_span(&b));
	buf_release(&b);
	return s;
}

void
why_note(struct delivery *d, struct conn *c)
{
	struct tls_why_peer p = { .host = c->l.addr.host, .address = c->l.addr.text, .port = c->l.addr.port, .decision = &c->decision,
		.tls = c->tls_state, .failure = c->why_failure, .report = report_said(d, c->report, d->arena) };
	struct tls_info info;

	if (!wanted(d))
		return;
	/* a connection that is used again is the one that it was */
	if (c->why.n == 0 || strcmp(c->why_state, c->tls_state) != 0) {
		if (c->tls_done && stream_is_tls(&c->l.stream) && stream_info(&c->l.stream, c->decision.digest_name, d->arena, &info)) {
			p.info = &info;
			p.ssl = c->l.stream.ssl;
			p.verdict = stream_verdict(&c->l.stream, clock_wall_us() / US_PER_S);
		}
		c->why = peer_text(c->arena, &p, false);
		memcpy(c->why_state, c->tls_state, sizeof(c->why_state));
	}
	d->why_peer = arena_dup(d->arena, c->why);
	d->why_brief = peer_text(d->arena, &p, true);
}

void
why_unusable(struct delivery *d, const struct hop_address *addr, const struct tls_decision *dec, const char *report, const struct fault *why)
{
	const struct tls_why_peer p = { .host = addr->host, .address = addr->text, .port = addr->port, .decision = dec, .tls = "",
		.report = report_said(d, report, d->arena), .unusable = why };

	if (!wanted(d))
		return;
	d->why_peer = peer_text(d->arena, &p, false);
	d->why_brief = peer_text(d->arena, &p, true);
	tell(d, "next server", why);
}

void
why_next_hop(struct delivery *d, const struct fault *why)
{
	if (wanted(d))
		tell(d, "next hop", why);
}

void
why_session(struct delivery *d, const struct fault *why, bool again)
{
	if (wanted(d) && d->why_peer.n > 0)
		tell(d, again ? "same server again" : "next server", why);
}

void
why_over(struct delivery *d)
{
	if (wanted(d))
		tell(d, NULL, NULL);
}
