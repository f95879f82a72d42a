/* Fuzz: protocol lists, and next hops through the key maker. */
#include "tls/policy.h"

#include "base/panic.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct arena *a = arena_new(64 << 20);
	struct tls_protocols t;
	struct tls_keys keys;

	(void)tls_protocols_parse(span_of(p, n), &t, NULL);
	tls_policy_keys(span_of(p, n), a, &keys);
	ensure(keys.count <= TLS_KEYS_MAX);
	arena_free(&a);
	return 0;
}
