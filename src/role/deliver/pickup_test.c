/* The maildrop: everything a hostile user can put there. */
#include "role/deliver/pickup.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "kit/kit.h"

static struct pickup p;

static const char *
in_drop(const char *name)
{
	static char path[4][600];
	static unsigned at;
	char *s = path[at++ % 4];

	snprintf(s, sizeof(path[0]), "%s/maildrop/%s", kit_dir(), name);
	return s;
}

static void
begin(void)
{
	struct fault why = { 0 };
	char path[600];

	snprintf(path, sizeof(path), "%s/maildrop", kit_dir());
	assert_int_equal(mkdir(path, 01733), 0);
	assert_true(pickup_init(&p, kit_dir(), &why));
}

static void
drop(const char *name, mode_t mode)
{
	int fd = open(in_drop(name), O_CREAT | O_EXCL | O_WRONLY, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, "text", 4), 4);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static enum run_pickup
state_of(const char *name)
{
	struct pickup_file f;

	pickup_open(&p, span_str(name), &f);
	assert_true((f.state == RUN_PICKUP_OPEN) == (f.fd >= 0));
	fd_close(&f.fd);
	return f.state;
}

static void
test_complete(void **state)
{
	struct pickup_file f;

	(void)state;
	begin();
	drop("a", RUN_PICKUP_MODE_COMPLETE);
	pickup_open(&p, SPAN("a"), &f);
	assert_int_equal(f.state, RUN_PICKUP_OPEN);
	assert_int_equal(f.uid, geteuid());
	assert_int_equal(f.size, 4);
	fd_close(&f.fd);
	pickup_remove(&p, SPAN("a"), false);
	assert_int_equal(state_of("a"), RUN_PICKUP_GONE);
	pickup_release(&p);
}

static void
test_what_is_no_mail(void **state)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int s;

	(void)state;
	begin();
	drop("writing", RUN_PICKUP_MODE_WRITING);
	assert_int_equal(state_of("writing"), RUN_PICKUP_UNFINISHED);
	assert_int_equal(symlink("/etc/shadow", in_drop("link")), 0);
	assert_int_equal(state_of("link"), RUN_PICKUP_BAD);
	drop("twice", RUN_PICKUP_MODE_COMPLETE);
	assert_int_equal(link(in_drop("twice"), in_drop("again")), 0);
	assert_int_equal(state_of("twice"), RUN_PICKUP_BAD);
	assert_int_equal(state_of("again"), RUN_PICKUP_BAD);
	assert_int_equal(mkfifo(in_drop("fifo"), 0700), 0);
	assert_int_equal(state_of("fifo"), RUN_PICKUP_BAD);
	assert_int_equal(mkdir(in_drop("dir"), 0700), 0);
	assert_int_equal(state_of("dir"), RUN_PICKUP_BAD);
	s = socket(AF_UNIX, SOCK_STREAM, 0);
	snprintf(to.sun_path, sizeof(to.sun_path), "%s", in_drop("sock"));
	assert_int_equal(bind(s, (struct sockaddr *)&to, sizeof(to)), 0);
	close(s);
	assert_int_equal(state_of("sock"), RUN_PICKUP_BAD);
	assert_int_equal(state_of("../maildrop/twice"), RUN_PICKUP_GONE);
	assert_int_equal(state_of("."), RUN_PICKUP_GONE);
	assert_int_equal(state_of(""), RUN_PICKUP_GONE);
	pickup_release(&p);
}

static void
test_aside(void **state)
{
	char path[600];

	(void)state;
	begin();
	assert_int_equal(mkdir(in_drop("dir"), 0700), 0);
	pickup_remove(&p, SPAN("dir"), true);
	assert_int_not_equal(access(in_drop("dir"), F_OK), 0);
	snprintf(path, sizeof(path), "%s/maildrop.bad/dir", kit_dir());
	assert_int_equal(access(path, F_OK), 0);
	pickup_remove(&p, SPAN("../maildrop.bad/dir"), false);
	assert_int_equal(access(path, F_OK), 0);
	pickup_release(&p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		KIT_TEST(test_complete),
		KIT_TEST(test_what_is_no_mail),
		KIT_TEST(test_aside),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
