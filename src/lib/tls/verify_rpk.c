/*
 * A server that shows a raw public key instead of a certificate (RFC 7250). The library is never asked for its
 * opinion (CVE-2024-12797 was about that): the bytes of the key are compared here, and nothing else counts.
 */
#include <openssl/x509.h>
#include <stdio.h>

#include "base/log.h"
#include "tls/info.h"
#include "tls/verify_private.h"

static bool
pinned(struct tls_verdict *v, const struct tls_decision *d, EVP_PKEY *key)
{
	struct arena *a;
	struct tls_digest have;

	if (!tls_key_digest(key, d->digest_name, &have) || !verify_is_pinned(d, &have))
		return false;
	a = arena_new(1 << 16);
	snprintf(v->matched_name, sizeof(v->matched_name), "%.*s", SPAN_ARG(tls_digest_text(&have, a)));
	arena_free(&a);
	return true;
}

static bool
key_matches(struct tls_verdict *v, const struct tls_decision *d, EVP_PKEY *key)
{
	char record[256];

	if (d->level == TLS_LEVEL_FINGERPRINT)
		return pinned(v, d, key);
	if (!tls_level_is_dane(d->level) || !tls_dane_key_matches(d, key, record))
		return false;
	v->dane_usage = 3;
	snprintf(v->dane_match, sizeof(v->dane_match), "raw public key: %.230s", record);
	return true;
}

void
verify_raw_key(struct tls_verdict *v, const struct tls_decision *d, const struct tls_peer *peer)
{
	bool ok = !d->must_match || (!d->policy_failure && d->enable_rpk && key_matches(v, d, peer->raw_key));

	v->matched = ok && !v->weak;
	v->trust = TLS_TRUST_UNTRUSTED;
	if (d->must_match && v->matched)
		v->trust = d->level == TLS_LEVEL_HALF_DANE ? TLS_TRUST_TRUSTED : TLS_TRUST_VERIFIED;
	if (ok)
		return;
	v->error = X509_V_ERR_CERT_UNTRUSTED;
	v->untrusted = true;
	if (v->reason[0] != '\0')
		return;
	if (d->policy_failure)
		snprintf(v->reason, sizeof(v->reason), "external policy failure (%.*s)", SPAN_ARG(d->policy_failure_type));
	else
		snprintf(v->reason, sizeof(v->reason), "not trusted by local or TLSA policy");
}
