/* Fuzz: alias items. No item grows, none has control characters, and a list is what its lines are. */
#include "base/panic.h"
#include "role/local/items.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct span text = span_of(p, n);
	struct items items;

	if (n > 65536)
		return 0;
	for (int file = 0; file < 2; file++) {
		struct arena *a = arena_new(items_room(n));

		if (file == 0 ? items_parse(text, a, &items, NULL) : items_parse_file(text, a, &items, NULL))
			for (size_t i = 0; i < items.n; i++) {
				ensure(items.v[i].text.n > 0 && items.v[i].text.n <= n);
				for (size_t k = 0; k < items.v[i].text.n; k++)
					ensure((unsigned char)items.v[i].text.p[k] >= 32 || items.v[i].text.p[k] == '\t');
			}
		arena_free(&a);
	}
	return 0;
}
