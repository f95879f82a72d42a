/* virtual(8): mailboxes whose place and owner come from tables; no aliases, no commands. */
#include "base/log.h"
#include "maps/addrkeys.h"
#include "maps/maps.h"
#include "role/local/delivery.h"

struct virtual {
	struct span path;
	bool maildir;
};

static struct addrkey_query
query_of(struct delivery *d)
{
	return (struct addrkey_query){
		.addr = arena_lower(d->arena, delivery_rcpt(d)->in.addr),
		.keys = ADDRKEY_FULL | ADDRKEY_NOEXT | ADDRKEY_AT_DOMAIN,
		.delimiter = d->p->recipient_delimiter,
	};
}

static enum map_result
misconfigured(struct fault *why)
{
	fault_set(why, "4.3.5", "mail system configuration error");
	return MAP_DEFER;
}

/* The number that virtual_uid_maps or virtual_gid_maps has for the recipient. */
static enum map_result
find_id(struct delivery *d, struct maps *maps, const char *name, uint64_t least, uint64_t *id_r, struct fault *why)
{
	struct addrkey_query q = query_of(d);
	struct map_hit hit = { 0 };
	enum map_result r = addrkeys_find(maps, &q, d->asks, d->arena, &hit, NULL, why);
	struct span rcpt = delivery_rcpt(d)->in.addr;

	if (r == MAP_ABSENT) {
		log_warning(&d->log, "recipient %.*s: not found in virtual_%s_maps", SPAN_ARG(log_esc(rcpt)), name);
		return misconfigured(why);
	}
	if (r != MAP_FOUND)
		return r;
	if (!span_u64(span_trim(hit.value), UINT32_MAX - 1, id_r) || *id_r < least) {
		log_warning(&d->log, "recipient %.*s: bad %s %.*s in virtual_%s_maps", SPAN_ARG(log_esc(rcpt)), name,
		    SPAN_ARG(log_esc(hit.value)), name);
		return misconfigured(why);
	}
	return MAP_FOUND;
}

static enum map_result
find_mailbox(struct delivery *d, struct ipc_run_start *m, struct virtual *v, struct fault *why)
{
	struct addrkey_query q = query_of(d);
	struct map_hit hit = { 0 };
	uint64_t uid = 0, gid = 0;
	const char *base = d->p->virtual_mailbox_base;
	enum map_result r = addrkeys_find(d->conf->virtual_mailbox_maps, &q, d->asks, d->arena, &hit, NULL, why);

	if (r != MAP_FOUND)
		return r;
	r = find_id(d, d->conf->virtual_uid_maps, "uid", (uint64_t)d->p->virtual_minimum_uid, &uid, why);
	if (r == MAP_FOUND)
		r = find_id(d, d->conf->virtual_gid_maps, "gid", 1, &gid, why);
	if (r != MAP_FOUND)
		return r;
	m->uid = (uint32_t)uid;
	m->gid = (uint32_t)gid;
	v->path = base[0] != '\0' ? arena_printf(d->arena, "%s/%.*s", base, SPAN_ARG(hit.value)) : hit.value;
	if (span_find(v->path, SPAN("/../")) >= 0 || span_ends(v->path, SPAN("/..")) || !span_starts(v->path, SPAN("/"))) {
		log_warning(&d->log, "recipient %.*s: mailbox path %.*s is not below virtual_mailbox_base",
		    SPAN_ARG(log_esc(q.addr)), SPAN_ARG(log_esc(v->path)));
		return misconfigured(why);
	}
	v->maildir = span_ends(v->path, SPAN("/"));
	return MAP_FOUND;
}

static void
on_run(struct delivery *d, const struct ipc_run_done *m)
{
	const struct virtual *v = d->agent_state;
	struct span to = delivery_rcpt(d)->in.addr;
	struct fault why = { 0 };

	if (!delivery_run_failed(m, v->path, &why)) {
		delivery_outcome(d, to, OUTCOME_SENT, REPORT_DELIVERED, "2.0.0",
		    v->maildir ? SPAN("delivered to maildir") : SPAN("delivered to mailbox"));
	} else {
		if (!v->maildir)
			fault_prefix(&why, "delivery failed to mailbox %.*s", SPAN_ARG(v->path));
		delivery_failed(d, to, &why);
	}
	delivery_rcpt_done(d);
}

static void
run(struct delivery *d, struct ipc_run_start *m, const struct virtual *v)
{
	unsigned head = HEAD_RETURN_PATH | HEAD_ORIGINAL_TO | HEAD_DELIVERED_TO;

	m->kind = v->maildir ? RUN_MAILDIR : RUN_MBOX;
	m->path = v->path;
	while (v->maildir && m->path.n > 1 && span_ends(m->path, SPAN("/")))
		m->path.n--;
	m->base = span_str(d->p->virtual_mailbox_base);
	m->flags = v->maildir ? 0 : delivery_locks(d->p->virtual_mailbox_lock) |
	    (d->p->strict_mailbox_ownership ? RUN_STRICT_OWNER : 0);
	m->head = delivery_head(d, v->maildir ? head : head | HEAD_FROM, d->env.sender, SPAN("\n"));
	m->limit_bytes = d->p->virtual_mailbox_limit;
	delivery_run(d, m, on_run);
}

static void
virtual_work(struct delivery *d)
{
	struct virtual *v = ARENA_NEW(d->arena, struct virtual);
	struct span to = delivery_rcpt(d)->in.addr;
	struct ipc_run_start m = { 0 };
	struct fault why = { 0 };

	d->agent_state = v;
	if (delivery_looped(d, to)) {
		fault_set(&why, "5.4.6", "mail forwarding loop for %.*s", SPAN_ARG(to));
	} else {
		switch (find_mailbox(d, &m, v, &why)) {
		case MAP_WAIT:
			return;
		case MAP_DEFER:
			break;
		case MAP_ABSENT:
			fault_set(&why, "5.1.1", "unknown user: \"%.*s\"", SPAN_ARG(to));
			break;
		case MAP_FOUND:
			if (!d->probe) {
				run(d, &m, v);
				return;
			}
			delivery_outcome(d, to, OUTCOME_SENT, REPORT_NONE, "2.0.0", SPAN("delivers to mailbox"));
			delivery_rcpt_done(d);
			return;
		}
	}
	delivery_failed(d, to, &why);
	delivery_rcpt_done(d);
}

static struct maps *
status_table(const struct agent_conf *c, const char **param_r)
{
	*param_r = "virtual_delivery_status_filter";
	return c->virtual_filter;
}

const struct agent agent_virtual = { .command = "virtual", .relay = "virtual", .filter = status_table, .work = virtual_work };
