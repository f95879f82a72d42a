/* XCLIENT and XFORWARD: attributes, and the greeting that begins anew (tls-server.md section 10). */
#include <stdlib.h>

#include "base/panic.h"
#include "base/text.h"
#include "dns/dns.h"
#include "mail/address.h"
#include "smtp/server_private.h"

#define VALUE_MAX 255u

struct x_row {
	const char *name;
	enum smtps_x_attr attr;
	bool xclient, xforward;
};

static const struct x_row x_rows[] = {
	{ "NAME", SMTPS_X_NAME, true, true },
	{ "ADDR", SMTPS_X_ADDR, true, true },
	{ "PROTO", SMTPS_X_PROTO, true, true },
	{ "HELO", SMTPS_X_HELO, true, true },
	{ "REVERSE_NAME", SMTPS_X_REVERSE_NAME, true, false },
	{ "SOURCE", SMTPS_X_SOURCE, false, true },
	{ "PORT", SMTPS_X_PORT, true, true },
	{ "IDENT", SMTPS_X_IDENT, false, true },
	{ "LOGIN", SMTPS_X_LOGIN, true, false },
	{ "DESTADDR", SMTPS_X_DESTADDR, true, false },
	{ "DESTPORT", SMTPS_X_DESTPORT, true, false },
};
#define X_ROWS (sizeof(x_rows) / sizeof(x_rows[0]))

static bool
is_xclient(const struct smtps_cmd *c)
{
	return c->row->verb == SMTPS_XCLIENT;
}

void
smtps_x_keywords(const struct smtps *s, struct buf *lines)
{
	if (s->client.verp)
		buf_add_str(lines, "\nXVERP");
	for (unsigned forward = 0; forward < 2; forward++) {
		if (forward ? !s->client.xforward : !s->client.xclient)
			continue;
		buf_addf(lines, "\n%s", forward ? "XFORWARD" : "XCLIENT");
		for (size_t i = 0; i < X_ROWS; i++)
			if (forward ? x_rows[i].xforward : x_rows[i].xclient)
				buf_addf(lines, " %s", x_rows[i].name);
	}
}

/* --- refusals --- */

static void
tell(struct smtps *s, const struct smtps_cmd *c, struct span what)
{
	smtps_tell(s, SMTPS_TELL_IMPROPER_X, SMTPS_WHY_CLIENT, what);
	LIST_ITEM(s->news.prev, struct smtps_news, node)->ev.verb = c->row->verb;
}

/* What is wrong with it, for the client and the log. */
static bool
improper(struct smtps *s, struct smtps_cmd *c, const char *what, struct span value)
{
	struct span text = arena_printf(c->arena, "%s%.*s", what, SPAN_ARG(span_slice(value, 0, 100)));

	smtps_say(s, c, "501 5.5.4 %.*s", SPAN_ARG(text));
	tell(s, c, text);
	return false;
}

/* --- values --- */

/* "192.0.2.1" or "IPV6:2001:db8::1"; the prefix goes. */
static bool
take_address(struct span *value)
{
	uint8_t bytes[16];
	size_t n;

	if (span_starts_ci(*value, SPAN("IPV6:"))) {
		*value = span_from(*value, 5);
		return dns_address_parse(*value, bytes, &n) && n == 16;
	}
	return dns_address_parse(*value, bytes, &n) && n == 4;
}

/* Known values: is it of its attribute's form? */
static bool
well_formed(enum smtps_x_attr attr, struct span *value)
{
	uint64_t port;

	switch (attr) {
	case SMTPS_X_NAME:
	case SMTPS_X_REVERSE_NAME:
		return dns_name_is_host(*value);
	case SMTPS_X_ADDR:
	case SMTPS_X_DESTADDR:
		return take_address(value);
	case SMTPS_X_PORT:
	case SMTPS_X_DESTPORT:
		return value->n <= 5 && span_u64(*value, 65535, &port);
	case SMTPS_X_PROTO:
		return span_eq_ci(*value, SPAN("SMTP")) || span_eq_ci(*value, SPAN("ESMTP"));
	case SMTPS_X_SOURCE:
		return span_eq_ci(*value, SPAN("LOCAL")) || span_eq_ci(*value, SPAN("REMOTE"));
	case SMTPS_X_HELO:
	case SMTPS_X_LOGIN:
	case SMTPS_X_IDENT:
		return value->n > 0;
	case SMTPS_X_ATTRS:
		break;
	}
	panic("smtps_x_attr");
}

/* What is no text becomes '?': values go to logs and other servers. */
static struct span
clean(struct arena *a, struct span value)
{
	char *p = arena_cstr(a, value);
	bool utf8 = span_is_utf8(value);

	for (size_t i = 0; i < value.n; i++)
		if ((unsigned char)p[i] < 32 || p[i] == 127 || ((unsigned char)p[i] > 127 && !utf8))
			p[i] = '?';
	return span_of(p, value.n);
}

static bool
decode(struct smtps *s, struct smtps_cmd *c, struct span coded, struct span *value_r)
{
	struct buf text;
	bool ok;

	buf_init(&text, VALUE_MAX);
	ok = text_unxtext(&text, coded) && !text.full;
	if (ok)
		*value_r = clean(c->arena, buf_span(&text));
	buf_release(&text);
	return ok || improper(s, c, "Bad attribute value: ", coded);
}

static const struct x_row *
row_find(const struct smtps_cmd *c, struct span name)
{
	for (size_t i = 0; i < X_ROWS; i++)
		if (span_eq_ci(name, span_str(x_rows[i].name)) && (is_xclient(c) ? x_rows[i].xclient : x_rows[i].xforward))
			return &x_rows[i];
	return NULL;
}

/* One "NAME=value"; false: replied. */
static bool
take_attribute(struct smtps *s, struct smtps_cmd *c, struct span word)
{
	struct span name, coded, value = SPAN("");
	const struct x_row *row;
	unsigned bit;

	if (!span_cut(word, '=', &name, &coded))
		return improper(s, c, "Error: attribute=value expected", SPAN(""));
	row = row_find(c, name);
	if (row == NULL)
		return improper(s, c, "Bad attribute name: ", name);
	if (!decode(s, c, coded, &value))
		return false;
	bit = 1u << row->attr;
	c->x->given |= bit;
	c->x->temporary &= ~bit;
	c->x->value[row->attr] = SPAN("");
	if (span_eq_ci(value, SPAN("[UNAVAILABLE]")))
		return true;
	if (span_eq_ci(value, SPAN("[TEMPUNAVAIL]"))) {
		c->x->temporary |= bit;
		return true;
	}
	if (!well_formed(row->attr, &value))
		return improper(s, c, arena_printf(c->arena, "Bad %s syntax: ", row->name).p, value);
	c->x->value[row->attr] = value;
	return true;
}

void
smtps_x_start(struct smtps *s, struct smtps_cmd *c)
{
	struct span rest = c->args, word;

	if (is_xclient(c) ? !s->client.xclient : !s->client.xforward) {
		smtps_say(s, c, "550 5.7.0 Error: insufficient authorization");
		c->notice = SMTP_NOTICE_POLICY;
		tell(s, c, SPAN(""));
		return;
	}
	if (c->args.n == 0) {
		improper(s, c, arena_printf(c->arena, "Syntax: %s attribute=value...", c->row->name).p, SPAN(""));
		return;
	}
	c->x = ARENA_NEW(c->arena, struct smtps_x);
	while (span_token(&rest, " \t", &word))
		if (!take_attribute(s, c, word))
			return;
	smtps_ask(s, c, is_xclient(c) ? SMTPS_ASK_XCLIENT : SMTPS_ASK_XFORWARD);
}

/* --- what follows --- */

void
smtps_xforward_done(struct smtps *s, struct smtps_cmd *c, bool accepted, struct span text)
{
	(void)text;
	if (!accepted)
		return;
	s->xforwarded = true;
	smtps_say(s, c, "250 2.0.0 Ok");
}

/* As if the client had just come, but for TLS: the question that precedes the greeting is asked again. */
static void
begin_anew(struct smtps *s, struct smtps_cmd *c)
{
	struct span helo = c->x->value[SMTPS_X_HELO];

	free(s->helo);
	s->helo = helo.n > 0 ? strndup(helo.p, helo.n) : NULL;
	s->esmtp = span_eq_ci(c->x->value[SMTPS_X_PROTO], SPAN("ESMTP"));
	s->auth.enabled = false;        /* until the next EHLO */
	smtps_enter(s, PH_CONNECT);
	smtps_ask(s, c, SMTPS_ASK_CONNECT);
}

void
smtps_xclient_done(struct smtps *s, struct smtps_cmd *c, bool accepted, struct span text)
{
	if (c->ask == SMTPS_ASK_CONNECT)
		smtps_greet(s, c, accepted, text);
	else if (accepted)
		begin_anew(s, c);
}
