/* Fuzz: paths of MAIL and RCPT, external and internal forms, domains. */
#include "mail/address.h"

#include "base/panic.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

/* What was read can be printed and read again, even strictly. */
static void
check_path(struct span s, bool strict, struct arena *a)
{
	struct span rest = s, addr, back, ext;

	if (!address_path(&rest, strict, a, &addr))
		return;
	ensure(rest.n <= s.n && rest.p + rest.n == s.p + s.n);
	ensure(addr.n <= ADDRESS_MAX);
	if (!strict)
		return;
	ext = address_external(addr, a);
	rest = arena_printf(a, "<%.*s>", SPAN_ARG(ext));
	if (ext.n > ADDRESS_MAX - 2)
		return;
	ensure(address_path(&rest, true, a, &back));
	ensure(span_eq(addr, back));
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct arena *a = arena_new(16 << 20);
	struct span s = span_of(p, n), user, ext, out;
	struct fault why;

	if (n < 4096 && memchr(p, 0, n) == NULL) {
		check_path(s, true, a);
		check_path(s, false, a);
	}
	address_split_extension(s, "+-", true, &user, &ext);
	address_literal(s, NULL);
	address_valid_domain(s, true);
	address_valid_local(s, true);
	address_domain_utf8(s, a);
	if (address_domain_ascii(s, a, &out, &why))
		ensure(span_is_ascii(out));
	/* Quoting is undone by unquoting. */
	if (n < 4096 && span_index(s, '\r') < 0 && span_index(s, '\n') < 0 && span_index(s, '"') < 0 &&
	    span_index(s, '\\') < 0)
		ensure(span_eq(address_internal(address_external(s, a), a), s));
	arena_free(&a);
	return 0;
}
