/* The SMTP server engine: phases, input and output, life. Its parts: server_line.c, server_cmd.c, server_event.c and the other server_*.c. */
#include "smtp/server.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/panic.h"
#include "smtp/server_private.h"

#define IN_MAX (SMTPS_FEED_MAX * 2u)
#define IN_HIGH 16384u
#define OUT_MAX 262144u
#define CONTENT_MAX 65536u

/* --- phases --- */

static const unsigned legal_moves[PH_COUNT] = {
	[PH_CONNECT] = IN(PH_REFUSED) | IN(PH_GREETED) | IN(PH_READY) | IN(PH_CLOSED),
	[PH_REFUSED] = IN(PH_CLOSED),
	[PH_GREETED] = IN(PH_CONNECT) | IN(PH_READY) | IN(PH_MAIL) | IN(PH_TLS) | IN(PH_CLOSED),
	[PH_READY] = IN(PH_CONNECT) | IN(PH_READY) | IN(PH_MAIL) | IN(PH_TLS) | IN(PH_CLOSED),
	[PH_MAIL] = IN(PH_RCPT) | IN(PH_GREETED) | IN(PH_READY) | IN(PH_CLOSED),
	[PH_RCPT] = IN(PH_CONTENT) | IN(PH_BDAT) | IN(PH_GREETED) | IN(PH_READY) | IN(PH_CLOSED),
	[PH_CONTENT] = IN(PH_GREETED) | IN(PH_READY) | IN(PH_CLOSED),
	[PH_BDAT] = IN(PH_GREETED) | IN(PH_READY) | IN(PH_CLOSED),
	[PH_TLS] = IN(PH_GREETED) | IN(PH_REFUSED) | IN(PH_CLOSED),
	[PH_CLOSED] = 0,
};

void
smtps_enter(struct smtps *s, enum smtps_phase phase)
{
	if (!(legal_moves[s->phase] & IN(phase)))
		panic("smtp server: illegal move from phase %d to %d", (int)s->phase, (int)phase);
	if (phase == PH_MAIL)
		ensure(s->tls || !s->client.tls_required);
	s->phase = phase;
}

enum smtps_phase
smtps_rest_phase(const struct smtps *s)
{
	return s->helo != NULL ? PH_READY : PH_GREETED;
}

bool
smtps_can(const struct smtps *s, unsigned keyword)
{
	if (s->client.discard & keyword)
		return false;
	switch (keyword) {
	case SMTPS_KW_STARTTLS:
		/* The keyword means "able now" (RFC 3207 section 3). */
		return s->client.tls_enabled && s->client.tls_offered && !s->tls;
	case SMTPS_KW_AUTH:
		return s->auth.enabled && s->auth.mechs.n > 0 && (s->tls || !s->auth.tls_only);
	case SMTPS_KW_VRFY:
		return !s->conf->vrfy_disabled;
	case SMTPS_KW_SMTPUTF8:
		/* Only together with 8BITMIME (RFC 6531 section 3.1). */
		return s->conf->smtputf8 && !(s->client.discard & SMTPS_KW_8BITMIME);
	}
	return true;
}

/* --- the turn --- */

static void
check_eof(struct smtps *s)
{
	const struct smtps_cmd *head = LIST_ITEM(s->cmds.next, struct smtps_cmd, node);

	if (!s->eof || s->phase == PH_CLOSED)
		return;
	if (list_empty(&s->cmds) || s->phase == PH_CONNECT || s->rx == RX_AUTH || (s->rx != RX_LINES && s->view.n == 0 && !head->content_done))
		smtps_close(s, SMTPS_WHY_LOST);
}

static void
check_drain(struct smtps *s)
{
	unsigned resting = IN(PH_GREETED) | IN(PH_READY) | IN(PH_REFUSED);

	if (!s->draining || !(resting & IN(s->phase)) || !list_empty(&s->cmds))
		return;
	smtps_put(s, "421 4.3.2 %.*s Service shutting down", SPAN_ARG(s->conf->hostname));
	smtps_close(s, SMTPS_WHY_QUIT);
}

static void
advance(struct smtps *s)
{
	bool moved = true;

	while (moved && s->phase != PH_CLOSED) {
		moved = smtps_content_step(s);
		moved |= smtps_auth_step(s);
		moved |= smtps_line_step(s);
		moved |= smtps_cmd_step(s);
	}
	check_eof(s);
	check_drain(s);
}

/* Forget the input that was used; keep the rest. */
static void
stash(struct smtps *s, bool direct)
{
	struct span rest = s->view;

	if (s->phase == PH_CLOSED || s->phase == PH_TLS)
		rest.n = 0;
	if (direct)
		ensure(rest.n == 0 || buf_add_span(&s->in, rest));
	else
		buf_consume(&s->in, s->in.n - rest.n);
	if (s->wipe && s->in.cap > 0)
		explicit_bzero(s->in.p + s->in.n, s->in.cap - s->in.n);
	s->wipe = false;
	if (s->in.n == 0 && s->rx != RX_AUTH) {
		buf_trim(&s->in);
		s->scanned = 0;
	}
	s->view = SPAN("");
}

void
smtps_turn(struct smtps *s, int64_t now_us)
{
	s->now_us = now_us;
	s->view = buf_span(&s->in);
	advance(s);
	stash(s, false);
}

void
smtps_feed(struct smtps *s, struct span bytes, int64_t now_us)
{
	if (s->phase == PH_CLOSED || s->phase == PH_TLS || bytes.n == 0)
		return;
	ensure(bytes.n <= SMTPS_FEED_MAX);
	s->now_us = now_us;
	if (s->in.n > 0) {
		ensure(buf_add_span(&s->in, bytes));
		smtps_turn(s, now_us);
		return;
	}
	s->view = bytes;
	advance(s);
	stash(s, true);
}

bool
smtps_wants_input(const struct smtps *s)
{
	size_t high = s->rx == RX_AUTH && s->conf->auth_line_limit + 2 > IN_HIGH ? s->conf->auth_line_limit + 2 : IN_HIGH;

	return s->phase != PH_CLOSED && s->phase != PH_TLS && !s->eof && s->in.n < high;
}

/* A STARTTLS that no handshake followed did not work. */
static void
count_no_handshake(struct smtps *s)
{
	if (s->phase == PH_TLS && s->counts[SMTPS_STARTTLS].ok > 0)
		s->counts[SMTPS_STARTTLS].ok--;
}

void
smtps_eof(struct smtps *s, int64_t now_us)
{
	count_no_handshake(s);
	s->eof = true;
	smtps_turn(s, now_us);
}

void
smtps_timeout(struct smtps *s, int64_t now_us)
{
	s->now_us = now_us;
	if (s->phase == PH_CLOSED)
		return;
	count_no_handshake(s);
	if (s->phase != PH_TLS)
		smtps_put(s, "421 4.4.2 %.*s Error: timeout exceeded", SPAN_ARG(s->conf->hostname));
	smtps_close(s, SMTPS_WHY_TIMEOUT);
	stash(s, false);
}

void
smtps_hang_up(struct smtps *s, const struct smtps_reply *r, int64_t now_us)
{
	s->now_us = now_us;
	if (s->phase == PH_CLOSED)
		return;
	smtps_put_reply(s, r->code, r->dsn, r->text);
	smtps_close(s, SMTPS_WHY_QUIT);
	stash(s, false);
}

void
smtps_drain(struct smtps *s, int64_t now_us)
{
	s->draining = true;
	smtps_turn(s, now_us);
}

struct span
smtps_output(const struct smtps *s)
{
	return buf_span(&s->out);
}

void
smtps_output_taken(struct smtps *s, size_t n, int64_t now_us)
{
	buf_consume(&s->out, n);
	if (s->out.n == 0)
		buf_trim(&s->out);
	if (s->phase != PH_CLOSED)
		smtps_turn(s, now_us);
}

struct span
smtps_content(const struct smtps *s)
{
	return buf_span(&s->content);
}

void
smtps_content_taken(struct smtps *s, size_t n, int64_t now_us)
{
	buf_consume(&s->content, n);
	smtps_turn(s, now_us);
}

/* --- TLS and time --- */

static void
after_handshake(struct smtps *s, enum smtps_phase phase, int64_t now_us)
{
	s->tls = true;
	s->authenticated = false;
	s->auth.enabled = false;        /* until the next EHLO */
	free(s->helo);
	s->helo = NULL;
	s->esmtp = false;
	smtps_enter(s, phase);
	smtps_turn(s, now_us);
}

void
smtps_tls_started(struct smtps *s, int64_t now_us)
{
	if (s->phase != PH_CLOSED)
		after_handshake(s, PH_GREETED, now_us);
}

void
smtps_tls_refused(struct smtps *s, const struct smtps_reply *r, int64_t now_us)
{
	char text[512];

	if (s->phase == PH_CLOSED)
		return;
	snprintf(text, sizeof(text), "%u %s %.*s", r->code, r->dsn, SPAN_ARG(r->text));
	free(s->refusal);
	s->refusal = strdup(text);
	ensure(s->refusal != NULL);
	after_handshake(s, PH_REFUSED, now_us);
}

int64_t
smtps_wake_us(const struct smtps *s)
{
	const struct smtps_cmd *c = LIST_ITEM(s->cmds.next, const struct smtps_cmd, node);

	if (list_empty(&s->cmds) || c->life != LIFE_ANSWERED || !c->held || c->release_us <= s->now_us)
		return INT64_MAX;
	return c->release_us;
}

void
smtps_tick(struct smtps *s, int64_t now_us)
{
	smtps_turn(s, now_us);
}

/* --- life and facts --- */

struct smtps *
smtps_new(const struct smtps_config *conf, int64_t now_us)
{
	struct smtps *s = calloc(1, sizeof(*s));

	ensure(s != NULL);
	s->conf = conf;
	s->now_us = now_us;
	s->where = "CONNECT";
	buf_init(&s->in, IN_MAX);
	buf_init(&s->out, OUT_MAX);
	buf_init(&s->content, CONTENT_MAX);
	transcript_init(&s->transcript, conf->notify);
	list_init(&s->cmds);
	list_init(&s->news);
	smtps_cmd_new(s, smtps_row_connect(), SPAN(""));
	smtps_turn(s, now_us);
	return s;
}

void
smtps_free(struct smtps **sp)
{
	struct smtps *s = *sp;
	struct list *n;

	if (s == NULL)
		return;
	*sp = NULL;
	smtps_cmd_drop_all(s);
	s->phase = PH_CLOSED;
	smtps_tx_end(s, false, SMTPS_WHY_LOST);
	while ((n = list_pop_front(&s->news)) != NULL)
		free(LIST_ITEM(n, struct smtps_news, node));
	free(s->told);
	free(s->helo);
	free((char *)(uintptr_t)s->auth.mechs.p);
	free(s->refusal);
	buf_release(&s->in);
	buf_release(&s->out);
	buf_release(&s->content);
	transcript_release(&s->transcript);
	free(s);
}

void
smtps_set_client(struct smtps *s, const struct smtps_client *c)
{
	s->client = *c;
	s->tls = c->tls_active;
}

void
smtps_set_edit(struct smtps *s, const struct smtps_edit *e)
{
	s->edit = *e;
}

const struct smtps_mail *
smtps_mail(const struct smtps *s)
{
	return s->tx != NULL ? &s->tx->mail : NULL;
}

struct span
smtps_helo(const struct smtps *s)
{
	return span_str(s->helo);
}

bool
smtps_esmtp(const struct smtps *s)
{
	return s->esmtp;
}

bool
smtps_tls(const struct smtps *s)
{
	return s->tls;
}

bool
smtps_idle(const struct smtps *s)
{
	return list_empty(&s->cmds) && s->tx == NULL;
}

bool
smtps_pipelined_early(const struct smtps *s)
{
	return s->pipelined_early;
}

bool
smtps_saw_bare_lf(const struct smtps *s)
{
	return s->saw_bare_lf;
}

const char *
smtps_command(const struct smtps *s)
{
	return s->where;
}

const char *
smtps_where(const struct smtps *s)
{
	static char text[64];

	if (strcmp(s->where, "DATA") != 0 && strcmp(s->where, "BDAT") != 0)
		return s->where;
	snprintf(text, sizeof(text), "%s (%llu bytes)", s->where, (unsigned long long)s->raw_bytes);
	return text;
}

struct smtps_count
smtps_count(const struct smtps *s, enum smtps_verb verb)
{
	return s->counts[verb];
}

bool
smtps_closed(const struct smtps *s)
{
	return s->phase == PH_CLOSED;
}

size_t
smtps_bytes(const struct smtps *s)
{
	size_t n = sizeof(*s) + s->in.cap + s->out.cap + s->content.cap + s->transcript.text.cap;

	LIST_EACH(node, &s->cmds)
		n += arena_bytes(LIST_ITEM(node, struct smtps_cmd, node)->arena);
	if (s->tx != NULL && list_empty(&s->tx->node))
		n += arena_bytes(s->tx->arena);
	return n;
}
