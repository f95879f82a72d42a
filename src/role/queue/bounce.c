/*
 * Which reports a message causes, and to whom (RFC 3461 sections 4.1, 5.2, 6; mta-core section 9). The
 * local role composes and submits them; only when one is durable do its recipients count as told.
 */
#include <stdlib.h>

#include "base/fd.h"
#include "log/lines_bounce.h"
#include "mail/address.h"
#include "mail/dsn.h"
#include "role/queue/deliver.h"
#include "role/queue/queue.h"

/* As in table/messages.tab. */
enum kind { KIND_FAILURE, KIND_DELAY, KIND_SUCCESS, KIND_POSTMASTER, KIND_DOUBLE, KIND_POSTMASTER_DELAY };

/* Recipients of one report: with everything at its longest they still fit one frame of 8 MB. */
enum { COMPOSE_MS = 600 * 1000, AT_ONCE = 50, RCPTS_AT_ONCE = 500 };

struct notice {
	struct notice *next;
	enum kind kind;
	struct span to;
	const uint32_t *rcpts;
	uint32_t n;
};

static void next_notice(struct active *a);

/* ---- which */

static bool
class_is_on(const struct active *a, struct span class)
{
	struct span list = span_str(a->q->params->notify_classes), word;

	while (span_token(&list, ", \t\r\n", &word))
		if (span_eq_ci(word, class))
			return true;
	return false;
}

/* An address of the configuration, completed. */
static struct span
qualified(struct active *a, const char *addr)
{
	return address_complete(span_str(addr), a->q->params->myorigin, a->arena);
}

static void
add_notice(struct active *a, enum kind kind, struct span to, const uint32_t *rcpts, uint32_t n)
{
	struct notice **end = &a->notices;

	while (*end != NULL)
		end = &(*end)->next;
	for (uint32_t i = 0; i < n; i += RCPTS_AT_ONCE) {
		struct notice *new = ARENA_NEW(a->arena, struct notice);

		*new = (struct notice){ .kind = kind, .to = to, .rcpts = rcpts + i,
			.n = n - i < RCPTS_AT_ONCE ? n - i : RCPTS_AT_ONCE };
		*end = new;
		end = &new->next;
	}
}

/* NOTIFY=, absent = FAILURE,DELAY. */
static bool
wants(const struct envelope_rcpt *r, unsigned what)
{
	unsigned notify = r->notify != 0 ? r->notify : ENVELOPE_NOTIFY_FAILURE | ENVELOPE_NOTIFY_DELAY;

	return (notify & ENVELOPE_NOTIFY_NEVER) == 0 && (notify & what) != 0;
}

/* Recipients in that stage that want that kind of report (0 = all of the stage). */
static uint32_t *
pick(struct active *a, enum rcpt_stage stage, unsigned what, uint32_t *n_r)
{
	uint32_t *v = ARENA_ARRAY(a->arena, uint32_t, a->st.n), n = 0;

	for (uint32_t i = 0; i < a->st.n; i++)
		if (a->st.rcpts[i].stage == stage && (what == 0 || wants(&a->env.rcpts[i], what)) &&
		    (stage != RCPT_TODO || a->st.rcpts[i].dsn.n > 0))
			v[n++] = i;
	*n_r = n;
	return v;
}

/* These need nothing more. */
static void
told(struct active *a, const uint32_t *rcpts, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		a->st.rcpts[rcpts[i]].stage = RCPT_DONE;
	if (n > 0)
		state_write(journal_records(a->q, a->m), "told", rcpts, n, NULL);
}

static void
to_sender(struct active *a, enum kind kind, const uint32_t *rcpts, uint32_t n)
{
	if (a->env.verp.n == 0 || a->q->params->disable_verp_bounces) {
		add_notice(a, kind, a->env.sender, rcpts, n);
		return;
	}
	for (uint32_t i = 0; i < n; i++)
		add_notice(a, kind, deliver_verp_sender(a, rcpts[i]), rcpts + i, 1);
}

static bool
is_double_bounce(struct active *a)
{
	return a->env.kind == ENVELOPE_DOUBLE_BOUNCE || (a->env.sender.n > 0 &&
	    address_same(a->env.sender, qualified(a, a->q->params->double_bounce_sender)));
}

/* What failed for good. Nobody is told of what nobody wants to know. */
static void
failures(struct active *a)
{
	struct log l = message_log(a->m);
	uint32_t n, all_n;
	const uint32_t *all = pick(a, RCPT_FAILED, 0, &all_n), *v;

	if (all_n == 0)
		return;
	if (a->env.kind == ENVELOPE_PROBE) {
		told(a, all, all_n);
		return;
	}
	if (is_double_bounce(a)) {
		log_bounce_discarded(&l); /* never a third generation */
		told(a, all, all_n);
		return;
	}
	if (a->env.sender.n == 0) {
		if (class_is_on(a, SPAN("2bounce")) || class_is_on(a, SPAN("bounce")))
			add_notice(a, KIND_DOUBLE, qualified(a, a->q->params->p_2bounce_notice_recipient), all, all_n);
		else
			told(a, all, all_n);
		return;
	}
	v = pick(a, RCPT_FAILED, ENVELOPE_NOTIFY_FAILURE, &n);
	if (class_is_on(a, SPAN("bounce")))
		add_notice(a, KIND_POSTMASTER, qualified(a, a->q->params->bounce_notice_recipient), all, all_n);
	to_sender(a, KIND_FAILURE, v, n);
	for (uint32_t i = 0; i < all_n; i++)
		if (!wants(&a->env.rcpts[all[i]], ENVELOPE_NOTIFY_FAILURE))
			told(a, &all[i], 1);
}

static void
delays(struct active *a)
{
	const struct retry_params p = { .warning_us = a->q->params->delay_warning_time_ms * US_PER_MS };
	uint32_t n;
	const uint32_t *v;

	if (a->st.warned || a->m->want_hold || a->env.sender.n == 0 || is_double_bounce(a) ||
	    !retry_warn(&p, a->m->arrival_us, clock_wall_us()))
		return;
	v = pick(a, RCPT_TODO, ENVELOPE_NOTIFY_DELAY, &n);
	if (class_is_on(a, SPAN("delay")))
		add_notice(a, KIND_POSTMASTER_DELAY, qualified(a, a->q->params->delay_notice_recipient), v, n);
	to_sender(a, KIND_DELAY, v, n);
}

static void
successes(struct active *a)
{
	uint32_t n;
	const uint32_t *v = pick(a, RCPT_REPORT, 0, &n);

	if (a->env.sender.n == 0)
		told(a, v, n);
	else
		to_sender(a, KIND_SUCCESS, v, n);
}

/* ---- making them */

static uint8_t
action_of(enum kind kind, const struct rcpt_state *r)
{
	switch (kind) {
	case KIND_DELAY:
	case KIND_POSTMASTER_DELAY:
		return DSN_DELAYED;
	case KIND_SUCCESS:
		return r->report == REPORT_RELAYED ? DSN_RELAYED : r->report == REPORT_EXPANDED ? DSN_EXPANDED : DSN_DELIVERED;
	case KIND_FAILURE:
	case KIND_POSTMASTER:
	case KIND_DOUBLE:
		return DSN_FAILED;
	}
	panic("kind");
}

static struct ipc_failed *
failed_of(struct active *a, const struct notice *n, struct arena *scratch)
{
	struct ipc_failed *v = ARENA_ARRAY(scratch, struct ipc_failed, n->n);
	int64_t until_us = a->m->arrival_us + a->q->params->maximal_queue_lifetime_ms * US_PER_MS;

	for (uint32_t i = 0; i < n->n; i++) {
		const struct envelope_rcpt *r = &a->env.rcpts[n->rcpts[i]];
		const struct rcpt_state *s = &a->st.rcpts[n->rcpts[i]];

		v[i] = (struct ipc_failed){
			.addr = s->final.n > 0 ? s->final : r->addr,
			.orig = r->orig,
			.orcpt = r->orcpt,
			.action = action_of(n->kind, s),
			.dsn = s->dsn,
			.text = s->text,
			.remote_mta = s->remote_mta,
			.diagnostic = s->diagnostic,
			.retry_until_s = action_of(n->kind, s) == DSN_DELAYED ? (uint64_t)(until_us / US_PER_S) : 0,
		};
	}
	return v;
}

/* The report is durable: its recipients are told. */
static void
notice_made(struct active *a, const struct notice *n)
{
	switch (n->kind) {
	case KIND_FAILURE:
	case KIND_SUCCESS:
	case KIND_DOUBLE:
		told(a, n->rcpts, n->n);
		return;
	case KIND_DELAY:
		a->st.warned = true;
		buf_add_str(journal_records(a->q, a->m), "warned\n");
		return;
	case KIND_POSTMASTER:
	case KIND_POSTMASTER_DELAY:
		return;
	}
	panic("kind");
}

static void
resume_reporters(struct queue *q)
{
	struct list *n;

	while (q->notices_running < AT_ONCE && (n = list_pop_front(&q->reporters)) != NULL)
		next_notice(LIST_ITEM(n, struct active, waiting));
}

static void
composed(void *ctx, enum ipc_result result, struct ipc_bounce_composed *m)
{
	struct active *a = ctx;
	struct queue *q = a->q;
	struct log l = message_log(a->m);
	bool ok = result == IPC_OK && m->ok;

	q->notices_running--;
	a->running--;
	if (ok) {
		notice_made(a, a->notices);
		a->notices = a->notices->next;
	} else {
		struct span why = result == IPC_OK ? m->text : SPAN("the local role does not answer");

		log_warning(&l, "cannot make a delivery report: %.*s; trying again later", SPAN_ARG(why));
		a->notices = NULL;      /* the rest stays due, and is tried with the next attempt */
	}
	next_notice(a);
	resume_reporters(q);
}

static void
send_notice(struct active *a)
{
	const struct notice *n = a->notices;
	struct ipc_peer *to = ipc_peer_any(a->q->role->hub, IPC_ROLE_LOCAL);
	struct arena *scratch = arena_new(QUEUE_ARENA_MAX);
	struct log l = message_log(a->m);
	const struct ipc_bounce_compose m = {
		.kind = (uint8_t)n->kind,
		.qid = span_str(a->m->qid),
		.to = n->to,
		.envelope = a->env_text,
		.arrival_us = a->m->arrival_us,
		.size = a->m->place.content_bytes,
		.offset = a->fd_offset,
		.file = a->fd,
		.failed = failed_of(a, n, scratch),
		.n_failed = n->n,
	};

	if (to != NULL && ipc_ask_bounce_compose(to, &m, COMPOSE_MS, composed, a) != 0) {
		a->q->notices_running++;
		a->running++;
	} else {
		log_warning(&l, "cannot make a delivery report: the local role is not there; trying again later");
		a->notices = NULL;
		next_notice(a);
	}
	arena_free(&scratch);
}

static void
next_notice(struct active *a)
{
	if (a->notices == NULL)
		active_settle(a);
	else if (a->q->notices_running >= AT_ONCE)
		list_push_back(&a->q->reporters, &a->waiting);
	else
		send_notice(a);
}

static void
opened(void *ctx, struct store_op *op)
{
	struct active *a = ctx;
	struct log l = message_log(a->m);

	a->busy = false;
	if (op->result == 0) {
		a->fd = op->fd;
		a->fd_offset = op->place.content_off;
		op->fd = -1;
	} else {
		log_warning(&l, "cannot open the queue file for a delivery report: %s", fd_error(op->result));
		a->notices = NULL;
	}
	store_op_release(op);
	next_notice(a);
}

void
bounce_begin(struct active *a)
{
	failures(a);
	successes(a);
	delays(a);
	if (a->notices == NULL || a->fd >= 0) {
		next_notice(a);
		return;
	}
	a->busy = true;
	store_op_init(&a->load, STORE_LOAD, span_str(a->m->qid), opened, a);
	a->load.want_fd = true;
	store_submit(a->q->store, &a->load);
}
