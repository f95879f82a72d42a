/* Fuzz: whatever the service says in whatever pieces, events are the same, names are clean and challenges are base64. */
#include "base/panic.h"
#include "sasl/dovecot.h"
#include "sasl/mech.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void
check(const struct dovecot_event *ev)
{
	ensure(ev->kind != DOVECOT_OK || ev->user.n > 0);
	ensure(ev->kind != DOVECOT_CONT || sasl_base64_valid(ev->data));
	for (size_t i = 0; i < ev->user.n; i++)
		ensure((unsigned char)ev->user.p[i] >= 32 && ev->user.p[i] != 127);
}

/* A hash of everything that came out, fed in pieces of `step`. */
static uint64_t
run(const uint8_t *p, size_t n, size_t step)
{
	struct dovecot *d = dovecot_new(1);
	struct span rest = span_of(p, n);
	struct dovecot_event ev;
	uint64_t sum = 0;

	for (; rest.n > 0; rest = span_from(rest, step)) {
		dovecot_feed(d, span_slice(rest, 0, step));
		while (dovecot_next(d, &ev)) {
			check(&ev);
			sum = sum * 31 + span_hash(ev.data) + span_hash(ev.user) + span_hash(ev.reason) + ev.id + (uint64_t)ev.kind;
		}
	}
	if (dovecot_ready(d)) {
		const struct dovecot_request r = { .mech = SPAN("X"), .cert_username = span_of(p, n < 500 ? n : 500),
			.valid_client_cert = true };
		uint32_t id;

		if (dovecot_start(d, &r, &id))
			ensure(span_index(dovecot_output(d), '\n') >= 0);
	}
	dovecot_free(&d);
	return sum;
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	uint64_t whole;

	if (n > DOVECOT_FEED_MAX)
		return 0;
	whole = run(p, n, DOVECOT_FEED_MAX);
	ensure(run(p, n, 1) == whole);
	ensure(run(p, n, 5) == whole);
	return 0;
}
