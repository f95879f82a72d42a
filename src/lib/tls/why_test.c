/* Records stay valid JSON of bounded length, whatever they are made of. */
#include "tls/why.h"

#include "kit/kit.h"

static struct buf out;

/* Strict enough for our own output: strings, numbers, true, objects and arrays, and nothing behind. */
static const char *
value(const char *p)
{
	if (*p == '"') {
		for (p++; *p != '"'; p++) {
			assert_true((unsigned char)*p >= ' ');
			if (*p == '\\')
				p++;
		}
		return p + 1;
	}
	if (*p == '{' || *p == '[') {
		char end = *p == '{' ? '}' : ']';

		for (p++; *p != end;) {
			if (end == '}') {
				assert_int_equal(*p, '"');
				p = value(p);
				assert_int_equal(*p++, ':');
			}
			p = value(p);
			if (*p == ',')
				p++;
			else
				assert_int_equal(*p, end);
		}
		return p + 1;
	}
	if (strncmp(p, "true", 4) == 0)
		return p + 4;
	assert_in_range(*p, '0', '9');
	while (*p >= '0' && *p <= '9')
		p++;
	return p;
}

static void
assert_record(void)
{
	const char *text = buf_cstr(&out);

	assert_false(out.full);
	assert_in_range(out.n, 1, TLS_WHY_MAX);
	assert_string_equal(value(text), "\n");
	assert_true(span_is_utf8(buf_span(&out)));
}

/* Every text as long as it comes, in bytes that need room. */
static void
test_the_longest_fits(void **state)
{
	static char text[3000];
	static const char fill[] = { 'x', '"', '\\', '\x01', '\xff', '\xc3' };

	(void)state;
	for (size_t f = 0; f < sizeof(fill); f++) {
		struct tls_step steps[32];
		struct span s = span_of(text, sizeof(text)), warning = s;
		struct tls_decision d = { .asked = TLS_LEVEL_DANE_ONLY, .level = TLS_LEVEL_HALF_DANE, .sni = s, .trail = steps, .n_trail = 32,
			.warnings = &warning, .n_warnings = 1 };
		struct tls_why_peer p = { .host = s, .address = s, .port = 65535, .decision = &d, .tls = "!dane-only:halfdane", .failure = s };
		const struct span to[] = { s, s, SPAN("u@a.example"), s };
		struct tls_why w = { .wall_us = INT64_MAX, .qid = s, .nexthop = s, .rcpts = UINT32_MAX, .outcome = "same server again", .dsn = s,
			.text = s };
		struct buf peer;

		memset(text, fill[f], sizeof(text));
		for (size_t i = 0; i < 32; i++)
			steps[i] = (struct tls_step){ "names to match (MTA-STS)", s, s };
		for (int invalid = 0; invalid < 2; invalid++) {
			d.invalid = invalid != 0;
			p.unusable = d.invalid ? &d.fault : NULL;
			fault_set(&d.fault, "4.7.5", "%.400s", fill[f] == '\xff' || fill[f] == '\xc3' ? "x" : text);
			buf_init(&peer, 4000);
			tls_why_write_peer(&peer, &p);
			assert_in_range(peer.n, 1, TLS_WHY_PEER_MAX + 12);
			w.peer = buf_span(&peer);
			buf_init(&out, 4000);
			tls_why_write(&out, &w);
			assert_record();
			assert_non_null(strstr(buf_cstr(&out), "\"cut\":true"));
			buf_release(&out);
			buf_clear(&peer);
			tls_why_write_brief(&peer, &p);
			w.peer = buf_span(&peer);
			w.to = to;
			w.continued = true;
			for (w.n_to = 4; w.n_to > 0;) {
				size_t listed;

				w.last = w.n_to == 2;
				buf_init(&out, 4000);
				listed = tls_why_write(&out, &w);
				assert_record();
				assert_in_range(listed, 1, w.n_to);     /* a brief record always has room for one */
				w.to += listed;
				w.n_to -= listed;
				buf_release(&out);
			}
			w.continued = w.last = false;
			buf_release(&peer);
		}
	}
}

static void
test_a_plain_record(void **state)
{
	struct tls_step step = { "global level", SPAN("may"), SPAN("smtp_tls_security_level") };
	struct tls_decision d = { .asked = TLS_LEVEL_MAY, .level = TLS_LEVEL_MAY, .trail = &step, .n_trail = 1 };
	struct tls_why_peer p = { .host = SPAN("mx.a.example"), .address = SPAN("192.0.2.1"), .port = 25, .decision = &d, .tls = "may:none" };
	const struct span to = SPAN("u@a.example");
	struct tls_why w = { .wall_us = 1795656191000000, .qid = SPAN("4bXyZ"), .nexthop = SPAN("a.example"), .rcpts = 1, .to = &to, .n_to = 1,
		.outcome = "sent", .dsn = SPAN("2.0.0"), .text = SPAN("250 ok") };
	struct buf peer;

	(void)state;
	buf_init(&peer, 4000);
	tls_why_write_peer(&peer, &p);
	w.peer = buf_span(&peer);
	buf_init(&out, 4000);
	assert_int_equal(tls_why_write(&out, &w), 1);
	assert_string_equal(buf_cstr(&out), "{\"time\":1795656191,\"queue_id\":\"4bXyZ\",\"nexthop\":\"a.example\",\"recipients\":1,\"host\":\"mx.a.example\","
	    "\"address\":\"192.0.2.1\",\"port\":25,\"asked\":\"may\",\"level\":\"may\",\"tls\":\"may:none\",\"trail\":[[\"global level\",\"may\","
	    "\"smtp_tls_security_level\"]],\"outcome\":\"sent\",\"dsn\":\"2.0.0\",\"text\":\"250 ok\",\"to\":[\"u@a.example\"]}\n");
	buf_release(&out);
	w.peer = SPAN("");
	w.tried = 2;
	buf_init(&out, 4000);
	tls_why_write(&out, &w);
	assert_record();
	assert_non_null(strstr(buf_cstr(&out), "\"recipients\":1,\"tried\":2,\"outcome\""));
	buf_release(&out);
	buf_release(&peer);
}

/* Whatever does not fit goes on in the next record, in order; in the last one it is counted. */
static void
test_many_recipients(void **state)
{
	enum { N = 100 };
	static char text[N][32];
	struct span to[N];
	struct tls_why w = { .qid = SPAN("4bXyZ"), .nexthop = SPAN("a.example"), .rcpts = N, .outcome = "deferred", .dsn = SPAN("4.2.0"),
		.text = SPAN("no"), .to = to, .n_to = N };
	size_t records = 0, listed;
	char last[48];

	(void)state;
	for (size_t i = 0; i < N; i++)
		to[i] = span_of(text[i], (size_t)snprintf(text[i], sizeof(text[i]), "user-%zu@a.example", i));
	while (w.n_to > 0) {
		buf_init(&out, 4000);
		listed = tls_why_write(&out, &w);
		assert_record();
		assert_true(w.n_to == listed || out.n > TLS_WHY_MAX - 40);       /* full */
		snprintf(last, sizeof(last), "\"%.*s\"]}\n", SPAN_ARG(w.to[listed - 1]));
		assert_string_equal(buf_cstr(&out) + out.n - strlen(last), last);
		assert_null(strstr(buf_cstr(&out), "unlisted"));
		w.to += listed;
		w.n_to -= listed;
		records++;
		buf_release(&out);
	}
	assert_in_range(records, 3, 4);
	w = (struct tls_why){ .outcome = "sent", .to = to, .n_to = N, .rcpts = N, .last = true };
	buf_init(&out, 4000);
	listed = tls_why_write(&out, &w);
	assert_record();
	snprintf(last, sizeof(last), "],\"unlisted\":%zu}\n", N - listed);
	assert_string_equal(buf_cstr(&out) + out.n - strlen(last), last);
	buf_release(&out);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
			KIT_TEST(test_the_longest_fits),
		KIT_TEST(test_a_plain_record),
		KIT_TEST(test_many_recipients),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
