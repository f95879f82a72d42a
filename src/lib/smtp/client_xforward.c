/* XFORWARD of the client: where the message came from first, in front of MAIL, as far as the server wants to know. */
#include "base/panic.h"
#include "base/text.h"
#include "smtp/client_private.h"

#define VALUE_MAX 255u

/* Two commands, so that values of full length fit their lines. The order within is Postfix's. */
static const struct xforward_row {
	struct span word;
	enum smtpc_xforward_attr attr;
	unsigned command;
} rows[] = {
	{ { "NAME", 4 }, SMTPC_XF_NAME, 0 },
	{ { "ADDR", 4 }, SMTPC_XF_ADDR, 0 },
	{ { "PORT", 4 }, SMTPC_XF_PORT, 0 },
	{ { "PROTO", 5 }, SMTPC_XF_PROTO, 1 },
	{ { "HELO", 4 }, SMTPC_XF_HELO, 1 },
	{ { "IDENT", 5 }, SMTPC_XF_IDENT, 1 },
	{ { "SOURCE", 6 }, SMTPC_XF_SOURCE, 1 },
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

unsigned
smtpc_xforward_caps(struct span words)
{
	struct span word;
	unsigned bits = 0;

	while (span_token(&words, " \t", &word))
		for (size_t i = 0; i < ROWS; i++)
			if (span_eq_ci(word, rows[i].word))
				bits |= 1u << rows[i].attr;
	return bits;
}

static bool
wanted(const struct smtpc *c, const struct xforward_row *r, unsigned command)
{
	return r->command == command && (c->caps.xforward & 1u << r->attr);
}

/* Which of the commands have something to say, in order. */
unsigned
smtpc_xforward_plan(struct smtpc *c)
{
	c->n_xforward = 0;
	if (c->tx->xforward == NULL || !(c->caps.bits & SMTPC_CAP_XFORWARD))
		return 0;
	for (unsigned command = 0; command < 2; command++)
		for (size_t i = 0; i < ROWS; i++)
			if (wanted(c, &rows[i], command)) {
				c->xforward_command[c->n_xforward++] = command;
				break;
			}
	return c->n_xforward;
}

/* The first 255 bytes without controls; what nobody knows is said to be unknown. */
static void
add_value(struct buf *out, struct span value)
{
	bool unknown = value.n == 0 || span_eq(value, SPAN("unknown"));

	value = span_slice(value, 0, VALUE_MAX);
	if (unknown)
		buf_add_str(out, "[UNAVAILABLE]");
	else
		text_xtext(out, value);
}

void
smtpc_xforward_render(struct smtpc *c, size_t nth)
{
	const struct smtpc_xforward *xf = c->tx->xforward;
	unsigned command = c->xforward_command[nth];

	ensure(nth < c->n_xforward);
	buf_add_str(&c->out, "XFORWARD");
	for (size_t i = 0; i < ROWS; i++) {
		struct span value = xf->value[rows[i].attr];

		if (!wanted(c, &rows[i], command))
			continue;
		buf_addf(&c->out, " %.*s=", SPAN_ARG(rows[i].word));
		if (rows[i].attr == SMTPC_XF_ADDR && span_index(value, ':') >= 0)
			buf_add_str(&c->out, "IPV6:");
		add_value(&c->out, value);
	}
	buf_add_str(&c->out, "\r\n");
}
