/*
 * The decision for one server: level first, then everything that depends on it. Each rule
 * that applies leaves a step in the trail with the place it came from.
 */
#include "base/buf.h"
#include "base/log.h"
#include "base/panic.h"
#include "dns/dns.h"
#include "tls/decide_private.h"
#include "tls/policy.h"
#include "tls/policy_private.h"

static const char problem[] = "client TLS configuration problem";

void
decide_step(struct making *m, const char *rule, struct span result, struct span source)
{
	ensure(m->d->n_trail < STEPS_MAX);
	m->d->trail[m->d->n_trail++] = (struct tls_step){ rule, arena_dup(m->a, result), arena_dup(m->a, source) };
}

/* "smtp_" + name. */
struct span
decide_param(struct making *m, const char *name)
{
	return arena_printf(m->a, "%s_%s", m->p->prefix, name);
}

void
decide_step_param(struct making *m, const char *rule, struct span result, const char *name)
{
	decide_step(m, rule, result, decide_param(m, name));
}

void
decide_warn(struct making *m, struct span text)
{
	if (m->d->n_warnings < WARNINGS_MAX)
		m->d->warnings[m->d->n_warnings++] = text;
}

/* The policy cannot be used: say why to the administrator, and a fixed text to the sender. */
bool
decide_invalid(struct making *m, struct span warning)
{
	decide_warn(m, warning);
	m->d->invalid = true;
	decide_step(m, "policy unusable", warning, m->source);
	return fault_set(&m->d->fault, "4.7.5", "%s", problem);
}

bool
decide_invalid_param(struct making *m, const char *name, const struct fault *why)
{
	return decide_invalid(m, arena_printf(m->a, "%s_%s: %s", m->p->prefix, name, why->text));
}

static const char *
table_name(const struct making *m)
{
	return m->f->table.per_site ? "tls_per_site" : "tls_policy_maps";
}

static bool
decide_invalid_entry(struct making *m, const char *what)
{
	return decide_invalid(m, arena_printf(m->a, "%s_%s, next-hop destination \"%.*s\": %s", m->p->prefix, table_name(m),
	    SPAN_ARG(log_esc(m->f->nexthop)), what));
}

static struct span
level_span(enum tls_level level)
{
	return span_str(tls_level_name(level));
}

/* --- the level --- */

static bool
global_level(struct making *m)
{
	struct fault why;

	if (!tls_params_level(m->p, &m->d->level, &why))
		return decide_invalid(m, arena_printf(m->a, "%s", why.text));
	decide_step_param(m, "global level", level_span(m->d->level), tls_params_level_source(m->p));
	return true;
}

/* An entry made from the recipient domain's own MTA-STS policy is what "TLS-Required: no" sets aside (20.8). */
static bool
entry_is_set_aside(struct making *m, const struct tls_policy *entry)
{
	return m->f->tls_required_no && span_eq(entry->policy_type, SPAN("sts"));
}

/* RFC 8461 section 2: what the domain publishes for MTA-STS must not override DANE that fails. */
static bool
waits_for_dane(const struct making *m, const struct tls_policy *entry)
{
	return span_eq(entry->policy_type, SPAN("sts")) && tls_level_is_dane(m->d->level) && m->p->no_dane == NULL && !m->f->unix_socket;
}

static void
take_entry(struct making *m, struct tls_policy *entry)
{
	const struct tls_table_answer *t = &m->f->table;

	m->d->policy = entry;
	m->d->level = entry->level;
	decide_step(m, "table entry", arena_printf(m->a, "%.*s: %s", SPAN_ARG(t->key), tls_level_name(entry->level)),
	    t->source);
	for (size_t i = 0; i < entry->n_ignored; i++)
		decide_warn(m, arena_printf(m->a, "%s_tls_policy_maps, next-hop destination \"%.*s\": attribute \"%.*s\" is "
		    "ignored at level none", m->p->prefix, SPAN_ARG(log_esc(m->f->nexthop)),
		    SPAN_ARG(log_esc(entry->ignored[i]))));
}

/* Of the legacy table, a lookup that failed has a text of its own (tls-client.md 3.4). */
static bool
table_failed(struct making *m)
{
	const struct tls_table_answer *t = &m->f->table;

	m->source = t->source.n > 0 ? t->source : decide_param(m, table_name(m));
	(void)decide_invalid_entry(m, t->why.text[0] != '\0' ? t->why.text : "table lookup error");
	if (t->per_site && strcmp(t->why.dsn, "4.3.0") == 0)
		fault_set(&m->d->fault, "4.3.0", "Temporary lookup error");
	return false;
}

static bool
table_entry(struct making *m)
{
	const struct tls_table_answer *t = &m->f->table;
	struct tls_policy *entry;
	struct fault why;

	if (t->state == TLS_ANSWER_FAILED)
		return table_failed(m);
	if (t->state != TLS_ANSWER_FOUND)
		return true;
	m->source = t->source;
	entry = ARENA_NEW(m->a, struct tls_policy);
	if (!tls_policy_parse(arena_dup(m->a, t->value), m->a, entry, &why))
		return decide_invalid_entry(m, why.text);
	if (entry_is_set_aside(m, entry)) {
		decide_step(m, "TLS-Required: no sets an MTA-STS entry aside", level_span(m->d->level), t->source);
		return true;
	}
	if (waits_for_dane(m, entry))
		m->sts = entry;
	else
		take_entry(m, entry);
	return true;
}

static void
tls_required_no(struct making *m)
{
	enum tls_level to = m->p->wrappermode ? TLS_LEVEL_ENCRYPT : TLS_LEVEL_MAY;

	if (!m->f->tls_required_no)
		return;
	if (m->d->level == TLS_LEVEL_DANE)
		m->d->level = to;
	decide_step(m, "TLS-Required: no", level_span(m->d->level), SPAN("message header"));
}

static bool
unix_level(struct making *m)
{
	if (!m->f->unix_socket)
		return true;
	if (tls_level_is_dane(m->d->level))
		return decide_invalid(m, arena_printf(m->a, "%.*s: level %s is impossible on a UNIX-domain socket",
		    SPAN_ARG(log_esc(m->f->nexthop)), tls_level_name(m->d->level)));
	if (m->d->level == TLS_LEVEL_MAY) {
		m->d->level = TLS_LEVEL_NONE;
		decide_warn(m, arena_printf(m->a, "%.*s: opportunistic TLS is not used on a UNIX-domain socket",
		    SPAN_ARG(log_esc(m->f->nexthop))));
		decide_step(m, "UNIX-domain socket", level_span(m->d->level), m->f->nexthop);
	}
	return true;
}

static bool
asked_level(struct making *m)
{
	if (!global_level(m) || !table_entry(m))
		return false;
	tls_required_no(m);
	m->d->asked = m->d->level;
	return true;
}

static bool
decide_level(struct making *m)
{
	if (!asked_level(m))
		return false;
	if (m->sts != NULL && decide_dane_comes_first(m)) {
		decide_step(m, "DANE comes before MTA-STS", level_span(m->d->level), SPAN("RFC 8461 section 2"));
	} else if (m->sts != NULL) {
		take_entry(m, m->sts);
		m->d->asked = m->d->level;
	}
	return unix_level(m) && decide_dane(m);
}

/* --- names --- */

static struct span
server_name(struct making *m)
{
	if (m->p->cname_overrides_servername && m->f->host_canon.n > 0)
		return m->f->host_canon;
	return m->f->host;
}

struct span
decide_nexthop_name(struct making *m)
{
	return m->f->unix_socket ? m->f->myhostname : tls_nexthop_domain(m->f->nexthop);
}

void
decide_put_name(struct making *m, struct span name, bool subdomains, const char *strategy)
{
	struct tls_decision *d = m->d;
	struct tls_name n = { .subdomains = subdomains, .strategy = strategy };

	n.address = !subdomains && dns_address_parse(name, NULL, NULL);
	if (n.address) {
		for (size_t i = 0; i < d->n_names; i++)
			if (d->names[i].address) {
				if (!span_eq_ci(d->names[i].name, name))
					decide_warn(m, arena_printf(m->a, "more than one address to match, \"%.*s\" is "
					    "ignored", SPAN_ARG(log_esc(name))));
				return;
			}
		n.name = arena_lower(m->a, name);
	} else if (!dns_name_ascii(m->a, name, m->p->transitional_idna, &n.name) || n.name.n == 0) {
		decide_warn(m, arena_printf(m->a, "name to match \"%.*s\" is not valid and is ignored",
		    SPAN_ARG(log_esc(name))));
		return;
	}
	if (d->n_names < NAMES_MAX)
		d->names[d->n_names++] = n;
}

/* A leading full stop, also the ideographic, fullwidth and halfwidth ones of IDNA. Bytes it takes, 0 = none. */
static size_t
leading_dot(struct span s)
{
	static const char *const dots[] = { ".", "\xe3\x80\x82", "\xef\xbc\x8e", "\xef\xbd\xa1" };

	for (unsigned i = 0; i < 4; i++)
		if (span_starts(s, span_str(dots[i])))
			return strlen(dots[i]);
	return 0;
}

static void
put_strategy(struct making *m, struct span word)
{
	size_t dot = leading_dot(word);

	if (span_eq_ci(word, SPAN("nexthop")))
		decide_put_name(m, decide_nexthop_name(m), false, "nexthop");
	else if (span_eq_ci(word, SPAN("dot-nexthop")))
		decide_put_name(m, decide_nexthop_name(m), true, "dot-nexthop");
	else if (span_eq_ci(word, SPAN("hostname")))
		decide_put_name(m, server_name(m), false, "hostname");
	else if (dot > 0 && dot == word.n)
		decide_warn(m, arena_printf(m->a, "a lone \".\" in the names to match is ignored"));
	else
		decide_put_name(m, span_from(word, dot), dot > 0, "name");
}

static void
put_strategies(struct making *m, struct span list)
{
	struct span word;

	while (span_token(&list, TLS_LIST_SEPS, &word))
		put_strategy(m, word);
}

static bool
sts_names(const struct making *m)
{
	const struct tls_policy *e = m->d->policy;

	return e != NULL && m->p->enforce_sts_mx_patterns && span_eq(e->policy_type, SPAN("sts")) &&
	    e->n_match > 0 && e->n_mx_host_pattern > 0;
}

static void
decide_names(struct making *m)
{
	struct tls_decision *d = m->d;
	bool secure = d->level == TLS_LEVEL_SECURE;

	d->names = ARENA_ARRAY(m->a, struct tls_name, NAMES_MAX);
	if (d->policy != NULL && span_eq(d->policy->policy_type, SPAN("sts")))
		d->multi_label = false;         /* RFC 8461 section 4.1 */
	if (sts_names(m)) {
		put_strategy(m, SPAN("hostname"));
		decide_step(m, "names to match (MTA-STS)", SPAN("hostname"), m->source);
	} else if (d->policy != NULL && d->policy->n_match > 0) {
		for (size_t i = 0; i < d->policy->n_match; i++)
			put_strategy(m, d->policy->match[i]);
		decide_step(m, "names to match", SPAN("match="), m->source);
	} else {
		struct span list = span_str(secure ? m->p->secure_cert_match : m->p->verify_cert_match);

		put_strategies(m, list);
		decide_step_param(m, "names to match", list, secure ? "tls_secure_cert_match" : "tls_verify_cert_match");
	}
}

static void
decide_anchors(struct making *m)
{
	struct tls_decision *d = m->d;
	struct span rest = span_str(m->p->trust_anchor_file), path;

	if (d->n_rootca > 0)
		return;
	if (d->policy != NULL && d->policy->n_tafile > 0) {
		d->tafiles = d->policy->tafile;
		d->n_tafiles = d->policy->n_tafile;
		decide_step(m, "trust anchors", d->tafiles[0].path, m->source);
		return;
	}
	d->tafiles = ARENA_ARRAY(m->a, struct tls_anchor_file, 16);
	while (d->n_tafiles < 16 && span_token(&rest, TLS_SPACE_COMMA, &path))
		d->tafiles[d->n_tafiles++].path = path;
	if (d->n_tafiles > 0)
		decide_step_param(m, "trust anchors", span_str(m->p->trust_anchor_file), "tls_trust_anchor_file");
	else
		decide_step_param(m, "trust anchors", SPAN("CAfile, CApath"), "tls_CAfile");
}

/* --- fingerprints --- */

/* Of the entry (digest=), else of the parameter. */
static bool
decide_digest(struct making *m)
{
	const struct tls_policy *e = m->d->policy;

	if (e != NULL && e->digest != NULL) {
		m->d->digest_name = e->digest;
		decide_step(m, "digest", span_str(e->digest), m->source);
	}
	if (tls_digest_bytes(m->d->digest_name) > 0)
		return true;
	return decide_invalid(m, arena_printf(m->a, "%s_tls_fingerprint_digest: unknown digest \"%s\"", m->p->prefix,
	    m->d->digest_name));
}

static bool
put_digest(struct making *m, struct span text, struct fault *why)
{
	if (m->d->n_digests == DIGESTS_MAX)
		return fault_set(why, "4.7.5", "more than %d fingerprints", DIGESTS_MAX);
	return tls_fingerprint_parse(text, m->d->digest_name, &m->d->digests[m->d->n_digests], why) &&
	    ++m->d->n_digests > 0;
}

/* rootca=: certificates or keys one of which the chain must contain. */
static bool
decide_rootca(struct making *m)
{
	const struct tls_policy *e = m->d->policy;
	struct fault why;

	if (e == NULL || e->n_rootca == 0)
		return true;
	m->d->rootca = ARENA_ARRAY(m->a, struct tls_digest, e->n_rootca);
	for (size_t i = 0; i < e->n_rootca; i++)
		if (!tls_fingerprint_parse(e->rootca[i], m->d->digest_name, &m->d->rootca[i], &why))
			return decide_invalid_entry(m, why.text);
	m->d->n_rootca = e->n_rootca;
	decide_step(m, "trust anchors", SPAN("rootca="), m->source);
	return true;
}

static bool
decide_fingerprints(struct making *m)
{
	struct span rest = span_str(m->p->fingerprint_cert_match), one;
	const struct tls_policy *e = m->d->policy;
	struct fault why;

	m->d->digests = ARENA_ARRAY(m->a, struct tls_digest, DIGESTS_MAX);
	if (!decide_digest(m))
		return false;
	for (size_t i = 0; e != NULL && i < e->n_match; i++)
		if (!put_digest(m, e->match[i], &why))
			return decide_invalid_entry(m, why.text);
	if (m->d->n_digests > 0) {
		decide_step(m, "fingerprints", SPAN("match="), m->source);
		return true;
	}
	while (span_token(&rest, TLS_SPACE_COMMA, &one))
		if (!put_digest(m, one, &why))
			return decide_invalid_param(m, "tls_fingerprint_cert_match", &why);
	if (m->d->n_digests == 0)
		return decide_invalid(m, arena_printf(m->a, "nexthop domain %.*s: configured at fingerprint security level, "
		    "but with no fingerprints to match.", SPAN_ARG(log_esc(decide_nexthop_name(m)))));
	decide_step_param(m, "fingerprints", span_str(m->p->fingerprint_cert_match), "tls_fingerprint_cert_match");
	return true;
}

/* --- protocols, ciphers, SNI --- */

static bool
decide_protocols(struct making *m)
{
	struct tls_decision *d = m->d;
	bool entry = d->policy != NULL && d->policy->has_protocols, may = d->level == TLS_LEVEL_MAY;
	const char *name = may ? "tls_protocols" : "tls_mandatory_protocols";
	struct fault why;

	d->protocols_text = entry ? d->policy->protocols :
	    span_str(may ? m->p->protocols : m->p->mandatory_protocols);
	if (!tls_protocols_parse(d->protocols_text, &d->protocols, &why))
		return entry ? decide_invalid_entry(m, why.text) : decide_invalid_param(m, name, &why);
	if (tls_level_is_dane(d->level) && d->protocols.min < 0x0301)
		d->protocols.min = 0x0301;      /* no SSL, whatever is configured (7.3) */
	decide_step(m, "protocols", d->protocols_text, entry ? m->source : decide_param(m, name));
	return true;
}

/* Everything weak is allowed at `may`: better old encryption than none (RFC 7435). */
static bool
decide_weak(struct making *m)
{
	struct tls_decision *d = m->d;
	bool old_tls = d->protocols.min < 0x0303;
	struct fault why;

	if (d->level == TLS_LEVEL_MAY)
		d->weak = TLS_WEAK_SHA1 | TLS_WEAK_KRSA | TLS_WEAK_DH1024 | TLS_WEAK_RSA1024;
	else if (d->policy != NULL && d->policy->has_weak)
		d->weak = d->policy->weak;
	else if (!tls_weak_parse(span_str(m->p->mandatory_weak), &d->weak, &why))
		return decide_invalid_param(m, "tls_mandatory_weak", &why);
	/* the library's level 1 forbids SHA-1 signatures, without which TLS 1.0 and 1.1 cannot exist */
	d->openssl_level = d->must_match && !old_tls && (d->weak & TLS_WEAK_SHA1) == 0 ? 1 : 0;
	return true;
}

static void
add_exclusions(struct making *m, struct buf *out)
{
	struct tls_decision *d = m->d;

	if (d->policy != NULL && d->policy->has_exclude) {
		tls_exclude_add(out, d->policy->exclude, TLS_LIST_SEPS);
	} else {
		tls_exclude_add(out, span_str(m->p->exclude_ciphers), TLS_LIST_SEPS);
		if (tls_level_needs_tls(d->level))
			tls_exclude_add(out, span_str(m->p->mandatory_exclude_ciphers), TLS_LIST_SEPS);
	}
	if (d->level == TLS_LEVEL_ENCRYPT)
		buf_add_str(out, ":!eNULL");
	if (tls_level_must_match(d->level))
		buf_add_str(out, ":!aNULL");
	if (tls_level_needs_tls(d->level) && (d->weak & TLS_WEAK_KRSA) == 0)
		buf_add_str(out, ":!kRSA");
}

static bool
decide_ciphers(struct making *m)
{
	struct tls_decision *d = m->d;
	bool entry = d->policy != NULL && d->policy->has_ciphers, may = d->level == TLS_LEVEL_MAY;
	const char *name = may ? "tls_ciphers" : "tls_mandatory_ciphers";
	struct fault why;
	struct buf list;

	d->cipher_grade = entry ? d->policy->ciphers : span_str(may ? m->p->ciphers : m->p->mandatory_ciphers);
	if (!tls_grade_check(d->cipher_grade, m->p->allow_null_ciphers, &why))
		return entry ? decide_invalid_entry(m, why.text) : decide_invalid_param(m, name, &why);
	buf_init(&list, CIPHERS_MAX);
	buf_add_str(&list, tls_grade_string(d->cipher_grade, m->p->high_cipherlist, m->p->medium_cipherlist,
	    m->p->null_cipherlist));
	add_exclusions(m, &list);
	d->ciphers = arena_dup(m->a, buf_span(&list));
	if (list.full)
		fault_set(&why, "4.7.5", "cipher list is longer than %d bytes", CIPHERS_MAX);
	buf_release(&list);
	if (d->ciphers.n == 0 || list.full)
		return decide_invalid_param(m, name, &why);
	decide_step(m, "cipher grade", d->cipher_grade, entry ? m->source : decide_param(m, name));
	return true;
}

bool
tls_servername_check(struct span name, bool transitional, struct arena *a, struct span *name_r, struct fault *why)
{
	static const char *const words[] = { "", "hostname", "nexthop", "none" };
	struct arena *own = a == NULL ? arena_new(1 << 16) : NULL;
	bool ok = false;

	*name_r = name;
	for (unsigned i = 0; i < 4 && !ok; i++)
		ok = span_eq_ci(name, span_str(words[i]));
	if (!ok)
		ok = name.n <= DNS_NAME_MAX && dns_name_ascii(a != NULL ? a : own, name, transitional, name_r) &&
		    dns_name_is_host(*name_r);
	if (own != NULL) {
		*name_r = name;
		arena_free(&own);
	}
	return ok || fault_set(why, "4.7.5", "\"%.*s\" is not a host name", SPAN_ARG(log_esc(name)));
}

/* With TLSA records it is their base domain, whatever is configured (RFC 7672 section 8.1). */
static bool
sni_is_base(struct making *m)
{
	m->d->sni = m->d->tlsa_base;
	decide_step(m, "server name sent", m->d->sni, SPAN("TLSA base domain"));
	return true;
}

/* SNI is sent at every level (20.11), never for an address (RFC 6066 section 3). */
static bool
decide_sni(struct making *m)
{
	struct tls_decision *d = m->d;
	bool entry = d->policy != NULL && d->policy->has_servername;
	struct span word = entry ? d->policy->servername : span_str(m->p->servername), name;
	struct fault why;

	if (d->n_tlsa > 0)
		return sni_is_base(m);
	if (!tls_servername_check(word, m->p->transitional_idna, m->a, &name, &why))
		return decide_invalid_param(m, "tls_servername", &why);
	if (span_eq_ci(name, SPAN("none")))
		name = SPAN("");
	else if (span_eq_ci(name, SPAN("nexthop")))
		name = decide_nexthop_name(m);
	else if (name.n == 0 || span_eq_ci(name, SPAN("hostname")))
		name = m->f->unix_socket ? SPAN("") : server_name(m);
	if (!dns_name_ascii(m->a, name, m->p->transitional_idna, &d->sni) || !dns_name_is_host(d->sni))
		d->sni = SPAN("");
	decide_step(m, "server name sent", d->sni, entry ? m->source :
	    word.n > 0 ? decide_param(m, "tls_servername") : SPAN("host name"));
	return true;
}

/* --- the rest --- */

bool
tls_sts_host_matches(struct span host, const struct span *patterns, size_t count)
{
	struct span head, rest;

	if (host.n > 1 && host.p[host.n - 1] == '.')
		host.n--;
	span_cut(host, '.', &head, &rest);
	for (size_t i = 0; i < count; i++) {
		if (span_eq_ci(patterns[i], host))
			return true;
		if (span_starts(patterns[i], SPAN("*.")) && rest.n > 0 && head.n > 0 &&
		    span_eq_ci(span_from(patterns[i], 2), rest))
			return true;
	}
	return false;
}

static bool
skip(struct making *m, struct span warning)
{
	decide_warn(m, warning);
	m->d->skip_host = true;
	decide_step(m, "host skipped", warning, m->source);
	fault_set(&m->d->skip_fault, "4.3.0", "server unavailable or unable to receive mail");
	return true;
}

static bool
decide_host(struct making *m)
{
	const struct tls_policy *e = m->d->policy;
	struct span host = server_name(m);

	if (m->d->wrapper && m->d->level < TLS_LEVEL_ENCRYPT)
		return skip(m, arena_printf(m->a, "%s_tls_wrappermode needs TLS level encrypt or stronger, not %s, for "
		    "next-hop destination \"%.*s\"", m->p->prefix, tls_level_name(m->d->level),
		    SPAN_ARG(log_esc(m->f->nexthop))));
	if (!sts_names(m))
		return true;
	if (dns_name_ascii(m->a, host, m->p->transitional_idna, &host) &&
	    tls_sts_host_matches(host, e->mx_host_pattern, e->n_mx_host_pattern))
		return true;
	return skip(m, arena_printf(m->a, "MX host %.*s of %.*s does not match the MTA-STS policy of the domain",
	    SPAN_ARG(log_esc(server_name(m))), SPAN_ARG(log_esc(m->f->nexthop))));
}

static void
decide_outcomes(struct making *m)
{
	struct tls_decision *d = m->d;
	bool required = tls_level_needs_tls(d->level);

	d->try_tls = d->level > TLS_LEVEL_NONE;
	d->need_pkix = tls_level_needs_pkix(d->level);
	d->on_no_starttls = required ? TLS_NEXT_DEFER : TLS_NEXT_CLEAR;
	d->on_starttls_refused = required ? TLS_NEXT_DEFER : TLS_NEXT_CLEAR;
	d->on_handshake_failure = required ? TLS_NEXT_DEFER : TLS_NEXT_CLEAR_LATER;
	d->on_mismatch = required ? TLS_NEXT_DEFER : TLS_NEXT_CLEAR;
	decide_step(m, "without TLS", required ? SPAN("defer") : SPAN("send in clear"), level_span(d->level));
}

static void
decide_switches(struct making *m)
{
	struct tls_decision *d = m->d;
	const struct tls_policy *e = d->policy;

	if (tls_level_is_dane(d->level))
		d->enable_rpk = tls_dane_keys_only(d->tlsa, d->n_tlsa);
	else
		d->enable_rpk = !d->need_pkix && (e != NULL && e->has_enable_rpk ? e->enable_rpk : m->p->enable_rpk);
	d->connection_reuse = e != NULL && e->has_connection_reuse ? e->connection_reuse : m->p->connection_reuse;
	if (e != NULL && e->policy_failure.n > 0) {
		d->policy_failure = true;
		d->policy_failure_type = e->policy_failure;
		decide_step(m, "the domain's policy failed", e->policy_failure, m->source);
	}
}

static bool
decide_matching(struct making *m)
{
	if (m->d->level == TLS_LEVEL_FINGERPRINT)
		return decide_fingerprints(m);
	if (tls_level_is_dane(m->d->level))
		decide_dane_names(m);
	if (!m->d->need_pkix)
		return true;
	decide_names(m);
	if (m->d->policy != NULL && m->d->policy->digest != NULL && !decide_digest(m))
		return false;
	if (!decide_rootca(m))
		return false;
	decide_anchors(m);
	return true;
}

static void
begin(struct making *m)
{
	struct tls_decision *d = m->d;

	memset(d, 0, sizeof(*d));
	d->trail = ARENA_ARRAY(m->a, struct tls_step, STEPS_MAX);
	d->warnings = ARENA_ARRAY(m->a, struct span, WARNINGS_MAX);
	d->wrapper = m->p->wrappermode;
	d->cn_fallback = m->p->cn_fallback;
	d->multi_label = m->p->multi_label;
	d->digest_name = m->p->fingerprint_digest;
	d->verifydepth = m->p->verifydepth;
	d->groups_curves = span_str(m->p->eecdh_auto_curves);
	d->groups_ffdhe = span_str(m->p->ffdhe_auto_groups);
}

enum tls_level
tls_policy_asked(const struct tls_facts *facts, struct arena *a)
{
	struct tls_decision d;
	struct making m = { .f = facts, .p = facts->params, .a = a, .d = &d };

	begin(&m);
	return asked_level(&m) ? d.asked : TLS_LEVEL_NONE;
}

bool
tls_policy_decide(const struct tls_facts *facts, struct arena *a, struct tls_decision *d_r)
{
	struct making m = { .f = facts, .p = facts->params, .a = a, .d = d_r };

	begin(&m);
	if (!decide_level(&m))
		return false;
	d_r->must_match = tls_level_must_match(d_r->level);
	decide_outcomes(&m);
	if (d_r->level == TLS_LEVEL_NONE)
		return decide_host(&m);
	decide_switches(&m);
	return decide_protocols(&m) && decide_weak(&m) && decide_ciphers(&m) && decide_sni(&m) &&
	    decide_matching(&m) && decide_host(&m);
}
