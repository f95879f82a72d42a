/* Signature schemes by number, and the shapes of what TLS signs. */
#include "tls/schemes.h"

#include "base/rd.h"

static const struct tls_scheme schemes[] = {
	{ 0x0804, "RSA", "SHA256", true },
	{ 0x0805, "RSA", "SHA384", true },
	{ 0x0806, "RSA", "SHA512", true },
	{ 0x0809, "RSA-PSS", "SHA256", true },
	{ 0x080a, "RSA-PSS", "SHA384", true },
	{ 0x080b, "RSA-PSS", "SHA512", true },
	{ 0x0401, "RSA", "SHA256", false },
	{ 0x0501, "RSA", "SHA384", false },
	{ 0x0601, "RSA", "SHA512", false },
	{ 0x0301, "RSA", "SHA224", false },
	{ 0x0201, "RSA", "SHA1", false },
	{ TLS_SCHEME_RSA_MD5_SHA1, "RSA", "MD5-SHA1", false },
	{ 0x0403, "EC", "SHA256", false },
	{ 0x0503, "EC", "SHA384", false },
	{ 0x0603, "EC", "SHA512", false },
	{ 0x0303, "EC", "SHA224", false },
	{ 0x0203, "EC", "SHA1", false },
	{ 0x0402, "DSA", "SHA256", false },
	{ 0x0302, "DSA", "SHA224", false },
	{ 0x0202, "DSA", "SHA1", false },
	{ 0x0807, "ED25519", NULL, false },
	{ 0x0808, "ED448", NULL, false },
};
#define SCHEMES (sizeof(schemes) / sizeof(schemes[0]))

const struct tls_scheme *
tls_scheme_find(uint16_t number)
{
	for (size_t i = 0; i < SCHEMES; i++)
		if (schemes[i].number == number)
			return &schemes[i];
	return NULL;
}

/* The library says "SHA2-256" or "SHA256" for the same thing. */
static bool
same_digest(const char *ours, const char *theirs)
{
	struct span name;

	if (ours == NULL || theirs == NULL || theirs[0] == '\0')
		return ours == NULL && (theirs == NULL || theirs[0] == '\0');
	name = span_str(theirs);
	if (span_eq_ci(name, span_str(ours)))
		return true;
	return (span_starts_ci(name, SPAN("SHA2-")) && span_eq(span_from(name, 5), span_from(span_str(ours), 3))) ||
	    (span_eq_ci(name, SPAN("SHA-1")) && span_eq(span_str(ours), SPAN("SHA1")));
}

uint16_t
tls_scheme_number(const char *key, const char *digest, bool pss)
{
	for (size_t i = 0; i < SCHEMES; i++)
		if (span_eq_ci(span_str(schemes[i].key), span_str(key)) && schemes[i].pss == pss &&
		    same_digest(schemes[i].digest, digest))
			return schemes[i].number;
	return 0;
}

/* --- shapes --- */

enum { BLANKS = 64, RANDOMS = 64, NAMED_CURVE = 3 };
enum { CLIENT_HELLO = 1, SERVER_HELLO = 2, CLIENT_KEY_EXCHANGE = 16 };

static enum tls_shape
verify_1_3(struct span text)
{
	static const struct span server = { "TLS 1.3, server CertificateVerify", 34 };  /* with the zero behind it */
	static const struct span client = { "TLS 1.3, client CertificateVerify", 34 };
	struct span rest;

	for (size_t i = 0; i < BLANKS; i++)
		if (i >= text.n || text.p[i] != ' ')
			return TLS_SHAPE_NONE;
	rest = span_from(text, BLANKS);
	if (rest.n != server.n + 32 && rest.n != server.n + 48)
		return TLS_SHAPE_NONE;
	return span_starts(rest, server) ? TLS_SHAPE_SERVER : span_starts(rest, client) ? TLS_SHAPE_CLIENT : TLS_SHAPE_NONE;
}

static bool
ecdhe_params(struct span params)
{
	struct rd r = rd_init(params);
	bool named = rd_u8(&r) == NAMED_CURVE;
	uint16_t group = rd_be16(&r);
	struct span point = rd_bytes(&r, rd_u8(&r));

	return rd_done(&r) && named && group != 0 && point.n >= 32;
}

static bool
dhe_params(struct span params)
{
	struct rd r = rd_init(params);
	struct span p = rd_bytes(&r, rd_be16(&r)), g = rd_bytes(&r, rd_be16(&r)), y = rd_bytes(&r, rd_be16(&r));

	return rd_done(&r) && p.n >= 64 && p.n <= 2048 && g.n >= 1 && g.n <= p.n && y.n >= 1 && y.n <= p.n;
}

/* The handshake messages so far: type, 24 bits of length, body. */
static bool
transcript(struct span text)
{
	struct rd r = rd_init(text);
	unsigned count = 0, type = 0;
	bool known = true;

	while (!r.bad && rd_left(&r) > 0) {
		size_t length;

		type = rd_u8(&r);
		length = (size_t)rd_u8(&r) << 16;
		length |= rd_be16(&r);
		rd_bytes(&r, length);
		known = known && (count != 0 || type == CLIENT_HELLO) && (count != 1 || type == SERVER_HELLO);
		count++;
	}
	return rd_done(&r) && known && count >= 4 && type == CLIENT_KEY_EXCHANGE;
}

enum tls_shape
tls_shape_of(struct span text)
{
	enum tls_shape shape = verify_1_3(text);

	if (shape != TLS_SHAPE_NONE || text.n > TLS_SHAPE_MAX)
		return shape;
	if (text.n > RANDOMS && (ecdhe_params(span_from(text, RANDOMS)) || dhe_params(span_from(text, RANDOMS))))
		return TLS_SHAPE_SERVER;
	return transcript(text) ? TLS_SHAPE_CLIENT : TLS_SHAPE_NONE;
}
