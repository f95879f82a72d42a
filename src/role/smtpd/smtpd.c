/* The SMTP server role: its page of the tree of processes. */
#include "role/smtpd/smtpd.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/panic.h"
#include "role/common/chains.h"
#include "role/roles.h"
#include "tls/library.h"

#define ACCEPTS_PER_TURN 4u     /* few: each process that is awake gets some of a crowd */
#define SPARE_DESCRIPTORS 200u
#define MEMORY_CLIENTS 80       /* per cent of memory_limit: new clients are sent away */

/* --- taking clients --- */

static bool
full(const struct smtpd *d)
{
	return d->n_sessions >= d->max_sessions ||
	    role_memory(d->role) > d->role->conf->params->memory_limit / 100 * MEMORY_CLIENTS;
}

/* No session, no names: it has to cost nothing. */
static void
send_away(const struct service *svc, int fd)
{
	struct buf text;

	buf_init(&text, 512);
	if (!svc->wrapper)
		buf_addf(&text, "421 %s Service unavailable - try again later\r\n", svc->p->myhostname);
	if (text.n > 0)
		fd_write(fd, text.p, text.n);
	buf_release(&text);
	fd_close(&fd);
}

static void
on_client(void *ctx, unsigned ready)
{
	struct listening *door = ctx;

	(void)ready;
	for (unsigned i = 0; i < ACCEPTS_PER_TURN; i++) {
		int fd = accept4(door->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0)
			return;         /* nobody (any more), or no descriptor: the next turn sees */
		if (full(door->d))
			send_away(door->svc, fd);
		else
			session_accept(door->d, door->svc, fd);
	}
}

/* --- opening --- */

static struct service *
service_find(struct smtpd *d, const char *name)
{
	for (size_t i = 0; i < d->n_services; i++)
		if (strcmp(d->services[i].name, name) == 0)
			return &d->services[i];
	return NULL;
}

static void
open_service(struct smtpd *d, const struct conf_service *cs, const char *name, bool local)
{
	struct fault why = { 0 };

	if (!service_open(d, &d->services[d->n_services++], cs, name, local, &why))
		fatal("service %s: %s", name, why.text);
}

static void
open_services(struct smtpd *d)
{
	const struct conf *conf = d->role->conf;

	d->services = calloc(conf->service_count + 1, sizeof(*d->services));
	ensure(d->services != NULL);
	for (size_t i = 0; i < conf->service_count; i++) {
		const struct conf_service *cs = &conf->services[i];

		if (cs->type == CONF_SERVICE_INET && !cs->disabled && strcmp(cs->command, "smtpd") == 0)
			open_service(d, cs, cs->name, false);
	}
	open_service(d, conf->none, "submit", true);
}

static void
smtpd_open(struct role *r)
{
	static struct smtpd state;
	struct smtpd *d = &state;
	struct fault why = { 0 };

	if (!tls_library_open(r->conf->params->tls_config_file, r->conf->params->tls_config_name, &why))
		fatal("%s", why.text);
	*d = (struct smtpd){ .role = r, .arena = arena_new(SESSION_ARENA), .scratch = arena_new(QUESTION_ARENA) };
	r->state = d;
	list_init(&d->sessions);
	list_init(&d->dead);
	list_init(&d->auth_links);
	keys_open(d);
	open_services(d);
	/* Two generations live side by side during a reload: each has its own columns. */
	d->counters = counters_open(role_shared(r, "counters"), (r->generation & 1) * (COUNTERS_COLUMNS / 2) +
	    r->index % (COUNTERS_COLUMNS / 2));
	role_allow_dir(r, "/etc", false);
}

/* --- life --- */

static void
on_relief(void *ctx)
{
	struct smtpd *d = ctx;

	LIST_EACH(n, &d->sessions)
		session_pump(LIST_ITEM(n, struct session, node));
}

static void
on_farewell(void *ctx)
{
	struct smtpd *d = ctx;

	LIST_EACH(n, &d->sessions) {
		struct session *s = LIST_ITEM(n, struct session, node);
		struct smtps_reply r = { .code = 421, .dsn = "4.3.2", .hang_up = true };

		r.text = arena_printf(d->scratch, "%s Service shutting down", s->p->myhostname);
		smtps_hang_up(s->engine, &r, now_us(s));
		session_pump(s);
	}
}

static void
smtpd_start(struct role *r)
{
	struct smtpd *d = r->state;
	struct rlimit files;

	getrlimit(RLIMIT_NOFILE, &files);
	d->max_sessions = files.rlim_cur > 2 * SPARE_DESCRIPTORS ? (unsigned)files.rlim_cur - SPARE_DESCRIPTORS : SPARE_DESCRIPTORS;
	loop_task_init(&d->reap, sessions_reap, d);
	loop_timer_init(&d->farewell, r->loop, on_farewell, d);
	loop_timer_init(&d->relief, r->loop, on_relief, d);
	keys_start(d);
	auth_links_start(d);
	d->doors = calloc(r->n_listeners, sizeof(*d->doors));
	for (size_t i = 0; i < r->n_listeners; i++) {
		struct listening *door = &d->doors[d->n_doors];

		door->d = d;
		door->fd = r->listeners[i].fd;
		door->svc = service_find(d, r->listeners[i].service);
		if (door->svc == NULL)
			continue;
		d->n_doors++;
		loop_fd_init(&door->watch, r->loop, door->fd, on_client, door);
		loop_fd_want(&door->watch, LOOP_READ);
	}
}

static void
smtpd_drain(struct role *r, bool stop)
{
	struct smtpd *d = r->state;
	int64_t grace_ms = r->conf->params->reload_drain_time_ms;

	for (size_t i = 0; i < d->n_doors; i++) {
		loop_fd_release(&d->doors[i].watch);
		fd_close(&d->doors[i].fd);
	}
	if (stop) {
		LIST_EACH(n, &d->sessions) {
			struct session *s = LIST_ITEM(n, struct session, node);

			smtps_drain(s->engine, now_us(s));
			session_pump(s);
		}
	} else {
		/* Sessions may finish; shortly before the end they are told. */
		loop_timer_set_ms(&d->farewell, grace_ms - grace_ms / 10);
	}
	loop_defer(r->loop, &d->reap);
}

static void
smtpd_status(struct role *r, struct buf *json)
{
	struct smtpd *d = r->state;
	unsigned services, down;

	services = auth_links_count(d, &down);
	if (services > 0)
		buf_addf(json, "\"auth_services\": %u, \"auth_services_down\": %u, ", services, down);
	buf_addf(json, "\"sessions\": %u, \"max_sessions\": %u, \"messages\": %llu", d->n_sessions, d->max_sessions,
	    (unsigned long long)d->messages);
}

const struct role_spec smtpd_role = {
	.role = IPC_ROLE_SMTPD,
	.network = true,
	.open = smtpd_open,
	.take_peer = role_keys_take_channel,
	.start = smtpd_start,
	.file_changed = keys_file_changed,
	.drain = smtpd_drain,
	.status = smtpd_status,
};
