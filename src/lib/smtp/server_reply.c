/* Replies of the SMTP server: from code and text to lines, and what filters and footers of the owner make of them. */
#include <stdio.h>

#include "base/arena.h"
#include "base/panic.h"
#include "smtp/server_private.h"

#define FOOTER_MAX 2048u

/* "5.7.1" at the front of `t`: its length, or 0. */
static size_t
dsn_length(struct span t)
{
	size_t i = 0;
	unsigned dots = 0;

	if (t.n < 6 || (t.p[0] != '2' && t.p[0] != '4' && t.p[0] != '5'))
		return 0;
	while (i < t.n && (ascii_isdigit(t.p[i]) || t.p[i] == '.'))
		dots += t.p[i++] == '.';
	return dots == 2 && i < t.n && t.p[i] == ' ' ? i : 0;
}

/* One line without controls; UTF-8 only for those who asked for it (RFC 6531 section 3.7.4). */
static void
add_clean(struct buf *out, struct span text, bool utf8)
{
	size_t begun = 0;

	utf8 = utf8 && span_is_utf8(text);
	for (size_t i = 0; i < text.n; i++) {
		unsigned char ch = (unsigned char)text.p[i];

		if ((ch >= 32 || ch == '\t') && ch != 127 && (ch < 127 || utf8))
			continue;
		buf_add(out, text.p + begun, i - begun);
		buf_addc(out, '?');
		begun = i + 1;
	}
	if (begun < text.n)
		buf_add(out, text.p + begun, text.n - begun);
}

static void
add_reply_line(struct buf *out, unsigned code, bool last, const char *dsn, struct span text, bool utf8)
{
	char front[] = { (char)('0' + code / 100 % 10), (char)('0' + code / 10 % 10), (char)('0' + code % 10), last ? ' ' : '-' };

	buf_add(out, front, sizeof(front));
	/* The class always follows the code (RFC 2034 section 4). */
	if (dsn[0] != '\0' && code / 100 != 3) {
		buf_addc(out, front[0]);
		buf_add_str(out, dsn + 1);
		buf_addc(out, ' ');
	}
	add_clean(out, text, utf8);
	buf_add(out, "\r\n", 2);
}

static void
format_reply(struct buf *out, unsigned code, const char *dsn, struct span text, bool utf8)
{
	struct span line, rest = span_slice(text, 0, SMTPS_REPLY_MAX);
	bool more;

	do {
		more = span_cut(rest, '\n', &line, &rest);
		add_reply_line(out, code, !more, dsn, line, utf8);
	} while (more);
}

struct span
smtps_reply_split(struct span text, unsigned *code_r, char dsn[16])
{
	uint64_t code = 0;
	size_t n;

	ensure(text.n >= 4 && span_u64(span_slice(text, 0, 3), 599, &code));
	*code_r = (unsigned)code;
	text = span_from(text, 4);
	n = dsn_length(text);
	snprintf(dsn, 16, "%.*s", (int)n, text.p);
	return n > 0 ? span_from(text, n + 1) : text;
}

/* --- filter and footer --- */

/* A reply of ours that another may take the place of: "450 4.7.1 text". */
static bool
is_refusal(struct span text)
{
	uint64_t code;

	return text.n >= 5 && (text.p[3] == ' ' || text.p[3] == '-') && span_u64(span_slice(text, 0, 3), 599, &code) && code >= 400;
}

/* As tables see it: lines without CR, no newline at the end. */
static struct span
as_key(struct arena *a, unsigned code, const char *dsn, struct span text, bool utf8)
{
	struct buf lines;
	struct span key;
	char *p;
	size_t n = 0;

	buf_init(&lines, SMTPS_REPLY_MAX * 8);
	format_reply(&lines, code, dsn, text, utf8);
	key = arena_dup(a, buf_span(&lines));
	buf_release(&lines);
	p = arena_alloc(a, key.n);
	for (size_t i = 0; i + 1 < key.n; i++)
		if (key.p[i] != '\r')
			p[n++] = key.p[i];
	return (struct span){ p, n };
}

/* The text with the footer: on lines of its own, or behind the last one when it begins with \c. "\n" in it begins a line. */
static struct span
with_footer(struct arena *a, struct span text, struct span footer)
{
	struct buf out;
	struct span all;

	footer = span_slice(footer, 0, FOOTER_MAX);
	buf_init(&out, SMTPS_REPLY_MAX + FOOTER_MAX + 1);
	buf_add_span(&out, span_slice(text, 0, SMTPS_REPLY_MAX));
	if (span_starts(footer, SPAN("\\c")))
		footer = span_from(footer, 2);
	else
		buf_addc(&out, '\n');
	for (size_t i = 0; i < footer.n; i++) {
		if (span_starts(span_from(footer, i), SPAN("\\n"))) {
			buf_addc(&out, '\n');
			i++;
		} else {
			buf_addc(&out, footer.p[i]);
		}
	}
	all = arena_dup(a, buf_span(&out));
	buf_release(&out);
	return all;
}

static unsigned
add_edited(struct smtps *s, struct buf *out, unsigned code, const char *dsn, struct span text, bool utf8)
{
	struct arena *a = arena_new(1u << 20);
	struct span key = as_key(a, code, dsn, text, utf8), own, footer;
	char own_dsn[16];

	if (s->edit.reply != NULL && s->edit.reply(s->edit.ctx, key, a, &own) && is_refusal(own)) {
		text = smtps_reply_split(own, &code, own_dsn);
		dsn = s->client.discard & SMTPS_KW_ENHANCEDSTATUSCODES ? "" : own_dsn;
		key = as_key(a, code, dsn, text, utf8);
	}
	if (s->edit.footer != NULL && (footer = s->edit.footer(s->edit.ctx, key, a)).n > 0)
		text = with_footer(a, text, footer);
	format_reply(out, code, dsn, text, utf8);
	arena_free(&a);
	return code;
}

unsigned
smtps_reply_add(struct smtps *s, struct buf *out, unsigned code, const char *dsn, struct span text, bool utf8)
{
	if (s->client.discard & SMTPS_KW_ENHANCEDSTATUSCODES)
		dsn = "";
	if (s->conf->soft_bounce && code >= 500)
		code -= 100;
	if (code >= 400 && (s->edit.reply != NULL || s->edit.footer != NULL))
		return add_edited(s, out, code, dsn, text, utf8);
	format_reply(out, code, dsn, text, utf8);
	return code;
}

/* --- replies of a command, and others --- */

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

/* "250 2.1.0 text" in its parts; the text is in `text`. */
static struct span __attribute__((format(printf, 4, 0)))
format_and_split(char text[SMTPS_REPLY_MAX], unsigned *code_r, char dsn[16], const char *fmt, va_list ap)
{
	vsnprintf(text, SMTPS_REPLY_MAX, fmt, ap);
	return smtps_reply_split(span_str(text), code_r, dsn);
}

void
smtps_say(struct smtps *s, struct smtps_cmd *c, const char *fmt, ...)
{
	char text[SMTPS_REPLY_MAX], dsn[16];
	struct span rest;
	unsigned code;
	va_list ap;

	va_start(ap, fmt);
	rest = format_and_split(text, &code, dsn, fmt, ap);
	va_end(ap);
	smtps_compose(s, c, code, dsn, rest);
}

void
smtps_put_reply(struct smtps *s, unsigned code, const char *dsn, struct span text)
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
	rest = format_and_split(text, &code, dsn, fmt, ap);
	va_end(ap);
	smtps_put_reply(s, code, dsn, rest);
}
