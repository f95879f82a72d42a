/* The verbs of the server engine: one row each, and what they do. */
#include <stdio.h>
#include <stdlib.h>

#include "base/panic.h"
#include "mail/address.h"
#include "smtp/server_private.h"

#define ANY (IN(PH_GREETED) | IN(PH_READY) | IN(PH_MAIL) | IN(PH_RCPT) | IN(PH_BDAT))
#define RESTING (IN(PH_GREETED) | IN(PH_READY))

/* --- HELO, EHLO --- */

static void
start_helo(struct smtps *s, struct smtps_cmd *c)
{
	/* RFC 6531 section 3.7.1: names are ASCII here. */
	if (c->args.n == 0 || !span_is_ascii(c->args)) {
		smtps_say(s, c, "501 Syntax: %s hostname", c->row->name);
		return;
	}
	smtps_ask(s, c, SMTPS_ASK_HELO);
}

static const struct keyword_row {
	const char *name;
	unsigned bit;
} keyword_rows[] = {
	{ "PIPELINING", SMTPS_KW_PIPELINING },
	{ "SIZE", SMTPS_KW_SIZE },
	{ "VRFY", SMTPS_KW_VRFY },
	{ "ETRN", SMTPS_KW_ETRN },
	{ "STARTTLS", SMTPS_KW_STARTTLS },
	{ "AUTH", SMTPS_KW_AUTH },
	{ "ENHANCEDSTATUSCODES", SMTPS_KW_ENHANCEDSTATUSCODES },
	{ "8BITMIME", SMTPS_KW_8BITMIME },
	{ "DSN", SMTPS_KW_DSN },
	{ "SMTPUTF8", SMTPS_KW_SMTPUTF8 },
	{ "CHUNKING", SMTPS_KW_CHUNKING },
	{ "silent-discard", SMTPS_KW_SILENT },
};
#define KEYWORDS (sizeof(keyword_rows) / sizeof(keyword_rows[0]))

unsigned
smtps_keywords(struct span list, struct span *unknown_r)
{
	struct span word;
	unsigned bits = 0;

	*unknown_r = SPAN("");
	while (span_token(&list, ", \t\r\n", &word)) {
		size_t i = 0;

		while (i < KEYWORDS && !span_eq_ci(word, span_str(keyword_rows[i].name)))
			i++;
		if (i < KEYWORDS)
			bits |= keyword_rows[i].bit;
		else
			*unknown_r = word;
	}
	return bits;
}

/* One EHLO line without code. `SIZE 0` is "no limit" (RFC 1870 section 3). */
static void
add_keyword(const struct smtps *s, const struct keyword_row *k, struct buf *text)
{
	buf_addc(text, '\n');
	buf_add_str(text, k->name);
	if (k->bit == SMTPS_KW_SIZE)
		buf_addf(text, " %llu", (unsigned long long)s->conf->size_limit);
	if (k->bit != SMTPS_KW_AUTH)
		return;
	buf_addf(text, " %.*s", SPAN_ARG(s->auth.mechs));
	if (s->auth.equals_form)
		buf_addf(text, "\nAUTH=%.*s", SPAN_ARG(s->auth.mechs));
}

static void
ehlo_reply(struct smtps *s, struct smtps_cmd *c)
{
	struct buf text, left_out;

	buf_init(&text, 4096);
	buf_init(&left_out, 1024);
	buf_add_span(&text, s->conf->hostname);
	for (size_t i = 0; i < KEYWORDS - 1; i++) {
		const struct keyword_row *k = &keyword_rows[i];

		if (k->bit == SMTPS_KW_ENHANCEDSTATUSCODES)
			smtps_x_keywords(s, &text);
		if (smtps_can(s, k->bit)) {
			add_keyword(s, k, &text);
		} else if (s->client.discard & k->bit) {
			buf_addf(&left_out, "%s%s", left_out.n > 0 ? " " : "", k->name);
		}
	}
	if (left_out.n > 0 && !(s->client.discard & SMTPS_KW_SILENT))
		smtps_tell(s, SMTPS_TELL_DISCARD, SMTPS_WHY_CLIENT, buf_span(&left_out));
	smtps_compose(s, c, 250, "", buf_span(&text));
	buf_release(&text);
	buf_release(&left_out);
}

static void
done_helo(struct smtps *s, struct smtps_cmd *c, bool accepted, struct span text)
{
	(void)text;
	if (!accepted)
		return;
	smtps_tx_end(s, true, SMTPS_WHY_CLIENT);
	free(s->helo);
	s->helo = strndup(c->args.p, c->args.n);
	ensure(s->helo != NULL);
	s->esmtp = c->row->verb == SMTPS_EHLO;
	smtps_enter(s, PH_READY);
	if (s->esmtp)
		ehlo_reply(s, c);
	else
		smtps_compose(s, c, 250, "", s->conf->hostname);
}

/* --- STARTTLS (RFC 3207) --- */

static void
tls_broken(struct smtps *s, struct smtps_cmd *c)
{
	smtps_say(s, c, "454 4.7.0 TLS not available due to local problem");
	c->notice = SMTP_NOTICE_SOFTWARE;
}

static void
start_starttls(struct smtps *s, struct smtps_cmd *c)
{
	if (c->args.n > 0)
		smtps_say(s, c, "501 5.5.4 Syntax: STARTTLS");
	else if (s->tls)
		smtps_say(s, c, "554 5.5.1 Error: TLS already active");
	else if (!s->client.tls_enabled || (s->client.discard & SMTPS_KW_STARTTLS))
		smtps_say(s, c, "502 5.5.1 Error: command not implemented");
	else if (!s->client.tls_offered)
		tls_broken(s, c);
	else
		smtps_ask(s, c, SMTPS_ASK_STARTTLS);
}

static void
done_starttls(struct smtps *s, struct smtps_cmd *c, bool accepted, struct span text)
{
	(void)text;
	if (!accepted)
		return;
	smtps_say(s, c, "220 2.0.0 Ready to start TLS");
	smtps_tx_end(s, true, SMTPS_WHY_CLIENT);
	/* Nothing that came in clear may be interpreted after it (section 4.2): somebody on the way may have put it there. */
	if (s->view.n > 0)
		smtps_tell(s, SMTPS_TELL_PIPELINING, SMTPS_WHY_CLIENT, span_slice(s->view, 0, 100));
	s->view = SPAN("");
	buf_clear(&s->in);
	smtps_enter(s, PH_TLS);
}

/* --- MAIL, RCPT --- */

static void
start_mail(struct smtps *s, struct smtps_cmd *c)
{
	if (s->conf->helo_required && s->helo == NULL) {
		smtps_say(s, c, "503 5.5.1 Error: send HELO/EHLO first");
		c->notice = SMTP_NOTICE_POLICY;
	} else if (smtps_parse_mail(s, c)) {
		smtps_ask(s, c, SMTPS_ASK_MAIL);
	}
}

static void
done_mail(struct smtps *s, struct smtps_cmd *c, bool accepted, struct span text)
{
	(void)text;
	if (!accepted)
		return;
	s->tx = c;
	s->rcpts = s->rcpt_overshoot = 0;
	s->data_asked = s->bdat_failed = s->too_big = false;
	smtps_enter(s, PH_MAIL);
	smtps_say(s, c, "250 2.1.0 Ok");
}

/* The first refused ones beyond the limit are the client's right to try (RFC 5321 section 4.5.3.1.10). */
static void
too_many_rcpts(struct smtps *s, struct smtps_cmd *c)
{
	smtps_say(s, c, "452 4.5.3 Error: too many recipients");
	c->notice = 0;
	if (s->rcpt_overshoot++ < s->conf->rcpt_overshoot_limit) {
		c->error = false;
		c->ok = true;
	}
}

static void
start_rcpt(struct smtps *s, struct smtps_cmd *c)
{
	if (!smtps_parse_rcpt(s, c))
		return;
	if (s->conf->rcpt_limit != 0 && s->rcpts >= s->conf->rcpt_limit) {
		too_many_rcpts(s, c);
		return;
	}
	s->rcpts_waiting++;
	smtps_ask(s, c, SMTPS_ASK_RCPT);
}

static void
done_rcpt(struct smtps *s, struct smtps_cmd *c, bool accepted, struct span text)
{
	(void)text;
	s->rcpts_waiting--;
	if (!accepted)
		return;
	s->rcpts++;
	if (s->phase == PH_MAIL)
		smtps_enter(s, PH_RCPT);
	smtps_say(s, c, "250 2.1.5 Ok");
}

/* --- content --- */

/* Why content cannot come now, or NULL. */
static const char *
content_refusal(const struct smtps *s)
{
	if (s->tx == NULL)
		return "503 5.5.1 Error: need RCPT command";
	if (s->rcpts == 0)
		return "554 5.5.1 Error: no valid recipients";
	return NULL;
}

static void
start_data(struct smtps *s, struct smtps_cmd *c)
{
	const char *refusal = content_refusal(s);

	if (refusal != NULL) {
		smtps_say(s, c, "%s", refusal);
		if (s->tx != NULL)
			c->notice = 0;  /* what refused the recipients was trouble enough */
	} else if (c->args.n > 0) {
		smtps_say(s, c, "501 5.5.4 Syntax: DATA");
	} else {
		smtps_ask(s, c, SMTPS_ASK_DATA);
	}
}

/* The end of a message: for DATA and the last BDAT. */
static void
message_done(struct smtps *s, struct smtps_cmd *c, bool accepted, struct span text)
{
	if (accepted) {
		if (c->row->verb == SMTPS_BDAT)
			smtps_say(s, c, "250 2.0.0 Ok: %llu bytes %.*s", (unsigned long long)s->chunks, SPAN_ARG(text));
		else
			smtps_say(s, c, "250 2.0.0 Ok: %.*s", SPAN_ARG(text));
		s->errors = s->junk = 0;
		s->transcript.classes = 0;      /* whatever it was, the mail got through */
	}
	smtps_tx_end(s, false, SMTPS_WHY_CLIENT);
}

static void
done_data(struct smtps *s, struct smtps_cmd *c, bool accepted, struct span text)
{
	if (c->content_done) {
		message_done(s, c, accepted, text);
		return;
	}
	if (!accepted)
		return;
	smtps_show(s, c);
	smtps_put(s, "354 End data with <CR><LF>.<CR><LF>");
	smtps_content_begin(s, c);
	smtps_enter(s, PH_CONTENT);
	s->rx = RX_DOT;
}

/* "BDAT n [LAST]". Without the number the payload cannot be told from commands. */
static bool
bdat_parse(struct smtps_cmd *c)
{
	struct span rest = c->args, size, last, junk;

	if (!span_token(&rest, " \t", &size) || !span_u64(size, UINT64_MAX / 4, &c->chunk))
		return false;
	c->chunk_last = span_token(&rest, " \t", &last);
	return !c->chunk_last || (span_eq_ci(last, SPAN("LAST")) && !span_token(&rest, " \t", &junk));
}

/* The payload of a refused chunk is read all the same (RFC 3030 section 2), then `c->reply` goes out. */
static void
chunk_begin(struct smtps *s, struct smtps_cmd *c, bool drop)
{
	c->life = LIFE_WAITING;
	c->chunk_drop = drop;
	s->chunk_left = c->chunk;
	s->rx = RX_CHUNK;
}

static void
chunk_refuse(struct smtps *s, struct smtps_cmd *c, const char *reply)
{
	smtps_say(s, c, "%s", reply);
	if (s->tx != NULL && s->phase != PH_BDAT && s->rcpts > 0)
		smtps_enter(s, PH_BDAT);
	s->bdat_failed = s->phase == PH_BDAT;
	chunk_begin(s, c, true);
}

static void
chunk_after_error(struct smtps *s, struct smtps_cmd *c)
{
	smtps_say(s, c, "551 5.0.0 Discarded %llu bytes after earlier error", (unsigned long long)c->chunk);
	c->notice = 0;
	chunk_begin(s, c, true);
}

static void
chunk_accept(struct smtps *s, struct smtps_cmd *c)
{
	uint64_t limit = s->conf->size_limit;

	if (s->phase != PH_BDAT) {
		smtps_content_begin(s, c);
		smtps_enter(s, PH_BDAT);
	}
	if (limit != 0 && (c->chunk > limit || s->content_bytes > limit - c->chunk)) {
		s->too_big = true;
		chunk_refuse(s, c, "552 5.3.4 Chunk exceeds message size limit");
		c->notice = SMTP_NOTICE_BOUNCE;
	} else {
		s->chunks += c->chunk;
		chunk_begin(s, c, false);
	}
}

/* Permanent for the message, and then we cannot go on (RFC 5321 section 3.8 closes with 421). */
static void
bdat_lost(struct smtps *s, struct smtps_cmd *c)
{
	smtps_say(s, c, "501 5.5.4 Syntax: BDAT count [LAST]");
	c->hang_up = c->farewell = true;
}

void
smtps_bdat_refuse(struct smtps *s, struct smtps_cmd *c, const char *reply)
{
	if (bdat_parse(c))
		chunk_refuse(s, c, reply);
	else
		bdat_lost(s, c);
}

static void
start_bdat(struct smtps *s, struct smtps_cmd *c)
{
	const char *refusal = content_refusal(s);

	if (!bdat_parse(c)) {
		bdat_lost(s, c);
	} else if (!smtps_can(s, SMTPS_KW_CHUNKING)) {
		chunk_refuse(s, c, "502 5.5.1 Error: command not implemented");
	} else if (c->chunk == 0 && !c->chunk_last) {
		chunk_refuse(s, c, "551 5.7.1 Null BDAT request");
		c->notice = 0;
	} else if (refusal != NULL) {
		chunk_refuse(s, c, refusal);
		if (s->tx != NULL)
			c->notice = 0;
	} else if (s->bdat_failed) {
		chunk_after_error(s, c);
	} else if (!s->data_asked) {
		smtps_ask(s, c, SMTPS_ASK_DATA);
	} else {
		chunk_accept(s, c);
	}
}

static void
done_bdat(struct smtps *s, struct smtps_cmd *c, bool accepted, struct span text)
{
	if (c->content_done) {
		message_done(s, c, accepted, text);
	} else if (accepted) {
		s->data_asked = true;
		chunk_accept(s, c);
	} else {
		if (s->phase != PH_BDAT)
			smtps_enter(s, PH_BDAT);
		s->bdat_failed = true;
		if (!c->hang_up)
			chunk_begin(s, c, true);
	}
}

/* --- the small ones --- */

static void
start_rset(struct smtps *s, struct smtps_cmd *c)
{
	if (c->args.n > 0) {
		smtps_say(s, c, "501 5.5.4 Syntax: RSET");
		return;
	}
	smtps_tx_end(s, true, SMTPS_WHY_CLIENT);
	smtps_say(s, c, "250 2.0.0 Ok");
}

static void
start_noop(struct smtps *s, struct smtps_cmd *c)
{
	smtps_say(s, c, "250 2.0.0 Ok");
}

static void
start_vrfy(struct smtps *s, struct smtps_cmd *c)
{
	/* RFC 5321 section 7.3: disabled, it says 252 without looking. */
	if (s->conf->vrfy_disabled || (s->client.discard & SMTPS_KW_VRFY))
		smtps_say(s, c, "252 2.0.0 Cannot VRFY user, but will accept message and attempt delivery");
	else if (smtps_parse_vrfy(s, c))
		smtps_ask(s, c, SMTPS_ASK_VRFY);
}

static void
done_vrfy(struct smtps *s, struct smtps_cmd *c, bool accepted, struct span text)
{
	if (!accepted)
		return;
	if (text.n == 0)
		text = address_external(c->rcpt.to, c->arena);
	smtps_say(s, c, "252 2.0.0 <%.*s>", SPAN_ARG(text));
}

static void
start_etrn(struct smtps *s, struct smtps_cmd *c)
{
	struct span domain = c->args;

	if (s->client.discard & SMTPS_KW_ETRN) {
		smtps_say(s, c, "502 5.5.1 Error: command not implemented");
		return;
	}
	if (s->conf->helo_required && s->helo == NULL) {
		smtps_say(s, c, "503 5.5.1 Error: send HELO/EHLO first");
		return;
	}
	/* RFC 1985 section 5.3: '@' for subdomains too, '#' for a named queue; the name decides here. */
	if (domain.n > 0 && (domain.p[0] == '@' || domain.p[0] == '#'))
		domain = span_from(domain, 1);
	if (domain.n == 0 || span_index(domain, ' ') >= 0) {
		smtps_say(s, c, "500 5.5.2 Syntax: ETRN domain");
		return;
	}
	if (!address_valid_domain(domain, s->conf->smtputf8)) {
		smtps_say(s, c, "501 5.5.4 Error: invalid parameter syntax");
		return;
	}
	c->args = domain;
	smtps_ask(s, c, SMTPS_ASK_ETRN);
}

static void
done_etrn(struct smtps *s, struct smtps_cmd *c, bool accepted, struct span text)
{
	(void)text;
	if (accepted)
		smtps_say(s, c, "250 2.0.0 Queuing started");
}

static void
start_quit(struct smtps *s, struct smtps_cmd *c)
{
	smtps_say(s, c, "221 2.0.0 Bye");
	c->hang_up = true;
}

static void start_help(struct smtps *s, struct smtps_cmd *c);

static const struct smtps_row rows[] = {
	{ "HELO", SMTPS_HELO, CMD_LAST | CMD_PRE_TLS, ANY, "503 5.5.1 Error: wrong time", start_helo, done_helo },
	{ "EHLO", SMTPS_EHLO, CMD_LAST | CMD_PRE_TLS, ANY, "503 5.5.1 Error: wrong time", start_helo, done_helo },
	{ "STARTTLS", SMTPS_STARTTLS, CMD_MODAL | CMD_PRE_TLS, ANY, "503 5.5.1 Error: wrong time", start_starttls,
	    done_starttls },
	{ "AUTH", SMTPS_AUTH, CMD_LAST | CMD_MODAL | CMD_SECRET, ANY, "503 5.5.1 Error: wrong time",
	    smtps_auth_start, smtps_auth_done },
	{ "XCLIENT", SMTPS_XCLIENT, CMD_MODAL | CMD_PRE_TLS, RESTING, "503 5.5.1 Error: MAIL transaction in progress", smtps_x_start,
	    smtps_xclient_done },
	{ "XFORWARD", SMTPS_XFORWARD, 0, RESTING, "503 5.5.1 Error: MAIL transaction in progress", smtps_x_start,
	    smtps_xforward_done },
	{ "MAIL", SMTPS_MAIL, 0, RESTING, "503 5.5.1 Error: nested MAIL command", start_mail, done_mail },
	{ "RCPT", SMTPS_RCPT, 0, IN(PH_MAIL) | IN(PH_RCPT), "503 5.5.1 Error: need MAIL command", start_rcpt, done_rcpt },
	{ "DATA", SMTPS_DATA, CMD_LAST | CMD_MODAL, RESTING | IN(PH_MAIL) | IN(PH_RCPT), "503 5.5.1 Error: DATA after BDAT",
	    start_data, done_data },
	{ "BDAT", SMTPS_BDAT, CMD_MODAL, ANY, "503 5.5.1 Error: wrong time", start_bdat, done_bdat },
	{ "RSET", SMTPS_RSET, CMD_JUNK, ANY, "503 5.5.1 Error: wrong time", start_rset, NULL },
	{ "NOOP", SMTPS_NOOP, CMD_LAST | CMD_JUNK | CMD_PRE_TLS, ANY, "503 5.5.1 Error: wrong time", start_noop, NULL },
	{ "VRFY", SMTPS_VRFY, CMD_LAST | CMD_JUNK, ANY, "503 5.5.1 Error: wrong time", start_vrfy, done_vrfy },
	{ "ETRN", SMTPS_ETRN, CMD_JUNK, RESTING, "503 5.5.1 Error: MAIL transaction in progress", start_etrn, done_etrn },
	{ "QUIT", SMTPS_QUIT, CMD_MODAL | CMD_PRE_TLS, ANY | IN(PH_REFUSED), "503 5.5.1 Error: wrong time", start_quit, NULL },
	{ "HELP", SMTPS_HELP, CMD_PRE_TLS, ANY, "503 5.5.1 Error: wrong time", start_help, NULL },
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

/* Is the verb worth naming to this client? */
static bool
row_available(const struct smtps *s, const struct smtps_row *r)
{
	switch ((unsigned)r->verb) {
	case SMTPS_STARTTLS:
		return smtps_can(s, SMTPS_KW_STARTTLS);
	case SMTPS_AUTH:
		return smtps_can(s, SMTPS_KW_AUTH);
	case SMTPS_BDAT:
		return smtps_can(s, SMTPS_KW_CHUNKING);
	case SMTPS_ETRN:
		return smtps_can(s, SMTPS_KW_ETRN);
	case SMTPS_XCLIENT:
		return s->client.xclient;
	case SMTPS_XFORWARD:
		return s->client.xforward;
	}
	return true;
}

static void
start_help(struct smtps *s, struct smtps_cmd *c)
{
	static const enum smtps_verb sorted[] = { SMTPS_AUTH, SMTPS_BDAT, SMTPS_DATA, SMTPS_EHLO, SMTPS_ETRN, SMTPS_HELO,
		SMTPS_HELP, SMTPS_MAIL, SMTPS_NOOP, SMTPS_QUIT, SMTPS_RCPT, SMTPS_RSET, SMTPS_STARTTLS, SMTPS_VRFY,
		SMTPS_XCLIENT, SMTPS_XFORWARD };
	struct buf text;

	buf_init(&text, 256);
	for (size_t i = 0; i < sizeof(sorted) / sizeof(sorted[0]); i++)
		for (size_t k = 0; k < ROWS; k++)
			if (rows[k].verb == sorted[i] && row_available(s, &rows[k]))
				buf_addf(&text, " %s", rows[k].name);
	smtps_say(s, c, "214 2.0.0 Commands:%s", buf_cstr(&text));
	buf_release(&text);
}

const struct smtps_row *
smtps_row_find(struct span verb)
{
	for (size_t i = 0; i < ROWS; i++)
		if (span_eq_ci(verb, span_str(rows[i].name)))
			return &rows[i];
	return &smtps_row_unknown;
}

const char *
smtps_verb_name(enum smtps_verb verb)
{
	for (size_t i = 0; i < ROWS; i++)
		if (rows[i].verb == verb)
			return rows[i].name;
	return "UNKNOWN";
}

/* --- what is no verb --- */

static void
start_unknown(struct smtps *s, struct smtps_cmd *c)
{
	smtps_ask(s, c, SMTPS_ASK_UNKNOWN);
}

static void
done_unknown(struct smtps *s, struct smtps_cmd *c, bool accepted, struct span text)
{
	(void)text;
	if (accepted)
		smtps_say(s, c, "500 5.5.2 Error: command not recognized");
}

const struct smtps_row smtps_row_unknown = { "UNKNOWN", SMTPS_UNKNOWN, CMD_PRE_TLS, ANY, "503 5.5.1 Error: wrong time",
	start_unknown, done_unknown };

static void
start_connect(struct smtps *s, struct smtps_cmd *c)
{
	smtps_ask(s, c, SMTPS_ASK_CONNECT);
}

void
smtps_greet(struct smtps *s, struct smtps_cmd *c, bool accepted, struct span text)
{
	if (!accepted) {
		smtps_enter(s, PH_REFUSED);
		return;
	}
	smtps_enter(s, smtps_rest_phase(s));
	if (text.n > 0)
		smtps_say(s, c, "220 %.*s", SPAN_ARG(text));
	else
		smtps_say(s, c, "220 %.*s ESMTP", SPAN_ARG(s->conf->hostname));
}

static const struct smtps_row connect_row = { "CONNECT", SMTPS_UNKNOWN, CMD_LAST | CMD_MODAL | CMD_PLAIN | CMD_PRE_TLS,
	IN(PH_CONNECT), "", start_connect, smtps_greet };

const struct smtps_row *
smtps_row_connect(void)
{
	return &connect_row;
}

static void
start_too_long(struct smtps *s, struct smtps_cmd *c)
{
	smtps_say(s, c, "500 5.5.2 %.*s Error: command too long", SPAN_ARG(s->conf->hostname));
}

static void
start_bad_utf8(struct smtps *s, struct smtps_cmd *c)
{
	smtps_say(s, c, "500 5.5.2 Error: bad UTF-8 syntax");
}

static void
start_bad_syntax(struct smtps *s, struct smtps_cmd *c)
{
	smtps_say(s, c, "500 5.5.2 Error: bad syntax");
}

static void
start_unfiltered(struct smtps *s, struct smtps_cmd *c)
{
	smtps_say(s, c, "421 4.3.0 %.*s Error: temporary lookup failure", SPAN_ARG(s->conf->hostname));
}

void
smtps_bare_lf_refuse(struct smtps *s, struct smtps_cmd *c)
{
	smtps_say(s, c, "%u %c.5.2 %.*s Error: bare <LF> received", s->conf->bare_lf_code,
	    s->conf->bare_lf_code < 500 ? '4' : '5', SPAN_ARG(s->conf->hostname));
	smtps_tell(s, SMTPS_TELL_BARE_LF, SMTPS_WHY_BARE_LF, SPAN(""));
	c->hang_up = true;
}

#define EVERYWHERE (ANY | IN(PH_REFUSED))

static const struct smtps_row bad_rows[] = {
	{ "too long", SMTPS_UNKNOWN, CMD_PLAIN | CMD_PRE_TLS, EVERYWHERE, "", start_too_long, NULL },
	{ "UTF-8", SMTPS_UNKNOWN, CMD_PLAIN | CMD_PRE_TLS, EVERYWHERE, "", start_bad_utf8, NULL },
	{ "syntax", SMTPS_UNKNOWN, CMD_PLAIN | CMD_PRE_TLS, EVERYWHERE, "", start_bad_syntax, NULL },
	{ "filter", SMTPS_UNKNOWN, CMD_PLAIN | CMD_PRE_TLS | CMD_MODAL, EVERYWHERE, "", start_unfiltered, NULL },
	{ "bare LF", SMTPS_UNKNOWN, CMD_PLAIN | CMD_PRE_TLS | CMD_MODAL, EVERYWHERE, "", smtps_bare_lf_refuse, NULL },
};

const struct smtps_row *
smtps_row_bad(const char *why)
{
	for (size_t i = 0; i < sizeof(bad_rows) / sizeof(bad_rows[0]); i++)
		if (strcmp(bad_rows[i].name, why) == 0)
			return &bad_rows[i];
	panic("no such row: %s", why);
}
