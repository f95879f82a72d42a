/* The shared first page of every role, and its life with master. */
#include "role/common/role.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/panic.h"
#include "dns/dns.h"
#include "role/common/confine.h"
#include "role/common/logring.h"

#define CHANNEL 3
#define START_MS 30000
#define MAX_DIRS 128
#define MAX_SHARED 8
#define ARENA_MAX (64u << 20)
#define MEMORY_TRIM 75          /* per cent of memory_limit: before anybody is sent away */

struct role_file {
	struct list node;
	char *path;
	int fd;
};

struct role_private {
	struct ipc_handlers on;
	struct arena *arena;            /* names that live as long as the process */
	char tag[64];
	struct confine_dir dirs[MAX_DIRS];
	size_t n_dirs;
	struct { const char *name; int fd; } shared[MAX_SHARED];
	size_t n_shared;
	struct list files;
	struct loop_timer grace;
	struct loop_task bye;
	uint64_t memory;
	int64_t memory_at_us, trimmed_us;
	bool done;
};

/* ---- files that master opened */

static struct role_file *
find_file(struct role *r, struct span path)
{
	LIST_EACH(n, &r->priv->files) {
		struct role_file *f = LIST_ITEM(n, struct role_file, node);

		if (span_eq(span_str(f->path), path))
			return f;
	}
	return NULL;
}

static struct role_file *
take_file(struct role *r, struct ipc_role_file *m)
{
	struct role_file *f = find_file(r, m->path);

	if (f == NULL) {
		f = calloc(1, sizeof(*f));
		if (f == NULL || (f->path = strndup(m->path.p, m->path.n)) == NULL)
			panic("out of memory");
		f->fd = -1;
		list_push_back(&r->priv->files, &f->node);
	}
	fd_close(&f->fd);
	f->fd = m->file;
	m->file = -1;
	return f;
}

int
role_open_file(struct role *r, const char *path)
{
	struct role_file *f = find_file(r, span_str(path));
	int fd;

	if (f == NULL || f->fd < 0)
		return fd_open(AT_FDCWD, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
	fd = fcntl(f->fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	lseek(fd, 0, SEEK_SET);
	return fd;
}

int
role_handed_file(struct role *r, const char *path)
{
	struct role_file *f = find_file(r, span_str(path));
	int fd;

	if (f == NULL || f->fd < 0)
		return f == NULL ? -EAGAIN : -ENOENT;
	fd = fcntl(f->fd, F_DUPFD_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

static int
open_for_maps(void *ctx, const char *path)
{
	return role_open_file(ctx, path);
}

/* Strings of the environment live as long as the process: tables of the old configuration may still use them. */
static void
set_maps_env(struct role *r)
{
	const struct params *p = r->conf->params;
	struct arena *a = r->priv->arena;

	r->maps_env = (struct maps_env){
		.data_directory = arena_cstr(a, span_str(p->data_directory)),
		.default_database_type = arena_cstr(a, span_str(p->default_database_type)),
		.alias_tables = arena_printf(a, "%s %s", p->alias_maps, p->alias_database).p,
		.open = open_for_maps,
		.open_ctx = r,
	};
}

/* ---- start: what master sends before ROLE_GO */

static void
take_listener(struct role *r, struct ipc_role_listener *m)
{
	struct role_listener *l;

	r->listeners = reallocarray(r->listeners, r->n_listeners + 1, sizeof(*r->listeners));
	if (r->listeners == NULL)
		panic("out of memory");
	l = &r->listeners[r->n_listeners++];
	l->service = arena_cstr(r->priv->arena, m->service);
	l->address = arena_cstr(r->priv->arena, m->address);
	l->fd = m->sock;
	fd_nonblock(l->fd, true);
	m->sock = -1;
}

static void
take_shared(struct role *r, struct ipc_role_shared *m)
{
	ensure(r->priv->n_shared < MAX_SHARED);
	r->priv->shared[r->priv->n_shared].name = arena_cstr(r->priv->arena, m->name);
	r->priv->shared[r->priv->n_shared++].fd = m->mem;
	m->mem = -1;
}

static struct conf *
read_conf(int fd)
{
	struct conf *conf = NULL;
	struct fault why = { 0 };
	struct stat st;
	char *text;

	if (fd < 0 || fd_stat(fd, &st) < 0)
		panic("no configuration from master");
	text = malloc((size_t)st.st_size + 1);
	if (text == NULL || fd_pread_all(fd, text, (size_t)st.st_size, 0) < 0)
		panic("cannot read the configuration from master");
	if (!conf_read(span_of(text, (size_t)st.st_size), &conf, &why))
		panic("configuration from master: %s", why.text);
	free(text);
	return conf;
}

static void
take_begin(struct role *r, struct ipc_role_begin *m)
{
	r->index = m->index;
	r->workers = m->workers;
	r->as_root = m->as_root;
	r->reloaded = m->reload;
	r->generation = m->generation;
	r->conf = read_conf(m->conf);
	snprintf(r->priv->tag, sizeof(r->priv->tag), "%s/%s", r->conf->params->syslog_name,
	    r->spec->role == IPC_ROLE_SMTPC ? "smtp" : r->spec->role == IPC_ROLE_QUEUE ? "qmgr" :
	    ipc_role_name(r->spec->role));
	log_set_tag(r->priv->tag);
}

static void
take_peer(struct role *r, struct ipc_role_peer *m)
{
	fd_nonblock(m->sock, true);
	if (r->spec->take_peer == NULL || !r->spec->take_peer(r, m->role, m->index, m->sock))
		ipc_peer_add(r->hub, m->role, m->index, m->sock);
	m->sock = -1;
}

/* One message of the start; true when it was ROLE_GO. */
static bool
take_start_message(struct role *r, int type, struct span payload, int *fd, struct arena *a)
{
	union {
		struct ipc_role_begin begin;
		struct ipc_role_listener listener;
		struct ipc_role_logger logger;
		struct ipc_role_shared shared;
		struct ipc_role_file file;
		struct ipc_role_peer peer;
	} m;
	bool ok = false;

	if (type == IPC_ROLE_GO)
		return true;
	if (type == IPC_ROLE_BEGIN && (ok = ipc_decode_role_begin(payload, a, &m.begin))) {
		m.begin.conf = *fd;
		take_begin(r, &m.begin);
	} else if (type == IPC_ROLE_LISTENER && (ok = ipc_decode_role_listener(payload, a, &m.listener))) {
		m.listener.sock = *fd;
		take_listener(r, &m.listener);
		*fd = -1;
	} else if (type == IPC_ROLE_LOGGER && (ok = true)) {
		logring_set_pipe(*fd);
		*fd = -1;
	} else if (type == IPC_ROLE_SHARED && (ok = ipc_decode_role_shared(payload, a, &m.shared))) {
		m.shared.mem = *fd;
		take_shared(r, &m.shared);
		*fd = -1;
	} else if (type == IPC_ROLE_FILE && (ok = ipc_decode_role_file(payload, a, &m.file))) {
		m.file.file = *fd;
		take_file(r, &m.file);
		*fd = -1;
	} else if (type == IPC_ROLE_PEER && (ok = ipc_decode_role_peer(payload, a, &m.peer))) {
		m.peer.sock = *fd;
		take_peer(r, &m.peer);
		*fd = -1;
	}
	if (!ok)
		panic("unexpected message %s from master at start", ipc_type_name((unsigned)type));
	return false;
}

static void
read_start(struct role *r)
{
	struct arena *a = arena_new(1u << 20);
	struct buf b;
	bool go = false;

	buf_init(&b, 8u << 20);
	while (!go) {
		struct span payload;
		uint64_t id;
		int fd, type = ipc_read_blocking(CHANNEL, START_MS, &b, &id, &payload, &fd);

		if (type == 0)
			_exit(0);       /* master gave up before we began */
		if (type < 0)
			panic("master: %s", fd_error(type));
		go = take_start_message(r, type, payload, &fd, a);
		fd_close(&fd);
		arena_clear(a);
	}
	buf_release(&b);
	arena_free(&a);
}

/* ---- life: messages of master while the loop runs */

static void
on_peer(void *ctx, struct ipc_from from, struct ipc_role_peer *m)
{
	(void)from;
	take_peer(ctx, m);
}

static void
on_file(void *ctx, struct ipc_from from, struct ipc_role_file *m)
{
	struct role *r = ctx;
	struct role_file *f;

	(void)from;
	f = take_file(r, m);
	if (r->spec->file_changed != NULL)
		r->spec->file_changed(r, f->path);
}

static void
on_logger(void *ctx, struct ipc_from from, struct ipc_role_logger *m)
{
	(void)ctx;
	(void)from;
	logring_set_pipe(m->pipe);
	m->pipe = -1;
}

static void
on_conf(void *ctx, struct ipc_from from, struct ipc_role_conf *m)
{
	struct role *r = ctx;
	struct conf *old = r->conf;

	(void)from;
	r->conf = read_conf(m->conf);
	r->generation++;
	set_maps_env(r);
	if (r->spec->reconf != NULL)
		r->spec->reconf(r, old);
	conf_unref(&old);
}

static void
on_grace_over(void *ctx)
{
	struct role *r = ctx;

	log_info(NULL, "ending with work unfinished: the time to finish is over");
	role_done(r);
}

static void
drain(struct role *r, uint32_t grace_ms, bool stop)
{
	loop_timer_set_ms(&r->priv->grace, grace_ms);
	r->draining = true;
	if (r->spec->drain != NULL)
		r->spec->drain(r, stop);
	else
		role_done(r);
}

static void
on_drain(void *ctx, struct ipc_from from, struct ipc_role_drain *m)
{
	(void)from;
	drain(ctx, m->grace_ms, false);
}

static void
on_stop(void *ctx, struct ipc_from from, struct ipc_role_stop *m)
{
	(void)from;
	drain(ctx, m->grace_ms, true);
}

static void
on_status(void *ctx, struct ipc_from from, struct ipc_status_ask *m)
{
	struct role *r = ctx;
	struct buf json;
	struct ipc_status_report report;

	(void)m;
	buf_init(&json, 3u << 20);
	buf_addf(&json, "{\"role\": \"%s\", \"index\": %u, \"pid\": %d, \"memory\": %llu", ipc_role_name(r->spec->role),
	    r->index, (int)getpid(), (unsigned long long)role_memory(r));
	if (r->spec->status != NULL) {
		size_t before;

		buf_add_str(&json, ", ");
		before = json.n;
		r->spec->status(r, &json);
		if (json.n == before)
			buf_truncate(&json, before - 2);
	}
	buf_addc(&json, '}');
	report.json = buf_span(&json);
	ipc_reply_status_report(r->hub, from, &report);
	buf_release(&json);
}

static void
on_peer_up(void *ctx, struct ipc_peer *p)
{
	struct role *r = ctx;

	if (r->spec->peer_up != NULL && r->state != NULL)
		r->spec->peer_up(r, p);
}

static void
on_peer_down(void *ctx, struct ipc_peer *p)
{
	struct role *r = ctx;

	if (ipc_peer_role(p) == IPC_ROLE_MASTER)
		_exit(0);               /* master is gone: nobody is left to serve */
	if (ipc_peer_role(p) == IPC_ROLE_LOOKUP && ipc_peer_count(r->hub, IPC_ROLE_LOOKUP) == 0)
		asks_lost_map(r->asks);
	if (ipc_peer_role(p) == IPC_ROLE_RESOLVER)
		asks_lost_dns(r->asks);
	if (r->spec->peer_down != NULL)
		r->spec->peer_down(r, p);
}

static void
on_bye(void *ctx)
{
	struct role *r = ctx;
	struct ipc_role_bye bye = { 0 };
	struct ipc_peer *master = ipc_peer_at(r->hub, IPC_ROLE_MASTER, 0);

	if (master != NULL)
		ipc_send_role_bye(master, &bye);
	ipc_hub_flush(r->hub);
	logring_finish();
	_exit(0);
}

void
role_done(struct role *r)
{
	if (!r->priv->done)
		loop_defer(r->loop, &r->priv->bye);
	r->priv->done = true;
}

/* ---- asks over IPC */

struct asked {
	struct role *role;
	uint64_t id;
};

static struct asked *
asked_new(struct role *r, uint64_t id)
{
	struct asked *a = malloc(sizeof(*a));

	if (a == NULL)
		panic("out of memory");
	*a = (struct asked){ r, id };
	return a;
}

static void
on_map_answer(void *ctx, enum ipc_result result, struct ipc_lookup_answer *m)
{
	struct asked *a = ctx;
	struct fault why = { 0 };
	enum map_result answer = MAP_DEFER;

	if (result == IPC_OK && m->result <= 2)
		answer = m->result == 0 ? MAP_FOUND : m->result == 1 ? MAP_ABSENT : MAP_DEFER;
	if (answer == MAP_DEFER)
		fault_set(&why, "4.3.0", "%.*s", SPAN_ARG(result == IPC_OK ? m->why : SPAN("the lookup process did not answer")));
	asks_answer_map(a->role->asks, a->id, answer, result == IPC_OK ? m->value : SPAN(""), &why);
	free(a);
}

static bool
ask_map(void *ctx, uint64_t id, struct span table, struct span key)
{
	struct role *r = ctx;
	struct ipc_lookup_ask m = { .table = table, .key = key };
	struct asked *a = asked_new(r, id);

	if (ipc_ask_lookup_ask(ipc_peer_any(r->hub, IPC_ROLE_LOOKUP), &m, 60000, on_map_answer, a) != 0)
		return true;
	free(a);
	return false;
}

static void
on_dns_answer(void *ctx, enum ipc_result result, struct ipc_resolver_answer *m)
{
	struct asked *a = ctx;
	struct arena *arena = asks_answer_arena(a->role->asks, a->id);

	if (arena != NULL) {
		struct dns_answer *answer = ARENA_NEW(arena, struct dns_answer);
		bool known = result == IPC_OK && dns_answer_read(m->answer, arena, answer);

		asks_answer_dns(a->role->asks, a->id, known ? answer : NULL);
	}
	free(a);
}

static bool
ask_dns(void *ctx, uint64_t id, struct span name, uint16_t type)
{
	struct role *r = ctx;
	struct ipc_resolver_ask m = { .name = name, .rrtype = type };
	struct asked *a = asked_new(r, id);

	if (ipc_ask_resolver_ask(ipc_peer_any(r->hub, IPC_ROLE_RESOLVER), &m, 60000, on_dns_answer, a) != 0)
		return true;
	free(a);
	return false;
}

static const struct asks_ops asks_ops = { ask_map, ask_dns };

/* ---- the page */

void
role_allow_dir(struct role *r, const char *path, bool write)
{
	for (size_t i = 0; i < r->priv->n_dirs; i++)
		if (strcmp(r->priv->dirs[i].path, path) == 0 && r->priv->dirs[i].write >= write)
			return;
	if (r->priv->n_dirs == MAX_DIRS)
		fatal("%s: more than %d directories in the configuration: put certificates and tables together",
		    ipc_role_name(r->spec->role), MAX_DIRS);
	r->priv->dirs[r->priv->n_dirs].path = arena_cstr(r->priv->arena, span_str(path));
	r->priv->dirs[r->priv->n_dirs++].write = write;
}

int
role_shared(struct role *r, const char *name)
{
	for (size_t i = 0; i < r->priv->n_shared; i++)
		if (strcmp(r->priv->shared[i].name, name) == 0)
			return r->priv->shared[i].fd;
	return -1;
}

const char *
role_queue_path(struct role *r, struct arena *a, const char *name)
{
	return arena_printf(a, "%s/%s", r->conf->params->queue_directory, name).p;
}

static uint64_t
private_bytes(void)
{
	struct buf b;
	struct span rest, word;
	uint64_t resident = 0, shared = 0, bytes = 0;

	buf_init(&b, 4096);
	if (fd_read_file(AT_FDCWD, "/proc/self/statm", &b) == 0) {
		rest = span_trim(buf_span(&b));
		if (span_token(&rest, " ", &word) && span_token(&rest, " ", &word) && span_u64(word, 1u << 30, &resident) &&
		    span_token(&rest, " ", &word) && span_u64(word, 1u << 30, &shared) && resident > shared)
			bytes = (resident - shared) * (uint64_t)sysconf(_SC_PAGESIZE);
	}
	buf_release(&b);
	return bytes;
}

/*
 * What is in use is not what the process has: malloc keeps free pages between used ones. When they would count against
 * us they are given back to the system, at most once a second, or one crowd would shut the door for all that follow.
 */
uint64_t
role_memory(struct role *r)
{
	struct role_private *v = r->priv;
	int64_t now = loop_now_us(r->loop);

	if (now - v->memory_at_us < 100 * US_PER_MS && v->memory > 0)
		return v->memory;
	v->memory = private_bytes();
	if (v->memory > r->conf->params->memory_limit / 100 * MEMORY_TRIM && now - v->trimmed_us > US_PER_S) {
		malloc_trim(0);
		v->memory = private_bytes();
		v->trimmed_us = now;
	}
	v->memory_at_us = now;
	return v->memory;
}

static void
fill_handlers(struct role *r)
{
	struct ipc_handlers *on = &r->priv->on;

	*on = r->spec->on;
	on->role_peer = on_peer;
	on->role_file = on_file;
	on->role_logger = on_logger;
	on->role_conf = on_conf;
	on->role_drain = on_drain;
	on->role_stop = on_stop;
	on->status_ask = on_status;
}

static void
make_ties(struct role *r, struct loop *loop)
{
	struct ipc_hub_ops ops = { .on = &r->priv->on, .peer_up = on_peer_up, .peer_down = on_peer_down, .ctx = r };

	list_init(&r->priv->files);
	fill_handlers(r);
	r->loop = loop;
	r->hub = ipc_hub_new(r->loop, r->spec->role, &ops);
	r->asks = asks_link_new(r->loop, &asks_ops, r, 60000);
	loop_timer_init(&r->priv->grace, r->loop, on_grace_over, r);
	loop_task_init(&r->priv->bye, on_bye, r);
}

void
role_attach(struct role *r, const struct role_spec *spec, struct loop *loop, struct conf *conf)
{
	*r = (struct role){ .spec = spec, .conf = conf, .workers = 1, .priv = calloc(1, sizeof(*r->priv)) };
	ensure(r->priv != NULL);
	r->priv->arena = arena_new(ARENA_MAX);
	make_ties(r, loop);
	set_maps_env(r);
}

void
role_detach(struct role *r)
{
	ipc_hub_free(&r->hub);
	asks_link_free(&r->asks);
	loop_timer_release(&r->priv->grace);
	loop_task_cancel(&r->priv->bye);
	arena_free(&r->priv->arena);
	free(r->priv);
	r->priv = NULL;
}

const char *
role_user(const struct params *p, bool network, bool keys)
{
	if (!network && !keys)
		return p->mail_owner;
	/*
	 * The roles that parse what strangers send, and the one that holds the keys, have users of
	 * their own where the administrator made them.
	 */
	return confine_user_for(p->mail_owner, keys ? "keeper" : "net");
}

void
role_reach(const struct conf *c, void (*allow)(void *ctx, const char *path), void *ctx)
{
	allow(ctx, c->dir);
	allow(ctx, "/etc");
	allow(ctx, "/usr/share");
}

static void
allow_reading(void *ctx, const char *path)
{
	role_allow_dir(ctx, path, false);
}

static void
confine(struct role *r)
{
	struct fault why = { 0 };

	confine_raise_files();
	if (r->spec->keeps_root)
		return;
	if (r->spec->keys) {
		r->memory_locked = confine_secrets(r->as_root, &why);
		if (!r->memory_locked)
			log_info(NULL, "%s: %s", ipc_role_name(r->spec->role), why.text);
	}
	if (r->as_root && !confine_user(role_user(r->conf->params, r->spec->network, r->spec->keys), &why))
		fatal("%s: parameter mail_owner: %s", ipc_role_name(r->spec->role), why.text);
	confine_no_new_privs();
	if (r->spec->keys)
		confine_no_dumps();     /* again: a change of ids resets it */
	/*
	 * The kernel counts addresses here, which stay taken when buffers are not full or pages were given back; the limit itself
	 * is kept by looking at what is really used (role_memory). This one is for our own bugs.
	 */
	confine_memory(2 * r->conf->params->memory_limit);
	if (!confine_files(r->priv->dirs, r->priv->n_dirs, &why))
		log_warning_once(NULL, "%s runs without file system confinement: %s", ipc_role_name(r->spec->role), why.text);
}

_Noreturn void
role_main(const struct role_spec *spec)
{
	static struct role role;
	static struct role_private priv;
	struct role *r = &role;
	struct ipc_role_ready ready = { 0 };

	r->spec = spec;
	r->priv = &priv;
	priv.arena = arena_new(ARENA_MAX);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGINT, SIG_IGN);        /* the terminal's Ctrl-C is master's business */
	signal(SIGHUP, SIG_IGN);
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	r->loop = loop_new();
	logring_open(r->loop);
	make_ties(r, r->loop);
	read_start(r);
	ipc_peer_add(r->hub, IPC_ROLE_MASTER, 0, CHANNEL);
	set_maps_env(r);
	if (!spec->keys)
		role_reach(r->conf, allow_reading, r);
	role_allow_dir(r, "/proc/self", false);
	log_set_starting(true);
	if (spec->open != NULL)
		spec->open(r);
	confine(r);
	if (spec->start != NULL)
		spec->start(r);
	log_set_starting(false);
	ipc_send_role_ready(ipc_peer_at(r->hub, IPC_ROLE_MASTER, 0), &ready);
	loop_run(r->loop);
	_exit(0);
}
