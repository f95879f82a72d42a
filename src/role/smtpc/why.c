/*
 * Records for `signet tls why`: one for each server that a delivery tried or passed over, sent to the logger and never
 * waited for. When it is behind, records are dropped and counted: mail does not wait for its explanation.
 */
#include "tls/why.h"

#include "base/clock.h"
#include "role/smtpc/smtpc.h"

#define BACKLOG_MAX ((size_t)1 << 20)
#define COMPLAIN_US (60 * US_PER_S)

static bool
wanted(const struct delivery *d)
{
	return d->svc->p->tls_why_retention_time_ms > 0 && d->svc->p->tls_why_size_limit > 0;
}

static void
lost(struct smtpc_role *s)
{
	int64_t now = loop_now_us(s->loop);

	s->why_lost++;
	if (now < s->why_complained_us + COMPLAIN_US && s->why_complained_us != 0)
		return;
	s->why_complained_us = now;
	log_warning(NULL, "the logger is behind: %llu records for \"signet tls why\" were not written", (unsigned long long)s->why_lost);
	s->why_lost = 0;
}

static void
send_record(struct delivery *d, const char *outcome, struct span dsn, struct span text)
{
	struct ipc_peer *log = ipc_peer_any(d->role->role->hub, IPC_ROLE_LOG);
	const struct tls_why w = { .wall_us = clock_wall_us(), .qid = d->qid, .nexthop = d->facts.key, .peer = d->why_peer,
		.rcpts = (unsigned)d->n_rcpts, .outcome = outcome, .dsn = dsn, .text = text };
	struct ipc_why_record m;
	struct buf b;

	if (log == NULL) {
		d->role->why_lost++;    /* it is being started again: told with the next complaint */
		return;
	}
	if (ipc_peer_backlog(log) > BACKLOG_MAX) {
		lost(d->role);
		return;
	}
	buf_init(&b, 2 * TLS_WHY_MAX);
	tls_why_write(&b, &w);
	m.line = buf_span(&b);
	if (!ipc_send_why_record(log, &m))
		lost(d->role);
	buf_release(&b);
	d->why_peer = SPAN("");
	d->why_sent = true;
}

static struct span
peer_text(struct arena *a, const struct tls_why_peer *p)
{
	struct span s;
	struct buf b;

	buf_init(&b, 2 * TLS_WHY_MAX);
	tls_why_write_peer(&b, p);
	s = arena_dup(a, buf_span(&b));
	buf_release(&b);
	return s;
}

void
why_note(struct delivery *d, struct conn *c)
{
	struct tls_why_peer p = { .host = c->l.addr.host, .address = c->l.addr.text, .port = c->l.addr.port, .decision = &c->decision,
		.tls = c->tls_state };
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
		c->why = peer_text(c->arena, &p);
		memcpy(c->why_state, c->tls_state, sizeof(c->why_state));
	}
	d->why_peer = arena_dup(d->arena, c->why);
}

void
why_unusable(struct delivery *d, const struct hop_address *addr, const struct tls_decision *dec)
{
	const struct fault *f = dec->invalid ? &dec->fault : &dec->skip_fault;
	const struct tls_why_peer p = { .host = addr->host, .address = addr->text, .port = addr->port, .decision = dec, .tls = "" };

	if (!wanted(d))
		return;
	d->why_peer = peer_text(d->arena, &p);
	send_record(d, "next server", span_str(f->dsn), span_str(f->text));
}

void
why_next(struct delivery *d, const struct fault *why)
{
	if (wanted(d) && d->why_peer.n > 0)
		send_record(d, "next server", span_str(why != NULL ? why->dsn : ""), span_str(why != NULL ? why->text : ""));
}

void
why_over(struct delivery *d)
{
	static const char *const names[] = { "", "sent", "deferred", "bounced" };
	const struct outcome *o = &d->outcomes[0];

	if (wanted(d) && d->n_rcpts > 0 && (d->why_peer.n > 0 || !d->why_sent))
		send_record(d, names[o->status], span_str(o->dsn), o->text);
}
