/*
 * Distinguished names as administrators write them, compared as X.509 compares them: value
 * types, the case of ASCII letters and runs of spaces do not matter (RFC 5280 section 7.1).
 */
#pragma once

#include <openssl/x509.h>

#include "base/arena.h"
#include "base/fault.h"
#include "base/span.h"

enum { TLS_DN_TEXT_MAX = 4096, TLS_DN_PARTS_MAX = 64 };

/*
 * Two forms: "/C=DE/O=Example+20Ltd/CN=x" in the order of the certificate, bytes as "+HH" (the
 * form of Sendmail and of `openssl -nameopt compat`), and "CN=x,O=Example Ltd,C=DE" (RFC 4514:
 * last part first, '\' escapes, "+" joins the values of one part). NULL + why for anything else.
 * The caller frees the result with X509_NAME_free().
 */
X509_NAME *tls_dn_parse(struct span text, struct fault *why);

/*
 * The "/C=.." form, with every byte that is not printable ASCII and the bytes <>()"+ and space as
 * "+HH", and a '/' that would begin a part: the key of issuer and subject tables. Empty when the name is empty or too long.
 */
struct span tls_dn_text(const X509_NAME *name, struct arena *a);
