/* Fuzz: what anybody can put into the maildrop. What is read can be written, and says nothing but what a submitter may say. */
#include "base/panic.h"
#include "mail/maildrop.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct arena *a;
	struct maildrop_head h, again;
	size_t used, used_again;
	struct buf out;

	if (n > 65536)
		return 0;
	a = arena_new((size_t)64 << 20);
	buf_init(&out, MAILDROP_HEAD_MAX);
	if (maildrop_read(span_of(p, n), a, &h, &used, NULL)) {
		ensure(used <= n);
		ensure(h.env.filter.n == 0 && h.env.redirect.n == 0 && h.env.client_addr.n == 0 && !h.env.hold);
		ensure(maildrop_write(&h, &out));
		ensure(maildrop_read(buf_span(&out), a, &again, &used_again, NULL));
		ensure(used_again == out.n && again.env.rcpt_count == h.env.rcpt_count);
		ensure(span_eq(again.env.sender, h.env.sender));
	}
	buf_release(&out);
	arena_free(&a);
	return 0;
}
