/* Handshakes that fail are tried again with plainer TLS, on the same host; and what came of all handshakes, in numbers. */
#include "base/clock.h"
#include "log/lines_tls.h"
#include "role/smtpc/smtpc.h"
#include "tls/ladder.h"

/* Of the process's life, not of the wall: it must not go back. */
static int64_t
now_s(const struct conn *c)
{
	return loop_now_us(c->role->loop) / US_PER_S;
}

/* Hosts are remembered by the name that was looked up, and the port. */
static struct span
host_key(struct conn *c)
{
	return arena_printf(c->arena, "%.*s:%u", SPAN_ARG(arena_lower(c->arena, c->l.addr.host)), c->l.addr.port);
}

static void
say(struct conn *c, const char *what)
{
	struct log l = { .tag = c->svc->cs->log_tag };

	if (c->tls_log & LOG_TLS_SUMMARY)
		log_tls_plainer(&l, span_str(c->l.peer_port), what, tls_rung_text(c->decision.rung));
}

void
ladder_choose(struct delivery *d, struct conn *c)
{
	bool again = d->rungs_tried != 0 && c->l.addr.port == d->retried_port && span_eq(c->l.addr.text, d->retried);
	enum tls_rung rung;

	if (!again)
		d->rungs_tried = 0;
	if (c->tls_off || c->l.addr.family == AF_UNIX || !tls_ladder_has(&c->decision))
		return;
	if (!again)
		rung = tls_ladder_start(c->role->ladder, host_key(c), &c->decision, now_s(c));
	else if (!tls_ladder_next(&c->decision, d->rungs_tried, &rung))
		return;                 /* the policy has changed meanwhile */
	tls_ladder_apply(&c->decision, rung);
	c->plainer = rung != TLS_RUNG_FULL;
	if (c->plainer)
		say(c, again ? "trying again" : "beginning");
}

bool
ladder_again(struct conn *c)
{
	struct delivery *d = c->d;
	enum tls_rung next;

	c->role->tls.failed++;
	if (c->l.addr.family == AF_UNIX || !tls_ladder_has(&c->decision))
		return false;
	tls_ladder_failed(c->role->ladder, host_key(c), c->decision.rung, now_s(c));
	d->rungs_tried |= 1u << c->decision.rung;
	return tls_ladder_next(&c->decision, d->rungs_tried, &next);
}

static void
count(struct conn *c, const struct tls_exchange *x)
{
	struct tls_totals *t = &c->role->tls;

	t->handshakes++;
	t->resumed += c->l.stream.resumed;
	t->forward_secret += x->forward_secret;
	t->post_quantum += x->post_quantum;
	t->plainer += c->plainer;
}

void
ladder_done(struct conn *c, bool matched)
{
	struct log l = { .tag = c->svc->cs->log_tag };
	struct tls_exchange x;

	if (!stream_exchange(&c->l.stream, &x))
		return;
	count(c, &x);
	c->forward_secret = x.forward_secret;
	if (!x.forward_secret && (c->tls_log & LOG_TLS_SUMMARY))
		log_tls_no_forward_secrecy(&l, span_str(c->l.peer_port), SSL_get_cipher_name(c->l.stream.ssl));
	if (matched && c->l.addr.family != AF_UNIX && tls_ladder_has(&c->decision))
		tls_ladder_worked(c->role->ladder, host_key(c), c->decision.rung, now_s(c));
}

void
ladder_status(const struct smtpc_role *s, struct buf *json)
{
	const struct tls_totals *t = &s->tls;

	buf_addf(json, "\"tls\": {\"handshakes\": %llu, \"resumed\": %llu, \"failed\": %llu, \"forward_secret\": %llu, "
	    "\"post_quantum\": %llu, \"plainer\": %llu, \"sent\": %llu, \"sent_forward_secret\": %llu, "
	    "\"plainer_hosts\": %zu}", (unsigned long long)t->handshakes, (unsigned long long)t->resumed,
	    (unsigned long long)t->failed, (unsigned long long)t->forward_secret, (unsigned long long)t->post_quantum,
	    (unsigned long long)t->plainer, (unsigned long long)t->sent, (unsigned long long)t->sent_forward_secret,
	    tls_ladder_count(s->ladder));
}
