/* One server: connect, EHLO, STARTTLS, who is there, EHLO, QUIT; and again for session resumption. As a delivery does, without mail. */
#include <openssl/ssl.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "conf/params.h"
#include "log/lines_tls.h"
#include "signet/tls_probe.h"
#include "tls/ladder.h"

enum { LINE_MAX_BYTES = 4096, TALK_ARENA = 16 << 20 };

struct talk {
	struct probe *p;
	struct probe_server *s;
	struct tls_decision decision;   /* of this connection: at a rung */
	struct hop_link l;
	struct stream_tracer tracer;
	struct arena *a;
	struct buf heard, said;         /* the line that is not yet whole */
	bool first;                     /* not a reconnection */
	bool heard_any;
	bool handshake_failed;
	bool resumed;
	bool over;
};

static struct span
peer(const struct talk *t)
{
	return span_str(t->l.peer_port);
}

/* ---- what goes by */

static void
put_lines(struct talk *t, struct buf *line, char mark, struct span bytes)
{
	for (size_t i = 0; i < bytes.n; i++) {
		char c = bytes.p[i];

		if (c != '\n' && line->n < LINE_MAX_BYTES) {
			buf_addc(line, c);
			continue;
		}
		probe_say(t->p, "%c %.*s", mark, SPAN_ARG(log_esc(span_trim(buf_span(line)))));
		buf_clear(line);
		if (c != '\n')
			buf_addc(line, c);
	}
}

static void
on_tap(void *owner, bool from_server, struct span bytes)
{
	struct talk *t = owner;

	if (from_server && !t->heard_any) {
		t->heard_any = true;            /* -t ends with the greeting, -T begins */
		t->l.engine.opt.helo_ms = t->p->svc.p->smtp_helo_timeout_ms;
	}
	if (t->p->o.chat)
		put_lines(t, from_server ? &t->heard : &t->said, from_server ? '<' : '>', bytes);
}

static void
on_trace(void *ctx, enum stream_trace kind, const char *text)
{
	struct log l = { .tag = NULL };

	(void)ctx;
	(void)kind;
	log_tls_trace(&l, text);
}

/* ---- ends */

static bool
end(struct talk *t, enum probe_result result, const struct fault *why)
{
	t->over = true;
	if (!t->first)
		return false;
	t->s->result = result;
	if (why != NULL)
		t->s->why = *why;
	return false;
}

/* The result is known; say good-bye, if the server still listens. */
static bool
leave(struct talk *t)
{
	if (t->over || !t->l.engine_ready || !smtpc_idle(&t->l.engine)) {
		t->over = true;
		return false;
	}
	t->l.phase = HOP_LINK_CLOSING;
	smtpc_quit(&t->l.engine, hop_link_now_us(&t->l));
	return true;
}

static void
settle(struct talk *t, enum probe_result result, const struct fault *why)
{
	if (!t->first)
		return;
	t->s->result = result;
	if (why != NULL)
		t->s->why = *why;
}

static void
on_connect_failed(void *owner, const char *reason)
{
	struct talk *t = owner;
	struct fault why;

	fault_set(&why, "4.4.1", "connect to %s: %s", t->l.peer_port, reason);
	probe_say(t->p, "%s", why.text);
	(void)end(t, PROBE_NONE, &why);
}

/* ---- TLS */

static void
start_tls(struct talk *t, enum hop_link_phase phase)
{
	struct span helo = span_str(t->l.engine_ready ? t->l.engine.server_name : "");
	struct span where = arena_printf(t->a, "%.*s:%u", SPAN_ARG(t->l.addr.text), t->l.addr.port);
	struct span key = tls_session_key(t->a, t->p->cs->name, t->p->hop.key, t->l.addr.host, where, helo, &t->decision);

	if (t->p->o.delay_s == 0 || t->decision.rung != TLS_RUNG_FULL)
		key = SPAN("");
	hop_link_start_tls(&t->l, phase, t->p->tls, &t->decision, key);
}

static bool
talk(struct talk *t)
{
	struct smtpc_options opt;

	hop_link_options(t->p->svc.p, t->p->svc.lmtp, &opt);
	opt.peer = t->l.peer;
	opt.skip_quit_reply = false;
	opt.my_name = "";               /* a server that says our name is asked like others */
	if (!t->heard_any)
		opt.helo_ms = t->p->svc.p->smtp_connect_timeout_ms > 0 ? t->p->svc.p->smtp_connect_timeout_ms : opt.helo_ms;
	hop_link_talk(&t->l, &opt);
	return true;
}

static bool
on_ready(void *owner)
{
	struct talk *t = owner;

	t->s->connected = true;
	if (t->p->o.chat)
		probe_say(t->p, "Connected to %s", t->l.peer_port);
	if (t->tracer.steps || t->tracer.handshake_bytes)
		stream_set_tracer(&t->l.stream, &t->tracer);
	if (!t->decision.wrapper)
		return talk(t);
	start_tls(t, HOP_LINK_WRAPPER);
	return false;
}

static void
take_session(struct talk *t, const struct tls_verdict *v)
{
	struct probe_server *s = t->s;

	t->resumed = t->l.stream.resumed;
	if (!t->first)
		return;
	s->tls_done = true;
	s->verdict = *v;
	(void)stream_info(&t->l.stream, t->decision.digest_name, t->p->a, &s->info);
	probe_take_chain(t->p, s, t->l.stream.ssl);
}

static void
say_session(struct talk *t, const struct tls_verdict *v)
{
	const struct log l = { .tag = NULL };
	struct hop_telling tell = t->p->o.tell;
	struct tls_exchange x;

	if (!t->first)
		tell.peercert = tell.matches = false;
	tell.sessions = !t->first || t->p->o.cache;
	if (t->p->o.cache && !t->resumed)
		probe_say(t->p, "%s: new session", t->l.peer_port);
	if (probe_tells(t->p))
		hop_log_mismatch(&l, &t->decision, v, peer(t));
	hop_log_verdict(&l, &t->l.stream, &t->decision, v, peer(t), &tell, t->a);
	if (tell.summary && stream_exchange(&t->l.stream, &x) && !x.forward_secret)
		log_tls_no_forward_secrecy(&l, peer(t), SSL_get_cipher_name(t->l.stream.ssl));
}

/* Also without an answer to STARTTLS, or with 421: a delivery tries plainer TLS then. */
static bool
handshake_failed(struct talk *t)
{
	struct fault why;

	hop_tls_state(&t->decision, tls_level_needs_tls(t->decision.level) ? "!" : "", tls_level_needs_tls(t->decision.level) ? "" : "?",
	    t->s->state);
	t->handshake_failed = true;
	fault_set(&why, "4.7.5", "Cannot start TLS: handshake failure");
	return end(t, PROBE_NOT_MET, &why);
}

static bool
on_tls_done(void *owner, bool ok, const char *reason)
{
	struct talk *t = owner;
	const struct log l = { .tag = NULL };
	const struct tls_verdict *v;
	struct fault why;

	if (!ok) {
		hop_log_handshake_failed(&l, &t->l.stream, peer(t), reason);
		return handshake_failed(t);
	}
	v = stream_verdict(&t->l.stream, clock_wall_us() / US_PER_S);
	take_session(t, v);
	say_session(t, v);
	fault_set(&why, "4.7.5", "Server certificate not verified");
	settle(t, v->matched ? PROBE_MET : PROBE_NOT_MET, v->matched ? NULL : &why);
	hop_tls_state(&t->decision, v->matched ? "" : "!", "", t->s->state);
	if (t->l.phase == HOP_LINK_WRAPPER)
		return talk(t);
	t->l.phase = HOP_LINK_TALK;
	smtpc_tls_started(&t->l.engine, hop_link_now_us(&t->l));
	return true;
}

/* ---- the conversation */

static bool
in_clear(struct talk *t, bool allowed, const struct fault *why)
{
	hop_tls_state(&t->decision, allowed ? "" : "!", allowed && t->decision.level != TLS_LEVEL_NONE ? ":none" : "", t->s->state);
	settle(t, allowed ? PROBE_MET : PROBE_NOT_MET, why);
	return leave(t);
}

static bool
on_caps(struct talk *t)
{
	struct fault why;
	bool allowed;

	if (t->s->name.n == 0)
		t->s->name = arena_dup(t->p->a, span_str(t->l.engine.server_name));
	if (t->l.stream.handshaken)
		return leave(t);
	t->s->offered = (t->l.engine.caps.bits & SMTPC_CAP_STARTTLS) != 0;
	if (t->s->offered && t->decision.try_tls) {
		smtpc_starttls(&t->l.engine, hop_link_now_us(&t->l));
		return true;
	}
	if (t->decision.level == TLS_LEVEL_NONE) {
		probe_say(t->p, "%s: TLS is not tried at level none%s", t->l.peer_port, t->s->offered ? "; STARTTLS is offered" : "");
		return in_clear(t, true, NULL);
	}
	probe_say(t->p, "%s: STARTTLS is not offered", t->l.peer_port);
	allowed = hop_no_starttls(&t->decision, t->l.peer, &why);
	return in_clear(t, allowed, allowed ? NULL : &why);
}

static bool
on_refused(struct talk *t)
{
	struct span reply = t->l.engine.reply.text;
	struct fault why;
	bool allowed;

	probe_say(t->p, "STARTTLS rejected: %.*s", SPAN_ARG(log_esc(reply)));
	if (t->l.engine.reply.code == 421)      /* going away: as if the handshake had failed */
		return handshake_failed(t);
	allowed = hop_starttls_refused(&t->decision, t->l.peer, reply, &why);
	return in_clear(t, allowed, allowed ? NULL : &why);
}

/* Before TLS is settled it is the server's failure; behind it, no matter. */
static bool
on_failed(struct talk *t)
{
	struct fault why = t->l.engine.fault;

	probe_say(t->p, "%s", why.text);
	if (t->l.stream.handshaken || t->s->result != PROBE_NONE)
		t->over = true;
	else if (t->l.engine.failed_at == SMTPC_STARTTLS && strcmp(why.dsn, "4.4.2") == 0)
		return handshake_failed(t);
	else if (t->l.engine.failed_at == SMTPC_STARTTLS)
		return end(t, PROBE_NOT_MET, &why);
	else
		return end(t, PROBE_NONE, &why);
	return false;
}

static bool
on_event(void *owner, enum smtpc_event ev)
{
	struct talk *t = owner;

	switch (ev) {
	case SMTPC_CAPS:
		return on_caps(t);
	case SMTPC_TLS_START:
		start_tls(t, HOP_LINK_HANDSHAKE);
		return false;
	case SMTPC_TLS_REFUSED:
		return on_refused(t);
	case SMTPC_FAILED:
		return on_failed(t);
	case SMTPC_CLOSED:
		(void)stream_shutdown(&t->l.stream);
		t->over = true;
		return false;
	case SMTPC_WAIT:
	case SMTPC_AUTH_STEP:
	case SMTPC_AUTH_OK:
	case SMTPC_AUTH_REFUSED:
	case SMTPC_CONTENT:
	case SMTPC_TX_DONE:
	case SMTPC_RESET_OK:
		return true;
	}
	return true;
}

static const struct hop_link_ops ops = {
	.ready = on_ready,
	.connect_failed = on_connect_failed,
	.tls_done = on_tls_done,
	.event = on_event,
	.tap = on_tap,
};

static void
converse(struct talk *t)
{
	struct probe *p = t->p;

	t->a = arena_new(TALK_ARENA);
	buf_init(&t->heard, LINE_MAX_BYTES + 1);
	buf_init(&t->said, LINE_MAX_BYTES + 1);
	t->tracer = (struct stream_tracer){ .line = on_trace, .ctx = t, .steps = p->o.steps || p->o.verbose > 1,
		.handshake_bytes = p->o.handshake_bytes, .all_bytes = p->o.all_bytes, .bytes_left = 1 << 20 };
	t->l = (struct hop_link){ .ops = &ops, .owner = t, .loop = p->asks.loop, .p = p->svc.p, .arena = t->a };
	hop_link_init(&t->l, t->s->addr);
	hop_link_connect(&t->l, &p->bind);
	while (!t->over)
		loop_turn(p->asks.loop, 1000);
	hop_link_release(&t->l);
	buf_release(&t->heard);
	buf_release(&t->said);
}

/* ---- the first connection: at full strength, then as the ladder has it (tls/ladder.h) */

static void
talk_first(struct talk *t)
{
	enum tls_rung rung = TLS_RUNG_FULL;
	unsigned tried = 0;

	for (;;) {
		struct probe *p = t->p;
		struct probe_server *s = t->s;

		*t = (struct talk){ .p = p, .s = s, .decision = s->decision, .first = true };
		if (tls_ladder_has(&t->decision) && s->addr->family != AF_UNIX)
			tls_ladder_apply(&t->decision, rung);
		if (tried != 0)
			probe_say(p, "%.*s[%.*s]:%u: trying again with plainer TLS (%s), as a delivery does", SPAN_ARG(s->addr->host),
			    SPAN_ARG(s->addr->text), s->addr->port, tls_rung_text(rung));
		converse(t);
		arena_free(&t->a);
		tried |= 1u << rung;
		if (!t->handshake_failed || s->addr->family == AF_UNIX || !tls_ladder_has(&s->decision) ||
		    !tls_ladder_next(&s->decision, tried, &rung))
			return;
	}
}

/* ---- reconnections */

static bool
known_name(struct probe *p, struct probe_server *s, struct span name)
{
	for (size_t i = 0; i < s->n_names; i++)
		if (span_eq_ci(s->names[i], name))
			return true;
	if (s->n_names < sizeof(s->names) / sizeof(s->names[0]))
		s->names[s->n_names++] = arena_dup(p->a, name);
	return false;
}

static void
wait_s(struct probe *p, int64_t seconds)
{
	int64_t until = clock_mono_us() + seconds * US_PER_S;

	while (clock_mono_us() < until)
		loop_turn(p->asks.loop, (int)((until - clock_mono_us()) / US_PER_MS) + 1);
}

/* True: another server behind this address, whose session is new; ask once more. */
static bool
reconnect(struct talk *t)
{
	struct probe *p = t->p;
	struct probe_server *s = t->s;
	struct span name = SPAN("");
	bool known;

	*t = (struct talk){ .p = p, .s = s, .decision = s->decision };
	t->decision.rung = TLS_RUNG_FULL;
	converse(t);
	if (s->n_names > 0)
		name = s->name;
	known = known_name(p, s, name);
	s->resumed = t->resumed;
	s->reconnected++;
	arena_free(&t->a);
	if (t->resumed || known)
		probe_say(p, "Found a previously used server; %s", t->resumed ? "the session was resumed" : "the session was not resumed");
	return !t->resumed && !known;
}

static void
talk_again(struct talk *t)
{
	struct probe *p = t->p;
	struct probe_server *s = t->s;
	bool more = true;

	(void)known_name(p, s, s->name);
	if (!s->verdict.matched)
		probe_say(p, "sessions with a server that is not who it should be are not kept; reconnecting all the same");
	for (unsigned i = 0; more && i < p->o.reconnects; i++) {
		probe_say(p, "Reconnecting after %lld seconds", (long long)p->o.delay_s);
		wait_s(p, p->o.delay_s);
		s->name = SPAN("");
		more = reconnect(t);
	}
	s->name = s->names[0];
	if (more)
		probe_say(p, "%u servers, each with sessions of its own, and no end to be seen: resumption will be rare", (unsigned)s->n_names);
}

void
probe_talk(struct probe *p, struct probe_server *s)
{
	struct talk t = { .p = p, .s = s };

	talk_first(&t);
	if (p->o.delay_s > 0 && s->tls_done && t.decision.rung == TLS_RUNG_FULL)
		talk_again(&t);
}
