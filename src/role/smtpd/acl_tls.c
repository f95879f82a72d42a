/*
 * Access control: "tls_require POLICY", as a restriction and as the result of a table or policy service. Behind
 * check_sender_access it ties a sender domain to a proof: whoever else writes in that name is refused.
 */
#include "base/panic.h"
#include "role/smtpd/acl_private.h"
#include "tls/client_policy.h"

struct acl_tls {
	struct tls_client_policy policy;
	struct maps *issuers;   /* issuer_maps, NULL = none */
};

static bool
has_settings(const struct tls_client_policy *p)
{
	return p->has_ask_ccert || p->ciphers.n > 0 || p->protocols.n > 0 || p->exclude.n > 0 || p->chain.n > 0;
}

bool
acl_tls_parse(struct acl *acl, struct span arg, const struct acl_tls **tls_r, struct fault *why)
{
	struct acl_tls *t = ARENA_NEW(acl->arena, struct acl_tls);

	*tls_r = t;
	if (arg.n > 1 && arg.p[0] == '{')
		arg = span_trim(span_slice(arg, 1, arg.n - 1));
	if (!tls_client_policy_parse(arg, acl->p->smtpd_tls_fingerprint_digest, acl->arena, &t->policy, why)) {
		fault_prefix(why, "tls_require");
		return false;
	}
	if (t->policy.level < TLS_CLIENT_ENCRYPT)
		return fault_set(why, "", "tls_require %s demands nothing", tls_client_level_name(t->policy.level));
	if (has_settings(&t->policy))
		return fault_set(why, "", "tls_require: ask_ccert, ciphers, protocols, exclude and chain are settled before the handshake: "
		    "write them into smtpd_tls_policy_maps");
	return t->policy.issuer_maps.n == 0 || acl_open_maps(acl, t->policy.issuer_maps, &t->issuers, why);
}

/* FOUND or WAIT. */
static enum map_result
ask_issuer(struct acl_eval *e, const struct acl_tls *t, const struct tls_client_shown *s, struct tls_client_issuer *issuer)
{
	struct map_hit hit = { .value = SPAN("") };

	if (t->issuers == NULL || s->cert == NULL || !s->trusted)
		return MAP_FOUND;
	switch (maps_find(t->issuers, tls_client_issuer_key(s, e->a), e->asks, e->a, &hit, &issuer->why)) {
	case MAP_WAIT:
		return MAP_WAIT;
	case MAP_FOUND:
		issuer->state = TLS_ANSWER_FOUND;
		issuer->value = hit.value;
		return MAP_FOUND;
	case MAP_ABSENT:
		issuer->state = TLS_ANSWER_ABSENT;
		return MAP_FOUND;
	case MAP_DEFER:
		issuer->state = TLS_ANSWER_FAILED;
		return MAP_FOUND;
	}
	panic("map_result");
}

/* `key` is the table's, for the log; empty when the word stands in a list. */
enum acl_verdict
acl_tls_demand(struct acl_eval *e, const struct acl_tls *t, enum acl_subject subject, struct span key)
{
	static const struct tls_client_shown nothing = { .name = { "", 0 } };
	const struct tls_client_shown *s = e->f->tls_shown != NULL ? e->f->tls_shown : &nothing;
	struct tls_client_issuer issuer = { .state = TLS_ANSWER_NONE };
	struct tls_client_verdict v;

	if (ask_issuer(e, t, s, &issuer) == MAP_WAIT)
		return ACL_WAIT;
	tls_client_policy_decide(&t->policy, s, &issuer, e->a, &v);
	if (v.warning.n > 0)
		acl_note(e, ACL_ACT_LOG_WARNING, SPAN(""), arena_printf(e->a, "tls_require%s%.*s: %.*s", key.n > 0 ? " of " : "",
		    SPAN_ARG(span_slice(key, 0, 200)), SPAN_ARG(v.warning)));
	if (v.ok)
		return ACL_DUNNO;
	acl_note(e, ACL_ACT_INFO, SPAN(""), arena_printf(e->a, "tls_require%s%.*s: %.*s", key.n > 0 ? " of " : "",
	    SPAN_ARG(span_slice(key, 0, 200)), SPAN_ARG(v.why)));
	return acl_reject_named(e, subject, v.code, v.dsn, "%.*s", SPAN_ARG(v.reply));
}

enum acl_verdict
acl_tls_require(struct acl_eval *e, const struct acl_rule *r)
{
	return acl_tls_demand(e, r->tls, r->row->subject, SPAN(""));
}

/* --- explaining --- */

static const struct list_name {
	enum acl_list list;
	const char *name;
} list_names[] = {
	{ ACL_CLIENT, "smtpd_client_restrictions" },
	{ ACL_HELO, "smtpd_helo_restrictions" },
	{ ACL_SENDER, "smtpd_sender_restrictions" },
	{ ACL_RELAY, "smtpd_relay_restrictions" },
	{ ACL_RECIPIENT, "smtpd_recipient_restrictions" },
	{ ACL_DATA, "smtpd_data_restrictions" },
	{ ACL_END_OF_DATA, "smtpd_end_of_data_restrictions" },
	{ ACL_ETRN, "smtpd_etrn_restrictions" },
};

static bool
about_tls(const struct acl_rule *r)
{
	acl_fn *fn = r->row->fn;

	return fn == acl_tls_require || fn == acl_plaintext || fn == acl_ccert_access || fn == acl_permit_ccerts;
}

static struct span
said(struct acl_eval *e, enum acl_verdict v)
{
	switch (v) {
	case ACL_PERMIT:
		return SPAN("permits");
	case ACL_REJECT:
		return arena_printf(e->a, "refuses: %u %s %.*s", e->res->code, e->res->dsn, SPAN_ARG(e->res->text));
	case ACL_WAIT:
		return SPAN("needs an answer of the running daemon");
	case ACL_DUNNO:
		break;
	}
	return SPAN("says nothing");
}

static void
tell_warnings(const struct acl_result *res, const char *list, acl_tls_said_fn *each, void *ctx)
{
	struct acl_tls_said s = { .list = list, .word = "warning:" };

	for (const struct acl_action *n = res->actions; n != NULL; n = n->next) {
		s.says = n->text;
		if (n->act == ACL_ACT_LOG_WARNING)
			each(ctx, &s);
	}
}

static bool
about_senders(const struct acl_eval *e, const struct acl_rule *r)
{
	return r->row->fn == acl_check_access && acl_access_kind(e, r) == ACL_KIND_SENDER;
}

/* A demand that is met says nothing to the client. */
static struct span
sender_said(struct acl_eval *e, const struct acl_rule *r)
{
	enum acl_verdict v;
	struct span word, rest;

	if (e->entry == NULL)
		return SPAN("may demand more of particular senders: --sender ADDRESS shows it");
	v = r->row->fn(e, r);
	rest = e->entry->value;
	if (!e->entry_found && v == ACL_DUNNO)
		return SPAN("has no entry for this sender");
	if (v == ACL_DUNNO && span_token(&rest, " \t", &word) && span_eq_ci(word, SPAN("tls_require")))
		return SPAN("is satisfied");
	return said(e, v);
}

static void
tell(struct acl_eval *e, const struct acl_rule *r, const char *list, acl_tls_said_fn *each, void *ctx)
{
	struct acl_tls_said s = { .list = list, .word = r->row->word, .arg = r->arg };
	struct acl_result res = { .reject = false };
	struct map_hit hit = { .value = SPAN("") };
	struct acl_eval one = *e;

	one.entry = e->entry != NULL ? &hit : NULL;
	one.res = &res;
	one.tail = &res.actions;
	s.says = about_senders(e, r) ? sender_said(&one, r) : said(&one, r->row->fn(&one, r));
	s.entry = about_senders(e, r) && one.entry != NULL && one.entry_found ? &hit : NULL;
	each(ctx, &s);
	tell_warnings(&res, list, each, ctx);
}

static void
walk(struct acl_eval *e, const struct acl_rules *rules, const char *list, acl_tls_said_fn *each, void *ctx, unsigned depth)
{
	for (size_t i = 0; i < rules->n && depth < 20; i++) {
		const struct acl_rule *r = &rules->v[i];

		if (r->sub != NULL)
			walk(e, r->sub, list, each, ctx, depth + 1);
		else if (about_tls(r) || about_senders(e, r))
			tell(e, r, list, each, ctx);
	}
}

void
acl_tls_walk(struct acl *acl, const struct acl_facts *f, bool senders, struct arena *a, acl_tls_said_fn *each, void *ctx)
{
	struct map_hit hit;

	for (size_t i = 0; i < sizeof(list_names) / sizeof(list_names[0]); i++) {
		struct acl_eval e = { .acl = acl, .p = acl->p, .f = f, .a = a, .when = ACL_AT_RCPT, .list = list_names[i].list,
			.entry = senders ? &hit : NULL };

		walk(&e, &acl->lists[e.list], list_names[i].name, each, ctx, 0);
	}
}
