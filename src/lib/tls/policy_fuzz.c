/* Fuzz: table values. Whatever the bytes, the decision is valid or INVALID, and never weaker than what was read. */
#include "tls/policy.h"

#include "base/panic.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static const struct tls_params params = { .prefix = "smtp", .security_level = "may", .protocols = ">=TLSv1",
		.mandatory_protocols = ">=TLSv1.2", .ciphers = "medium", .mandatory_ciphers = "medium",
		.exclude_ciphers = "", .mandatory_exclude_ciphers = "", .mandatory_weak = "",
		.verify_cert_match = "hostname", .secure_cert_match = "nexthop, dot-nexthop",
		.fingerprint_cert_match = "", .fingerprint_digest = "sha256", .trust_anchor_file = "", .servername = "",
		.high_cipherlist = "HIGH", .medium_cipherlist = "MEDIUM", .null_cipherlist = "eNULL",
		.eecdh_auto_curves = "X25519", .ffdhe_auto_groups = "", .enforce_sts_mx_patterns = true };
	struct arena *a = arena_new(64 << 20);
	struct tls_facts f = { .params = &params, .nexthop = SPAN("example.org"), .host = SPAN("mx.example.org"),
		.port = 25, .table = { .state = TLS_ANSWER_FOUND, .value = span_of(p, n), .source = SPAN("t:1") } };
	struct tls_decision d;
	struct tls_policy entry;

	if (tls_policy_decide(&f, a, &d)) {
		ensure(tls_policy_parse(span_of(p, n), a, &entry, NULL));
		ensure(d.level == entry.level && !d.invalid);
		ensure(d.level <= TLS_LEVEL_MAY || d.on_no_starttls == TLS_NEXT_DEFER);
		ensure(d.level != TLS_LEVEL_FINGERPRINT || d.n_digests > 0);
	} else {
		ensure(d.invalid && d.fault.dsn[0] == '4');
	}
	arena_free(&a);
	return 0;
}
