/* Answering the engine's questions: access control, limits, and what follows from them. */
#include <stdlib.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/panic.h"
#include "intake/login_sender.h"
#include "mail/address.h"
#include "role/smtpd/smtpd.h"
#include "role/smtpd/tls_policy.h"
#include "smtp/transcript.h"
#include "tls/keeper.h"

#define ETRN_MS 30000
/* Actions that are kept about a client, in the session's arena. */
#define STANDING_MAX 64u
#define STANDING_ARG_MAX 4096u

void
question_take(struct session *s, const struct smtps_event *ev)
{
	struct question *q = calloc(1, sizeof(*q));

	ensure(q != NULL);
	q->ev = *ev;
	q->s = s;
	policy_mark(q);
	list_push_back(&s->questions, &q->node);
}

void
question_free(struct question *q)
{
	if (q->ipc_id != 0)
		ipc_forget(q->s->d->role->hub, q->ipc_id);
	auth_question_gone(q);
	list_remove(&q->node);
	free(q);
}

/* --- facts and lines --- */

static struct acl_facts
facts_for(struct session *s, const struct smtps_event *ev)
{
	const struct smtps_mail *mail = ev->mail;
	struct tls_client_shown *shown = ARENA_NEW(s->d->scratch, struct tls_client_shown);
	struct acl_facts f = s->facts;

	f.helo = ev->kind == SMTPS_ASK_HELO ? ev->text : smtps_helo(s->engine);
	f.tls = smtps_tls(s->engine);
	f.tls_info = s->tls;
	*shown = tls_policy_shown(s);
	f.tls_shown = shown;
	f.pipelined_early = smtps_pipelined_early(s->engine);
	f.discarding = s->msg != NULL && message_discarding(s->msg);
	f.have_sender = mail != NULL;
	f.sender = mail != NULL ? mail->from : SPAN("");
	f.rcpts = s->msg != NULL ? (unsigned)message_rcpts(s->msg, &f.recipient) : 0;
	f.have_recipient = f.rcpts == 1;
	if (ev->kind == SMTPS_ASK_RCPT || ev->kind == SMTPS_ASK_VRFY) {
		f.recipient = ev->rcpt.to;
		f.have_recipient = true;
	}
	if (ev->kind == SMTPS_ASK_ETRN)
		f.etrn = ev->text;
	return f;
}

static struct log_smtpd_env
line_env(struct session *s, const struct smtps_event *ev, const struct acl_facts *f, struct arena *a)
{
	bool esmtp = ev->kind == SMTPS_ASK_HELO ? ev->verb == SMTPS_EHLO : smtps_esmtp(s->engine);

	return (struct log_smtpd_env){ .sender = address_external(f->sender, a), .recipient = address_external(f->recipient, a),
		.have_sender = f->have_sender, .have_recipient = f->have_recipient, .proto = esmtp ? SPAN("ESMTP") : SPAN("SMTP"),
		.helo = f->helo };
}

void
question_log_bare_lf(struct session *s, const char *where)
{
	struct smtps_event ev = { .kind = SMTPS_ASK_EOM, .mail = s->msg != NULL ? message_mail(s->msg) : NULL };
	struct acl_facts f = facts_for(s, &ev);
	struct log_smtpd_env env = line_env(s, &ev, &f, s->d->scratch);
	struct log l = session_log(s);

	log_smtpd_action(&l, "reject", where, s->facts.namaddr, SPAN("bare <LF> received"), &env);
}

void
question_log_reject(struct session *s, const struct smtps_event *ev, const char *where, struct span text)
{
	struct acl_facts f = facts_for(s, ev);
	struct log_smtpd_env env = line_env(s, ev, &f, s->d->scratch);
	struct log l = session_log(s);

	log_smtpd_action(&l, "reject", where, s->facts.namaddr, text, &env);
}

static enum acl_when
when_of(const struct smtps_event *ev)
{
	switch ((unsigned)ev->kind) {
	case SMTPS_ASK_CONNECT:
		return ACL_AT_CONNECT;
	case SMTPS_ASK_HELO:
		return ACL_AT_HELO;
	case SMTPS_ASK_MAIL:
		return ACL_AT_MAIL;
	case SMTPS_ASK_RCPT:
		return ACL_AT_RCPT;
	case SMTPS_ASK_VRFY:
		return ACL_AT_VRFY;
	case SMTPS_ASK_DATA:
		return ACL_AT_DATA;
	case SMTPS_ASK_ETRN:
		return ACL_AT_ETRN;
	}
	return ACL_AT_END;
}

static const char *
where_of(const struct smtps_event *ev)
{
	if (ev->kind == SMTPS_ASK_DATA && ev->verb == SMTPS_BDAT)
		return "BDAT";
	return acl_when_name(when_of(ev), ev->verb == SMTPS_EHLO);
}

/* Log what the lists said, and do what concerns the message. */
static void
log_actions(struct session *s, const struct smtps_event *ev, const struct acl_facts *f, const struct acl_result *res)
{
	struct log l = session_log(s);
	struct log_smtpd_env env = line_env(s, ev, f, s->d->scratch);

	for (const struct acl_action *act = res->actions; act != NULL; act = act->next) {
		if (act->act == ACL_ACT_LOG_WARNING)
			log_warning(&s->log, "%.*s", SPAN_ARG(log_esc(act->text)));
		else
			log_smtpd_action(&l, acl_act_name(act->act), where_of(ev), s->facts.namaddr, act->text, &env);
	}
}

/* What was decided about the client itself holds for all its messages. */
static void
keep_standing(struct session *s, const struct acl_action *act)
{
	struct acl_action *copy, **tail = &s->standing;
	unsigned n = 0;

	if (act->act > ACL_ACT_PREPEND)
		return;
	for (; *tail != NULL; tail = &(*tail)->next, n++)
		if ((*tail)->act == act->act && span_eq((*tail)->arg, act->arg))
			return;         /* said before: a client may repeat EHLO as often as it likes */
	if (n == STANDING_MAX)
		return;
	copy = ARENA_NEW(s->facts_arena, struct acl_action);
	copy->act = act->act;
	copy->arg = arena_dup(s->facts_arena, span_slice(act->arg, 0, STANDING_ARG_MAX));
	*tail = copy;
}

static void
do_actions(struct session *s, const struct smtps_event *ev, const struct acl_result *res)
{
	bool about_client = ev->kind == SMTPS_ASK_CONNECT || ev->kind == SMTPS_ASK_HELO;

	for (const struct acl_action *act = res->actions; act != NULL; act = act->next) {
		if (s->msg != NULL)
			message_act(s->msg, act);
		else if (about_client)  /* what VRFY's address would get is not for the next message */
			keep_standing(s, act);
	}
}

/* `notice`: enum smtp_notice, 0 = nothing that the postmaster is told. */
static void
refuse_for(struct session *s, uint32_t id, unsigned notice, unsigned code, const char *dsn, struct span text, bool hang_up)
{
	struct smtps_reply r = { .code = code, .dsn = dsn, .text = text, .hang_up = hang_up, .notice = notice };

	smtps_refuse(s->engine, id, &r, now_us(s));
}

static void
say_no(struct session *s, uint32_t id, unsigned code, const char *dsn, struct span text, bool hang_up)
{
	refuse_for(s, id, SMTP_NOTICE_POLICY, code, dsn, text, hang_up);
}

static void
log_reject(struct session *s, const struct smtps_event *ev, const struct acl_facts *f, const struct acl_result *res)
{
	struct log l = session_log(s);
	struct log_smtpd_env env = line_env(s, ev, f, s->d->scratch);
	struct span text = arena_printf(s->d->scratch, "%u %s %.*s", res->code, res->dsn, SPAN_ARG(res->text));

	log_smtpd_action(&l, "reject", where_of(ev), s->facts.namaddr, text, &env);
}

enum decision { WAITING, PASSED, REFUSED };

/* "sleep" holds the reply back: the verdict is kept until then. */
static bool
asleep(struct session *s, struct question *q, const struct acl_result *res)
{
	if (!q->slept && res->sleep_ms > 0) {
		q->slept = true;
		q->not_before_us = now_us(s) + res->sleep_ms * 1000;
	}
	return q->not_before_us > now_us(s);
}

/* Run the lists of this moment. REFUSED: the engine has its answer. */
static enum decision
access_check(struct session *s, struct question *q)
{
	struct acl_facts f = facts_for(s, &q->ev);
	struct arena *a = s->d->scratch;
	struct acl_result res;

	f.policy = policy_facts(s, q, &f, q->ev.verb == SMTPS_BDAT && q->ev.kind == SMTPS_ASK_DATA ? "DATA" : where_of(&q->ev));
	if (acl_run(s->svc->acl, when_of(&q->ev), &f, session_asks(s), a, &res) == MAP_WAIT || asleep(s, q, &res))
		return WAITING;
	log_actions(s, &q->ev, &f, &res);
	if (!res.reject) {
		do_actions(s, &q->ev, &res);
		return PASSED;
	}
	log_reject(s, &q->ev, &f, &res);
	refuse_for(s, q->ev.id, res.notice, res.code, res.dsn, res.text, res.hang_up);
	return REFUSED;
}

/* --- CONNECT --- */

static bool
submitter_allowed(struct session *s)
{
	struct arena *a = s->d->scratch;

	return s->uid == 0 || s->uid == geteuid() ||
	    strlist_find(s->svc->submitters, s->user, NULL, a, NULL, NULL) == MAP_FOUND;
}

/*
 * What the table would have taken away is not known: everything that a client can do without goes. Not STARTTLS,
 * for without it mail would come in clear.
 */
static unsigned
hide_all(const struct session *s, const struct fault *why)
{
	log_warning(&s->log, "smtpd_discard_ehlo_keyword_address_maps: %s; only STARTTLS is announced to %.*s", why->text,
	    SPAN_ARG(s->facts.namaddr));
	return ~(unsigned)(SMTPS_KW_STARTTLS | SMTPS_KW_SILENT);
}

/* smtpd_discard_ehlo_keyword_address_maps */
static enum map_result
find_discard(struct session *s, struct smtps_client *c)
{
	struct fault why = { 0 };
	struct span unknown;
	struct map_hit hit;
	enum map_result got = maps_find(s->svc->discard_maps, s->facts.addr, session_asks(s), s->d->scratch, &hit, &why);

	if (got == MAP_FOUND)
		c->discard = smtps_keywords(hit.value, &unknown);
	if (got == MAP_DEFER)
		c->discard = hide_all(s, &why);
	return got;
}

static enum map_result
find_client(struct session *s, struct addrlist *list, struct fault *why)
{
	return addrlist_find(list, s->facts.client_name, s->facts.addr, session_asks(s), s->d->scratch, NULL, why);
}

/* Keywords to leave out, the bare LF rule and VERP for this client. WAIT or FOUND. */
static enum map_result
set_client(struct session *s)
{
	struct service *svc = s->svc;
	struct smtps_client c = { .discard = svc->discard, .bare_lf = svc->bare_lf, .local = svc->local,
		.tls_enabled = svc->level != TLS_SERVER_NONE, .tls_offered = svc->tls != NULL,
		.tls_required = svc->level == TLS_SERVER_ENCRYPT && !svc->wrapper, .tls_active = svc->wrapper || smtps_tls(s->engine),
		.xclient = s->may_xclient, .xforward = s->may_xforward };
	struct fault why = { 0 };
	enum map_result lf_ok, verp;

	if (tls_policy_decides(s)) {
		/* the entry's demands are told at MAIL, with its own code */
		c.tls_enabled = !tls_policy_none(s);
		c.tls_required = false;
	}
	if (find_discard(s, &c) == MAP_WAIT || (lf_ok = find_client(s, svc->bare_lf_ok, NULL)) == MAP_WAIT ||
	    (verp = find_client(s, svc->verp_hosts, &why)) == MAP_WAIT)
		return MAP_WAIT;
	if (lf_ok == MAP_FOUND || svc->local)
		c.bare_lf = SMTPS_BARE_LF_ALLOW;
	if (verp == MAP_DEFER)
		log_warning(&s->log, "smtpd_authorized_verp_clients: %s; not authorized", why.text);
	c.verp = verp == MAP_FOUND || svc->local;
	smtps_set_client(s->engine, &c);
	return MAP_FOUND;
}

static enum map_result
find_rewrite_class(struct session *s)
{
	struct acl_result res;

	if (acl_run(s->svc->acl, ACL_AT_REWRITE, &s->facts, session_asks(s), s->d->scratch, &res) == MAP_WAIT)
		return MAP_WAIT;
	s->local_headers = res.permit;
	return MAP_FOUND;
}

static bool
refuse_connection(struct session *s, struct question *q)
{
	struct span text = arena_printf(s->d->scratch, "%s Error: too many connections from %.*s", s->p->myhostname,
	    SPAN_ARG(s->facts.addr));

	say_no(s, q->ev.id, 421, "4.7.0", text, true);
	return true;
}

/* True when the greeting may be thought about; the client's names, its limits and TLS are done. */
static bool
connect_ready(struct session *s, struct question *q, bool *refused_r)
{
	bool over;

	*refused_r = false;
	if (client_names(s) == MAP_WAIT)
		return false;
	if (!s->logged_connect && !s->svc->local)
		log_smtpd_connect(&s->log, s->facts.namaddr);
	s->logged_connect = true;
	if (client_connections(s, s->d->scratch, &over) == MAP_WAIT)
		return false;
	if (over) {
		*refused_r = refuse_connection(s, q);
		return false;
	}
	if (x_authorize(s) == MAP_WAIT || tls_policy_find(s) == MAP_WAIT || session_tls_level(s) == MAP_WAIT || set_client(s) == MAP_WAIT || find_rewrite_class(s) == MAP_WAIT)
		return false;
	if (s->svc->wrapper && s->tls == NULL) {
		session_wrapper_tls(s);
		return false;
	}
	return true;
}

static bool
answer_connect(struct session *s, struct question *q)
{
	bool refused;

	if (!connect_ready(s, q, &refused))
		return refused;
	if (s->svc->local && !submitter_allowed(s)) {
		say_no(s, q->ev.id, 554, "5.7.1", SPAN("You are not allowed to submit mail here"), false);
		return true;
	}
	switch (access_check(s, q)) {
	case WAITING:
		return false;
	case REFUSED:
		return true;
	case PASSED:
		break;
	}
	smtps_accept(s->engine, q->ev.id, span_str(s->p->smtpd_banner), now_us(s));
	return true;
}

/* --- MAIL, RCPT --- */

/* Room for another message of the largest size, and a half (mta-core 1.3). */
static bool
room_low(const struct session *s)
{
	const struct params *p = s->p;
	uint64_t room, need = p->message_size_limit + p->message_size_limit / 2;
	struct statvfs v;

	if (need < p->queue_minfree)
		need = p->queue_minfree;
	if (statvfs(p->queue_directory, &v) != 0)
		return false;
	room = (uint64_t)v.f_bavail * v.f_frsize;
	if (room < need)
		log_warning(&s->log, "not enough free space in mail queue: %llu bytes < 1.5*message size limit",
		    (unsigned long long)room);
	return room < need;
}

static bool
over_rate(struct session *s, struct question *q, enum counters_rate rate, int limit, const char *what, const char *words,
    bool *refused_r)
{
	enum map_result got = client_over(s, rate, limit, what, s->d->scratch);
	struct span text;

	*refused_r = got == MAP_FOUND;
	if (got == MAP_FOUND) {
		text = arena_printf(s->d->scratch, "Error: %s from %.*s", words, SPAN_ARG(s->facts.addr));
		say_no(s, q->ev.id, 450, "4.7.1", text, false);
	}
	return got != MAP_ABSENT;
}

/* local_login_sender_maps, for the users of this host. PASSED for everybody else. */
static enum decision
own_sender(struct session *s, struct question *q)
{
	struct login_sender who = { .login = s->user_named ? s->user : SPAN(""), .uid = (unsigned long)s->uid,
		.sender = q->ev.mail->from };
	struct arena *a = s->d->scratch;
	struct span sender = address_external(who.sender, a);
	struct fault why = { 0 };

	if (!s->svc->local)
		return PASSED;
	switch (login_sender_allowed(s->svc->login_senders, s->p, &who, session_asks(s), a, &why)) {
	case MAP_FOUND:
		return PASSED;
	case MAP_WAIT:
		return WAITING;
	case MAP_ABSENT:
		log_warning(&s->log, "user %.*s (uid %lu) may not use the sender <%.*s> (local_login_sender_maps)", SPAN_ARG(s->user),
		    who.uid, SPAN_ARG(log_esc(sender)));
		say_no(s, q->ev.id, 550, "5.7.1", arena_printf(a, "<%.*s>: Sender address rejected: not allowed for user %.*s",
		    SPAN_ARG(span_slice(sender, 0, 500)), SPAN_ARG(s->user)), false);
		return REFUSED;
	case MAP_DEFER:
		log_warning(&s->log, "local_login_sender_maps: %s", why.text);
		refuse_for(s, q->ev.id, SMTP_NOTICE_DATA, 451, "4.3.0", SPAN("Temporary lookup failure"), false);
		return REFUSED;
	}
	panic("map_result");
}

/* SIZE= too big for our limit, or no room for any message. */
static bool
no_room(struct session *s, struct question *q)
{
	uint64_t limit = s->p->message_size_limit;

	if (limit != 0 && q->ev.mail->size > limit) {
		question_log_reject(s, &q->ev, "MAIL", SPAN("552 5.3.4 Message size exceeds fixed limit"));
		say_no(s, q->ev.id, 552, "5.3.4", SPAN("Message size exceeds fixed limit"), false);
		return true;
	}
	if (!room_low(s))
		return false;
	question_log_reject(s, &q->ev, "MAIL", SPAN("452 4.3.1 Insufficient system storage"));
	refuse_for(s, q->ev.id, SMTP_NOTICE_RESOURCE, 452, "4.3.1", SPAN("Insufficient system storage"), false);
	return true;
}

static bool
answer_mail(struct session *s, struct question *q)
{
	enum decision own;
	bool refused;

	if (!q->passed) {
		if (no_room(s, q))
			return true;
		own = own_sender(s, q);
		if (own != PASSED)
			return own == REFUSED;
		message_begin(s, q->ev.mail);
		switch (access_check(s, q)) {
		case WAITING:
			return false;
		case REFUSED:
			message_cancel(s);
			return true;
		case PASSED:
			q->passed = true;
		}
	}
	if (over_rate(s, q, COUNTERS_MESSAGES, s->p->smtpd_client_message_rate_limit, "Message delivery request rate", "too much mail",
		&refused)) {
		if (refused)
			message_cancel(s);
		return refused;
	}
	smtps_accept(s->engine, q->ev.id, SPAN(""), now_us(s));
	return true;
}

static bool
answer_rcpt(struct session *s, struct question *q)
{
	bool refused;

	if (!q->passed) {
		switch (access_check(s, q)) {
		case WAITING:
			return false;
		case REFUSED:
			return true;
		case PASSED:
			q->passed = true;
		}
	}
	if (over_rate(s, q, COUNTERS_RECIPIENTS, s->p->smtpd_client_recipient_rate_limit, "Recipient address rate",
		"too many recipients", &refused))
		return refused;
	if (!message_add_rcpt(s->msg, &q->ev.rcpt)) {
		refuse_for(s, q->ev.id, 0, 452, "4.5.3", SPAN("Error: too many recipients"), false);
		return true;
	}
	smtps_accept(s->engine, q->ev.id, SPAN(""), now_us(s));
	return true;
}

/* --- content --- */

static bool
answer_data(struct session *s, struct question *q)
{
	enum decision got = access_check(s, q);

	if (got != PASSED)
		return got == REFUSED;
	message_open_content(s->msg);
	smtps_accept(s->engine, q->ev.id, SPAN(""), now_us(s));
	return true;
}

static bool
answer_eom(struct session *s, struct question *q)
{
	enum decision got = access_check(s, q);

	if (got == REFUSED) {
		message_cancel(s);
		xforward_reset(s);
	} else if (got == PASSED)
		message_finish(s->msg, q->ev.id);
	return got != WAITING;
}

/* --- the others --- */

static bool
answer_starttls(struct session *s, struct question *q)
{
	struct span text;

	/* Counted after the handshake: here only who was over it already is turned away. */
	if (session_over_new_tls(s)) {
		text = arena_printf(s->d->scratch, "Error: too many new TLS sessions from %.*s", SPAN_ARG(s->facts.namaddr));
		say_no(s, q->ev.id, 454, "4.7.0", text, false);
		return true;
	}
	/* A handshake that must fail is worse than a no: the client could not go on (RFC 3207 section 4). */
	if (tls_server_ctx_signs(s->svc->tls) && !tls_keeper_ready(NULL)) {
		say_no(s, q->ev.id, 454, "4.7.0", SPAN("TLS not available due to local problem"), false);
		return true;
	}
	s->tls_wanted = true;
	smtps_accept(s->engine, q->ev.id, SPAN(""), now_us(s));
	return true;
}

/* A header line is no command either: somebody took us for something else. */
static bool
is_header_word(struct span word)
{
	return span_index(word, ':') > 0;
}

/* A client whose AUTH was refused may go on with its lines as if it had not been: they could be passwords. */
static bool
after_auth(const struct session *s)
{
	struct smtps_count n = smtps_count(s->engine, SMTPS_AUTH);

	return n.total > n.ok;
}

static bool
answer_unknown(struct session *s, struct question *q)
{
	struct span word, rest = q->ev.text;
	enum map_result got = MAP_ABSENT;
	struct fault why = { 0 };

	span_token(&rest, " \t", &word);
	if (!is_header_word(word))
		got = strlist_find(s->svc->forbidden, word, session_asks(s), s->d->scratch, NULL, &why);
	if (got == MAP_WAIT)
		return false;
	if (got == MAP_DEFER) {
		log_warning(&s->log, "smtpd_forbidden_commands: %s", why.text);
		refuse_for(s, q->ev.id, SMTP_NOTICE_DATA, 421, "4.3.0", arena_printf(s->d->scratch, "%s Error: temporary lookup failure", s->p->myhostname),
		    true);
	} else if (got == MAP_FOUND || is_header_word(word)) {
		log_smtpd_not_smtp(&s->log, s->facts.namaddr, after_auth(s) ? SPAN("(withheld: it may belong to an AUTH exchange)") :
		    q->ev.text);
		say_no(s, q->ev.id, 221, "2.7.0", SPAN("Error: I can break rules, too. Goodbye."), true);
	} else {
		smtps_accept(s->engine, q->ev.id, SPAN(""), now_us(s));
	}
	return true;
}

static bool
answer_x(struct session *s, struct question *q)
{
	if (q->ev.kind == SMTPS_ASK_XCLIENT)
		xclient_apply(s, q->ev.x);
	else
		xforward_apply(s, q->ev.x);
	smtps_accept(s->engine, q->ev.id, SPAN(""), now_us(s));
	return true;
}

static void
on_flushed(void *ctx, enum ipc_result result, struct ipc_queue_admin_done *m)
{
	struct question *q = ctx;
	struct session *s = q->s;

	q->ipc_id = 0;
	if (result == IPC_OK && m->ok)
		smtps_accept(s->engine, q->ev.id, SPAN(""), now_us(s));
	else
		refuse_for(s, q->ev.id, 0, 458, "4.3.0", SPAN("Unable to queue messages"), false);
	question_free(q);
	session_pump(s);
}

static bool
flush_site(struct session *s, struct question *q)
{
	struct ipc_queue_admin ask = { .op = 2, .which = q->ev.text };

	q->ipc_id = ipc_ask_queue_admin(ipc_peer_any(s->d->role->hub, IPC_ROLE_QUEUE), &ask, ETRN_MS, on_flushed, q);
	if (q->ipc_id != 0)
		return false;
	refuse_for(s, q->ev.id, 0, 458, "4.3.0", SPAN("Unable to queue messages"), false);
	return true;
}

static bool
answer_etrn(struct session *s, struct question *q)
{
	struct span text;
	enum decision got;

	if (q->ipc_id != 0)
		return false;
	got = q->passed ? PASSED : access_check(s, q);
	if (got != PASSED)
		return got == REFUSED;
	q->passed = true;
	switch (strlist_find(s->svc->fast_flush, q->ev.text, session_asks(s), s->d->scratch, NULL, NULL)) {
	case MAP_FOUND:
		return flush_site(s, q);
	case MAP_WAIT:
		return false;
	case MAP_ABSENT:
	case MAP_DEFER:
		break;
	}
	text = arena_printf(s->d->scratch, "<%.*s>: service unavailable", SPAN_ARG(q->ev.text));
	refuse_for(s, q->ev.id, 0, 459, "4.7.0", text, false);
	return true;
}

static bool
answer_plainly(struct session *s, struct question *q)
{
	enum decision got = access_check(s, q);

	if (got == PASSED)
		smtps_accept(s->engine, q->ev.id, SPAN(""), now_us(s));
	return got != WAITING;
}

static bool
answer_helo(struct session *s, struct question *q)
{
	switch (auth_announce(s)) {
	case MAP_WAIT:
		return false;
	case MAP_DEFER:
		refuse_for(s, q->ev.id, SMTP_NOTICE_DATA, 421, "4.3.0", arena_printf(s->d->scratch, "%s Error: temporary lookup failure", s->p->myhostname),
		    true);
		return true;
	case MAP_FOUND:
	case MAP_ABSENT:
		break;
	}
	return answer_plainly(s, q);
}

static bool
answer_auth(struct session *s, struct question *q)
{
	bool refused;

	if (!q->passed && over_rate(s, q, COUNTERS_AUTH, s->p->smtpd_client_auth_rate_limit, "AUTH command rate",
		"too many AUTH commands", &refused))
		return refused;
	q->passed = true;
	return auth_start(s, q);
}

/* What a client may do that has not satisfied its entry of smtpd_tls_policy_maps. */
static bool
needs_tls_policy(enum smtps_event_kind kind)
{
	return kind == SMTPS_ASK_MAIL || kind == SMTPS_ASK_AUTH || kind == SMTPS_ASK_VRFY || kind == SMTPS_ASK_ETRN;
}

/* Each is true when the engine has its answer. */
static bool (*const answers[])(struct session *s, struct question *q) = {
	[SMTPS_ASK_CONNECT] = answer_connect,
	[SMTPS_ASK_HELO] = answer_helo,
	[SMTPS_ASK_AUTH] = answer_auth,
	[SMTPS_ASK_AUTH_RESPONSE] = auth_continue,
	[SMTPS_ASK_VRFY] = answer_plainly,
	[SMTPS_ASK_MAIL] = answer_mail,
	[SMTPS_ASK_RCPT] = answer_rcpt,
	[SMTPS_ASK_DATA] = answer_data,
	[SMTPS_ASK_EOM] = answer_eom,
	[SMTPS_ASK_STARTTLS] = answer_starttls,
	[SMTPS_ASK_ETRN] = answer_etrn,
	[SMTPS_ASK_UNKNOWN] = answer_unknown,
	[SMTPS_ASK_XCLIENT] = answer_x,
	[SMTPS_ASK_XFORWARD] = answer_x,
};

static bool
answer(struct session *s, struct question *q)
{
	arena_clear(s->d->scratch);
	if (needs_tls_policy(q->ev.kind))
		switch (tls_policy_gate(s, q)) {
		case TLS_POLICY_WAITING:
			return false;
		case TLS_POLICY_REFUSED:
			return true;
		case TLS_POLICY_PASSED:
			break;
		}
	ensure((size_t)q->ev.kind < sizeof(answers) / sizeof(answers[0]) && answers[q->ev.kind] != NULL);
	return answers[q->ev.kind](s, q);
}

bool
questions_run(struct session *s)
{
	bool moved = false;

	/* Answers end questions one by one; the engine's next ones come by smtps_next(). */
	LIST_EACH(n, &s->questions) {
		struct question *q = LIST_ITEM(n, struct question, node);

		/* One answer may have been the last error of the session. */
		if (s->ended || s->closing || smtps_closed(s->engine))
			return moved;
		if (answer(s, q)) {
			question_free(q);
			moved = true;
		}
	}
	return moved;
}

int64_t
questions_wake_us(const struct session *s)
{
	int64_t wake = INT64_MAX;

	LIST_EACH(n, &s->questions) {
		const struct question *q = LIST_ITEM(n, struct question, node);

		if (q->not_before_us > 0 && q->not_before_us < wake)
			wake = q->not_before_us;
	}
	return wake;
}
