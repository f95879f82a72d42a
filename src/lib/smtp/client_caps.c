/* What a server offers: the lines of its EHLO reply (RFC 5321 section 4.1.1.1). */
#include "smtp/client_private.h"

static const struct keyword {
	struct span word;
	unsigned bit;
} keywords[] = {
	{ { "PIPELINING", 10 }, SMTPC_CAP_PIPELINING },
	{ { "SIZE", 4 }, SMTPC_CAP_SIZE },
	{ { "STARTTLS", 8 }, SMTPC_CAP_STARTTLS },
	{ { "AUTH", 4 }, SMTPC_CAP_AUTH },
	{ { "8BITMIME", 8 }, SMTPC_CAP_8BITMIME },
	{ { "SMTPUTF8", 8 }, SMTPC_CAP_SMTPUTF8 },
	{ { "DSN", 3 }, SMTPC_CAP_DSN },
	{ { "CHUNKING", 8 }, SMTPC_CAP_CHUNKING },
	{ { "ENHANCEDSTATUSCODES", 19 }, SMTPC_CAP_ENHANCED },
	{ { "REQUIRETLS", 10 }, SMTPC_CAP_REQUIRETLS },
	{ { "XFORWARD", 8 }, SMTPC_CAP_XFORWARD },
};

static unsigned
keyword_bit(struct span word)
{
	for (size_t i = 0; i < sizeof(keywords) / sizeof(keywords[0]); i++)
		if (span_eq_ci(word, keywords[i].word))
			return keywords[i].bit;
	return 0;
}

unsigned
smtpc_cap_mask(struct span words)
{
	struct span word;
	unsigned mask = 0;

	while (span_token(&words, ", \t\r\n", &word))
		mask |= keyword_bit(word);
	return mask;
}

/* Mechanisms of `AUTH a b` and of the old `AUTH=a b`, once each. */
static void
add_auth(struct smtpc_caps *caps, struct span words)
{
	struct span word;

	while (span_token(&words, " \t=", &word)) {
		size_t have = strlen(caps->auth);
		struct span list = span_str(caps->auth), one;
		bool known = false;

		while (span_token(&list, " ", &one))
			known |= span_eq_ci(one, word);
		if (known || have + word.n + 2 > sizeof(caps->auth))
			continue;
		if (have > 0)
			caps->auth[have++] = ' ';
		for (size_t i = 0; i < word.n; i++)
			caps->auth[have + i] = ascii_upper(word.p[i]);
		caps->auth[have + word.n] = '\0';
	}
}

static void
parse_line(struct smtpc_caps *caps, struct span line, unsigned discard)
{
	struct span rest = line, word;
	unsigned bit;

	if (!span_token(&rest, " \t", &word))
		return;
	if (span_starts_ci(word, SPAN("AUTH=")))
		word.n = 4;
	bit = keyword_bit(word) & ~discard;
	caps->bits |= bit;
	if (bit == SMTPC_CAP_AUTH)
		add_auth(caps, span_from(line, 5));
	if (bit == SMTPC_CAP_XFORWARD)
		caps->xforward |= smtpc_xforward_caps(rest);
	if (bit == SMTPC_CAP_SIZE && !span_u64(span_trim(rest), UINT64_MAX, &caps->size_max))
		caps->size_max = 0;
}

void
smtpc_caps_parse(struct smtpc_caps *caps, struct span text, unsigned discard)
{
	struct span line;

	*caps = (struct smtpc_caps){ .bits = SMTPC_CAP_ESMTP };
	(void)smtp_reply_line(&text, &line);            /* the server's name and its greeting */
	while (smtp_reply_line(&text, &line))
		parse_line(caps, line, discard);
}
