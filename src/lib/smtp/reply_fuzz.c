/* Fuzz: replies are the same however the bytes are split, never contain controls, never pass their maxima. */
#include "base/panic.h"
#include "smtp/reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void
check(const struct smtp_reply *reply)
{
	ensure(reply->code >= 200 && reply->code <= 599);
	ensure(reply->text.n >= 3 && reply->text.n <= SMTP_REPLY_TEXT_MAX);
	for (size_t i = 0; i < reply->text.n; i++)
		ensure((unsigned char)reply->text.p[i] >= 32 || reply->text.p[i] == '\n');
	ensure(reply->dsn[1] == '.');
}

/* A hash of everything that came out, fed in pieces of `step`. */
static uint64_t
run(const uint8_t *p, size_t n, size_t step)
{
	struct smtp_replies r;
	struct span rest = span_of(p, n);
	uint64_t sum = 0;
	bool bad = false;

	smtp_replies_init(&r);
	while (rest.n > 0 && !bad) {
		struct span some = span_slice(rest, 0, step);
		struct smtp_reply reply;
		enum smtp_reply_result got;

		rest = span_from(rest, some.n);
		ensure(smtp_replies_feed(&r, some));
		while ((got = smtp_replies_next(&r, &reply)) == SMTP_REPLY_DONE) {
			check(&reply);
			sum = sum * 31 + span_hash(reply.text) + (uint64_t)reply.code;
		}
		bad = got == SMTP_REPLY_BAD;
	}
	smtp_replies_release(&r);
	return sum + bad;
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	if (n > 65536)
		return 0;
	uint64_t whole = run(p, n, n + 1);

	ensure(run(p, n, 1) == whole);
	ensure(run(p, n, 7) == whole);
	return 0;
}
