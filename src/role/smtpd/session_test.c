/* One connection with everything but a queue behind it: sessions that end in the middle of a group of commands. */
#include <arpa/inet.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conf/conf.h"
#include "kit/kit.h"
#include "role/roles.h"
#include "role/smtpd/smtpd.h"

#define MAIN_CF                                                                                                                      \
	"compatibility_level = 3.10\nmyhostname = mx.here.example\nmydestination = here.example\nlocal_recipient_maps =\nalias_maps =\n"     \
	"alias_database =\ninet_interfaces = 127.0.0.1\nmynetworks =\nsmtpd_peername_lookup = no\nsmtpd_error_sleep_time = 0\n"         \
	"smtpd_soft_error_limit = 1\nsmtpd_relay_restrictions = reject_unauth_destination\n"                                          \
	"smtpd_recipient_restrictions = check_recipient_access inline:{ {no@=REJECT} {later@=450 later} {end@=421 4.3.0 enough} }\n"

static struct {
	struct loop *loop;
	struct conf *conf;
	struct role role;
	struct smtpd d;
	struct service svc;
	int client;
	char said[8192];
} t;

static void
connect_pair(int *server_r, int *client_r)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(at);
	int door = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(door, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(door, 1), 0);
	assert_int_equal(getsockname(door, (struct sockaddr *)&at, &n), 0);
	*client_r = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(*client_r, (struct sockaddr *)&at, sizeof(at)), 0);
	*server_r = accept4(door, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	assert_true(*server_r >= 0);
	close(door);
}

static void
open_session(const char *more)
{
	struct conf_report report;
	struct fault why = { 0 };
	char text[4096];
	int fd;

	memset(&t, 0, sizeof(t));
	snprintf(text, sizeof(text), MAIN_CF "%s", more);
	conf_report_init(&report);
	assert_true(conf_parse(span_str(text), SPAN("smtp inet n - n - - smtpd\n"), &t.conf, &report));
	conf_report_release(&report);
	t.loop = loop_new();
	role_attach(&t.role, &smtpd_role, t.loop, t.conf);
	t.d = (struct smtpd){ .role = &t.role, .max_sessions = 100, .arena = arena_new(SESSION_ARENA), .scratch = arena_new(QUESTION_ARENA) };
	list_init(&t.d.sessions);
	list_init(&t.d.dead);
	list_init(&t.d.auth_links);
	t.d.counters = counters_open(-1, 0);
	loop_task_init(&t.d.reap, sessions_reap, &t.d);
	if (!service_open(&t.d, &t.svc, conf_find_service(t.conf, "smtp", true), "smtp", false, &why))
		fail_msg("%s", why.text);
	connect_pair(&fd, &t.client);
	session_accept(&t.d, &t.svc, fd);
}

static void
close_session(void)
{
	close(t.client);
	for (unsigned i = 0; i < 200 && t.d.n_sessions > 0; i++)
		loop_turn(t.loop, 5);
	loop_turn(t.loop, 1);
	assert_int_equal(t.d.n_sessions, 0);
	assert_true(list_empty(&t.d.dead));
	service_close(&t.svc);
	counters_close(&t.d.counters);
	loop_task_cancel(&t.d.reap);
	arena_free(&t.d.scratch);
	arena_free(&t.d.arena);
	role_detach(&t.role);
	loop_free(&t.loop);
	conf_unref(&t.conf);
}

/* Say it in one write, and read until `last` has come. */
static void
talk(const char *text, const char *last)
{
	size_t n = 0;

	assert_int_equal(send(t.client, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
	t.said[0] = '\0';
	for (unsigned i = 0; i < 1000 && strstr(t.said, last) == NULL; i++) {
		ssize_t got = recv(t.client, t.said + n, sizeof(t.said) - 1 - n, MSG_DONTWAIT);

		if (got > 0)
			t.said[n += (size_t)got] = '\0';
		loop_turn(t.loop, 2);
	}
	if (strstr(t.said, last) == NULL)
		fail_msg("no \"%s\" in \"%s\"", last, t.said);
}

/*
 * All recipients of a group are asked about together. The answer about one ends the session: what the others pointed to is gone with
 * the transaction, and nothing is said of them.
 */
static void
answers_that_end_the_session(void **state)
{
	static const struct {
		const char *name, *conf, *group, *last;
		const char *judged[4], *never;
	} rows[] = {
		{ "the last error", "smtpd_hard_error_limit = 2\n", "MAIL FROM:<a@x.example>\r\nRCPT TO:<no@1.here.example>\r\nRCPT TO:<no@here.example>\r\n"
		    "RCPT TO:<no@2.here.example>\r\nRCPT TO:<no@3.here.example>\r\nDATA\r\n", "421 4.7.0 mx.here.example Error: too many errors\r\n",
		    { "to=<no@1.here.example>", "to=<no@here.example>" }, "to=<no@2.here.example>" },
		{ "421", "", "MAIL FROM:<a@x.example>\r\nRCPT TO:<end@here.example>\r\nRCPT TO:<later@here.example>\r\nRCPT TO:<no@here.example>\r\n",
		    "421 4.3.0 <end@here.example>", { "to=<end@here.example>" }, "to=<later@here.example>" },
		{ "421 behind a recipient that was taken", "", "MAIL FROM:<a@x.example>\r\nRCPT TO:<joe@here.example>\r\nRCPT TO:<end@here.example>\r\n"
		    "RCPT TO:<no@here.example>\r\nDATA\r\n", "421 4.3.0 <end@here.example>", { "to=<end@here.example>" }, "to=<no@here.example>" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		kit_log_mark();
		open_session(rows[i].conf);
		talk("", "220 ");
		talk("EHLO c.example\r\n", "250 ");
		talk(rows[i].group, rows[i].last);
		for (size_t j = 0; rows[i].judged[j] != NULL; j++)
			if (!kit_logged(rows[i].judged[j]))
				fail_msg("%s: nothing is said of %s", rows[i].name, rows[i].judged[j]);
		if (kit_logged(rows[i].never))
			fail_msg("%s: a word about %s", rows[i].name, rows[i].never);
		close_session();
	}
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(answers_that_end_the_session),
};

KIT_MAIN(tests)
