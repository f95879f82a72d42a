/* Fuzz: content through intake with checks of every kind; splits make no difference. */
#include "intake/intake.h"

#include "base/panic.h"
#include "conf/conf.h"
#include "conf/params.h"
#include "maps/maps.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static const char main_cf[] =
    "myhostname=h.example\nheader_size_limit=200\nline_length_limit=512\nhopcount_limit=3\nmime_nesting_limit=3\n"
    "canonical_maps=inline:{ {a@h.example=b@x} }\nmasquerade_domains=x.y\n"
    "header_checks=inline:{ {A: i=IGNORE} {A: p=PREPEND X: y} {A: r=REPLACE To: a} {A: j=REJECT} {A: h=HOLD} }\n"
    "body_checks=inline:{ {i=IGNORE} {p=PREPEND x} {r=REPLACE y} {j=REJECT} {d=DISCARD} }\n";

static struct intake_conf conf;

static void
start(void)
{
	static struct maps_env env = { .data_directory = "/nonexistent", .default_database_type = "hash",
		.alias_tables = "" };
	static struct conf *c;
	struct conf_report report;
	struct fault why;

	if (c != NULL)
		return;
	log_set_sink(log_sink_none, NULL, NULL);
	conf_report_init(&report);
	conf_parse(span_str(main_cf), SPAN(""), &c, &report);
	conf_report_release(&report);
	ensure(c != NULL && intake_conf_init(&conf, c->params, &env, &why));
}

static void
sink(void *ctx, struct span bytes)
{
	ensure(buf_add_span(ctx, bytes));
}

static struct intake_verdict
run(struct span s, size_t piece, bool local, struct arena *a, struct envelope *e, struct buf *out)
{
	struct intake_input in = { .conf = &conf, .arena = a, .qid = SPAN("Q"), .env = e, .origin = SPAN("local"),
		.rewrite_headers = local, .extract_rcpts = local, .sink = sink, .sink_ctx = out };
	struct intake *i = intake_new(&in);
	struct intake_verdict v;
	size_t used;

	for (size_t at = 0; at < s.n; at += piece)
		ensure(intake_feed(i, span_slice(s, at, at + piece), &used) == INTAKE_OK);
	ensure(intake_finish(i, &v) == INTAKE_OK);
	intake_free(&i);
	return v;
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct arena *a = arena_new((size_t)64 << 20);
	struct envelope e1 = { .sender = SPAN("a") }, e2 = e1;
	struct intake_verdict v1, v2;
	struct buf one, two;

	start();
	if (n < 2 || n > 20000) {
		arena_free(&a);
		return 0;
	}
	buf_init(&one, 1 << 24);
	buf_init(&two, 1 << 24);
	v1 = run(span_of(p + 2, n - 2), n, p[0] & 1, a, &e1, &one);
	v2 = run(span_of(p + 2, n - 2), 1u + p[1], p[0] & 1, a, &e2, &two);
	ensure(v1.action == v2.action && span_eq(v1.reply, v2.reply));
	ensure(span_eq(buf_span(&one), buf_span(&two)));
	ensure(e1.rcpt_count == e2.rcpt_count && span_eq(e1.message_id, e2.message_id));
	if (v1.action == INTAKE_ACCEPT)
		ensure(e1.size == one.n && (one.n == 0 || span_ends(buf_span(&one), SPAN("\r\n"))));
	buf_release(&one);
	buf_release(&two);
	arena_free(&a);
	return 0;
}
