/* signet check: keys of tables of fingerprints (relay_clientcerts, check_ccert_access) that are those of no certificate. */
#include <openssl/evp.h>
#include <stdio.h>

#include "base/arena.h"
#include "base/log.h"
#include "conf/params.h"
#include "conf/words.h"
#include "maps/entries.h"
#include "signet/check.h"
#include "tls/info.h"
#include "tls/policy.h"

struct ccert_check {
	const struct checker *c;
	const struct conf_service *s;
	const struct conf_item *item;
	const char *what;               /* "relay_clientcerts", "check_ccert_access" */
	struct arena *a;
};

static void
say(const struct ccert_check *k, const struct maps_entry *e, const char *text)
{
	struct span key = log_esc(span_slice(e->key, 0, 200));
	const char *digest = k->s->params->smtpd_tls_fingerprint_digest;
	char fix[512];

	snprintf(fix, sizeof(fix), "openssl x509 -in FILE -noout -fingerprint -%.60s, as AA:BB:..; smtpd_tls_fingerprint_digest = %.60s", digest, digest);
	conf_report_add(k->c->report, CONF_WARNING, e->file != NULL ? e->file : k->item->file, e->file != NULL ? e->line : k->item->line, fix,
	    "%s: %.*s: no client is ever found by this key: %s", k->what, SPAN_ARG(key), text);
}

static void
on_entry(void *ctx, const struct maps_entry *e)
{
	const struct ccert_check *k = ctx;
	struct tls_digest digest;
	struct fault why = { 0 };
	struct span usual;

	if (e->is_pattern)
		return;
	if (!tls_fingerprint_parse(e->key, k->s->params->smtpd_tls_fingerprint_digest, &digest, &why)) {
		say(k, e, why.text);
		return;
	}
	usual = tls_digest_text(&digest, k->a);
	if (!span_eq_ci(usual, e->key))
		say(k, e, arena_cstr(k->a, arena_printf(k->a, "it is looked up as %.*s", SPAN_ARG(usual))));
}

/* "type:name" or "{ type:name { search_order = ... } }": the table, if only fingerprints are looked up in it. */
static struct span
fingerprint_table(struct span word)
{
	struct span label = word;

	if (!span_starts(word, SPAN("{")))
		return word;
	word = span_slice(word, 1, word.n - 1);
	if (!word_next(&word, &label) || span_find_ci(word, SPAN("_cn")) >= 0 || span_find_ci(word, SPAN("_dn")) >= 0 || span_find_ci(word, SPAN("san_")) >= 0)
		return SPAN("");
	return label;
}

static void
check_item(struct ccert_check *k)
{
	struct span rest, word;

	if (k->item->value == NULL || k->item->file == NULL)
		return;
	rest = span_str(k->item->value);
	if (k->item->row != NULL && span_eq(span_str(k->item->name), SPAN("relay_clientcerts"))) {
		k->what = "relay_clientcerts";
		maps_entries(rest, on_entry, k);
		return;
	}
	if (k->item->row != NULL && k->item->row->type != PARAM_RESTRICTION)
		return;
	k->what = "check_ccert_access";
	while (word_next(&rest, &word))
		if (span_eq_ci(word, SPAN("check_ccert_access")) && word_next(&rest, &word))
			maps_entries(fingerprint_table(word), on_entry, k);
}

void
check_ccert(const struct checker *c, const struct conf_service *s, const struct conf_item *items, size_t n)
{
	struct ccert_check k = { .c = c, .s = s, .a = arena_new(16u << 20) };

	if (EVP_get_digestbyname(s->params->smtpd_tls_fingerprint_digest) != NULL)
		for (size_t i = 0; i < n; i++) {
			k.item = &items[i];
			check_item(&k);
		}
	arena_free(&k.a);
}
