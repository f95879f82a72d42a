/* local(8): carry out what the planner decided, one action after the other, new messages last. */
#include "role/local/agent_local.h"

#include "base/log.h"
#include "maps/maps.h"
#include "role/local/submit.h"

static void
next_action(struct delivery *d)
{
	d->action->done = true;
	d->action = d->action->next;
	delivery_go(d);
}

static void
action_failed(struct delivery *d, const struct fault *why)
{
	delivery_failed(d, d->action->to, why);
	next_action(d);
}

static void
action_sent(struct delivery *d, struct span text)
{
	delivery_outcome(d, d->action->to, OUTCOME_SENT, REPORT_DELIVERED, "2.0.0", text);
	next_action(d);
}

/* ---- ends of runs */

static void
on_maildir(struct delivery *d, const struct ipc_run_done *m)
{
	struct fault why = { 0 };

	if (delivery_run_failed(m, SPAN("maildir"), &why))
		action_failed(d, &why);
	else
		action_sent(d, SPAN("delivered to maildir"));
}

static void
on_mbox(struct delivery *d, const struct ipc_run_done *m)
{
	struct fault why = { 0 }, full;

	if (!delivery_run_failed(m, SPAN("mailbox"), &why)) {
		action_sent(d, SPAN("delivered to mailbox"));
		return;
	}
	/* Postfix joins these with a period. */
	fault_set(&full, why.dsn, "cannot update mailbox %.*s for user %.*s. %.300s", SPAN_ARG(d->action->text),
	    SPAN_ARG(d->action->user.name), why.text);
	if (span_find(span_str(why.text), SPAN("is not owned by recipient")) >= 0)
		log_warning(&d->log, "specify \"strict_mailbox_ownership = no\" to ignore mailbox ownership mismatch");
	action_failed(d, &full);
}

static void
on_file(struct delivery *d, const struct ipc_run_done *m)
{
	struct fault why = { 0 };

	if (!delivery_run_failed(m, d->action->text, &why)) {
		action_sent(d, arena_printf(d->arena, "delivered to file: %.*s", SPAN_ARG(d->action->text)));
		return;
	}
	fault_prefix(&why, "cannot append message to file %.*s", SPAN_ARG(d->action->text));
	action_failed(d, &why);
}

static void
on_command(struct delivery *d, const struct ipc_run_done *m)
{
	struct fault why = { 0 };

	if (delivery_run_failed(m, d->action->text, &why))
		action_failed(d, &why);
	else
		action_sent(d, arena_printf(d->arena, "delivered to command: %.*s", SPAN_ARG(d->action->text)));
}

/* ---- runs */

static unsigned
delivered_header(bool wanted)
{
	return HEAD_RETURN_PATH | HEAD_ORIGINAL_TO | (wanted ? HEAD_DELIVERED_TO : 0u);
}

static struct span
without_slashes(struct span path)
{
	while (path.n > 1 && span_ends(path, SPAN("/")))
		path.n--;
	return path;
}

/* command_execution_directory; one that cannot be expanded stops the command (it protects). */
static bool
find_directory(struct delivery *d, const struct plan_user *user, struct span *dir_r)
{
	struct agent_names names = { .d = d, .user = user, .name = user != NULL ? user->name : SPAN(""),
		.extension = d->action->extension };
	struct fault why;

	if (agent_local_expand(&names, span_str(d->p->command_execution_directory),
	    d->p->execution_directory_expansion_filter, dir_r))
		return true;
	fault_set(&why, "4.3.5", "mail system configuration error");
	action_failed(d, &why);
	return false;
}

/* One line for the shell rules of deliver; with local_command_shell ("/usr/lib/smrsh -c") that program decides. */
static struct span
command_words(struct delivery *d, struct span command, uint32_t *flags)
{
	struct span rest = span_str(d->p->local_command_shell), word, all;
	struct buf b;

	if (rest.n == 0)
		return command;
	buf_init(&b, 65536);
	while (span_token(&rest, " \t", &word)) {
		buf_add_span(&b, word);
		buf_addc(&b, '\0');
	}
	buf_add_span(&b, command);
	buf_addc(&b, '\0');
	all = arena_dup(d->arena, buf_span(&b));
	buf_release(&b);
	*flags |= RUN_WORDS;
	return all;
}

static void
run_command(struct delivery *d, struct span command, struct span base)
{
	struct plan_action *x = d->action;
	const struct plan_user *user = x->user.name.n > 0 ? &x->user : NULL;
	struct span dir;

	if (!find_directory(d, user, &dir))
		return;
	struct ipc_run_start m = {
		.kind = RUN_COMMAND, .uid = x->rights.uid, .gid = x->rights.gid, .base = base,
		.env = delivery_env(d, user, x->sender, x->extension),
		.head = delivery_head(d, delivered_header(d->conf->delivered_in_command) | HEAD_FROM, x->sender,
		    SPAN("\n")),
		.limit_ms = (uint64_t)d->p->command_time_limit_ms,
		.dir = dir,
	};

	m.argv = command_words(d, command, &m.flags);
	x->text = command;
	delivery_run(d, &m, on_command);
}

static void
run_box(struct delivery *d, struct ipc_run_start *m, struct span path, bool spool, delivery_run_fn *mbox_done)
{
	struct plan_action *x = d->action;
	bool maildir = span_ends(path, SPAN("/"));

	m->kind = maildir ? RUN_MAILDIR : RUN_MBOX;
	m->uid = x->rights.uid;
	m->gid = x->rights.gid;
	m->path = without_slashes(path);
	m->flags |= spool ? RUN_SPOOL : 0u;
	if (!maildir)
		m->flags |= delivery_locks(d->p->mailbox_delivery_lock);
	m->head = delivery_head(d, delivered_header(d->conf->delivered_in_file) | (maildir ? 0u : HEAD_FROM),
	    x->sender, SPAN("\n"));
	m->limit_bytes = d->p->mailbox_size_limit;
	x->text = m->path;
	delivery_run(d, m, maildir && mbox_done == on_mbox ? on_maildir : mbox_done);
}

static void
run_file(struct delivery *d)
{
	struct ipc_run_start m = { .flags = RUN_SPECIAL_OK | RUN_LOCK_DOT_OPTIONAL };

	run_box(d, &m, d->action->text, false, on_file);
}

/* ---- the user's mailbox */

/* Nothing is ever delivered with root's rights: root's mail goes out with those of default_privs. */
static enum map_result
drop_root(struct delivery *d, struct fault *why)
{
	struct plan_action *x = d->action;
	struct plan_user nobody;
	enum map_result r;

	if (x->rights.uid != 0)
		return MAP_FOUND;
	r = delivery_user(d, span_str(d->p->default_privs), &nobody, why);
	if (r == MAP_FOUND) {
		log_warning(&d->log, "mail for %.*s is delivered with the rights of %s: make an alias for it",
		    SPAN_ARG(x->user.name), d->p->default_privs);
		x->rights = nobody.rights;
	} else if (r == MAP_ABSENT) {
		fault_set(why, "4.3.5", "mail system configuration error");
		r = MAP_DEFER;
	}
	return r;
}

static enum map_result
find_command(struct delivery *d, struct span *command_r, struct fault *why)
{
	struct map_hit hit = { 0 };
	enum map_result r = maps_find(d->conf->mailbox_command_maps, d->action->user.name, d->asks, d->arena, &hit, why);

	*command_r = r == MAP_FOUND ? hit.value : span_str(d->p->mailbox_command);
	if (r == MAP_DEFER || r == MAP_WAIT)
		return r;
	return command_r->n > 0 ? MAP_FOUND : MAP_ABSENT;
}

static void
run_mailbox(struct delivery *d)
{
	struct plan_action *x = d->action;
	const struct params *p = d->p;
	struct span home = without_slashes(x->user.home);
	struct ipc_run_start m = {
		.flags = p->strict_mailbox_ownership ? RUN_STRICT_OWNER : 0,
		.base = p->require_home_directory || p->home_mailbox[0] != '\0' ? home : SPAN(""),
	};

	if (p->home_mailbox[0] != '\0')
		run_box(d, &m, arena_printf(d->arena, "%.*s/%s", SPAN_ARG(home), p->home_mailbox), false, on_mbox);
	else
		run_box(d, &m, arena_printf(d->arena, "%s/%.*s%s", without_slashes(span_str(p->mail_spool_directory)).p,
		    SPAN_ARG(x->user.name), span_ends(span_str(p->mail_spool_directory), SPAN("/")) ? "/" : ""),
		    true, on_mbox);
}

static void
do_mailbox(struct delivery *d)
{
	struct fault why = { 0 };
	struct span command;
	enum map_result r = drop_root(d, &why);

	if (r == MAP_FOUND) {
		r = find_command(d, &command, &why);
		if (r == MAP_FOUND)
			run_command(d, command, d->p->require_home_directory ? d->action->user.home : SPAN(""));
		else if (r == MAP_ABSENT)
			run_mailbox(d);
	}
	if (r == MAP_DEFER)
		action_failed(d, &why);
}

/* ---- the actions */

/* A message that goes to another transport keeps its recipient: the new copy is bound to that transport. */
static void
on_passed(void *ctx, const struct submit_result *r)
{
	struct delivery *d = ctx;

	d->submission = NULL;
	if (r->ok) {
		delivery_outcome(d, d->action->to, OUTCOME_SENT, REPORT_NONE, "2.0.0",
		    arena_printf(d->arena, "forwarded as %s", r->qid));
		next_action(d);
	} else {
		action_failed(d, &r->why);
	}
}

static void
do_transport(struct delivery *d)
{
	const struct ipc_rcpt *r = &delivery_rcpt(d)->in;
	struct envelope_rcpt rcpt = { .addr = d->action->to, .orig = r->orig.n > 0 ? r->orig : r->addr,
		.orcpt = r->orcpt, .notify = r->notify };
	struct envelope env;
	struct submit_input in = { .env = &env, .fd = d->fd, .off = d->off, .size = d->size,
		.origin = SPAN("local"), .internal = true, .no_bcc = true, .header_checks_off = true,
		.done = on_passed, .ctx = d };
	char qid[QID_MAX];

	envelope_copy(&env, &d->env, d->arena);
	env.filter = d->action->text;
	env.delay_warned = false;
	envelope_add_rcpt(&env, d->arena, &rcpt);
	local_make_qid(d->l, qid);
	d->submission = submit(d->l, qid, &in);
}

static void
do_action(struct delivery *d)
{
	struct plan_action *x = d->action;

	switch (x->kind) {
	case PLAN_MAILBOX:
		do_mailbox(d);
		return;
	case PLAN_FILE:
		run_file(d);
		return;
	case PLAN_COMMAND:
		run_command(d, x->text, SPAN(""));
		return;
	case PLAN_TRANSPORT:
		do_transport(d);
		return;
	case PLAN_DISCARD:
		log_warning(&d->log, "required alias not found: %.*s", SPAN_ARG(log_esc(x->text)));
		action_sent(d, SPAN("discarded"));
		return;
	case PLAN_FAIL:
		if (span_starts(span_str(x->why.text), SPAN("alias database loop")))
			log_warning(&d->log, "%s", x->why.text);
		action_failed(d, &x->why);
		return;
	case PLAN_FORWARD:
		/* Last, and only when nothing was deferred. */
		d->action = x->next;
		delivery_go(d);
		return;
	}
}

/* What `-bv` and address probes want to know. */
static void
report_probe(struct delivery *d)
{
	for (struct plan_action *x = d->plan.first; x != NULL; x = x->next) {
		if (x->kind == PLAN_FAIL)
			delivery_failed(d, x->to, &x->why);
		else
			delivery_outcome(d, x->to, OUTCOME_SENT, REPORT_NONE, "2.0.0",
			    x->kind == PLAN_FORWARD ? SPAN("forwards") : x->kind == PLAN_COMMAND ?
			    SPAN("delivers to command") : x->kind == PLAN_FILE ? SPAN("delivers to file") :
			    SPAN("delivers to mailbox"));
	}
	delivery_rcpt_done(d);
}

static void
go_on(struct delivery *d)
{
	struct delivery_rcpt *r = delivery_rcpt(d);

	if (d->action != NULL) {
		struct fault why;

		if (d->action->to.n > 0 && !span_eq(d->action->to, r->in.addr) && delivery_looped(d, d->action->to)) {
			fault_set(&why, "5.4.6", "mail forwarding loop for %.*s", SPAN_ARG(d->action->to));
			action_failed(d, &why);
			return;
		}
		do_action(d);
		return;
	}
	if (!r->settled || r->outcome != OUTCOME_DEFERRED)
		for (struct plan_action *x = d->plan.first; x != NULL; x = x->next)
			if (x->kind == PLAN_FORWARD && !x->done) {
				delivery_forward(d, x);
				return;
			}
	delivery_rcpt_done(d);
}

static void
make_plan(struct delivery *d)
{
	struct span rcpt = delivery_rcpt(d)->in.addr;
	struct fault why = { 0 };
	enum map_result r = MAP_DEFER;

	if (delivery_looped(d, rcpt))
		fault_set(&why, "5.4.6", "mail forwarding loop for %.*s", SPAN_ARG(rcpt));
	else
		r = agent_local_plan(d, &why);
	if (r == MAP_WAIT)
		return;
	if (r != MAP_FOUND) {
		delivery_failed(d, rcpt, &why);
		delivery_rcpt_done(d);
		return;
	}
	d->begun = true;
	d->action = d->plan.first;
	if (d->probe)
		report_probe(d);
	else
		delivery_go(d);
}

static void
local_work(struct delivery *d)
{
	/* A turn that was asked for before the step under way began. */
	if (d->run_id != 0 || d->submission != NULL)
		return;
	if (d->begun)
		go_on(d);
	else
		make_plan(d);
}

static struct maps *
status_table(const struct agent_conf *c, const char **param_r)
{
	*param_r = "local_delivery_status_filter";
	return c->local_filter;
}

const struct agent agent_local = { .command = "local", .relay = "local", .filter = status_table, .work = local_work };
