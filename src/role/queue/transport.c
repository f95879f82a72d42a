/* What the configuration says about a transport: its limits, and which role serves it. */
#include <stdio.h>
#include <stdlib.h>

#include "role/queue/queue.h"

/* Of one delivery, whatever is configured: the request and its outcomes at their longest fit one frame (8 MB). */
enum { RCPTS_MAX = 1000 };
/* Deliveries of a transport at once: what one agent takes; and of these, what was tried before. */
enum { AT_ONCE = 4000, RETRIES_AT_ONCE = 1000 };

struct transport {
	struct list node;
	struct queue *q;
	char *name;
	unsigned role;                  /* IPC_ROLE_COUNT = nobody */
	bool deferred;
};

struct transports {
	struct list all;
};

static const struct {
	const char *command;
	unsigned role;
} servers[] = {
	{ "smtp", IPC_ROLE_SMTPC }, { "lmtp", IPC_ROLE_SMTPC },
	{ "local", IPC_ROLE_LOCAL }, { "virtual", IPC_ROLE_LOCAL }, { "pipe", IPC_ROLE_LOCAL },
	{ "error", IPC_ROLE_LOCAL }, { "discard", IPC_ROLE_LOCAL },
};

struct transports *
transports_new(struct queue *q)
{
	struct transports *t = calloc(1, sizeof(*t));

	ensure(t != NULL);
	list_init(&t->all);
	(void)q;
	return t;
}

void
transports_free(struct transports **tp)
{
	struct list *n;

	while (*tp != NULL && (n = list_pop_front(&(*tp)->all)) != NULL) {
		struct transport *t = LIST_ITEM(n, struct transport, node);

		free(t->name);
		free(t);
	}
	free(*tp);
	*tp = NULL;
}

static unsigned
role_of(const struct conf_service *s)
{
	for (size_t i = 0; s != NULL && i < sizeof(servers) / sizeof(servers[0]); i++)
		if (span_eq(span_str(servers[i].command), span_str(s->command)))
			return servers[i].role;
	return IPC_ROLE_COUNT;
}

/* <transport>_SUFFIX, which lib/conf gives a default. */
static int
number(struct queue *q, const char *transport, const char *suffix, int otherwise)
{
	char name[512];
	int v;

	snprintf(name, sizeof(name), "%s_%s", transport, suffix);
	return conf_get_int(q->role->conf->none, name, &v) && v >= 0 ? v : otherwise;
}

static int64_t
pause_us(struct queue *q, const char *transport, const char *suffix)
{
	char name[512];
	int64_t ms;

	snprintf(name, sizeof(name), "%s_%s", transport, suffix);
	return conf_get_ms(q->role->conf->none, name, &ms) && ms > 0 ? ms * US_PER_MS : 0;
}

static struct sched_feedback
feedback(struct queue *q, const char *transport, const char *suffix)
{
	struct sched_feedback f = { 1, SCHED_FEEDBACK_FIXED };
	char name[512];
	const char *text;

	snprintf(name, sizeof(name), "%s_%s", transport, suffix);
	text = conf_get(q->role->conf->none, name);
	if (text != NULL && !sched_feedback_parse(span_str(text), &f)) {
		log_warning(NULL, "parameter %s: \"%s\" is not a feedback (number, number/concurrency, "
		    "number/sqrt_concurrency, at most 1); using 1", name, text);
		f = (struct sched_feedback){ 1, SCHED_FEEDBACK_FIXED };
	}
	return f;
}

static void
read_limits(struct queue *q, const char *name, const struct conf_service *s, struct sched_limits *l)
{
	const struct params *p = q->params;

	*l = (struct sched_limits){
		.recipients = (unsigned)number(q, name, "destination_recipient_limit", 50),
		.concurrency = (unsigned)number(q, name, "destination_concurrency_limit", 20),
		.initial = (unsigned)number(q, name, "initial_destination_concurrency", p->initial_destination_concurrency),
		.failed_cohorts = number(q, name, "destination_concurrency_failed_cohort_limit", 1),
		.positive = feedback(q, name, "destination_concurrency_positive_feedback"),
		.negative = feedback(q, name, "destination_concurrency_negative_feedback"),
		.dest_delay_us = pause_us(q, name, "destination_rate_delay"),
		.transport_delay_us = pause_us(q, name, "transport_rate_delay"),
		.dead_us = p->minimal_backoff_time_ms * US_PER_MS,
	};
	if (l->recipients == 0 || l->recipients > RCPTS_MAX)
		l->recipients = RCPTS_MAX;
	/*
	 * maxproc throttles a transport when master.cf sets it. The default was chosen for a process
	 * per delivery: taken literally, a hundred dead destinations would stop all the others.
	 */
	if (s != NULL && s->maxproc != p->default_process_limit)
		l->processes = (unsigned)s->maxproc;
	if (l->processes == 0 || l->processes > AT_ONCE)
		l->processes = AT_ONCE;
	/* a fifth is for fresh mail; and what is in the agents' hands should not take them longer than a moment */
	l->retries = l->processes - l->processes / 5;
	if (l->retries > RETRIES_AT_ONCE)
		l->retries = RETRIES_AT_ONCE;
}

void
transport_limits(void *ctx, struct span name, struct sched_limits *limits_r, void **user_r)
{
	struct queue *q = ctx;
	struct transport *t = *user_r;
	const struct conf_service *s;
	struct span list = span_str(q->params->defer_transports), word;

	if (t == NULL) {
		t = calloc(1, sizeof(*t));
		ensure(t != NULL && (t->name = strndup(name.p, name.n)) != NULL);
		t->q = q;
		list_push_back(&q->transports->all, &t->node);
		*user_r = t;
	}
	s = conf_find_service(q->role->conf, t->name, false);
	t->role = role_of(s);
	t->deferred = false;
	while (span_token(&list, ", \t\r\n", &word))
		t->deferred |= span_eq(word, name);
	read_limits(q, t->name, s, limits_r);
}

unsigned
transport_role(const struct sched_transport *t)
{
	return ((const struct transport *)t->user)->role;
}

bool
transport_deferred(const struct sched_transport *t)
{
	return ((const struct transport *)t->user)->deferred;
}

void
transports_reload(struct queue *q)
{
	sched_reload(q->sched);
}
