/*
 * Fuzz: a server that says anything, to a client that greets, authenticates, sends and reuses. The first
 * bytes of the input choose the options and how much is read and written at once.
 */
#include "base/panic.h"
#include "smtp/client.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

struct world {
	struct smtpc c;
	struct smtpc_tx tx;
	struct smtpc_rcpt rcpts[3];
	struct arena *arena;
	size_t content_left;
	unsigned auths, transactions;
	uint8_t flags;
};

static void
begin(struct world *w)
{
	for (size_t i = 0; i < 3; i++)
		w->rcpts[i] = (struct smtpc_rcpt){ .addr = SPAN("r@x") };
	w->content_left = 40;
	if (w->transactions++ < 3)
		smtpc_begin(&w->c, &w->tx, 0);
	else
		smtpc_quit(&w->c, 0);
}

static void
give_content(struct world *w)
{
	static const char lines[] = ".a\r\n..\r\nbcd\r\n.\r\n";
	size_t n = w->content_left < 17 ? w->content_left : 17;

	w->content_left -= n;
	smtpc_content(&w->c, span_of(lines, n), w->content_left == 0);
}

static void
on_caps(struct world *w)
{
	if ((w->flags & 1) != 0 && !w->c.tls && (w->c.caps.bits & SMTPC_CAP_STARTTLS) != 0)
		smtpc_starttls(&w->c, 0);
	else if ((w->flags & 2) != 0 && w->auths++ < 4)
		smtpc_auth(&w->c, SPAN("PLAIN"), SPAN("x"), 0);
	else
		begin(w);
}

/* Every recipient must be decided when a transaction ends. */
static void
check_done(const struct world *w)
{
	for (size_t i = 0; i < 3; i++)
		ensure(w->rcpts[i].outcome == SMTPC_SENT ||
		    (w->rcpts[i].outcome == SMTPC_REFUSED && w->rcpts[i].dsn[0] >= '4'));
}

static void
on_event(struct world *w, enum smtpc_event ev)
{
	switch (ev) {
	case SMTPC_CAPS:
	case SMTPC_TLS_REFUSED:
	case SMTPC_AUTH_REFUSED:
		on_caps(w);
		return;
	case SMTPC_TLS_START:
		smtpc_tls_started(&w->c, 0);
		return;
	case SMTPC_AUTH_STEP:
		if (w->auths++ < 4)
			smtpc_auth_respond(&w->c, SPAN("y"), 0);
		else
			smtpc_auth_cancel(&w->c, 0);
		return;
	case SMTPC_AUTH_OK:
	case SMTPC_RESET_OK:
		begin(w);
		return;
	case SMTPC_CONTENT:
		give_content(w);
		return;
	case SMTPC_TX_DONE:
		check_done(w);
		if (!smtpc_idle(&w->c))
			return;
		if ((w->flags & 4) != 0)
			smtpc_reset(&w->c, 0);
		else
			begin(w);
		return;
	case SMTPC_FAILED:
		ensure(w->c.fault.text[0] != '\0' && (w->c.fault.dsn[0] == '4' || w->c.fault.dsn[0] == '5'));
		return;
	case SMTPC_WAIT:
	case SMTPC_CLOSED:
		return;
	}
}

static void
drain(struct world *w, size_t out_step)
{
	enum smtpc_event ev;
	struct iovec v[3];
	int n;

	for (;;) {
		while ((ev = smtpc_next(&w->c)) != SMTPC_WAIT)
			on_event(w, ev);
		n = smtpc_output(&w->c, v, 3);
		if (n == 0)
			return;
		ensure(v[0].iov_len > 0);
		smtpc_sent(&w->c, v[0].iov_len < out_step ? v[0].iov_len : out_step, 0);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct world w = { .arena = arena_new(8 << 20) };
	struct smtpc_options opt = { .helo_name = "h", .peer = "p", .my_name = "me", .always_ehlo = true };
	size_t in_step, out_step;
	struct span rest;

	if (n < 3 || n > 16384) {
		arena_free(&w.arena);
		return 0;
	}
	w.flags = p[0];
	in_step = (size_t)p[1] % 64 + 1;
	out_step = (size_t)p[2] % 64 + 1;
	opt.lmtp = (w.flags & 8) != 0;
	opt.skip_quit_reply = (w.flags & 16) != 0;
	w.tx = (struct smtpc_tx){ .sender = SPAN("s@x"), .bytes = 40, .exact = (w.flags & 32) != 0,
		.rcpts = w.rcpts, .n_rcpts = 3, .arena = w.arena };
	smtpc_init(&w.c, &opt, 0);
	rest = span_of(p + 3, n - 3);
	drain(&w, out_step);
	while (rest.n > 0) {
		struct span some = span_slice(rest, 0, in_step);

		smtpc_feed(&w.c, some, 0);
		rest = span_from(rest, some.n);
		drain(&w, out_step);
	}
	smtpc_eof(&w.c);
	drain(&w, out_step);
	smtpc_release(&w.c);
	arena_free(&w.arena);
	return 0;
}
