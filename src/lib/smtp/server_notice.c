/* What of a session the postmaster is told: its transcript, and which errors are trouble of which kind (notify_classes). */
#include "smtp/server_private.h"

/* What a line says that may be shown. */
static struct span
shown_line(const struct smtps *s, const struct smtps_cmd *c)
{
	bool unknown = c->row->verb == SMTPS_UNKNOWN;

	if (c->row->flags & CMD_SECRET)
		return SPAN("AUTH (withheld)");
	if (!unknown)
		return c->line;
	if (c->line.n == 0)
		return SPAN("(a line that is no command)");
	/* who talks on behind a refused AUTH or DATA sends a password or content */
	return s->lines_unsure ? SPAN("(withheld: no command)") : c->line;
}

static bool
comes_before_content(enum smtps_verb verb)
{
	return verb == SMTPS_AUTH || verb == SMTPS_DATA || verb == SMTPS_BDAT;
}

void
smtps_show(struct smtps *s, struct smtps_cmd *c)
{
	if (s->transcript.wanted == 0 || c->shown)
		return;
	c->shown = true;
	if (c->row != smtps_row_connect())
		transcript_add(&s->transcript, "In: ", shown_line(s, c));
	s->lines_unsure |= comes_before_content(c->row->verb);
}

static void
mute(struct smtps *s, const struct smtps_cmd *c)
{
	switch ((unsigned)c->row->verb) {
	case SMTPS_MAIL:
		s->transcript.muted = smtp_notice_sender(s->conf->notice_sender, c->mail.from);
		return;
	case SMTPS_HELO:
	case SMTPS_EHLO:
	case SMTPS_RSET:
		s->transcript.muted = false;
	}
}

void
smtps_show_reply(struct smtps *s, struct smtps_cmd *c)
{
	if (s->transcript.wanted == 0)
		return;
	smtps_show(s, c);
	transcript_add(&s->transcript, "Out:", c->reply);
	mute(s, c);
	if (!c->ok || c->error)
		transcript_trouble(&s->transcript, c->notice);
}

void
smtps_show_end(struct smtps *s, enum smtps_verb verb, enum smtps_event_kind ask)
{
	bool end = verb == SMTPS_HELO || verb == SMTPS_EHLO || verb == SMTPS_RSET || ask == SMTPS_ASK_EOM;

	if (!end || s->transcript.lines <= s->conf->history_lines)
		return;
	if (transcript_due(&s->transcript) != 0)
		smtps_tell(s, SMTPS_TELL_NOTICE, SMTPS_WHY_CLIENT, SPAN(""));
	else
		transcript_clear(&s->transcript);
}

unsigned
smtps_notice_take(struct smtps *s, struct buf *text)
{
	unsigned due = transcript_due(&s->transcript);

	if (due != 0)
		transcript_write(&s->transcript, text);
	transcript_clear(&s->transcript);
	return due;
}
