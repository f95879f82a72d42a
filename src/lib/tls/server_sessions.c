/*
 * How long a session may be resumed. It keeps the verdict about its client's chain, and TLS 1.3 renews it with every use: what is
 * Trusted is so until the first certificate of the chain ends (RFC 8446 section 4.6.1), and then the chain is looked at again.
 */
#include <time.h>

#include "base/clock.h"
#include "tls/server_private.h"

static int64_t
not_after(const X509 *cert)
{
	struct tm tm;

	return ASN1_TIME_to_tm(X509_get0_notAfter(cert), &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

/* A ticket is made. That of a resumed session has the note of the one before. */
static int
note_end(SSL *ssl, void *arg)
{
	STACK_OF(X509) *chain = SSL_get0_verified_chain(ssl);
	int64_t end = INT64_MAX;

	(void)arg;
	if (SSL_session_reused(ssl) || SSL_get_verify_result(ssl) != X509_V_OK || sk_X509_num(chain) <= 0)
		return 1;
	for (int i = 0; i < sk_X509_num(chain); i++)
		if (not_after(sk_X509_value(chain, i)) < end)
			end = not_after(sk_X509_value(chain, i));
	return SSL_SESSION_set1_ticket_appdata(SSL_get_session(ssl), &end, sizeof(end));
}

static bool
has_ended(SSL_SESSION *session)
{
	int64_t end;
	void *note;
	size_t n;

	if (SSL_SESSION_get0_ticket_appdata(session, &note, &n) != 1 || n != sizeof(end))
		return false;
	memcpy(&end, note, sizeof(end));
	return clock_wall_us() / US_PER_S > end;
}

/* A ticket came, and was opened or not. */
static SSL_TICKET_RETURN
look_at_end(SSL *ssl, SSL_SESSION *session, const unsigned char *name, size_t n, SSL_TICKET_STATUS status, void *arg)
{
	(void)ssl;
	(void)name;
	(void)n;
	(void)arg;
	if ((status != SSL_TICKET_SUCCESS && status != SSL_TICKET_SUCCESS_RENEW) || has_ended(session))
		return SSL_TICKET_RETURN_IGNORE_RENEW;
	return status == SSL_TICKET_SUCCESS ? SSL_TICKET_RETURN_USE : SSL_TICKET_RETURN_USE_RENEW;
}

bool
tls_server_end_sessions(SSL_CTX *ctx)
{
	return SSL_CTX_set_session_ticket_cb(ctx, note_end, look_at_end, NULL) == 1;
}
