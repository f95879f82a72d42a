/* Access control: the words of the restriction lists, and compiling them. */
#include <stdlib.h>

#include "base/list.h"
#include "base/panic.h"
#include "role/smtpd/acl_private.h"
#include "role/smtpd/policy_service.h"

#define ARENA_MAX (64u << 20)

/* --- the simplest words --- */

static enum acl_verdict
permit(struct acl_eval *e, const struct acl_rule *r)
{
	(void)e;
	(void)r;
	return ACL_PERMIT;
}

static enum acl_verdict
dunno(struct acl_eval *e, const struct acl_rule *r)
{
	(void)e;
	(void)r;
	return ACL_DUNNO;
}

static enum acl_verdict
reject(struct acl_eval *e, const struct acl_rule *r)
{
	if (r->row->kind == ACL_KIND_REJECT)
		return acl_reject_named(e, ACL_SUBJECT_PHASE, (unsigned)e->p->reject_code, "5.7.1", "Access denied");
	return acl_reject_named(e, ACL_SUBJECT_PHASE, (unsigned)e->p->defer_code, "4.3.2", "Try again later");
}

static enum acl_verdict
defer_if(struct acl_eval *e, const struct acl_rule *r)
{
	bool on_reject = r->row->kind == ACL_KIND_REJECT;
	struct span text = acl_rejected(e, ACL_SUBJECT_PHASE, arena_printf(e->a, "%s requested", r->row->word));

	return (on_reject ? acl_defer_if_reject : acl_defer_if_permit)(e, ACL_SUBJECT_PHASE, 450, "4.7.0", text);
}

static enum acl_verdict
pause_reply(struct acl_eval *e, const struct acl_rule *r)
{
	e->res->sleep_ms += r->number * 1000;
	return ACL_DUNNO;
}

#define SERVERS(word, subject, kind)                                                            \
	{ "check_" word "_a_access", ACL_ARG_MAPS, subject, acl_check_server_access, (kind) | ACL_KIND_A },     \
	{ "check_" word "_mx_access", ACL_ARG_MAPS, subject, acl_check_server_access, (kind) | ACL_KIND_MX },   \
	{ "check_" word "_ns_access", ACL_ARG_MAPS, subject, acl_check_server_access, (kind) | ACL_KIND_NS }

static const struct acl_row rows[] = {
	{ "permit", ACL_NO_ARG, ACL_SUBJECT_PHASE, permit, 0 },
	{ "reject", ACL_NO_ARG, ACL_SUBJECT_PHASE, reject, ACL_KIND_REJECT },
	{ "defer", ACL_NO_ARG, ACL_SUBJECT_PHASE, reject, ACL_KIND_DEFER },
	{ "defer_if_permit", ACL_NO_ARG, ACL_SUBJECT_PHASE, defer_if, ACL_KIND_DEFER },
	{ "defer_if_reject", ACL_NO_ARG, ACL_SUBJECT_PHASE, defer_if, ACL_KIND_REJECT },
	{ "sleep", ACL_ARG_NUMBER, ACL_SUBJECT_PHASE, pause_reply, 0 },
	{ "permit_mynetworks", ACL_NO_ARG, ACL_SUBJECT_CLIENT, acl_permit_networks, 0 },
	{ "permit_inet_interfaces", ACL_NO_ARG, ACL_SUBJECT_CLIENT, acl_permit_interfaces, 0 },
	{ "permit_sasl_authenticated", ACL_NO_ARG, ACL_SUBJECT_CLIENT, acl_permit_login, 0 },
	{ "permit_naked_ip_address", ACL_NO_ARG, ACL_SUBJECT_HELO, acl_naked, 0 },
	{ "permit_auth_destination", ACL_NO_ARG, ACL_SUBJECT_RECIPIENT, acl_auth_destination, 0 },
	{ "permit_mx_backup", ACL_NO_ARG, ACL_SUBJECT_RECIPIENT, acl_mx_backup, 0 },
	{ "reject_unauth_destination", ACL_NO_ARG, ACL_SUBJECT_RECIPIENT, acl_unauth_destination, ACL_KIND_REJECT },
	{ "defer_unauth_destination", ACL_NO_ARG, ACL_SUBJECT_RECIPIENT, acl_unauth_destination, ACL_KIND_DEFER },
	{ "reject_unlisted_recipient", ACL_NO_ARG, ACL_SUBJECT_RECIPIENT, acl_unlisted, ACL_KIND_RECIPIENT },
	{ "reject_unlisted_sender", ACL_NO_ARG, ACL_SUBJECT_SENDER, acl_unlisted, ACL_KIND_SENDER },
	{ "reject_multi_recipient_bounce", ACL_NO_ARG, ACL_SUBJECT_SENDER, acl_multi_bounce, 0 },
	{ "reject_unknown_client_hostname", ACL_NO_ARG, ACL_SUBJECT_CLIENT, acl_unknown_client, 0 },
	{ "reject_unknown_client", ACL_NO_ARG, ACL_SUBJECT_CLIENT, acl_unknown_client, 0 },
	{ "reject_unknown_reverse_client_hostname", ACL_NO_ARG, ACL_SUBJECT_CLIENT, acl_unknown_reverse, 0 },
	{ "reject_invalid_helo_hostname", ACL_NO_ARG, ACL_SUBJECT_HELO, acl_bad_helo, 0 },
	{ "reject_invalid_hostname", ACL_NO_ARG, ACL_SUBJECT_HELO, acl_bad_helo, 0 },
	{ "reject_non_fqdn_helo_hostname", ACL_NO_ARG, ACL_SUBJECT_HELO, acl_non_fqdn_helo, 0 },
	{ "reject_non_fqdn_hostname", ACL_NO_ARG, ACL_SUBJECT_HELO, acl_non_fqdn_helo, 0 },
	{ "reject_unknown_helo_hostname", ACL_NO_ARG, ACL_SUBJECT_HELO, acl_unknown_helo, 0 },
	{ "reject_unknown_hostname", ACL_NO_ARG, ACL_SUBJECT_HELO, acl_unknown_helo, 0 },
	{ "reject_non_fqdn_sender", ACL_NO_ARG, ACL_SUBJECT_SENDER, acl_non_fqdn_address, ACL_KIND_SENDER },
	{ "reject_non_fqdn_recipient", ACL_NO_ARG, ACL_SUBJECT_RECIPIENT, acl_non_fqdn_address, ACL_KIND_RECIPIENT },
	{ "reject_unknown_sender_domain", ACL_NO_ARG, ACL_SUBJECT_SENDER, acl_unknown_domain, ACL_KIND_SENDER },
	{ "reject_unknown_recipient_domain", ACL_NO_ARG, ACL_SUBJECT_RECIPIENT, acl_unknown_domain, ACL_KIND_RECIPIENT },
	{ "reject_plaintext_session", ACL_NO_ARG, ACL_SUBJECT_CLIENT, acl_plaintext, 0 },
	{ "reject_unauth_pipelining", ACL_NO_ARG, ACL_SUBJECT_PHASE, acl_pipelining, 0 },
	{ "reject_sender_login_mismatch", ACL_NO_ARG, ACL_SUBJECT_SENDER, acl_login_mismatch, ACL_KIND_ANYBODY },
	{ "reject_unauthenticated_sender_login_mismatch", ACL_NO_ARG, ACL_SUBJECT_SENDER, acl_login_mismatch,
	    ACL_KIND_NOT_LOGGED_IN },
	{ "reject_known_sender_login_mismatch", ACL_NO_ARG, ACL_SUBJECT_SENDER, acl_login_mismatch, ACL_KIND_KNOWN },
	{ "reject_authenticated_sender_login_mismatch", ACL_NO_ARG, ACL_SUBJECT_SENDER, acl_login_mismatch,
	    ACL_KIND_LOGGED_IN },
	{ "reject_rbl_client", ACL_ARG_DOMAIN, ACL_SUBJECT_CLIENT, acl_rbl, ACL_KIND_CLIENT },
	{ "reject_rhsbl_client", ACL_ARG_DOMAIN, ACL_SUBJECT_CLIENT, acl_rhsbl, ACL_KIND_CLIENT },
	{ "reject_rhsbl_reverse_client", ACL_ARG_DOMAIN, ACL_SUBJECT_REVERSE, acl_rhsbl, ACL_KIND_REVERSE },
	{ "reject_rhsbl_helo", ACL_ARG_DOMAIN, ACL_SUBJECT_HELO, acl_rhsbl, ACL_KIND_HELO },
	{ "reject_rhsbl_sender", ACL_ARG_DOMAIN, ACL_SUBJECT_SENDER, acl_rhsbl, ACL_KIND_SENDER },
	{ "reject_rhsbl_recipient", ACL_ARG_DOMAIN, ACL_SUBJECT_RECIPIENT, acl_rhsbl, ACL_KIND_RECIPIENT },
	{ "permit_dnswl_client", ACL_ARG_DOMAIN, ACL_SUBJECT_CLIENT, acl_dnswl, ACL_KIND_CLIENT },
	{ "permit_rhswl_client", ACL_ARG_DOMAIN, ACL_SUBJECT_CLIENT, acl_rhswl, ACL_KIND_CLIENT },
	{ "check_client_access", ACL_ARG_MAPS, ACL_SUBJECT_CLIENT, acl_check_access, ACL_KIND_CLIENT },
	{ "check_reverse_client_hostname_access", ACL_ARG_MAPS, ACL_SUBJECT_REVERSE, acl_check_access, ACL_KIND_REVERSE },
	{ "check_helo_access", ACL_ARG_MAPS, ACL_SUBJECT_HELO, acl_check_access, ACL_KIND_HELO },
	{ "check_sender_access", ACL_ARG_MAPS, ACL_SUBJECT_SENDER, acl_check_access, ACL_KIND_SENDER },
	{ "check_recipient_access", ACL_ARG_MAPS, ACL_SUBJECT_RECIPIENT, acl_check_access, ACL_KIND_RECIPIENT },
	{ "check_address_map", ACL_ARG_MAPS, ACL_SUBJECT_CLIENT, acl_address_map, 0 },
	{ "check_etrn_access", ACL_ARG_MAPS, ACL_SUBJECT_ETRN, acl_check_access, ACL_KIND_ETRN },
	SERVERS("client", ACL_SUBJECT_CLIENT, ACL_KIND_CLIENT),
	SERVERS("reverse_client_hostname", ACL_SUBJECT_REVERSE, ACL_KIND_REVERSE),
	SERVERS("helo", ACL_SUBJECT_HELO, ACL_KIND_HELO),
	SERVERS("sender", ACL_SUBJECT_SENDER, ACL_KIND_SENDER),
	SERVERS("recipient", ACL_SUBJECT_RECIPIENT, ACL_KIND_RECIPIENT),
	{ "permit_tls_clientcerts", ACL_NO_ARG, ACL_SUBJECT_CLIENT, acl_permit_ccerts, ACL_KIND_LISTED },
	{ "permit_tls_all_clientcerts", ACL_NO_ARG, ACL_SUBJECT_CLIENT, acl_permit_ccerts, ACL_KIND_TRUSTED },
	{ "tls_require", ACL_ARG_TLS, ACL_SUBJECT_PHASE, acl_tls_require, 0 },
	{ "check_ccert_access", ACL_ARG_CCERT, ACL_SUBJECT_CCERT, acl_ccert_access, 0 },
	{ "check_sasl_access", ACL_ARG_MAPS, ACL_SUBJECT_LOGIN, acl_login_access, 0 },
	{ "check_policy_service", ACL_ARG_POLICY, ACL_SUBJECT_PHASE, acl_policy, 0 },
	{ "reject_unverified_sender", ACL_NO_ARG, ACL_SUBJECT_SENDER, NULL, 0 },
	{ "reject_unverified_recipient", ACL_NO_ARG, ACL_SUBJECT_RECIPIENT, NULL, 0 },
};

/* A bare table in a list is the check of that list (an old form). */
static const struct acl_row bare_table = { "check_access", ACL_ARG_MAPS, ACL_SUBJECT_PHASE, acl_check_access, 0 };
/* Accepted by the administrator although it does nothing here (accept_unsupported). */
static const struct acl_row accepted = { "unsupported", ACL_NO_ARG, ACL_SUBJECT_PHASE, dunno, 0 };
static const struct acl_row class_row = { "restriction class", ACL_NO_ARG, ACL_SUBJECT_PHASE, NULL, 0 };

static const struct acl_row *
row_find(struct span word)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (span_eq_ci(word, span_str(rows[i].word)))
			return &rows[i];
	return NULL;
}

/* --- compiling --- */

struct opened {
	struct list node;
	struct maps *maps;
};

/* Tables are opened once per list; they die with the acl. */
bool
acl_open_maps(struct acl *acl, struct span spec, struct maps **maps_r, struct fault *why)
{
	struct opened *o;

	if (spec.n > 1 && spec.p[0] == '{')
		spec = span_trim(span_slice(spec, 1, spec.n - 1));
	*maps_r = NULL;
	if (acl->env == NULL)           /* acl_new_unopened() */
		return true;
	if (!maps_open(spec, 0, acl->env, maps_r, why))
		return false;
	o = ARENA_NEW(acl->arena, struct opened);
	o->maps = *maps_r;
	list_push_back(&acl->opened, &o->node);
	return true;
}

/* Lists that name the same service share its connections. */
static bool
open_policy(struct acl *acl, struct span text, struct policy_service **policy_r, struct fault *why)
{
	for (struct policy_service *s = acl->policies; s != NULL; s = s->next)
		if (span_eq(span_str(s->text), text)) {
			*policy_r = s;
			return true;
		}
	if (!policy_service_parse(text, acl->p, acl->arena, policy_r, why))
		return false;
	(*policy_r)->next = acl->policies;
	acl->policies = *policy_r;
	return true;
}

static struct acl_cached *
cached_find(struct hmap *map, struct span text)
{
	HMAP_EACH_HASH(n, map, span_hash(text)) {
		struct acl_cached *c = HMAP_ENTRY(n, struct acl_cached, node);

		if (span_eq(c->text, text))
			return c;
	}
	return NULL;
}

static struct acl_cached *
cached_add(struct acl *acl, struct hmap *map, struct span text)
{
	struct acl_cached *c = ARENA_NEW(acl->arena, struct acl_cached);

	c->text = arena_dup(acl->arena, text);
	hmap_add(map, &c->node, span_hash(text));
	return c;
}

static bool
rule_arg(struct acl *acl, struct acl_rule *rule, struct span *rest, struct fault *why)
{
	struct span table;
	uint64_t number;

	if (rule->row->arg == ACL_NO_ARG)
		return true;
	if (!span_token_brace(rest, ", \t\r\n", &rule->arg))
		return fault_set(why, "", "%s needs an argument", rule->row->word);
	rule->arg = arena_dup(acl->arena, rule->arg);
	if (rule->row->fn == NULL || rule->row->arg == ACL_ARG_DOMAIN)
		return true;
	if (rule->row->arg == ACL_ARG_CCERT)
		return acl_ccert_parse(acl, rule->arg, &table, &rule->order, why) && acl_open_maps(acl, table, &rule->maps, why);
	if (rule->row->arg == ACL_ARG_TLS)
		return acl_tls_parse(acl, rule->arg, &rule->tls, why);
	if (rule->row->arg == ACL_ARG_MAPS)
		return acl_open_maps(acl, rule->arg, &rule->maps, why);
	if (rule->row->arg == ACL_ARG_POLICY)
		return open_policy(acl, rule->arg, &rule->policy, why);
	if (!span_u64(rule->arg, 1000, &number))
		return fault_set(why, "", "%s: bad number \"%.*s\"", rule->row->word, SPAN_ARG(rule->arg));
	rule->number = (int64_t)number;
	return true;
}

static bool
rule_unsupported(struct acl *acl, struct acl_rule *rule, struct fault *why)
{
	if (!conf_accepts(acl->svc, rule->row->word))
		return fault_set(why, "", "%s does not work in this version (accept_unsupported would have it ignored)", rule->row->word);
	rule->row = &accepted;
	return true;
}

static bool
rule_parse(struct acl *acl, struct span word, struct span *rest, struct acl_rule *rule, struct fault *why)
{
	const struct acl_cached *class = cached_find(&acl->classes, word);

	rule->row = row_find(word);
	if (class != NULL) {
		rule->row = &class_row;
		rule->sub = &class->rules;
		return true;
	}
	if (rule->row != NULL)
		return rule_arg(acl, rule, rest, why) && (rule->row->fn != NULL || rule_unsupported(acl, rule, why));
	if (span_index(word, ':') < 0)
		return fault_set(why, "", "unknown restriction \"%.*s\"", SPAN_ARG(word));
	rule->row = &bare_table;
	rule->arg = arena_dup(acl->arena, word);
	return acl_open_maps(acl, word, &rule->maps, why);
}

bool
acl_rules_parse(struct acl *acl, struct span text, struct acl_rules *rules_r, struct fault *why)
{
	struct span rest = text, word;
	size_t max = 0;
	bool warn = false;

	while (span_token_brace(&rest, ", \t\r\n", &word))
		max++;
	rules_r->v = ARENA_ARRAY(acl->arena, struct acl_rule, max + 1);
	rules_r->n = 0;
	rest = text;
	while (span_token_brace(&rest, ", \t\r\n", &word)) {
		struct acl_rule *rule = &rules_r->v[rules_r->n];

		if (span_eq_ci(word, SPAN("warn_if_reject"))) {
			warn = true;
			continue;
		}
		if (!rule_parse(acl, word, &rest, rule, why))
			return false;
		rule->warn = warn;
		warn = false;
		rules_r->n++;
	}
	return true;
}

const struct acl_rules *
acl_rules_cached(struct acl *acl, struct span text, struct span *why_r)
{
	struct acl_cached *c = cached_find(&acl->cache, text);
	struct fault why = { 0 };

	*why_r = SPAN("too many different actions, or one that is too long");
	if (c == NULL) {
		if (acl->cache.count >= ACL_CACHE_MAX || text.n > 4096)
			return NULL;
		c = cached_add(acl, &acl->cache, text);
		c->bad = !acl_rules_parse(acl, c->text, &c->rules, &why);
		c->why = c->bad ? arena_dup(acl->arena, span_str(why.text)) : SPAN("");
	}
	*why_r = c->why;
	return c->bad ? NULL : &c->rules;
}

static void
name_classes(struct acl *acl)
{
	struct span rest = span_str(acl->p->smtpd_restriction_classes), word;

	while (span_token(&rest, ", \t\r\n", &word))
		if (cached_find(&acl->classes, word) == NULL)
			cached_add(acl, &acl->classes, word);
}

/* Names first, then contents: classes may use each other. */
static bool
open_classes(struct acl *acl, struct fault *why)
{
	struct span rest = span_str(acl->p->smtpd_restriction_classes), word;

	name_classes(acl);
	while (span_token(&rest, ", \t\r\n", &word)) {
		struct acl_cached *c = cached_find(&acl->classes, word);
		char *name = arena_cstr(acl->arena, word);
		const char *value = conf_get(acl->svc, name);

		if (value == NULL)
			return fault_set(why, "", "smtpd_restriction_classes: %s is not defined", name);
		if (!acl_rules_parse(acl, span_str(value), &c->rules, why)) {
			fault_prefix(why, "restriction class %s", name);
			return false;
		}
	}
	return true;
}

static bool
open_lists(struct acl *acl, struct fault *why)
{
	const struct params *p = acl->p;
	const struct { const char *name, *value; } lists[ACL_LISTS] = {
		[ACL_CLIENT] = { "smtpd_client_restrictions", p->smtpd_client_restrictions },
		[ACL_HELO] = { "smtpd_helo_restrictions", p->smtpd_helo_restrictions },
		[ACL_SENDER] = { "smtpd_sender_restrictions", p->smtpd_sender_restrictions },
		[ACL_RELAY] = { "smtpd_relay_restrictions", p->smtpd_relay_restrictions },
		[ACL_RECIPIENT] = { "smtpd_recipient_restrictions", p->smtpd_recipient_restrictions },
		[ACL_DATA] = { "smtpd_data_restrictions", p->smtpd_data_restrictions },
		[ACL_END_OF_DATA] = { "smtpd_end_of_data_restrictions", p->smtpd_end_of_data_restrictions },
		[ACL_ETRN] = { "smtpd_etrn_restrictions", p->smtpd_etrn_restrictions },
		[ACL_REWRITE] = { "local_header_rewrite_clients", p->local_header_rewrite_clients },
	};

	for (size_t i = 0; i < ACL_LISTS; i++)
		if (!acl_rules_parse(acl, span_str(lists[i].value), &acl->lists[i], why)) {
			fault_prefix(why, "parameter %s", lists[i].name);
			return false;
		}
	return true;
}

static bool
protects(const struct acl_rules *rules, unsigned depth)
{
	static const char *const words[] = { "reject_unauth_destination", "defer_unauth_destination", "reject", "defer",
		"defer_if_permit" };

	for (size_t i = 0; i < rules->n; i++) {
		const struct acl_rule *r = &rules->v[i];

		if (r->warn)
			continue;
		if (r->sub != NULL && depth < 20 && protects(r->sub, depth + 1))
			return true;
		for (size_t k = 0; k < sizeof(words) / sizeof(words[0]); k++)
			if (strcmp(r->row->word, words[k]) == 0)
				return true;
	}
	return false;
}

/* Nobody becomes an open relay by an oversight. */
static bool
check_relay(const struct acl *acl, struct fault *why)
{
	if (protects(&acl->lists[ACL_RELAY], 0) || protects(&acl->lists[ACL_RECIPIENT], 0))
		return true;
	return fault_set(why, "", "in parameter smtpd_relay_restrictions or smtpd_recipient_restrictions, specify at least one of "
	    "reject_unauth_destination, defer_unauth_destination, reject, defer, defer_if_permit");
}

static bool
open_map(struct acl *acl, const char *name, const char *spec, struct maps **maps_r, struct fault *why)
{
	if (acl_open_maps(acl, span_str(spec), maps_r, why))
		return true;
	fault_prefix(why, "parameter %s", name);
	return false;
}

static bool
open_tables(struct acl *acl, struct fault *why)
{
	const struct params *p = acl->p;

	return open_map(acl, "relay_clientcerts", p->relay_clientcerts, &acl->relay_clientcerts, why) &&
	    open_map(acl, "rbl_reply_maps", p->rbl_reply_maps, &acl->rbl_reply_maps, why) &&
	    open_map(acl, "smtpd_sender_login_maps", p->smtpd_sender_login_maps, &acl->sender_login_maps, why);
}

static bool
in_list(const char *list, const char *name)
{
	struct span rest = span_str(list), word;

	while (span_token(&rest, ", \t\r\n", &word))
		if (span_eq(word, span_str(name)))
			return true;
	return false;
}

static bool
open_all(struct acl *acl, struct fault *why)
{
	const struct params *p = acl->p;

	acl->no_unlisted_checks = in_list(p->receive_override_options, "no_unknown_recipient_checks");
	acl->access_parents = in_list(p->parent_domain_matches_subdomains, "smtpd_access_maps");
	return route_open(p, ROUTE_RECIPIENTS, acl->env, &acl->route, why) && open_tables(acl, why) &&
	    addrlist_open(span_str(p->mynetworks),
		in_list(p->parent_domain_matches_subdomains, "mynetworks") ? ADDRLIST_PARENTS : 0, acl->env, &acl->mynetworks, why) &&
	    addrlist_open(span_str(p->permit_mx_backup_networks), 0, acl->env, &acl->permit_mx_backup_networks, why) &&
	    strlist_open(span_str(p->smtpd_log_access_permit_actions), 0, acl->env, &acl->log_permit, why) &&
	    open_classes(acl, why) && open_lists(acl, why) && check_relay(acl, why);
}

void
acl_set_policy(struct acl *acl, acl_policy_way_fn *fn, void *ctx)
{
	acl->policy_way = fn;
	acl->policy_ctx = ctx;
}

bool
acl_asks_policy(const struct acl *acl)
{
	return acl->policies != NULL;
}

const struct route *
acl_route(const struct acl *acl)
{
	return acl->route;
}

static struct acl *
acl_new(const struct conf_service *svc, const struct maps_env *env)
{
	struct acl *acl = calloc(1, sizeof(*acl));

	ensure(acl != NULL);
	acl->svc = svc;
	acl->p = svc->params;
	acl->env = env;
	acl->arena = arena_new(ARENA_MAX);
	list_init(&acl->opened);
	hmap_init(&acl->classes);
	hmap_init(&acl->cache);
	return acl;
}

struct acl *
acl_new_unopened(const struct conf_service *svc)
{
	struct acl *acl = acl_new(svc, NULL);

	name_classes(acl);
	return acl;
}

bool
acl_open(const struct conf_service *svc, const struct maps_env *env, struct acl **acl_r, struct fault *why)
{
	struct acl *acl = acl_new(svc, env);

	if (open_all(acl, why)) {
		*acl_r = acl;
		return true;
	}
	acl_free(&acl);
	return false;
}

void
acl_free(struct acl **aclp)
{
	struct acl *acl = *aclp;
	struct list *n;

	if (acl == NULL)
		return;
	*aclp = NULL;
	while ((n = list_pop_front(&acl->opened)) != NULL)
		maps_unref(&LIST_ITEM(n, struct opened, node)->maps);
	route_close(&acl->route);
	addrlist_free(&acl->mynetworks);
	addrlist_free(&acl->permit_mx_backup_networks);
	strlist_free(&acl->log_permit);
	hmap_release(&acl->classes);
	hmap_release(&acl->cache);
	arena_free(&acl->arena);
	free(acl);
}
