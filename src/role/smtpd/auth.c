/* AUTH in sessions: the mechanisms a client is offered, exchanges, outcomes and their log lines. */
#include "role/smtpd/auth.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/panic.h"
#include "base/text.h"
#include "dns/dns.h"
#include "role/smtpd/auth_link.h"
#include "role/smtpd/smtpd.h"
#include "role/smtpd/tls_policy.h"
#include "sasl/mech.h"

#define MECHS_MAX 600u          /* bytes of the words on the EHLO line: twice, with AUTH=, and still a reply */
#define LOGIN_MAX 1024u

static const char lost[] = "Connection lost to authentication server";

/* --- services --- */

bool
auth_service_open(struct smtpd *d, struct service *svc, const struct maps_env *env, struct fault *why)
{
	const struct params *p = svc->p;

	if (svc->local || !p->smtpd_sasl_auth_enable)
		return true;
	svc->auth_plain = sasl_options_parse(span_str(p->smtpd_sasl_security_options));
	svc->auth_tls = sasl_options_parse(span_str(p->smtpd_sasl_tls_security_options));
	svc->auth = auth_link_get(d, p->smtpd_sasl_path, why);
	return svc->auth != NULL &&
	    addrlist_open(span_str(p->smtpd_sasl_exceptions_networks), ADDRLIST_PARENTS, env, &svc->auth_exceptions, why) &&
	    strlist_open(span_str(p->smtpd_sasl_mechanism_filter), 0, env, &svc->auth_filter, why);
}

void
auth_service_close(struct service *svc)
{
	addrlist_free(&svc->auth_exceptions);
	strlist_free(&svc->auth_filter);
}

/* --- what is announced --- */

/* A certificate whose chain we trust, with a name to go by. */
static bool
has_trusted_cert(const struct session *s)
{
	return s->tls != NULL && s->tls->peer_cert && s->tls->peer_trusted && s->tls->peer_cn.n > 0;
}

/* Does smtpd_sasl_mechanism_filter let it through? An empty list lets everything. DEFER: leave it out. */
static enum map_result
filtered(struct session *s, const struct dovecot_mech *m)
{
	struct fault why = { 0 };
	enum map_result got;

	if (strlist_empty(s->svc->auth_filter))
		return MAP_FOUND;
	got = strlist_find(s->svc->auth_filter, span_str(m->name), session_asks(s), s->d->scratch, NULL, &why);
	if (got == MAP_DEFER)
		log_warning(&s->log, "smtpd_sasl_mechanism_filter: %s; %s is not offered", why.text, m->name);
	return got;
}

static bool
may_offer(const struct session *s, const struct dovecot_mech *m)
{
	struct sasl_options o = smtps_tls(s->engine) ? s->svc->auth_tls : s->svc->auth_plain;

	if (span_eq_ci(span_str(m->name), SPAN("EXTERNAL")) && !has_trusted_cert(s))
		return false;
	return sasl_mech_fits(m->properties, o);
}

/* The words of the EHLO line. FOUND or WAIT. */
static enum map_result
offered(struct session *s, struct buf *words)
{
	const struct dovecot *service = auth_link_service(s->svc->auth);
	const struct dovecot_mech *mechs;
	size_t n = service != NULL ? dovecot_mechs(service, &mechs) : 0;

	for (size_t i = 0; i < n; i++) {
		enum map_result got = may_offer(s, &mechs[i]) ? filtered(s, &mechs[i]) : MAP_ABSENT;

		if (got == MAP_WAIT)
			return MAP_WAIT;
		if (got == MAP_FOUND)
			buf_addf(words, "%s%s", words->n > 0 ? " " : "", mechs[i].name);
	}
	return MAP_FOUND;
}

/* smtpd_sasl_exceptions_networks: FOUND = nothing for this client. */
static enum map_result
excepted(struct session *s)
{
	struct fault why = { 0 };
	enum map_result got = addrlist_find(s->svc->auth_exceptions, s->facts.client_name, s->facts.addr, session_asks(s),
	    s->d->scratch, NULL, &why);

	if (got == MAP_DEFER)
		log_warning(&s->log, "smtpd_sasl_exceptions_networks: %s", why.text);
	return got;
}

enum map_result
auth_announce(struct session *s)
{
	/* Mandatory TLS implies smtpd_tls_auth_only. */
	struct smtps_auth a = { .equals_form = s->p->broken_sasl_auth_clients,
		.tls_only = s->p->smtpd_tls_auth_only || s->svc->level == TLS_SERVER_ENCRYPT || tls_policy_demands(s) };
	struct buf words;
	enum map_result got;

	if (s->svc->auth == NULL)
		return MAP_FOUND;
	if (auth_link_pending(s->svc->auth))
		return MAP_WAIT;
	got = excepted(s);
	if (got == MAP_WAIT || got == MAP_DEFER)
		return got;
	buf_init(&words, MECHS_MAX);
	a.enabled = got == MAP_ABSENT;
	got = a.enabled ? offered(s, &words) : MAP_FOUND;
	if (got == MAP_FOUND) {
		a.mechs = buf_span(&words);
		smtps_set_auth(s->engine, &a);
	}
	buf_release(&words);
	return got;
}

/* --- who logged in --- */

void
session_set_login(struct session *s, struct span method, struct span user)
{
	char *text;

	if (user.n == 0 && s->login == NULL)
		return;         /* nobody, as before */
	user = span_slice(user, 0, LOGIN_MAX);
	method = user.n > 0 ? span_slice(method, 0, sizeof(s->login_method)) : SPAN("");
	text = strndup(user.n > 0 ? user.p : "", user.n);
	ensure(text != NULL);
	free(s->login);
	s->login = text;
	for (size_t i = 0; i < method.n; i++)
		s->login_method[i] = ascii_upper(method.p[i]);
	s->facts.login = span_str(s->login);
	s->facts.login_method = span_of(s->login_method, method.n);
	smtps_set_authenticated(s->engine, user.n > 0);
}

struct span
session_auth_sender(const struct session *s, const struct smtps_mail *mail, struct arena *a)
{
	struct span sender = SPAN("");
	struct buf text;

	if (s->facts.login.n == 0 || mail->auth.n == 0 || mail->empty_auth)
		return sender;
	buf_init(&text, 1024);
	if (text_unxtext(&text, mail->auth))
		sender = arena_dup(a, buf_span(&text));
	buf_release(&text);
	return sender;
}

/* --- exchanges --- */

static void
refuse(struct session *s, uint32_t id, unsigned code, const char *dsn, struct span text)
{
	const struct smtps_reply r = { .code = code, .dsn = dsn, .text = text };

	smtps_refuse(s->engine, id, &r, now_us(s));
}

static void
log_failure(struct session *s, struct span mech, struct span reason, struct span user)
{
	log_smtpd_sasl_failed(&s->log, s->facts.namaddr, mech, reason, user);
}

/* The client's fault: 535. */
static void
deny(struct session *s, uint32_t id, struct span mech, struct span reason, struct span user)
{
	if (reason.n == 0)
		reason = SPAN("(reason unavailable)");
	log_failure(s, mech, reason, user);
	refuse(s, id, 535, "5.7.8", arena_printf(s->d->scratch, "Error: authentication failed: %.*s",
	    SPAN_ARG(span_slice(reason, 0, 200))));
}

/* Ours, or the service's: 454. */
static void
postpone(struct session *s, uint32_t id, struct span mech, struct span reason, struct span user)
{
	if (reason.n == 0)
		reason = SPAN("(reason unavailable)");
	log_failure(s, mech, reason, user);
	refuse(s, id, 454, "4.7.0", arena_printf(s->d->scratch, "Temporary authentication failure: %.*s",
	    SPAN_ARG(span_slice(reason, 0, 200))));
}

static void
too_long(struct session *s, uint32_t id, struct span mech)
{
	log_failure(s, mech, SPAN("response is longer than the authentication server takes"), SPAN(""));
	refuse(s, id, 500, "5.5.6", SPAN("Error: the response is too long"));
}

static void
grant(struct session *s, uint32_t id, struct span mech, struct span user)
{
	session_set_login(s, mech, user);
	smtps_accept(s->engine, id, SPAN(""), now_us(s));
}

/* The service spoke: the question that waited is answered. */
static void
on_answer(void *ctx, const struct auth_answer *a)
{
	struct session *s = ctx;
	struct question *q = s->auth_question;
	uint32_t id = q->ev.id;
	struct span mech = q->ev.mech;

	arena_clear(s->d->scratch);
	s->auth_question = NULL;
	if (a->kind != AUTH_CHALLENGE)
		s->auth_exchange = NULL;
	switch (a->kind) {
	case AUTH_CHALLENGE:
		smtps_challenge(s->engine, id, a->data, now_us(s));
		break;
	case AUTH_GRANTED:
		grant(s, id, mech, a->user);
		break;
	case AUTH_DENIED:
		deny(s, id, mech, a->reason, a->user);
		break;
	case AUTH_TROUBLE:
		postpone(s, id, mech, a->reason, a->user);
		break;
	}
	question_free(q);
	session_pump(s);
}

static bool
is_offered(const struct session *s, struct span mech)
{
	struct span rest = smtps_auth_mechs(s->engine), word;

	while (span_token(&rest, " ", &word))
		if (span_eq_ci(word, mech))
			return true;
	return false;
}

static void
add_addresses(struct session *s, struct dovecot_request *r)
{
	struct sockaddr_storage ss = { 0 };
	const struct sockaddr_in *in4 = (const struct sockaddr_in *)(const void *)&ss;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)&ss;
	socklen_t n = sizeof(ss);
	bool v4;

	r->remote_addr = s->facts.addr;
	r->remote_port = s->port;
	if (getsockname(s->fd, (struct sockaddr *)&ss, &n) != 0 || (ss.ss_family != AF_INET && ss.ss_family != AF_INET6))
		return;
	v4 = ss.ss_family == AF_INET;
	r->local_addr = dns_address_text(s->d->scratch, v4 ? span_of(&in4->sin_addr, 4) : span_of(&in6->sin6_addr, 16));
	r->local_port = arena_printf(s->d->scratch, "%u", ntohs(v4 ? in4->sin_port : in6->sin6_port));
}

static bool
ask_service(struct session *s, struct question *q)
{
	struct dovecot_request r = { .mech = arena_dup(s->d->scratch, q->ev.mech), .service = span_str(s->p->smtpd_sasl_service),
		.secured = smtps_tls(s->engine), .valid_client_cert = has_trusted_cert(s), .has_initial = q->ev.initial,
		.initial = q->ev.text };
	bool long_one;

	for (size_t i = 0; i < r.mech.n; i++)
		((char *)(uintptr_t)r.mech.p)[i] = ascii_upper(r.mech.p[i]);
	if (r.valid_client_cert)
		r.cert_username = s->tls->peer_cn;
	add_addresses(s, &r);
	s->auth_exchange = auth_begin(s->svc->auth, &r, on_answer, s, &long_one);
	if (s->auth_exchange == NULL) {
		if (long_one)
			too_long(s, q->ev.id, q->ev.mech);
		else
			postpone(s, q->ev.id, q->ev.mech, span_str(lost), SPAN(""));
		return true;
	}
	s->auth_question = q;
	return false;
}

bool
auth_start(struct session *s, struct question *q)
{
	enum map_result now = MAP_FOUND;

	if (s->auth_question == q)
		return false;
	auth_cancel(s);
	/* The service may have come back since EHLO. */
	if (smtps_auth_mechs(s->engine).n == 0)
		now = auth_announce(s);
	if (now == MAP_WAIT)
		return false;
	if (now == MAP_DEFER || auth_link_service(s->svc->auth) == NULL) {
		postpone(s, q->ev.id, q->ev.mech, span_str(lost), SPAN(""));
		return true;
	}
	if (!is_offered(s, q->ev.mech)) {
		log_failure(s, q->ev.mech, SPAN("Invalid authentication mechanism"), SPAN(""));
		refuse(s, q->ev.id, 504, "5.5.4", SPAN("Error: authentication failed: Invalid authentication mechanism"));
		return true;
	}
	return ask_service(s, q);
}

bool
auth_continue(struct session *s, struct question *q)
{
	bool long_one = false;

	if (s->auth_question == q)
		return false;
	if (s->auth_exchange != NULL && auth_respond(s->auth_exchange, q->ev.text, &long_one)) {
		s->auth_question = q;
		return false;
	}
	auth_cancel(s);
	if (long_one)
		too_long(s, q->ev.id, q->ev.mech);
	else
		postpone(s, q->ev.id, q->ev.mech, span_str(lost), SPAN(""));
	return true;
}

void
auth_ended(struct session *s, struct span how)
{
	log_smtpd_sasl_aborted(&s->log, s->facts.namaddr, how);
	auth_cancel(s);
}

void
auth_question_gone(struct question *q)
{
	if (q->s->auth_question == q)
		auth_cancel(q->s);
}

void
auth_cancel(struct session *s)
{
	s->auth_question = NULL;
	auth_drop(&s->auth_exchange);
}
