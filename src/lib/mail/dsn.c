/* Composing delivery status notifications. */
#include "mail/dsn.h"

#include "base/text.h"
#include "mail/address.h"
#include "mail/date.h"
#include "mail/header.h"

/* Longer runs without a blank are broken, so that no line can pass 998 (RFC 5322 section 2.1.1). */
#define RUN_MAX 400
/* As much of a reason or reply as is told. */
#define REASON_MAX 4000

struct writer {
	const struct dsn_notice *n;
	struct arena *a;
	struct buf *out;
};

static const struct dsn_template *
template_of(const struct dsn_notice *n)
{
	const struct dsn_templates *t = n->templates != NULL ? n->templates : dsn_templates_default();

	switch (n->kind) {
	case DSN_FAILURE:
	case DSN_POSTMASTER:
	case DSN_DOUBLE:
		return &t->failure;
	case DSN_DELAY:
	case DSN_POSTMASTER_DELAY:
		return &t->delay;
	case DSN_SUCCESS:
		return &t->success;
	case DSN_VERIFY:
		break;
	}
	return &t->verify;
}

static bool
is_for_postmaster(enum dsn_kind kind)
{
	return kind == DSN_POSTMASTER || kind == DSN_DOUBLE || kind == DSN_POSTMASTER_DELAY;
}

/* --- text that came from outside --- */

/* One line of printable text: what 7-bit parts cannot carry becomes '?', very long runs are broken. */
static struct span
line_text(const struct writer *w, struct span s)
{
	struct span result;
	size_t run = 0;
	struct buf b;

	s = span_slice(s, 0, REASON_MAX);
	buf_init(&b, 2 * REASON_MAX);
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		bool blank = c <= ' ';

		run = blank ? 0 : run + 1;
		/* Not inside a UTF-8 sequence. */
		if (run > RUN_MAX && (c & 0xc0) != 0x80) {
			buf_addc(&b, ' ');
			run = 1;
		}
		buf_addc(&b, blank ? ' ' : c == 127 || (c > 127 && !w->n->smtputf8) ? '?' : (char)c);
	}
	result = span_trim(arena_dup(w->a, buf_span(&b)));
	buf_release(&b);
	return result;
}

/* "type; address" (RFC 3464 section 2.3.1, RFC 6533 section 3): utf-8 raw where allowed, else as \x{HEX}. */
static struct span
typed_address(const struct writer *w, struct span addr)
{
	struct span external = address_external(addr, w->a), result;
	struct buf b;

	if (span_is_ascii(external))
		return arena_printf(w->a, "rfc822; %.*s", SPAN_ARG(external));
	if (w->n->smtputf8 && span_is_utf8(external))
		return arena_printf(w->a, "utf-8; %.*s", SPAN_ARG(external));
	buf_init(&b, size_add(size_mul(external.n, 8), 16));
	buf_add_str(&b, "utf-8; ");
	address_add_unitext(&b, external);
	result = arena_dup(w->a, buf_span(&b));
	buf_release(&b);
	return result;
}

/* ORCPT and ENVID came as xtext; reports carry what was meant (RFC 3461 section 6.3). */
static struct span
decode_xtext(const struct writer *w, struct span s)
{
	struct span result = s;
	struct buf b;

	buf_init(&b, size_add(s.n, 1));
	if (text_unxtext(&b, s))
		result = arena_dup(w->a, buf_span(&b));
	buf_release(&b);
	return result;
}

static struct span
original_recipient(const struct writer *w, struct span orcpt)
{
	struct span type, addr;

	if (!span_cut(orcpt, ';', &type, &addr))
		return SPAN("");
	if (!span_eq_ci(type, SPAN("utf-8")))
		addr = decode_xtext(w, addr);
	return arena_printf(w->a, "%.*s;%.*s", SPAN_ARG(type), SPAN_ARG(addr));
}

/* --- header --- */

static void
put_field(const struct writer *w, const char *name, struct span value)
{
	header_add(w->out, span_str(name), line_text(w, value));
}

/* "MAILER-DAEMON (...)" gets our host as its domain: From must be a whole address. */
static void
put_from(const struct writer *w, struct span from)
{
	struct span word = from, rest = SPAN("");

	if (span_index(from, '@') < 0 && span_index(from, '<') < 0) {
		span_cut(from, ' ', &word, &rest);
		from = arena_printf(w->a, "%.*s@%.*s %.*s", SPAN_ARG(word), SPAN_ARG(w->n->myhostname),
		    SPAN_ARG(rest));
	}
	put_field(w, "From", from);
}

static void
put_threading(const struct writer *w)
{
	struct span id = w->n->env->message_id;

	if (!w->n->threaded || id.n == 0)
		return;
	put_field(w, "References", id);
	put_field(w, "In-Reply-To", id);
}

static void
put_header(const struct writer *w, struct span boundary)
{
	const struct dsn_notice *n = w->n;
	const struct dsn_template *t = template_of(n);
	bool postmaster = is_for_postmaster(n->kind) && t->postmaster_subject.n > 0;

	buf_addf(w->out, "Received: by %.*s (%.*s)\r\n\tid %.*s; %.*s\r\n", SPAN_ARG(n->myhostname),
	    SPAN_ARG(n->mail_name), SPAN_ARG(n->bounce_qid), SPAN_ARG(date_rfc5322(n->now_us, w->a)));
	put_field(w, "Date", date_rfc5322(n->now_us, w->a));
	put_from(w, t->from);
	put_field(w, "Subject", postmaster ? t->postmaster_subject : t->subject);
	put_field(w, "To", address_external(n->to, w->a));
	put_field(w, "Auto-Submitted", is_for_postmaster(n->kind) ? SPAN("auto-generated") : SPAN("auto-replied"));
	put_threading(w);
	buf_addf(w->out, "MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=%s;\r\n"
	    "\tboundary=\"%.*s\"\r\n", n->smtputf8 ? "global-delivery-status" : "delivery-status",
	    SPAN_ARG(boundary));
	if (n->smtputf8 || n->env->eightbit || !span_is_ascii(t->body))
		buf_add_str(w->out, "Content-Transfer-Encoding: 8bit\r\n");
	buf_addf(w->out, "Message-Id: <%.*s@%.*s>\r\n\r\n", SPAN_ARG(n->bounce_qid),
	    SPAN_ARG(n->myhostname));
	buf_add_str(w->out, "This is a MIME-encapsulated message.\r\n");
}

/* --- notification --- */

/* "delay_warning_time_hours" and the like: a time in the unit that the name asks for, rounded up. */
static bool
time_value(struct span name, const char *param, int64_t secs, struct arena *a, struct span *value_r)
{
	static const struct {
		const char *suffix;
		int64_t unit;
	} units[] = { { "_seconds", 1 }, { "_minutes", 60 }, { "_hours", 3600 }, { "_days", 86400 },
		{ "_weeks", 604800 } };

	if (!span_starts(name, span_str(param)))
		return false;
	name = span_from(name, strlen(param));
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (!span_eq(name, span_str(units[i].suffix)))
			continue;
		*value_r = arena_printf(a, "%lld", (long long)((secs + units[i].unit - 1) / units[i].unit));
		return true;
	}
	return false;
}

static bool
template_value(void *ctx, struct span name, struct arena *a, struct span *value_r)
{
	const struct dsn_notice *n = ((const struct writer *)ctx)->n;

	if (span_eq(name, SPAN("myhostname"))) {
		*value_r = n->myhostname;
		return true;
	}
	if (span_eq(name, SPAN("mail_name"))) {
		*value_r = n->mail_name;
		return true;
	}
	if (time_value(name, "delay_warning_time", n->delay_time_s, a, value_r) ||
	    time_value(name, "maximal_queue_lifetime", n->lifetime_s, a, value_r))
		return true;
	return n->value != NULL && n->value(n->value_ctx, name, a, value_r);
}

/* "<a@b> (expanded from <c@d>): reason" */
static void
put_reason(const struct writer *w, const struct dsn_rcpt *r)
{
	struct span addr = line_text(w, address_external(r->addr, w->a));
	struct span orig = line_text(w, address_external(r->orig, w->a));
	struct span text, name;

	if (orig.n > 0 && !address_same(r->orig, r->addr))
		text = arena_printf(w->a, "<%.*s> (expanded from <%.*s>): %.*s", SPAN_ARG(addr), SPAN_ARG(orig),
		    SPAN_ARG(line_text(w, r->reason)));
	else
		text = arena_printf(w->a, "<%.*s>: %.*s", SPAN_ARG(addr), SPAN_ARG(line_text(w, r->reason)));
	/* Folded like a header, but without a name. */
	buf_add_str(w->out, "\r\n");
	span_cut(text, ' ', &name, &text);
	header_add_folded(w->out, name, text);
}

static void
put_notification(const struct writer *w, struct span boundary)
{
	const struct dsn_template *t = template_of(w->n);
	struct span charset = w->n->smtputf8 ? SPAN("utf-8") : t->charset;

	buf_addf(w->out, "\r\n--%.*s\r\nContent-Description: Notification\r\n"
	    "Content-Type: text/plain; charset=%.*s\r\n", SPAN_ARG(boundary), SPAN_ARG(charset));
	if (w->n->smtputf8 || !span_is_ascii(t->body))
		buf_add_str(w->out, "Content-Transfer-Encoding: 8bit\r\n");
	buf_add_str(w->out, "\r\n");
	/* the polite text is for the sender; it was not the postmaster's mail */
	if (!is_for_postmaster(w->n->kind))
		dsn_template_expand(t->body, template_value, (void *)(uintptr_t)w, w->a, w->out);
	for (size_t i = 0; i < w->n->rcpt_count; i++)
		put_reason(w, &w->n->rcpts[i]);
}

/* --- delivery report (RFC 3464 section 2) --- */

static const char *
action_word(enum dsn_action action)
{
	static const char *const words[] = { "failed", "delayed", "delivered", "relayed", "expanded",
		"undeliverable", "deliverable" };

	return words[action];
}

static void
put_message_fields(const struct writer *w)
{
	const struct dsn_notice *n = w->n;
	const struct envelope *e = n->env;

	buf_addf(w->out, "Reporting-MTA: dns; %.*s\r\n", SPAN_ARG(n->myhostname));
	if (e->envid.n > 0)
		put_field(w, "Original-Envelope-Id", decode_xtext(w, e->envid));
	put_field(w, "X-Signet-Queue-ID", n->qid);
	if (e->sender.n > 0)
		put_field(w, "X-Signet-Sender", typed_address(w, e->sender));
	if (e->arrival_us != 0)
		put_field(w, "Arrival-Date", date_rfc5322(e->arrival_us, w->a));
}

static void
put_diagnostic(const struct writer *w, const struct dsn_rcpt *r)
{
	if (r->remote_mta.n > 0)
		put_field(w, "Remote-MTA", arena_printf(w->a, "dns; %.*s", SPAN_ARG(r->remote_mta)));
	if (r->remote_mta.n > 0 && r->remote_reply.n > 0)
		put_field(w, "Diagnostic-Code",
		    arena_printf(w->a, "smtp; %.*s", SPAN_ARG(line_text(w, r->remote_reply))));
	else if (r->reason.n > 0)
		put_field(w, "Diagnostic-Code",
		    arena_printf(w->a, "X-Signet; %.*s", SPAN_ARG(line_text(w, r->reason))));
	if (r->action == DSN_DELAYED && r->retry_until_us > 0)
		put_field(w, "Will-Retry-Until", date_rfc5322(r->retry_until_us, w->a));
}

static void
put_rcpt_fields(const struct writer *w, const struct dsn_rcpt *r)
{
	struct span original = original_recipient(w, r->orcpt);

	buf_add_str(w->out, "\r\n");
	put_field(w, "Final-Recipient", typed_address(w, r->addr));
	if (original.n > 0)
		put_field(w, "Original-Recipient", original);
	put_field(w, "Action", span_str(action_word(r->action)));
	put_field(w, "Status", r->status);
	put_diagnostic(w, r);
}

static void
put_report(const struct writer *w, struct span boundary)
{
	buf_addf(w->out, "\r\n--%.*s\r\nContent-Description: Delivery report\r\n"
	    "Content-Type: message/%s\r\n", SPAN_ARG(boundary),
	    w->n->smtputf8 ? "global-delivery-status" : "delivery-status");
	if (w->n->smtputf8)
		buf_add_str(w->out, "Content-Transfer-Encoding: 8bit\r\n");
	buf_add_str(w->out, "\r\n");
	put_message_fields(w);
	for (size_t i = 0; i < w->n->rcpt_count; i++)
		put_rcpt_fields(w, &w->n->rcpts[i]);
}

/* --- the message comes back --- */

static bool
wants_headers_only(const struct dsn_notice *n)
{
	if (n->kind != DSN_FAILURE && n->kind != DSN_DOUBLE)
		return true;
	return n->env->ret == ENVELOPE_RET_HDRS || n->env->requiretls || n->env->size > n->size_limit;
}

static const char *
returned_type(const struct dsn_notice *n, bool headers_only)
{
	if (headers_only)
		return n->smtputf8 ? "message/global-headers" : "text/rfc822-headers";
	return n->smtputf8 ? "message/global" : "message/rfc822";
}

static void
put_returned_head(const struct writer *w, const struct dsn *d)
{
	bool undelivered = w->n->kind != DSN_SUCCESS && w->n->kind != DSN_VERIFY;

	buf_addf(w->out, "\r\n--%.*s\r\nContent-Description: %sMessage%s\r\nContent-Type: %s\r\n",
	    SPAN_ARG(d->boundary), undelivered ? "Undelivered " : "", d->headers_only ? " Headers" : "",
	    returned_type(w->n, d->headers_only));
	if (w->n->smtputf8 || w->n->env->eightbit)
		buf_add_str(w->out, "Content-Transfer-Encoding: 8bit\r\n");
	buf_add_str(w->out, "\r\n");
}

void
dsn_begin(struct dsn *d, const struct dsn_notice *n, struct arena *a, struct buf *out)
{
	struct writer w = { .n = n, .a = a, .out = out };

	/* The notice's own queue id is in it: no content that exists already can hold this line. */
	*d = (struct dsn){ .headers_only = wants_headers_only(n), .tail = 2,
		.boundary = arena_printf(a, "%.*s.%lld/%.*s", SPAN_ARG(n->bounce_qid),
		    (long long)(n->now_us / 1000000), SPAN_ARG(n->myhostname)) };
	put_header(&w, d->boundary);
	put_notification(&w, d->boundary);
	put_report(&w, d->boundary);
	put_returned_head(&w, d);
}

/* Bytes of `s` that belong to the header, its blank line included; d->tail counts how much of CRLF CRLF went by. */
static size_t
header_part(struct dsn *d, struct span s)
{
	static const char blank[] = "\r\n\r\n";

	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (c == blank[d->tail])
			d->tail++;
		else
			d->tail = c == '\r' ? 1 : 0;
		if (d->tail == 4) {
			d->done = true;
			return i + 1;
		}
	}
	return s.n;
}

bool
dsn_feed(struct dsn *d, struct span content, struct buf *out)
{
	if (d->done)
		return false;
	if (d->headers_only)
		content = span_slice(content, 0, header_part(d, content));
	if (!buf_add_span(out, content))
		d->done = true;
	return !d->done;
}

void
dsn_end(struct dsn *d, struct buf *out)
{
	buf_addf(out, "\r\n--%.*s--\r\n", SPAN_ARG(d->boundary));
	d->done = true;
}

/* --- envelope --- */

void
dsn_envelope(const struct dsn_notice *n, struct arena *a, struct envelope *e_r)
{
	struct envelope_rcpt r = { .addr = arena_dup(a, n->to), .notify = ENVELOPE_NOTIFY_NEVER };

	r.orig = r.addr;
	*e_r = (struct envelope){ .kind = is_for_postmaster(n->kind) ? ENVELOPE_DOUBLE_BOUNCE : ENVELOPE_BOUNCE,
		.smtputf8 = n->smtputf8, .eightbit = n->smtputf8 || n->env->eightbit,
		.local_origin = true, .no_milters = true, .requiretls = n->env->requiretls,
		.arrival_us = n->now_us, .begun_us = n->now_us };
	if (is_for_postmaster(n->kind))
		e_r->sender = arena_dup(a, n->double_bounce);
	envelope_add_rcpt(e_r, a, &r);
}

bool
dsn_wanted(unsigned notify, enum dsn_kind kind)
{
	switch (kind) {
	case DSN_FAILURE:
		return notify == 0 || (notify & ENVELOPE_NOTIFY_FAILURE);
	case DSN_DELAY:
		return notify == 0 || (notify & ENVELOPE_NOTIFY_DELAY);
	case DSN_SUCCESS:
		return notify & ENVELOPE_NOTIFY_SUCCESS;
	case DSN_VERIFY:
	case DSN_POSTMASTER:
	case DSN_DOUBLE:
	case DSN_POSTMASTER_DELAY:
		break;
	}
	return true;
}
