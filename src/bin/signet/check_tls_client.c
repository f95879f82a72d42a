/* signet check: entries of smtp_tls_policy_maps and smtp_tls_per_site: every one is decided on as delivery would do it. */
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/log.h"
#include "conf/params.h"
#include "hop/hop.h"
#include "maps/entries.h"
#include "signet/check.h"

struct client_check {
	const struct checker *c;
	const struct conf_item *item;
	const struct params *p;
	struct tls_params tls;
};

static void
say(const struct client_check *k, const struct maps_entry *e, const char *fix, const char *text)
{
	if (e->file == NULL)
		check_say(k->c, CONF_ERROR, k->item, fix, "%.*s: %s: this mail would wait", SPAN_ARG(log_esc(span_slice(e->key, 0, 200))), text);
	else
		conf_report_add(k->c->report, CONF_ERROR, e->file, e->line, fix, "%s: %.*s: %s: this mail would wait", k->item->name,
		    SPAN_ARG(log_esc(span_slice(e->key, 0, 200))), text);
}

/* The name in "[host]:port" and ".parent" keys; an example for patterns. */
static struct span
host_of(const struct maps_entry *e)
{
	struct span key = e->key, rest;

	if (e->is_rule || span_eq(key, SPAN("(any key)")))
		return SPAN("host.example");
	while (key.n > 0 && (key.p[0] == '[' || key.p[0] == '.'))
		key = span_from(key, 1);
	span_cut(key, ']', &key, &rest);
	if (span_index(key, ':') >= 0 && span_index(key, ':') == span_rindex(key, ':'))
		span_cut(key, ':', &key, &rest);
	return key;
}

static void
on_policy(void *ctx, const struct maps_entry *e)
{
	const struct client_check *k = ctx;
	struct arena *a = arena_new(8u << 20);
	struct span host = host_of(e), source = SPAN("-");
	struct tls_facts facts = { .params = &k->tls, .nexthop = host, .host = host, .port = 25, .myhostname = span_str(k->p->myhostname),
		.table = { .state = TLS_ANSWER_FOUND, .key = e->key, .value = e->value, .source = source } };
	struct tls_decision d = { 0 };
	struct tls_policy policy;
	struct fault why = { 0 };
	const char *fix = NULL;

	if (e->is_rule && span_index(e->value, '$') >= 0)
		;                       /* what stands there is known only with the key */
	else if (!tls_policy_parse(e->value, a, &policy, &why))
		say(k, e, "see signet-tls-policy(5)", why.text);
	else if (!tls_level_is_dane(policy.level) && !tls_policy_decide(&facts, a, &d))
		say(k, e, "see signet-tls-policy(5)", d.n_warnings > 0 ? arena_cstr(a, d.warnings[0]) : d.fault.text);
	else if (tls_level_is_dane(policy.level) && conf_dane_obstacle(k->p, strcmp(k->tls.prefix, "lmtp") == 0, &fix) != NULL)
		say(k, e, fix, arena_cstr(a, arena_printf(a, "level %s needs DNSSEC, but %s", tls_level_name(policy.level), k->tls.no_dane)));
	arena_free(&a);
}

static void
on_site(void *ctx, const struct maps_entry *e)
{
	static const char *const words[] = { "NONE", "MAY", "MUST", "MUST_NOPEERMATCH" };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (span_eq_ci(span_trim(e->value), span_str(words[i])))
			return;
	if (!e->is_rule || span_index(e->value, '$') < 0)
		say(ctx, e, "NONE, MAY, MUST or MUST_NOPEERMATCH; better smtp_tls_policy_maps", "unknown TLS policy");
}

static void
each(const struct checker *c, const struct conf_service *s, const struct conf_item *i, const char *prefix, maps_entry_fn *fn)
{
	struct client_check k = { .c = c, .item = i, .p = s->params };

	if (i == NULL || i->file == NULL || i->value == NULL)
		return;
	hop_tls_params(s->params, prefix, &k.tls);
	k.tls.have_policy_maps = true;
	maps_entries(span_str(i->value), fn, &k);
}

void
check_tls_client(const struct checker *c, const struct conf_service *s)
{
	const char *prefix = s->command != NULL && strcmp(s->command, "lmtp") == 0 ? "lmtp" : "smtp";
	char maps[64], site[64];
	size_t n;
	struct conf_item *items = conf_items(s, &n);

	snprintf(maps, sizeof(maps), "%s_tls_policy_maps", prefix);
	snprintf(site, sizeof(site), "%s_tls_per_site", prefix);
	each(c, s, check_find(items, n, maps), prefix, on_policy);
	each(c, s, check_find(items, n, site), prefix, on_site);
	conf_items_free(&items);
}
