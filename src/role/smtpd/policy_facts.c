/* What a policy service is told about this moment of this session (tls-server.md section 9.1). */
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "role/smtpd/smtpd.h"
#include "smtp/policyd.h"

/*
 * A question is asked again until all is known (doc/design/001), so what it says must not change meanwhile:
 * the queue id and the instance are those of the moment when it came up.
 */
void
policy_mark(struct question *q)
{
	struct session *s = q->s;
	int64_t now = clock_wall_us();

	if (s->msg == NULL)
		snprintf(s->instance, sizeof(s->instance), "%x.%llx.%llx.%x", (unsigned)getpid(),
		    (unsigned long long)(now / US_PER_S), (unsigned long long)(now % US_PER_S), s->d->instances++);
	else
		snprintf(q->qid, sizeof(q->qid), "%s", message_qid(s->msg));
	memcpy(q->instance, s->instance, sizeof(q->instance));
}

/* Names of the certificate only when it is trusted, digests of any that was shown. */
static void
tls_facts(const struct session *s, struct policyd_request *r)
{
	const struct tls_info *t = s->tls;

	if (t == NULL || !smtps_tls(s->engine))
		return;
	if (t->peer_cert && t->peer_trusted) {
		r->ccert_subject = t->peer_cn;
		r->ccert_issuer = t->issuer_cn;
	}
	if (t->peer_cert)
		r->ccert_fingerprint = t->cert_fp;
	r->ccert_pubkey_fingerprint = t->pkey_fp;
	r->encryption_protocol = t->wire.protocol;
	r->encryption_cipher = t->wire.cipher;
	r->encryption_keysize = t->wire.bits_used > 0 ? (unsigned)t->wire.bits_used : 0;
	r->tls_sni = t->sni;
}

static void
message_facts(const struct session *s, const struct question *q, const struct acl_facts *f, struct policyd_request *r)
{
	const struct smtps_event *ev = &q->ev;
	bool all_known = ev->kind == SMTPS_ASK_DATA || ev->kind == SMTPS_ASK_EOM;

	r->queue_id = span_str(q->qid);
	r->sender = f->have_sender ? f->sender : SPAN("");
	if (f->have_recipient && (all_known || ev->kind == SMTPS_ASK_RCPT || ev->kind == SMTPS_ASK_VRFY))
		r->recipient = f->recipient;
	r->recipient_count = all_known ? f->rcpts : 0;
	if (ev->mail != NULL) {
		r->size = ev->kind == SMTPS_ASK_EOM ? ev->bytes : ev->mail->size;
		r->sasl_sender = session_auth_sender(s, ev->mail, s->d->scratch);
	}
}

const struct policyd_request *
policy_facts(struct session *s, const struct question *q, const struct acl_facts *f, const char *where)
{
	struct policyd_request *r;
	bool esmtp = q->ev.kind == SMTPS_ASK_HELO ? q->ev.verb == SMTPS_EHLO : smtps_esmtp(s->engine);

	if (!acl_asks_policy(s->svc->acl))
		return NULL;
	r = ARENA_NEW(s->d->scratch, struct policyd_request);
	r->protocol_state = span_str(where);
	r->protocol_name = esmtp ? SPAN("ESMTP") : SPAN("SMTP");
	r->client_address = f->addr;
	r->client_name = f->client_name;
	r->client_port = s->port;
	r->reverse_client_name = f->reverse_name;
	r->server_address = s->server_addr;
	r->server_port = s->server_port;
	r->helo_name = f->helo;
	message_facts(s, q, f, r);
	r->instance = span_str(q->instance);
	r->etrn_domain = f->etrn;
	r->stress = s->p == s->svc->cs->stress && s->p != s->svc->p;
	r->stress |= strcmp(s->p->stress, "yes") == 0;
	r->sasl_method = f->login_method;
	r->sasl_username = f->login;
	tls_facts(s, r);
	r->compatibility_level = span_str(s->p->compatibility_level);
	r->mail_version = span_str(s->p->mail_version);
	return r;
}
