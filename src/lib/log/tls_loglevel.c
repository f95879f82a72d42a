/* Log levels of TLS by number or by feature. */
#include "log/tls_loglevel.h"

#define EVERY_CERT (LOG_TLS_PEERCERT | LOG_TLS_CERTMATCH)
#define DEBUG (LOG_TLS_SUMMARY | LOG_TLS_VERBOSE | LOG_TLS_CACHE | LOG_TLS_STEPS)
#define EXPERT (DEBUG | LOG_TLS_HANDSHAKE_BYTES)
#define DEVELOPER (EXPERT | LOG_TLS_ALL_BYTES)

static const struct {
	const char *word;
	unsigned features;
} words[] = {
	{ "0", 0 }, { "1", LOG_TLS_SUMMARY }, { "2", DEBUG }, { "3", EXPERT }, { "4", DEVELOPER }, { "5", DEVELOPER },
	{ "6", DEVELOPER }, { "7", DEVELOPER }, { "8", DEVELOPER }, { "9", DEVELOPER },
	{ "none", 0 },
	{ "routine", LOG_TLS_SUMMARY },
	{ "debug", DEBUG },
	{ "ssl-expert", EXPERT },
	{ "ssl-developer", DEVELOPER },
	{ "summary", LOG_TLS_SUMMARY },
	{ "untrusted", LOG_TLS_UNTRUSTED },
	{ "peercert", LOG_TLS_PEERCERT },
	{ "certmatch", LOG_TLS_CERTMATCH },
	{ "verbose", LOG_TLS_VERBOSE },
	{ "cache", LOG_TLS_CACHE },
	{ "dane", LOG_TLS_DANE },
	{ "ssl-debug", LOG_TLS_STEPS },
	{ "ssl-handshake-packet-dump", LOG_TLS_HANDSHAKE_BYTES },
	{ "ssl-session-packet-dump", LOG_TLS_ALL_BYTES },
	{ "trace", LOG_TLS_MESSAGES },
};

static bool
find(struct span word, unsigned *features)
{
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (span_eq_ci(word, span_str(words[i].word))) {
			*features |= words[i].features;
			return true;
		}
	return false;
}

bool
log_tls_level_parse(struct span text, unsigned *features_r, struct fault *why)
{
	struct span word;

	*features_r = 0;
	while (span_token(&text, ", \t\r\n", &word))
		if (!find(word, features_r))
			return fault_set(why, NULL, "unknown TLS log level or feature \"%.*s\"", SPAN_ARG(span_slice(word, 0, 100)));
	if (*features_r & LOG_TLS_VERBOSE)
		*features_r |= LOG_TLS_DANE;
	if (*features_r & (LOG_TLS_VERBOSE | EVERY_CERT))
		*features_r |= EVERY_CERT;
	return true;
}

unsigned
log_tls_rate(struct log_tls_rate *r, int limit, int64_t now_s, unsigned features)
{
	if ((features & LOG_TLS_DUMPS) == 0 || limit <= 0)
		return features;
	if (now_s != r->second)
		*r = (struct log_tls_rate){ .second = now_s };
	if (r->count >= limit)
		return features & ~(unsigned)LOG_TLS_DUMPS;
	r->count++;
	return features;
}
