/* Access control: tables (access(5)): the keys that are tried and what a value means. */
#include "base/panic.h"
#include "dns/dns.h"
#include "mail/address.h"
#include "role/smtpd/acl_private.h"

#define SERVERS_MAX 100u

/* --- what a value means --- */

struct span
acl_split_dsn(struct span text, const char *fallback, char dsn[12])
{
	struct span word, rest;
	unsigned dots = 0;
	bool good = true;

	span_cut(text, ' ', &word, &rest);
	for (size_t i = 0; i < word.n; i++) {
		dots += word.p[i] == '.';
		good = good && (ascii_isdigit(word.p[i]) || word.p[i] == '.');
	}
	if (word.n < 5 || word.n > 9 || dots != 2 || !good || word.p[1] != '.' || word.p[0] < '2' || word.p[0] > '5')
		word = span_str(fallback);
	else
		text = span_trim(rest);
	memcpy(dsn, word.p, word.n);
	dsn[word.n] = '\0';
	return text;
}

static struct span
or_default(struct span text, const char *words)
{
	return text.n > 0 ? text : span_str(words);
}

static enum acl_verdict
act_reject(struct acl_eval *e, const struct acl_rule *r, struct span text, int code, const char *dsn)
{
	char own[12];

	text = acl_split_dsn(text, dsn, own);
	return acl_reject_named(e, r->row->subject, (unsigned)code, own, "%.*s", SPAN_ARG(or_default(text, "Access denied")));
}

static enum acl_verdict
act_defer_if(struct acl_eval *e, const struct acl_rule *r, struct span text, bool permit)
{
	enum acl_subject s = r->row->subject;
	char dsn[12];

	text = acl_rejected(e, s, or_default(acl_split_dsn(text, "4.7.1", dsn), "Service unavailable"));
	return (permit ? acl_defer_if_permit : acl_defer_if_reject)(e, s, (unsigned)e->p->access_map_defer_code, dsn, text);
}

/* "<name>: Client host triggers HOLD action", or the table's own words. */
static struct span
trigger_text(struct acl_eval *e, const struct acl_rule *r, const char *word, struct span text, bool own_words)
{
	enum acl_subject s = r->row->subject;
	struct span name = acl_subject_name(e, s);
	const char *class = acl_subject_class(e, s);

	if (own_words && text.n > 0)
		return arena_printf(e->a, "<%.*s>: %s %.*s", SPAN_ARG(name), class, SPAN_ARG(text));
	if (own_words)
		return arena_printf(e->a, "<%.*s>: %s triggers %s action", SPAN_ARG(name), class, word);
	return arena_printf(e->a, "<%.*s>: %s triggers %s %.*s", SPAN_ARG(name), class, word, SPAN_ARG(text));
}

static bool
has_message(const struct acl_eval *e)
{
	return e->when != ACL_AT_ETRN && e->when != ACL_AT_VRFY;
}

/* The words of access(5) that are no code and no list. */
static const struct action_row {
	const char *word;
	enum { DO_PERMIT, DO_NOTHING, DO_REJECT, DO_DEFER, DO_DEFER_IF_PERMIT, DO_DEFER_IF_REJECT, DO_LOG, DO_MESSAGE } what;
	enum acl_act act;               /* of DO_LOG and DO_MESSAGE */
	bool needs_argument;
} action_rows[] = {
	{ "OK", DO_PERMIT, 0, false },
	{ "DUNNO", DO_NOTHING, 0, false },
	{ "REJECT", DO_REJECT, 0, false },
	{ "DEFER", DO_DEFER, 0, false },
	{ "DEFER_IF_PERMIT", DO_DEFER_IF_PERMIT, 0, false },
	{ "DEFER_IF_REJECT", DO_DEFER_IF_REJECT, 0, false },
	{ "WARN", DO_LOG, ACL_ACT_WARN, false },
	{ "INFO", DO_LOG, ACL_ACT_INFO, false },
	{ "HOLD", DO_MESSAGE, ACL_ACT_HOLD, false },
	{ "DISCARD", DO_MESSAGE, ACL_ACT_DISCARD, false },
	{ "FILTER", DO_MESSAGE, ACL_ACT_FILTER, true },
	{ "REDIRECT", DO_MESSAGE, ACL_ACT_REDIRECT, true },
	{ "BCC", DO_MESSAGE, ACL_ACT_BCC, true },
	{ "PREPEND", DO_MESSAGE, ACL_ACT_PREPEND, true },
};

static const struct action_row *
action_find(struct span word)
{
	for (size_t i = 0; i < sizeof(action_rows) / sizeof(action_rows[0]); i++)
		if (span_eq_ci(word, span_str(action_rows[i].word)))
			return &action_rows[i];
	return NULL;
}

static bool
argument_fits(const struct action_row *row, struct span text, struct fault *why)
{
	if (row->needs_argument && text.n == 0)
		return fault_set(why, "4.3.5", "%s without an argument", row->word);
	return row->act != ACL_ACT_FILTER || span_index(text, ':') >= 0 ||
	    fault_set(why, "4.3.5", "FILTER needs transport:destination, not \"%.*s\"", SPAN_ARG(text));
}

static enum acl_verdict
act_message(struct acl_eval *e, const struct acl_rule *r, const struct action_row *row, struct span text)
{
	struct fault why = { 0 };

	if (!argument_fits(row, text, &why))
		return acl_server_error(e, "access table entry: %s", why.text);
	if (row->act == ACL_ACT_PREPEND && e->when == ACL_AT_END) {
		acl_note(e, ACL_ACT_LOG_WARNING, SPAN(""), SPAN("access table entry: PREPEND at the end of the message is too late"));
		return ACL_DUNNO;
	}
	if (!has_message(e))
		return ACL_DUNNO;
	acl_note(e, row->act, text, trigger_text(e, r, row->word, text, !row->needs_argument));
	e->discard |= row->act == ACL_ACT_DISCARD;
	return row->act == ACL_ACT_DISCARD ? ACL_PERMIT : ACL_DUNNO;
}

static enum acl_verdict
act(struct acl_eval *e, const struct acl_rule *r, const struct action_row *row, struct span text)
{
	switch (row->what) {
	case DO_PERMIT:
		return ACL_PERMIT;
	case DO_NOTHING:
		return ACL_DUNNO;
	case DO_REJECT:
		return act_reject(e, r, text, e->p->access_map_reject_code, "5.7.1");
	case DO_DEFER:
		return act_reject(e, r, text, e->p->access_map_defer_code, "4.7.1");
	case DO_DEFER_IF_PERMIT:
		return act_defer_if(e, r, text, true);
	case DO_DEFER_IF_REJECT:
		return act_defer_if(e, r, text, false);
	case DO_LOG:
		acl_note(e, row->act, SPAN(""), trigger_text(e, r, row->word, text, true));
		return ACL_DUNNO;
	case DO_MESSAGE:
		return act_message(e, r, row, text);
	}
	panic("action");
}

/* "550 5.7.1 text" */
static bool
is_code(struct span word, uint64_t *code_r)
{
	return word.n == 3 && span_u64(word, 599, code_r) && *code_r >= 400;
}

static bool
all_digits(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!ascii_isdigit(s.p[i]))
			return false;
	return s.n > 0;
}

/* Where an action comes from: a table, or a policy service. */
static struct span
origin(struct acl_eval *e, const struct acl_rule *r, struct span key)
{
	return arena_printf(e->a, r->policy != NULL ? "check_policy_service %.*s" : "access table entry for \"%.*s\"",
	    SPAN_ARG(span_slice(key, 0, 200)));
}

static enum acl_verdict
act_list(struct acl_eval *e, const struct acl_rule *r, struct span key, struct span value)
{
	struct span why;
	const struct acl_rules *rules = acl_rules_cached(e->acl, value, &why);

	if (rules == NULL)
		return acl_server_error(e, "%.*s: unknown or unusable action \"%.*s\": %.*s", SPAN_ARG(origin(e, r, key)),
		    SPAN_ARG(span_slice(value, 0, 200)), SPAN_ARG(why));
	return acl_rules_run(e, rules);
}

static struct span
tls_require_list(struct arena *a, struct span policy)
{
	return policy.n > 1 && policy.p[0] == '{' ? arena_printf(a, "tls_require %.*s", SPAN_ARG(policy)) :
	    arena_printf(a, "tls_require { %.*s }", SPAN_ARG(policy));
}

/* "tls_require verify match=x": all of the value is the policy, and the table's subject the one who is refused. */
static enum acl_verdict
act_tls_require(struct acl_eval *e, const struct acl_rule *r, struct span key, struct span text)
{
	struct span why;
	const struct acl_rules *rules = acl_rules_cached(e->acl, tls_require_list(e->a, text), &why);

	if (rules == NULL || rules->n != 1)
		return acl_server_error(e, "%.*s: unusable policy \"tls_require %.*s\": %.*s", SPAN_ARG(origin(e, r, key)),
		    SPAN_ARG(span_slice(text, 0, 200)),
		    SPAN_ARG(rules == NULL ? why : SPAN("there is more behind it")));
	return acl_tls_demand(e, rules->v[0].tls, r->row->subject, key);
}

/* "550 5.7.1 text" has a code; any other number permits. */
static bool
is_number(struct span value)
{
	return all_digits(value) && value.n != 3;
}

enum acl_verdict
acl_action(struct acl_eval *e, const struct acl_rule *r, struct span key, struct span value)
{
	struct span word, text, rest = value = span_trim(value);
	const struct action_row *row;
	uint64_t code;

	if (!span_token(&rest, " \t\r\n", &word))
		return acl_server_error(e, "%.*s: there is no action", SPAN_ARG(origin(e, r, key)));
	text = span_trim(rest);
	if (is_number(value))
		return ACL_PERMIT;
	if (is_code(word, &code))
		return act_reject(e, r, text, (int)code, code < 500 ? "4.7.1" : "5.7.1");
	if (span_eq_ci(word, SPAN("tls_require")))
		return act_tls_require(e, r, key, text);
	row = action_find(word);
	return row != NULL ? act(e, r, row, text) : act_list(e, r, key, value);
}

bool
acl_action_check(const struct conf_service *svc, struct span value, struct fault *why)
{
	struct span word, text, rest = value = span_trim(value);
	const struct action_row *row;
	struct acl_rules rules;
	struct acl *acl;
	uint64_t code;
	bool ok;

	if (!span_token(&rest, " \t\r\n", &word))
		return fault_set(why, "4.3.5", "there is no action");
	text = span_trim(rest);
	if (is_number(value) || is_code(word, &code))
		return true;
	row = action_find(word);
	if (row != NULL)
		return argument_fits(row, text, why);
	acl = acl_new_unopened(svc);
	ok = acl_rules_parse(acl, span_eq_ci(word, SPAN("tls_require")) ? tls_require_list(acl->arena, text) : value, &rules, why);
	acl_free(&acl);
	return ok;
}

/* --- keys --- */

static void
note_entry(struct acl_eval *e, const struct map_hit *hit)
{
	if (e->entry != NULL && !e->entry_found)
		*e->entry = *hit;
	e->entry_found = true;
}

bool
acl_try_key(struct acl_eval *e, const struct acl_rule *r, struct span key, bool partial, enum acl_verdict *v_r)
{
	struct fault why = { 0 };
	struct map_hit hit;
	enum map_result got = (partial ? maps_find_partial : maps_find)(r->maps, key, e->asks, e->a, &hit, &why);

	*v_r = ACL_DUNNO;
	if (acl_stopped(e, got, r->row->subject, &why, v_r))
		return true;
	if (got == MAP_ABSENT)
		return false;
	note_entry(e, &hit);
	*v_r = acl_action(e, r, key, hit.value);
	return true;
}

/* A host name and its parents; true when a key was found. */
static bool
try_domain(struct acl_eval *e, const struct acl_rule *r, struct span name, enum acl_verdict *v_r)
{
	bool partial = false;

	name = arena_lower(e->a, name);
	if (name.n > 0 && name.p[name.n - 1] == '.')
		name.n--;
	while (name.n > 0) {
		ptrdiff_t dot;

		if (acl_try_key(e, r, name, partial, v_r))
			return true;
		dot = span_index(span_from(name, 1), '.');
		if (dot < 0)
			return false;
		name = span_from(name, (size_t)dot + (e->acl->access_parents ? 2 : 1));
		partial = true;
	}
	return false;
}

/* An address and its networks, cut at '.' or ':'. */
static bool
try_address(struct acl_eval *e, const struct acl_rule *r, struct span addr, enum acl_verdict *v_r)
{
	char cut = span_index(addr, ':') >= 0 ? ':' : '.';
	bool partial = false;

	while (addr.n > 0) {
		ptrdiff_t at;

		if (addr.p[addr.n - 1] != cut && acl_try_key(e, r, addr, partial, v_r))
			return true;
		at = span_rindex(addr, cut);
		if (at <= 0)
			return false;
		addr = span_slice(addr, 0, (size_t)at);
		partial = true;
	}
	return false;
}

static enum acl_verdict
check_mail(struct acl_eval *e, const struct acl_rule *r, struct span addr)
{
	struct addrkey_query q = { .addr = addr, .delimiter = e->p->recipient_delimiter,
		.keys = ADDRKEYS_ACCESS | (e->acl->access_parents ? ADDRKEY_PARENTS : ADDRKEY_DOT_PARENTS) };
	struct fault why = { 0 };
	enum acl_verdict v = ACL_DUNNO;
	struct map_hit hit;
	enum map_result got;

	if (addr.n == 0) {
		acl_try_key(e, r, span_str(e->p->smtpd_null_access_lookup_key), false, &v);
		return v;
	}
	got = addrkeys_find(r->maps, &q, e->asks, e->a, &hit, NULL, &why);
	if (acl_stopped(e, got, r->row->subject, &why, &v) || got == MAP_ABSENT)
		return v;
	note_entry(e, &hit);
	return acl_action(e, r, addr, hit.value);
}

static enum acl_verdict
check_client(struct acl_eval *e, const struct acl_rule *r, struct span name)
{
	enum acl_verdict v = ACL_DUNNO;

	if (!try_domain(e, r, name, &v))
		try_address(e, r, e->f->addr, &v);
	return v;
}

static enum acl_verdict
check_domain(struct acl_eval *e, const struct acl_rule *r, struct span name)
{
	enum acl_verdict v = ACL_DUNNO;

	try_domain(e, r, name, &v);
	return v;
}

/* What a bare table means in the list where it stands. */
unsigned
acl_access_kind(const struct acl_eval *e, const struct acl_rule *r)
{
	if (r->row->kind != 0)
		return r->row->kind;
	switch (e->list) {
	case ACL_CLIENT:
		return ACL_KIND_CLIENT;
	case ACL_HELO:
		return ACL_KIND_HELO;
	case ACL_SENDER:
		return ACL_KIND_SENDER;
	case ACL_ETRN:
		return ACL_KIND_ETRN;
	case ACL_REWRITE:
		return ACL_KIND_CLIENT;
	case ACL_RELAY:
	case ACL_RECIPIENT:
	case ACL_DATA:
	case ACL_END_OF_DATA:
	case ACL_LISTS:
		break;
	}
	return ACL_KIND_RECIPIENT;
}

enum acl_verdict
acl_check_access(struct acl_eval *e, const struct acl_rule *r)
{
	switch (acl_access_kind(e, r)) {
	case ACL_KIND_CLIENT:
		return check_client(e, r, e->f->client_name);
	case ACL_KIND_REVERSE:
		return check_client(e, r, e->f->reverse_name);
	case ACL_KIND_HELO:
		return e->f->helo.n > 0 ? check_domain(e, r, e->f->helo) : ACL_DUNNO;
	case ACL_KIND_SENDER:
		return e->f->have_sender ? check_mail(e, r, e->f->sender) : ACL_DUNNO;
	case ACL_KIND_RECIPIENT:
		return e->f->have_recipient ? check_mail(e, r, e->f->recipient) : ACL_DUNNO;
	case ACL_KIND_ETRN:
		return e->f->etrn.n > 0 ? check_domain(e, r, e->f->etrn) : ACL_DUNNO;
	}
	panic("access kind");
}

/* local_header_rewrite_clients: being in the table is enough. */
enum acl_verdict
acl_address_map(struct acl_eval *e, const struct acl_rule *r)
{
	struct span keys[] = { e->f->client_name, e->f->addr };
	struct fault why = { 0 };
	enum acl_verdict v = ACL_DUNNO;

	for (size_t i = 0; i < 2; i++) {
		enum map_result got = maps_find(r->maps, keys[i], e->asks, e->a, NULL, &why);

		if (got == MAP_FOUND)
			return ACL_PERMIT;
		if (acl_stopped(e, got, r->row->subject, &why, &v))
			return v;
	}
	return v;
}

/* --- tables about the servers of a name --- */

static struct span
domain_of(struct span addr)
{
	struct span local, domain;

	return address_split(addr, &local, &domain) ? domain : SPAN("");
}

/* Whose servers; "" = nobody's. */
static struct span
server_subject(const struct acl_eval *e, unsigned kind)
{
	const struct acl_facts *f = e->f;
	struct span name = SPAN("");

	switch (kind & ~(unsigned)ACL_KIND_SERVER_MASK) {
	case ACL_KIND_CLIENT:
		name = f->client_name;
		break;
	case ACL_KIND_REVERSE:
		name = f->reverse_name;
		break;
	case ACL_KIND_HELO:
		name = f->helo;
		break;
	case ACL_KIND_SENDER:
		name = f->have_sender ? domain_of(f->sender) : name;
		break;
	case ACL_KIND_RECIPIENT:
		name = f->have_recipient ? domain_of(f->recipient) : name;
		break;
	}
	return span_eq_ci(name, SPAN("unknown")) || (name.n > 0 && name.p[0] == '[') ? SPAN("") : name;
}

static void
dns_warning(struct acl_eval *e, const char *what, struct span name, const struct dns_answer *d)
{
	acl_note(e, ACL_ACT_LOG_WARNING, SPAN(""), arena_printf(e->a, "Unable to look up %s host for %.*s: %.*s", what,
	    SPAN_ARG(span_slice(name, 0, 255)), SPAN_ARG(d->why)));
}

/* Its mail servers; without MX records the name itself. FOUND (maybe none) or WAIT. */
static enum map_result
mail_servers(struct acl_eval *e, struct span name, struct span *names, size_t *n_r)
{
	const struct dns_answer *d;

	if (acl_dns_get(e, name, DNS_TYPE_MX, &d) == MAP_WAIT)
		return MAP_WAIT;
	if (d == NULL)
		return MAP_FOUND;
	if (!dns_known(d)) {
		dns_warning(e, "mail exchanger", name, d);
		return MAP_FOUND;
	}
	for (size_t i = 0; i < d->count && *n_r < SERVERS_MAX; i++)
		names[(*n_r)++] = d->records[i].data;
	if (d->count == 0)
		names[(*n_r)++] = name;
	return MAP_FOUND;
}

/* Name servers of the name or of the nearest parent that has some. */
static enum map_result
name_servers(struct acl_eval *e, struct span name, struct span *names, size_t *n_r)
{
	const struct dns_answer *d;
	ptrdiff_t dot;

	for (;;) {
		if (acl_dns_get(e, name, DNS_TYPE_NS, &d) == MAP_WAIT)
			return MAP_WAIT;
		if (d != NULL && !dns_known(d))
			dns_warning(e, "name server", name, d);
		if (d == NULL || !dns_known(d) || d->count > 0)
			break;
		dot = span_index(name, '.');
		if (dot < 0)
			return MAP_FOUND;
		name = span_from(name, (size_t)dot + 1);
	}
	for (size_t i = 0; d != NULL && dns_known(d) && i < d->count && *n_r < SERVERS_MAX; i++)
		names[(*n_r)++] = d->records[i].data;
	return MAP_FOUND;
}

static bool
try_addresses(struct acl_eval *e, const struct acl_rule *r, struct span host, unsigned type, enum acl_verdict *v_r)
{
	const struct dns_answer *d;

	if (acl_dns_get(e, host, type, &d) == MAP_WAIT) {
		*v_r = ACL_WAIT;
		return true;
	}
	for (size_t i = 0; d != NULL && dns_known(d) && i < d->count && i < SERVERS_MAX; i++)
		if (try_address(e, r, dns_address_text(e->a, d->records[i].data), v_r) && *v_r != ACL_DUNNO)
			return true;
	return false;
}

static enum acl_verdict
check_servers(struct acl_eval *e, const struct acl_rule *r, const struct span *names, size_t n)
{
	enum acl_verdict v = ACL_DUNNO;

	for (size_t i = 0; i < n; i++) {
		if (try_domain(e, r, names[i], &v) && v != ACL_DUNNO)
			return v;
		if (try_addresses(e, r, names[i], DNS_TYPE_A, &v) || try_addresses(e, r, names[i], DNS_TYPE_AAAA, &v))
			return v;
		v = ACL_DUNNO;
	}
	return v;
}

enum acl_verdict
acl_check_server_access(struct acl_eval *e, const struct acl_rule *r)
{
	struct span *names = ARENA_ARRAY(e->a, struct span, SERVERS_MAX + 1);
	struct span name = server_subject(e, r->row->kind);
	unsigned how = r->row->kind & ACL_KIND_SERVER_MASK;
	enum map_result got = MAP_FOUND;
	enum acl_verdict v;
	size_t n = 0;

	if (name.n == 0)
		return ACL_DUNNO;
	if (how == ACL_KIND_MX)
		got = mail_servers(e, name, names, &n);
	else if (how == ACL_KIND_NS)
		got = name_servers(e, name, names, &n);
	else
		names[n++] = name;
	if (got == MAP_WAIT)
		return ACL_WAIT;
	v = check_servers(e, r, names, n);
	/* Whoever runs a DNS server could let himself in. */
	if (v == ACL_PERMIT)
		return acl_server_error(e, "%s: an OK result is not allowed for security reasons; use DUNNO instead", r->row->word);
	return v;
}
