/* Commands of the SMTP server, and the transaction they make: how they begin, in which order they run, how their replies leave. */
#include "base/panic.h"
#include "smtp/server_private.h"

#define OUT_HIGH 16384u
#define CMD_ARENA 65536u
#define EARLY_MAX 100u          /* bytes of early input that are logged */

/* --- life of commands and transactions --- */

struct smtps_cmd *
smtps_cmd_new(struct smtps *s, const struct smtps_row *row, struct span line)
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
	if (tell && (tx != NULL || s->xforwarded))
		smtps_tell(s, SMTPS_TELL_RESET, why, SPAN(""));
	s->xforwarded = false;
	if (tx == NULL)
		return;
	s->tx = NULL;
	if (list_empty(&tx->node))
		cmd_drop(s, tx);
	s->rcpts = s->rcpts_waiting = 0;
	s->content_bytes = 0;
	if (s->phase != PH_CLOSED)
		smtps_enter(s, smtps_rest_phase(s));
}

void
smtps_cmd_drop_all(struct smtps *s)
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
	smtps_cmd_drop_all(s);
	smtps_tell(s, SMTPS_TELL_CLOSE, why, SPAN(""));
	smtps_tx_end(s, false, why);
	s->view = SPAN("");
}

/* --- running --- */

bool
smtps_cmd_early(struct smtps *s, struct smtps_cmd *c)
{
	char shown[128];

	if (s->view.n == 0 || s->client.local)
		return false;
	s->pipelined_early = true;
	smtps_tell(s, SMTPS_TELL_PIPELINING, SMTPS_WHY_CLIENT, smtps_auth_redact(span_slice(s->view, 0, EARLY_MAX),
	    c->row->flags & CMD_SECRET, shown));
	if (!s->conf->forbid_pipelining)
		return false;
	smtps_say(s, c, "554 5.5.0 Error: SMTP protocol synchronization");
	c->notice = 0;
	c->hang_up = true;
	return true;
}

/* The client has to wait for this command's reply (RFC 2920 section 3.1), and did not. True: replied. */
static bool
pipelining_refused(struct smtps *s, struct smtps_cmd *c)
{
	bool waits = !s->esmtp || (c->row->flags & CMD_LAST);

	return waits && !s->pipelined_early && smtps_cmd_early(s, c);
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

bool
smtps_cmd_step(struct smtps *s)
{
	bool started = start_commands(s);

	return send_reply(s) || started;
}
