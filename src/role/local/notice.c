/* Notices: failure, delay, success, copies for the postmaster. */
#include "role/local/notice.h"

#include <fcntl.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "log/lines_local.h"
#include "mail/address.h"
#include "mail/dsn.h"
#include "role/local/submit.h"

#define ARENA_MAX ((size_t)512 << 20)
#define NOTICE_MAX ((size_t)128 << 20)
#define CHUNK 65536

struct bounce {
	struct list node;
	struct local *l;
	struct arena *arena;
	struct ipc_from from;
	uint8_t kind;
	char qid[QID_MAX], notice_qid[QID_MAX];
	struct envelope env, notice_env;
	struct dsn_notice notice;
	struct buf text;
	struct submission *submission;
};

/* `kind` of BOUNCE_COMPOSE. */
static const struct notice_kind {
	enum dsn_kind dsn;
	enum log_notice log;
} kinds[] = {
	{ DSN_FAILURE, LOG_NOTICE_FAILURE },
	{ DSN_DELAY, LOG_NOTICE_DELAY },
	{ DSN_SUCCESS, LOG_NOTICE_SUCCESS },
	{ DSN_POSTMASTER, LOG_NOTICE_POSTMASTER },
	{ DSN_DOUBLE, LOG_NOTICE_POSTMASTER },
	{ DSN_POSTMASTER_DELAY, LOG_NOTICE_POSTMASTER_DELAY },
};

static struct dsn_templates templates;
static bool templates_set;

void
notice_init(struct local *l)
{
	const char *path = l->role->conf->params->bounce_template_file;
	struct fault why = { 0 };
	struct buf b;
	int r;

	templates_set = false;
	if (path[0] == '\0')
		return;
	buf_init(&b, 1 << 20);
	r = fd_read_file(AT_FDCWD, path, &b);
	if (r < 0)
		log_warning(NULL, "cannot read bounce_template_file %s: %s", path, fd_error(r));
	else if (!(templates_set = dsn_templates_parse(arena_dup(l->arena, buf_span(&b)), l->arena, &templates, &why)))
		log_warning(NULL, "bounce_template_file %s: %s", path, why.text);
	buf_release(&b);
}

static void
notice_free(struct bounce *b)
{
	struct local *l = b->l;
	struct arena *a = b->arena;

	list_remove(&b->node);
	l->n_bounces--;
	submit_cancel(&b->submission);
	buf_release(&b->text);
	arena_free(&a);
}

void
notice_peer_down(struct local *l, uint64_t peer_id)
{
	LIST_EACH(n, &l->bounces) {
		struct bounce *b = LIST_ITEM(n, struct bounce, node);

		if (b->from.peer_id == peer_id)
			notice_free(b);
	}
}

static void
answer(struct bounce *b, bool ok, struct span text)
{
	struct ipc_bounce_composed m = { .ok = ok, .qid = span_str(b->notice_qid), .text = text };
	struct local *l = b->l;

	ipc_reply_bounce_composed(l->role->hub, b->from, &m);
	notice_free(b);
	local_check_idle(l);
}

static void
on_submitted(void *ctx, const struct submit_result *r)
{
	struct bounce *b = ctx;
	struct log log = { .tag = b->l->bounce_tag };

	b->submission = NULL;
	if (!r->ok) {
		answer(b, false, span_str(r->why.text));
		return;
	}
	snprintf(log.qid, sizeof(log.qid), "%s", b->qid);
	log_notice(&log, kinds[b->kind].log, b->notice_qid);
	b->l->composed++;
	answer(b, true, SPAN(""));
}

/* ---- composing */

static void
take_failed(struct bounce *b, const struct ipc_bounce_compose *m)
{
	struct dsn_rcpt *v = ARENA_ARRAY(b->arena, struct dsn_rcpt, m->n_failed + 1);

	for (size_t i = 0; i < m->n_failed; i++) {
		const struct ipc_failed *f = &m->failed[i];

		v[i] = (struct dsn_rcpt){
			.addr = f->addr, .orig = f->orig, .orcpt = f->orcpt,
			.action = (enum dsn_action)(f->action <= DSN_DELIVERABLE ? f->action : DSN_FAILED),
			.status = f->dsn, .reason = f->text, .remote_mta = f->remote_mta,
			.remote_reply = f->diagnostic, .retry_until_us = (int64_t)f->retry_until_s * US_PER_S,
		};
	}
	b->notice.rcpts = v;
	b->notice.rcpt_count = m->n_failed;
}

/* Other $names in the administrator's texts are parameters. */
static bool
find_value(void *ctx, struct span name, struct arena *a, struct span *value_r)
{
	const struct bounce *b = ctx;
	const char *value = conf_get(b->l->role->conf->none, arena_cstr(a, name));

	*value_r = span_str(value);
	return value != NULL;
}

static void
fill_notice(struct bounce *b, const struct ipc_bounce_compose *m)
{
	const struct params *p = b->l->role->conf->params;

	b->notice = (struct dsn_notice){
		.kind = kinds[b->kind].dsn, .env = &b->env, .qid = span_str(b->qid),
		.bounce_qid = span_str(b->notice_qid), .myhostname = span_str(p->myhostname),
		.mail_name = span_str(p->mail_name), .to = m->to, .now_us = clock_wall_us(),
		.size_limit = p->bounce_size_limit, .smtputf8 = b->env.smtputf8,
		.threaded = p->enable_threaded_bounces, .templates = templates_set ? &templates : NULL,
		.delay_time_s = p->delay_warning_time_ms / 1000, .lifetime_s = p->maximal_queue_lifetime_ms / 1000,
		.value = find_value, .value_ctx = b,
	};
	b->notice.double_bounce = address_complete(span_str(p->double_bounce_sender), p->myorigin, b->arena);
	take_failed(b, m);
}

/* The notice around as much of the original as belongs in it. */
static bool
compose(struct bounce *b, const struct ipc_bounce_compose *m, struct fault *why)
{
	struct dsn d = { 0 };
	uint64_t at = 0;
	bool more = true;

	dsn_begin(&d, &b->notice, b->arena, &b->text);
	while (more && at < m->size) {
		char chunk[CHUNK];
		size_t n = m->size - at < CHUNK ? (size_t)(m->size - at) : CHUNK;
		int r = fd_pread_all(m->file, chunk, n, m->offset + at);

		if (r < 0)
			return fault_set(why, "4.3.0", "cannot read the original message: %s", fd_error(r));
		more = dsn_feed(&d, span_of(chunk, n), &b->text);
		at += n;
	}
	dsn_end(&d, &b->text);
	if (b->text.full)
		return fault_set(why, "4.3.0", "the notice is too long");
	return true;
}

static bool
prepare(struct bounce *b, const struct ipc_bounce_compose *m, struct fault *why)
{
	if (m->kind >= sizeof(kinds) / sizeof(kinds[0]))
		return fault_set(why, "4.3.0", "unknown kind of notice");
	if (!envelope_read(arena_dup(b->arena, m->envelope), b->arena, &b->env, why))
		return false;
	fill_notice(b, m);
	if (!compose(b, m, why))
		return false;
	dsn_envelope(&b->notice, b->arena, &b->notice_env);
	b->notice_env.no_milters = true;
	b->notice_env.arrival_us = b->notice_env.begun_us = b->notice.now_us;
	return true;
}

void
notice_begin(struct local *l, struct ipc_from from, const struct ipc_bounce_compose *m)
{
	struct arena *a = arena_new(ARENA_MAX);
	struct bounce *b = ARENA_NEW(a, struct bounce);
	struct fault why = { 0 };
	struct submit_input in = { .env = &b->notice_env, .fd = -1, .origin = SPAN("local"), .internal = true,
		.no_bcc = true, .header_checks_off = true, .done = on_submitted, .ctx = b };

	b->arena = a;
	b->l = l;
	b->from = from;
	b->kind = m->kind;
	snprintf(b->qid, sizeof(b->qid), "%.*s", SPAN_ARG(m->qid));
	local_make_qid(l, b->notice_qid);
	buf_init(&b->text, NOTICE_MAX);
	list_push_back(&l->bounces, &b->node);
	l->n_bounces++;
	if (!prepare(b, m, &why)) {
		answer(b, false, span_str(why.text));
		return;
	}
	in.text = buf_span(&b->text);
	b->submission = submit(l, b->notice_qid, &in);
}
