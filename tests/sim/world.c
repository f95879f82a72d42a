/* The roles, their configuration, and the ties that master would make between them. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "conf/conf.h"
#include "role/queue/queue.h"
#include "role/roles.h"
#include "role/smtpc/smtpc.h"
#include "sim/sim.h"
#include "store/store.h"

enum { CONF_MAX = 1 << 20, RESTART_MS = 1000 };

static struct loop *loop;
static struct conf *conf;
static struct role queue, smtpc, local, smtpd, resolver, lookup, deliver, control;
static char dir[64];
static struct buf conf_lines;
static bool begun, mute, crash;
static struct role_listener door;
static struct loop_hook hook;
static struct loop_task disk_task;
static struct loop_timer disk_timer;
static struct loop_timer torn;          /* a tie is broken: made anew when it fires */

/* Who talks to whom. */
static const struct tie {
	struct role *a, *b;
} ties[] = {
	{ &queue, &smtpd }, { &queue, &smtpc }, { &queue, &local }, { &queue, &control }, { &queue, &resolver }, { &queue, &lookup },
	{ &smtpd, &resolver }, { &smtpd, &lookup }, { &smtpc, &resolver }, { &smtpc, &lookup }, { &local, &resolver },
	{ &local, &lookup }, { &local, &deliver },
};
enum { TIES = sizeof(ties) / sizeof(ties[0]) };

bool __wrap_ipc_frame_end(struct ipc_peer *to);
bool __real_ipc_frame_end(struct ipc_peer *to);
enum map_result __wrap_maps_find(const struct maps *m, struct span key, struct asks *asks, struct arena *a, struct map_hit *hit_r,
    struct fault *why);
enum map_result __real_maps_find(const struct maps *m, struct span key, struct asks *asks, struct arena *a, struct map_hit *hit_r,
    struct fault *why);

/* ---- what torture makes fail */

bool
__wrap_ipc_frame_end(struct ipc_peer *to)
{
	if (torture_now(TORTURE_IPC))
		return false;
	if (torture_now(TORTURE_LINK)) {
		ipc_peer_close(to);
		return false;
	}
	return __real_ipc_frame_end(to);
}

enum map_result
__wrap_maps_find(const struct maps *m, struct span key, struct asks *asks, struct arena *a, struct map_hit *hit_r, struct fault *why)
{
	if (m != NULL && !maps_empty(m) && torture_now(TORTURE_LOOKUP)) {
		if (why != NULL)
			fault_set(why, "4.3.0", "the table does not answer");
		return MAP_DEFER;
	}
	return __real_maps_find(m, key, asks, a, hit_r, why);
}

/* ---- the disk works between the turns of the loop */

static bool
alive(const struct role *r)
{
	return r->hub != NULL;
}

static struct store *
spool(void)
{
	const struct queue *q = alive(&queue) ? queue.state : NULL;

	return q != NULL ? q->store : NULL;
}

static void
work_disk(void *ctx)
{
	(void)ctx;
	if (spool() != NULL)
		store_run(spool());
}

static bool
tied(const struct tie *t)
{
	return ipc_peer_at(t->a->hub, t->b->spec->role, 0) != NULL && ipc_peer_at(t->b->hub, t->a->spec->role, 0) != NULL;
}

static void
on_turn(void *ctx)
{
	(void)ctx;
	if (spool() != NULL && store_pending(spool()) > 0) {
		if (disk_latency_us() == 0)
			loop_defer(loop, &disk_task);
		else if (!loop_timer_pending(&disk_timer))
			loop_timer_set_ms(&disk_timer, disk_latency_us() / US_PER_MS);
	}
	for (size_t i = 0; i < TIES && begun; i++)
		if ((!alive(ties[i].a) || !alive(ties[i].b) || !tied(&ties[i])) && !loop_timer_pending(&torn))
			loop_timer_set_ms(&torn, RESTART_MS);
}

/* A thread reads the spool at the start; removals, too, happen only when the loop turns. */
static bool
reading_spool(void)
{
	const struct queue *q = alive(&queue) ? queue.state : NULL;

	return q != NULL && q->scanning;
}

/* ---- roles */

static void
tie(const struct tie *t)
{
	int pair[2];

	if (fd_socketpair(SOCK_STREAM, pair) < 0)
		sim_fail("socketpair");
	ipc_peer_add(t->a->hub, t->b->spec->role, 0, pair[0]);
	ipc_peer_add(t->b->hub, t->a->spec->role, 0, pair[1]);
}

static void
start(struct role *r, const struct role_spec *spec)
{
	role_attach(r, spec, loop, conf);
	if (r == &smtpd) {
		r->listeners = &door;
		r->n_listeners = 1;
	}
	if (spec->open != NULL)
		spec->open(r);
	if (r == &queue)
		((struct queue *)r->state)->disk = &disk_io;
	if (spec->start != NULL)
		spec->start(r);
	r->listeners = NULL;
}

/* What master does when a process has died. */
static void
on_torn(void *ctx)
{
	(void)ctx;
	if (!alive(&queue))
		start(&queue, &queue_role);
	if (!alive(&smtpc))
		start(&smtpc, &smtpc_role);
	for (size_t i = 0; i < TIES; i++)
		if (!tied(&ties[i]))
			tie(&ties[i]);
}

static void
close_peers(struct role *r)
{
	for (unsigned role = 0; role < IPC_ROLE_COUNT; role++) {
		struct ipc_peer *p = ipc_peer_at(r->hub, role, 0);

		if (p != NULL)
			ipc_peer_close(p);
	}
}

/*
 * The others see its sockets close, the disk sees nothing more of it. What it says while it is taken apart a dead process
 * would not have said.
 */
void
world_kill(struct span role)
{
	struct role *r = span_eq(role, SPAN("queue")) ? &queue : &smtpc;

	mute = r == &queue;
	disk_cut(r == &queue);
	close_peers(r);
	begun = false;                  /* nothing is mended meanwhile */
	clock_run_until(loop, clock_since_start_us());
	if (r == &queue)
		queue_release(r);
	else
		smtpc_state_free(r);
	role_detach(r);
	begun = true;
	mute = false;
	disk_cut(false);
}

void
world_crash(void)
{
	disk_cut(true);
	crash = true;
	loop_stop(loop);
}

void
world_bury(void)
{
	if (!crash)
		return;
	crash = false;
	world_kill(SPAN("queue"));
}

/* ---- configuration */

void
world_conf(struct span line)
{
	buf_addf(&conf_lines, "%.*s\n", SPAN_ARG(line));
}

static void
configure(void)
{
	struct conf_report report;
	struct buf text;

	buf_init(&text, CONF_MAX);
	buf_addf(&text, "compatibility_level = 3.10\nmyhostname = sim.example\nmyorigin = sim.example\nmydestination =\n"
	    "local_recipient_maps =\nalias_maps =\nalias_database =\ninet_protocols = ipv4\ninet_interfaces = 127.0.0.1\n"
	    "proxy_interfaces = 203.0.113.1\nmynetworks = 198.51.100.0/24\nsmtpd_peername_lookup = no\nsmtp_randomize_addresses = no\n"
	    "syslog_name = sim\nnotify_classes =\nmemory_limit = 8000000000\nsim_dir = %s\nqueue_directory = $sim_dir/spool\ndata_directory = $sim_dir\n"
	    "virtual_mailbox_base = $sim_dir/mail\nvirtual_uid_maps = static:20001\nvirtual_gid_maps = static:20001\n%.*s", dir,
	    SPAN_ARG(buf_span(&conf_lines)));
	conf_report_init(&report);
	if (!conf_parse(buf_span(&text), SPAN("smtp inet n - n - - smtpd\nsmtp unix - - n - - smtp\nrelay unix - - n - - smtp\n"
	    "local unix - n n - - local\nvirtual unix - n n - - virtual\nerror unix - - n - - error\nretry unix - - n - - error\n"
	    "discard unix - - n - - discard\n"), &conf, &report)) {
		buf_clear(&text);
		conf_report_print(&report, CONF_WARNING, &text);
		sim_fail("configuration: %s", buf_cstr(&text));
	}
	conf_report_release(&report);
	buf_release(&text);
}

/* ---- the beginning */

static void
sink(void *ctx, int64_t wall_us, enum log_level level, const char *tag, const char *line)
{
	(void)ctx;
	(void)wall_us;
	if (!mute)
		script_log(clock_since_start_us(), level >= LOG_LEVEL_WARNING, tag != NULL ? tag : "sim", line);
}

void
world_init(void)
{
	/* in memory where that is: nothing here has to survive the machine */
	snprintf(dir, sizeof(dir), "%s/signet-sim-XXXXXX", access("/dev/shm", W_OK | X_OK) == 0 ? "/dev/shm" : "/tmp");
	if (mkdtemp(dir) == NULL) {
		dir[0] = '\0';
		sim_fail("no directory in /dev/shm or /tmp");
	}
	loop = loop_new();
	buf_init(&conf_lines, CONF_MAX);
	log_set_sink(sink, NULL, NULL);
	net_init(loop, dir);
}

static void
make_dirs(void)
{
	struct fault why = { 0 };
	char path[128];

	snprintf(path, sizeof(path), "%s/mail", dir);
	fd_mkdir(AT_FDCWD, path, 0700);
	snprintf(path, sizeof(path), "%s/spool", dir);
	fd_mkdir(AT_FDCWD, path, 0700);
	if (!store_prepare(path, (uid_t)-1, (gid_t)-1, &why))
		sim_fail("%s", why.text);
}

void
world_begin(void)
{
	static const struct { struct role *r; const struct role_spec *spec; } all[] = {
		{ &resolver, &sim_resolver_role }, { &lookup, &sim_lookup_role }, { &deliver, &sim_deliver_role },
		{ &control, &sim_control_role }, { &queue, &queue_role }, { &smtpc, &smtpc_role }, { &local, &local_role },
		{ &smtpd, &smtpd_role },
	};

	configure();
	make_dirs();
	door = (struct role_listener){ .service = "smtp", .address = "203.0.113.1:25", .fd = net_door() };
	loop_task_init(&disk_task, work_disk, NULL);
	loop_timer_init(&disk_timer, loop, work_disk, NULL);
	loop_timer_init(&torn, loop, on_torn, NULL);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		start(all[i].r, all[i].spec);
	for (size_t i = 0; i < TIES; i++)
		tie(&ties[i]);
	loop_hook_add(loop, &hook, on_turn, NULL);
	clock_set_busy(reading_spool);
	begun = true;
}

bool
world_begun(void)
{
	return begun;
}

struct loop *
world_loop(void)
{
	return loop;
}

const char *
world_dir(void)
{
	return dir;
}

/* ---- the administrator */

const struct role_spec sim_control_role = { .role = IPC_ROLE_CONTROL };

static struct { bool done, ok; } admin;

static void
on_admin_done(void *ctx, enum ipc_result result, struct ipc_queue_admin_done *m)
{
	(void)ctx;
	admin.done = true;
	admin.ok = result == IPC_OK && m->ok;
}

bool
world_admin(struct span op, struct span which)
{
	/* as in table/messages.tab */
	static const char *const ops[] = { "flush", "flush-message", "flush-site", "hold", "release", "requeue", "delete", "expire" };
	struct ipc_queue_admin m = { .which = which };

	while (m.op < 8 && !span_eq(op, span_str(ops[m.op])))
		m.op++;
	admin.done = admin.ok = false;
	if (m.op == 8 || ipc_ask_queue_admin(ipc_peer_at(control.hub, IPC_ROLE_QUEUE, 0), &m, 60000, on_admin_done, NULL) == 0)
		return false;
	ipc_hub_flush(control.hub);
	clock_run_until(loop, clock_since_start_us());
	return admin.done && admin.ok;
}

/* ---- looks */

static size_t
count_files(const char *path, int depth)
{
	DIR *d = opendir(path);
	const struct dirent *e;
	size_t n = 0;

	while (d != NULL && (e = readdir(d)) != NULL) {
		char below[512];

		if (e->d_name[0] == '.')
			continue;
		snprintf(below, sizeof(below), "%s/%s", path, e->d_name);
		n += depth > 0 ? count_files(below, depth - 1) : 1;
	}
	if (d != NULL)
		closedir(d);
	return n;
}

/* "mail", "tmp", "corrupt" of the spool; any other path below the script's directory. */
size_t
world_files(const char *folder)
{
	bool in_mail = strcmp(folder, "spool/mail") == 0;
	char path[300];

	snprintf(path, sizeof(path), "%s/%s", dir, folder);
	return count_files(path, in_mail ? 1 : 0);
}

unsigned
world_descriptors(void)
{
	return (unsigned)count_files("/proc/self/fd", 0);
}
