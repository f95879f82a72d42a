/*
 * The whole of local delivery in one process: the local role and the deliver role on one loop, the
 * test as the queue and as the user database. deliver forks and becomes users as it always does.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "kit/kit.h"
#include "mail/envelope.h"
#include "mail/maildrop.h"
#include "role/common/run.h"
#include "role/local/local.h"
#include "role/local/transcript.h"
#include "role/roles.h"

/* Accounts of the test; the numbers need not exist. */
static const struct account {
	const char *name;
	unsigned uid;
} accounts[] = { { "alice", 20001 }, { "bob", 20002 }, { "nobody", 65534 },
	{ "root", 0 }, { "carol", 20003 } };

/* ---- the world */

struct question {
	struct list node;
	uint64_t id;
	char key[64];
	bool absent;
	char value[512];
};

struct submitted {
	char *envelope, *content;
};

static struct {
	struct loop *loop;
	struct role local, deliver;
	struct ipc_hub *queue;
	struct ipc_peer *to_local;
	struct conf *conf;
	struct list questions;
	struct loop_task answer;
	char root[256];

	bool answered;
	struct ipc_deliver_done done;
	char dsn[16], text[1024];
	unsigned status, flags;
	struct submitted submitted[8];
	size_t n_submitted;
	bool queue_refuses;
	bool composed, composed_ok;
} w;

static const char *
in_root(const char *name)
{
	static char path[16][600];
	static unsigned at;
	char *p = path[at++ % 16];

	snprintf(p, sizeof(path[0]), "%s/%s", w.root, name);
	return p;
}

static void
answer_questions(void *ctx)
{
	struct list *n;

	(void)ctx;
	while ((n = list_pop_front(&w.questions)) != NULL) {
		struct question *q = LIST_ITEM(n, struct question, node);

		asks_answer_map(w.local.asks, q->id, q->absent ? MAP_ABSENT : MAP_FOUND, span_str(q->value), NULL);
		free(q);
	}
}

static bool
ask_user(void *ctx, uint64_t id, struct span table, struct span key)
{
	struct question *q = calloc(1, sizeof(*q));

	(void)ctx;
	q->id = id;
	q->absent = true;
	assert_span(table, "unix:passwd.byname");
	for (size_t i = 0; i < sizeof(accounts) / sizeof(accounts[0]); i++)
		if (span_eq(key, span_str(accounts[i].name))) {
			q->absent = false;
			snprintf(q->value, sizeof(q->value), "%s:x:%u:%u:%s:%s/home/%s:/bin/sh", accounts[i].name,
			    accounts[i].uid, accounts[i].uid, accounts[i].name, w.root, accounts[i].name);
		}
	list_push_back(&w.questions, &q->node);
	loop_defer(w.loop, &w.answer);
	return true;
}

static bool
ask_dns(void *ctx, uint64_t id, struct span name, uint16_t type)
{
	(void)ctx;
	(void)id;
	(void)name;
	(void)type;
	return false;
}

static const struct asks_ops asks_ops = { ask_user, ask_dns };

/* ---- the queue */

static void
on_submit(void *ctx, struct ipc_from from, struct ipc_queue_submit *m)
{
	struct ipc_queue_submitted done = { .ok = !w.queue_refuses, .dsn = SPAN("4.3.0"), .text = SPAN("queue file write error") };

	(void)ctx;
	if (done.ok && w.n_submitted < 8) {
		struct submitted *s = &w.submitted[w.n_submitted++];

		s->envelope = strndup(m->envelope.p, m->envelope.n);
		s->content = strndup(m->content.p, m->content.n);
	}
	ipc_reply_queue_submitted(w.queue, from, &done);
}

static void
on_done(void *ctx, enum ipc_result result, struct ipc_deliver_done *m)
{
	(void)ctx;
	w.answered = true;
	w.status = 99;
	if (result != IPC_OK)
		return;
	assert_int_equal(m->n_outcomes, 1);
	w.status = m->outcomes[0].status;
	w.flags = m->outcomes[0].flags;
	snprintf(w.dsn, sizeof(w.dsn), "%.*s", SPAN_ARG(m->outcomes[0].dsn));
	snprintf(w.text, sizeof(w.text), "%.*s", SPAN_ARG(m->outcomes[0].text));
}

static void
on_composed(void *ctx, enum ipc_result result, struct ipc_bounce_composed *m)
{
	(void)ctx;
	w.composed = true;
	w.composed_ok = result == IPC_OK && m->ok;
}

static void
forget_submitted(void)
{
	while (w.n_submitted > 0) {
		struct submitted *s = &w.submitted[--w.n_submitted];

		free(s->envelope);
		free(s->content);
	}
}

/* ---- setting up */

static void
join(struct ipc_hub *a, unsigned a_role, struct ipc_hub *b, unsigned b_role)
{
	int pair[2];

	assert_int_equal(fd_socketpair(SOCK_STREAM, pair), 0);
	ipc_peer_add(a, b_role, 0, pair[0]);
	ipc_peer_add(b, a_role, 0, pair[1]);
}

static void
make_dirs(void)
{
	static const char *const dirs[] = { "home", "queue", "queue/maildrop", "data", "spool", "out" };

	snprintf(w.root, sizeof(w.root), "/tmp/signet-local-XXXXXX");
	assert_non_null(mkdtemp(w.root));
	assert_int_equal(chmod(w.root, 0755), 0);
	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++)
		assert_int_equal(mkdir(in_root(dirs[i]), 0755), 0);
	assert_int_equal(chmod(in_root("out"), 0777), 0);
	assert_int_equal(chmod(in_root("spool"), 01777), 0);
	for (size_t i = 0; i < 2; i++) {
		char home[300];

		snprintf(home, sizeof(home), "home/%s", accounts[i].name);
		assert_int_equal(mkdir(in_root(home), 0700), 0);
		assert_int_equal(chown(in_root(home), accounts[i].uid, accounts[i].uid), 0);
	}
}

static struct conf *
make_conf(void)
{
	struct conf_report report;
	struct conf *conf = NULL;
	struct buf text;

	conf_report_init(&report);
	buf_init(&text, 65536);
	buf_addf(&text,
	    "compatibility_level = 3.6\nsyslog_name = postfix\nqueue_directory = %s/queue\ndata_directory = %s/data\n"
	    "myhostname = host.example\nmydomain = example\nmyorigin = host.example\nmydestination = host.example\n"
	    "mail_spool_directory = %s/spool\nrecipient_delimiter = +\nmail_owner = mail\ndefault_privs = nobody\n"
	    "alias_maps = inline:{ {toalice = alice}, {two = alice, bob}, {cmd = \"|cat >/dev/null; id -u; exit 67\"},\n"
	    "  {file = %s/out/box}, {rem = x@remote.example}, {list = alice, x@remote.example}, {owner-list = bob},\n"
	    "  {loopa = loopb}, {loopb = loopa}, {slow = \"|sleep 600\"}, {incl = :include:%s/out/list} }\n"
	    "deliver_lock_attempts = 2\ndeliver_lock_delay = 2s\nstale_lock_time = 50s\nbounce_size_limit = 40\nenable_threaded_bounces = yes\n"
	    "alias_database =\nbounce_template_file = %s/data/bounce.cf\ncommand_time_limit = 3s\nlocal_recipient_maps =\nvirtual_mailbox_domains = virt.example\n"
	    "virtual_mailbox_base = %s/out\nvirtual_minimum_uid = 100\nvirtual_gid_maps = static:20001\n"
	    "virtual_mailbox_maps = inline:{ {u@virt.example = virt/u/}, {m@virt.example = mbox}, {low@virt.example = x/},\n"
	    "  {nouid@virt.example = x/}, {dots@virt.example = ../etc/x} }\n"
	    "virtual_uid_maps = inline:{ {u@virt.example = 20001}, {m@virt.example = 20001}, {low@virt.example = 5},\n"
	    "  {dots@virt.example = 20001} }\n",
	    w.root, w.root, w.root, w.root, w.root, w.root, w.root);
	if (!conf_parse(buf_span(&text), SPAN(
	    "local unix - n n - - local\nvirtual unix - n n - - virtual\nerror unix - - n - - error\n"
	    "retry unix - - n - - error\ndiscard unix - - n - - discard\n"
	    "lmaildir unix - n n - - local -o home_mailbox=Maildir/\n"
	    "lcmd unix - n n - - local -o { mailbox_command = echo $USER $EXTENSION $SENDER; id -u; exit 3 }\n"
	    "lshell unix - n n - - local -o { local_command_shell = /bin/sh -x -c } -o command_execution_directory=$home\n"
	    "lluser unix - n n - - local -o luser_relay=$user.$extension@$mydomain\n"
	    "lfall unix - n n - - local -o fallback_transport=pip:hop\n"
	    "lback unix - n n - - local -o mailbox_transport=local:x\n"
	    "lsoft unix - n n - - local -o soft_bounce=yes\n"
	    "lnocmd unix - n n - - local -o allow_mail_to_commands=\n"
	    "lnofile unix - n n - - local -o allow_mail_to_files=\n"
	    "lfilter unix - n n - - local -o { mailbox_command = echo $USER; exit 3 } -o command_expansion_filter=ae\n"
	    "ldir unix - n n - - local -o { local_command_shell = /bin/sh -c } -o command_execution_directory=$home -o execution_directory_expansion_filter=x\n"
	    "lenv unix - n n - - local -o { export_environment = ODD=yes } -o { mailbox_command = env | grep ODD; exit 3 }\n"
	    "lfmaps unix - n n - - local -o { fallback_transport_maps = inline:{ {nosuch=pip:hop} } }\n"
	    "lfpath unix - n n - - local -o forward_path=$home/.other\n"
	    "lffilter unix - n n - - local -o luser_relay=$user@lit.example -o forward_expansion_filter=nosch\n"
	    "lcmaps unix - n n - - local -o { mailbox_command_maps = inline:{ {alice=echo mapped; exit 3} } }\n"
	    "lwho unix - n n - - local -o frozen_delivered_to=no\n"
	    "lstatus unix - n n - - local -o { local_delivery_status_filter = inline:{ {5.1.1 unknown user: \"nosuch\" = 4.1.1 not yet} } }\n"
	    "vstatus unix - n n - - virtual -o { virtual_delivery_status_filter = inline:{\n"
	    "   {5.1.1 unknown user: \"gone@virt.example\" = 4.1.1 not yet}, {5.1.1 unknown user: \"odd@virt.example\" = 2.0.0 fine} } }\n"
	    "pstatus unix - n n - - pipe -o { pipe_delivery_status_filter = inline:{ {2.0.0 delivered via pstatus service = 2.1.5 mapped} } }\n"
	    "   flags=q user=alice argv=/bin/true\n"
	    "pfail unix - n n - - pipe flags=q user=alice argv=/bin/sh -c {echo no; exit 3}\n"
	    "pgone unix - n n - - pipe flags=q user=alice argv=/no/such/program\n"
	    "lnohead unix - n n - - local -o prepend_delivered_header=file\n"
	    "lhome unix - n n - - local -o require_home_directory=yes\n"
	    "llax unix - n n - - local -o strict_mailbox_ownership=no\n"
	    "lfcntl unix - n n - - local -o mailbox_delivery_lock=fcntl\n"
	    "vfcntl unix - n n - - virtual -o virtual_mailbox_lock=fcntl\n"
	    "vsmall unix - n n - - virtual -o virtual_mailbox_limit=10 -o message_size_limit=10 -o virtual_mailbox_lock=fcntl\n"
	    "pip unix - n n - - pipe flags=DR user=alice argv=/bin/sh -c {cat; echo $$0} ${sender} ${recipient}\n"),
	    &conf, &report)) {
		buf_clear(&text);
		conf_report_print(&report, CONF_ERROR, &text);
		fail_msg("%s", buf_cstr(&text));
	}
	buf_release(&text);
	conf_report_release(&report);
	return conf;
}

static void
make_template(void)
{
	FILE *f = fopen(in_root("data/bounce.cf"), "w");

	assert_non_null(f);
	fputs("failure_template = <<EOF\nCharset: us-ascii\nFrom: MAILER-DAEMON (Mail)\nSubject: It came back\n\n"
	    "$myhostname says no, $mydomain too.\nEOF\n", f);
	fclose(f);
}

static void
make_role(struct role *r, const struct role_spec *spec)
{
	struct ipc_hub_ops ops = { .on = &spec->on, .ctx = r };

	*r = (struct role){ .spec = spec, .loop = w.loop, .conf = w.conf, .as_root = true };
	r->hub = ipc_hub_new(w.loop, spec->role, &ops);
	r->maps_env = (struct maps_env){ .data_directory = w.conf->params->data_directory,
		.default_database_type = "hash", .alias_tables = "" };
}

static void
spin(const bool *flag)
{
	int64_t deadline = clock_mono_us() + 120 * US_PER_S;

	while (!*flag && clock_mono_us() < deadline)
		loop_turn(w.loop, 100);
	assert_true(*flag);
}

/* One message to one recipient through `service`; the outcome is in `w`. */
static void
deliver_by(const char *service, const char *nexthop, const char *rcpt, const char *content)
{
	struct ipc_rcpt r = { .addr = span_str(rcpt), .orig = span_str(rcpt), .index = 7 };
	struct envelope e = { .sender = SPAN("sender@from.example"), .arrival_us = clock_wall_us() };
	struct ipc_deliver_start m = { .qid = SPAN("4bTESTz1"), .service = span_str(service), .nexthop = span_str(nexthop),
		.arrival_us = e.arrival_us, .active_us = e.arrival_us, .inline_content = true, .file = -1,
		.content = span_str(content), .size = strlen(content), .rcpts = &r, .n_rcpts = 1 };
	struct buf text;

	buf_init(&text, 65536);
	envelope_write(&e, &text);
	m.envelope = buf_span(&text);
	w.answered = false;
	assert_true(ipc_ask_deliver_start(w.to_local, &m, 300000, on_done, NULL) != 0);
	buf_release(&text);
	spin(&w.answered);
}

static void
deliver(const char *rcpt)
{
	deliver_by("local", "host.example", rcpt, "Subject: x\r\n\r\nFrom me\r\n");
}

static void
assert_outcome(unsigned status, const char *dsn, const char *text)
{
	if (w.status != status || strcmp(w.dsn, dsn) != 0 || strcmp(w.text, text) != 0)
		fail_msg("got %u %s %s", w.status, w.dsn, w.text);
}

static char file_text[65536];

static const char *
read_text(const char *path)
{
	struct buf b;

	buf_init(&b, sizeof(file_text) - 1);
	if (fd_read_file(AT_FDCWD, path, &b) < 0)
		buf_clear(&b);
	snprintf(file_text, sizeof(file_text), "%s", b.n > 0 ? buf_cstr(&b) : "");
	buf_release(&b);
	return file_text;
}

/* The one file of a directory. */
static const char *
only_file(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	static char path[1200];

	path[0] = '\0';
	while (d != NULL && (e = readdir(d)) != NULL)
		if (e->d_name[0] != '.')
			snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
	if (d != NULL)
		closedir(d);
	return path;
}

static void
write_file(const char *path, const char *text, unsigned uid, mode_t mode)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	assert_int_equal(chmod(path, mode), 0);
	assert_int_equal(chown(path, uid, uid), 0);
}

static int
set_up_world(void **state)
{
	static const struct ipc_handlers queue_on = { .queue_submit = on_submit };
	struct ipc_hub_ops ops = { .on = &queue_on };

	(void)state;
	list_init(&w.questions);
	loop_task_init(&w.answer, answer_questions, NULL);
	make_dirs();
	w.loop = loop_new();
	make_template();
	w.conf = make_conf();
	make_role(&w.local, &local_role);
	make_role(&w.deliver, &deliver_role);
	w.queue = ipc_hub_new(w.loop, IPC_ROLE_QUEUE, &ops);
	w.local.asks = asks_link_new(w.loop, &asks_ops, NULL, 60000);
	join(w.queue, IPC_ROLE_QUEUE, w.local.hub, IPC_ROLE_LOCAL);
	join(w.deliver.hub, IPC_ROLE_DELIVER, w.local.hub, IPC_ROLE_LOCAL);
	w.to_local = ipc_peer_any(w.queue, IPC_ROLE_LOCAL);
	deliver_role.open(&w.deliver);
	deliver_role.start(&w.deliver);
	local_new(&w.local);
	local_role.start(&w.local);
	/* Whatever is opened once and kept (signals, pools of the loop) is open from now on. */
	loop_turn(w.loop, 0);
	return 0;
}

static int
tear_down_world(void **state)
{
	(void)state;
	forget_submitted();
	kit_remove_tree(w.root);
	return 0;
}

/* ---- cases */

#define NEEDS_ROOT() do { if (geteuid() != 0) skip(); } while (0)

static void
test_mailbox(void **state)
{
	const char *text;

	(void)state;
	NEEDS_ROOT();
	deliver("alice@host.example");
	assert_outcome(0, "2.0.0", "delivered to mailbox");
	assert_int_equal(w.flags, 2);
	assert_true(kit_logged("4bTESTz1: to=<alice@host.example>, relay=local, delay="));
	assert_true(kit_logged("dsn=2.0.0, status=sent (delivered to mailbox)"));
	text = read_text(in_root("spool/alice"));
	assert_true(strncmp(text, "From sender@from.example  ", 26) == 0);
	assert_non_null(strstr(text, "\nReturn-Path: <sender@from.example>\nX-Original-To: alice@host.example\n"
	    "Delivered-To: alice@host.example\nSubject: x\n\n>From me\n\n"));
}

static void
test_maildir(void **state)
{
	(void)state;
	NEEDS_ROOT();
	deliver_by("lmaildir", "host.example", "toalice+ext@host.example", "Subject: y\r\n\r\nbody\r\n");
	assert_outcome(0, "2.0.0", "delivered to maildir");
	assert_true(kit_logged("to=<alice@host.example>, orig_to=<toalice+ext@host.example>, relay=local,"));
	assert_string_equal(read_text(only_file(in_root("home/alice/Maildir/new"))),
	    "Return-Path: <sender@from.example>\nX-Original-To: toalice+ext@host.example\n"
	    "Delivered-To: toalice+ext@host.example\nSubject: y\n\nbody\n");
}

static void
test_missing_home(void **state)
{
	(void)state;
	NEEDS_ROOT();
	deliver_by("lmaildir", "host.example", "carol@host.example", "x\r\n");
	assert_int_equal(w.status, 1);
	assert_string_equal(w.dsn, "4.2.0");
	assert_non_null(strstr(w.text, "maildir delivery failed: create maildir file "));
	assert_non_null(strstr(w.text, "No such file or directory"));
}

static void
test_unknown_and_loops(void **state)
{
	(void)state;
	NEEDS_ROOT();
	deliver("nosuch+ext@host.example");
	assert_outcome(2, "5.1.1", "unknown user: \"nosuch\"");
	expect_log("alias database loop for loopb");
	deliver("loopa@host.example");
	assert_outcome(2, "5.4.6", "alias database loop for loopb");
	deliver_by("local", "host.example", "alice@host.example", "Delivered-To: Alice@host.example\r\n\r\nx\r\n");
	assert_outcome(2, "5.4.6", "mail forwarding loop for alice@host.example");
	expect_log("required alias not found: postmaster");
	deliver("postmaster@host.example");
	assert_outcome(0, "2.0.0", "discarded");
}

static void
test_two_targets_log_two_lines(void **state)
{
	(void)state;
	NEEDS_ROOT();
	deliver("two@host.example");
	assert_outcome(0, "2.0.0", "delivered to mailbox");
	assert_true(kit_logged("to=<alice@host.example>, orig_to=<two@host.example>, relay=local,"));
	assert_true(kit_logged("to=<bob@host.example>, orig_to=<two@host.example>, relay=local,"));
}

static void
test_commands_and_files(void **state)
{
	(void)state;
	NEEDS_ROOT();
	deliver("cmd@host.example");
	assert_outcome(2, "5.1.1", "user unknown. Command output: 65534 ");
	deliver("slow@host.example");
	assert_outcome(2, "5.3.0", "Command time limit exceeded: \"sleep 600\"");
	deliver("file@host.example");
	assert_int_equal(w.status, 0);
	assert_non_null(strstr(w.text, "delivered to file: "));
	assert_non_null(strstr(read_text(in_root("out/box")), "X-Original-To: file@host.example\n"));
	write_file(in_root("home/alice/.forward"), "|pwd; exit 9\n", 20001, 0600);
	deliver_by("lshell", "host.example", "alice@host.example", "x\r\n");
	assert_int_equal(w.status, 2);
	assert_non_null(strstr(w.text, "Command died with status 9: \"pwd; exit 9\". Command output: + pwd /tmp/"));
	assert_non_null(strstr(w.text, "/home/alice + exit 9 "));
	unlink(in_root("home/alice/.forward"));
	deliver_by("lcmd", "host.example", "alice+a;b@host.example", "x\r\n");
	assert_outcome(2, "5.3.0", "Command died with status 3: \"echo $USER $EXTENSION $SENDER; id -u; exit 3\". "
	    "Command output: alice a_b sender@from.example 20001 ");
}

static void
test_forwarding(void **state)
{
	(void)state;
	NEEDS_ROOT();
	forget_submitted();
	deliver("rem@host.example");
	assert_int_equal(w.status, 0);
	assert_true(strncmp(w.text, "forwarded as ", 13) == 0);
	assert_int_equal(w.n_submitted, 1);
	assert_non_null(strstr(w.submitted[0].envelope, "sender=sender@from.example\n"));
	assert_non_null(strstr(w.submitted[0].envelope, "rcpt=x@remote.example orig=rem@host.example"));
	assert_true(strncmp(w.submitted[0].content, "Received: by host.example (", 27) == 0);
	assert_non_null(strstr(w.submitted[0].content, "\r\nDelivered-To: rem@host.example\r\nSubject: x\r\n"));
	forget_submitted();
	deliver("list@host.example");
	assert_int_equal(w.status, 0);
	assert_int_equal(w.n_submitted, 1);
	assert_non_null(strstr(w.submitted[0].envelope, "sender=owner-list@host.example\n"));
	assert_non_null(strstr(w.submitted[0].envelope, "rcpt=alice@host.example"));
	assert_non_null(strstr(w.submitted[0].envelope, "rcpt=x@remote.example"));
	w.queue_refuses = true;
	deliver("rem@host.example");
	w.queue_refuses = false;
	assert_outcome(1, "4.3.0", "queue file write error");
}

static void
test_forward_file(void **state)
{
	(void)state;
	NEEDS_ROOT();
	write_file(in_root("home/alice/.forward"), "\\alice, bob\n", 20001, 0600);
	forget_submitted();
	deliver("alice@host.example");
	assert_int_equal(w.status, 0);
	assert_int_equal(w.n_submitted, 1);
	assert_non_null(strstr(w.submitted[0].envelope, "rcpt=bob@host.example"));
	assert_true(kit_logged("status=sent (delivered to mailbox)"));
	assert_true(kit_logged("status=sent (forwarded as "));
	write_file(in_root("home/alice/.forward"), "|id -u; id -G; exit 1\n", 20001, 0600);
	deliver("alice@host.example");
	assert_outcome(2, "5.3.0", "Command died with status 1: \"id -u; id -G; exit 1\". Command output: 20001 20001 ");
	write_file(in_root("home/alice/.forward"), "bob\n", 20001, 0666);
	expect_log("is world writable");
	deliver("alice@host.example");
	assert_outcome(0, "2.0.0", "delivered to mailbox");
	write_file(in_root("home/alice/.forward"), "bob\n", 0, 0600);
	expect_log("home/alice/.forward: Permission denied");
	deliver("alice@host.example");
	assert_outcome(0, "2.0.0", "delivered to mailbox");
	unlink(in_root("home/alice/.forward"));
}

static void
test_include(void **state)
{
	(void)state;
	NEEDS_ROOT();
	write_file(in_root("out/list"), "# list\nalice\nbob@host.example\n|false\n", 0, 0644);
	forget_submitted();
	deliver("incl@host.example");
	assert_outcome(2, "5.7.1", "mail to command is restricted");
	assert_int_equal(w.n_submitted, 1);
	assert_non_null(strstr(w.submitted[0].envelope, "rcpt=alice@host.example"));
	unlink(in_root("out/list"));
	expect_log("unable to read :include: file");
	deliver("incl@host.example");
	assert_outcome(1, "4.3.5", "mail system configuration error");
}

static void
test_root_is_nobody(void **state)
{
	struct stat st;

	(void)state;
	NEEDS_ROOT();
	expect_log("mail for root is delivered with the rights of nobody");
	deliver("root@host.example");
	assert_outcome(0, "2.0.0", "delivered to mailbox");
	assert_int_equal(stat(in_root("spool/root"), &st), 0);
	assert_int_equal(st.st_uid, 65534);
}

static void
test_fallbacks(void **state)
{
	(void)state;
	NEEDS_ROOT();
	forget_submitted();
	deliver_by("lluser", "host.example", "nosuch+e@host.example", "x\r\n");
	assert_int_equal(w.status, 0);
	assert_non_null(strstr(w.submitted[0].envelope, "rcpt=nosuch.e@example"));
	forget_submitted();
	deliver_by("lfall", "host.example", "nosuch@host.example", "x\r\n");
	assert_int_equal(w.status, 0);
	assert_non_null(strstr(w.submitted[0].envelope, "filter=pip:hop\n"));
	assert_non_null(strstr(w.submitted[0].envelope, "rcpt=nosuch@host.example"));
	expect_log("leads back to local delivery");
	deliver_by("lback", "host.example", "alice@host.example", "x\r\n");
	assert_outcome(1, "4.3.5", "mail system configuration error");
}

static void
test_virtual(void **state)
{
	(void)state;
	NEEDS_ROOT();
	deliver_by("virtual", "virt.example", "u@virt.example", "Subject: v\r\n\r\nx\r\n");
	assert_outcome(0, "2.0.0", "delivered to maildir");
	assert_true(kit_logged("to=<u@virt.example>, relay=virtual,"));
	assert_non_null(strstr(read_text(only_file(in_root("out/virt/u/new"))), "Delivered-To: u@virt.example\n"));
	deliver_by("virtual", "virt.example", "m+ext@virt.example", "x\r\n");
	assert_outcome(0, "2.0.0", "delivered to mailbox");
	deliver_by("virtual", "virt.example", "nobody@virt.example", "x\r\n");
	assert_outcome(2, "5.1.1", "unknown user: \"nobody@virt.example\"");
	expect_log("recipient low@virt.example: bad uid 5 in virtual_uid_maps");
	deliver_by("virtual", "virt.example", "low@virt.example", "x\r\n");
	assert_outcome(1, "4.3.5", "mail system configuration error");
	expect_log("recipient nouid@virt.example: not found in virtual_uid_maps");
	deliver_by("virtual", "virt.example", "nouid@virt.example", "x\r\n");
	assert_outcome(1, "4.3.5", "mail system configuration error");
	expect_log("is not below virtual_mailbox_base");
	deliver_by("virtual", "virt.example", "dots@virt.example", "x\r\n");
	assert_outcome(1, "4.3.5", "mail system configuration error");
}

static void
test_pipe_and_simple(void **state)
{
	(void)state;
	NEEDS_ROOT();
	deliver_by("pip", "hop", "a@pipe.example", "Subject: p\r\n\r\nx\r\n");
	assert_outcome(0, "2.0.0", "delivered via pip service (Return-Path: <sender@from.example> "
	    "Delivered-To: a@pipe.example Subject: p  x sender@from.example)");
	assert_int_equal(w.flags, 1);
	assert_true(kit_logged("to=<a@pipe.example>, relay=pip,"));
	deliver_by("error", "5.1.2 go away", "a@err.example", "x\r\n");
	assert_outcome(2, "5.1.2", "go away");
	assert_true(kit_logged("to=<a@err.example>, relay=none,"));
	deliver_by("retry", "4.5.6 later please", "a@err.example", "x\r\n");
	assert_outcome(1, "4.5.6", "later please");
	deliver_by("error", "", "a@err.example", "x\r\n");
	assert_outcome(2, "5.0.0", "Address is undeliverable");
	deliver_by("discard", "silently", "a@err.example", "x\r\n");
	assert_outcome(0, "2.0.0", "silently");
}

static void
test_notice(void **state)
{
	struct ipc_failed f = { .addr = SPAN("x@there.example"), .dsn = SPAN("5.1.1"), .text = SPAN("no such user") };
	struct envelope e = { .sender = SPAN("sender@from.example"), .arrival_us = clock_wall_us(), .message_id = SPAN("<orig@from.example>") };
	struct ipc_bounce_compose m = { .kind = 0, .qid = SPAN("4bTESTz1"), .to = SPAN("sender@from.example"),
		.arrival_us = e.arrival_us, .failed = &f, .n_failed = 1, .size = 23 };
	struct buf text;

	(void)state;
	NEEDS_ROOT();
	buf_init(&text, 4096);
	envelope_write(&e, &text);
	m.envelope = buf_span(&text);
	m.file = fd_sealed("original", SPAN("Subject: orig\r\n\r\nhello\r\n"));
	forget_submitted();
	w.composed = false;
	assert_true(ipc_ask_bounce_compose(w.to_local, &m, 60000, on_composed, NULL) != 0);
	spin(&w.composed);
	fd_close(&m.file);
	buf_release(&text);
	assert_true(w.composed_ok);
	assert_int_equal(w.n_submitted, 1);
	assert_non_null(strstr(w.submitted[0].envelope, "rcpt=sender@from.example"));
	assert_null(strstr(w.submitted[0].envelope, "\nsender="));
	assert_non_null(strstr(w.submitted[0].content, "Final-Recipient: rfc822; x@there.example\r\n"));
	assert_non_null(strstr(w.submitted[0].content, "Subject: orig\r\n"));
	assert_true(kit_logged("4bTESTz1: sender non-delivery notification: 4"));
	assert_non_null(strstr(w.submitted[0].content, "\r\nSubject: It came back\r\n"));
	assert_non_null(strstr(w.submitted[0].content, "\r\nhost.example says no, example too.\r\n"));
	/* enable_threaded_bounces */
	assert_non_null(strstr(w.submitted[0].content, "\r\nIn-Reply-To: <orig@from.example>\r\n"));
	assert_non_null(strstr(w.submitted[0].content, "\r\nhello"));
}

/* Beyond bounce_size_limit the sender gets the headers alone. */
static void
test_notice_of_a_large_message(void **state)
{
	struct ipc_failed f = { .addr = SPAN("x@there.example"), .dsn = SPAN("5.1.1"), .text = SPAN("no such user") };
	struct envelope e = { .sender = SPAN("sender@from.example"), .arrival_us = clock_wall_us() };
	struct span original = SPAN("Subject: orig\r\n\r\nhello, hello, hello, hello\r\n");
	struct ipc_bounce_compose m = { .kind = 0, .qid = SPAN("4bTESTz1"), .to = SPAN("sender@from.example"),
		.arrival_us = e.arrival_us, .failed = &f, .n_failed = 1, .size = original.n };
	struct buf text;

	(void)state;
	NEEDS_ROOT();
	e.size = original.n;
	buf_init(&text, 4096);
	envelope_write(&e, &text);
	m.envelope = buf_span(&text);
	m.file = fd_sealed("original", original);
	forget_submitted();
	w.composed = false;
	assert_true(ipc_ask_bounce_compose(w.to_local, &m, 60000, on_composed, NULL) != 0);
	spin(&w.composed);
	fd_close(&m.file);
	buf_release(&text);
	assert_non_null(strstr(w.submitted[0].content, "Subject: orig\r\n"));
	assert_null(strstr(w.submitted[0].content, "hello, hello"));
}

static void
test_parameters_of_aliases(void **state)
{
	(void)state;
	NEEDS_ROOT();
	deliver_by("lnocmd", "host.example", "cmd@host.example", "x\r\n");
	assert_outcome(2, "5.7.1", "mail to command is restricted");
	deliver_by("lnofile", "host.example", "file@host.example", "x\r\n");
	assert_outcome(2, "5.7.1", "mail to file is restricted");
	forget_submitted();
	deliver_by("lnohead", "host.example", "rem@host.example", "Subject: x\r\n\r\n");
	assert_null(strstr(w.submitted[0].content, "Delivered-To:"));
	forget_submitted();
	deliver_by("lfmaps", "host.example", "nosuch@host.example", "x\r\n");
	assert_non_null(strstr(w.submitted[0].envelope, "filter=pip:hop\n"));
	forget_submitted();
	deliver_by("lffilter", "host.example", "nosuch@host.example", "x\r\n");
	assert_non_null(strstr(w.submitted[0].envelope, "rcpt=nos_ch@lit.example"));
	forget_submitted();
	write_file(in_root("home/alice/.other"), "bob\n", 20001, 0600);
	deliver_by("lfpath", "host.example", "alice@host.example", "x\r\n");
	unlink(in_root("home/alice/.other"));
	assert_non_null(strstr(w.submitted[0].envelope, "rcpt=bob@host.example"));
}

static void
test_parameters_of_outcomes(void **state)
{
	(void)state;
	NEEDS_ROOT();
	deliver_by("lstatus", "host.example", "nosuch@host.example", "x\r\n");
	assert_outcome(1, "4.1.1", "not yet");
	deliver_by("lstatus", "host.example", "other@host.example", "x\r\n");
	assert_outcome(2, "5.1.1", "unknown user: \"other\"");
	deliver_by("vstatus", "virt.example", "gone@virt.example", "x\r\n");
	assert_outcome(1, "4.1.1", "not yet");
	expect_log("virtual_delivery_status_filter: \"2.0.0 fine\" cannot replace");
	deliver_by("vstatus", "virt.example", "odd@virt.example", "x\r\n");
	assert_outcome(2, "5.1.1", "unknown user: \"odd@virt.example\"");
	deliver_by("pstatus", "hop", "a@pipe.example", "x\r\n");
	assert_outcome(0, "2.1.5", "mapped");
	deliver_by("pfail", "hop", "a@pipe.example", "x\r\n");
	assert_outcome(2, "5.3.0", "Command died with status 3: \"/bin/sh\". Command output: no ");
	deliver_by("pgone", "hop", "a@pipe.example", "x\r\n");
	assert_outcome(1, "4.3.0", "temporary failure. Command output: cannot run /no/such/program: No such file or directory");
	write_file(in_root("out/list"), "# nobody yet\n", 0, 0644);
	deliver_by("local", "host.example", "incl@host.example", "x\r\n");
	assert_outcome(2, "5.2.4", "the expansion of incl@host.example has no recipients");
	unlink(in_root("spool/alice"));
	deliver_by("lwho", "host.example", "toalice@host.example", "x\r\n");
	assert_non_null(strstr(read_text(in_root("spool/alice")), "Delivered-To: alice@host.example\n"));
	forget_submitted();
	deliver_by("lwho", "host.example", "rem@host.example", "Subject: x\r\n\r\n");
	assert_non_null(strstr(w.submitted[0].content, "Delivered-To: rem@host.example\r\n"));
}

static void
test_parameters_of_commands(void **state)
{
	(void)state;
	NEEDS_ROOT();
	deliver_by("lfilter", "host.example", "alice@host.example", "x\r\n");
	assert_outcome(2, "5.3.0", "Command died with status 3: \"echo $USER; exit 3\". Command output: a___e ");
	deliver_by("lenv", "host.example", "alice@host.example", "x\r\n");
	assert_outcome(2, "5.3.0", "Command died with status 3: \"env | grep ODD; exit 3\". Command output: ODD=yes ");
	deliver_by("lcmaps", "host.example", "alice@host.example", "x\r\n");
	assert_outcome(2, "5.3.0", "Command died with status 3: \"echo mapped; exit 3\". Command output: mapped ");
	write_file(in_root("home/alice/.forward"), "|pwd; exit 9\n", 20001, 0600);
	deliver_by("ldir", "host.example", "alice@host.example", "x\r\n");
	assert_int_equal(w.status, 1);  /* no such directory, with the slashes gone */
	unlink(in_root("home/alice/.forward"));
}

static void
test_parameters_of_mailboxes(void **state)
{
	int64_t begun;

	(void)state;
	NEEDS_ROOT();
	deliver("carol@host.example");
	assert_int_equal(w.status, 0);
	deliver_by("lhome", "host.example", "carol@host.example", "x\r\n");
	assert_int_equal(w.status, 1);
	/* a lock of somebody else: two attempts with a pause of 2 s; not asked for; too old */
	write_file(in_root("spool/carol.lock"), "", 20003, 0600);
	begun = clock_mono_us();
	deliver("carol@host.example");
	assert_int_equal(w.status, 1);
	assert_true(clock_mono_us() - begun >= 2 * US_PER_S && clock_mono_us() - begun < 18 * US_PER_S);
	deliver_by("lfcntl", "host.example", "carol@host.example", "x\r\n");
	assert_outcome(0, "2.0.0", "delivered to mailbox");
	assert_int_equal(utimensat(AT_FDCWD, in_root("spool/carol.lock"), (const struct timespec[2]){
	    { .tv_sec = clock_wall_us() / US_PER_S - 100 }, { .tv_sec = clock_wall_us() / US_PER_S - 100 } }, 0), 0);
	deliver("carol@host.example");
	assert_outcome(0, "2.0.0", "delivered to mailbox");
	/* a mailbox of somebody else */
	unlink(in_root("spool/carol"));
	write_file(in_root("spool/carol"), "", 20001, 0666);
	expect_log("specify \"strict_mailbox_ownership = no\" to ignore mailbox ownership mismatch");
	expect_log("is not owned by recipient");
	deliver("carol@host.example");
	assert_int_equal(w.status, 1);
	deliver_by("llax", "host.example", "carol@host.example", "x\r\n");
	assert_outcome(0, "2.0.0", "delivered to mailbox");
	unlink(in_root("spool/carol"));
	/* virtual mailboxes */
	write_file(in_root("out/mbox.lock"), "", 0, 0600);
	deliver_by("virtual", "virt.example", "m@virt.example", "x\r\n");
	assert_int_equal(w.status, 1);
	deliver_by("vfcntl", "virt.example", "m@virt.example", "x\r\n");
	assert_outcome(0, "2.0.0", "delivered to mailbox");
	unlink(in_root("out/mbox.lock"));
	deliver_by("vsmall", "virt.example", "m@virt.example", "x\r\n");
	assert_true(w.status != 0);
	assert_non_null(strstr(w.text, "mailbox"));
}

static void
test_soft_bounce(void **state)
{
	(void)state;
	NEEDS_ROOT();
	deliver_by("lsoft", "host.example", "nosuch@host.example", "x\r\n");
	assert_outcome(1, "4.1.1", "unknown user: \"nosuch\"");
	assert_true(kit_logged("dsn=4.1.1, status=SOFTBOUNCE (unknown user: \"nosuch\")"));
}

/* Transcripts: to whom, from whom, and how many. */
static void
test_transcripts(void **state)
{
	struct ipc_transcript_notice m = { .to = SPAN("postmaster"), .peer = SPAN("evil\r\nX: y[192.0.2.1]"), .reason = SPAN("timeout after RCPT"),
		.text = SPAN(" In:  FOO\n Out: 500 what\n") };
	struct local *l = w.local.state;
	const char *text;

	(void)state;
	forget_submitted();
	transcript_notice(l, &m);
	while (w.n_submitted == 0)
		loop_turn(w.loop, 1000);
	assert_non_null(strstr(w.submitted[0].envelope, "rcpt=postmaster@host.example"));
	assert_non_null(strstr(w.submitted[0].envelope, "sender=double-bounce@"));
	text = w.submitted[0].content;
	assert_non_null(strstr(text, " SMTP server: errors from evil"));
	assert_null(strstr(text, "\r\nX: y"));
	assert_non_null(strstr(text, "\r\n In:  FOO\r\n Out: 500 what\r\n"));
	assert_non_null(strstr(text, "timeout after RCPT"));
	/* a flood */
	expect_log("too many notices to the postmaster");
	for (unsigned i = 0; i < TRANSCRIPTS_BURST + 50; i++)
		transcript_notice(l, &m);
	assert_int_equal(l->transcripts_left, 0);
	assert_int_equal(l->transcripts_dropped, 51);
	while (l->n_submissions > 0)
		loop_turn(w.loop, 1000);
	l->transcripts_us -= 3 * TRANSCRIPTS_PAUSE_S * US_PER_S;
	expect_log("51 notices to the postmaster about SMTP sessions were left out");
	transcript_notice(l, &m);
	assert_int_equal(l->transcripts_left, 2);
	while (l->n_submissions > 0)
		loop_turn(w.loop, 1000);
	/* one that queue does not take is told in the log, and that is all */
	w.queue_refuses = true;
	expect_log("cannot tell the postmaster of trouble in an SMTP session: queue file write error");
	transcript_notice(l, &m);
	while (l->n_submissions > 0)
		loop_turn(w.loop, 1000);
	w.queue_refuses = false;
	forget_submitted();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		KIT_TEST(test_mailbox),
		KIT_TEST(test_maildir),
		KIT_TEST(test_missing_home),
		KIT_TEST(test_unknown_and_loops),
		KIT_TEST(test_two_targets_log_two_lines),
		KIT_TEST(test_commands_and_files),
		KIT_TEST(test_forwarding),
		KIT_TEST(test_forward_file),
		KIT_TEST(test_include),
		KIT_TEST(test_root_is_nobody),
		KIT_TEST(test_fallbacks),
		KIT_TEST(test_virtual),
		KIT_TEST(test_pipe_and_simple),
		KIT_TEST(test_notice),
		KIT_TEST(test_transcripts),
		KIT_TEST(test_soft_bounce),
		KIT_TEST(test_notice_of_a_large_message),
		KIT_TEST(test_parameters_of_aliases),
		KIT_TEST(test_parameters_of_outcomes),
		KIT_TEST(test_parameters_of_commands),
		KIT_TEST(test_parameters_of_mailboxes),
	};

	return cmocka_run_group_tests(tests, set_up_world, tear_down_world);
}
