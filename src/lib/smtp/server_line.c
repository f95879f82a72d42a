/* Input lines of the SMTP server: cut, edited by the owner's filter, queued as commands. */
#include "smtp/server_private.h"

#define EDIT_ARENA 262144u
#define CMDS_MAX 64u            /* parsed ahead */

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
	struct arena *a = s->edit.command != NULL ? arena_new(EDIT_ARENA) : NULL;
	const struct smtps_row *failed = edit_line(s, &line, a);
	struct span verb = verb_of(line);
	struct smtps_cmd *c = smtps_cmd_new(s, failed != NULL ? failed : row_of_line(s, line, verb, bare_lf), failed != NULL ? SPAN("") : line);

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
		smtps_cmd_new(s, smtps_row_bad("too long"), SPAN(""));
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

bool
smtps_line_step(struct smtps *s)
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
