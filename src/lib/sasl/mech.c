/* Names, properties and options of SASL mechanisms. */
#include "sasl/mech.h"

static const struct word_row {
	const char *word;
	unsigned bit;
} property_rows[] = {
	{ "anonymous", SASL_ANONYMOUS },
	{ "plaintext", SASL_PLAINTEXT },
	{ "active", SASL_ACTIVE },
	{ "dictionary", SASL_DICTIONARY },
	{ "mutual-auth", SASL_MUTUAL_AUTH },
	{ "forward-secrecy", SASL_FORWARD_SECRECY },
	{ "private", SASL_PRIVATE },
	{ "channel-binding", SASL_CHANNEL_BINDING },
}, without_rows[] = {
	{ "noanonymous", SASL_ANONYMOUS },
	{ "noplaintext", SASL_PLAINTEXT },
	{ "noactive", SASL_ACTIVE },
	{ "nodictionary", SASL_DICTIONARY },
}, with_rows[] = {
	{ "mutual_auth", SASL_MUTUAL_AUTH },
	{ "forward_secrecy", SASL_FORWARD_SECRECY },
};
#define ROWS(r) (sizeof(r) / sizeof((r)[0]))

static unsigned
bit_of(const struct word_row *rows, size_t n, struct span word)
{
	for (size_t i = 0; i < n; i++)
		if (span_eq_ci(word, span_str(rows[i].word)))
			return rows[i].bit;
	return 0;
}

unsigned
sasl_property(struct span word)
{
	return bit_of(property_rows, ROWS(property_rows), word);
}

struct sasl_options
sasl_options_parse(struct span list)
{
	struct sasl_options o = { 0 };
	struct span word;

	while (span_token(&list, ", \t\r\n", &word)) {
		o.without |= bit_of(without_rows, ROWS(without_rows), word);
		o.with |= bit_of(with_rows, ROWS(with_rows), word);
	}
	return o;
}

bool
sasl_mech_fits(unsigned properties, struct sasl_options o)
{
	return (properties & (o.without | SASL_PRIVATE | SASL_CHANNEL_BINDING)) == 0 && (properties & o.with) == o.with;
}

bool
sasl_mech_name_valid(struct span name)
{
	for (size_t i = 0; i < name.n; i++)
		if (!ascii_isalnum(name.p[i]) && name.p[i] != '-' && name.p[i] != '_')
			return false;
	return name.n >= 1 && name.n <= 20;
}

bool
sasl_base64_valid(struct span s)
{
	size_t n = s.n;

	if (n % 4 != 0)
		return false;
	if (n > 0 && s.p[n - 1] == '=')
		n--;
	if (n < s.n && s.p[n - 1] == '=')
		n--;
	for (size_t i = 0; i < n; i++)
		if (!ascii_isalnum(s.p[i]) && s.p[i] != '+' && s.p[i] != '/')
			return false;
	return true;
}
