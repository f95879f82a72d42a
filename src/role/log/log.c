/*
 * log: the one logger. It drains every role's ring (role/common/logring.c) into
 * maillog_file, in the classic syslog file form, or into the syslog socket. It may block on
 * a disk; nobody waits for it. It looks every PAUSE_MS and not for each line, which costs less,
 * and puts what came from several processes in order of time.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/panic.h"
#include "base/rd.h"
#include "role/log/once.h"
#include "role/log/why.h"
#include "role/roles.h"

#define STREAM_MAX (4u << 20)

enum {
	PAUSE_MS = 10,                  /* between two looks at a stream */
	BUSY_MS = 1,                    /* the same, when one had BUSY bytes */
	READ_ONCE = 65536,              /* what a pipe holds */
	READS_MAX = 16,                 /* of one stream, before the others have their turn */
	BUSY = 32768,
	OUT_HIGH = 65536,
};

struct stream {
	struct list node;
	struct logger *logger;
	struct loop_fd watch;
	struct buf in;
	int fd;
};

/* A record that was read and waits to be put in order: `n` bytes at `at` of the text. */
struct entry {
	int64_t wall_us;
	size_t at, n;
	bool held;                      /* since the last time */
};

struct logger {
	struct role *role;
	struct list streams;
	struct loop_timer pause;
	struct buf text, out;
	struct entry *entries;
	size_t n_entries, entries_room;
	struct loop_hook hook;
	struct why_files why;
	struct once once;
	char host[256];
	int file, syslog_fd, facility;
	time_t stamp_for;
	char stamp[32];
};

/* ---- destinations */

static const struct {
	const char *name;
	int value;
} facilities[] = {
	{ "auth", LOG_AUTH }, { "authpriv", LOG_AUTHPRIV }, { "cron", LOG_CRON }, { "daemon", LOG_DAEMON },
	{ "ftp", LOG_FTP }, { "kern", LOG_KERN }, { "lpr", LOG_LPR }, { "mail", LOG_MAIL }, { "news", LOG_NEWS },
	{ "syslog", LOG_SYSLOG }, { "user", LOG_USER }, { "uucp", LOG_UUCP }, { "local0", LOG_LOCAL0 },
	{ "local1", LOG_LOCAL1 }, { "local2", LOG_LOCAL2 }, { "local3", LOG_LOCAL3 }, { "local4", LOG_LOCAL4 },
	{ "local5", LOG_LOCAL5 }, { "local6", LOG_LOCAL6 }, { "local7", LOG_LOCAL7 },
};

static int
facility_of(const char *name)
{
	for (size_t i = 0; i < sizeof(facilities) / sizeof(facilities[0]); i++)
		if (strcmp(facilities[i].name, name) == 0)
			return facilities[i].value;
	return LOG_MAIL;
}

static int
priority_of(unsigned level)
{
	static const int by_level[] = {
		[LOG_LEVEL_DEBUG] = LOG_DEBUG, [LOG_LEVEL_INFO] = LOG_INFO, [LOG_LEVEL_INFO_ONCE] = LOG_INFO,
		[LOG_LEVEL_WARNING] = LOG_WARNING, [LOG_LEVEL_WARNING_ONCE] = LOG_WARNING, [LOG_LEVEL_ERROR] = LOG_ERR,
		[LOG_LEVEL_FATAL] = LOG_CRIT, [LOG_LEVEL_PANIC] = LOG_CRIT,
	};

	return level < sizeof(by_level) / sizeof(by_level[0]) ? by_level[level] : LOG_INFO;
}

static void
syslog_open(struct logger *l)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };

	if (l->syslog_fd >= 0)
		return;
	memcpy(to.sun_path, "/dev/log", sizeof("/dev/log"));
	l->syslog_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (l->syslog_fd >= 0 && connect(l->syslog_fd, (struct sockaddr *)&to, sizeof(to)) != 0)
		fd_close(&l->syslog_fd);
}

/* "Nov  3 21:05:09" in local time, made once a second. */
static void
set_stamp(struct logger *l, int64_t wall_us)
{
	time_t now = (time_t)(wall_us / US_PER_S);
	struct tm tm;

	if (now != l->stamp_for) {
		localtime_r(&now, &tm);
		strftime(l->stamp, sizeof(l->stamp), "%b %e %H:%M:%S", &tm);
		l->stamp_for = now;
	}
}

static void
file_flush(void *ctx)
{
	struct logger *l = ctx;

	if (l->out.n > 0 && l->file >= 0 && fd_write_all(l->file, l->out.p, l->out.n) < 0) {
		/* a full disk: nothing else can be done with these lines */
	}
	buf_clear(&l->out);
}

/* What the records have to complain about goes out with the rest. */
static void
end_of_turn(void *ctx)
{
	struct logger *l = ctx;

	why_files_flush(&l->why);
	file_flush(l);
}

static void
on_why_record(void *ctx, struct ipc_from from, struct ipc_why_record *m)
{
	struct role *r = ctx;
	struct logger *l = r->state;

	(void)from;
	why_files_add(&l->why, m->line);
}

static void
to_syslog(struct logger *l, int priority, const char *tag, unsigned pid, struct span line)
{
	char text[4608];
	int n = snprintf(text, sizeof(text), "<%d>%s %s[%u]: %.*s", l->facility | priority, l->stamp, tag, pid, SPAN_ARG(line));

	for (int tries = 0; tries < 2; tries++) {
		syslog_open(l);
		if (l->syslog_fd >= 0 && fd_write(l->syslog_fd, text, (size_t)n) >= 0)
			return;
		fd_close(&l->syslog_fd);        /* syslogd was restarted */
	}
}

static void
emit(struct logger *l, int64_t wall_us, unsigned level, const char *tag, unsigned pid, struct span line)
{
	set_stamp(l, wall_us);
	if (l->file < 0) {
		to_syslog(l, priority_of(level), tag, pid, line);
		return;
	}
	if (l->out.n > OUT_HIGH)
		file_flush(l);
	buf_addf(&l->out, "%s %s %s[%u]: %.*s\n", l->stamp, l->host, tag, pid, SPAN_ARG(line));
}

/* ---- streams */

static void
emit_record(struct logger *l, struct span record)
{
	struct rd r = rd_init(record);
	uint32_t pid = rd_u32(&r);
	int64_t wall_us = (int64_t)rd_u64(&r);
	unsigned level = rd_u8(&r);
	struct span rest = rd_bytes(&r, rd_left(&r)), tag, line;

	if (r.bad || !span_cut(rest, '\0', &tag, &line))
		return;
	if ((level != LOG_LEVEL_INFO_ONCE && level != LOG_LEVEL_WARNING_ONCE) || once_is_new(&l->once, wall_us, pid, line))
		emit(l, wall_us, level, tag.p, pid, line);
}

/* Of the same time: as they were read. */
static int
by_time(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	if (x->wall_us != y->wall_us)
		return x->wall_us < y->wall_us ? -1 : 1;
	return x->at < y->at ? -1 : 1;
}

/*
 * What is older than the last look at the streams, in order. A newer line may be the answer to one that its process wrote after we had looked
 * there: it waits for the next time, and never longer, whatever the clock does.
 */
static void
write_entries(struct logger *l, int64_t before_us)
{
	struct buf later;
	size_t n = 0;

	qsort(l->entries, l->n_entries, sizeof(*l->entries), by_time);
	buf_init(&later, l->text.max);
	for (size_t i = 0; i < l->n_entries; i++) {
		struct entry e = l->entries[i];
		struct span record = span_of(l->text.p + e.at, e.n);

		if (e.held || e.wall_us < before_us) {
			emit_record(l, record);
		} else {
			l->entries[n++] = (struct entry){ e.wall_us, later.n, e.n, true };
			buf_add_span(&later, record);
		}
	}
	l->n_entries = n;
	buf_clear(&l->text);
	buf_add_span(&l->text, buf_span(&later));
	buf_release(&later);
	file_flush(l);
}

static void
keep(struct logger *l, struct span record)
{
	struct rd r = rd_init(record);

	if (l->text.n + record.n > STREAM_MAX)
		write_entries(l, INT64_MAX);
	if (l->n_entries == l->entries_room) {
		l->entries_room = 2 * l->entries_room + 256;
		l->entries = reallocarray(l->entries, l->entries_room, sizeof(*l->entries));
		ensure(l->entries != NULL);
	}
	rd_u32(&r);
	l->entries[l->n_entries++] = (struct entry){ (int64_t)rd_u64(&r), l->text.n, record.n, false };
	buf_add(&l->text, record.p, record.n);
}

static void
take_records(struct stream *s)
{
	size_t at = 0;

	while (s->in.n - at >= 4) {
		struct rd r = rd_init(span_of(s->in.p + at, 4));
		uint32_t length = rd_u32(&r);

		if (length > s->in.n - at - 4)
			break;
		keep(s->logger, span_of(s->in.p + at + 4, length));
		at += 4 + length;
	}
	if (at > 0)
		buf_consume(&s->in, at);
}

static void
stream_free(struct stream *s)
{
	loop_fd_release(&s->watch);
	list_remove(&s->node);
	fd_close(&s->fd);
	buf_release(&s->in);
	free(s);
}

/* How many bytes it had; -1 when it ended and is gone. */
static ssize_t
stream_read_all(struct stream *s)
{
	ssize_t total = 0;

	for (int i = 0; i < READS_MAX; i++) {
		char *room = buf_space(&s->in, READ_ONCE);
		ssize_t got = room == NULL ? 0 : fd_read(s->fd, room, READ_ONCE);

		if (got == -EAGAIN)
			break;
		if (got <= 0) {
			stream_free(s);
			return -1;
		}
		s->in.n += (size_t)got;
		total += got;
		take_records(s);
		if (got < READ_ONCE)
			break;
	}
	return total;
}

/* A stream that had something is looked at again without being watched; one that had nothing is watched. */
static ssize_t
read_streams(struct logger *l, bool all)
{
	int64_t begun_us = all ? INT64_MAX : clock_wall_us();
	ssize_t most = 0;

	LIST_EACH(n, &l->streams) {
		struct stream *s = LIST_ITEM(n, struct stream, node);
		bool watched = s->watch.want != 0;
		ssize_t got;

		if (watched && !all)
			continue;
		got = stream_read_all(s);
		if (got == 0 && !watched)
			loop_fd_want(&s->watch, LOOP_READ);
		most = got > most ? got : most;
	}
	write_entries(l, begun_us);
	return most;
}

static void
on_pause_over(void *ctx)
{
	struct logger *l = ctx;
	ssize_t most = read_streams(l, false);

	if (most > 0 || l->n_entries > 0)
		loop_timer_set_ms(&l->pause, most >= BUSY ? BUSY_MS : PAUSE_MS);
}

static void
on_stream(void *ctx, unsigned ready)
{
	struct stream *s = ctx;

	(void)ready;
	loop_fd_want(&s->watch, 0);
	if (!loop_timer_pending(&s->logger->pause))
		loop_timer_set_ms(&s->logger->pause, PAUSE_MS);
}

static void
on_log_stream(void *ctx, struct ipc_from from, struct ipc_log_stream *m)
{
	struct role *r = ctx;
	struct logger *l = r->state;
	struct stream *s = calloc(1, sizeof(*s));

	(void)from;
	ensure(s != NULL);
	s->logger = l;
	s->fd = m->stream;
	m->stream = -1;
	fd_nonblock(s->fd, true);
	buf_init(&s->in, STREAM_MAX);
	list_push_back(&l->streams, &s->node);
	loop_fd_init(&s->watch, r->loop, s->fd, on_stream, s);
	loop_fd_want(&s->watch, LOOP_READ);
}

static void
on_log_file(void *ctx, struct ipc_from from, struct ipc_log_file *m)
{
	struct role *r = ctx;
	struct logger *l = r->state;

	(void)from;
	file_flush(l);
	fd_close(&l->file);
	l->file = m->file;
	m->file = -1;
}

/* Our own lines take the same way. */
static void
own_sink(void *ctx, int64_t wall_us, enum log_level level, const char *tag, const char *line)
{
	emit(ctx, wall_us, level, tag, (unsigned)getpid(), span_str(line));
}

static void
log_open(struct role *r)
{
	static struct logger logger = { .file = -1, .syslog_fd = -1 };

	logger.role = r;
	r->state = &logger;
	list_init(&logger.streams);
	buf_init(&logger.text, 2 * STREAM_MAX);
	buf_init(&logger.out, 1u << 20);
	gethostname(logger.host, sizeof(logger.host) - 1);
	logger.host[strcspn(logger.host, ".")] = '\0';
	logger.facility = facility_of(r->conf->params->syslog_facility);
	tzset();
	syslog_open(&logger);
	role_allow_dir(r, "/dev", true);
	why_files_open(&logger.why, r);
}

/* A reload: the same mistakes are told again. The processes of the new configuration come after this message. */
static void
log_reconf(struct role *r, const struct conf *old)
{
	struct logger *l = r->state;

	(void)old;
	once_clear(&l->once);
}

static void
log_start(struct role *r)
{
	struct logger *l = r->state;

	loop_timer_init(&l->pause, r->loop, on_pause_over, l);
	loop_hook_add(r->loop, &l->hook, end_of_turn, l);
	log_set_sink(own_sink, file_flush, l);
}

/* The last one out: read what is left, then go. */
static void
log_drain(struct role *r, bool stop)
{
	struct logger *l = r->state;

	(void)stop;
	while (read_streams(l, true) > 0)
		;
	end_of_turn(l);
	role_done(r);
}

const struct role_spec log_role = {
	.role = IPC_ROLE_LOG,
	.on = { .log_stream = on_log_stream, .log_file = on_log_file, .why_record = on_why_record },
	.open = log_open,
	.start = log_start,
	.drain = log_drain,
	.reconf = log_reconf,
};
