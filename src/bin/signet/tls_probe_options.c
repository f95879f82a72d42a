/*
 * The options of signet tls probe are posttls-finger's. Most are parameters of the SMTP client under another name: they are set
 * over the configuration, so that what reads and checks them is what always does.
 */
#include <stdlib.h>
#include <string.h>

#include "base/panic.h"
#include "conf/table.h"
#include "hop/verdict.h"
#include "signet/cli.h"
#include "signet/tls_probe.h"

struct option_row {
	char letter;
	bool value;
	const char *params;             /* set to the value, or to "yes"; a blank between names */
	const char *sep;                /* given again: values with this between; NULL = the last counts */
	const char *refused;
};

static const struct option_row rows[] = {
	{ 'a', true, "smtp_address_preference", NULL, NULL },
	{ 'A', true, "smtp_tls_trust_anchor_file", " ", NULL },
	{ 'c', false, NULL, NULL, NULL },
	{ 'C', false, NULL, NULL, NULL },
	{ 'd', true, "smtp_tls_fingerprint_digest", NULL, NULL },
	{ 'f', false, "smtp_tls_force_insecure_host_tlsa_lookup", NULL, NULL },
	{ 'F', true, "smtp_tls_CAfile", NULL, NULL },
	{ 'g', true, "smtp_tls_mandatory_ciphers smtp_tls_ciphers", NULL, NULL },
	{ 'h', true, "smtp_host_lookup", NULL, NULL },
	{ 'H', true, "smtp_tls_chain_files", " ", NULL },
	{ 'k', true, "smtp_tls_cert_file", NULL, NULL },
	{ 'K', true, "smtp_tls_key_file", NULL, NULL },
	{ 'l', true, "smtp_tls_security_level", NULL, NULL },
	{ 'L', true, NULL, NULL, NULL },
	{ 'm', true, NULL, NULL, NULL },
	{ 'M', true, "smtp_tls_dane_insecure_mx_policy", NULL, NULL },
	{ 'o', true, NULL, NULL, NULL },
	{ 'p', true, "smtp_tls_mandatory_protocols smtp_tls_protocols", NULL, NULL },
	{ 'P', true, "smtp_tls_CApath", NULL, NULL },
	{ 'r', true, NULL, NULL, NULL },
	{ 'R', false, NULL, NULL, "SRV records are not looked up by Signet (use_srv_lookup does not work yet)" },
	{ 's', true, "smtp_tls_servername", NULL, NULL },
	{ 'S', false, NULL, NULL, NULL },
	{ 't', true, "smtp_connect_timeout", NULL, NULL },
	{ 'T', true, "smtp_helo_timeout smtp_starttls_timeout smtp_quit_timeout", NULL, NULL },
	{ 'v', false, NULL, NULL, NULL },
	{ 'w', false, "smtp_tls_wrappermode", NULL, NULL },
	{ 'x', false, "smtp_tls_enable_rpk", NULL, NULL },
	{ 'X', false, NULL, NULL, "there is no tlsproxy: Signet's client does TLS itself" },
};

/* Whoever waits at a terminal does not wait for minutes. */
static const struct conf_override patience[] = {
	{ "smtp_connect_timeout", "30s" }, { "smtp_helo_timeout", "30s" }, { "smtp_starttls_timeout", "30s" }, { "smtp_quit_timeout", "30s" },
};

/* With -l, what posttls-finger begins with; see doc/design/033. */
static const struct conf_override finger[] = {
	{ "smtp_tls_policy_maps", "" }, { "smtp_tls_per_site", "" }, { "smtp_tls_wrappermode", "no" }, { "smtp_tls_enable_rpk", "no" },
	{ "smtp_tls_CAfile", "" }, { "smtp_tls_CApath", "" }, { "tls_append_default_CA", "no" }, { "smtp_tls_trust_anchor_file", "" },
	{ "smtp_tls_chain_files", "" }, { "smtp_tls_cert_file", "" }, { "smtp_tls_key_file", "$smtp_tls_cert_file" },
	{ "smtp_tls_eccert_file", "" }, { "smtp_tls_eckey_file", "" }, { "smtp_tls_dcert_file", "" }, { "smtp_tls_dkey_file", "" },
	{ "smtp_tls_mandatory_ciphers", "medium" }, { "smtp_tls_ciphers", "medium" }, { "smtp_tls_exclude_ciphers", "" },
	{ "smtp_tls_mandatory_exclude_ciphers", "" }, { "smtp_tls_mandatory_protocols", ">=TLSv1" }, { "smtp_tls_protocols", ">=TLSv1" },
	{ "smtp_tls_verify_cert_match", "hostname" }, { "smtp_tls_secure_cert_match", "nexthop, dot-nexthop" },
	{ "smtp_tls_fingerprint_cert_match", "" }, { "smtp_tls_servername", "none" }, { "smtp_tls_dane_insecure_mx_policy", "dane" },
	{ "smtp_tls_force_insecure_host_tlsa_lookup", "no" }, { "smtp_dns_support_level", "dnssec" }, { "smtp_host_lookup", "dns" },
	{ "ignore_mx_lookup_error", "no" }, { "smtp_dns_resolver_options", "" }, { "smtp_address_preference", "any" },
};

/* Ours, beside theirs. */
static const char *const long_options = "--json, --service NAME";

/* ---- overrides */

static struct span
quoted(struct arena *a, const char *value)
{
	struct span s = SPAN("");

	ensure(value != NULL);
	for (const char *p = value; *p != '\0'; p++)
		s = arena_printf(a, "%.*s%s%c", SPAN_ARG(s), *p == '$' ? "$" : "", *p);
	return s;
}

/* "smtp_tls_CAfile" is "lmtp_tls_CAfile" to an LMTP client. */
static const char *
name_for(bool lmtp, const char *name)
{
	for (size_t i = 0; lmtp && i < param_count; i++)
		if (param_rows[i].mirror != NULL && strcmp(param_rows[i].mirror, name) == 0)
			return param_rows[i].name;
	return name;
}

static bool
put(struct probe_options *o, const char *name, const char *value)
{
	if (o->n_over == PROBE_OVERRIDES_MAX)
		return false;
	o->over[o->n_over++] = (struct conf_override){ name_for(o->lmtp, name), value };
	return true;
}

/* ---- values */

static int
bad(const struct cli *cli, const char *what, const char *value)
{
	return cli_fail(cli, CLI_USAGE, "probe: %s: %s", what, value);
}

static const struct word_row {
	const char *words;
	bool peercert, matches, summary, untrusted, cache, steps, handshake, all;
} log_words[] = {
	{ "0 none", .peercert = false },
	{ "1 routine summary", .summary = true },
	{ "2 debug", .peercert = true, .matches = true, .summary = true, .untrusted = true, .cache = true, .steps = true },
	{ "3 ssl-expert", .peercert = true, .matches = true, .summary = true, .untrusted = true, .cache = true, .steps = true, .handshake = true },
	{ "4 ssl-developer", .peercert = true, .matches = true, .summary = true, .untrusted = true, .cache = true, .steps = true, .handshake = true, .all = true },
	{ "ssl-debug", .steps = true },
	{ "ssl-handshake-packet-dump", .handshake = true },
	{ "ssl-session-packet-dump", .handshake = true, .all = true },
	{ "untrusted", .untrusted = true },             /* where somebody must be proven it is said anyhow */
	{ "peercert", .peercert = true },
	{ "certmatch", .matches = true },
	{ "cache", .cache = true },
	{ "verbose", .peercert = true, .matches = true, .untrusted = true, .cache = true },
};

static bool
take_log_word(struct probe_options *o, struct span word)
{
	for (size_t i = 0; i < sizeof(log_words) / sizeof(log_words[0]); i++) {
		const struct word_row *w = &log_words[i];
		struct span rest = span_str(w->words), one;

		while (span_token(&rest, " ", &one)) {
			if (!span_eq_ci(one, word))
				continue;
			o->tell.peercert |= w->peercert;
			o->tell.matches |= w->matches;
			o->tell.summary |= w->summary;
			o->tell.untrusted |= w->untrusted;
			o->cache |= w->cache;
			o->steps |= w->steps;
			o->handshake_bytes |= w->handshake;
			o->all_bytes |= w->all;
			return true;
		}
	}
	return false;
}

static int
take_log_words(struct probe_options *o, const struct cli *cli, const char *value)
{
	struct span rest = span_str(value), word;

	o->tell = (struct hop_telling){ .summary = false };
	while (span_token(&rest, ", \t", &word))
		if (!take_log_word(o, word))
			return bad(cli, "unknown word of -L", arena_cstr(o->a, word));
	return CLI_DONE;
}

static int
take_assignment(struct probe_options *o, const struct cli *cli, const char *value)
{
	struct span name, text;
	char *n;

	if (!span_cut(span_str(value), '=', &name, &text) || span_trim(name).n == 0)
		return bad(cli, "-o wants NAME=VALUE, not", value);
	n = arena_cstr(o->a, span_trim(name));
	if (param_find(n) == NULL && param_find_pattern(n) == NULL)
		return bad(cli, "-o names no parameter", n);
	if (o->n_over == PROBE_OVERRIDES_MAX)
		return bad(cli, "too many options, at", value);
	o->over[o->n_over++] = (struct conf_override){ n, arena_cstr(o->a, span_trim(text)) };
	return CLI_DONE;
}

static int
take_number(const struct cli *cli, char letter, const char *value, uint64_t least, uint64_t most, uint64_t *n_r)
{
	if (span_u64(span_str(value), most, n_r) && *n_r >= least)
		return CLI_DONE;
	return cli_fail(cli, CLI_USAGE, "probe: -%c wants a number from %llu to %llu, not %s", letter, (unsigned long long)least,
	    (unsigned long long)most, value);
}

/* ---- options */

static const struct option_row *
find_row(char letter)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].letter == letter)
			return &rows[i];
	return NULL;
}

/* What stands for this parameter so far on the command line; NULL = nothing. */
static const char *
given(const struct probe_options *o, size_t from, const char *name)
{
	for (size_t i = o->n_over; i > from; i--)
		if (strcmp(o->over[i - 1].name, name) == 0)
			return o->over[i - 1].value;
	return NULL;
}

static int
take_params(struct probe_options *o, const struct cli *cli, size_t from, const struct option_row *row, const char *value)
{
	struct span rest = span_str(row->params), name, text = value != NULL ? quoted(o->a, value) : SPAN("yes");
	uint64_t seconds;

	if ((row->letter == 't' || row->letter == 'T') && take_number(cli, row->letter, value, 1, 86400, &seconds) != CLI_DONE)
		return CLI_USAGE;
	while (span_token(&rest, " ", &name)) {
		const char *n = arena_cstr(o->a, name), *before = row->sep != NULL ? given(o, from, name_for(o->lmtp, n)) : NULL;

		if (before != NULL)
			text = arena_printf(o->a, "%s%s%.*s", before, row->sep, SPAN_ARG(text));
		if (!put(o, n, arena_cstr(o->a, text)))
			return bad(cli, "too many options, at", value);
	}
	o->anchors_given |= row->letter == 'A';
	o->files_given |= strchr("FPkKH", row->letter) != NULL;
	return CLI_DONE;
}

static int
take_own(struct probe_options *o, const struct cli *cli, char letter, const char *value)
{
	uint64_t n;
	int status = CLI_DONE;

	switch (letter) {
	case 'c':
		o->chat = false;
		break;
	case 'C':
		o->pem = true;
		break;
	case 'v':
		o->verbose++;
		break;
	case 'L':
		status = take_log_words(o, cli, value);
		break;
	case 'm':
		status = take_number(cli, letter, value, 1, 15, &n);
		o->reconnects = status == CLI_DONE ? (unsigned)n : 0;
		break;
	case 'r':
		status = take_number(cli, letter, value, 1, 86400, &n);
		o->delay_s = status == CLI_DONE ? (int64_t)n : 0;
		break;
	case 'o':
		status = take_assignment(o, cli, value);
		break;
	}
	return status;
}

struct given_option {
	const struct option_row *row;
	const char *value;
};

enum { GIVEN_MAX = 100 };

struct walk {
	struct given_option list[GIVEN_MAX];
	size_t n;
	int at;                         /* the first word that is no option */
};

/* "-cC", "-lmay", "-l may", "-l" at the end. */
static int
walk_letters(const struct cli *cli, struct walk *w, int argc, char **argv)
{
	for (const char *p = argv[w->at] + 1; *p != '\0'; p++) {
		const struct option_row *row = find_row(*p);
		const char *value = NULL;

		if (row == NULL)
			return cli_fail(cli, CLI_USAGE, "probe: unknown option -%c (signet tls --help lists them)", *p);
		if (row->refused != NULL)
			return cli_fail(cli, CLI_USAGE, "probe: -%c: %s", *p, row->refused);
		if (row->value && p[1] != '\0')
			value = p + 1;
		else if (row->value && w->at + 1 < argc)
			value = argv[++w->at];
		else if (row->value)
			return cli_fail(cli, CLI_USAGE, "probe: -%c wants a value", *p);
		if (w->n == GIVEN_MAX)
			return bad(cli, "too many options, at", p);
		w->list[w->n++] = (struct given_option){ row, value };
		if (row->value)
			break;
	}
	return CLI_DONE;
}

static int
walk_options(struct probe_options *o, const struct cli *cli, struct walk *w, int argc, char **argv)
{
	int status = CLI_DONE;

	for (w->at = 1; status == CLI_DONE && w->at < argc && argv[w->at][0] == '-' && argv[w->at][1] != '\0'; w->at++) {
		const char *word = argv[w->at];

		if (strcmp(word, "--") == 0) {
			w->at++;
			return CLI_DONE;
		}
		if (strcmp(word, "--json") == 0)
			o->json = true;
		else if (strcmp(word, "--service") == 0 && w->at + 1 < argc)
			o->service = argv[++w->at];
		else if (word[1] == '-')
			return cli_fail(cli, CLI_USAGE, "probe: unknown option, or one without its value: %s (there are %s)", word, long_options);
		else
			status = walk_letters(cli, w, argc, argv);
	}
	return status;
}

static const char *
last_value(const struct walk *w, char letter)
{
	for (size_t i = w->n; i > 0; i--)
		if (w->list[i - 1].row->letter == letter)
			return w->list[i - 1].value != NULL ? w->list[i - 1].value : "";
	return NULL;
}

/* Names or digests to match, for the level that was asked for. */
static int
take_match(struct probe_options *o, const struct cli *cli, const char *level)
{
	static const char *const targets[][2] = { { "verify", "smtp_tls_verify_cert_match" }, { "secure", "smtp_tls_secure_cert_match" },
		{ "fingerprint", "smtp_tls_fingerprint_cert_match" } };
	struct span all = SPAN("");

	if (o->n_match == 0)
		return CLI_DONE;
	if (level == NULL)
		return bad(cli, "what to match goes with -l; the configured policy has its own", o->match[0]);
	for (size_t i = 0; i < o->n_match; i++)
		all = arena_printf(o->a, "%.*s%s%.*s", SPAN_ARG(all), i > 0 ? " " : "", SPAN_ARG(quoted(o->a, o->match[i])));
	for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++)
		if (span_eq_ci(span_str(level), span_str(targets[i][0])) && !put(o, targets[i][1], arena_cstr(o->a, all)))
			return bad(cli, "too many options, at", o->match[0]);
	return CLI_DONE;
}

/* -k stands for both, and so does -K. */
static bool
take_key(struct probe_options *o, const struct walk *w)
{
	const char *cert = last_value(w, 'k'), *key = last_value(w, 'K');

	if (cert == NULL && key != NULL)
		return put(o, "smtp_tls_cert_file", arena_cstr(o->a, quoted(o->a, key)));
	if (cert != NULL && key == NULL)
		return put(o, "smtp_tls_key_file", arena_cstr(o->a, quoted(o->a, cert)));
	return true;
}

static int
check_together(const struct probe_options *o, const struct cli *cli, const struct walk *w)
{
	struct span to = span_str(o->destination);

	if (last_value(w, 'H') != NULL && (last_value(w, 'k') != NULL || last_value(w, 'K') != NULL))
		return cli_fail(cli, CLI_USAGE, "probe: -H does not go with -k and -K");
	if (span_starts(to, SPAN("unix:")) && !o->lmtp)
		return cli_fail(cli, CLI_USAGE, "probe: unix: is for LMTP, which needs -S");
	if (span_index(to, '@') >= 0)
		return cli_fail(cli, CLI_USAGE, "probe: %s is an address: give its domain, or the next hop that \"signet tls explain\" shows",
		    o->destination);
	return CLI_DONE;
}

static int
take_all(struct probe_options *o, const struct cli *cli, const struct walk *w)
{
	const char *level = last_value(w, 'l');
	size_t from;
	int status = CLI_DONE;

	o->finger = level != NULL;
	for (size_t i = 0; i < sizeof(patience) / sizeof(patience[0]); i++)
		(void)put(o, patience[i].name, patience[i].value);
	for (size_t i = 0; o->finger && i < sizeof(finger) / sizeof(finger[0]); i++)
		(void)put(o, finger[i].name, o->lmtp && finger[i].value[0] == '$' ? "$lmtp_tls_cert_file" : finger[i].value);
	from = o->n_over;
	if (!take_key(o, w))
		return bad(cli, "too many options", "");
	for (size_t i = 0; status == CLI_DONE && i < w->n; i++) {
		const struct given_option *g = &w->list[i];

		status = g->row->params != NULL ? take_params(o, cli, from, g->row, g->value) : take_own(o, cli, g->row->letter, g->value);
	}
	return status == CLI_DONE ? take_match(o, cli, level) : status;
}

int
probe_options_parse(struct probe_options *o, const struct cli *cli, int argc, char **argv)
{
	const char *verbose = getenv("MAIL_VERBOSE");
	struct walk w = { .n = 0 };
	int status;

	o->chat = true;
	o->tell = (struct hop_telling){ .summary = true, .peercert = true, .matches = true };
	o->reconnects = 5;
	o->verbose = verbose != NULL && *verbose != '\0';
	status = walk_options(o, cli, &w, argc, argv);
	if (status != CLI_DONE)
		return status;
	if (w.at >= argc)
		return cli_usage(cli, "probe needs a destination: a domain, [host]:port or, with -S, unix:PATH");
	o->destination = argv[w.at];
	o->match = (const char *const *)argv + w.at + 1;
	o->n_match = (size_t)(argc - w.at - 1);
	o->lmtp = last_value(&w, 'S') != NULL;
	status = check_together(o, cli, &w);
	return status == CLI_DONE ? take_all(o, cli, &w) : status;
}
