/*
 * Transcripts for the postmaster. They come from the double-bounce address, like all mail to the postmaster about mail:
 * one that cannot be delivered is dropped (role/queue/bounce.c), and the SMTP engines count no trouble with such mail.
 */
#include "role/local/transcript.h"

#include "base/clock.h"
#include "base/log.h"
#include "mail/address.h"
#include "mail/date.h"
#include "role/local/submit.h"

#define ARENA_MAX ((size_t)1 << 20)
#define TEXT_MAX 131072u

struct notice {
	struct list node;
	struct local *l;
	struct arena *arena;
	struct envelope env;
	struct buf text;
};

void
transcript_notices_open(struct local *l)
{
	list_init(&l->transcripts);
	l->transcripts_left = TRANSCRIPTS_BURST;
	l->transcripts_us = clock_mono_us();
}

/* ---- not too many */

static void
refill(struct local *l)
{
	int64_t now = clock_mono_us(), pause = TRANSCRIPTS_PAUSE_S * US_PER_S;
	int64_t more = (now - l->transcripts_us) / pause;

	l->transcripts_us += more * pause;
	if (more >= TRANSCRIPTS_BURST - (int64_t)l->transcripts_left)
		l->transcripts_left = TRANSCRIPTS_BURST;
	else
		l->transcripts_left += (unsigned)more;
}

static bool
too_many(struct local *l)
{
	refill(l);
	if (l->transcripts_left == 0) {
		if (l->transcripts_dropped++ == 0)
			log_warning(NULL, "too many notices to the postmaster about SMTP sessions (notify_classes): some are left out");
		return true;
	}
	l->transcripts_left--;
	if (l->transcripts_dropped > 0)
		log_warning(NULL, "%u notices to the postmaster about SMTP sessions were left out", l->transcripts_dropped);
	l->transcripts_dropped = 0;
	return false;
}

/* ---- the message */

static void
make_envelope(struct notice *n, struct span to, int64_t now_us)
{
	const struct params *p = n->l->role->conf->params;
	struct envelope_rcpt r = { .addr = to, .orig = to, .notify = ENVELOPE_NOTIFY_NEVER };

	n->env = (struct envelope){ .kind = ENVELOPE_DOUBLE_BOUNCE, .local_origin = true, .no_milters = true,
		.arrival_us = now_us, .begun_us = now_us,
		.sender = address_complete(span_str(p->double_bounce_sender), p->myorigin, n->arena) };
	envelope_add_rcpt(&n->env, n->arena, &r);
}

/* Line by line, CRLF behind each. */
static void
add_lines(struct buf *b, struct span text)
{
	struct span line;

	while (text.n > 0) {
		span_cut(text, '\n', &line, &text);
		buf_add_span(b, line);
		buf_add_str(b, "\r\n");
	}
}

static void
make_text(struct notice *n, const struct ipc_transcript_notice *m, const char *qid, struct span to, int64_t now_us)
{
	const struct params *p = n->l->role->conf->params;
	const char *side = m->client ? "client" : "server";
	struct buf *b = &n->text;

	buf_addf(b, "From: MAILER-DAEMON@%s (Mail Delivery System)\r\nTo: %.*s (Postmaster)\r\n", p->myorigin, SPAN_ARG(to));
	buf_addf(b, "Subject: %s SMTP %s: errors from %.*s\r\nDate: %.*s\r\n", p->mail_name, side,
	    SPAN_ARG(log_esc(m->peer)), SPAN_ARG(date_rfc5322(now_us, n->arena)));
	buf_addf(b, "Message-Id: <%s@%s>\r\nAuto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n"
	    "Content-Type: text/plain; charset=us-ascii\r\n\r\n", qid, p->myhostname);
	buf_addf(b, "There was trouble in an SMTP session of the %s at %s with %.*s.\r\nWhat was said:\r\n\r\n", side, p->myhostname,
	    SPAN_ARG(log_esc(m->peer)));
	add_lines(b, m->text);
	if (m->reason.n > 0)
		buf_addf(b, "\r\nThe session ended before its time: %.*s.\r\n", SPAN_ARG(log_esc(m->reason)));
	buf_add_str(b, "\r\nThe log of this time tells more.\r\n");
}

/* ---- its way */

static void
on_submitted(void *ctx, const struct submit_result *r)
{
	struct notice *n = ctx;
	struct arena *a = n->arena;

	if (!r->ok)
		log_warning(NULL, "cannot tell the postmaster of trouble in an SMTP session: %s", r->why.text);
	list_remove(&n->node);
	buf_release(&n->text);
	arena_free(&a);
}

void
transcript_notice(struct local *l, const struct ipc_transcript_notice *m)
{
	struct arena *a;
	struct notice *n;
	struct span to;
	char qid[QID_MAX];
	int64_t now_us = clock_wall_us();
	struct submit_input in = { .fd = -1, .origin = SPAN("local"), .internal = true, .no_bcc = true, .header_checks_off = true,
		.done = on_submitted };

	if (m->to.n == 0 || too_many(l))
		return;
	a = arena_new(ARENA_MAX);
	n = ARENA_NEW(a, struct notice);
	n->l = l;
	n->arena = a;
	buf_init(&n->text, TEXT_MAX);
	list_push_back(&l->transcripts, &n->node);
	local_make_qid(l, qid);
	to = address_complete(arena_dup(a, m->to), l->role->conf->params->myorigin, a);
	make_envelope(n, to, now_us);
	make_text(n, m, qid, to, now_us);
	in.env = &n->env;
	in.text = buf_span(&n->text);
	in.ctx = n;
	submit(l, qid, &in);
}
