/* smtpd_tls_policy_maps: which entry a client gets, and what follows from it. */
#include "role/smtpd/tls_policy.h"

#include <stdlib.h>

#include "base/panic.h"
#include "maps/asks.h"
#include "maps/maps.h"
#include "smtp/transcript.h"
#include "tls/credentials.h"

#define ENTRY_ARENA (256u << 10)
#define VALUE_MAX 8192u
#define ISSUER_TABLES_MAX 64u

/* A table that an entry names (issuer_maps), opened when first needed. */
struct issuer_table {
	struct issuer_table *next;
	char *spec;
	struct maps *maps;
};

/* --- services --- */

bool
tls_policy_service_open(struct service *svc, const struct maps_env *env, struct fault *why)
{
	svc->maps_env = env;
	if (svc->local || maps_open(span_str(svc->p->smtpd_tls_policy_maps), MAPS_STRICT, env, &svc->tls_policy_maps, why))
		return true;
	fault_prefix(why, "parameter smtpd_tls_policy_maps");
	return false;
}

void
tls_policy_service_close(struct service *svc)
{
	struct issuer_table *t;

	maps_unref(&svc->tls_policy_maps);
	while ((t = svc->issuer_tables) != NULL) {
		svc->issuer_tables = t->next;
		maps_unref(&t->maps);
		free(t->spec);
		free(t);
	}
}

static struct maps *
issuer_maps(struct service *svc, struct span spec, struct fault *why)
{
	struct issuer_table *t = svc->issuer_tables;
	unsigned n = 0;

	for (; t != NULL; t = t->next, n++)
		if (span_eq(span_str(t->spec), spec))
			return t->maps;
	if (n >= ISSUER_TABLES_MAX) {
		fault_set(why, "4.3.5", "more than %u tables of issuers", ISSUER_TABLES_MAX);
		return NULL;
	}
	t = calloc(1, sizeof(*t));
	ensure(t != NULL);
	if (!maps_open(spec, MAPS_STRICT, svc->maps_env, &t->maps, why)) {
		free(t);
		return NULL;
	}
	t->spec = strndup(spec.p, spec.n);
	ensure(t->spec != NULL);
	t->next = svc->issuer_tables;
	svc->issuer_tables = t;
	return t->maps;
}

/* --- finding the entry --- */

static struct span
confirmed_name(const struct session *s)
{
	return s->facts.name_state == ACL_NAME_OK && !span_eq(s->facts.client_name, SPAN("unknown")) ? s->facts.client_name :
	    SPAN("");
}

static bool
unusable(struct tls_entry *e)
{
	e->found = false;
	e->unusable = true;
	return true;
}

static void
take_value(struct session *s, struct tls_entry *e, struct span key, const struct map_hit *hit)
{
	struct arena *a = e->arena;
	struct span value = span_trim(hit->value);

	e->key = arena_dup(a, key);
	e->source = hit->file.n > 0 && hit->line > 0 ? arena_printf(a, "%.*s:%u", SPAN_ARG(hit->file), hit->line) :
	    arena_dup(a, hit->table);
	if (value.n > VALUE_MAX) {
		fault_set(&e->why, "4.7.0", "a value of more than %u bytes", VALUE_MAX);
		unusable(e);
		return;
	}
	e->found = tls_client_policy_parse(arena_dup(a, value), s->p->smtpd_tls_fingerprint_digest, a, &e->policy, &e->why) &&
	    tls_client_policy_fits(&e->policy, key, &e->why);
	if (!e->found)
		unusable(e);
}

/* FOUND: decided, whatever was found. */
static enum map_result
try_keys(struct session *s, struct tls_entry *e)
{
	struct tls_client_key *keys = ARENA_ARRAY(s->d->scratch, struct tls_client_key, TLS_CLIENT_KEYS_MAX);
	size_t n = tls_client_keys(e->name, e->addr, e->sni, s->d->scratch, keys);
	bool unknown_name = s->facts.name_state == ACL_NAME_TEMPORARY;
	struct map_hit hit;

	for (size_t i = 0; i < n; i++) {
		e->last_resort = keys[i].last_resort;
		if (e->last_resort && unknown_name) {
			/* a name may have an entry: without it, whoever can break DNS would be rid of the demand */
			fault_set(&e->why, "4.7.0", "the client's name cannot be looked up for now, and no key is its address");
			unusable(e);
			return MAP_FOUND;
		}
		switch ((keys[i].partial ? maps_find_partial : maps_find)(s->svc->tls_policy_maps, keys[i].key, session_asks(s),
		    s->d->scratch, &hit, &e->why)) {
		case MAP_FOUND:
			take_value(s, e, keys[i].key, &hit);
			return MAP_FOUND;
		case MAP_WAIT:
			return MAP_WAIT;
		case MAP_DEFER:
			unusable(e);
			return MAP_FOUND;
		case MAP_ABSENT:
			break;
		}
	}
	return MAP_FOUND;
}

void
tls_policy_forget(struct session *s)
{
	struct arena *a = s->tls_entry != NULL ? s->tls_entry->arena : NULL;

	s->tls_entry = NULL;
	arena_free(&a);
}

static void
log_unusable(const struct session *s, const struct tls_entry *e)
{
	log_warning(&s->log, "smtpd_tls_policy_maps: %.*s%s%s; %.*s gets 454 until this is repaired", SPAN_ARG(e->source),
	    e->source.n > 0 ? ": " : "", e->why.text, SPAN_ARG(s->facts.namaddr));
}

/* The server name of the handshake; the session's handshake stays the same whoever is behind a proxy. */
static struct span
server_name(const struct session *s)
{
	return s->stream.ssl != NULL ? span_str(stream_sni_name(&s->stream)) : SPAN("");
}

enum map_result
tls_policy_find(struct session *s)
{
	struct span name = confirmed_name(s), sni = server_name(s);
	struct tls_entry *e = s->tls_entry;
	struct arena *a;

	if (s->svc->local || maps_empty(s->svc->tls_policy_maps))
		return MAP_FOUND;
	if (e != NULL && span_eq(e->name, name) && span_eq(e->addr, s->facts.addr) && span_eq(e->sni, sni))
		return MAP_FOUND;
	a = arena_new(ENTRY_ARENA);
	e = ARENA_NEW(a, struct tls_entry);
	e->arena = a;
	e->name = arena_dup(a, name);
	e->addr = arena_dup(a, s->facts.addr);
	e->sni = arena_dup(a, sni);
	if (try_keys(s, e) == MAP_WAIT) {
		arena_free(&a);
		return MAP_WAIT;
	}
	if (e->unusable)
		log_unusable(s, e);
	tls_policy_forget(s);
	s->tls_entry = e;
	return MAP_FOUND;
}

bool
tls_policy_decides(const struct session *s)
{
	return s->tls_entry != NULL && s->tls_entry->found;
}

bool
tls_policy_none(const struct session *s)
{
	return tls_policy_decides(s) && s->tls_entry->policy.level == TLS_CLIENT_NONE;
}

bool
tls_policy_demands(const struct session *s)
{
	return s->tls_entry != NULL && (s->tls_entry->unusable || s->tls_entry->policy.level >= TLS_CLIENT_ENCRYPT);
}

/* --- the handshake --- */

static const char *
or_text(struct arena *a, struct span text, const char *otherwise)
{
	return text.n > 0 ? arena_cstr(a, text) : otherwise;
}

bool
tls_policy_has_chain(const struct session *s)
{
	return tls_policy_decides(s) && s->tls_entry->policy.chain.n > 0;
}

static bool
tune_chain(struct session *s, struct fault *why)
{
	struct tls_chain *chain;

	if (!tls_policy_has_chain(s))
		return true;
	chain = keys_named_chain(s, arena_cstr(s->tls_entry->arena, s->tls_entry->policy.chain), why);
	return chain != NULL && tls_chain_use(chain, NULL, s->stream.ssl, why);
}

bool
tls_policy_tune(struct session *s, struct fault *why)
{
	const struct tls_client_policy *p = s->tls_entry != NULL ? &s->tls_entry->policy : NULL;
	struct arena *a = s->tls_entry != NULL ? s->tls_entry->arena : NULL;
	struct tls_server_params t;

	if (p == NULL || !tls_policy_decides(s))
		return true;
	service_tls_params(s->svc, &t);
	t.ask_ccert = tls_client_policy_asks(p, tls_server_ctx_asks_ccert(s->svc->tls));
	t.enable_rpk = tls_client_policy_asks_key(p, t.enable_rpk);
	t.mandatory = s->svc->wrapper || p->level >= TLS_CLIENT_ENCRYPT;
	t.protocols = or_text(a, p->protocols, t.protocols);
	t.mandatory_protocols = or_text(a, p->protocols, t.mandatory_protocols);
	t.ciphers = or_text(a, p->ciphers, t.ciphers);
	t.mandatory_ciphers = or_text(a, p->ciphers, t.mandatory_ciphers);
	if (p->exclude.n > 0) {
		t.exclude_ciphers = arena_cstr(a, p->exclude);
		t.mandatory_exclude_ciphers = "";
	}
	return tune_chain(s, why) && tls_server_tune(s->svc->tls, s->stream.ssl, &t, why);
}

bool
tls_policy_wants_sni(const struct session *s)
{
	return s->tls_entry != NULL && s->tls_entry->last_resort;
}

enum map_result
tls_policy_by_sni(struct session *s, struct fault *why)
{
	if (!tls_policy_wants_sni(s))
		return MAP_FOUND;
	if (tls_policy_find(s) == MAP_WAIT)
		return MAP_WAIT;
	/* what "*" has set before does not stay */
	return tls_server_default_chain(s->svc->tls, s->stream.ssl, why) && tls_policy_tune(s, why) ? MAP_FOUND : MAP_DEFER;
}

/* --- what was shown, and whether it is enough --- */

/* Which certificate of the chain: a client that renews its own does not mend that of its authority. */
static struct span
untrusted(const struct session *s)
{
	const struct tls_info *t = s->tls;

	return strcmp(t->untrusted_who, "CA") == 0 ? arena_printf(s->d->scratch, "of an authority above it: %.*s", SPAN_ARG(t->untrusted)) :
	    t->untrusted;
}

struct tls_client_shown
tls_policy_shown(const struct session *s)
{
	const struct tls_info *t = smtps_tls(s->engine) || s->svc->wrapper ? s->tls : NULL;
	struct tls_client_shown shown = { .name = confirmed_name(s), .unavailable = s->svc->tls == NULL || tls_policy_none(s) };

	if (t == NULL || s->stream.ssl == NULL)
		return shown;
	shown.tls = true;
	shown.bits = t->wire.bits_used;
	shown.asked = t->asked;
	shown.key_would_do = t->key_would_do;
	shown.trusted = t->peer_trusted;
	shown.untrusted = untrusted(s);
	shown.cert = t->peer_cert ? SSL_get0_peer_certificate(s->stream.ssl) : NULL;
	shown.cert_fp = t->cert_fp;
	shown.pkey_fp = t->pkey_fp;
	return shown;
}

static enum map_result
ask_issuer(struct session *s, const struct tls_client_shown *shown, struct tls_client_issuer *issuer)
{
	const struct tls_client_policy *p = &s->tls_entry->policy;
	struct map_hit hit = { .value = SPAN("") };
	struct maps *maps;

	*issuer = (struct tls_client_issuer){ .state = TLS_ANSWER_NONE };
	if (!tls_client_issuer_wanted(p, shown))
		return MAP_FOUND;
	issuer->state = TLS_ANSWER_FAILED;
	maps = issuer_maps(s->svc, p->issuer_maps, &issuer->why);
	if (maps == NULL)
		return MAP_FOUND;
	switch (maps_find(maps, tls_client_issuer_key(shown, s->d->scratch), session_asks(s), s->d->scratch, &hit, &issuer->why)) {
	case MAP_WAIT:
		return MAP_WAIT;
	case MAP_FOUND:
		issuer->state = TLS_ANSWER_FOUND;
		issuer->value = hit.value;
		break;
	case MAP_ABSENT:
		issuer->state = TLS_ANSWER_ABSENT;
		break;
	case MAP_DEFER:
		break;
	}
	return MAP_FOUND;
}

/* FOUND or WAIT. */
static enum map_result
judge(struct session *s, struct tls_client_verdict *v)
{
	struct tls_client_shown shown = tls_policy_shown(s);
	struct tls_client_issuer issuer;

	*v = (struct tls_client_verdict){ .ok = true };
	if (s->tls_entry == NULL || (!s->tls_entry->found && !s->tls_entry->unusable))
		return MAP_FOUND;
	if (s->tls_entry->unusable) {
		tls_client_policy_unknown(&s->tls_entry->why, v);
		return MAP_FOUND;
	}
	if (ask_issuer(s, &shown, &issuer) == MAP_WAIT)
		return MAP_WAIT;
	tls_client_policy_decide(&s->tls_entry->policy, &shown, &issuer, s->d->scratch, v);
	return MAP_FOUND;
}

/* The client learns what it can do about it; the log also what was wanted, and where that stands. */
static void
log_verdict(struct session *s, const struct smtps_event *ev, const char *where, const struct tls_client_verdict *v)
{
	const struct tls_entry *e = s->tls_entry;

	question_log_reject(s, ev, where, arena_printf(s->d->scratch, "%u %s <%.*s>: Client host rejected: %.*s (smtpd_tls_policy_maps%s%.*s)",
	    v->code, v->dsn, SPAN_ARG(s->facts.namaddr), SPAN_ARG(v->why), e->source.n > 0 ? ", " : "", SPAN_ARG(e->source)));
}

void
tls_policy_early(struct session *s)
{
	struct smtps_event ev = { .kind = SMTPS_ASK_STARTTLS, .text = SPAN("") };
	struct tls_client_verdict v;

	arena_clear(s->d->scratch);
	if (judge(s, &v) != MAP_FOUND)
		return;
	if (!v.ok)
		log_verdict(s, &ev, "STARTTLS", &v);
	else if (v.warning.n > 0)
		log_warning(&s->log, "smtpd_tls_policy_maps, %.*s: %.*s", SPAN_ARG(s->tls_entry->source), SPAN_ARG(v.warning));
}

enum tls_policy_answer
tls_policy_gate(struct session *s, struct question *q)
{
	struct tls_client_verdict v;
	struct smtps_reply r = { .notice = SMTP_NOTICE_POLICY };

	if (q->tls_passed)
		return TLS_POLICY_PASSED;
	if (judge(s, &v) == MAP_WAIT)
		return TLS_POLICY_WAITING;
	if (v.ok) {
		q->tls_passed = true;
		return TLS_POLICY_PASSED;
	}
	log_verdict(s, &q->ev, smtps_verb_name(q->ev.verb), &v);
	r.code = v.code;
	r.dsn = v.dsn;
	r.text = arena_printf(s->d->scratch, "<%.*s>: Client host rejected: %.*s", SPAN_ARG(s->facts.namaddr), SPAN_ARG(v.reply));
	smtps_refuse(s->engine, q->ev.id, &r, now_us(s));
	return TLS_POLICY_REFUSED;
}
