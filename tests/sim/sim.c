/*
 * sim [--seed N] FILE.sim                  play one script
 * sim [--seed N] --fail KIND N FILE.sim    the same, and call N of that kind fails (KIND+: and what follows)
 * sim --torture [--every N] FILE.sim...    play each again and again, failing the n-th write, sync, lookup, message
 *                                          between roles, tie between them, and life of the queue in turn: that one alone, and all of its
 *                                          kind for a quarter of an hour. Expectations do not count then, the account
 *                                          of every accepted message does
 */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kit/kit.h"
#include "sim/sim.h"

enum { PATIENCE_S = 120, NOT_REACHED = 3, STREAK_S = 900 };

struct arena *sim_arena;
static uint64_t seed = 1;
static bool failing, finished;

static struct {
	bool on;                        /* expectations do not count */
	bool armed, streak, counting;
	enum torture kind;
	unsigned n, calls;
	int64_t until_us;               /* of a streak */
	unsigned *counts;               /* calls of each kind when nothing fails; shared with the process that counts */
} torture;

static const char *const kinds[TORTURE_KINDS] = { "write", "fsync", "lookup", "ipc", "link", "crash" };

/* ---- the end */

static void
clean_up(void)
{
	if (world_dir()[0] != '\0')
		kit_remove_tree(world_dir());
}

static void
explain(void)
{
	script_log_tail();
	fprintf(stderr, "    seed %llu", (unsigned long long)seed);
	if (torture.on)
		fprintf(stderr, "; again: sim --fail %s%s %u --seed %llu FILE", kinds[torture.kind], torture.streak ? "+" : "", torture.n,
		    (unsigned long long)seed);
	fprintf(stderr, "\n");
	clean_up();
}

_Noreturn void
sim_fail(const char *fmt, ...)
{
	va_list ap;

	if (failing)
		_exit(1);
	failing = true;
	fprintf(stderr, "%s: ", script_where());
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	explain();
	_exit(1);
}

static void
on_signal(int signo)
{
	signal(SIGABRT, SIG_DFL);
	sim_fail(signo == SIGALRM ? "no end after %d s of real time" : "aborted (%d)", signo == SIGALRM ? PATIENCE_S : signo);
}

/* fatal() of a role. */
static void
on_exit_early(void)
{
	if (!finished && !failing)
		sim_fail("the process ended");
}

const char *
sim_time_text(int64_t us)
{
	int64_t s = us / US_PER_S, ms = us / US_PER_MS % 1000;
	struct buf b;
	const char *text;

	buf_init(&b, 64);
	if (s >= 86400)
		buf_addf(&b, "%lldd", (long long)(s / 86400));
	if (s >= 3600)
		buf_addf(&b, "%lldh", (long long)(s / 3600 % 24));
	if (s >= 60)
		buf_addf(&b, "%lldm", (long long)(s / 60 % 60));
	buf_addf(&b, ms != 0 ? "%lld.%03llds" : "%llds", (long long)(s % 60), (long long)ms);
	text = arena_cstr(sim_arena, buf_span(&b));
	buf_release(&b);
	return text;
}

/* ---- torture */

bool
torture_on(void)
{
	return torture.on;
}

bool
torture_now(enum torture kind)
{
	if (torture.counting && world_begun())
		torture.counts[kind]++;
	if (!torture.armed || kind != torture.kind || !world_begun())
		return false;
	if (torture.calls++ == torture.n) {
		torture.until_us = clock_since_start_us() + STREAK_S * US_PER_S;
		return true;
	}
	return torture.streak && torture.calls > torture.n && clock_since_start_us() < torture.until_us;
}

static void
play(const char *file)
{
	sim_arena = arena_new((size_t)1 << 30);
	clock_seed(seed);
	atexit(on_exit_early);
	alarm(PATIENCE_S);
	world_init();
	script_play(file);
	if (torture.on) {
		torture.armed = torture.counting = false;
		script_rest(torture.kind != TORTURE_LOOKUP);
	}
	clean_up();
	finished = true;
}

/* In a process of its own: the story with one failure, then time enough for everything to end. */
static _Noreturn void
play_tortured(const char *file)
{
	play(file);
	exit(torture.calls > torture.n ? 0 : NOT_REACHED);
}

/* Its exit status: 0, NOT_REACHED, or survived badly. */
static int
play_one(const char *file)
{
	int status = -1;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		torture.on = true;
		torture.armed = !torture.counting;
		play_tortured(file);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return WIFSIGNALED(status) ? -WTERMSIG(status) : -1;
	return WEXITSTATUS(status);
}

/* Every `every`-th call of one kind. */
static bool
torture_kind(const char *file, unsigned every, unsigned *plays)
{
	for (torture.n = (unsigned)seed % every; torture.n < torture.counts[torture.kind]; torture.n += every) {
		int status = play_one(file);

		if (status == NOT_REACHED)
			continue;       /* an exchange with one call less than when they were counted */
		++*plays;
		if (status != 0) {
			fprintf(stderr, "FAIL  torture %s: %s %u%s (status %d)\n", file, kinds[torture.kind], torture.n,
			    torture.streak ? " and what followed" : "", status);
			return false;
		}
	}
	return true;
}

/* A play in which nothing fails. */
static bool
count_calls(const char *file)
{
	int status;

	memset(torture.counts, 0, TORTURE_KINDS * sizeof(*torture.counts));
	torture.counting = true;
	status = play_one(file);
	torture.counting = false;
	if (status != NOT_REACHED)
		fprintf(stderr, "FAIL  torture %s: without any failure (status %d)\n", file, status);
	return status == NOT_REACHED;
}

static bool
torture_story(const char *file, unsigned every, unsigned *plays)
{
	if (!count_calls(file))
		return false;
	for (unsigned k = 0; k < 2 * TORTURE_KINDS; k++) {
		unsigned kind_plays = 0;

		torture.kind = (enum torture)(k / 2);
		torture.streak = k % 2 == 1;
		if (!torture_kind(file, every, &kind_plays))
			return false;
		if (!torture.streak)
			printf("%s%s %u", k == 0 ? "  " : ", ", kinds[torture.kind], kind_plays);
		else
			printf("+%u", kind_plays);
		*plays += kind_plays;
	}
	printf("  %s\n", file);
	return true;
}

static int
usage(void)
{
	fprintf(stderr, "usage: sim [--seed N] [--fail KIND N] FILE.sim\n       sim --torture [--seed N] [--every N] FILE.sim...\n");
	return 2;
}

static bool
number(const char *text, uint64_t *n_r)
{
	return text != NULL && span_u64(span_str(text), UINT32_MAX, n_r);
}

/* "write+" "12" */
bool
torture_arm(struct span kind, uint64_t n)
{
	torture.streak = span_ends(kind, SPAN("+"));
	kind.n -= torture.streak;
	torture.armed = true;
	torture.n = (unsigned)n;
	torture.calls = 0;
	for (unsigned k = 0; k < TORTURE_KINDS; k++)
		if (span_eq(kind, span_str(kinds[k]))) {
			torture.kind = (enum torture)k;
			return true;
		}
	return false;
}

static bool
take_failure(const char *kind, const char *n_text)
{
	uint64_t n;

	torture.on = true;
	return number(n_text, &n) && torture_arm(span_str(kind), n);
}

int
main(int argc, char **argv)
{
	bool tortures = false;
	uint64_t every = 1;
	unsigned plays = 0;
	int i = 1;

	setenv("SIGNET_KEYS", "in-process", 1);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGALRM, on_signal);
	signal(SIGABRT, on_signal);
	for (; i < argc && argv[i][0] == '-'; i++) {
		if (strcmp(argv[i], "--torture") == 0)
			tortures = true;
		else if (strcmp(argv[i], "--fail") == 0 && i + 2 < argc && take_failure(argv[i + 1], argv[i + 2]))
			i += 2;
		else if (strcmp(argv[i], "--seed") == 0 && number(argv[i + 1], &seed))
			i++;
		else if (strcmp(argv[i], "--every") == 0 && number(argv[i + 1], &every) && every > 0)
			i++;
		else
			return usage();
	}
	if (i >= argc || (!tortures && i != argc - 1) || (tortures && torture.on))
		return usage();
	if (!tortures) {
		play(argv[i]);
		return 0;
	}
	torture.counts = mmap(NULL, TORTURE_KINDS * sizeof(*torture.counts), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (torture.counts == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	for (; i < argc; i++)
		if (!torture_story(argv[i], (unsigned)every, &plays))
			return 1;
	printf("%u plays, nothing lost\n", plays);
	return 0;
}
