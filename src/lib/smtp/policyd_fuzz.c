/* Fuzz: replies of policy services. Once bad is bad for ever, an action has no controls, and nothing but one whole reply is one. */
#include "base/panic.h"
#include "smtp/policyd.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void
check_action(struct span bytes, struct span action)
{
	ensure(action.n == 0 || (action.p >= bytes.p && action.p + action.n <= bytes.p + bytes.n));
	for (size_t i = 0; i < action.n; i++)
		ensure((unsigned char)action.p[i] >= 32 || action.p[i] == '\t');
	ensure(span_is_utf8(action));
	ensure(span_starts(span_trim(bytes), SPAN("action")) || bytes.p[0] == ' ' || bytes.p[0] == '\t');
	ensure(bytes.p[bytes.n - 1] == '\n');
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct span bytes = span_of(p, n), action;
	enum policyd_result got = POLICYD_MORE;
	struct policyd_request r = { .helo_name = bytes, .sender = bytes, .ccert_subject = bytes };
	struct buf out;
	size_t lines = 0;

	if (n == 0 || n > POLICYD_REPLY_MAX)
		return 0;
	for (size_t cut = n > 300 ? n - 300 : 0; cut <= n; cut++) {
		enum policyd_result now = policyd_reply_parse(span_slice(bytes, 0, cut), true, &action, NULL);

		ensure(got != POLICYD_BAD || now == POLICYD_BAD);
		got = now;
	}
	if (got == POLICYD_DONE)
		check_action(bytes, action);
	/* however odd the values: 32 lines and an empty one */
	buf_init(&out, POLICYD_REQUEST_MAX);
	if (policyd_request_write(&r, &out)) {
		for (size_t i = 0; i < out.n; i++)
			lines += out.p[i] == '\n';
		ensure(lines == 33);
	}
	buf_release(&out);
	return 0;
}
