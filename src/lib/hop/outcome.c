/* What follows when something happens at a server: texts, codes and the tls= field. */
#include "hop/outcome.h"

#include <stdio.h>

#include "hop/verdict.h"

static void
field(struct hop_outcome *o, const struct tls_decision *d, const char *prefix, const char *suffix)
{
	hop_tls_state(d, prefix, suffix, o->field);
}

static void
fail(struct hop_outcome *o, const char *dsn, const char *text, const char *peer, const char *more)
{
	o->dsn = dsn;
	snprintf(o->text, sizeof(o->text), "%s%s%s", text, peer, more);
}

static void
in_clear(struct hop_outcome *o, const struct tls_decision *d, const char *dsn, const char *text, const char *peer,
    const char *more)
{
	if (o->next == TLS_NEXT_CLEAR) {
		field(o, d, "", d->level == TLS_LEVEL_NONE ? "" : ":none");
		return;
	}
	field(o, d, "!", "");
	fail(o, dsn, text, peer, more);
}

void
hop_outcome(const struct tls_decision *d, enum hop_event ev, const char *peer, struct hop_outcome *o_r)
{
	bool needs = tls_level_needs_tls(d->level);

	*o_r = (struct hop_outcome){ .next = TLS_NEXT_CLEAR, .dsn = "" };
	switch (ev) {
	case HOP_EVENT_SECURED:
		field(o_r, d, "", "");
		return;
	case HOP_EVENT_NOT_OFFERED:
		o_r->next = d->on_no_starttls;
		in_clear(o_r, d, "4.7.4", "TLS is required, but was not offered by host ", peer, "");
		return;
	case HOP_EVENT_REFUSED:
		o_r->next = d->on_starttls_refused;
		in_clear(o_r, d, "4.7.5", "TLS is required, but host ", peer, " refused to start TLS");
		return;
	case HOP_EVENT_HANDSHAKE:
		o_r->next = d->on_handshake_failure;
		field(o_r, d, needs ? "!" : "", needs ? "" : "?");
		fail(o_r, "4.7.5", "Cannot start TLS: handshake failure", "", "");
		return;
	case HOP_EVENT_MISMATCH:
		o_r->next = d->on_mismatch;
		field(o_r, d, "!", "");
		fail(o_r, "4.7.5", d->must_match ? "Server certificate not verified" : "Server key or DH group is shorter than the policy allows", "", "");
		return;
	case HOP_EVENT_LOST:
		o_r->next = TLS_NEXT_DEFER;
		field(o_r, d, "", "?");
		return;
	}
}
