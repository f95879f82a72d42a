/* The connection to an authentication service, with a service of our own at the other end of a socket: answers, silence, loss, return. */
#define AUTH_ANSWER_MS 200

#include "role/smtpd/auth_link.c"

#include <stdio.h>

#include "kit/kit.h"

#define HELLO "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nDONE\n"

static struct {
	struct role role;
	struct smtpd d;
	struct auth_link *link;
	char dir[64], path[100];
	int listener, conn;
	enum auth_answer_kind kind;
	char text[200];
	unsigned answers;
} t;

static void
turns(unsigned n)
{
	while (n-- > 0)
		loop_turn(t.role.loop, 5);
}

static void
listen_there(void)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };

	memcpy(un.sun_path, t.path, strlen(t.path) + 1);
	t.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(t.listener, (struct sockaddr *)&un, sizeof(un)), 0);
	assert_int_equal(listen(t.listener, 5), 0);
}

/* Wait for the link to connect, and say this. */
static void
take_link(const char *hello)
{
	t.conn = -1;
	for (unsigned i = 0; i < 600 && t.conn < 0; i++) {
		turns(1);
		t.conn = accept4(t.listener, NULL, NULL, SOCK_CLOEXEC);
	}
	assert_true(t.conn >= 0);
	assert_int_equal(write(t.conn, hello, strlen(hello)), (ssize_t)strlen(hello));
	turns(4);
}

static void
service_says(const char *text)
{
	assert_int_equal(write(t.conn, text, strlen(text)), (ssize_t)strlen(text));
	turns(4);
}

/* What came from the link. */
static const char *
heard(void)
{
	static char text[20000];
	ssize_t n;

	turns(3);
	n = recv(t.conn, text, sizeof(text) - 1, MSG_DONTWAIT);
	text[n > 0 ? n : 0] = '\0';
	return text;
}

static void
on_answer_here(void *ctx, const struct auth_answer *a)
{
	struct auth_exchange **x = ctx;

	t.kind = a->kind;
	t.answers++;
	snprintf(t.text, sizeof(t.text), "%.*s|%.*s|%.*s", SPAN_ARG(a->data), SPAN_ARG(a->user), SPAN_ARG(a->reason));
	if (a->kind != AUTH_CHALLENGE)
		*x = NULL;
}

static struct auth_exchange *
begin(struct auth_exchange **x)
{
	const struct dovecot_request r = { .mech = SPAN("PLAIN"), .service = SPAN("smtp") };
	bool too_long;

	t.answers = 0;
	*x = auth_begin(t.link, &r, on_answer_here, x, &too_long);
	return *x;
}

static void
open_link(bool listening)
{
	struct fault why = { 0 };

	memset(&t, 0, sizeof(t));
	t.listener = t.conn = -1;
	t.role.loop = loop_new();
	t.d = (struct smtpd){ .role = &t.role, .arena = arena_new(65536), .scratch = arena_new(65536) };
	list_init(&t.d.sessions);
	list_init(&t.d.auth_links);
	snprintf(t.dir, sizeof(t.dir), "/tmp/auth-link-XXXXXX");
	assert_non_null(mkdtemp(t.dir));
	snprintf(t.path, sizeof(t.path), "%s/auth", t.dir);
	if (listening)
		listen_there();
	t.link = auth_link_get(&t.d, t.path, &why);
	assert_non_null(t.link);
	assert_ptr_equal(auth_link_get(&t.d, t.path, &why), t.link);
	assert_true(auth_link_pending(t.link));
	auth_links_start(&t.d);
	auth_links_start(&t.d);
}

static void
close_link(void)
{
	auth_links_close(&t.d);
	fd_close(&t.conn);
	fd_close(&t.listener);
	unlink(t.path);
	rmdir(t.dir);
	loop_free(&t.role.loop);
	arena_free(&t.d.arena);
	arena_free(&t.d.scratch);
}

static void
test_answers(void **state)
{
	struct auth_exchange *x, *y;
	bool too_long;

	(void)state;
	open_link(true);
	assert_null(auth_link_service(t.link));
	take_link(HELLO);
	assert_non_null(auth_link_service(t.link));
	assert_non_null(begin(&x));
	assert_non_null(strstr(heard(), "AUTH\t1\tPLAIN\tservice=smtp\tnologin\n"));
	service_says("CONT\t1\tQUJD\n");
	assert_string_equal(t.text, "QUJD||");
	service_says("CONT\t1\tQUJD\nOK\t1\tuser=joe\n");       /* out of turn: it is the client's */
	assert_int_equal(t.answers, 1);
	assert_true(auth_respond(x, SPAN("QQ=="), &too_long));
	assert_string_equal(heard(), "CONT\t1\tQQ==\n");
	service_says("OK\t1\tuser=joe\n");
	assert_int_equal(t.kind, AUTH_GRANTED);
	assert_string_equal(t.text, "|joe|");
	assert_null(x);

	begin(&x);
	begin(&y);
	service_says("FAIL\t3\tuser=ann\treason=no\nFAIL\t2\ttemp\nOK\t2\tuser=joe\nOK\t9\tuser=joe\n");
	assert_int_equal(t.answers, 2);
	assert_int_equal(t.kind, AUTH_TROUBLE);
	assert_true(x == NULL && y == NULL);

	/* nobody wants it any more: said to the service, and its answer is nobody's */
	begin(&x);
	auth_drop(&x);
	assert_non_null(strstr(heard(), "CANCEL\t4\n"));
	service_says("OK\t4\tuser=joe\n");
	assert_int_equal(t.answers, 0);
	close_link();
}

static void
test_silence(void **state)
{
	struct auth_exchange *x, *y;

	(void)state;
	open_link(true);
	take_link(HELLO);
	begin(&x);
	begin(&y);
	service_says("CONT\t2\t\n");            /* the second one waits for its client */
	expect_log("does not answer within 0 seconds");
	for (unsigned i = 0; i < 200 && x != NULL; i++)
		turns(1);
	assert_null(x);
	assert_non_null(y);
	assert_int_equal(t.kind, AUTH_TROUBLE);
	assert_string_equal(t.text, "||Connection lost to authentication server");
	assert_non_null(strstr(heard(), "CANCEL\t1\n"));
	auth_drop(&y);
	close_link();
}

static void
test_lost_and_found(void **state)
{
	struct auth_exchange *x, *y;
	bool too_long;

	(void)state;
	expect_log("SASL: Connect to ");
	open_link(false);
	turns(3);
	assert_false(auth_link_pending(t.link));
	assert_null(begin(&x));
	listen_there();
	take_link(HELLO);
	assert_true(kit_logged("answers again"));
	begin(&x);
	begin(&y);
	service_says("CONT\t2\t\n");
	expect_log("lost: the service closed it");
	heard();
	fd_close(&t.conn);
	turns(4);
	assert_null(x);
	assert_int_equal(t.kind, AUTH_TROUBLE);
	assert_false(auth_respond(y, SPAN("QQ=="), &too_long));
	assert_false(too_long);
	auth_drop(&y);
	take_link(HELLO);
	assert_non_null(begin(&x));
	service_says("OK\t1\tuser=joe\n");
	assert_int_equal(t.kind, AUTH_GRANTED);
	expect_log("lost: its challenge is not base64");
	begin(&x);
	service_says("CONT\t2\ta b\n");
	assert_null(x);
	assert_int_equal(t.kind, AUTH_TROUBLE);
	close_link();
}

static void
test_too_much(void **state)
{
	static struct auth_exchange *all[ASKED_MAX + 1];
	static char big[17000];
	struct dovecot_request r = { .mech = SPAN("PLAIN"), .has_initial = true };
	struct auth_exchange *x = NULL;
	bool too_long;

	(void)state;
	open_link(true);
	take_link(HELLO);
	memset(big, 'A', sizeof(big));
	r.initial = span_of(big, sizeof(big));
	assert_null(auth_begin(t.link, &r, on_answer_here, &x, &too_long));
	assert_true(too_long);
	for (size_t i = 0; i < ASKED_MAX; i++)
		assert_non_null(begin(&all[i]));
	assert_null(begin(&all[ASKED_MAX]));
	/* One that is its client's turn again makes room. */
	service_says("CONT\t2\t\n");
	assert_non_null(begin(&x));
	auth_drop(&x);
	for (size_t i = 0; i < ASKED_MAX; i++)
		auth_drop(&all[i]);
	assert_int_equal(t.link->n_asked, 0);
	assert_int_equal(t.link->by_id.count, 0);
	assert_non_null(begin(&x));
	auth_drop(&x);
	close_link();
}

static void
test_paths(void **state)
{
	static const char *const bad[] = { "inet:", "inet:host", "inet::1", "inet:host:port", "inet:host:0", "inet:host:65536" };
	static char long_path[200] = "/";
	struct fault why = { 0 };
	struct auth_link *l;

	(void)state;
	open_link(true);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_null(auth_link_get(&t.d, bad[i], &why));
		assert_non_null(strstr(why.text, "smtpd_sasl_path = inet:"));
	}
	memset(long_path + 1, 'x', sizeof(long_path) - 2);
	assert_null(auth_link_get(&t.d, long_path, &why));
	l = auth_link_get(&t.d, "inet:[::1]:12345", &why);
	assert_true(span_eq(l->host, SPAN("::1")) && l->port == 12345);
	l = auth_link_get(&t.d, "unix:/run/auth", &why);
	assert_string_equal(l->socket_path, "/run/auth");
	take_link(HELLO);
	close_link();
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(test_answers),
	KIT_TEST(test_silence),
	KIT_TEST(test_lost_and_found),
	KIT_TEST(test_too_much),
	KIT_TEST(test_paths),
};
KIT_MAIN(tests)
