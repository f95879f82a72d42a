/* Texts of certificate names, for verdicts and log lines. */
#pragma once

#include <openssl/x509.h>

#include "tls/verify.h"

enum { DNS_TEXT_MAX = 1024 };

/* The names of a certificate, comma separated, cut to `bytes`. */
void tls_cert_list_names(X509 *cert, bool cn_fallback, char *out, size_t bytes);
void tls_names_wanted(const struct tls_decision *d, char *out, size_t bytes);
/* The first attribute `nid` of a distinguished name as UTF-8; "" when absent, too long or not clean. */
void tls_name_text(const X509_NAME *name, int nid, char *out, size_t bytes);
