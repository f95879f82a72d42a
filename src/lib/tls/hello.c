/* What a ClientHello weighs, and what is left out of it when it must be light (RFC 8446 section 4.1.2). */
#include "tls/hello.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "base/buf.h"

/* Beside TLS 1.3: first what every TLS 1.2 server of the last ten years has, then what older ones need. */
static const char *const useful[] = {
	"ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256",
	"ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-CHACHA20-POLY1305", "ECDHE-ECDSA-CHACHA20-POLY1305",
	"DHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-SHA384", "ECDHE-RSA-AES256-SHA", "DHE-RSA-AES128-GCM-SHA256",
	"ECDHE-RSA-AES128-SHA", "AES256-GCM-SHA384", "AES128-GCM-SHA256", "AES256-SHA", "AES128-SHA",
	"ADH-AES256-GCM-SHA384", "AECDH-AES256-SHA", "DHE-RSA-AES256-SHA", "DHE-RSA-AES128-SHA",
};

enum { USEFUL = sizeof(useful) / sizeof(useful[0]), MUST_HAVE = 4 };

size_t
tls_hello_bytes(const struct tls_hello_parts *p)
{
	/* record, handshake, version, random, session id of the compatibility mode, compression */
	size_t n = 5 + 4 + 2 + 32 + 33 + 2;

	n += 2 + 2 * p->ciphers + 5;                      /* renegotiation_info, or a suite that says so */
	n += 2;                                         /* length of the extensions */
	n += p->sni_bytes > 0 ? 9 + p->sni_bytes : 0;
	n += 8 + 4;                                     /* point formats, extended master secret */
	n += p->etm ? 4 : 0;
	n += p->ticket ? 4 : 0;
	n += 6 + 2 * p->groups;
	n += 6 + 2 * p->signatures;
	n += 5 + 2 * p->versions;
	n += 6;                                         /* PSK modes */
	n += 6 + 4 + p->share_bytes;
	return n + p->more;
}

size_t
tls_hello_room(const struct tls_hello_parts *p, size_t segment)
{
	struct tls_hello_parts rest = *p;
	size_t n;

	rest.ciphers = 0;
	n = tls_hello_bytes(&rest);
	return n < segment ? segment - n : 0;
}

static bool
is_useful(const char *name, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(useful[i], name) == 0)
			return true;
	return false;
}

static bool
is_tls13(const SSL_CIPHER *c)
{
	return strncmp(SSL_CIPHER_get_name(c), "TLS_", 4) == 0;
}

/* Suites of `ssl` that stay when the first `count` useful ones may; their names go to `names_r`, in the order they had. */
static size_t
choose(SSL *ssl, size_t count, struct buf *names_r, size_t *old_r)
{
	STACK_OF(SSL_CIPHER) *all = SSL_get_ciphers(ssl);
	size_t n = 0;

	buf_clear(names_r);
	*old_r = 0;
	for (int i = 0; i < sk_SSL_CIPHER_num(all); i++) {
		const SSL_CIPHER *c = sk_SSL_CIPHER_value(all, i);

		if (!is_tls13(c) && !is_useful(SSL_CIPHER_get_name(c), count))
			continue;
		n++;
		if (is_tls13(c))
			continue;
		if (names_r->n > 0)
			buf_addc(names_r, ':');
		buf_add_str(names_r, SSL_CIPHER_get_name(c));
		(*old_r)++;
	}
	return n;
}

size_t
tls_hello_trim_ciphers(SSL *ssl, size_t room)
{
	size_t count = room / 2 < USEFUL ? room / 2 : USEFUL, old, n;
	struct buf names;

	buf_init(&names, 4096);
	while ((n = choose(ssl, count, &names, &old)) * 2 > room && count > 0)
		count--;
	if (n * 2 > room || old < MUST_HAVE || SSL_set_cipher_list(ssl, buf_cstr(&names)) != 1)
		n = 0;
	buf_release(&names);
	return n;
}

size_t
tls_segment_bytes(int fd)
{
	int mss = 0, domain = AF_INET6;
	socklen_t n = sizeof(domain);
	size_t max;

	(void)getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n);
	max = domain == AF_INET ? TLS_SEGMENT_IPV4 : TLS_SEGMENT_IPV6;
	n = sizeof(mss);
	if (getsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &mss, &n) != 0 || mss <= 0 || (size_t)mss > max)
		return max;
	return (size_t)mss;
}
