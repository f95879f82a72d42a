/* The ladder as a dialogue: what failed, what worked, when, and where the next attempt begins. */
#include "tls/ladder.h"

#include <openssl/ssl.h>

#include "base/log.h"
#include "kit/kit.h"

#define COUNT(v) (sizeof(v) / sizeof((v)[0]))
#define MINUTE 60
#define HOUR 3600

static struct tls_decision
decision(enum tls_level asked, enum tls_level level)
{
	return (struct tls_decision){ .asked = asked, .level = level, .must_match = tls_level_must_match(level),
		.groups_curves = SPAN("X25519MLKEM768 X25519 prime256v1"), .groups_ffdhe = SPAN("ffdhe2048"),
		.protocols = { .min = TLS1_VERSION } };
}

static struct tls_decision
may(void)
{
	return decision(TLS_LEVEL_MAY, TLS_LEVEL_MAY);
}

/* The rungs in order, as text: "full plain tls12". */
static const char *
rungs(const struct tls_decision *d)
{
	static const char *const names[] = { "full", "plain", "tls12" };
	static char text[64];
	enum tls_rung r;
	unsigned tried = 0;

	text[0] = '\0';
	while (tls_ladder_next(d, tried, &r)) {
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s", tried != 0 ? " " : "", names[r]);
		tried |= 1u << r;
	}
	return text;
}

static void
test_levels(void **state)
{
	static const struct {
		const char *name;
		enum tls_level asked, level;
		const char *rungs;
	} rows[] = {
		{ "none has nothing to climb", TLS_LEVEL_NONE, TLS_LEVEL_NONE, "" },
		{ "may", TLS_LEVEL_MAY, TLS_LEVEL_MAY, "full plain tls12" },
		{ "dane that found no records", TLS_LEVEL_DANE, TLS_LEVEL_MAY, "full plain tls12" },
		{ "dane with unusable records", TLS_LEVEL_DANE, TLS_LEVEL_ENCRYPT, "full plain tls12" },
		{ "dane with records keeps them on every rung", TLS_LEVEL_DANE, TLS_LEVEL_DANE, "full plain tls12" },
		{ "half-dane", TLS_LEVEL_DANE, TLS_LEVEL_HALF_DANE, "full plain tls12" },
		{ "encrypt is mandatory", TLS_LEVEL_ENCRYPT, TLS_LEVEL_ENCRYPT, "" },
		{ "fingerprint", TLS_LEVEL_FINGERPRINT, TLS_LEVEL_FINGERPRINT, "" },
		{ "dane-only", TLS_LEVEL_DANE_ONLY, TLS_LEVEL_DANE_ONLY, "" },
		{ "verify", TLS_LEVEL_VERIFY, TLS_LEVEL_VERIFY, "" },
		{ "secure", TLS_LEVEL_SECURE, TLS_LEVEL_SECURE, "" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct tls_decision d = decision(rows[i].asked, rows[i].level);

		if (strcmp(rungs(&d), rows[i].rungs) != 0)
			fail_msg("%s: \"%s\"", rows[i].name, rungs(&d));
	}
}

/* No rung is below the policy. */
static void
test_policy_bounds(void **state)
{
	static const struct {
		const char *name;
		int min, max;
		uint64_t off;
		const char *curves, *ffdhe, *rungs;
	} rows[] = {
		{ "no bounds at all", 0, 0, 0, "X25519", "", "full plain tls12" },
		{ "TLS 1.3 only", TLS1_3_VERSION, 0, 0, "X25519", "", "full plain" },
		{ "TLS 1.2 and newer", TLS1_2_VERSION, 0, 0, "X25519", "", "full plain tls12" },
		{ "TLS 1.2 is the ceiling anyway", 0, TLS1_2_VERSION, 0, "X25519", "", "full plain" },
		{ "TLS 1.0 is the ceiling", 0, TLS1_VERSION, 0, "X25519", "", "full plain" },
		{ "TLS 1.3 is excluded", 0, 0, SSL_OP_NO_TLSv1_3, "X25519", "", "full plain" },
		{ "TLS 1.2 is excluded", 0, 0, SSL_OP_NO_TLSv1_2, "X25519", "", "full plain" },
		{ "post-quantum groups only", 0, 0, 0, "X25519MLKEM768", "", "full" },
		{ "post-quantum curves, classical ffdhe", 0, 0, 0, "X25519MLKEM768", "ffdhe2048", "full plain tls12" },
		{ "the library's groups", 0, 0, 0, "", "", "full plain tls12" },
		{ "the library's word", 0, 0, 0, "?X25519MLKEM768:DEFAULT", "", "full plain tls12" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct tls_decision d = may();

		d.protocols = (struct tls_protocols){ rows[i].min, rows[i].max, rows[i].off };
		d.groups_curves = span_str(rows[i].curves);
		d.groups_ffdhe = span_str(rows[i].ffdhe);
		if (strcmp(rungs(&d), rows[i].rungs) != 0)
			fail_msg("%s: \"%s\"", rows[i].name, rungs(&d));
	}
}

static void
test_text(void **state)
{
	struct arena *a = arena_new(1 << 16);
	struct tls_decision d = may();

	(void)state;
	assert_span(tls_ladder_text(&d, a), "no ticket, no post-quantum share; then TLSv1.2");
	d.protocols.min = TLS1_3_VERSION;
	assert_span(tls_ladder_text(&d, a), "no ticket, no post-quantum share");
	d = decision(TLS_LEVEL_SECURE, TLS_LEVEL_SECURE);
	assert_span(tls_ladder_text(&d, a), "");
	arena_free(&a);
}

static void
test_a_rung_changes_the_handshake_and_nothing_else(void **state)
{
	struct tls_decision d = decision(TLS_LEVEL_DANE, TLS_LEVEL_DANE), before = d;

	(void)state;
	tls_ladder_apply(&d, TLS_RUNG_PLAIN);
	before.rung = TLS_RUNG_PLAIN;
	assert_memory_equal(&d, &before, sizeof(d));
	tls_ladder_apply(&d, TLS_RUNG_TLS12);
	before.rung = TLS_RUNG_TLS12;
	before.protocols.max = TLS1_2_VERSION;
	assert_memory_equal(&d, &before, sizeof(d));
	assert_true(d.must_match && d.protocols.min == TLS1_VERSION);
}

/* --- memory --- */

enum act { FAIL, WORK, START };

struct line {
	int64_t at_s;
	enum act act;
	enum tls_rung rung;     /* of START: what must come out */
};

struct play {
	const char *name;
	struct line lines[16];
};

#define F TLS_RUNG_FULL
#define P TLS_RUNG_PLAIN
#define T TLS_RUNG_TLS12
#define END { -1, START, F }

/* A host that does not take full strength: fails, plain works; six minutes later the same. */
#define LEARNED { 0, FAIL, F }, { 1, WORK, P }, { 6 * MINUTE, FAIL, F }, { 6 * MINUTE + 1, WORK, P }

static const struct play plays[] = {
	{ "nothing is known at first", { { 0, START, F }, END } },
	{ "one failure is not enough", { { 0, FAIL, F }, { 1, WORK, P }, { 2, START, F }, END } },
	{ "two failures within five minutes are one", { { 0, FAIL, F }, { 1, WORK, P }, { 299, FAIL, F }, { 299, WORK, P }, { 300, START, F }, END } },
	{ "the first failure counts, not the last", { { 0, FAIL, F }, { 200, FAIL, F }, { 300, FAIL, F }, { 301, WORK, P }, { 302, START, P }, END } },
	{ "two failures five minutes apart and a rung that works", { LEARNED, { 7 * MINUTE, START, P }, END } },
	{ "a rung that did not work is not remembered", { { 0, FAIL, F }, { 1, FAIL, P }, { 301, FAIL, F }, { 302, FAIL, P }, { 303, FAIL, T }, { 304, START, F }, END } },
	{ "the one that worked is", { { 0, FAIL, F }, { 1, FAIL, P }, { 301, FAIL, F }, { 302, FAIL, P }, { 303, WORK, T }, { 304, START, T }, END } },
	{ "success before the second failure does not count", { { 0, FAIL, F }, { 1, WORK, P }, { 301, FAIL, F }, { 302, START, F }, END } },
	{ "at most a day, however often it is used", { LEARNED, { 12 * HOUR, WORK, P }, { 23 * HOUR, WORK, P }, { 24 * HOUR + 6 * MINUTE, START, P },
	    { 24 * HOUR + 6 * MINUTE + 1, START, F }, END } },
	{ "after the day it takes two failures again", { LEARNED, { 25 * HOUR, START, F }, { 25 * HOUR, FAIL, F }, { 25 * HOUR + 1, WORK, P }, { 25 * HOUR + 2, START, F }, END } },
	{ "full strength works again: forgotten", { LEARNED, { 7 * MINUTE, WORK, F }, { 7 * MINUTE, START, F }, END } },
	{ "a remembered rung fails: forgotten", { LEARNED, { 7 * MINUTE, FAIL, P }, { 7 * MINUTE, START, F }, END } },
	{ "another rung's failure does not matter", { LEARNED, { 7 * MINUTE, FAIL, T }, { 7 * MINUTE, START, P }, END } },
	{ "full strength between two failures starts over", { { 0, FAIL, F }, { 1, WORK, P }, { 100, WORK, F }, { 301, FAIL, F }, { 302, WORK, P }, { 303, START, F }, END } },
	{ "a failure of yesterday is not the first of two", { { 0, FAIL, F }, { 24 * HOUR, FAIL, F }, { 24 * HOUR + 1, WORK, P }, { 24 * HOUR + 2, START, F }, END } },
	{ "what works without any failure is no news", { { 0, WORK, P }, { 0, WORK, T }, { 1, START, F }, END } },
};

static void
test_memory(void **state)
{
	struct tls_decision d = may();

	(void)state;
	for (size_t i = 0; i < COUNT(plays); i++) {
		struct tls_ladder *l = tls_ladder_new(10);

		for (const struct line *x = plays[i].lines; x->at_s >= 0; x++) {
			if (x->act == FAIL)
				tls_ladder_failed(l, SPAN("mx.example:25"), x->rung, x->at_s);
			else if (x->act == WORK)
				tls_ladder_worked(l, SPAN("mx.example:25"), x->rung, x->at_s);
			else if (tls_ladder_start(l, SPAN("mx.example:25"), &d, x->at_s) != x->rung)
				fail_msg("%s: at %lld s, not %s", plays[i].name, (long long)x->at_s,
				    tls_rung_text(x->rung));
		}
		assert_int_equal(tls_ladder_start(l, SPAN("other.example:25"), &d, 0), F);
		tls_ladder_free(&l);
	}
}

static void
learn(struct tls_ladder *l, struct span host, enum tls_rung rung, int64_t at_s)
{
	tls_ladder_failed(l, host, F, at_s);
	tls_ladder_failed(l, host, F, at_s + TLS_LADDER_APART_S);
	tls_ladder_worked(l, host, rung, at_s + TLS_LADDER_APART_S);
}

/* What one policy learned does not take another below its own demands. */
static void
test_memory_stays_within_each_policy(void **state)
{
	struct tls_ladder *l = tls_ladder_new(10);
	struct tls_decision d = may();

	(void)state;
	learn(l, SPAN("h:25"), T, 0);
	assert_int_equal(tls_ladder_start(l, SPAN("h:25"), &d, 400), T);
	d.protocols.min = TLS1_3_VERSION;
	assert_int_equal(tls_ladder_start(l, SPAN("h:25"), &d, 400), F);
	d = decision(TLS_LEVEL_SECURE, TLS_LEVEL_SECURE);
	assert_int_equal(tls_ladder_start(l, SPAN("h:25"), &d, 400), F);
	d = decision(TLS_LEVEL_ENCRYPT, TLS_LEVEL_ENCRYPT);
	assert_int_equal(tls_ladder_start(l, SPAN("h:25"), &d, 400), F);
	tls_ladder_free(&l);
}

static void
test_memory_is_bounded(void **state)
{
	struct tls_ladder *l = tls_ladder_new(100);
	struct tls_decision d = may();
	char name[32];

	(void)state;
	learn(l, SPAN("first:25"), P, 0);
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "h%d:25", i);
		tls_ladder_failed(l, span_str(name), F, 400 + i);
		assert_true(tls_ladder_count(l) <= 100);
	}
	assert_int_equal(tls_ladder_count(l), 100);
	assert_int_equal(tls_ladder_start(l, SPAN("first:25"), &d, 2000), F);
	learn(l, SPAN("last:25"), P, 2000);
	assert_int_equal(tls_ladder_start(l, SPAN("last:25"), &d, 2400), P);
	assert_int_equal(tls_ladder_count(l), 100);
	tls_ladder_free(&l);
	assert_null(l);
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(test_levels),
	KIT_TEST(test_policy_bounds),
	KIT_TEST(test_text),
	KIT_TEST(test_a_rung_changes_the_handshake_and_nothing_else),
	KIT_TEST(test_memory),
	KIT_TEST(test_memory_stays_within_each_policy),
	KIT_TEST(test_memory_is_bounded),
};

int
main(void)
{
	return cmocka_run_group_tests(tests, NULL, NULL);
}
