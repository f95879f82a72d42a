/* pipe(8): one command for all recipients of the delivery. */
#include "base/log.h"
#include "maps/maps.h"
#include "role/local/delivery.h"
#include "role/local/pipe_args.h"

static void
all_failed(struct delivery *d, const struct fault *why)
{
	for (;;) {
		delivery_failed(d, delivery_rcpt(d)->in.addr, why);
		if (d->at + 1 == d->n_rcpts)
			break;
		d->at++;
	}
	delivery_rcpt_done(d);
}

static void
all_sent(struct delivery *d, enum outcome_report report, struct span text)
{
	for (;;) {
		delivery_outcome(d, delivery_rcpt(d)->in.addr, OUTCOME_SENT, report, "2.0.0", text);
		if (d->at + 1 == d->n_rcpts)
			break;
		d->at++;
	}
	delivery_rcpt_done(d);
}

static void
on_run(struct delivery *d, const struct ipc_run_done *m)
{
	const struct pipe_args *p = d->agent_state;
	struct fault why = { 0 };
	struct span output;

	if (delivery_run_failed(m, p->argv[0], &why)) {
		all_failed(d, &why);
		return;
	}
	output = span_trim(m->text);
	all_sent(d, p->final ? REPORT_DELIVERED : REPORT_RELAYED, output.n == 0 ?
	    arena_printf(d->arena, "delivered via %s service", d->service->name) :
	    arena_printf(d->arena, "delivered via %s service (%.*s)", d->service->name, SPAN_ARG(output)));
}

static struct pipe_facts
facts_of(struct delivery *d)
{
	struct pipe_rcpt *v = ARENA_ARRAY(d->arena, struct pipe_rcpt, d->n_rcpts + 1);

	for (size_t i = 0; i < d->n_rcpts; i++)
		v[i] = (struct pipe_rcpt){ .addr = d->rcpts[i].in.addr, .orig = d->rcpts[i].in.orig };
	return (struct pipe_facts){
		.sender = d->env.sender, .nexthop = d->nexthop, .qid = span_str(d->qid), .envid = delivery_envid(d),
		.client_addr = d->env.client_addr, .client_helo = d->env.client_helo,
		.client_name = d->env.client_name, .client_port = d->env.client_port,
		.client_protocol = d->env.client_protocol, .sasl_method = d->env.sasl_method,
		.sasl_sender = d->env.sasl_sender, .sasl_username = d->env.sasl_username,
		.size = d->size, .rcpts = v, .rcpt_count = d->n_rcpts, .delimiter = d->p->recipient_delimiter,
	};
}

/* user=name[:group] as numbers. */
static enum map_result
find_rights(struct delivery *d, const struct pipe_args *p, struct ipc_run_start *m, struct fault *why)
{
	struct plan_user user;
	struct span value, rest, field;
	uint64_t gid;
	enum map_result r = delivery_user(d, p->user, &user, why);

	if (r == MAP_ABSENT) {
		log_warning(&d->log, "pipe: unknown user: %.*s", SPAN_ARG(log_esc(p->user)));
		fault_set(why, "4.3.5", "mail system configuration error");
		return MAP_DEFER;
	}
	if (r != MAP_FOUND)
		return r;
	m->uid = user.rights.uid;
	m->gid = user.rights.gid;
	if (p->group.n == 0)
		return MAP_FOUND;
	r = asks_map(d->asks, SPAN("unix:group.byname"), p->group, d->arena, &value, why);
	if (r == MAP_DEFER || r == MAP_WAIT)
		return r;
	rest = value;
	if (r == MAP_FOUND && span_cut(rest, ':', &field, &rest) && span_cut(rest, ':', &field, &rest)) {
		span_cut(rest, ':', &field, &rest);
		if (span_u64(field, UINT32_MAX - 1, &gid) && gid != 0) {
			m->gid = (uint32_t)gid;
			return MAP_FOUND;
		}
	}
	log_warning(&d->log, "pipe: unknown group: %.*s", SPAN_ARG(log_esc(p->group)));
	fault_set(why, "4.3.5", "mail system configuration error");
	return MAP_DEFER;
}

static bool
check(struct delivery *d, const struct pipe_args *p, struct fault *why)
{
	if ((p->delivered_to || p->original_to) && d->n_rcpts > 1) {
		log_warning(&d->log, "pipe flag `%c' requires %s_destination_recipient_limit = 1",
		    p->delivered_to ? 'D' : 'O', d->service->name);
		return fault_set(why, "4.3.5", "mail system configuration error");
	}
	if (p->delivered_to && delivery_looped(d, delivery_rcpt(d)->in.addr))
		return fault_set(why, "5.4.6", "mail forwarding loop for %.*s", SPAN_ARG(delivery_rcpt(d)->in.addr));
	if (p->size > 0 && d->size > p->size)
		return fault_set(why, "5.2.3", "message size %llu exceeds size limit %llu of service %s",
		    (unsigned long long)d->size, (unsigned long long)p->size, d->service->name);
	return true;
}

/* <service>_time_limit, else command_time_limit. */
static uint64_t
limit_of(struct delivery *d)
{
	int64_t ms;
	const char *name = arena_printf(d->arena, "%s_time_limit", d->service->name).p;

	if (conf_get_ms(d->service, name, &ms) && ms > 0)
		return (uint64_t)ms;
	return (uint64_t)d->p->command_time_limit_ms;
}

static bool
fill(struct delivery *d, const struct pipe_args *p, struct ipc_run_start *m, struct fault *why)
{
	struct pipe_facts f = facts_of(d);
	struct span sender = pipe_args_sender(p, &f, d->arena);
	struct buf words;
	bool fine;

	buf_init(&words, 65536);
	fine = pipe_args_expand(p, &f, d->arena, &words, why);
	m->argv = arena_dup(d->arena, buf_span(&words));
	buf_release(&words);
	if (!fine)
		return false;
	m->kind = RUN_COMMAND;
	m->flags = RUN_WORDS | (p->quote_from ? RUN_QUOTE_FROM : 0u) | (p->quote_dot ? RUN_QUOTE_DOT : 0u) |
	    (p->blank_line ? RUN_BLANK_LINE : 0u);
	m->eol = p->eol;
	m->dir = p->directory;
	m->head = delivery_head(d, (p->from_line ? HEAD_FROM : 0u) | (p->return_path ? HEAD_RETURN_PATH : 0u) |
	    (p->original_to ? HEAD_ORIGINAL_TO : 0u) | (p->delivered_to ? HEAD_DELIVERED_TO : 0u),
	    d->env.sender.n > 0 ? d->env.sender : sender, p->eol);
	m->env = delivery_exported(d);
	m->limit_ms = limit_of(d);
	return true;
}

static void
pipe_work(struct delivery *d)
{
	struct pipe_args *p = ARENA_NEW(d->arena, struct pipe_args);
	struct ipc_run_start m = { 0 };
	struct fault why = { 0 };

	d->agent_state = p;
	if (!pipe_args_parse(span_str(d->service->args), d->arena, p, &why)) {
		log_warning(&d->log, "service %s: %s", d->service->name, why.text);
		fault_set(&why, "4.3.5", "mail system configuration error");
	} else if (check(d, p, &why)) {
		enum map_result r = find_rights(d, p, &m, &why);

		if (r == MAP_WAIT)
			return;
		if (r == MAP_FOUND && d->probe) {
			all_sent(d, REPORT_NONE, SPAN("delivers to command"));
			return;
		}
		if (r == MAP_FOUND && fill(d, p, &m, &why)) {
			delivery_run(d, &m, on_run);
			return;
		}
		if (r == MAP_FOUND) {
			log_warning(&d->log, "service %s: %s", d->service->name, why.text);
			fault_set(&why, "4.3.5", "mail system configuration error");
		}
	}
	all_failed(d, &why);
}

static struct maps *
status_table(const struct agent_conf *c, const char **param_r)
{
	*param_r = "pipe_delivery_status_filter";
	return c->pipe_filter;
}

const struct agent agent_pipe = { .command = "pipe", .relay = NULL, .filter = status_table, .work = pipe_work };
