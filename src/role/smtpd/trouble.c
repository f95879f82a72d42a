/* Transcripts of sessions with trouble, to the postmaster (notify_classes): sent away and forgotten. What becomes of them is local's care. */
#include "role/smtpd/smtpd.h"
#include "smtp/transcript.h"

/* How the session ended, if not by QUIT. */
static struct span
reason_of(const struct session *s, bool end, struct arena *a)
{
	const char *where = smtps_where(s->engine);

	if (!end)
		return SPAN("");
	switch (s->closed_why) {
	case SMTPS_WHY_LOST:
		return arena_printf(a, "lost connection after %s", where);
	case SMTPS_WHY_TIMEOUT:
		return arena_printf(a, "timeout after %s", where);
	case SMTPS_WHY_ERRORS:
		return arena_printf(a, "too many errors after %s", where);
	case SMTPS_WHY_CLIENT:
	case SMTPS_WHY_TOO_BIG:
	case SMTPS_WHY_BARE_LF:
	case SMTPS_WHY_QUIT:
		break;
	}
	return SPAN("");
}

void
session_tell_trouble(struct session *s, bool end)
{
	struct ipc_peer *local = ipc_peer_any(s->d->role->hub, IPC_ROLE_LOCAL);
	struct ipc_transcript_notice m = { .peer = s->facts.namaddr };
	struct arena *a;
	struct buf text;
	unsigned classes;

	buf_init(&text, TRANSCRIPT_WRITTEN_MAX);
	classes = smtps_notice_take(s->engine, &text);
	if (classes != 0) {
		a = arena_new(SESSION_ARENA);
		m.to = span_str(classes & SMTP_NOTICE_BOUNCE ? s->p->bounce_notice_recipient : s->p->error_notice_recipient);
		m.reason = reason_of(s, end, a);
		m.text = buf_span(&text);
		if (local == NULL || !ipc_send_transcript_notice(local, &m))
			log_warning(&s->log, "cannot tell the postmaster of trouble with %.*s: the local role is not there",
			    SPAN_ARG(s->facts.namaddr));
		arena_free(&a);
	}
	buf_release(&text);
}
