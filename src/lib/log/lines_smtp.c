/* Delivery lines, and the SMTP client's words about servers. */
#include "log/lines_smtp.h"

#include <stdio.h>

#include "base/clock.h"

static const char *
status_word(enum log_status status)
{
	switch (status) {
	case LOG_SENT:
		return "sent";
	case LOG_DEFERRED:
		return "deferred";
	case LOG_BOUNCED:
		return "bounced";
	case LOG_SOFTBOUNCE:
		return "SOFTBOUNCE";
	case LOG_DELIVERABLE:
		return "deliverable";
	case LOG_UNDELIVERABLE:
		return "undeliverable";
	}
	return "deferred";
}

/* How many decimals show two significant digits: 12.3 none, 1.23 one, below that as many as allowed. */
static int
decimals(int64_t us, int resolution)
{
	int want = us >= 10 * US_PER_S ? 0 : us >= US_PER_S ? 1 : 2;
	int64_t unit = US_PER_S / 10;

	for (; us < unit && want < 6; unit /= 10)
		want++;
	return want < resolution ? want : resolution;
}

void
log_delay(struct buf *out, int64_t us, int resolution)
{
	int64_t unit = US_PER_S, whole, part;
	int digits;
	char text[32];
	size_t n;

	if (us < 0)
		us = 0;
	digits = decimals(us, resolution < 0 ? 0 : resolution > 6 ? 6 : resolution);
	for (int i = 0; i < digits; i++)
		unit /= 10;
	us = (us + unit / 2) / unit * unit;
	whole = us / US_PER_S;
	part = us % US_PER_S / unit;
	buf_addf(out, "%lld", (long long)whole);
	if (part == 0)
		return;
	n = (size_t)snprintf(text, sizeof(text), ".%0*lld", digits, (long long)part);
	while (text[n - 1] == '0')
		n--;
	buf_add(out, text, n);
}

static int64_t
between(int64_t from, int64_t to)
{
	return to > from ? to - from : 0;
}

/* a/b/c/d: before the queue, in it, connection set-up, transmission. */
static void
add_delays(struct buf *b, const struct log_delivery *ev)
{
	int64_t setup = ev->connected_us > 0 ? between(ev->handed_us, ev->connected_us) : 0;
	int64_t last = ev->connected_us > 0 ? ev->connected_us : ev->handed_us;

	buf_add_str(b, ", delay=");
	log_delay(b, between(ev->begun_us, ev->done_us), ev->resolution);
	buf_add_str(b, ", delays=");
	log_delay(b, between(ev->begun_us, ev->active_us), ev->resolution);
	buf_addc(b, '/');
	log_delay(b, between(ev->active_us, ev->handed_us), ev->resolution);
	buf_addc(b, '/');
	log_delay(b, setup, ev->resolution);
	buf_addc(b, '/');
	log_delay(b, between(last, ev->done_us), ev->resolution);
}

void
log_delivered(const struct log *l, const struct log_delivery *ev)
{
	struct buf b;

	buf_init(&b, 16384);
	buf_addf(&b, "to=<%.*s>", SPAN_ARG(ev->to));
	if (ev->orig_to.n > 0 && !span_eq(ev->orig_to, ev->to))
		buf_addf(&b, ", orig_to=<%.*s>", SPAN_ARG(ev->orig_to));
	buf_addf(&b, ", relay=%.*s", SPAN_ARG(ev->relay.n > 0 ? ev->relay : SPAN("none")));
	if (ev->conn_use > 1)
		buf_addf(&b, ", conn_use=%u", ev->conn_use);
	add_delays(&b, ev);
	if (ev->tls.n > 0)
		buf_addf(&b, ", tls=%.*s", SPAN_ARG(ev->tls));
	buf_addf(&b, ", dsn=%s, status=%s (%.*s)", ev->dsn, status_word(ev->status), SPAN_ARG(ev->reason));
	log_info(l, "%s", buf_cstr(&b));
	buf_release(&b);
}

void
log_smtp_connect_failed(const struct log *l, struct span text)
{
	struct log bare = { .tag = l != NULL ? l->tag : NULL };

	log_info(&bare, "%.*s", SPAN_ARG(text));
}

void
log_smtp_passed_over(const struct log *l, struct span text)
{
	log_info(l, "%.*s", SPAN_ARG(text));
}

void
log_smtp_my_own_name(const struct log *l, struct span namaddr, struct span name)
{
	struct log bare = { .tag = l != NULL ? l->tag : NULL };

	log_warning(&bare, "host %.*s replied to HELO/EHLO with my own hostname %.*s", SPAN_ARG(namaddr),
	    SPAN_ARG(name));
}
