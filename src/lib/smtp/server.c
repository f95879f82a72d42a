/* The SMTP server engine: input lines, the queue of commands, replies, events. */
#include "smtp/server.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/panic.h"
#include "smtp/server_private.h"

#define IN_MAX (SMTPS_FEED_MAX * 2u)
#define IN_HIGH 16384u
#define OUT_MAX 262144u
#define OUT_HIGH 16384u
#define CONTENT_MAX 65536u
#define CMD_ARENA 65536u
#define CMDS_MAX 64u            /* parsed ahead */
#define EARLY_MAX 100u          /* bytes of early input that are logged */

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

/* --- replies --- */

void
smtps_compose(struct smtps *s, struct smtps_cmd *c, unsigned code, const char *dsn, struct span text)
{
	bool utf8 = c->mail.smtputf8 || (s->tx != NULL && s->tx->mail.smtputf8);
	struct buf out;

	c->hang_up |= code == 421 || code == 521;
	buf_init(&out, SMTPS_REPLY_MAX * 8);
	code = smtps_reply_add(s, &out, code, dsn, text, utf8);
	c->reply = arena_dup(c->arena, buf_span(&out));
	buf_release(&out);
	c->life = LIFE_ANSWERED;
	c->ok = code < 400;
	c->error = !c->ok;
	c->notice = SMTP_NOTICE_PROTOCOL;
	c->hang_up |= code == 421 || code == 521;
}

void
smtps_say(struct smtps *s, struct smtps_cmd *c, const char *fmt, ...)
{
	char text[SMTPS_REPLY_MAX], dsn[16];
	struct span rest;
	unsigned code;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	rest = smtps_reply_split(span_str(text), &code, dsn);
	smtps_compose(s, c, code, dsn, rest);
}

/* A reply that is not the end of a command. */
static void
put_reply(struct smtps *s, unsigned code, const char *dsn, struct span text)
{
	size_t at = s->out.n;

	smtps_reply_add(s, &s->out, code, dsn, text, false);
	transcript_add(&s->transcript, "Out:", span_from(buf_span(&s->out), at));
}

void
smtps_put(struct smtps *s, const char *fmt, ...)
{
	char text[SMTPS_REPLY_MAX], dsn[16];
	struct span rest;
	unsigned code;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	rest = smtps_reply_split(span_str(text), &code, dsn);
	put_reply(s, code, dsn, rest);
}

/* --- events --- */

void
smtps_ask(struct smtps *s, struct smtps_cmd *c, enum smtps_event_kind kind)
{
	if (++s->next_id == 0)
		s->next_id = 1;
	c->id = s->next_id;
	c->ask = kind;
	c->announced = false;
	c->life = LIFE_WAITING;
}

void
smtps_tell(struct smtps *s, enum smtps_event_kind kind, enum smtps_why why, struct span text)
{
	struct smtps_news *n = calloc(1, sizeof(*n) + text.n);

	ensure(n != NULL);
	if (text.n > 0)
		memcpy(n->text, text.p, text.n);
	n->ev = (struct smtps_event){ .kind = kind, .why = why, .verb = SMTPS_UNKNOWN,
		.text = { n->text, text.n }, .bytes = s->content_bytes };
	list_push_back(&s->news, &n->node);
}

static void
fill_event(const struct smtps *s, const struct smtps_cmd *c, struct smtps_event *ev)
{
	*ev = (struct smtps_event){ .kind = c->ask, .id = c->id, .verb = c->row->verb, .text = c->args,
		.mail = s->tx != NULL ? &s->tx->mail : NULL, .rcpt = c->rcpt, .x = c->x, .bytes = s->content_bytes };
	if (c->ask == SMTPS_ASK_MAIL)
		ev->mail = &c->mail;
	if (c->ask == SMTPS_ASK_UNKNOWN)
		ev->text = c->line;
	if (c->ask == SMTPS_ASK_AUTH || c->ask == SMTPS_ASK_AUTH_RESPONSE) {
		ev->text = c->auth_text;
		ev->mech = c->auth_mech;
		ev->initial = c->auth_initial;
	}
}

bool
smtps_next(struct smtps *s, struct smtps_event *event_r)
{
	struct list *n = list_pop_front(&s->news);

	free(s->told);
	s->told = NULL;
	if (n != NULL) {
		s->told = LIST_ITEM(n, struct smtps_news, node);
		*event_r = s->told->ev;
		return true;
	}
	LIST_EACH(node, &s->cmds) {
		struct smtps_cmd *c = LIST_ITEM(node, struct smtps_cmd, node);

		if (c->id != 0 && !c->announced) {
			c->announced = true;
			fill_event(s, c, event_r);
			return true;
		}
	}
	return false;
}

/* --- life of commands and transactions --- */

static struct smtps_cmd *
cmd_new(struct smtps *s, const struct smtps_row *row, struct span line)
{
	struct arena *a = arena_new(CMD_ARENA);
	struct smtps_cmd *c = ARENA_NEW(a, struct smtps_cmd);

	c->arena = a;
	c->row = row;
	c->line = arena_dup(a, line);
	list_push_back(&s->cmds, &c->node);
	s->n_cmds++;
	return c;
}

/* The MAIL command of the open transaction stays: it is the transaction. */
static void
cmd_drop(struct smtps *s, struct smtps_cmd *c)
{
	struct arena *a = c->arena;

	if (!list_empty(&c->node)) {
		list_remove(&c->node);
		s->n_cmds--;
	}
	if (c->row->flags & CMD_SECRET)
		smtps_auth_drop(s, c);
	if (c != s->tx)
		arena_free(&a);
}

void
smtps_tx_end(struct smtps *s, bool tell, enum smtps_why why)
{
	struct smtps_cmd *tx = s->tx;

	s->rx = RX_LINES;
	buf_clear(&s->content);
	buf_trim(&s->content);
	if (tx == NULL) {
		if (s->xforwarded && tell)
			smtps_tell(s, SMTPS_TELL_RESET, why, SPAN(""));
		s->xforwarded = false;
		return;
	}
	s->xforwarded = false;
	if (tell)
		smtps_tell(s, SMTPS_TELL_RESET, why, SPAN(""));
	s->tx = NULL;
	if (list_empty(&tx->node))
		cmd_drop(s, tx);
	s->rcpts = s->rcpts_waiting = 0;
	s->content_bytes = 0;
	if (s->phase != PH_CLOSED)
		smtps_enter(s, smtps_rest_phase(s));
}

static void
drop_commands(struct smtps *s)
{
	while (!list_empty(&s->cmds))
		cmd_drop(s, LIST_ITEM(s->cmds.next, struct smtps_cmd, node));
}

void
smtps_close(struct smtps *s, enum smtps_why why)
{
	if (s->phase == PH_CLOSED)
		return;
	smtps_enter(s, PH_CLOSED);
	drop_commands(s);
	smtps_tell(s, SMTPS_TELL_CLOSE, why, SPAN(""));
	smtps_tx_end(s, false, why);
	s->view = SPAN("");
}

/* --- input lines --- */

static bool
noop_command(const struct smtps *s, struct span verb)
{
	struct span rest = s->conf->noop_commands, word;

	while (span_token(&rest, ", \t\r\n", &word))
		if (span_eq_ci(word, verb))
			return true;
	return false;
}

static const struct smtps_row *
row_of_line(const struct smtps *s, struct span line, struct span verb, bool bare_lf)
{
	if (bare_lf && s->client.bare_lf == SMTPS_BARE_LF_REJECT)
		return smtps_row_bad("bare LF");
	if (s->conf->smtputf8 && !span_is_utf8(line))
		return smtps_row_bad("UTF-8");
	if (verb.n == 0 || span_index(line, '\0') >= 0)
		return smtps_row_bad("syntax");
	if (noop_command(s, verb))
		return smtps_row_find(SPAN("NOOP"));
	return smtps_row_find(verb);
}

/* The line as smtpd_command_filter has it; never one that may hold a password. NULL row: as it is. */
static const struct smtps_row *
edit_line(struct smtps *s, struct span *line, struct arena *a)
{
	struct span as_sent = *line;

	if (s->edit.command == NULL || span_starts_ci(as_sent, SPAN("AUTH ")) || span_starts_ci(as_sent, SPAN("AUTH\t")))
		return NULL;
	switch (s->edit.command(s->edit.ctx, as_sent, a, line)) {
	case SMTPS_EDIT_NONE:
		*line = as_sent;
		return NULL;
	case SMTPS_EDIT_DONE:
		*line = span_trim(*line);
		return line->n < s->conf->line_limit ? NULL : smtps_row_bad("too long");
	case SMTPS_EDIT_FAILED:
		break;
	}
	return smtps_row_bad("filter");
}

static struct span
verb_of(struct span line)
{
	for (size_t i = 0; i < line.n; i++)
		if (line.p[i] == ' ' || line.p[i] == '\t')
			return span_slice(line, 0, i);
	return line;
}

static void
add_line(struct smtps *s, struct span line, bool bare_lf)
{
	struct arena *a = s->edit.command != NULL ? arena_new(CMD_ARENA * 4) : NULL;
	const struct smtps_row *failed = edit_line(s, &line, a);
	struct span verb = verb_of(line);
	struct smtps_cmd *c = cmd_new(s, failed != NULL ? failed : row_of_line(s, line, verb, bare_lf), failed != NULL ? SPAN("") : line);

	c->args = span_trim(span_from(c->line, failed != NULL ? 0 : verb.n));
	c->bare_lf = bare_lf;
	if (c->row->flags & CMD_SECRET)
		s->wipe = true;
	arena_free(&a);
}

/* `line` without its LF. */
static void
take_line(struct smtps *s, struct span line)
{
	bool bare_lf = line.n == 0 || line.p[line.n - 1] != '\r';

	s->saw_bare_lf |= bare_lf;
	if (s->skip_line || line.n - !bare_lf >= s->conf->line_limit) {
		s->skip_line = false;
		cmd_new(s, smtps_row_bad("too long"), SPAN(""));
		return;
	}
	add_line(s, span_trim(line), bare_lf);
}

/* May the next line be cut? Not behind a command whose reply the client must await, or that changes what follows. */
static bool
lines_open(const struct smtps *s)
{
	const struct smtps_cmd *last;

	if (s->rx != RX_LINES || s->phase == PH_CLOSED || s->phase == PH_TLS || s->n_cmds >= CMDS_MAX)
		return false;
	if (list_empty(&s->cmds))
		return true;
	last = LIST_ITEM(s->cmds.prev, struct smtps_cmd, node);
	return s->esmtp && !(last->row->flags & (CMD_LAST | CMD_MODAL));
}

static bool
cut_line(struct smtps *s)
{
	const char *lf;
	size_t n;

	if (!lines_open(s) || s->view.n == 0)
		return false;
	lf = memchr(s->view.p + s->scanned, '\n', s->view.n - s->scanned);
	if (lf == NULL) {
		s->scanned = s->view.n;
		if (s->view.n > s->conf->line_limit + 1) {
			s->skip_line = true;
			s->view = SPAN("");
			s->scanned = 0;
		}
		return false;
	}
	n = (size_t)(lf - s->view.p);
	s->scanned = 0;
	take_line(s, span_slice(s->view, 0, n));
	s->view = span_from(s->view, n + 1);
	return true;
}

/* --- running commands --- */

static bool
early(struct smtps *s)
{
	return s->view.n > 0 && !s->client.local;
}

static void
early_input(struct smtps *s, const struct smtps_cmd *c)
{
	char shown[128];

	s->pipelined_early = true;
	smtps_tell(s, SMTPS_TELL_PIPELINING, SMTPS_WHY_CLIENT, smtps_auth_redact(span_slice(s->view, 0, EARLY_MAX),
	    c->row->flags & CMD_SECRET, shown));
}

static void
synchronization_error(struct smtps *s, struct smtps_cmd *c)
{
	smtps_say(s, c, "554 5.5.0 Error: SMTP protocol synchronization");
	c->notice = 0;
	c->hang_up = true;
}

/* Input is waiting although the client has to wait for this command's reply (RFC 2920 section 3.1). True: replied. */
static bool
pipelining_refused(struct smtps *s, struct smtps_cmd *c)
{
	if ((s->esmtp && !(c->row->flags & CMD_LAST)) || s->pipelined_early || !early(s))
		return false;
	early_input(s, c);
	if (s->conf->forbid_pipelining)
		synchronization_error(s, c);
	return s->conf->forbid_pipelining;
}

static const char *
denied(const struct smtps *s)
{
	return s->refusal != NULL ? s->refusal : "503 5.7.0 Error: access denied";
}

/* Why this command cannot be now, or NULL. */
static const char *
misplaced(const struct smtps *s, const struct smtps_row *row)
{
	unsigned after_bdat = IN(SMTPS_RCPT) | IN(SMTPS_DATA);

	if (s->phase == PH_REFUSED && row->verb != SMTPS_QUIT)
		return denied(s);
	if (s->client.tls_required && !s->tls && !(row->flags & CMD_PRE_TLS))
		return "530 5.7.0 Must issue a STARTTLS command first";
	if (row->in & IN(s->phase))
		return NULL;
	if (s->phase == PH_BDAT && (after_bdat & IN(row->verb)))
		return row->verb == SMTPS_RCPT ? "503 5.5.1 Error: RCPT after BDAT" : "503 5.5.1 Error: DATA after BDAT";
	return row->refusal;
}

/* That a client was denied before, or that TLS comes first, is no news. */
static void
say_misplaced(struct smtps *s, struct smtps_cmd *c, const char *refusal)
{
	bool no_news = s->phase == PH_REFUSED || span_starts(span_str(refusal), SPAN("530 "));

	smtps_say(s, c, "%s", refusal);
	if (no_news)
		c->notice = 0;
}

static void
cmd_start(struct smtps *s, struct smtps_cmd *c)
{
	const struct smtps_row *row = c->row;
	const char *refusal;

	if (row->flags & CMD_PLAIN) {
		if (s->phase == PH_REFUSED)
			say_misplaced(s, c, denied(s));
		else
			row->start(s, c);
		return;
	}
	s->counts[row->verb].total++;
	refusal = misplaced(s, row);
	s->where = row->name;
	if (row->verb != SMTPS_UNKNOWN && pipelining_refused(s, c))
		return;
	if (refusal != NULL && row->verb == SMTPS_BDAT)
		smtps_bdat_refuse(s, c, refusal);
	else if (refusal != NULL)
		say_misplaced(s, c, refusal);
	else
		row->start(s, c);
}

/* Recipients may be asked about together; everything else waits for its turn. */
static bool
may_run_ahead(const struct smtps *s, const struct smtps_cmd *c)
{
	unsigned limit = s->conf->rcpt_limit;

	return c->row->verb == SMTPS_RCPT && s->errors < s->conf->soft_error_limit &&
	    (limit == 0 || s->rcpts + s->rcpts_waiting < limit);
}

static bool
start_commands(struct smtps *s)
{
	bool head = true;

	if (s->out.n > OUT_HIGH)
		return false;
	LIST_EACH(node, &s->cmds) {
		struct smtps_cmd *c = LIST_ITEM(node, struct smtps_cmd, node);

		if (c->life == LIFE_NEW) {
			if (!head && !may_run_ahead(s, c))
				return false;
			cmd_start(s, c);
			return true;
		}
		if (c->row->verb != SMTPS_RCPT)
			return false;
		head = false;
	}
	return false;
}

/* --- sending replies --- */

/* The command is answered for good: count it. */
static void
account(struct smtps *s, const struct smtps_cmd *c)
{
	if (c->ok && !(c->row->flags & CMD_PLAIN) && c->row->verb != SMTPS_UNKNOWN)
		s->counts[c->row->verb].ok++;
	if (c->error)
		s->errors++;
	if ((c->row->flags & CMD_JUNK) && ++s->junk > s->conf->junk_limit)
		s->errors++;
}

/* True while the reply has to wait: a client that makes errors is answered slowly. */
static bool
held_back(struct smtps *s, struct smtps_cmd *c)
{
	if (!c->held) {
		c->held = true;
		if (s->errors >= s->conf->soft_error_limit && !s->client.local)
			c->release_us = s->now_us + s->conf->error_sleep_us;
	}
	return c->release_us > s->now_us;
}

static void
after_reply(struct smtps *s, bool hang_up, bool farewell)
{
	if (farewell)
		smtps_put(s, "421 4.7.0 %.*s Error: cannot tell where the next command begins", SPAN_ARG(s->conf->hostname));
	if (hang_up) {
		smtps_close(s, SMTPS_WHY_QUIT);
	} else if (s->errors >= s->conf->hard_error_limit) {
		smtps_put(s, "421 4.7.0 %.*s Error: too many errors", SPAN_ARG(s->conf->hostname));
		smtps_close(s, SMTPS_WHY_ERRORS);
	}
}

static bool
send_reply(struct smtps *s)
{
	struct smtps_cmd *c = LIST_ITEM(s->cmds.next, struct smtps_cmd, node);
	enum smtps_event_kind ask;
	enum smtps_verb verb;
	bool hang_up, farewell;

	if (list_empty(&s->cmds) || c->life != LIFE_ANSWERED || s->out.n > OUT_HIGH || held_back(s, c))
		return false;
	buf_add_span(&s->out, c->reply);
	smtps_show_reply(s, c);
	account(s, c);
	verb = c->row->verb;
	ask = c->ask;
	hang_up = c->hang_up;
	farewell = c->farewell;
	cmd_drop(s, c);
	smtps_show_end(s, verb, ask);
	after_reply(s, hang_up, farewell);
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
		moved |= cut_line(s);
		moved |= start_commands(s);
		moved |= send_reply(s);
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

/* Work on what is already here. */
static void
turn(struct smtps *s, int64_t now_us)
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
		turn(s, now_us);
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
	turn(s, now_us);
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
	put_reply(s, r->code, r->dsn, r->text);
	smtps_close(s, SMTPS_WHY_QUIT);
	stash(s, false);
}

void
smtps_drain(struct smtps *s, int64_t now_us)
{
	s->draining = true;
	turn(s, now_us);
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
		turn(s, now_us);
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
	turn(s, now_us);
}

/* --- answers --- */

static struct smtps_cmd *
cmd_by_id(struct smtps *s, uint32_t id)
{
	LIST_EACH(node, &s->cmds) {
		struct smtps_cmd *c = LIST_ITEM(node, struct smtps_cmd, node);

		if (c->id == id)
			return c;
	}
	return NULL;
}

void
smtps_accept(struct smtps *s, uint32_t id, struct span text, int64_t now_us)
{
	struct smtps_cmd *c = cmd_by_id(s, id);

	if (id == 0 || c == NULL)
		return;
	s->now_us = now_us;
	s->view = buf_span(&s->in);
	c->id = 0;
	if (c->ask == SMTPS_ASK_CONNECT && (c->row->flags & CMD_PLAIN) && early(s) && !s->tls) {
		early_input(s, c);
		if (s->conf->forbid_pipelining) {
			synchronization_error(s, c);
			turn(s, now_us);
			return;
		}
	}
	c->row->done(s, c, true, text);
	/* STARTTLS throws input away. */
	if (s->phase == PH_TLS)
		buf_clear(&s->in);
	turn(s, now_us);
}

void
smtps_refuse(struct smtps *s, uint32_t id, const struct smtps_reply *r, int64_t now_us)
{
	struct smtps_cmd *c = cmd_by_id(s, id);

	if (id == 0 || c == NULL)
		return;
	s->now_us = now_us;
	c->id = 0;
	smtps_compose(s, c, r->code, r->dsn != NULL ? r->dsn : "", r->text);
	c->notice = r->notice;
	c->hang_up |= r->hang_up;
	c->row->done(s, c, false, SPAN(""));
	turn(s, now_us);
}

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
	turn(s, now_us);
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
	turn(s, now_us);
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
	cmd_new(s, smtps_row_connect(), SPAN(""));
	turn(s, now_us);
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
	drop_commands(s);
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
