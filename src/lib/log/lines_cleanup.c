/* Log lines of the intake of messages. */
#include "log/lines_cleanup.h"

#include "base/buf.h"

/* As much of a line as is worth reading. */
#define CONTENT_MAX 200

static void
put_named(struct buf *b, const char *before, struct span value, const char *behind)
{
	if (value.n > 0)
		buf_addf(b, "%s%.*s%s", before, SPAN_ARG(log_esc(value)), behind);
}

void
log_cleanup_check(const struct log *l, const struct log_cleanup_check *ev)
{
	struct span content = log_esc(span_slice(ev->content, 0, CONTENT_MAX));
	struct buf b;

	buf_init(&b, 8192);
	buf_addf(&b, "%s: %s %.*s from %.*s;", ev->action, ev->what, SPAN_ARG(content),
	    SPAN_ARG(log_esc(ev->origin)));
	if (ev->have_sender)
		buf_addf(&b, " from=<%.*s>", SPAN_ARG(log_esc(ev->sender)));
	put_named(&b, " to=<", ev->recipient, ">");
	put_named(&b, " proto=", ev->protocol, "");
	put_named(&b, " helo=<", ev->helo, ">");
	put_named(&b, ": ", ev->text, "");
	log_info(l, "%s", buf_cstr(&b));
	buf_release(&b);
}

void
log_cleanup_message_id(const struct log *l, struct span id, bool resent)
{
	log_info(l, "%smessage-id=%.*s", resent ? "resent-" : "", SPAN_ARG(log_esc(id)));
}

void
log_cleanup_removed(const struct log *l, bool discarded)
{
	log_info(l, "removed (%s)", discarded ? "discarded" : "canceled");
}

void
log_cleanup_warning(const struct log *l, const char *fmt, ...)
{
	struct log plain = { .tag = l != NULL ? l->tag : NULL };
	const char *qid = l != NULL ? l->qid : "";
	struct buf b;
	va_list ap;

	buf_init(&b, 8192);
	va_start(ap, fmt);
	buf_vaddf(&b, fmt, ap);
	va_end(ap);
	log_warning(&plain, "%s%s%s", qid, qid[0] != '\0' ? ": " : "", buf_cstr(&b));
	buf_release(&b);
}
