/* What signet tls probe prints: lines as they come, or one JSON object at the end. */
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "conf/params.h"
#include "conf/show.h"
#include "signet/cli.h"
#include "signet/tls_probe.h"
#include "tls/ladder.h"

enum { OUT_MAX = 16 << 20, LINES_MAX = 100000, HELD_MAX = 16 };

/* ---- lines */

static void
put_line(struct probe *p, struct span line)
{
	if (p->lines != NULL && json_array_size(p->lines) < LINES_MAX)
		json_array_append_new(p->lines, explain_json_span(line));
	if (p->lines != NULL)
		return;
	if (printf("%s%.*s\n", p->cli->linked_as != NULL ? "posttls-finger: " : "", SPAN_ARG(line)) < 0 || fflush(stdout) != 0)
		p->broken = true;
}

static void
on_line(void *ctx, int64_t wall_us, enum log_level level, const char *tag, const char *line)
{
	struct probe *p = ctx;

	(void)wall_us;
	(void)level;
	(void)tag;
	if (!p->hold)
		put_line(p, span_str(line));
	else if (p->n_held < HELD_MAX)
		p->held[p->n_held++] = arena_dup(p->a, span_str(line));
}

void
probe_lines_begin(struct probe *p)
{
	p->held = ARENA_ARRAY(p->a, struct span, HELD_MAX);
	if (p->o.json)
		p->lines = json_array();
	log_set_sink(on_line, NULL, p);
}

void
probe_lines_end(void)
{
	log_set_sink(NULL, NULL, NULL);
}

void
probe_lines_release(struct probe *p, bool print)
{
	p->hold = false;
	for (size_t i = 0; print && i < p->n_held; i++)
		put_line(p, p->held[i]);
	p->n_held = 0;
}

void
probe_say(struct probe *p, const char *fmt, ...)
{
	char line[8192];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	for (char *c = line; *c != '\0'; c++)
		if ((unsigned char)*c < 32 || *c == 127)
			*c = '?';
	put_line(p, span_str(line));
}

/* ---- what decides */

/* "smtp_tls_security_level = dane (/etc/signet/main.cf:12)" */
static void
show_parameter(struct probe *p, struct span name)
{
	size_t count;
	struct conf_item *items = conf_items(p->cs, &count);

	for (size_t i = 0; i < count; i++) {
		const struct conf_item *it = &items[i];
		const char *value = it->value == NULL || it->value[0] == '\0' ? "(empty)" : it->value;

		if (!span_eq(span_str(it->name), name))
			continue;
		if (it->file == NULL)
			probe_say(p, "policy: %s = %s (default)", it->name, value);
		else if (it->line == 0)
			probe_say(p, "policy: %s = %s (%s)", it->name, value, it->file);
		else
			probe_say(p, "policy: %s = %s (%s:%u)", it->name, value, it->file, it->line);
	}
	conf_items_free(&items);
}

static void
show_global(struct probe *p)
{
	struct arena *a = arena_new(1 << 20);
	const struct params *c = p->svc.p;

	show_parameter(p, arena_printf(a, "%s_%s", p->svc.prefix, c->smtp_tls_security_level[0] != '\0' ? "tls_security_level" :
	    c->smtp_enforce_tls ? "enforce_tls" : c->smtp_use_tls ? "use_tls" : "tls_security_level"));
	arena_free(&a);
}

void
probe_show_policy(struct probe *p)
{
	const struct tls_table_answer *t = &p->hop.table;

	if (p->o.finger)
		return;
	switch (t->state) {
	case TLS_ANSWER_FOUND:
		probe_say(p, "policy: %.*s: \"%.*s\" (%.*s)", SPAN_ARG(log_esc(t->key)), SPAN_ARG(log_esc(t->value)), SPAN_ARG(log_esc(t->source)));
		return;
	case TLS_ANSWER_FAILED:
		probe_say(p, "policy: lookup of %.*s failed: %s", SPAN_ARG(log_esc(t->key)), t->why.text);
		return;
	case TLS_ANSWER_ABSENT:
		probe_say(p, "policy: %s_tls_policy_maps has no entry for %.*s", p->svc.prefix, SPAN_ARG(log_esc(p->hop.key)));
		break;
	case TLS_ANSWER_NONE:
		break;
	}
	show_global(p);
}

static void
show_records(struct probe *p, const struct probe_server *s, struct arena *a)
{
	const struct tls_dane_facts *f = s->addr->dane;

	if (f == NULL)
		return;
	if (f->state != TLS_DANE_FOUND)
		probe_say(p, "TLSA %.*s: %s%.*s", SPAN_ARG(log_esc(f->qname.n > 0 ? f->qname : f->base)),
		    f->state == TLS_DANE_FAILED ? "lookup failed: " : "none: ", SPAN_ARG(log_esc(f->why)));
	for (size_t i = 0; i < s->decision.n_tlsa; i++)
		probe_say(p, "TLSA %.*s: %.*s: %s", SPAN_ARG(log_esc(f->qname)), SPAN_ARG(tls_tlsa_text(&s->decision.tlsa[i], a)),
		    tls_tlsa_fate_text(s->decision.tlsa[i].fate));
}

static void
show_all(struct probe *p, const struct probe_server *s, struct arena *a)
{
	struct span rest, line;
	struct buf out;

	buf_init(&out, OUT_MAX);
	explain_show_hop(&out, s->hop);
	explain_show_host(&out, s->hop, s->addr, p->n_servers, a);
	for (rest = buf_span(&out); rest.n > 0;) {
		(void)span_cut(rest, '\n', &line, &rest);
		if (line.n > 0)
			probe_say(p, "%.*s", SPAN_ARG(line));
	}
	buf_release(&out);
}

static void
show_level(struct probe *p, const struct probe_server *s, struct arena *a)
{
	const struct hop_address *addr = s->addr;
	struct span level = explain_show_level(&s->decision, a);

	if (addr->family == AF_UNIX)
		probe_say(p, "%.*s: TLS level %.*s", SPAN_ARG(log_esc(addr->text)), SPAN_ARG(level));
	else
		probe_say(p, "%.*s[%.*s]:%u: TLS level %.*s", SPAN_ARG(log_esc(addr->host)), SPAN_ARG(addr->text), addr->port,
		    SPAN_ARG(level));
}

bool
probe_tells(const struct probe *p)
{
	return p->o.tell.summary || p->o.tell.matches || p->o.tell.peercert;
}

void
probe_show_decision(struct probe *p, const struct probe_server *s)
{
	struct arena *a = arena_new(16 << 20);

	if (p->o.verbose > 0)
		show_all(p, s, a);
	else if (p->o.tell.matches)
		show_records(p, s, a);
	if (!s->decision.invalid && probe_tells(p))
		show_level(p, s, a);
	arena_free(&a);
}

/* ---- the chain */

static struct span
pem_text(X509 *cert, struct arena *a)
{
	BIO *bio = BIO_new(BIO_s_mem());
	struct span s = SPAN("");
	char *text;
	long n;

	if (bio != NULL && PEM_write_bio_X509(bio, cert) == 1 && (n = BIO_get_mem_data(bio, &text)) > 0)
		s = arena_dup(a, span_of(text, (size_t)n));
	BIO_free(bio);
	return s;
}

static struct span
name_text(const X509_NAME *name, struct arena *a)
{
	char text[512] = "";

	X509_NAME_oneline(name, text, sizeof(text));
	return arena_dup(a, log_esc(span_str(text)));
}

void
probe_take_chain(struct probe *p, struct probe_server *s, SSL *ssl)
{
	STACK_OF(X509) *chain = SSL_get_peer_cert_chain(ssl);
	const char *digest = s->decision.digest_name;
	int n = sk_X509_num(chain);

	if (n <= 0)
		return;
	s->chain = ARENA_ARRAY(p->a, struct probe_cert, (size_t)n);
	for (int i = 0; i < n; i++) {
		X509 *c = sk_X509_value(chain, i);

		s->chain[s->n_chain++] = (struct probe_cert){ .subject = name_text(X509_get_subject_name(c), p->a),
			.issuer = name_text(X509_get_issuer_name(c), p->a), .cert_fp = tls_cert_fingerprint(c, digest, p->a),
			.pkey_fp = tls_pkey_fingerprint(c, digest, p->a), .pem = p->o.pem ? pem_text(c, p->a) : SPAN("") };
	}
}

void
probe_show_chain(struct probe *p, const struct probe_server *s)
{
	if (!p->o.pem || p->lines != NULL || s->n_chain == 0)
		return;
	printf("\n---\nCertificate chain\n");
	for (size_t i = 0; i < s->n_chain; i++) {
		const struct probe_cert *c = &s->chain[i];

		printf("%2zu subject: %.*s\n    issuer: %.*s\n   cert digest=%.*s\n   pkey digest=%.*s\n%.*s", i, SPAN_ARG(c->subject),
		    SPAN_ARG(c->issuer), SPAN_ARG(c->cert_fp), SPAN_ARG(c->pkey_fp), SPAN_ARG(c->pem));
	}
	p->broken |= fflush(stdout) != 0;
}

/* ---- the end */

void
probe_show_result(struct probe *p)
{
	const struct probe_server *s = &p->servers[p->n_servers > 0 ? p->n_servers - 1 : 0];

	switch (p->result) {
	case PROBE_MET:
		probe_say(p, "policy met: mail would go %s (tls=%s)", s->tls_done ? "under TLS" : "in clear", s->state);
		return;
	case PROBE_NOT_MET:
		probe_say(p, "policy not met: %s %s", p->why.dsn, p->why.text);
		return;
	case PROBE_NONE:
		probe_say(p, "no server was reached: %s %s", p->why.dsn, p->why.text);
		return;
	}
}

static void
set(json_t *o, const char *name, struct span s)
{
	if (s.n > 0)
		json_object_set_new(o, name, explain_json_span(s));
}

static void
set_text(json_t *o, const char *name, const char *s)
{
	set(o, name, span_str(s));
}

static json_t *
fault_json(const struct fault *f)
{
	json_t *o = json_object();

	set_text(o, "dsn", f->dsn);
	set_text(o, "text", f->text);
	return o;
}

static json_t *
chain_json(const struct probe_server *s)
{
	json_t *v = json_array();

	for (size_t i = 0; i < s->n_chain; i++) {
		const struct probe_cert *c = &s->chain[i];
		json_t *o = json_object();

		set(o, "subject", c->subject);
		set(o, "issuer", c->issuer);
		set(o, "cert_fingerprint", c->cert_fp);
		set(o, "pkey_fingerprint", c->pkey_fp);
		set(o, "pem", c->pem);
		json_array_append_new(v, o);
	}
	return v;
}

static json_t *
session_json(const struct probe_server *s)
{
	json_t *o = json_object();
	const struct tls_verdict *v = &s->verdict;
	const struct tls_info *i = &s->info;

	set_text(o, "trust", tls_trust_name(v->trust));
	json_object_set_new(o, "matched", json_boolean(v->matched));
	set_text(o, "reason", v->reason);
	set_text(o, "matched_name", v->matched_name);
	set_text(o, "matched_tlsa", v->dane_match);
	set_text(o, "matched_anchor", v->anchor);
	set(o, "protocol", i->wire.protocol);
	set(o, "cipher", i->wire.cipher);
	json_object_set_new(o, "cipher_bits", json_integer(i->wire.bits_used));
	set(o, "group", i->group);
	json_object_set_new(o, "forward_secret", json_boolean(i->forward_secret));
	json_object_set_new(o, "post_quantum", json_boolean(i->post_quantum));
	set(o, "sni", i->sni);
	set_text(o, "digest", s->decision.digest_name);
	set(o, "cert_fingerprint", i->cert_fp);
	set(o, "pkey_fingerprint", i->pkey_fp);
	json_object_set_new(o, "raw_public_key", json_boolean(i->peer_rpk));
	json_object_set_new(o, "chain", chain_json(s));
	return o;
}

static json_t *
reconnected_json(const struct probe_server *s)
{
	json_t *o = json_object(), *names = json_array();

	for (size_t i = 0; i < s->n_names; i++)
		json_array_append_new(names, explain_json_span(s->names[i]));
	json_object_set_new(o, "times", json_integer(s->reconnected));
	json_object_set_new(o, "resumed", json_boolean(s->resumed));
	json_object_set_new(o, "servers", names);
	return o;
}

static json_t *
server_json(const struct probe_server *s, struct arena *a)
{
	json_t *o = json_object();

	json_object_set_new(o, "decision", explain_host_json(s->hop, s->addr, a));
	json_object_set_new(o, "connected", json_boolean(s->connected));
	set(o, "name", s->name);
	json_object_set_new(o, "starttls_offered", json_boolean(s->offered));
	set_text(o, "tls", s->state);
	if (s->tls_done)
		json_object_set_new(o, "session", session_json(s));
	if (s->reconnected > 0)
		json_object_set_new(o, "reconnected", reconnected_json(s));
	json_object_set_new(o, "met", json_boolean(s->result == PROBE_MET));
	if (s->why.text[0] != '\0')
		json_object_set_new(o, "why", fault_json(&s->why));
	return o;
}

static json_t *
table_json(const struct tls_table_answer *t)
{
	json_t *o = json_object();

	set(o, "key", t->key);
	set(o, "value", t->value);
	set(o, "source", t->source);
	set_text(o, "failed", t->state == TLS_ANSWER_FAILED ? t->why.text : "");
	return o;
}

int
probe_show_json(struct probe *p, int status)
{
	static const char *const words[] = { [PROBE_NONE] = "not reached", [PROBE_MET] = "met", [PROBE_NOT_MET] = "not met" };
	json_t *o = json_object(), *servers = json_array();
	char *text;

	set_text(o, "destination", p->o.destination);
	json_object_set_new(o, "configured", json_boolean(!p->o.finger));
	set_text(o, "policy", words[p->result]);
	json_object_set_new(o, "status", json_integer(status));
	if (p->result != PROBE_MET)
		json_object_set_new(o, "why", fault_json(&p->why));
	if (p->hop.table.state == TLS_ANSWER_FOUND || p->hop.table.state == TLS_ANSWER_FAILED)
		json_object_set_new(o, "entry", table_json(&p->hop.table));
	for (size_t i = 0; i < p->n_servers; i++)
		json_array_append_new(servers, server_json(&p->servers[i], p->a));
	json_object_set_new(o, "servers", servers);
	json_object_set(o, "lines", p->lines);
	text = json_dumps(o, JSON_INDENT(1));
	json_decref(o);
	p->broken |= text == NULL || printf("%s\n", text) < 0 || fflush(stdout) != 0;
	free(text);
	return status;
}
