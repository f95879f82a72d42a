/* Transcripts of connections with trouble, to the postmaster (notify_classes protocol and data): sent away and forgotten. */
#include "role/smtpc/smtpc.h"

bool
delivery_is_notice(const struct delivery *d)
{
	return d->env.kind == ENVELOPE_DOUBLE_BOUNCE || smtp_notice_sender(span_str(d->svc->p->double_bounce_sender), d->env.sender);
}

void
conn_tell_trouble(struct conn *c)
{
	struct ipc_peer *local;
	struct ipc_transcript_notice m = { .client = true, .peer = span_str(c->l.peer_port), .to = span_str(c->svc->p->error_notice_recipient) };
	struct log l = { .tag = c->svc->cs->log_tag };
	struct buf text;

	if (!c->l.engine_ready || transcript_due(&c->l.engine.transcript) == 0)
		return;
	buf_init(&text, TRANSCRIPT_WRITTEN_MAX);
	transcript_write(&c->l.engine.transcript, &text);
	m.text = buf_span(&text);
	if (c->l.engine.dead)
		m.reason = span_str(c->l.engine.fault.text);
	local = ipc_peer_any(c->role->role->hub, IPC_ROLE_LOCAL);
	if (local == NULL || !ipc_send_transcript_notice(local, &m))
		log_warning(&l, "cannot tell the postmaster of trouble with %s: the local role is not there", c->l.peer_port);
	buf_release(&text);
	transcript_clear(&c->l.engine.transcript);
}
