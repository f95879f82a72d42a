/* Records of a message's progress. */
#include "store/state.h"

#include "store/store.h"

enum { TEXT_MAX = 1000 };

static const char *const report_names[] = { "none", "relayed", "delivered", "expanded" };

void
state_init(struct mail_state *s, size_t rcpts, struct arena *a)
{
	*s = (struct mail_state){ .n = rcpts };
	s->rcpts = ARENA_ARRAY(a, struct rcpt_state, rcpts);
}

size_t
state_count(const struct mail_state *s, enum rcpt_stage stage)
{
	size_t n = 0;

	for (size_t i = 0; i < s->n; i++)
		n += s->rcpts[i].stage == stage;
	return n;
}

/* ---- reading */

static int
hex_digit(char c)
{
	return ascii_isdigit(c) ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static struct span
unescape(struct span s, struct arena *a)
{
	char *out = arena_alloc(a, s.n + 1);
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++) {
		int hi = s.p[i] == '%' && i + 2 < s.n ? hex_digit(s.p[i + 1]) : -1;
		int lo = hi >= 0 ? hex_digit(s.p[i + 2]) : -1;

		out[n++] = lo >= 0 ? (char)(hi * 16 + lo) : s.p[i];
		if (lo >= 0)
			i += 2;
	}
	return span_of(out, n);
}

/* dsn=... text=... into `r`. */
static void
read_fields(struct span rest, struct rcpt_state *r, struct arena *a)
{
	struct span field, name, value;

	while (span_token(&rest, " ", &field)) {
		if (!span_cut(field, '=', &name, &value))
			continue;
		if (span_eq(name, SPAN("dsn")))
			r->dsn = unescape(value, a);
		else if (span_eq(name, SPAN("text")))
			r->text = unescape(value, a);
		else if (span_eq(name, SPAN("mta")))
			r->remote_mta = unescape(value, a);
		else if (span_eq(name, SPAN("diag")))
			r->diagnostic = unescape(value, a);
		else if (span_eq(name, SPAN("final")))
			r->final = unescape(value, a);
		else if (span_eq(name, SPAN("action")))
			for (unsigned i = REPORT_RELAYED; i <= REPORT_EXPANDED; i++)
				if (span_eq(value, span_str(report_names[i])))
					r->report = (enum rcpt_report)i;
	}
}

/* "0-3,7": set each of them. Numbers beyond the message are ignored. */
static void
set_rcpts(struct mail_state *s, struct span list, const struct rcpt_state *to)
{
	struct span range, first, last;
	uint64_t from, until;

	while (span_token(&list, ",", &range)) {
		if (!span_cut(range, '-', &first, &last))
			last = first;
		if (!span_u64(first, UINT32_MAX, &from) || !span_u64(last, UINT32_MAX, &until))
			continue;
		for (; from <= until && from < s->n; from++)
			s->rcpts[from] = *to;
	}
}

static bool
apply_rcpts(struct mail_state *s, struct span verb, struct span rest, struct arena *a)
{
	struct rcpt_state to = { 0 };
	struct span list = { 0 };

	if (span_eq(verb, SPAN("sent")) || span_eq(verb, SPAN("told")))
		to.stage = RCPT_DONE;
	else if (span_eq(verb, SPAN("failed")))
		to.stage = RCPT_FAILED;
	else if (span_eq(verb, SPAN("report")))
		to.stage = RCPT_REPORT;
	else if (!span_eq(verb, SPAN("later")))
		return false;
	if (span_token(&rest, " ", &list)) {
		read_fields(rest, &to, a);
		set_rcpts(s, list, &to);
	}
	return true;
}

static void
apply(struct mail_state *s, struct span record, struct arena *a)
{
	struct span verb, rest, number = { 0 }, more = { 0 };
	uint64_t v = 0, w = 0;

	if (!span_cut(record, ' ', &verb, &rest))
		verb = record;
	if (apply_rcpts(s, verb, rest, a))
		return;
	span_cut(rest, ' ', &number, &more);
	span_u64(number, INT64_MAX, &v);
	span_u64(more, UINT32_MAX, &w);
	if (span_eq(verb, SPAN("next"))) {
		s->next_us = (int64_t)v;
		s->attempts = (uint32_t)w;
	} else if (span_eq(verb, SPAN("crash"))) {
		s->crashes = (uint32_t)v;
	} else if (span_eq(verb, SPAN("hold"))) {
		s->hold = true;
	} else if (span_eq(verb, SPAN("release"))) {
		s->hold = false;
	} else if (span_eq(verb, SPAN("warned"))) {
		s->warned = true;
	} else if (span_eq(verb, SPAN("expire"))) {
		s->expire = true;
	}
}

void
state_apply(struct mail_state *s, struct span records, struct arena *a)
{
	struct span record;

	while (store_record_next(&records, &record))
		apply(s, record, a);
}

/* ---- writing */

static void
write_ranges(struct buf *out, const uint32_t *rcpts, size_t n)
{
	for (size_t i = 0; i < n;) {
		size_t j = i;

		while (j + 1 < n && rcpts[j + 1] == rcpts[j] + 1)
			j++;
		buf_addf(out, i == 0 ? "%u" : ",%u", rcpts[i]);
		if (j > i)
			buf_addf(out, "-%u", rcpts[j]);
		i = j + 1;
	}
}

static void
write_field(struct buf *out, const char *name, struct span value)
{
	if (value.n == 0)
		return;
	buf_addf(out, " %s=", name);
	value = span_slice(value, 0, TEXT_MAX);
	for (size_t i = 0; i < value.n; i++) {
		unsigned char c = (unsigned char)value.p[i];

		if (c <= ' ' || c == '%' || c == 0x7f)
			buf_addf(out, "%%%02X", c);
		else
			buf_addc(out, (char)c);
	}
}

enum { RANGE_STEP = 200 };      /* recipients per line */

void
state_write(struct buf *out, const char *verb, const uint32_t *rcpts, size_t n,
    const struct rcpt_state *with)
{
	for (size_t i = 0; i < n; i += RANGE_STEP) {
		buf_addf(out, "%s ", verb);
		write_ranges(out, rcpts + i, n - i < RANGE_STEP ? n - i : RANGE_STEP);
		if (with != NULL) {
			if (with->report != REPORT_NONE)
				buf_addf(out, " action=%s", report_names[with->report]);
			write_field(out, "dsn", with->dsn);
			write_field(out, "text", with->text);
			write_field(out, "mta", with->remote_mta);
			write_field(out, "diag", with->diagnostic);
			write_field(out, "final", with->final);
		}
		buf_addc(out, '\n');
	}
}

static bool
same(const struct rcpt_state *a, const struct rcpt_state *b)
{
	return a->stage == b->stage && (a->stage == RCPT_DONE || (a->report == b->report &&
	    span_eq(a->dsn, b->dsn) && span_eq(a->text, b->text) && span_eq(a->remote_mta, b->remote_mta) &&
	    span_eq(a->diagnostic, b->diagnostic) && span_eq(a->final, b->final)));
}

static void
write_rcpt_run(struct buf *out, const struct rcpt_state *r, const uint32_t *rcpts, size_t n)
{
	switch (r->stage) {
	case RCPT_TODO:
		if (r->dsn.n > 0)
			state_write(out, "later", rcpts, n, r);
		return;
	case RCPT_FAILED:
		state_write(out, "failed", rcpts, n, r);
		return;
	case RCPT_REPORT:
		state_write(out, "report", rcpts, n, r);
		return;
	case RCPT_DONE:
		state_write(out, "sent", rcpts, n, NULL);
		return;
	}
}

void
state_write_rcpts(struct buf *out, const struct mail_state *s, const uint32_t *rcpts, size_t n)
{
	for (size_t i = 0; i < n;) {
		size_t j = i + 1;

		while (j < n && j - i < RANGE_STEP && same(&s->rcpts[rcpts[i]], &s->rcpts[rcpts[j]]))
			j++;
		write_rcpt_run(out, &s->rcpts[rcpts[i]], rcpts + i, j - i);
		i = j;
	}
}

void
state_write_all(const struct mail_state *s, struct buf *out)
{
	for (uint32_t i = 0; i < s->n; i++) {
		uint32_t run[RANGE_STEP], n = 0;

		for (; i + n < s->n && n < RANGE_STEP && same(&s->rcpts[i], &s->rcpts[i + n]); n++)
			run[n] = i + n;
		write_rcpt_run(out, &s->rcpts[i], run, n);
		i += n - 1;
	}
	if (s->next_us != 0)
		buf_addf(out, "next %lld %u\n", (long long)s->next_us, s->attempts);
	if (s->crashes != 0)
		buf_addf(out, "crash %u\n", s->crashes);
	buf_add_str(out, s->hold ? "hold\n" : "release\n");
	if (s->warned)
		buf_add_str(out, "warned\n");
	if (s->expire)
		buf_add_str(out, "expire\n");
}
