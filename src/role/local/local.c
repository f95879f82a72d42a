/*
 * local: local delivery's head. It parses alias files, .forward texts and headers of
 * bounces, holds nothing, and has deliver do what needs a user's rights.
 */
#include "role/local/local.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/panic.h"
#include "mail/qid.h"
#include "maps/strlist.h"
#include "role/local/notice.h"
#include "role/local/pipe_args.h"
#include "role/local/delivery.h"
#include "role/local/maildrop.h"
#include "role/local/transcript.h"
#include "role/roles.h"
#include "route/route.h"

bool
local_list_has(const char *list, const char *word)
{
	return intake_list_has(list, word, strlen(word));
}

void
local_make_qid(struct local *l, char *out)
{
	/* Of all living processes this one alone has this number; two ids of one microsecond differ in the counter. */
	uint64_t tag = (uint64_t)getpid() << 20 | (l->qid_counter++ & 0xfffff);

	qid_make(clock_wall_us(), tag, out);
}

/* ---- parameters of services */

static bool
open_table(struct local *l, const char *name, const char *spec, struct maps **maps_r, struct fault *why)
{
	if (maps_open(span_str(spec), MAPS_NO_REGSUB, &l->role->maps_env, maps_r, why))
		return true;
	fault_prefix(why, "parameter %s", name);
	return false;
}

/* Texts go in, so what a pattern matched may come out. */
static bool
open_filter(struct local *l, const char *name, const char *spec, struct maps **maps_r, struct fault *why)
{
	if (spec[0] == '\0' || maps_open(span_str(spec), 0, &l->role->maps_env, maps_r, why))
		return true;
	fault_prefix(why, "parameter %s", name);
	return false;
}

static bool
open_conf(struct local *l, struct agent_conf *c, const struct params *p, struct fault *why)
{
	c->p = p;
	c->delivered_in_command = local_list_has(p->prepend_delivered_header, "command");
	c->delivered_in_file = local_list_has(p->prepend_delivered_header, "file");
	c->delivered_in_forward = local_list_has(p->prepend_delivered_header, "forward");
	if (!strlist_open(span_str(p->mydestination), STRLIST_DOMAIN, &l->role->maps_env, &c->mydestination, why)) {
		fault_prefix(why, "parameter mydestination");
		return false;
	}
	return open_table(l, "alias_maps", p->alias_maps, &c->alias_maps, why) &&
	    open_table(l, "mailbox_command_maps", p->mailbox_command_maps, &c->mailbox_command_maps, why) &&
	    open_table(l, "mailbox_transport_maps", p->mailbox_transport_maps, &c->mailbox_transport_maps, why) &&
	    open_table(l, "fallback_transport_maps", p->fallback_transport_maps, &c->fallback_transport_maps, why) &&
	    open_table(l, "virtual_mailbox_maps", p->virtual_mailbox_maps, &c->virtual_mailbox_maps, why) &&
	    open_table(l, "virtual_uid_maps", p->virtual_uid_maps, &c->virtual_uid_maps, why) &&
	    open_table(l, "virtual_gid_maps", p->virtual_gid_maps, &c->virtual_gid_maps, why) &&
	    open_filter(l, "local_delivery_status_filter", p->local_delivery_status_filter, &c->local_filter, why) &&
	    open_filter(l, "virtual_delivery_status_filter", p->virtual_delivery_status_filter, &c->virtual_filter, why) &&
	    open_filter(l, "pipe_delivery_status_filter", p->pipe_delivery_status_filter, &c->pipe_filter, why);
}

static void
close_conf(struct agent_conf *c)
{
	strlist_free(&c->mydestination);
	maps_unref(&c->alias_maps);
	maps_unref(&c->mailbox_command_maps);
	maps_unref(&c->mailbox_transport_maps);
	maps_unref(&c->fallback_transport_maps);
	maps_unref(&c->virtual_mailbox_maps);
	maps_unref(&c->virtual_uid_maps);
	maps_unref(&c->virtual_gid_maps);
	maps_unref(&c->local_filter);
	maps_unref(&c->virtual_filter);
	maps_unref(&c->pipe_filter);
}

struct agent_conf *
local_agent_conf(struct local *l, const struct params *p, struct fault *why)
{
	struct agent_conf *c;

	for (size_t i = 0; i < l->n_confs; i++)
		if (l->confs[i].p == p)
			return &l->confs[i];
	if (l->n_confs == AGENT_CONFS_MAX) {
		fault_set(why, "4.3.5", "too many local services with parameters of their own");
		return NULL;
	}
	c = &l->confs[l->n_confs];
	*c = (struct agent_conf){ 0 };
	if (open_conf(l, c, p, why)) {
		l->n_confs++;
		return c;
	}
	close_conf(c);
	log_error(NULL, "%s", why->text);
	fault_set(why, "4.3.5", "mail system configuration error");
	return NULL;
}

/* ---- the role */

void
local_check_idle(struct local *l)
{
	if (l->role->draining && l->n_deliveries == 0 && l->n_bounces == 0 && l->n_submissions == 0)
		role_done(l->role);
}

static void
on_deliver_start(void *ctx, struct ipc_from from, struct ipc_deliver_start *m)
{
	struct role *r = ctx;

	delivery_begin(r->state, from, m);
}

static void
on_deliver_roll(void *ctx, struct ipc_from from, struct ipc_deliver_roll *m)
{
	struct role *r = ctx;
	struct local *l = r->state;
	struct arena *a = arena_new((size_t)16 << 20);
	struct ipc_deliver_rolled answer = { .under_way = ARENA_ARRAY(a, struct ipc_under_way, l->n_deliveries + 1) };

	(void)m;
	LIST_EACH(n, &l->deliveries) {
		const struct delivery *d = LIST_ITEM(n, struct delivery, node);

		if (d->from.peer_id == from.peer_id)
			answer.under_way[answer.n_under_way++].id = d->from.id;
	}
	(void)ipc_reply_deliver_rolled(r->hub, from, &answer);
	arena_free(&a);
}

static void
on_bounce_compose(void *ctx, struct ipc_from from, struct ipc_bounce_compose *m)
{
	struct role *r = ctx;

	notice_begin(r->state, from, m);
}

static void
on_transcript_notice(void *ctx, struct ipc_from from, struct ipc_transcript_notice *m)
{
	struct role *r = ctx;

	(void)from;
	transcript_notice(r->state, m);
}

struct local *
local_new(struct role *r)
{
	struct local *l = calloc(1, sizeof(*l));

	if (l == NULL)
		panic("out of memory");
	l->role = r;
	l->arena = arena_new((size_t)16 << 20);
	list_init(&l->deliveries);
	list_init(&l->bounces);
	list_init(&l->submissions);
	transcript_notices_open(l);
	r->state = l;
	return l;
}

static void
local_open(struct role *r)
{
	struct local *l = local_new(r);
	struct fault why = { 0 };

	/* Reads the addresses of the interfaces: before the sandbox closes. */
	if (!route_open(r->conf->params, 0, &r->maps_env, &l->route, &why))
		fatal("%s", why.text);
	role_allow_dir(r, r->conf->params->data_directory, false);
	role_allow_dir(r, role_queue_path(r, l->arena, "maildrop"), false);
}

static void
set_tags(struct local *l)
{
	const char *name = l->role->conf->params->syslog_name;

	snprintf(l->cleanup_tag, sizeof(l->cleanup_tag), "%s/cleanup", name);
	snprintf(l->bounce_tag, sizeof(l->bounce_tag), "%s/bounce", name);
	snprintf(l->pickup_tag, sizeof(l->pickup_tag), "%s/pickup", name);
}

/* What a pipe service cannot do here is said at the start, not with the first message. */
static void
check_pipes(struct local *l)
{
	const struct conf *c = l->role->conf;

	for (const struct conf_service *s = NULL; (s = conf_next_command(c, "pipe", s)) != NULL;) {
		struct pipe_args args;
		struct fault why = { 0 };

		if (!pipe_args_parse(span_str(s->args), l->arena, &args, &why))
			log_error(NULL, "%s:%u: service %s: %s; its mail will be deferred", s->file, s->line, s->name, why.text);
	}
}

static void
local_start(struct role *r)
{
	struct local *l = r->state;
	struct fault why = { 0 };

	set_tags(l);
	if (!intake_conf_init(&l->intake, r->conf->params, &r->maps_env, &why))
		fatal("%s", why.text);
	l->intake.route = l->route;
	notice_init(l);
	check_pipes(l);
	l->maildrop = maildrop_new(l);
}

static void
local_drain(struct role *r, bool stop)
{
	struct local *l = r->state;

	(void)stop;
	maildrop_stop(l->maildrop);
	local_check_idle(l);
}

static void
local_status(struct role *r, struct buf *json)
{
	const struct local *l = r->state;

	buf_addf(json, "\"deliveries\": %zu, \"notices\": %zu, \"submissions\": %zu, \"delivered\": %llu, "
	    "\"composed\": %llu, \"picked_up\": %llu", l->n_deliveries, l->n_bounces, l->n_submissions,
	    (unsigned long long)l->delivered, (unsigned long long)l->composed, (unsigned long long)l->picked);
}

/* Nobody is left who could take an answer: queue hands its messages out again. */
static void
local_peer_down(struct role *r, struct ipc_peer *p)
{
	struct local *l = r->state;
	uint64_t id = ipc_peer_id(p);

	if (l == NULL || ipc_peer_role(p) != IPC_ROLE_QUEUE)
		return;
	LIST_EACH(n, &l->deliveries) {
		struct delivery *d = LIST_ITEM(n, struct delivery, node);

		/* What runs as a user goes on; only its next steps are forgotten. */
		if (d->from.peer_id == id)
			delivery_free(d);
	}
	notice_peer_down(l, id);
	local_check_idle(l);
}

const struct role_spec local_role = {
	.role = IPC_ROLE_LOCAL,
	.on = {
		.deliver_start = on_deliver_start,
		.deliver_roll = on_deliver_roll,
		.bounce_compose = on_bounce_compose,
		.transcript_notice = on_transcript_notice,
	},
	.open = local_open,
	.start = local_start,
	.drain = local_drain,
	.peer_down = local_peer_down,
	.status = local_status,
};
