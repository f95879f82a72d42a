/* Fuzz: entries of smtpd_tls_policy_maps and distinguished names. Clear text never satisfies a demand, names survive printing. */
#include "tls/client_policy.h"

#include "base/panic.h"
#include "dns/dns.h"
#include "tls/dn.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void
try_name(struct span text, struct arena *a)
{
	X509_NAME *name = tls_dn_parse(text, NULL), *again;
	struct span printed;

	if (name == NULL)
		return;
	printed = tls_dn_text(name, a);
	again = printed.n > 0 ? tls_dn_parse(printed, NULL) : NULL;
	ensure(printed.n <= TLS_DN_TEXT_MAX && (printed.n == 0 || span_is_ascii(printed)));
	X509_NAME_free(again);
	X509_NAME_free(name);
}

/* What a client is looked up by is a key that can be written. */
static void
try_keys(const uint8_t *p, size_t n, struct arena *a)
{
	struct tls_client_key keys[TLS_CLIENT_KEYS_MAX];
	bool four = p[0] & 1;
	struct span addr = dns_address_text(a, span_of(p + 1, four ? 4 : 16)), name = span_of(p + 17, n - 17), ascii;
	size_t count;

	if (!dns_name_ascii(a, name, false, &ascii) || !dns_name_is_host(ascii) || span_ends(ascii, SPAN(".")))
		ascii = SPAN("");
	count = tls_client_keys(ascii, addr, SPAN("sub.example"), a, keys);
	for (size_t i = 0; i < count; i++) {
		struct fault why = { 0 };

		/* ".0" of a name of numbers, the IPv4 address in an IPv6 one, and a network that ends in zeros are told of, too */
		if (!tls_client_key_check(keys[i].key, &why))
			ensure((keys[i].by_name && !ascii_isalpha(keys[i].key.p[keys[i].key.n - 1])) || strstr(why.text, "only some") != NULL ||
			    span_starts(addr, SPAN("::ffff:")) || span_index(keys[i].key, '.') >= 0);
	}
	tls_client_key_check(name, NULL);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct arena *a = arena_new(16 << 20);
	struct tls_client_shown clear = { .name = SPAN("mx.example.org") };
	struct tls_client_policy policy;
	struct tls_client_verdict v;
	struct fault why = { 0 };

	if (n > 20)
		try_keys(p, n, a);
	if (n > 0 && p[0] == '/') {
		try_name(span_of(p, n), a);
	} else if (tls_client_policy_parse(span_of(p, n), "sha256", a, &policy, &why)) {
		tls_client_policy_decide(&policy, &clear, NULL, a, &v);
		ensure(v.ok == (policy.level <= TLS_CLIENT_MAY));
		ensure(v.ok || (v.code >= 400 && v.code < 560 && v.code != 421 && v.code != 521 && v.reply.n > 0));
		ensure(policy.level < TLS_CLIENT_VERIFY || tls_client_policy_asks(&policy, false));
	} else {
		ensure(why.dsn[0] == '4' && why.text[0] != '\0');
		try_name(span_of(p, n), a);
	}
	arena_free(&a);
	return 0;
}
