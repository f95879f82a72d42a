/* Fuzz: Sendmail's access database. What is written can be read, and every entry is converted or noted. */
#include "tls/sendmail.h"

#include "base/fault.h"
#include "base/panic.h"
#include "tls/client_policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void
check(struct span text, bool clients)
{
	struct span line, key;

	while (span_token(&text, "\n", &line)) {
		struct arena *a = arena_new(4 << 20);
		struct tls_client_policy c;
		struct tls_policy s;

		ensure(span_token(&line, " ", &key));
		ensure(clients ? tls_client_policy_parse(line, "sha256", a, &c, NULL) : tls_policy_parse(line, a, &s, NULL));
		arena_free(&a);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct sendmail_tables t;
	struct fault why = { 0 };

	if (sendmail_convert(span_of(p, n), "access", "/etc/signet", &t, &why)) {
		check(buf_span(&t.clients), true);
		check(buf_span(&t.servers), false);
		ensure(t.left == 0 || t.notes.n > 0);
	} else {
		ensure(why.text[0] != '\0');
	}
	sendmail_release(&t);
	return 0;
}
