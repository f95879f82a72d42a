/* The queue as mailq and postqueue -j show it (mta-core section 12). */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/fd.h"
#include "base/text.h"
#include "conf/conf.h"
#include "conf/params.h"
#include "signet/cli.h"
#include "signet/control.h"
#include "signet/queue.h"

enum { PAGE = 50, ASK_MS = 60000, OUT_MAX = 64 << 20, FLUSH_BYTES = 32768, REASON_COLUMN = 76 };

struct listing {
	const struct cli *cli;
	struct buf out;
	uint64_t bytes;
	size_t count;
	bool json, failed;
};

const char *const queue_names[QUEUE_NAMES] = { "active", "incoming", "deferred", "hold" };

/* Bytes that a terminal may not get become '?'; UTF-8 stays. */
static void
add_text(struct buf *out, struct span s)
{
	bool utf8 = span_is_utf8(s);

	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		buf_addc(out, c < ' ' || c == 0x7f || (c > 0x7f && !utf8) ? '?' : (char)c);
	}
}

static void
add_json(struct buf *out, struct span s)
{
	struct buf text;

	buf_init(&text, s.n + 1);
	add_text(&text, s);
	text_json(out, buf_span(&text));
	buf_release(&text);
}

static void
entry_json(struct buf *b, const struct ipc_qentry *e)
{
	buf_addf(b, "{\"queue_name\": \"%s\", \"queue_id\": ", queue_names[e->state % QUEUE_NAMES]);
	add_json(b, e->qid);
	buf_addf(b, ", \"arrival_time\": %llu, \"message_size\": %llu, \"forced_expire\": %s, \"sender\": ",
	    (unsigned long long)e->arrival_s, (unsigned long long)e->size, e->forced ? "true" : "false");
	if (e->sender.n == 0)
		buf_add_str(b, "\"MAILER-DAEMON\"");
	else
		add_json(b, e->sender);
	buf_add_str(b, ", \"recipients\": [");
	for (size_t i = 0; i < e->n_rcpts; i++) {
		buf_add_str(b, i == 0 ? "{\"address\": " : ", {\"address\": ");
		add_json(b, e->rcpts[i].addr);
		if (e->rcpts[i].reason.n > 0) {
			buf_add_str(b, ", \"delay_reason\": ");
			add_json(b, e->rcpts[i].reason);
		}
		buf_addc(b, '}');
	}
	buf_add_str(b, "]}\n");
}

static void
add_rcpt(struct buf *b, struct span addr)
{
	buf_addf(b, "%-17s %8s %19s ", "", "", "");
	add_text(b, addr);
	buf_addc(b, '\n');
}

/* Those with a reason first, the reason above the recipients that it is for. */
static void
add_rcpts(struct buf *b, const struct ipc_qentry *e)
{
	struct span last = { 0 };

	for (size_t i = 0; i < e->n_rcpts; i++) {
		struct span reason = e->rcpts[i].reason;

		if (reason.n == 0)
			continue;
		if (!span_eq(reason, last)) {
			buf_addf(b, "%*s(", reason.n < REASON_COLUMN ? REASON_COLUMN - (int)reason.n : 0, "");
			add_text(b, reason);
			buf_add_str(b, ")\n");
		}
		last = reason;
		add_rcpt(b, e->rcpts[i].addr);
	}
	for (size_t i = 0; i < e->n_rcpts; i++)
		if (e->rcpts[i].reason.n == 0)
			add_rcpt(b, e->rcpts[i].addr);
}

static void
entry_text(struct buf *b, const struct ipc_qentry *e)
{
	time_t t = (time_t)e->arrival_s;
	char id[40], when[32];
	struct tm tm;

	localtime_r(&t, &tm);
	strftime(when, sizeof(when), "%a %b %e %H:%M:%S", &tm);
	snprintf(id, sizeof(id), "%.*s%s%s", SPAN_ARG(e->qid), e->state == 0 ? "*" : e->state == 3 ? "!" : "",
	    e->forced ? "#" : "");
	buf_addf(b, "%-17s %8llu %19.19s ", id, (unsigned long long)e->size, when);
	add_text(b, e->sender.n > 0 ? e->sender : SPAN("MAILER-DAEMON"));
	buf_addc(b, '\n');
	add_rcpts(b, e);
	buf_addc(b, '\n');
}

static bool
print_entry(void *ctx, const struct ipc_qentry *e)
{
	struct listing *l = ctx;

	if (!l->json && l->count == 0)
		buf_add_str(&l->out, "----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------\n");
	l->count++;
	l->bytes += e->size;
	if (l->json)
		entry_json(&l->out, e);
	else
		entry_text(&l->out, e);
	if (l->out.n >= FLUSH_BYTES)
		l->failed = cli_print(l->cli, &l->out) != CLI_DONE;
	return !l->failed;
}

/* Page by page from the daemon. */
static bool
each_online(struct control *c, queue_entry_fn *fn, void *ctx, struct fault *why)
{
	struct arena *a = arena_new(64u << 20);
	struct ipc_queue_list ask = { .max = PAGE };
	struct ipc_queue_listed got = { .more = true };
	char after[64] = "";
	struct buf b;
	bool ok = true, go_on = true;

	buf_init(&b, 4096);
	while (ok && go_on && got.more) {
		struct span payload;

		ask.after = span_str(after);
		buf_clear(&b);
		ipc_encode_queue_list(&b, &ask);
		ok = control_ask(c, IPC_QUEUE_LIST, buf_span(&b), IPC_QUEUE_LISTED, ASK_MS, &payload, NULL, why);
		arena_clear(a);
		if (ok && !ipc_decode_queue_listed(payload, a, &got))
			ok = fault_set(why, NULL, "signetd sent a garbled answer");
		if (ok && got.text.n > 0)
			ok = fault_set(why, NULL, "%.*s", SPAN_ARG(got.text));
		for (size_t i = 0; ok && go_on && i < got.n_entries; i++)
			go_on = fn(ctx, &got.entries[i]);
		if (ok && got.n_entries > 0)
			snprintf(after, sizeof(after), "%.*s", SPAN_ARG(got.entries[got.n_entries - 1].qid));
		if (got.n_entries == 0)
			break;
	}
	buf_release(&b);
	arena_free(&a);
	return ok;
}

/* Every message: from the daemon when it runs, else from the spool. False with a fault. */
static bool
queue_each(const struct conf *conf, queue_entry_fn *fn, void *ctx, bool *offline_r, struct fault *why)
{
	struct control c;
	bool ok, offline = !control_open(&c, conf, why);

	*offline_r = offline;
	if (offline)
		return queue_offline_each(conf, fn, ctx, why);
	ok = each_online(&c, fn, ctx, why);
	control_close(&c);
	return ok;
}

/* Who looks into the queue at night wants to know that nobody works on it. Root sees what waits in the maildrop, too. */
static void
say_down(const struct cli *cli, const struct conf *conf)
{
	char path[4096], more[128] = "";
	const struct dirent *e;
	unsigned n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "%s/maildrop", conf->params->queue_directory);
	d = opendir(path);
	while (d != NULL && (e = readdir(d)) != NULL)
		n += e->d_name[0] != '.';
	if (d != NULL)
		closedir(d);
	if (n > 0)
		snprintf(more, sizeof(more), "; %u more in maildrop, for its start", n);
	cli_fail(cli, CLI_DONE, "signetd does not run: this is what its spool holds%s", more);
}

int
queue_list(const struct cli *cli, const struct conf *conf, bool json)
{
	struct listing l = { .cli = cli, .json = json };
	struct fault why = { 0 };
	int status = CLI_DONE;
	bool offline;

	buf_init(&l.out, OUT_MAX);
	if (!queue_each(conf, print_entry, &l, &offline, &why))
		status = cli_fail(cli, CLI_TRY_AGAIN, "%s", why.text);
	else if (l.failed)
		status = CLI_NO;
	else if (!json && l.count == 0)
		buf_add_str(&l.out, "Mail queue is empty\n");
	else if (!json)
		buf_addf(&l.out, "-- %llu Kbytes in %zu Request%s.\n", (unsigned long long)(l.bytes / 1024), l.count,
		    l.count == 1 ? "" : "s");
	if (status == CLI_DONE)
		status = cli_print(cli, &l.out);
	if (status == CLI_DONE && offline)
		say_down(cli, conf);
	buf_release(&l.out);
	return status;
}
