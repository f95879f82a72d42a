/*
 * Facts of a decision as JSON, out and in. Everything that tls_policy_decide() reads is here, so a decision made
 * from a file is the one that delivery would have made. Reading trusts nothing.
 */
#include "explain/explain.h"

#include <stddef.h>
#include <string.h>

#include "base/text.h"

/* Texts and numbers of struct tls_params. */
static const struct {
	const char *name;
	size_t at;
} texts[] = {
#define TEXT(member) { #member, offsetof(struct tls_params, member) }
	TEXT(prefix), TEXT(security_level), TEXT(protocols), TEXT(mandatory_protocols), TEXT(ciphers), TEXT(mandatory_ciphers),
	TEXT(exclude_ciphers), TEXT(mandatory_exclude_ciphers), TEXT(mandatory_weak), TEXT(verify_cert_match),
	TEXT(secure_cert_match), TEXT(fingerprint_cert_match), TEXT(fingerprint_digest), TEXT(trust_anchor_file),
	TEXT(servername), TEXT(high_cipherlist), TEXT(medium_cipherlist), TEXT(null_cipherlist), TEXT(eecdh_auto_curves),
	TEXT(ffdhe_auto_groups), TEXT(dane_digests), TEXT(dane_insecure_mx_policy), TEXT(no_dane),
#undef TEXT
};

/* Bit-fields have no address. */
#define FLAGS(X)                                                                                        \
	X(use_tls) X(enforce_tls) X(enforce_peername) X(have_policy_maps) X(enable_rpk) X(connection_reuse) \
	X(wrappermode) X(cname_overrides_servername) X(enforce_sts_mx_patterns) X(transitional_idna)        \
	X(allow_null_ciphers) X(cn_fallback) X(multi_label) X(force_insecure_host_tlsa_lookup)

static const char *const table_states[] = { "not asked", "found", "absent", "failed" };
static const char *const dane_states[] = { "absent", "failed", "found" };

/* ---- out */

json_t *
explain_json_span(struct span s)
{
	json_t *j = json_stringn(s.p, s.n);
	char *copy;

	if (j != NULL || s.n == 0)
		return j;
	/* not UTF-8: what JSON cannot say becomes '?' */
	copy = malloc(s.n);
	if (copy == NULL)
		return NULL;
	for (size_t i = 0; i < s.n; i++)
		copy[i] = (unsigned char)s.p[i] < 0x80 ? s.p[i] : '?';
	j = json_stringn(copy, s.n);
	free(copy);
	return j;
}

static void
put(json_t *o, const char *name, struct span s)
{
	if (s.n > 0)
		json_object_set_new(o, name, explain_json_span(s));
}

static void
put_bool(json_t *o, const char *name, bool value)
{
	if (value)
		json_object_set_new(o, name, json_true());
}

static void
put_number(json_t *o, const char *name, json_int_t n)
{
	json_object_set_new(o, name, json_integer(n));
}

static json_t *
params_json(const struct tls_params *p)
{
	json_t *o = json_object();

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		const char *value;

		memcpy(&value, (const char *)p + texts[i].at, sizeof(value));
		if (value != NULL)
			json_object_set_new(o, texts[i].name, explain_json_span(span_str(value)));
	}
	put_number(o, "verifydepth", p->verifydepth);
#define FLAG(member) put_bool(o, #member, p->member);
	FLAGS(FLAG)
#undef FLAG
	return o;
}

static json_t *
table_json(const struct tls_table_answer *t)
{
	json_t *o = json_object();

	put(o, "state", span_str(table_states[t->state]));
	put(o, "key", t->key);
	put(o, "value", t->value);
	put(o, "source", t->source);
	put_bool(o, "per_site", t->per_site);
	if (t->state == TLS_ANSWER_FAILED) {
		put(o, "why", span_str(t->why.text));
		put_bool(o, "answered", strcmp(t->why.dsn, "4.3.0") != 0);
	}
	return o;
}

static json_t *
answer_json(const struct hop_answer *a)
{
	json_t *o = json_object();

	if (a->type == 0)
		return o;
	put(o, "type", span_str(dns_type_name(a->type)));
	put_number(o, "rrtype", a->type);
	put(o, "status", span_str(dns_status_name(a->status)));
	put_bool(o, "native", a->native);
	put_bool(o, "nxdomain", a->nxdomain);
	put_bool(o, "alias", a->alias);
	put_number(o, "records", (json_int_t)a->count);
	put(o, "canonical", a->canon);
	put(o, "why", a->why);
	return o;
}

static json_t *
records_json(const struct tls_dane_facts *d)
{
	json_t *v = json_array();

	for (size_t i = 0; i < d->count; i++) {
		const struct tls_tlsa *r = &d->records[i];
		json_t *o = json_object();
		struct buf hex;

		buf_init(&hex, 2 * TLS_TLSA_DATA_MAX + 1);
		text_hex(&hex, r->data);
		put_number(o, "usage", r->usage);
		put_number(o, "selector", r->selector);
		put_number(o, "matching", r->matching);
		put(o, "data", buf_span(&hex));
		buf_release(&hex);
		json_array_append_new(v, o);
	}
	return v;
}

static json_t *
dane_json(const struct tls_dane_facts *d)
{
	json_t *o = json_object();

	put(o, "state", span_str(dane_states[d->state]));
	put(o, "base", d->base);
	put(o, "qname", d->qname);
	put(o, "why", d->why);
	put_bool(o, "bogus", d->bogus);
	json_object_set_new(o, "records", records_json(d));
	return o;
}

static json_t *
address_json(const struct hop_address *h)
{
	json_t *o = json_object();

	put(o, "family", span_str(h->family == AF_UNIX ? "unix" : h->family == AF_INET6 ? "ipv6" : "ipv4"));
	put(o, "address", h->text);
	put(o, "host", h->host);
	put(o, "canonical", h->canon);
	put_number(o, "port", h->port);
	put_number(o, "preference", h->pref);
	put_bool(o, "literal", h->literal);
	put_bool(o, "from_mx", h->from_mx);
	put(o, "mx_status", span_str(dns_status_name(h->mx_status)));
	put(o, "status", span_str(dns_status_name(h->status)));
	put(o, "local", h->local);
	json_object_set_new(o, "table", table_json(h->table));
	if (h->dane != NULL)
		json_object_set_new(o, "tlsa", dane_json(h->dane));
	return o;
}

static json_t *
hosts_json(const struct hop *h)
{
	json_t *v = json_array();

	for (size_t i = 0; i < h->n_hosts; i++) {
		json_t *o = json_object(), *answers = json_array();

		put(o, "name", h->hosts[i].name);
		put_number(o, "preference", h->hosts[i].pref);
		for (int k = 0; k < 2; k++)
			json_array_append_new(answers, answer_json(&h->hosts[i].answers[k]));
		json_object_set_new(o, "answers", answers);
		json_array_append_new(v, o);
	}
	return v;
}

json_t *
explain_facts_json(const struct hop *h)
{
	json_t *o = json_object(), *list = json_array();

	put_number(o, "format", 1);
	put(o, "nexthop", h->nexthop);
	put(o, "key", h->key);
	put(o, "domain", h->domain);
	put_number(o, "port", h->port);
	put(o, "myhostname", span_str(h->svc->p->myhostname));
	put_bool(o, "lmtp", h->svc->lmtp);
	put_bool(o, "tlsrpt", hop_reports(h));
	put_bool(o, "tls_required_no", h->tls_required_no);
	put_bool(o, "no_mx", h->no_mx);
	put_bool(o, "unix_socket", h->unix_socket);
	json_object_set_new(o, "params", params_json(&h->svc->tls));
	json_object_set_new(o, "table", table_json(&h->table));
	json_object_set_new(o, "mx", answer_json(&h->mx));
	json_object_set_new(o, "hosts", hosts_json(h));
	for (size_t i = 0; i < h->count; i++)
		json_array_append_new(list, address_json(&h->list[i]));
	json_object_set_new(o, "addresses", list);
	return o;
}

/* ---- in */

/* The first thing that is wrong stays in `why`. */
struct reading {
	struct arena *a;
	struct fault *why;
	bool bad;
};

static void
complain(struct reading *r, const char *name, const char *what)
{
	if (!r->bad)
		fault_set(r->why, NULL, "facts: \"%s\" %s", name, what);
	r->bad = true;
}

enum { TEXT_MAX = 4096, VALUE_MAX = 262144 };

/* Missing = empty. */
static struct span
long_text(struct reading *r, const json_t *o, const char *name, size_t max)
{
	const json_t *v = json_object_get(o, name);

	if (v == NULL)
		return SPAN("");
	if (!json_is_string(v)) {
		complain(r, name, "is not a text");
		return SPAN("");
	}
	if (json_string_length(v) > max || memchr(json_string_value(v), '\0', json_string_length(v)) != NULL) {
		complain(r, name, "is too long, or has a NUL in it");
		return SPAN("");
	}
	return arena_dup(r->a, span_of(json_string_value(v), json_string_length(v)));
}

static struct span
text(struct reading *r, const json_t *o, const char *name)
{
	return long_text(r, o, name, TEXT_MAX);
}

static unsigned
number(struct reading *r, const json_t *o, const char *name, unsigned max)
{
	const json_t *v = json_object_get(o, name);

	if (v == NULL)
		return 0;
	if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > max) {
		complain(r, name, "is not a number of this kind");
		return 0;
	}
	return (unsigned)json_integer_value(v);
}

static bool
flag(const json_t *o, const char *name)
{
	return json_is_true(json_object_get(o, name));
}

static const json_t *
member(struct reading *r, const json_t *o, const char *name, json_type type, size_t max)
{
	const json_t *v = json_object_get(o, name);

	if (v == NULL || json_typeof(v) != type) {
		complain(r, name, "is missing or of another kind");
		return NULL;
	}
	if (type == JSON_ARRAY && json_array_size(v) > max) {
		complain(r, name, "has too many entries");
		return NULL;
	}
	return v;
}

static unsigned
word(struct reading *r, const json_t *o, const char *name, const char *const *list, unsigned count)
{
	struct span s = text(r, o, name);

	for (unsigned i = 0; i < count; i++)
		if (span_eq(s, span_str(list[i])))
			return i;
	complain(r, name, "is none of the words that are possible here");
	return 0;
}

static enum dns_status
status(struct reading *r, const json_t *o, const char *name)
{
	struct span s = text(r, o, name);

	for (int i = DNS_SECURE; i <= DNS_FAILED; i++)
		if (span_eq(s, span_str(dns_status_name((enum dns_status)i))))
			return (enum dns_status)i;
	complain(r, name, "is not a DNSSEC status");
	return DNS_FAILED;
}

static void
read_params(struct reading *r, const json_t *o, struct tls_params *p)
{
	for (size_t i = 0; o != NULL && i < sizeof(texts) / sizeof(texts[0]); i++) {
		const char *value = arena_cstr(r->a, long_text(r, o, texts[i].name, VALUE_MAX));

		if (strcmp(texts[i].name, "prefix") == 0 && strcmp(value, "smtp") != 0 && strcmp(value, "lmtp") != 0)
			complain(r, "prefix", "is neither smtp nor lmtp");
		if (strcmp(texts[i].name, "no_dane") == 0 && value[0] == '\0')
			value = NULL;
		memcpy((char *)p + texts[i].at, &value, sizeof(value));
	}
	p->verifydepth = (int)number(r, o, "verifydepth", 1000);
#define FLAG(member) p->member = flag(o, #member);
	FLAGS(FLAG)
#undef FLAG
}

static void
read_table(struct reading *r, const json_t *o, struct tls_table_answer *t)
{
	if (o == NULL)
		return;
	t->state = (enum tls_answer)word(r, o, "state", table_states, 4);
	t->key = text(r, o, "key");
	t->value = long_text(r, o, "value", VALUE_MAX);
	t->source = text(r, o, "source");
	t->per_site = flag(o, "per_site");
	if (t->state == TLS_ANSWER_FAILED)
		fault_set(&t->why, flag(o, "answered") ? "4.7.5" : "4.3.0", "%s", arena_cstr(r->a, text(r, o, "why")));
}

static void
read_answer(struct reading *r, const json_t *o, struct hop_answer *a)
{
	a->type = (uint16_t)number(r, o, "rrtype", 65535);
	if (a->type == 0)
		return;
	a->status = status(r, o, "status");
	a->native = flag(o, "native");
	a->nxdomain = flag(o, "nxdomain");
	a->alias = flag(o, "alias");
	a->count = number(r, o, "records", DNS_RECORDS_MAX);
	a->canon = text(r, o, "canonical");
	a->why = text(r, o, "why");
}

static struct span
hex(struct reading *r, const json_t *o)
{
	struct span bytes = SPAN("");
	struct buf b;

	buf_init(&b, TLS_TLSA_DATA_MAX);
	if (text_unhex(&b, long_text(r, o, "data", 2 * TLS_TLSA_DATA_MAX)) && !b.full)
		bytes = arena_dup(r->a, buf_span(&b));
	else
		complain(r, "data", "is not hexadecimal of a possible length");
	buf_release(&b);
	return bytes;
}

static struct tls_dane_facts *
read_dane(struct reading *r, const json_t *o)
{
	struct tls_dane_facts *d = ARENA_NEW(r->a, struct tls_dane_facts);
	const json_t *v = member(r, o, "records", JSON_ARRAY, TLS_TLSA_RECORDS_MAX);

	*d = (struct tls_dane_facts){ .base = text(r, o, "base"), .qname = text(r, o, "qname"), .why = text(r, o, "why") };
	d->bogus = flag(o, "bogus");
	d->state = (enum tls_dane_state)word(r, o, "state", dane_states, 3);
	d->count = v == NULL ? 0 : json_array_size(v);
	d->records = ARENA_ARRAY(r->a, struct tls_tlsa, d->count + 1);
	for (size_t i = 0; i < d->count; i++) {
		const json_t *one = json_array_get(v, i);

		d->records[i] = (struct tls_tlsa){ .usage = (uint8_t)number(r, one, "usage", 255),
			.selector = (uint8_t)number(r, one, "selector", 255),
			.matching = (uint8_t)number(r, one, "matching", 255), .data = hex(r, one) };
	}
	if (d->state == TLS_DANE_FOUND && d->count == 0)
		complain(r, "records", "are none, though the state says that there are some");
	return d;
}

static void
read_address(struct reading *r, const json_t *o, struct hop_address *h)
{
	static const char *const families[] = { "ipv4", "ipv6", "unix" };
	static const sa_family_t numbers[] = { AF_INET, AF_INET6, AF_UNIX };
	struct tls_table_answer *table;

	*h = (struct hop_address){ .text = text(r, o, "address"), .host = text(r, o, "host"), .canon = text(r, o, "canonical") };
	h->family = numbers[word(r, o, "family", families, 3)];
	h->port = (uint16_t)number(r, o, "port", 65535);
	h->pref = (uint16_t)number(r, o, "preference", 65535);
	h->local = text(r, o, "local");
	h->literal = flag(o, "literal");
	h->from_mx = flag(o, "from_mx");
	h->mx_status = status(r, o, "mx_status");
	h->status = status(r, o, "status");
	table = ARENA_NEW(r->a, struct tls_table_answer);
	read_table(r, member(r, o, "table", JSON_OBJECT, 0), table);
	h->table = table;
	if (json_object_get(o, "tlsa") != NULL)
		h->dane = read_dane(r, json_object_get(o, "tlsa"));
}

static void
read_hosts(struct reading *r, const json_t *v, struct hop *h)
{
	h->n_hosts = v == NULL ? 0 : json_array_size(v);
	h->hosts = ARENA_ARRAY(r->a, struct hop_host, h->n_hosts + 1);
	for (size_t i = 0; i < h->n_hosts; i++) {
		const json_t *o = json_array_get(v, i), *answers = member(r, o, "answers", JSON_ARRAY, 2);

		h->hosts[i] = (struct hop_host){ .name = text(r, o, "name"), .pref = (uint16_t)number(r, o, "preference", 65535) };
		for (size_t k = 0; answers != NULL && k < json_array_size(answers); k++)
			read_answer(r, json_array_get(answers, k), &h->hosts[i].answers[k]);
	}
}

static void
read_addresses(struct reading *r, const json_t *v, struct hop *h)
{
	h->count = v == NULL ? 0 : json_array_size(v);
	h->list = ARENA_ARRAY(r->a, struct hop_address, h->count + 1);
	for (size_t i = 0; i < h->count; i++)
		read_address(r, json_array_get(v, i), &h->list[i]);
}

bool
explain_facts_read(const json_t *facts, struct arena *a, struct explain_recorded *v, struct fault *why)
{
	struct reading r = { a, why, false };
	struct hop *h = &v->hop;

	*v = (struct explain_recorded){ .hop.arena = a };
	if (number(&r, facts, "format", 1) != 1)
		return fault_set(why, NULL, "facts: not a file that `signet tls explain --save-facts` wrote, or one of a later version");
	h->svc = &v->svc;
	v->svc.p = &v->params;
	v->params.myhostname = arena_cstr(a, text(&r, facts, "myhostname"));
	read_params(&r, member(&r, facts, "params", JSON_OBJECT, 0), &v->svc.tls);
	v->svc.prefix = v->svc.tls.prefix;
	v->svc.lmtp = flag(facts, "lmtp");
	v->params.smtp_tlsrpt_enable = flag(facts, "tlsrpt");
	v->params.smtp_tlsrpt_socket_name = "as recorded";
	h->nexthop = text(&r, facts, "nexthop");
	h->key = text(&r, facts, "key");
	h->domain = text(&r, facts, "domain");
	h->port = (uint16_t)number(&r, facts, "port", 65535);
	h->tls_required_no = flag(facts, "tls_required_no");
	h->no_mx = flag(facts, "no_mx");
	h->unix_socket = flag(facts, "unix_socket");
	read_table(&r, member(&r, facts, "table", JSON_OBJECT, 0), &h->table);
	read_answer(&r, member(&r, facts, "mx", JSON_OBJECT, 0), &h->mx);
	read_hosts(&r, member(&r, facts, "hosts", JSON_ARRAY, HOP_HOSTS_MAX), h);
	read_addresses(&r, member(&r, facts, "addresses", JSON_ARRAY, HOP_ADDRESSES_MAX), h);
	return !r.bad;
}

bool
explain_facts_load(struct span text, struct arena *a, struct explain_recorded *r_r, struct fault *why)
{
	json_error_t error;
	json_t *j = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, &error), *facts;
	bool ok;

	if (j == NULL)
		return fault_set(why, NULL, "line %d: %s", error.line, error.text);
	facts = json_object_get(j, "facts");
	ok = explain_facts_read(facts != NULL ? facts : j, a, r_r, why);
	json_decref(j);
	return ok;
}
