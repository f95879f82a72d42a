/* Names in certificates (section 5, RFC 9525): the library compares, we choose the rules. */
#include "tls/names.h"

#include <arpa/inet.h>
#include <openssl/x509v3.h>

#include "base/buf.h"
#include "base/log.h"

bool
tls_cert_has_name(X509 *cert, const struct tls_name *name, unsigned how, char found_r[256])
{
	unsigned flags = X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
	    ((how & TLS_NAME_CN) != 0 ? 0u : (unsigned)X509_CHECK_FLAG_NEVER_CHECK_SUBJECT) |
	    ((how & TLS_NAME_MULTI_LABEL) != 0 ? (unsigned)X509_CHECK_FLAG_MULTI_LABEL_WILDCARDS : 0u);
	char text[DNS_TEXT_MAX], *found = NULL;
	size_t dot = name->subdomains ? 1 : 0;
	bool ok;

	if (name->name.n == 0 || name->name.n + dot >= sizeof(text))
		return false;
	text[0] = '.';
	memcpy(text + dot, name->name.p, name->name.n);
	text[dot + name->name.n] = '\0';
	ok = name->address ? X509_check_ip_asc(cert, text, 0) == 1 :
	    X509_check_host(cert, text, dot + name->name.n, flags, &found) == 1;
	if (ok && found_r != NULL)
		snprintf(found_r, 256, "%.255s", found != NULL ? found : text);
	OPENSSL_free(found);
	return ok;
}

static void
add_name(struct buf *b, struct span name)
{
	if (b->n > 0)
		buf_add_str(b, ", ");
	buf_add_span(b, log_esc(name));
}

static void
add_general_name(struct buf *b, const GENERAL_NAME *g)
{
	const ASN1_STRING *s;
	char ip[64];

	if (g->type == GEN_DNS) {
		s = g->d.dNSName;
		add_name(b, span_of(ASN1_STRING_get0_data(s), (size_t)ASN1_STRING_length(s)));
	} else if (g->type == GEN_IPADD) {
		int n = ASN1_STRING_length(g->d.iPAddress);

		if ((n != 4 && n != 16) || inet_ntop(n == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(g->d.iPAddress), ip, sizeof(ip)) == NULL)
			snprintf(ip, sizeof(ip), "[%d bytes of address]", n);
		add_name(b, span_str(ip));
	}
}

void
tls_cert_list_names(X509 *cert, bool cn_fallback, char *out, size_t bytes)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	struct buf b;

	buf_init(&b, bytes - 1);
	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++)
		add_general_name(&b, sk_GENERAL_NAME_value(names, i));
	if (b.n == 0 && !b.full) {
		char cn[256];

		tls_name_text(X509_get_subject_name(cert), NID_commonName, cn, sizeof(cn));
		if (cn[0] != '\0')
			buf_addf(&b, "%s%s", cn, cn_fallback ? "" : " (subject CN only, which does not count)");
	}
	snprintf(out, bytes, "%s", b.n > 0 ? buf_cstr(&b) : "no names");
	buf_release(&b);
	GENERAL_NAMES_free(names);
}

void
tls_names_wanted(const struct tls_decision *d, char *out, size_t bytes)
{
	struct buf b;

	buf_init(&b, bytes - 1);
	for (size_t i = 0; i < d->n_names; i++) {
		if (b.n > 0)
			buf_add_str(&b, ", ");
		if (d->names[i].subdomains)
			buf_addc(&b, '.');
		buf_add_span(&b, d->names[i].name);
	}
	snprintf(out, bytes, "%s", b.n > 0 ? buf_cstr(&b) : "no usable names");
	buf_release(&b);
}

void
tls_name_text(const X509_NAME *name, int nid, char *out, size_t bytes)
{
	int at = X509_NAME_get_index_by_NID(name, nid, -1), n;
	unsigned char *utf8 = NULL;

	out[0] = '\0';
	if (at < 0)
		return;
	n = ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
	/* an embedded NUL or control byte would show one name and mean another */
	if (n > 0 && n <= 255 && (size_t)n < bytes && span_is_utf8(span_of(utf8, (size_t)n))) {
		bool clean = true;

		for (int i = 0; i < n; i++)
			clean = clean && utf8[i] >= 32 && utf8[i] != 127;
		if (clean)
			snprintf(out, bytes, "%.*s", n, (const char *)utf8);
	}
	OPENSSL_free(utf8);
}
