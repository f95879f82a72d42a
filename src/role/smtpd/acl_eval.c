/* Access control: the order of the lists, verdicts, and the words of replies. */
#include <stdio.h>

#include "base/panic.h"
#include "mail/address.h"
#include "role/smtpd/acl_private.h"
#include "tls/info.h"

/* --- names --- */

static enum acl_subject
phase_subject(const struct acl_eval *e)
{
	switch (e->list) {
	case ACL_CLIENT:
	case ACL_REWRITE:
		return ACL_SUBJECT_CLIENT;
	case ACL_HELO:
		return ACL_SUBJECT_HELO;
	case ACL_SENDER:
		return ACL_SUBJECT_SENDER;
	case ACL_RELAY:
	case ACL_RECIPIENT:
		return ACL_SUBJECT_RECIPIENT;
	case ACL_ETRN:
		return ACL_SUBJECT_ETRN;
	case ACL_DATA:
	case ACL_END_OF_DATA:
	case ACL_LISTS:
		break;
	}
	return ACL_SUBJECT_PHASE;
}

struct span
acl_subject_name(const struct acl_eval *e, enum acl_subject s)
{
	if (s == ACL_SUBJECT_PHASE)
		s = phase_subject(e);
	switch (s) {
	case ACL_SUBJECT_CLIENT:
		return e->f->namaddr;
	case ACL_SUBJECT_REVERSE:
		return e->f->reverse_name;
	case ACL_SUBJECT_HELO:
		return e->f->helo;
	case ACL_SUBJECT_SENDER:
		return address_external(e->f->sender, e->a);
	case ACL_SUBJECT_RECIPIENT:
		return address_external(e->f->recipient, e->a);
	case ACL_SUBJECT_CCERT:
		if (e->f->tls_info == NULL)
			return SPAN("");
		return e->f->tls_info->peer_rpk ? e->f->tls_info->pkey_fp : e->f->tls_info->peer_cn;
	case ACL_SUBJECT_LOGIN:
		return e->f->login;
	case ACL_SUBJECT_ETRN:
		return e->f->etrn;
	case ACL_SUBJECT_PHASE:
		break;
	}
	return e->list == ACL_DATA ? SPAN("DATA") : SPAN("END-OF-MESSAGE");
}

const char *
acl_subject_class(const struct acl_eval *e, enum acl_subject s)
{
	if (s == ACL_SUBJECT_PHASE)
		s = phase_subject(e);
	switch (s) {
	case ACL_SUBJECT_CLIENT:
		return "Client host";
	case ACL_SUBJECT_REVERSE:
		return "Unverified Client host";
	case ACL_SUBJECT_HELO:
		return "Helo command";
	case ACL_SUBJECT_SENDER:
		return "Sender address";
	case ACL_SUBJECT_RECIPIENT:
		return "Recipient address";
	case ACL_SUBJECT_CCERT:
		return "Client certificate";
	case ACL_SUBJECT_LOGIN:
		return "SASL login name";
	case ACL_SUBJECT_ETRN:
		return "Etrn command";
	case ACL_SUBJECT_PHASE:
		break;
	}
	return e->list == ACL_DATA ? "Data command" : "End-of-data";
}

/* --- outcomes --- */

void
acl_note(struct acl_eval *e, enum acl_act act, struct span arg, struct span text)
{
	struct acl_action *n = ARENA_NEW(e->a, struct acl_action);

	n->act = act;
	n->arg = arena_dup(e->a, arg);
	n->text = arena_dup(e->a, text);
	*e->tail = n;
	e->tail = &n->next;
}

/* Address codes fit the address they are about, other codes are about no address (mta-core 2.2). */
static void
fix_dsn(const struct acl_eval *e, enum acl_subject subject, unsigned code, const char *dsn, char out[12])
{
	static const struct { const char *from, *to; } sender[] = { { "1.1", "1.0" }, { "1.2", "1.8" }, { "1.3", "1.7" },
		{ "1.4", "1.0" }, { "1.5", "1.0" }, { "1.6", "1.0" } }, rcpt[] = { { "1.7", "1.3" }, { "1.8", "1.2" } };
	const char *detail = dsn + 2;

	if (subject == ACL_SUBJECT_PHASE)
		subject = phase_subject(e);
	if (subject == ACL_SUBJECT_SENDER) {
		for (size_t i = 0; i < sizeof(sender) / sizeof(sender[0]); i++)
			if (strcmp(detail, sender[i].from) == 0)
				detail = sender[i].to;
	} else if (subject == ACL_SUBJECT_RECIPIENT) {
		for (size_t i = 0; i < sizeof(rcpt) / sizeof(rcpt[0]); i++)
			if (strcmp(detail, rcpt[i].from) == 0)
				detail = rcpt[i].to;
	} else if (strncmp(detail, "1.", 2) == 0) {
		detail = "0.0";
	}
	snprintf(out, 12, "%u.%.7s", code / 100 % 10, detail);
}

static unsigned
soften(const struct acl_eval *e, unsigned code)
{
	return e->p->soft_bounce && code >= 500 ? code - 100 : code;
}

static enum acl_verdict
set_reject(struct acl_eval *e, unsigned code, const char *dsn, struct span text)
{
	struct acl_result *res = e->res;

	res->reject = true;
	res->hang_up = code == 421 || code == 521;
	res->code = code;
	res->notice = e->notice != 0 ? e->notice : SMTP_NOTICE_POLICY;
	res->text = text;
	snprintf(res->dsn, sizeof(res->dsn), "%s", dsn);
	return ACL_REJECT;
}

static enum acl_verdict
reject_text(struct acl_eval *e, enum acl_subject subject, unsigned code, const char *dsn, struct span text)
{
	char fixed[12];

	code = soften(e, code);
	fix_dsn(e, subject, code, dsn, fixed);
	/* Errors of ours are no verdict that could be a warning. */
	if (e->warn && (e->notice & (SMTP_NOTICE_SOFTWARE | SMTP_NOTICE_DATA)) == 0) {
		acl_note(e, ACL_ACT_REJECT_WARNING, SPAN(""),
		    arena_printf(e->a, "%u %s %.*s", code, fixed, SPAN_ARG(text)));
		return ACL_DUNNO;
	}
	/* A doubt that was noted before makes a final no a temporary one. */
	if (code >= 500 && e->if_reject.active)
		return set_reject(e, e->if_reject.code, e->if_reject.dsn, e->if_reject.text);
	return set_reject(e, code, fixed, text);
}

__attribute__((format(printf, 2, 0))) static struct span
vprint(struct arena *a, const char *fmt, va_list ap)
{
	char text[1500];

	vsnprintf(text, sizeof(text), fmt, ap);
	return arena_dup(a, span_str(text));
}

enum acl_verdict
acl_reject(struct acl_eval *e, enum acl_subject subject, unsigned code, const char *dsn, const char *fmt, ...)
{
	struct span text;
	va_list ap;

	va_start(ap, fmt);
	text = vprint(e->a, fmt, ap);
	va_end(ap);
	return reject_text(e, subject, code, dsn, text);
}

struct span
acl_rejected(const struct acl_eval *e, enum acl_subject subject, struct span words)
{
	return arena_printf(e->a, "<%.*s>: %s rejected: %.*s", SPAN_ARG(acl_subject_name(e, subject)), acl_subject_class(e, subject),
	    SPAN_ARG(words));
}

enum acl_verdict
acl_reject_named(struct acl_eval *e, enum acl_subject subject, unsigned code, const char *dsn, const char *fmt, ...)
{
	struct span text;
	va_list ap;

	va_start(ap, fmt);
	text = vprint(e->a, fmt, ap);
	va_end(ap);
	return reject_text(e, subject, code, dsn, acl_rejected(e, subject, text));
}

static enum acl_verdict
defer_if(struct acl_eval *e, struct acl_defer *d, enum acl_subject subject, unsigned code, const char *dsn, struct span text)
{
	if (e->warn)
		return reject_text(e, subject, code, dsn, text);
	if (!d->active) {
		d->active = true;
		d->code = soften(e, code);
		d->text = arena_dup(e->a, text);
		fix_dsn(e, subject, d->code, dsn, d->dsn);
	}
	return ACL_DUNNO;
}

enum acl_verdict
acl_defer_if_permit(struct acl_eval *e, enum acl_subject subject, unsigned code, const char *dsn, struct span text)
{
	return defer_if(e, &e->if_permit, subject, code, dsn, text);
}

enum acl_verdict
acl_defer_if_reject(struct acl_eval *e, enum acl_subject subject, unsigned code, const char *dsn, struct span text)
{
	return defer_if(e, &e->if_reject, subject, code, dsn, text);
}

/* The same as trouble of another kind than policy. */
static enum acl_verdict
trouble(struct acl_eval *e, unsigned notice, enum acl_subject subject, const char *dsn, struct span text)
{
	enum acl_verdict v;

	e->notice = notice;
	v = reject_text(e, subject, 451, dsn, text);
	e->notice = 0;
	return v;
}

enum acl_verdict
acl_server_error(struct acl_eval *e, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	acl_note(e, ACL_ACT_LOG_WARNING, SPAN(""), vprint(e->a, fmt, ap));
	va_end(ap);
	return trouble(e, SMTP_NOTICE_SOFTWARE, ACL_SUBJECT_PHASE, "4.3.5", SPAN("Server configuration error"));
}

enum acl_verdict
acl_lookup_failed(struct acl_eval *e, enum acl_subject subject, const struct fault *why)
{
	acl_note(e, ACL_ACT_LOG_WARNING, SPAN(""), span_str(why->text));
	return trouble(e, SMTP_NOTICE_DATA, subject, "4.3.0", arena_printf(e->a, "<%.*s>: Temporary lookup failure",
	    SPAN_ARG(span_slice(acl_subject_name(e, subject), 0, 1400))));
}

bool
acl_stopped(struct acl_eval *e, enum map_result got, enum acl_subject subject, const struct fault *why, enum acl_verdict *v_r)
{
	switch (got) {
	case MAP_FOUND:
	case MAP_ABSENT:
		return false;
	case MAP_WAIT:
		*v_r = ACL_WAIT;
		return true;
	case MAP_DEFER:
		*v_r = acl_lookup_failed(e, subject, why);
		return true;
	}
	panic("map_result");
}

/* --- running lists --- */

static void
log_permit(struct acl_eval *e, const struct acl_rule *r)
{
	enum acl_subject s = r->row->subject;

	if (strlist_find(e->acl->log_permit, span_str(r->row->word), e->asks, e->a, NULL, NULL) == MAP_FOUND)
		acl_note(e, ACL_ACT_PERMIT, SPAN(""), arena_printf(e->a, "action=%s for %s=%.*s", r->row->word,
		    acl_subject_class(e, s), SPAN_ARG(acl_subject_name(e, s))));
}

static enum acl_verdict
one_rule(struct acl_eval *e, const struct acl_rule *r)
{
	bool outer = e->warn;
	enum acl_verdict v;

	e->warn = outer || r->warn;
	v = r->sub != NULL ? acl_rules_run(e, r->sub) : r->row->fn(e, r);
	e->warn = outer;
	if (v == ACL_PERMIT && r->sub == NULL)
		log_permit(e, r);
	return v;
}

enum acl_verdict
acl_rules_run(struct acl_eval *e, const struct acl_rules *rules)
{
	enum acl_verdict v = ACL_DUNNO;

	if (++e->depth > ACL_DEPTH_MAX)
		v = acl_server_error(e, "restriction classes are nested more than %u deep", ACL_DEPTH_MAX);
	for (size_t i = 0; i < rules->n && v == ACL_DUNNO; i++)
		v = one_rule(e, &rules->v[i]);
	e->depth--;
	return v;
}

/* A list lets pass (true), or the whole is decided (`*v_r`). */
static bool
passes(struct acl_eval *e, enum acl_list list, enum acl_verdict *v_r)
{
	e->list = list;
	*v_r = acl_rules_run(e, &e->acl->lists[list]);
	return *v_r == ACL_DUNNO || *v_r == ACL_PERMIT;
}

static bool
sender_passes(struct acl_eval *e, enum acl_verdict *v_r)
{
	static const struct acl_row implicit = { "reject_unlisted_sender", ACL_NO_ARG, ACL_SUBJECT_SENDER, acl_unlisted,
		ACL_KIND_SENDER };
	static const struct acl_rule rule = { .row = &implicit };

	if (!passes(e, ACL_SENDER, v_r))
		return false;
	if (e->p->smtpd_reject_unlisted_sender && !e->unlisted_sender_done && !e->discard)
		*v_r = acl_unlisted(e, &rule);
	return *v_r == ACL_DUNNO || *v_r == ACL_PERMIT;
}

/* Lists that smtpd_delay_reject keeps for later. */
static bool
delayed_pass(struct acl_eval *e, enum acl_verdict *v_r)
{
	if (!e->p->smtpd_delay_reject)
		return true;
	return passes(e, ACL_CLIENT, v_r) && (e->f->helo.n == 0 || passes(e, ACL_HELO, v_r)) &&
	    (!e->f->have_sender || sender_passes(e, v_r));
}

/* What was only to be deferred if all else permits. */
static bool
if_permit_passes(struct acl_eval *e, enum acl_verdict *v_r)
{
	if (!e->if_permit.active)
		return true;
	*v_r = set_reject(e, e->if_permit.code, e->if_permit.dsn, e->if_permit.text);
	return false;
}

static enum acl_verdict
at_rcpt(struct acl_eval *e)
{
	bool relay_first = e->p->smtpd_relay_before_recipient_restrictions;
	enum acl_verdict v = ACL_DUNNO;

	/* RFC 5321 section 4.5.1: <Postmaster>, in any case. */
	if (span_eq_ci(e->f->recipient, SPAN("postmaster")))
		return ACL_PERMIT;
	if (!delayed_pass(e, &v) || !passes(e, relay_first ? ACL_RELAY : ACL_RECIPIENT, &v) ||
	    !passes(e, relay_first ? ACL_RECIPIENT : ACL_RELAY, &v) || !if_permit_passes(e, &v))
		return v;
	e->list = ACL_RECIPIENT;
	if (e->p->smtpd_reject_unlisted_recipient && !e->acl->no_unlisted_checks && !e->unlisted_recipient_done && !e->discard)
		v = acl_unlisted_recipient(e);
	return v;
}

static enum acl_verdict
at_list(struct acl_eval *e, enum acl_list list)
{
	enum acl_verdict v = ACL_DUNNO;

	if (passes(e, list, &v))
		if_permit_passes(e, &v);
	return v;
}

static enum acl_verdict
at_mail(struct acl_eval *e)
{
	enum acl_verdict v = ACL_DUNNO;

	if (!e->p->smtpd_delay_reject && sender_passes(e, &v))
		if_permit_passes(e, &v);
	return v;
}

static enum acl_verdict
at_etrn(struct acl_eval *e)
{
	enum acl_verdict v = ACL_DUNNO;

	if (e->p->smtpd_delay_reject && (!passes(e, ACL_CLIENT, &v) || (e->f->helo.n > 0 && !passes(e, ACL_HELO, &v))))
		return v;
	return at_list(e, ACL_ETRN);
}

static enum acl_verdict
at_rewrite(struct acl_eval *e)
{
	enum acl_verdict v = ACL_DUNNO;

	e->list = ACL_REWRITE;
	v = acl_rules_run(e, &e->acl->lists[ACL_REWRITE]);
	e->res->permit = v == ACL_PERMIT;
	return v;
}

static enum acl_verdict
run_at(struct acl_eval *e)
{
	bool now = !e->p->smtpd_delay_reject;

	switch (e->when) {
	case ACL_AT_CONNECT:
		return now ? at_list(e, ACL_CLIENT) : ACL_DUNNO;
	case ACL_AT_HELO:
		return now ? at_list(e, ACL_HELO) : ACL_DUNNO;
	case ACL_AT_MAIL:
		return at_mail(e);
	case ACL_AT_RCPT:
	case ACL_AT_VRFY:
		return at_rcpt(e);
	case ACL_AT_DATA:
		return at_list(e, ACL_DATA);
	case ACL_AT_END:
		return at_list(e, ACL_END_OF_DATA);
	case ACL_AT_ETRN:
		return at_etrn(e);
	case ACL_AT_REWRITE:
		return at_rewrite(e);
	}
	panic("acl_when");
}

enum map_result
acl_run(struct acl *acl, enum acl_when when, const struct acl_facts *f, struct asks *asks, struct arena *a,
    struct acl_result *res_r)
{
	struct acl_eval e = { .acl = acl, .p = acl->p, .f = f, .asks = asks, .a = a, .res = res_r, .when = when,
		.discard = f->discarding };

	*res_r = (struct acl_result){ 0 };
	e.tail = &res_r->actions;
	if (f->local) {
		res_r->permit = true;
		return MAP_FOUND;
	}
	return run_at(&e) == ACL_WAIT ? MAP_WAIT : MAP_FOUND;
}

const char *
acl_act_name(enum acl_act act)
{
	switch (act) {
	case ACL_ACT_HOLD:
		return "hold";
	case ACL_ACT_DISCARD:
		return "discard";
	case ACL_ACT_FILTER:
		return "filter";
	case ACL_ACT_REDIRECT:
		return "redirect";
	case ACL_ACT_BCC:
		return "bcc";
	case ACL_ACT_PREPEND:
		return "prepend";
	case ACL_ACT_WARN:
		return "warn";
	case ACL_ACT_INFO:
		return "info";
	case ACL_ACT_REJECT_WARNING:
		return "reject_warning";
	case ACL_ACT_PERMIT:
		return "permit";
	case ACL_ACT_LOG_WARNING:
		return "warning";
	}
	panic("acl_act");
}

const char *
acl_when_name(enum acl_when when, bool ehlo)
{
	switch (when) {
	case ACL_AT_CONNECT:
		return "CONNECT";
	case ACL_AT_HELO:
		return ehlo ? "EHLO" : "HELO";
	case ACL_AT_MAIL:
		return "MAIL";
	case ACL_AT_RCPT:
		return "RCPT";
	case ACL_AT_VRFY:
		return "VRFY";
	case ACL_AT_DATA:
		return "DATA";
	case ACL_AT_END:
		return "END-OF-MESSAGE";
	case ACL_AT_ETRN:
		return "ETRN";
	case ACL_AT_REWRITE:
		return "CONNECT";
	}
	panic("acl_when");
}
