/* Level names, the global level and the start-up check of the client's parameters. */
#include "tls/policy.h"

#include "tls/policy_private.h"

static const char *const level_names[] = {
	[TLS_LEVEL_NONE] = "none",
	[TLS_LEVEL_MAY] = "may",
	[TLS_LEVEL_ENCRYPT] = "encrypt",
	[TLS_LEVEL_FINGERPRINT] = "fingerprint",
	[TLS_LEVEL_HALF_DANE] = "halfdane",
	[TLS_LEVEL_DANE] = "dane",
	[TLS_LEVEL_DANE_ONLY] = "dane-only",
	[TLS_LEVEL_VERIFY] = "verify",
	[TLS_LEVEL_SECURE] = "secure",
};

bool
tls_level_parse(struct span word, enum tls_level *level_r)
{
	for (unsigned i = 0; i < sizeof(level_names) / sizeof(level_names[0]); i++)
		if (i != TLS_LEVEL_HALF_DANE && span_eq_ci(word, span_str(level_names[i]))) {
			*level_r = (enum tls_level)i;
			return true;
		}
	return false;
}

const char *
tls_level_name(enum tls_level level)
{
	return (unsigned)level <= TLS_LEVEL_SECURE ? level_names[level] : "unknown";
}

const char *
tls_params_level_source(const struct tls_params *p)
{
	if (p->security_level[0] != '\0')
		return "tls_security_level";
	if (p->enforce_tls)
		return "enforce_tls";
	return p->use_tls ? "use_tls" : "tls_security_level";
}

bool
tls_params_level(const struct tls_params *p, enum tls_level *level_r, struct fault *why)
{
	struct span word = span_trim(span_str(p->security_level));

	if (word.n == 0) {
		*level_r = !p->enforce_tls ? (p->use_tls ? TLS_LEVEL_MAY : TLS_LEVEL_NONE) :
		    p->enforce_peername ? TLS_LEVEL_VERIFY : TLS_LEVEL_ENCRYPT;
		return true;
	}
	if (tls_level_parse(word, level_r))
		return true;
	return fault_set(why, "4.7.5", "%s_tls_security_level: unknown TLS level \"%s\"", p->prefix,
	    p->security_level);
}

bool
tls_params_want_tls(const struct tls_params *p)
{
	enum tls_level level = TLS_LEVEL_NONE;

	return p->have_policy_maps || !tls_params_level(p, &level, NULL) || level > TLS_LEVEL_NONE;
}

static bool
named(struct fault *why, const struct tls_params *p, const char *name)
{
	fault_prefix(why, "%s_%s", p->prefix, name);
	return false;
}

static bool
check_protocols(const struct tls_params *p, struct fault *why)
{
	struct tls_protocols t;

	if (!tls_protocols_parse(span_str(p->protocols), &t, why))
		return named(why, p, "tls_protocols");
	if (!tls_protocols_parse(span_str(p->mandatory_protocols), &t, why))
		return named(why, p, "tls_mandatory_protocols");
	return true;
}

static bool
check_ciphers(const struct tls_params *p, struct fault *why)
{
	unsigned weak;

	if (!tls_grade_check(span_str(p->ciphers), p->allow_null_ciphers, why))
		return named(why, p, "tls_ciphers");
	if (!tls_grade_check(span_str(p->mandatory_ciphers), p->allow_null_ciphers, why))
		return named(why, p, "tls_mandatory_ciphers");
	if (!tls_exclude_check(span_str(p->exclude_ciphers), TLS_LIST_SEPS, false, why))
		return named(why, p, "tls_exclude_ciphers");
	if (!tls_exclude_check(span_str(p->mandatory_exclude_ciphers), TLS_LIST_SEPS, false, why))
		return named(why, p, "tls_mandatory_exclude_ciphers");
	if (!tls_weak_parse(span_str(p->mandatory_weak), &weak, why))
		return named(why, p, "tls_mandatory_weak");
	return true;
}

static bool
check_fingerprints(const struct tls_params *p, struct fault *why)
{
	struct span rest = span_str(p->fingerprint_cert_match), one;
	struct tls_digest d;

	if (tls_digest_bytes(p->fingerprint_digest) == 0)
		return fault_set(why, "4.7.5", "%s_tls_fingerprint_digest: unknown digest \"%s\"", p->prefix,
		    p->fingerprint_digest);
	while (span_token(&rest, TLS_SPACE_COMMA, &one))
		if (!tls_fingerprint_parse(one, p->fingerprint_digest, &d, why))
			return named(why, p, "tls_fingerprint_cert_match");
	return true;
}

bool
tls_params_check(const struct tls_params *p, struct fault *why)
{
	struct tls_dane_digests digests;
	enum tls_level level = TLS_LEVEL_NONE;
	struct span sni;

	if (!tls_params_level(p, &level, why))
		return false;
	if (tls_level_is_dane(level) && p->no_dane != NULL)
		return fault_set(why, "4.7.5", "%s_tls_security_level: level %s needs DNSSEC: %s", p->prefix,
		    tls_level_name(level), p->no_dane);
	if (!tls_dane_digests_parse(span_str(p->dane_digests), &digests, why)) {
		fault_prefix(why, "tls_dane_digests");
		return false;
	}
	if (p->wrappermode && level < TLS_LEVEL_ENCRYPT && !p->have_policy_maps)
		return fault_set(why, "4.7.5", "%s_tls_wrappermode: needs %s_tls_security_level encrypt or stronger",
		    p->prefix, p->prefix);
	if (!tls_servername_check(span_str(p->servername), p->transitional_idna, NULL, &sni, why))
		return named(why, p, "tls_servername");
	return check_protocols(p, why) && check_ciphers(p, why) && check_fingerprints(p, why);
}
