/* Messages between two hubs in one process: questions, answers, descriptors, deadlines, faulty peers. */
#include "ipc/ipc.h"

#include <sys/socket.h>
#include <fcntl.h>

#include "base/fd.h"
#include "ipc/messages.h"
#include "ipc/ipc_private.h"
#include "kit/kit.h"

struct pair {
	struct loop *loop;
	struct ipc_hub *a, *b;          /* smtpd and queue */
	struct ipc_peer *to_b, *to_a;
	struct ipc_from asked;
	size_t size;
	int file, downs, lost, timeouts, answered;
	bool answer_now;
};

static void
on_submit(void *ctx, struct ipc_from from, struct ipc_queue_submit *m)
{
	struct pair *p = ctx;
	struct ipc_queue_submitted done = { .ok = true, .dsn = SPAN("2.0.0"), .text = SPAN("ok") };

	p->asked = from;
	p->size = m->content.n;
	if (p->answer_now)
		ipc_reply_queue_submitted(p->b, from, &done);
}

static void
on_tmp(void *ctx, struct ipc_from from, struct ipc_queue_tmp *m)
{
	struct pair *p = ctx;
	struct ipc_queue_tmp_ready r = { .ok = true, .file = p->file };

	(void)m;
	ipc_reply_queue_tmp_ready(p->b, from, &r);
}

static const struct ipc_handlers none = { .role_go = NULL };
static const struct ipc_handlers queue_on = { .queue_submit = on_submit, .queue_tmp = on_tmp };

static void
on_down(void *ctx, struct ipc_peer *peer)
{
	struct pair *p = ctx;

	(void)peer;
	p->downs++;
}

static void
pair_open(struct pair *p)
{
	struct ipc_hub_ops a = { .on = &none, .peer_down = on_down, .ctx = p };
	struct ipc_hub_ops b = { .on = &queue_on, .peer_down = on_down, .ctx = p };
	int fds[2];

	*p = (struct pair){ .file = -1, .answer_now = true };
	p->loop = loop_new();
	p->a = ipc_hub_new(p->loop, IPC_ROLE_SMTPD, &a);
	p->b = ipc_hub_new(p->loop, IPC_ROLE_QUEUE, &b);
	assert_int_equal(fd_socketpair(SOCK_STREAM, fds), 0);
	p->to_b = ipc_peer_add(p->a, IPC_ROLE_QUEUE, 0, fds[0]);
	p->to_a = ipc_peer_add(p->b, IPC_ROLE_SMTPD, 0, fds[1]);
}

static void
pair_close(struct pair *p)
{
	ipc_hub_free(&p->a);
	ipc_hub_free(&p->b);
	loop_free(&p->loop);
}

static void
turns(struct pair *p, int n)
{
	while (n-- > 0)
		loop_turn(p->loop, 10);
}

static void
on_submitted(void *ctx, enum ipc_result result, struct ipc_queue_submitted *m)
{
	struct pair *p = ctx;

	p->lost += result == IPC_LOST;
	p->timeouts += result == IPC_TIMEOUT;
	if (result == IPC_OK) {
		assert_true(m->ok);
		assert_span(m->dsn, "2.0.0");
		p->answered++;
	}
}

static uint64_t
submit(struct pair *p, size_t size, int64_t timeout_ms)
{
	static char content[65536];
	struct ipc_queue_submit m = { .qid = SPAN("Q"), .envelope = SPAN("E"), .size = size,
		.content = span_of(content, size) };

	return ipc_ask_queue_submit(p->to_b, &m, timeout_ms, on_submitted, p);
}

static void
test_question_and_answer(void **state)
{
	struct pair p;

	(void)state;
	pair_open(&p);
	for (int i = 0; i < 100; i++)
		assert_true(submit(&p, 65536, 10000) != 0);
	for (int i = 0; i < 1000 && p.answered < 100; i++)
		turns(&p, 1);
	assert_int_equal(p.answered, 100);
	assert_int_equal(p.size, 65536);
	pair_close(&p);
}

static void
on_tmp_ready(void *ctx, enum ipc_result result, struct ipc_queue_tmp_ready *m)
{
	struct pair *p = ctx;

	assert_int_equal(result, IPC_OK);
	assert_true(m->file >= 0);
	assert_int_equal(fd_write_all(m->file, "x", 1), 0);
	if (p->answered++ == 0)
		return;                 /* not taken: the hub closes it */
	fd_close(&m->file);
}

static void
test_descriptors_keep_their_frames(void **state)
{
	struct ipc_queue_tmp ask = { .qid = SPAN("Q") };
	struct pair p;

	(void)state;
	pair_open(&p);
	p.file = fd_open(AT_FDCWD, kit_file("f", ""), O_WRONLY, 0);
	for (int i = 0; i < 200; i++) {
		ipc_ask_queue_tmp(p.to_b, &ask, 10000, on_tmp_ready, &p);
		submit(&p, (size_t)i, 10000);
	}
	for (int i = 0; i < 1000 && p.answered < 400; i++)
		turns(&p, 1);
	assert_int_equal(p.answered, 400);
	fd_close(&p.file);
	pair_close(&p);
}

static void
test_deadline_and_loss(void **state)
{
	struct ipc_queue_submitted late = { .ok = true };
	struct pair p;
	uint64_t id;

	(void)state;
	pair_open(&p);
	p.answer_now = false;
	submit(&p, 1, 20);
	for (int i = 0; i < 200 && p.timeouts == 0; i++)
		turns(&p, 1);
	assert_int_equal(p.timeouts, 1);
	ipc_reply_queue_submitted(p.b, p.asked, &late);         /* nobody waits: harmless */
	turns(&p, 3);
	id = submit(&p, 1, 10000);
	ipc_forget(p.a, id);
	submit(&p, 1, 10000);
	turns(&p, 3);
	ipc_peer_close(p.to_a);
	for (int i = 0; i < 200 && p.lost == 0; i++)
		turns(&p, 1);
	assert_int_equal(p.lost, 1);
	assert_int_equal(p.answered, 0);
	assert_int_equal(p.downs, 2);
	pair_close(&p);
}

static void
test_faulty_peers_are_closed(void **state)
{
	static const struct {
		const char *name;
		unsigned type;
		const char *payload;
		uint32_t claim;
	} rows[] = {
		{ "a type that smtpd may not send", IPC_ROLE_STOP, "\0\0\0\0", 4 },
		{ "a type that nobody knows", 999, "", 0 },
		{ "a frame over the maximum", IPC_QUEUE_SUBMIT, "", IPC_FRAME_MAX + 1 },
		{ "a payload that does not decode", IPC_QUEUE_SUBMIT, "\xff\xff\xff\xff", 4 },
	};

	(void)state;
	expect_log("may not send");
	expect_log("garbled");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct pair p;
		struct buf b;

		pair_open(&p);
		buf_init(&b, 1000);
		ipc_put(&b, rows[i].claim, 4);
		ipc_put(&b, rows[i].type, 2);
		ipc_put(&b, 0, 2);
		ipc_put(&b, 1, 8);
		if (rows[i].claim == 4)
			buf_add(&b, rows[i].payload, 4);
		assert_int_equal(fd_write_all(ipc_peer_fd(p.to_b), b.p, b.n), 0);
		for (int t = 0; t < 100 && p.downs < 2; t++)
			turns(&p, 1);
		if (p.downs != 2)
			fail_msg("not closed: %s", rows[i].name);
		buf_release(&b);
		pair_close(&p);
	}
}

static void
test_blocking_form(void **state)
{
	struct buf b, in;
	struct span payload;
	struct ipc_role_peer m = { .role = IPC_ROLE_QUEUE, .index = 3 }, got;
	struct arena *a = arena_new(10000);
	uint64_t id;
	int fds[2], file, passed;

	(void)state;
	buf_init(&b, 1000);
	buf_init(&in, 1000);
	assert_int_equal(fd_socketpair(SOCK_STREAM, fds), 0);
	file = fd_open(AT_FDCWD, "/dev/null", 0, 0);
	ipc_encode_role_peer(&b, &m);
	assert_int_equal(ipc_write_blocking(fds[0], IPC_ROLE_PEER, 7, buf_span(&b), file), 0);
	assert_int_equal(ipc_read_blocking(fds[1], 1000, &in, &id, &payload, &passed), IPC_ROLE_PEER);
	assert_int_equal(id, 7);
	assert_true(passed >= 0);
	assert_true(ipc_decode_role_peer(payload, a, &got));
	assert_int_equal(got.index, 3);
	fd_close(&passed);
	assert_true(ipc_read_blocking(fds[1], 10, &in, &id, &payload, &passed) < 0);
	fd_close(&fds[0]);
	assert_int_equal(ipc_read_blocking(fds[1], 1000, &in, &id, &payload, &passed), 0);
	fd_close(&fds[1]);
	fd_close(&file);
	buf_release(&b);
	buf_release(&in);
	arena_free(&a);
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(test_question_and_answer),
	KIT_TEST(test_descriptors_keep_their_frames),
	KIT_TEST(test_deadline_and_loss),
	KIT_TEST(test_faulty_peers_are_closed),
	KIT_TEST(test_blocking_form),
};

KIT_MAIN(tests)
