/* error, retry and discard: the next hop is what there is to say. */
#include "role/local/delivery.h"

static size_t
code_length(struct span s)
{
	size_t n = 0, dots = 0;

	while (n < s.n && (ascii_isdigit(s.p[n]) || s.p[n] == '.'))
		dots += s.p[n++] == '.';
	if (dots != 2 || n < 5 || n > 9 || strchr("245", s.p[0]) == NULL || s.p[1] != '.')
		return 0;
	return n == s.n || s.p[n] == ' ' ? n : 0;
}

/* "5.1.1 text", or text alone: `retry` defers and `error` bounces unless the code says otherwise. */
static void
error_work(struct delivery *d)
{
	bool retry = strcmp(d->service->name, "retry") == 0;
	size_t n = code_length(d->nexthop);
	struct span text = span_trim(span_from(d->nexthop, n));
	struct fault why;
	char dsn[10] = "";

	memcpy(dsn, d->nexthop.p, n);
	if (n == 0 || dsn[0] == '2')
		memcpy(dsn, retry ? "4.0.0" : "5.0.0", 6);
	if (text.n == 0)
		text = SPAN("Address is undeliverable");
	fault_set(&why, dsn, "%.*s", SPAN_ARG(text));
	delivery_failed(d, delivery_rcpt(d)->in.addr, &why);
	delivery_rcpt_done(d);
}

static void
discard_work(struct delivery *d)
{
	struct span text = d->nexthop.n > 0 ? d->nexthop : SPAN("message discarded");

	delivery_outcome(d, delivery_rcpt(d)->in.addr, OUTCOME_SENT, REPORT_DELIVERED, "2.0.0", text);
	delivery_rcpt_done(d);
}

const struct agent agent_error = { .command = "error", .relay = "", .work = error_work };
const struct agent agent_discard = { .command = "discard", .relay = "", .work = discard_work };
