/* master: start, signals, reload, stop. */
#include "role/master/master.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/panic.h"
#include "hop/conf_check.h"
#include "maps/conf_check.h"
#include "role/common/confine.h"
#include "role/common/logring.h"

#define COUNTERS_BYTES (4u << 20)

static void
log_report(const struct conf_report *report, enum conf_severity least)
{
	for (size_t i = 0; i < report->count; i++) {
		const struct conf_finding *f = &report->list[i];
		char where[4200] = "";

		if (f->severity < least)
			continue;
		if (*f->file != '\0')
			snprintf(where, sizeof(where), f->line > 0 ? "%s:%u: " : "%s: ", f->file, f->line);
		log_emit(NULL, f->severity == CONF_ERROR ? LOG_LEVEL_ERROR : f->severity == CONF_WARNING ? LOG_LEVEL_WARNING :
		    LOG_LEVEL_INFO, "%s%s%s%s", where, f->text, *f->fix != '\0' ? "; " : "", f->fix);
	}
}

/* Read and judge; what is wrong is in the report. */
static bool
load_conf(const struct master *m, struct conf **conf_r, struct conf_report *report)
{
	if (!conf_load(m->o->config_dir, conf_r, report))
		return false;
	maps_conf_check(*conf_r, report);
	hop_conf_check(*conf_r, report);
	m->o->judge(*conf_r, report);
	return report->errors == 0;
}

static int
snapshot(const struct conf *conf)
{
	struct buf text;
	int fd;

	buf_init(&text, 64u << 20);
	conf_write(conf, &text);
	fd = fd_sealed("signet-conf", buf_span(&text));
	buf_release(&text);
	return fd;
}

static int
shared_memory(const char *name, size_t bytes)
{
	int fd = memfd_create(name, MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, (off_t)bytes) != 0)
		fatal("cannot make shared memory: %s", fd_error(-errno));
	return fd;
}

static void
set_tag(struct master *m)
{
	snprintf(m->tag, sizeof(m->tag), "%s/master", m->conf->params->syslog_name);
	log_set_tag(m->tag);
}

/* ---- messages */

static struct child *
sender(struct master *m, struct ipc_from from)
{
	LIST_EACH(n, &m->children) {
		struct child *c = LIST_ITEM(n, struct child, node);

		if (c->peer != NULL && ipc_peer_id(c->peer) == from.peer_id)
			return c;
	}
	return NULL;
}

static void
on_ready(void *ctx, struct ipc_from from, struct ipc_role_ready *msg)
{
	struct master *m = ctx;
	struct child *c = sender(m, from);
	bool all = true;

	(void)msg;
	if (c != NULL)
		c->ready = true;
	LIST_EACH(n, &m->slots) {
		struct slot *s = LIST_ITEM(n, struct slot, node);

		all = all && s->child != NULL && s->child->ready;
	}
	if (!all || m->announced)
		return;
	m->announced = true;
	log_info(NULL, "daemon started -- version %s, configuration %s", SIGNET_VERSION, m->o->config_dir);
	notify_systemd("READY=1");
}

static void
on_bye(void *ctx, struct ipc_from from, struct ipc_role_bye *msg)
{
	struct child *c = sender(ctx, from);

	(void)msg;
	if (c != NULL)
		c->said_bye = true;
}

static bool
reload(struct master *m, struct buf *text)
{
	struct conf_report report;
	struct conf *conf = NULL;
	int fd;

	conf_report_init(&report);
	if (!load_conf(m, &conf, &report)) {
		log_report(&report, CONF_WARNING);
		conf_report_print(&report, CONF_WARNING, text);
		log_error(NULL, "reload refused: the configuration that runs stays in force");
		conf_unref(&conf);
		conf_report_release(&report);
		return false;
	}
	log_report(&report, CONF_WARNING);
	conf_report_release(&report);
	fd = snapshot(conf);
	if (fd < 0 || !listeners_open(m, conf)) {
		buf_add_str(text, "reload refused: see the log for the address that cannot be bound\n");
		log_error(NULL, "reload refused: the configuration that runs stays in force");
		fd_close(&fd);
		conf_unref(&conf);
		return false;
	}
	conf_unref(&m->conf);
	m->conf = conf;
	fd_close(&m->conf_fd);
	m->conf_fd = fd;
	m->generation++;
	set_tag(m);
	files_collect(m, conf);
	log_info(NULL, "reload -- version %s, configuration %s", SIGNET_VERSION, m->o->config_dir);
	children_renew(m);
	listeners_close(m, true);
	return true;
}

static void
on_reload_asked(void *ctx, struct ipc_from from, struct ipc_master_reload *msg)
{
	struct master *m = ctx;
	struct ipc_master_answer answer;
	struct buf text;

	(void)msg;
	buf_init(&text, 1u << 20);
	answer.ok = reload(m, &text);
	answer.text = buf_span(&text);
	ipc_reply_master_answer(m->hub, from, &answer);
	buf_release(&text);
}

static void
on_status_asked(void *ctx, struct ipc_from from, struct ipc_master_status *msg)
{
	struct master *m = ctx;
	struct ipc_master_answer answer = { .ok = true };
	struct buf json;

	(void)msg;
	buf_init(&json, 1u << 20);
	master_status_json(m, &json);
	answer.text = buf_span(&json);
	ipc_reply_master_answer(m->hub, from, &answer);
	buf_release(&json);
}

static void
on_stop_asked(void *ctx, struct ipc_from from, struct ipc_master_stop *msg)
{
	struct master *m = ctx;
	struct ipc_master_answer answer = { .ok = true };

	(void)msg;
	ipc_reply_master_answer(m->hub, from, &answer);
	ipc_hub_flush(m->hub);
	children_stop(m);
}

static void
on_hung(void *ctx, struct ipc_from from, struct ipc_role_hung *msg)
{
	(void)from;
	if (msg->role == IPC_ROLE_SMTPC || msg->role == IPC_ROLE_LOCAL)
		children_end(ctx, msg->role, msg->index);
}

static void
on_keeper_open(void *ctx, struct ipc_from from, struct ipc_keeper_open *msg)
{
	(void)from;
	children_give_keeper(ctx, msg->path);
}

/* ---- signals and time */

static void
on_chld(void *ctx)
{
	children_reap(ctx);
}

static void
on_term(void *ctx)
{
	struct master *m = ctx;

	if (!m->stopping)
		log_info(NULL, "terminating on signal %d", SIGTERM);
	notify_systemd("STOPPING=1");
	children_stop(m);
}

static void
on_hup(void *ctx)
{
	struct buf text;

	buf_init(&text, 1u << 20);
	notify_systemd("RELOADING=1");
	reload(ctx, &text);
	notify_systemd("READY=1");
	buf_release(&text);
}

static void
on_poll(void *ctx)
{
	struct master *m = ctx;

	files_poll(m);
	loop_timer_set_ms(&m->poll, 1000);
}

static void
on_peer_down(void *ctx, struct ipc_peer *p)
{
	child_gone_from_hub(ctx, p);
}

/* ---- start */

static void
load(struct master *m)
{
	struct conf_report report;
	struct fault why = { 0 };
	bool ok;

	conf_report_init(&report);
	ok = load_conf(m, &m->conf, &report);
	if (m->conf != NULL)
		set_tag(m);
	log_report(&report, CONF_WARNING);
	if (!ok)
		fatal("the configuration in %s cannot be used: nothing was started", m->o->config_dir);
	conf_report_release(&report);
	if (!spool_prepare(m, &why))
		fatal("%s", why.text);
	m->conf_fd = snapshot(m->conf);
	if (m->conf_fd < 0)
		fatal("cannot make a configuration snapshot: %s", fd_error(m->conf_fd));
	if (!listeners_open(m, m->conf))
		fatal("not every service can listen: nothing was started");
	files_collect(m, m->conf);
}

static void
arm(struct master *m)
{
	struct ipc_hub_ops ops = { .on = &m->on, .peer_down = on_peer_down, .ctx = m };

	m->on = (struct ipc_handlers){ .role_ready = on_ready, .role_bye = on_bye, .master_reload = on_reload_asked,
		.master_status = on_status_asked, .master_stop = on_stop_asked,
		.keeper_open = on_keeper_open, .role_hung = on_hung };
	m->hub = ipc_hub_new(m->loop, IPC_ROLE_MASTER, &ops);
	loop_signal_init(&m->chld, m->loop, SIGCHLD, on_chld, m);
	loop_signal_init(&m->term, m->loop, SIGTERM, on_term, m);
	loop_signal_init(&m->intr, m->loop, SIGINT, on_term, m);
	loop_signal_init(&m->hup, m->loop, SIGHUP, on_hup, m);
	loop_timer_init(&m->poll, m->loop, on_poll, m);
	loop_timer_set_ms(&m->poll, 1000);
}

int
master_main(const struct master_options *o)
{
	static struct master master;
	struct master *m = &master;

	m->o = o;
	m->as_root = geteuid() == 0;
	list_init(&m->children);
	list_init(&m->slots);
	list_init(&m->listeners);
	list_init(&m->files);
	umask(022);
	signal(SIGPIPE, SIG_IGN);
	m->cores = confine_cores();
	m->loop = loop_new();
	logring_open(m->loop);
	logring_echo();
	load(m);
	m->shared_counters = shared_memory("signet-counters", COUNTERS_BYTES);
	confine_raise_files();
	arm(m);
	children_start(m);
	loop_run(m->loop);
	listeners_close(m, false);
	ipc_hub_free(&m->hub);
	conf_unref(&m->conf);
	return 0;
}
