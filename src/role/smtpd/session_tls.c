/* TLS of a connection: the handshake, what is logged about it, and who is turned away after it. */
#include "base/clock.h"
#include "base/panic.h"
#include "maps/asks.h"
#include "maps/maps.h"
#include "role/smtpd/smtpd.h"
#include "role/smtpd/tls_policy.h"

/* --- the log --- */

static const char *
trust_word(const struct tls_info *info)
{
	if (!info->peer_cert && !info->peer_rpk)
		return "Anonymous";
	return info->peer_trusted ? "Trusted" : "Untrusted";
}

static void
on_trace(void *ctx, enum stream_trace kind, const char *text)
{
	struct session *s = ctx;

	switch (kind) {
	case STREAM_TRACE_STATE:
	case STREAM_TRACE_SESSION:
	case STREAM_TRACE_BYTES:
		log_tls_trace(&s->log, text);
		return;
	case STREAM_TRACE_CHAIN:
	case STREAM_TRACE_TICKET:
		log_tls_trace_peer(&s->log, s->facts.namaddr, text);
		return;
	}
	panic("stream_trace");
}

/* The confirmed name, then the address; a table that fails changes nothing: nobody waits for a log level. */
enum map_result
session_tls_level(struct session *s)
{
	struct span keys[] = { s->facts.client_name, s->facts.addr };
	bool named = s->facts.name_state == ACL_NAME_OK && !span_eq(keys[0], SPAN("unknown"));
	struct fault why;
	struct map_hit hit;

	s->tls_features = s->svc->tls_log;
	for (size_t i = named ? 0 : 1; s->svc->loglevels != NULL && i < 2; i++) {
		switch (maps_find(s->svc->loglevels, keys[i], session_asks(s), s->d->scratch, &hit, &why)) {
		case MAP_WAIT:
			return MAP_WAIT;
		case MAP_ABSENT:
			continue;
		case MAP_FOUND:
			if (log_tls_level_parse(hit.value, &s->tls_features, &why))
				return MAP_FOUND;
			break;
		case MAP_DEFER:
			break;
		}
		log_warning(&s->log, "smtpd_tls_loglevel_maps: %.*s: %s", SPAN_ARG(log_esc(keys[i])), why.text);
		s->tls_features = s->svc->tls_log;
		break;
	}
	return MAP_FOUND;
}

/* What the administrator wants to see; where a certificate is required also why it is not trusted. */
static bool
wants(const struct session *s, enum log_tls_feature f)
{
	return (s->tls_features & f) != 0 || (f == LOG_TLS_UNTRUSTED && tls_server_ctx_requires_ccert(s->svc->tls));
}

static void
trace(struct session *s)
{
	int limit = s->p->tls_trace_rate_limit;
	unsigned log = log_tls_rate(&s->svc->dumps, limit, now_us(s) / US_PER_S, s->tls_features);
	struct stream_tracer *t;

	if (log & LOG_TLS_VERBOSE) {
		log_tls_setting_up(&s->log, true, s->facts.namaddr);
		log_tls_cipher_list(&s->log, s->facts.namaddr, span_str(tls_server_ctx_ciphers(s->svc->tls)));
	}
	if (log != s->tls_features)
		log_tls_no_dump(&s->log, s->facts.namaddr, limit);
	if (!(log & (LOG_TLS_VERBOSE | LOG_TLS_STEPS | LOG_TLS_DUMPS | LOG_TLS_CACHE)))
		return;
	t = ARENA_NEW(s->arena, struct stream_tracer);
	*t = (struct stream_tracer){ .line = on_trace, .ctx = s, .chain = log & LOG_TLS_VERBOSE, .steps = log & LOG_TLS_STEPS, .tickets = log & LOG_TLS_CACHE,
		.handshake_bytes = log & LOG_TLS_HANDSHAKE_BYTES, .all_bytes = log & LOG_TLS_ALL_BYTES, .messages = log & LOG_TLS_MESSAGES,
		.bytes_left = s->p->smtpd_tls_trace_size_limit };
	stream_set_tracer(&s->stream, t);
}

static void
log_peer(struct session *s)
{
	const struct tls_info *t = s->tls;

	if (s->svc->md5_by_default && (t->peer_cert || t->peer_rpk)) {
		log_tls_md5_default(&s->log, "smtpd_tls_fingerprint_digest");
		s->svc->md5_by_default = false;
	}
	if (wants(s, LOG_TLS_VERBOSE) && t->peer_cert)
		log_tls_names(&s->log, t->peer_subject, t->peer_issuer);
	if (wants(s, LOG_TLS_PEERCERT) && t->peer_cert)
		log_tls_peercert(&s->log, s->facts.namaddr, t->peer_cn, t->issuer_cn, t->cert_fp, t->pkey_fp);
	if (wants(s, LOG_TLS_PEERCERT) && t->peer_rpk)
		log_tls_rawkey(&s->log, s->facts.namaddr, t->pkey_fp);
	if (!wants(s, LOG_TLS_UNTRUSTED) || !t->peer_cert || t->peer_trusted)
		return;
	if (t->resumed)
		log_tls_reused_untrusted(&s->log, s->facts.namaddr, true);
	else
		log_tls_verify_failed(&s->log, t->untrusted_who, s->facts.namaddr, arena_cstr(s->d->scratch, t->untrusted));
}

static void
log_tls(struct session *s)
{
	const char *bad_name = stream_bad_sni(&s->stream);

	if (bad_name != NULL)
		log_warning(&s->log, "TLS SNI from %.*s is invalid: %s", SPAN_ARG(s->facts.namaddr), bad_name);
	if (wants(s, LOG_TLS_CACHE) && s->tls->resumed)
		log_tls_reusing(&s->log, s->facts.namaddr, true);
	log_peer(s);
	if (wants(s, LOG_TLS_SUMMARY))
		log_tls_server_summary(&s->log, trust_word(s->tls), s->facts.namaddr, s->tls->sni, &s->tls->wire);
}

/* --- who is turned away --- */

#define NEW_TLS "New TLS session rate"

bool
session_over_new_tls(struct session *s)
{
	return client_over_already(s, COUNTERS_NEW_TLS, s->p->smtpd_client_new_tls_session_rate_limit, NEW_TLS);
}

/* New sessions are counted; who makes too many is told so under TLS (tls-server.md section 2). */
static bool
too_many(struct session *s)
{
	struct smtps_reply r = { .code = 421, .dsn = "4.7.0", .hang_up = true };

	if (s->tls->resumed || client_over(s, COUNTERS_NEW_TLS, s->p->smtpd_client_new_tls_session_rate_limit, NEW_TLS,
		s->d->scratch) != MAP_FOUND)
		return false;
	r.text = arena_printf(s->d->scratch, "%s Error: too many new TLS sessions from %.*s", s->p->myhostname,
	    SPAN_ARG(s->facts.namaddr));
	if (s->svc->wrapper)
		session_end(s);
	else
		smtps_hang_up(s->engine, &r, now_us(s));
	return true;
}

/* Why a client without the certificate that we require may not go on; NULL = it may. */
static const char *
ccert_missing(const struct session *s)
{
	/* an entry of smtpd_tls_policy_maps decides alone */
	if (!tls_server_ctx_requires_ccert(s->svc->tls) || s->tls->peer_trusted || tls_policy_decides(s))
		return NULL;
	return s->tls->peer_cert || s->tls->peer_rpk ? "Client certificate not trusted" : "No client certificate presented";
}

/* Behind STARTTLS: 554 to everything but QUIT (RFC 3207 section 4.1). In wrapper mode the greeting is the refusal. */
static void
turn_away(struct session *s, const char *why)
{
	struct smtps_reply r = { .code = s->svc->wrapper ? 421 : 554, .dsn = s->svc->wrapper ? "4.7.1" : "5.7.1" };

	log_tls_abort(&s->log, s->facts.namaddr, why);
	r.text = arena_printf(s->d->scratch, "%s Error: %s", s->p->myhostname, why);
	if (s->svc->wrapper)
		smtps_hang_up(s->engine, &r, now_us(s));
	else
		smtps_tls_refused(s->engine, &r, now_us(s));
}

/* --- the handshake --- */

static void
tls_done(struct session *s)
{
	const char *missing;

	s->tls_handshake = false;
	s->deadline_us = 0;
	s->read_ready = stream_pending(&s->stream);
	s->tls = ARENA_NEW(s->arena, struct tls_info);
	stream_info(&s->stream, s->p->smtpd_tls_fingerprint_digest, s->arena, s->tls);
	if (!keys_have_sni(s->svc))
		s->tls->sni = SPAN("");         /* as without the tables of policies: not in the log */
	log_tls(s);
	missing = ccert_missing(s);
	/* What was said before does not count any more (RFC 3207 section 4.2). */
	if (!s->svc->wrapper)
		session_set_login(s, SPAN(""), SPAN(""));
	if (!s->svc->wrapper && missing == NULL)
		smtps_tls_started(s->engine, now_us(s));
	if (too_many(s))
		return;
	if (missing != NULL)
		turn_away(s, missing);
	else
		tls_policy_early(s);
}

void
session_tls_failed(struct session *s, const char *text)
{
	const struct stream_failure *f = stream_failure(&s->stream);

	s->tls_handshake = s->hello_waits = false;
	log_tls_accept_error(&s->log, s->facts.namaddr, text != NULL ? text : f->text);
	for (unsigned i = 0; text == NULL && i < f->n_library; i++)
		log_tls_library_problem(&s->log, f->library[i]);
	smtps_eof(s->engine, now_us(s));
}

/* The client has said which server name it wants: its entry, then its certificates. */
static void
take_hello(struct session *s)
{
	struct fault why = { 0 };

	arena_clear(s->d->scratch);
	switch (tls_policy_by_sni(s, &why)) {
	case MAP_WAIT:
		s->hello_waits = true;
		return;
	case MAP_DEFER:
		session_tls_failed(s, why.text);
		return;
	case MAP_FOUND:
	case MAP_ABSENT:
		break;
	}
	if (keys_have_sni(s->svc) && !tls_policy_has_chain(s))
		keys_choose_chain(s);
	else
		stream_set_chain(&s->stream, NULL, false);
	session_tls_step(s);
}

void
session_tls_step(struct session *s)
{
	s->handshake_writes = s->hello_waits = false;
	switch (stream_handshake(&s->stream)) {
	case STREAM_DONE:
		tls_done(s);
		break;
	case STREAM_WANT_WRITE:
		s->handshake_writes = true;
		break;
	case STREAM_WANT_READ:
		break;
	case STREAM_WANT_CHAIN:
		take_hello(s);
		break;
	case STREAM_EOF:
	case STREAM_ERROR:
		session_tls_failed(s, NULL);
		break;
	}
}

void
session_tls_begin(struct session *s)
{
	struct fault why = { 0 };

	s->tls_wanted = false;
	s->tls_handshake = true;
	s->deadline_us = now_us(s) + s->p->smtpd_starttls_timeout_ms * 1000;
	trace(s);
	if (!stream_start_server(&s->stream, s->svc->tls, (keys_have_sni(s->svc) && !tls_policy_has_chain(s)) || tls_policy_wants_sni(s), &why) ||
	    !tls_policy_tune(s, &why)) {
		session_tls_failed(s, why.text);
		return;
	}
	if (s->svc->auth != NULL)
		SSL_set_options(s->stream.ssl, SSL_OP_CLEANSE_PLAINTEXT);       /* passwords come through it */
}

void
session_wrapper_tls(struct session *s)
{
	if (s->tls_handshake || s->tls_wanted)
		return;
	if (s->svc->tls == NULL) {
		log_smtpd_wrapper_dropped(&s->log, s->facts.namaddr, s->svc->name);
		session_end(s);
		return;
	}
	if (session_over_new_tls(s)) {
		session_end(s);
		return;
	}
	session_tls_begin(s);
}
