/*
 * Fuzz: recorded facts. Whatever a file says, reading it ends with facts or with a reason; facts can be decided from and
 * shown; and written down again they are the same facts.
 */
#include "base/panic.h"
#include "explain/explain.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

/* Written and read again: nothing is lost, nothing is added. */
static void
check_again(const struct hop *h, struct arena *a)
{
	json_t *one = explain_facts_json(h), *two;
	struct explain_recorded again;
	struct fault why = { 0 };
	char *text;

	ensure(one != NULL);
	text = json_dumps(one, 0);
	ensure(text != NULL && explain_facts_load(span_str(text), a, &again, &why));
	two = explain_facts_json(&again.hop);
	ensure(json_equal(one, two));
	free(text);
	json_decref(one);
	json_decref(two);
}

static void
check_host(const struct hop *h, size_t i, struct buf *out)
{
	struct arena *a = arena_new((size_t)64 << 20);
	struct tls_decision d;
	bool ok = hop_decide(h, &h->list[i], a, &d);
	json_t *o;

	ensure(ok == !d.invalid);
	ensure(ok || d.fault.dsn[0] == '4');
	ensure(!ok || !d.must_match || d.try_tls);
	explain_show_host(out, h, &h->list[i], i + 1, a);
	o = explain_host_json(h, &h->list[i], a);
	ensure(o != NULL);
	json_decref(o);
	arena_free(&a);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct arena *a = arena_new((size_t)256 << 20);
	struct explain_recorded r;
	struct fault why = { 0 };
	struct buf out;

	if (explain_facts_load(span_of((const char *)p, n), a, &r, &why)) {
		buf_init(&out, 16 << 20);
		explain_show_hop(&out, &r.hop);
		for (size_t i = 0; i < r.hop.count && i < 8; i++)
			check_host(&r.hop, i, &out);
		buf_release(&out);
		check_again(&r.hop, a);
	} else {
		ensure(why.text[0] != '\0');
	}
	arena_free(&a);
	return 0;
}
