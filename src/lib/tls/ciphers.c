/* Cipher grades, exclusions and the words of smtp_tls_mandatory_weak (section 9, 20.9, 20.12, 20.19). */
#include "base/buf.h"
#include "base/log.h"
#include "tls/policy_private.h"

bool
tls_grade_check(struct span grade, bool allow_null, struct fault *why)
{
	static const char *const grades[] = { "high", "medium", "low", "export" };

	for (unsigned i = 0; i < sizeof(grades) / sizeof(grades[0]); i++)
		if (span_eq_ci(grade, span_str(grades[i])))
			return true;
	if (!span_eq_ci(grade, SPAN("null")))
		return fault_set(why, "4.7.5", "unknown cipher grade \"%.*s\"", SPAN_ARG(log_esc(grade)));
	return allow_null || fault_set(why, "4.7.5", "cipher grade null is switched off");
}

const char *
tls_grade_string(struct span grade, const char *high, const char *medium, const char *null)
{
	if (span_eq_ci(grade, SPAN("high")))
		return high;
	return span_eq_ci(grade, SPAN("null")) ? null : medium;
}

/*
 * The words cipher names are made of, of libraries old and new: an exclusion may name a
 * suite that this library no longer has, but not one that never was.
 */
static bool
known_part(struct span part)
{
	static const char words[] =
	    " ALL COMPLEMENTOFALL COMPLEMENTOFDEFAULT DEFAULT HIGH MEDIUM LOW EXP EXPORT EXPORT40 EXPORT56 EXPORT1024"
	    " aNULL eNULL NULL kRSA aRSA RSA kEDH kDHE kEECDH kECDHE kDHr kDHd kDH kECDHr kECDHe kECDH EECDH EDH DHE"
	    " ECDHE DH ECDH ADH AECDH aDSS DSS aDH aECDH aECDSA ECDSA kPSK aPSK PSK RSAPSK DHEPSK ECDHEPSK kECDHEPSK"
	    " kDHEPSK kRSAPSK kSRP aSRP SRP kKRB5 aKRB5 KRB5 kGOST aGOST aGOST01 aGOST12 GOST GOST94 GOST89MAC GOST2001"
	    " GOST2012 GOST89 GOST12 AES AES128 AES256 AESGCM AESCCM AESCCM8 GCM CCM CCM8 CAMELLIA CAMELLIA128"
	    " CAMELLIA256 CHACHA20 POLY1305 ARIA ARIA128 ARIA256 ARIAGCM SEED IDEA RC2 RC4 DES DES2 DES3 3DES CBC CBC3"
	    " FZA kFZA aFZA eFZA MD5 SHA SHA1 SHA256 SHA384 SSLv2 SSLv3 TLSv1 TLSv1.0 TLSv1.1 TLSv1.2 FIPS CBC_SHA 56"
	    " SUITEB128 SUITEB128ONLY SUITEB192 STRENGTH EDE CK SSL TLS WITH AES_128 AES_256 RC4_64 128 256 64 40 8 anon"
	    " MD4 ECDSA GOST8912 GOST2012256 MAGMA KUZNYECHIK OMAC EDE3 ";
	char padded[40];

	if (part.n == 0 || part.n + 2 > sizeof(padded))
		return false;
	padded[0] = ' ';
	memcpy(padded + 1, part.p, part.n);
	padded[part.n + 1] = ' ';
	return span_find_ci(span_of(words, sizeof(words) - 1), span_of(padded, part.n + 2)) >= 0;
}

/* "kECDHE+AESGCM", "DHE-RSA-AES256-SHA", "TLS_RSA_WITH_AES_128_CBC_SHA". */
static bool
known_cipher(struct span token)
{
	struct span part;

	if (known_part(token))
		return true;
	while (span_token(&token, "+-_", &part))
		if (!known_part(part))
			return false;
	return true;
}

bool
tls_exclude_check(struct span list, const char *seps, bool strict, struct fault *why)
{
	struct span token;

	while (span_token(&list, seps, &token)) {
		if (memchr("!+-@", token.p[0], 4) != NULL)
			return fault_set(why, "4.7.5", "cipher exclusion \"%.*s\" begins with an operator",
			    SPAN_ARG(log_esc(token)));
		if (strict && !known_cipher(token))
			return fault_set(why, "4.7.5", "unknown cipher \"%.*s\"", SPAN_ARG(log_esc(token)));
	}
	return true;
}

bool
tls_exclusions_check(struct span list, struct fault *why)
{
	return tls_exclude_check(list, TLS_LIST_SEPS, false, why);
}

void
tls_exclude_add(struct buf *out, struct span list, const char *seps)
{
	struct span token;

	while (span_token(&list, seps, &token)) {
		buf_add_str(out, ":!");
		buf_add_span(out, token);
	}
}

bool
tls_weak_parse(struct span words, unsigned *weak_r, struct fault *why)
{
	static const struct {
		const char *word;
		unsigned bit;
	} known[] = {
		{ "sha1", TLS_WEAK_SHA1 },
		{ "krsa", TLS_WEAK_KRSA },
		{ "dh1024", TLS_WEAK_DH1024 },
		{ "rsa1024", TLS_WEAK_RSA1024 },
	};
	struct span word;

	*weak_r = 0;
	while (span_token(&words, TLS_LIST_SEPS, &word)) {
		unsigned i = 0;

		while (i < 4 && !span_eq_ci(word, span_str(known[i].word)))
			i++;
		if (i == 4)
			return fault_set(why, "4.7.5", "unknown word \"%.*s\" (sha1, krsa, dh1024 or rsa1024)",
			    SPAN_ARG(log_esc(word)));
		*weak_r |= known[i].bit;
	}
	return true;
}
