/*
 * The maildrop, one file after the other. Its users are not trusted: deliver opens the
 * file and vouches for its owner, and who writes too much waits for the next round.
 */
#include "role/local/maildrop.h"

#include <dirent.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/panic.h"
#include "intake/login_sender.h"
#include "log/lines_local.h"
#include "mail/address.h"
#include "mail/maildrop.h"
#include "mail/received.h"
#include "role/common/run.h"
#include "role/local/submit.h"

#define ROUND_MS 60000
#define NAMES_MAX 10000
#define UIDS_MAX 1024
/* Messages of one user in one round. */
#define PER_UID_MAX 100
#define STALE_S 86400
#define ANSWER_MS 60000
#define ARENA_MAX ((size_t)64 << 20)

struct maildrop {
	struct local *l;
	struct arena *round, *arena;    /* names of this round; the file being worked on */
	struct loop_timer timer;
	struct loop_task turn;
	struct span *names;
	size_t n_names, at;
	struct { uint32_t uid; unsigned count; } uids[UIDS_MAX];
	size_t n_uids;
	bool stopped;

	int fd;
	uint32_t uid;
	uint64_t size;
	struct asks *asks;
	struct maildrop_head head;
	size_t head_bytes;
	struct submission *submission;
	char qid[QID_MAX];
};

static void
next(struct maildrop *m)
{
	fd_close(&m->fd);
	asks_free(&m->asks);
	arena_clear(m->arena);
	m->at++;
	loop_defer(m->l->role->loop, &m->turn);
}

static void
remove_file(struct maildrop *m, bool aside)
{
	struct ipc_run_pickup_remove msg = { .name = m->names[m->at], .aside = aside };
	struct ipc_peer *deliver = ipc_peer_any(m->l->role->hub, IPC_ROLE_DELIVER);

	if (deliver != NULL)
		ipc_send_run_pickup_remove(deliver, &msg);
}

static void
set_aside(struct maildrop *m, const char *why)
{
	struct log log = { .tag = m->l->pickup_tag };

	log_warning(&log, "maildrop/%.*s of uid %lu is moved to maildrop.bad: %s",
	    SPAN_ARG(log_esc(m->names[m->at])), (unsigned long)m->uid, why);
	remove_file(m, true);
	next(m);
}

/* One more message of this user in this round? */
static bool
within_limit(struct maildrop *m)
{
	size_t i = 0;

	while (i < m->n_uids && m->uids[i].uid != m->uid)
		i++;
	if (i == UIDS_MAX)
		return false;
	if (i == m->n_uids) {
		m->uids[i].uid = m->uid;
		m->uids[i].count = 0;
		m->n_uids++;
	}
	return ++m->uids[i].count <= PER_UID_MAX;
}

/* ---- who may say what */

static const char *
login_of(struct maildrop *m)
{
	const struct passwd *pw = getpwuid(m->uid);

	return pw != NULL ? arena_cstr(m->arena, span_str(pw->pw_name)) :
	    arena_printf(m->arena, "uid%lu", (unsigned long)m->uid).p;
}

/* authorized_submit_users, as the submission socket has it. */
static bool
may_submit(struct maildrop *m, const char *login)
{
	struct span rest = span_str(m->l->role->conf->params->authorized_submit_users), word;

	while (span_token(&rest, ", \t\n", &word)) {
		bool deny = word.p[0] == '!';

		if (deny)
			word = span_from(word, 1);
		if (span_eq(word, SPAN("static:anyone")) || span_eq(word, SPAN("static:all")) ||
		    span_eq(word, span_str(login)))
			return !deny;
	}
	return false;
}

/* local_login_sender_maps: which senders this login may give itself. */
static enum map_result
may_send_as(struct maildrop *m, struct fault *why)
{
	const struct params *p = m->l->role->conf->params;
	const struct passwd *pw = getpwuid(m->uid);
	struct login_sender q = { .login = span_str(pw != NULL ? pw->pw_name : NULL), .uid = (unsigned long)m->uid,
		.sender = m->head.env.sender };
	struct maps *maps = NULL;
	enum map_result r;

	if (!maps_open(span_str(p->local_login_sender_maps), MAPS_NO_REGSUB | MAPS_STRICT, &m->l->role->maps_env, &maps, why))
		return MAP_DEFER;
	r = login_sender_allowed(maps, p, &q, m->asks, m->arena, why);
	maps_unref(&maps);
	return r;
}

/* ---- into the queue */

static void
on_submitted(void *ctx, const struct submit_result *r)
{
	struct maildrop *m = ctx;

	m->submission = NULL;
	if (r->ok) {
		m->l->picked++;
		remove_file(m, false);
		next(m);
	} else if (r->why.dsn[0] == '5') {
		set_aside(m, r->why.text);
	} else {
		struct log log = { .tag = m->l->pickup_tag };

		log_warning(&log, "maildrop/%.*s stays for now: %s", SPAN_ARG(log_esc(m->names[m->at])), r->why.text);
		next(m);
	}
}

static struct span
received_header(struct maildrop *m)
{
	const struct params *p = m->l->role->conf->params;
	struct received rec = {
		.by_host = span_str(p->myhostname), .mail_name = span_str(p->mail_name), .qid = span_str(m->qid),
		.when_us = clock_wall_us(), .local = true, .userid = m->uid,
	};
	struct span text;
	struct buf b;

	buf_init(&b, 8192);
	received_write(&rec, m->arena, &b);
	text = arena_dup(m->arena, buf_span(&b));
	buf_release(&b);
	return text;
}

static void
begin_submission(struct maildrop *m)
{
	struct log log = { .tag = m->l->pickup_tag };
	struct submit_input in = { .env = &m->head.env, .fd = m->fd, .off = m->head_bytes,
		.size = m->size - m->head_bytes, .origin = SPAN("local"), .full_name = m->head.full_name,
		.rewrite_headers = true, .extract_rcpts = m->head.extract_rcpts, .lf_ends = true,
		.done = on_submitted, .ctx = m };

	local_make_qid(m->l, m->qid);
	snprintf(log.qid, sizeof(log.qid), "%s", m->qid);
	log_pickup(&log, m->uid, address_external(m->head.env.sender, m->arena));
	in.headers[0] = received_header(m);
	m->submission = submit(m->l, m->qid, &in);
}

static void
on_ready(void *ctx);

static void
check_sender(struct maildrop *m)
{
	const char *login = login_of(m);
	struct fault why = { 0 };

	if (!may_submit(m, login)) {
		set_aside(m, "the user may not submit mail (authorized_submit_users)");
		return;
	}
	if (m->asks == NULL)
		m->asks = asks_new(m->l->role->asks, on_ready, m);
	if (!m->head.sender_given)
		m->head.env.sender = arena_printf(m->arena, "%s@%s", login, m->l->role->conf->params->myorigin);
	switch (may_send_as(m, &why)) {
	case MAP_WAIT:
		return;
	case MAP_FOUND:
		begin_submission(m);
		return;
	case MAP_ABSENT:
		set_aside(m, "the user may not use that sender (local_login_sender_maps)");
		return;
	case MAP_DEFER:
		log_warning(&(struct log){ .tag = m->l->pickup_tag }, "maildrop/%.*s stays for now: local_login_sender_maps: %s",
		    SPAN_ARG(log_esc(m->names[m->at])), why.text);
		next(m);
		return;
	}
}

static void
on_ready(void *ctx)
{
	check_sender(ctx);
}

/* False: not what verp_delimiter_filter lets through. */
static bool
take_verp(struct maildrop *m)
{
	const struct params *p = m->l->role->conf->params;
	struct span *verp = &m->head.env.verp, filter = span_str(p->verp_delimiter_filter);

	if (span_eq(*verp, MAILDROP_VERP_DEFAULT))
		*verp = span_str(p->default_verp_delimiters);
	return verp->n == 0 ||
	    (verp->n == 2 && span_index(filter, verp->p[0]) >= 0 && span_index(filter, verp->p[1]) >= 0);
}

static void
read_head(struct maildrop *m)
{
	uint64_t limit = m->l->role->conf->params->message_size_limit;
	size_t n = m->size < MAILDROP_HEAD_MAX ? (size_t)m->size : MAILDROP_HEAD_MAX;
	char *p = arena_alloc(m->arena, n + 1);
	struct fault why = { 0 };
	int r = fd_pread_all(m->fd, p, n, 0);

	if (r < 0) {
		next(m);
	} else if (!maildrop_read(span_of(p, n), m->arena, &m->head, &m->head_bytes, &why)) {
		set_aside(m, why.text);
	} else if (limit > 0 && m->size - m->head_bytes > limit) {
		set_aside(m, "larger than message_size_limit");
	} else if (!take_verp(m)) {
		set_aside(m, "its VERP delimiters are not in verp_delimiter_filter");
	} else {
		m->head.env.local_origin = true;
		m->head.env.rewrite_context = SPAN("local");
		m->head.env.arrival_us = m->head.env.begun_us = clock_wall_us();
		check_sender(m);
	}
}

static void
on_opened(void *ctx, enum ipc_result result, struct ipc_run_pickup_done *done)
{
	struct maildrop *m = ctx;

	if (result != IPC_OK) {
		next(m);
		return;
	}
	m->uid = done->uid;
	m->size = done->size;
	m->fd = done->file;
	done->file = -1;
	switch (done->state) {
	case RUN_PICKUP_OPEN:
		if (m->fd >= 0 && within_limit(m))
			read_head(m);
		else
			next(m);
		return;
	case RUN_PICKUP_BAD:
		set_aside(m, arena_cstr(m->arena, done->why));
		return;
	case RUN_PICKUP_UNFINISHED:
		if ((int64_t)done->mtime_s + STALE_S < clock_wall_us() / US_PER_S) {
			set_aside(m, "its writer never finished it");
			return;
		}
		next(m);
		return;
	default:
		next(m);
		return;
	}
}

/* ---- rounds */

static void
on_turn(void *ctx)
{
	struct maildrop *m = ctx;
	struct ipc_run_pickup ask;

	if (m->stopped || m->at >= m->n_names) {
		m->n_names = 0;
		arena_clear(m->round);
		if (!m->stopped)
			loop_timer_set_ms(&m->timer, ROUND_MS);
		return;
	}
	ask.name = m->names[m->at];
	if (ipc_ask_run_pickup(ipc_peer_any(m->l->role->hub, IPC_ROLE_DELIVER), &ask, ANSWER_MS, on_opened, m) == 0)
		next(m);
}

static void
read_names(struct maildrop *m)
{
	DIR *dir = opendir(role_queue_path(m->l->role, m->round, "maildrop"));
	struct dirent *e;

	m->names = ARENA_ARRAY(m->round, struct span, NAMES_MAX);
	while (dir != NULL && m->n_names < NAMES_MAX && (e = readdir(dir)) != NULL)
		if (e->d_name[0] != '.')
			m->names[m->n_names++] = arena_dup(m->round, span_str(e->d_name));
	if (dir != NULL)
		closedir(dir);
}

static void
begin_round(void *ctx)
{
	struct maildrop *m = ctx;

	m->at = m->n_uids = 0;
	read_names(m);
	loop_defer(m->l->role->loop, &m->turn);
}

struct maildrop *
maildrop_new(struct local *l)
{
	struct maildrop *m = calloc(1, sizeof(*m));

	if (m == NULL)
		panic("out of memory");
	m->l = l;
	m->fd = -1;
	m->round = arena_new((size_t)16 << 20);
	m->arena = arena_new(ARENA_MAX);
	loop_timer_init(&m->timer, l->role->loop, begin_round, m);
	loop_task_init(&m->turn, on_turn, m);
	/* Not in the first moment: the queue and deliver may still be starting. */
	loop_timer_set_ms(&m->timer, 500);
	return m;
}

void
maildrop_stop(struct maildrop *m)
{
	m->stopped = true;
	loop_timer_stop(&m->timer);
}
