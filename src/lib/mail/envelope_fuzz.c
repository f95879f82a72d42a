/* Fuzz: envelope texts; what is accepted is written back so that it reads the same. */
#include "mail/envelope.h"

#include "base/panic.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct span text = span_of(p, n);
	struct arena *a = arena_new(envelope_room(text) * 4 + (1 << 20));
	struct envelope e, back;
	struct buf one, two;
	struct fault why;

	buf_init(&one, (size_t)16 << 20);
	buf_init(&two, (size_t)16 << 20);
	if (envelope_read(text, a, &e, &why)) {
		ensure(envelope_write(&e, &one));
		ensure(envelope_read(buf_span(&one), a, &back, &why));
		ensure(envelope_write(&back, &two));
		ensure(span_eq(buf_span(&one), buf_span(&two)));
	}
	buf_release(&one);
	buf_release(&two);
	arena_free(&a);
	return 0;
}
