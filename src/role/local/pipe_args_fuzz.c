/* Fuzz: the first line is the arguments of a pipe service, the second a recipient. */
#include "base/panic.h"
#include "role/local/pipe_args.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct span text = span_of(p, n), args, addr;
	struct pipe_args parsed;
	struct arena *a;
	struct buf out;

	if (n > 8192)
		return 0;
	a = arena_new((size_t)64 << 20);
	span_cut(text, '\n', &args, &addr);
	addr = span_slice(addr, 0, 1024);
	struct pipe_rcpt rcpts[2] = { { .addr = addr }, { .addr = SPAN("a+b@c.example"), .orig = addr } };
	struct pipe_facts f = { .sender = addr, .rcpts = rcpts, .rcpt_count = 2, .delimiter = "+-" };

	buf_init(&out, 65536);
	if (pipe_args_parse(args, a, &parsed, NULL)) {
		ensure(parsed.argc > 0 && parsed.user.n > 0 && parsed.eol.n <= 16);
		if (pipe_args_expand(&parsed, &f, a, &out, NULL))
			ensure(out.n > 0 && out.p[out.n - 1] == '\0');
	}
	buf_release(&out);
	arena_free(&a);
	return 0;
}
