/* What follows MAIL, RCPT and VRFY: the path and the extension parameters (RFC 5321 section 4.1.1.11, RFC 3461, 1870, 6152, 6531, 4954). */
#include "base/text.h"
#include "mail/address.h"
#include "mail/envelope.h"
#include "smtp/server_private.h"

#define ENVID_MAX 100u          /* RFC 3461 section 4.4 */
#define ECHO_MAX 100            /* of an argument in a reply */

enum mail_seen {
	SEEN_SIZE = 1,
	SEEN_BODY = 2,
	SEEN_RET = 4,
	SEEN_ENVID = 8,
	SEEN_AUTH = 16,
	SEEN_SMTPUTF8 = 32,
	SEEN_NOTIFY = 64,
	SEEN_ORCPT = 128,
	SEEN_XVERP = 256,
};

struct param {
	struct span name, value;
	bool has_value;
};

typedef bool param_fn(struct smtps *s, struct smtps_cmd *c, const struct param *p);

struct param_row {
	const char *name;
	unsigned seen;
	unsigned keyword;               /* must be announced; 0 = always known */
	param_fn *parse;
};

static bool
bad(struct smtps *s, struct smtps_cmd *c, const char *what)
{
	smtps_say(s, c, "501 5.5.4 Error: Bad %s parameter syntax", what);
	return false;
}

static bool
xtext_valid(struct span x, size_t max)
{
	struct buf out;
	bool good;

	if (x.n > max)
		return false;
	buf_init(&out, max + 1);
	good = text_unxtext(&out, x);
	buf_release(&out);
	return good;
}

static bool
mail_size(struct smtps *s, struct smtps_cmd *c, const struct param *p)
{
	/* RFC 1870 section 6: 20 digits at most; what does not fit is too big. */
	if (p->value.n == 0 || p->value.n > 20)
		return bad(s, c, "SIZE");
	for (size_t i = 0; i < p->value.n; i++)
		if (!ascii_isdigit(p->value.p[i]))
			return bad(s, c, "SIZE");
	if (!span_u64(p->value, UINT64_MAX, &c->mail.size))
		c->mail.size = UINT64_MAX;
	return true;
}

static bool
mail_body(struct smtps *s, struct smtps_cmd *c, const struct param *p)
{
	if (span_eq_ci(p->value, SPAN("7BIT"))) {
		c->mail.body = SMTPS_BODY_7BIT;
	} else if (span_eq_ci(p->value, SPAN("8BITMIME"))) {
		c->mail.body = SMTPS_BODY_8BITMIME;
	} else {
		smtps_say(s, c, "555 5.5.4 Unsupported option: BODY%s%.*s", p->has_value ? "=" : "",
		    SPAN_ARG(span_slice(p->value, 0, ECHO_MAX)));
		return false;
	}
	return true;
}

static bool
mail_ret(struct smtps *s, struct smtps_cmd *c, const struct param *p)
{
	if (span_eq_ci(p->value, SPAN("FULL")))
		c->mail.ret = ENVELOPE_RET_FULL;
	else if (span_eq_ci(p->value, SPAN("HDRS")))
		c->mail.ret = ENVELOPE_RET_HDRS;
	else
		return bad(s, c, "RET");
	return true;
}

static bool
mail_envid(struct smtps *s, struct smtps_cmd *c, const struct param *p)
{
	c->mail.envid = p->value;
	return (p->value.n > 0 && xtext_valid(p->value, ENVID_MAX)) || bad(s, c, "ENVID");
}

/* RFC 4954 section 5: understood from everybody; the owner treats it as <> from the unauthenticated. */
static bool
mail_auth(struct smtps *s, struct smtps_cmd *c, const struct param *p)
{
	c->mail.auth = p->value;
	c->mail.empty_auth = span_eq(p->value, SPAN("<>"));
	if (c->mail.empty_auth)
		return true;
	return (p->value.n > 0 && xtext_valid(p->value, 500)) || bad(s, c, "AUTH");
}

static bool
mail_smtputf8(struct smtps *s, struct smtps_cmd *c, const struct param *p)
{
	c->mail.smtputf8 = true;
	return !p->has_value || bad(s, c, "SMTPUTF8");
}

/* A return path for each recipient; the characters that may stand around its address are the administrator's choice. */
static bool
mail_xverp(struct smtps *s, struct smtps_cmd *c, const struct param *p)
{
	struct span filter = s->conf->verp_filter;

	c->mail.verp = p->has_value ? p->value : s->conf->verp;
	if (c->mail.verp.n == 2 && span_index(filter, c->mail.verp.p[0]) >= 0 && span_index(filter, c->mail.verp.p[1]) >= 0)
		return true;
	smtps_say(s, c, "501 5.5.4 Error: XVERP needs two characters from %.*s", SPAN_ARG(filter));
	return false;
}

static bool
rcpt_notify(struct smtps *s, struct smtps_cmd *c, const struct param *p)
{
	return envelope_notify_parse(p->value, &c->rcpt.notify) || bad(s, c, "NOTIFY");
}

static bool
atom_char(char ch)
{
	return ascii_isalnum(ch) || ch == '-';
}

/* RFC 6533 section 3: the value of type utf-8 may be UTF-8 itself. */
static bool
utf8_addr_valid(struct span v)
{
	for (size_t i = 0; i < v.n; i++)
		if ((unsigned char)v.p[i] <= 32 || v.p[i] == 127)
			return false;
	return v.n <= 500 && span_is_utf8(v);
}

static bool
rcpt_orcpt(struct smtps *s, struct smtps_cmd *c, const struct param *p)
{
	struct span type, value;

	c->rcpt.orcpt = p->value;
	if (!span_cut(p->value, ';', &type, &value) || type.n == 0)
		return bad(s, c, "ORCPT");
	for (size_t i = 0; i < type.n; i++)
		if (!atom_char(type.p[i]))
			return bad(s, c, "ORCPT");
	if (span_eq_ci(type, SPAN("utf-8")) ? utf8_addr_valid(value) : xtext_valid(value, 1000))
		return true;
	return bad(s, c, "ORCPT");
}

static const struct param_row mail_params[] = {
	{ "SIZE", SEEN_SIZE, SMTPS_KW_SIZE, mail_size },
	{ "BODY", SEEN_BODY, SMTPS_KW_8BITMIME, mail_body },
	{ "RET", SEEN_RET, SMTPS_KW_DSN, mail_ret },
	{ "ENVID", SEEN_ENVID, SMTPS_KW_DSN, mail_envid },
	{ "AUTH", SEEN_AUTH, 0, mail_auth },
	{ "SMTPUTF8", SEEN_SMTPUTF8, SMTPS_KW_SMTPUTF8, mail_smtputf8 },
	{ "XVERP", SEEN_XVERP, 0, mail_xverp },
	{ NULL, 0, 0, NULL },
};

static const struct param_row rcpt_params[] = {
	{ "NOTIFY", SEEN_NOTIFY, SMTPS_KW_DSN, rcpt_notify },
	{ "ORCPT", SEEN_ORCPT, SMTPS_KW_DSN, rcpt_orcpt },
	{ NULL, 0, 0, NULL },
};

static const struct param_row *
param_find(const struct smtps *s, const struct param_row *rows, struct span name)
{
	for (; rows->name != NULL; rows++)
		if (span_eq_ci(name, span_str(rows->name)) && (rows->seen != SEEN_XVERP || s->client.verp))
			return rows->keyword == 0 || smtps_can(s, rows->keyword) ? rows : NULL;
	return NULL;
}

/* One parameter; a doubled one is an error (RFC 1870 section 6, RFC 3461 section 4.5). */
static bool
param_take(struct smtps *s, struct smtps_cmd *c, const struct param_row *rows, struct span token, unsigned *seen)
{
	struct param p;
	const struct param_row *row;

	p.has_value = span_cut(token, '=', &p.name, &p.value);
	row = param_find(s, rows, p.name);
	if (row == NULL) {
		smtps_say(s, c, "555 5.5.4 Unsupported option: %.*s", SPAN_ARG(span_slice(token, 0, ECHO_MAX)));
		return false;
	}
	if (*seen & row->seen) {
		smtps_say(s, c, "501 5.5.4 Error: %s given twice", row->name);
		return false;
	}
	*seen |= row->seen;
	return row->parse(s, c, &p);
}

static bool
params_parse(struct smtps *s, struct smtps_cmd *c, const struct param_row *rows, struct span rest)
{
	struct span token;
	unsigned seen = 0;

	while (span_token(&rest, " \t", &token))
		if (!param_take(s, c, rows, token, &seen))
			return false;
	return true;
}

/* "FROM:" or "TO:" and the path behind it; `rest_r` is what follows the path. */
static bool
path_parse(struct smtps *s, struct smtps_cmd *c, const char *prefix, struct span *rest_r, struct span *addr_r)
{
	if (!span_starts_ci(c->args, span_str(prefix)) || c->args.n == strlen(prefix)) {
		smtps_say(s, c, "501 5.5.4 Syntax: %s %s<address>", c->row->name, prefix);
		return false;
	}
	*rest_r = span_from(c->args, strlen(prefix));
	/* Without SMTPUTF8 no UTF-8 was asked of the line. */
	if (address_path(rest_r, s->conf->strict_envelope, c->arena, addr_r) && span_is_utf8(*addr_r) &&
	    (rest_r->n == 0 || rest_r->p[0] == ' ' || rest_r->p[0] == '\t'))
		return true;
	smtps_say(s, c, "501 %s Bad %s address syntax", c->row->verb == SMTPS_MAIL ? "5.1.7" : "5.1.3",
	    c->row->verb == SMTPS_MAIL ? "sender" : "recipient");
	return false;
}

/* RFC 6531 section 3.5. Without the keyword a UTF-8 address is let in unless strict_smtputf8. */
static bool
utf8_allowed(struct smtps *s, struct smtps_cmd *c, struct span addr, bool declared)
{
	if (declared || !s->conf->strict_smtputf8 || span_is_ascii(addr))
		return true;
	smtps_say(s, c, "%s 5.6.7 Must declare SMTPUTF8 to send/deliver unicode address",
	    c->row->verb == SMTPS_MAIL ? "550" : "553");
	return false;
}

bool
smtps_parse_mail(struct smtps *s, struct smtps_cmd *c)
{
	struct span rest;

	if (!path_parse(s, c, "FROM:", &rest, &c->mail.from) || !params_parse(s, c, mail_params, rest) ||
	    !utf8_allowed(s, c, c->mail.from, c->mail.smtputf8))
		return false;
	if (c->mail.verp.n > 0 && c->mail.from.n == 0) {
		smtps_say(s, c, "503 5.5.4 Error: XVERP requires non-null sender");
		return false;
	}
	return true;
}

bool
smtps_parse_rcpt(struct smtps *s, struct smtps_cmd *c)
{
	struct span rest;

	if (!path_parse(s, c, "TO:", &rest, &c->rcpt.to))
		return false;
	if (c->rcpt.to.n == 0) {
		smtps_say(s, c, "501 5.1.3 Bad recipient address syntax");
		return false;
	}
	return params_parse(s, c, rcpt_params, rest) && utf8_allowed(s, c, c->rcpt.to, s->tx->mail.smtputf8);
}

bool
smtps_parse_vrfy(struct smtps *s, struct smtps_cmd *c)
{
	struct span rest = c->args;

	if (rest.n == 0) {
		smtps_say(s, c, "501 5.5.4 Syntax: VRFY address [SMTPUTF8]");
		return false;
	}
	if (span_ends_ci(rest, SPAN(" SMTPUTF8")) && smtps_can(s, SMTPS_KW_SMTPUTF8)) {
		rest = span_trim(span_slice(rest, 0, rest.n - SPAN(" SMTPUTF8").n));
		c->mail.smtputf8 = true;
	}
	/* A bare address is what the RFC's examples show, so never strict here. */
	if (address_path(&rest, false, c->arena, &c->rcpt.to) && c->rcpt.to.n > 0 && span_trim(rest).n == 0)
		return true;
	smtps_say(s, c, "501 5.1.3 Bad recipient address syntax");
	return false;
}
