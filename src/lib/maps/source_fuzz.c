/* Fuzz: table sources. Entries lie inside the text or the joined line and keep their limits. */
#include "maps/source.h"

#include "base/panic.h"
#include "maps/maps.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static bool
on_entry(void *ctx, struct span key, struct span value, unsigned line)
{
	(void)ctx;
	ensure(line > 0 && key.n > 0 && key.n <= MAPS_KEY_MAX);
	ensure(value.n > 0 && value.n <= MAPS_VALUE_MAX);
	ensure(span_eq(value, span_trim(value)));
	return true;
}

static void
on_bad(void *ctx, unsigned line, const struct fault *why)
{
	(void)ctx;
	ensure(line > 0 && why->text[0] != '\0');
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct source_reader r = { .entry = on_entry, .bad = on_bad };

	r.form = SOURCE_MAP;
	ensure(source_each(span_of(p, n), &r));
	r.form = SOURCE_ALIASES;
	ensure(source_each(span_of(p, n), &r));
	return 0;
}
