/* Asking deliver: what is put in front of the message, what commands see, what the answers mean. */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "mail/address.h"
#include "role/local/delivery.h"
#include "role/local/exits.h"

#define BOX_ANSWER_MS 700000
#define READ_ANSWER_MS 90000
#define ANSWER_MARGIN_MS 60000

/* ---- head */

static void
add_from_line(struct delivery *d, struct buf *b, struct span sender)
{
	time_t now = (time_t)(clock_wall_us() / US_PER_S);
	char date[64];
	struct tm tm;

	localtime_r(&now, &tm);
	strftime(date, sizeof(date), "%a %b %e %H:%M:%S %Y", &tm);
	buf_addf(b, "From %.*s  %s", SPAN_ARG(sender.n > 0 ? address_external(sender, d->arena) :
	    SPAN("MAILER-DAEMON")), date);
}

static void
add_address(struct delivery *d, struct buf *b, const char *name, struct span addr, struct span eol)
{
	buf_addf(b, "%s%.*s", name, SPAN_ARG(address_external(addr, d->arena)));
	buf_add_span(b, eol);
}

/* Whose mail it is: of the recipient all the way, or (frozen_delivered_to = no) of the alias or user that it came to. */
static struct span
delivered_to(const struct delivery *d)
{
	const struct plan_action *x = d->action;

	for (x = x == NULL && !d->p->frozen_delivered_to ? d->plan.first : x; x != NULL && x->done;)
		x = x->next;
	return d->p->frozen_delivered_to || x == NULL || x->to.n == 0 ? d->rcpts[d->at].in.addr : x->to;
}

struct span
delivery_head(struct delivery *d, unsigned which, struct span sender, struct span eol)
{
	const struct ipc_rcpt *r = &delivery_rcpt(d)->in;
	struct buf b;
	struct span head;

	buf_init(&b, 16384);
	if (which & HEAD_FROM) {
		add_from_line(d, &b, sender);
		buf_add_span(&b, eol);
	}
	if (which & HEAD_RETURN_PATH) {
		buf_addf(&b, "Return-Path: <%.*s>", SPAN_ARG(address_external(sender, d->arena)));
		buf_add_span(&b, eol);
	}
	if ((which & HEAD_ORIGINAL_TO) && d->p->enable_original_recipient && r->orig.n > 0)
		add_address(d, &b, "X-Original-To: ", r->orig, eol);
	if (which & HEAD_DELIVERED_TO)
		add_address(d, &b, "Delivered-To: ", delivered_to(d), eol);
	head = arena_dup(d->arena, buf_span(&b));
	buf_release(&b);
	return head;
}

/* ---- environment of commands */

struct env {
	struct buf b;
	const char *filter;
};

static void
put(struct env *e, const char *name, struct span value, bool filtered)
{
	buf_addf(&e->b, "%s=", name);
	for (size_t i = 0; i < value.n; i++) {
		char c = value.p[i];

		if (c == '\0' || (filtered && strchr(e->filter, c) == NULL))
			c = '_';
		buf_addc(&e->b, c);
	}
	buf_addc(&e->b, '\0');
}

static void
put_exported(struct env *e, struct delivery *d)
{
	struct span rest = span_str(d->p->export_environment), word;

	while (span_token(&rest, ", \t\n", &word)) {
		const char *text = arena_cstr(d->arena, word);
		ptrdiff_t at = span_index(word, '=');

		if (at > 0)
			put(e, arena_cstr(d->arena, span_slice(word, 0, (size_t)at)), span_from(word, (size_t)at + 1), false);
		else if (getenv(text) != NULL)
			put(e, text, span_str(getenv(text)), false);
	}
}

struct span
delivery_exported(struct delivery *d)
{
	struct env e = { 0 };
	struct span all;

	buf_init(&e.b, 16384);
	put(&e, "PATH", SPAN("/usr/bin:/bin"), false);
	put_exported(&e, d);
	all = arena_dup(d->arena, buf_span(&e.b));
	buf_release(&e.b);
	return all;
}

struct span
delivery_envid(const struct delivery *d)
{
	struct span envid = d->env.envid;
	struct buf b;
	bool plain;

	buf_init(&b, size_add(envid.n, 1));
	plain = text_unxtext(&b, envid);
	for (size_t i = 0; i < b.n; i++)
		plain = plain && b.p[i] >= ' ' && b.p[i] <= '~';
	if (plain)
		envid = arena_dup(d->arena, buf_span(&b));
	buf_release(&b);
	return envid;
}

static void
put_client(struct env *e, const struct delivery *d)
{
	const struct envelope *env = &d->env;
	const struct { const char *name; struct span value; } rows[] = {
		{ "CLIENT_ADDRESS", env->client_addr }, { "CLIENT_HELO", env->client_helo },
		{ "CLIENT_HOSTNAME", env->client_name }, { "CLIENT_PROTOCOL", env->client_protocol },
		{ "SASL_METHOD", env->sasl_method }, { "SASL_SENDER", env->sasl_sender },
		{ "SASL_USERNAME", env->sasl_username }, { "ENVID", delivery_envid(d) },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].value.n > 0)
			put(e, rows[i].name, rows[i].value, true);
}

struct span
delivery_env(struct delivery *d, const struct plan_user *user, struct span sender, struct span extension)
{
	const struct ipc_rcpt *r = &delivery_rcpt(d)->in;
	struct env e = { .filter = d->p->command_expansion_filter };
	struct span local, domain, all;

	buf_init(&e.b, 16384);
	address_split(r->addr, &local, &domain);
	put(&e, "PATH", SPAN("/usr/bin:/bin"), false);
	put_exported(&e, d);
	if (user != NULL) {
		put(&e, "HOME", user->home, false);
		put(&e, "SHELL", user->shell.n > 0 ? user->shell : SPAN("/bin/sh"), false);
		put(&e, "USER", user->name, true);
		put(&e, "LOGNAME", user->name, true);
	}
	put(&e, "SENDER", sender, true);
	put(&e, "RECIPIENT", r->addr, true);
	put(&e, "ORIGINAL_RECIPIENT", r->orig.n > 0 ? r->orig : r->addr, true);
	put(&e, "LOCAL", local, true);
	put(&e, "DOMAIN", domain, true);
	if (extension.n > 0)
		put(&e, "EXTENSION", extension, true);
	put_client(&e, d);
	all = arena_dup(d->arena, buf_span(&e.b));
	buf_release(&e.b);
	return all;
}

uint32_t
delivery_locks(const char *list)
{
	return (uint32_t)((local_list_has(list, "fcntl") ? RUN_LOCK_FCNTL : 0) |
	    (local_list_has(list, "flock") ? RUN_LOCK_FLOCK : 0) |
	    (local_list_has(list, "dotlock") ? RUN_LOCK_DOT : 0));
}

/* ---- runs */

static void
on_run_done(void *ctx, enum ipc_result result, struct ipc_run_done *m)
{
	struct delivery *d = ctx;

	d->run_id = 0;
	d->run_done(d, result == IPC_OK ? m : NULL);
}

/* Deliver is not there: tell so in the next turn, never from inside the call. */
void
delivery_run(struct delivery *d, struct ipc_run_start *m, delivery_run_fn *done)
{
	int64_t wait_ms = m->kind == RUN_COMMAND ? (int64_t)m->limit_ms + ANSWER_MARGIN_MS : BOX_ANSWER_MS;

	m->file = d->fd;
	m->offset = d->off;
	m->size = d->size;
	if (m->eol.n == 0)
		m->eol = SPAN("\n");
	d->run_done = done;
	d->run_id = ipc_ask_run_start(ipc_peer_any(d->l->role->hub, IPC_ROLE_DELIVER), m, wait_ms, on_run_done, d);
	if (d->run_id == 0)
		done(d, NULL);
}

bool
delivery_run_failed(const struct ipc_run_done *m, struct span what, struct fault *why)
{
	char dsn[12] = "4.3.0";

	if (m == NULL)
		return !fault_set(why, dsn, "local delivery process does not answer");
	switch (m->result) {
	case RUN_DELIVERED:
		return false;
	case RUN_EXITED:
		return exits_status((int)m->code, what, m->text, why) != EXITS_SENT;
	case RUN_SIGNALED:
		exits_signal((int)m->code, what, m->text, why);
		return true;
	case RUN_TIMED_OUT:
		exits_time_limit(what, m->text, why);
		return true;
	default:
		if (m->dsn.n > 0 && m->dsn.n < sizeof(dsn)) {
			memcpy(dsn, m->dsn.p, m->dsn.n);
			dsn[m->dsn.n] = '\0';
		}
		return !fault_set(why, dsn, "%.*s", SPAN_ARG(m->text));
	}
}

/* ---- facts */

static bool
split_passwd(struct span line, struct span f[7])
{
	size_t n = 0;

	while (n < 7) {
		span_cut(line, ':', &f[n], &line);
		n++;
		if (line.n == 0 && n < 6)
			return false;
	}
	return true;
}

enum map_result
delivery_user(struct delivery *d, struct span name, struct plan_user *u, struct fault *why)
{
	struct span value, f[7];
	uint64_t uid, gid;
	enum map_result r;

	if (name.n == 0 || name.n > 64)
		return MAP_ABSENT;
	r = asks_map(d->asks, SPAN("unix:passwd.byname"), name, d->arena, &value, why);
	if (r != MAP_FOUND)
		return r;
	if (!split_passwd(value, f) || !span_u64(f[2], UINT32_MAX - 1, &uid) || !span_u64(f[3], UINT32_MAX - 1, &gid)) {
		fault_set(why, "4.3.0", "damaged user database entry");
		return MAP_DEFER;
	}
	*u = (struct plan_user){ .name = f[0], .home = f[5], .shell = f[6],
		.rights = { .uid = (uid_t)uid, .gid = (gid_t)gid } };
	return MAP_FOUND;
}

static void
on_read_done(void *ctx, enum ipc_result result, struct ipc_run_read_done *m)
{
	struct delivery_read *r = ctx;
	struct delivery *d = r->d;

	r->ask_id = 0;
	r->lost = result != IPC_OK;
	if (!r->lost) {
		r->done = *m;
		r->done.why = arena_dup(d->arena, m->why);
		r->done.text = arena_dup(d->arena, m->text);
	}
	if (--d->reads_waiting == 0 && asks_waiting(d->asks) == 0)
		delivery_go(d);
}

static struct delivery_read *
find_read(struct delivery *d, struct span path, const struct plan_rights *rights)
{
	for (struct delivery_read *r = d->reads; r != NULL; r = r->next)
		if (r->rights.uid == rights->uid && span_eq(r->path, path))
			return r;
	return NULL;
}

static enum map_result
ask_read(struct delivery *d, struct span path, const struct plan_rights *rights)
{
	struct delivery_read *r = ARENA_NEW(d->arena, struct delivery_read);
	struct ipc_run_read m = { .uid = rights->uid, .gid = rights->gid };

	r->d = d;
	r->path = m.path = arena_dup(d->arena, path);
	r->rights = *rights;
	r->next = d->reads;
	d->reads = r;
	r->ask_id = ipc_ask_run_read(ipc_peer_any(d->l->role->hub, IPC_ROLE_DELIVER), &m, READ_ANSWER_MS,
	    on_read_done, r);
	r->lost = r->ask_id == 0;
	if (r->lost)
		return MAP_DEFER;
	d->reads_waiting++;
	return MAP_WAIT;
}

enum map_result
delivery_read_file(struct delivery *d, struct span path, const struct plan_rights *rights,
    const struct ipc_run_read_done **done_r, struct fault *why)
{
	struct delivery_read *r = find_read(d, path, rights);
	enum map_result result;

	if (r == NULL) {
		result = ask_read(d, path, rights);
		if (result == MAP_DEFER)
			fault_set(why, "4.3.0", "local delivery process is not there");
		return result;
	}
	if (r->ask_id != 0)
		return MAP_WAIT;
	if (r->lost || r->done.state == RUN_READ_LATER) {
		fault_set(why, "4.3.0", "%.*s", SPAN_ARG(r->lost ? SPAN("local delivery process does not answer") :
		    r->done.why));
		return MAP_DEFER;
	}
	*done_r = &r->done;
	return r->done.state == RUN_READ_ABSENT ? MAP_ABSENT : MAP_FOUND;
}
