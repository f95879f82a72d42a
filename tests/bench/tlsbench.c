/*
 * tlsbench: TLS handshakes per second of an SMTP server, full or resumed.
 *
 *   tlsbench ADDRESS PORT -n COUNT [-c CONNECTIONS] [-r] [-2]
 *
 * Each of CONNECTIONS threads connects, says EHLO and STARTTLS, shakes hands, says EHLO inside (which brings the ticket of TLS 1.3
 * along) and QUIT, until COUNT handshakes are done in all. -r resumes the session before; -2 is TLS 1.2. Prints
 * "rate RESUMED COUNT": handshakes per second, how many were resumed, of how many. Exit status 1 when one failed.
 *
 * It is written for OpenSSL and for BoringSSL: tests/bench/tls.py takes the latter, whose clients are lighter than any server.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { THREADS_MAX = 256 };

static struct sockaddr_in server;
static long count;
static bool resume;
static SSL_CTX *ctx;
static int session_index;
static atomic_long begun, resumed, failed;

static double
now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* A reply ends with a line whose fourth byte is a blank. */
static bool
ended(const char *p, size_t n)
{
	size_t line = n;

	if (n < 5 || p[n - 1] != '\n')
		return false;
	for (line = n - 1; line > 0 && p[line - 1] != '\n'; line--)
		;
	return n - line >= 4 && p[line + 3] == ' ';
}

static bool
reply(int fd, SSL *ssl, char code)
{
	char in[4096];
	size_t n = 0;

	while (n < sizeof(in)) {
		ssize_t got = ssl != NULL ? SSL_read(ssl, in + n, (int)(sizeof(in) - n)) : read(fd, in + n, sizeof(in) - n);

		if (got <= 0)
			return false;
		n += (size_t)got;
		if (ended(in, n))
			return in[0] == code;
	}
	return false;
}

static bool
say(int fd, SSL *ssl, const char *text)
{
	int n = (int)strlen(text);

	return ssl != NULL ? SSL_write(ssl, text, n) == n : write(fd, text, (size_t)n) == n;
}

static int
on_session(SSL *ssl, SSL_SESSION *s)
{
	SSL_SESSION **keep = SSL_get_ex_data(ssl, session_index);

	SSL_SESSION_free(*keep);
	*keep = s;
	return 1;
}

/* A session to offer. OpenSSL uses a TLS 1.3 ticket once, and not every server sends another: it gets a copy. */
static SSL_SESSION *
again(SSL_SESSION *s)
{
#ifdef OPENSSL_IS_BORINGSSL
	SSL_SESSION_up_ref(s);
	return s;
#else
	return SSL_SESSION_dup(s);
#endif
}

static bool
inside(int fd, SSL_SESSION **session)
{
	SSL *ssl = SSL_new(ctx);
	bool ok;

	SSL_set_ex_data(ssl, session_index, session);
	if (resume && *session != NULL) {
		SSL_SESSION *old = again(*session);

		SSL_set_session(ssl, old);
		SSL_SESSION_free(old);
	}
	SSL_set_fd(ssl, fd);
	ok = SSL_connect(ssl) == 1 && say(fd, ssl, "EHLO bench.test\r\n") && reply(fd, ssl, '2');
	if (ok && SSL_session_reused(ssl))
		atomic_fetch_add(&resumed, 1);
	if (ok)
		say(fd, ssl, "QUIT\r\n");
	SSL_set_shutdown(ssl, SSL_SENT_SHUTDOWN);       /* else the library thinks that the session is no good */
	SSL_free(ssl);
	ERR_clear_error();
	return ok;
}

static bool
one(SSL_SESSION **session)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
	bool ok = fd >= 0 && connect(fd, (struct sockaddr *)&server, sizeof(server)) == 0;

	if (ok)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	ok = ok && reply(fd, NULL, '2') && say(fd, NULL, "EHLO bench.test\r\n") && reply(fd, NULL, '2') &&
	    say(fd, NULL, "STARTTLS\r\n") && reply(fd, NULL, '2') && inside(fd, session);
	if (fd >= 0)
		close(fd);
	return ok;
}

static void *
thread_main(void *arg)
{
	SSL_SESSION *session = NULL;

	(void)arg;
	while (atomic_fetch_add(&begun, 1) < count)
		if (!one(&session))
			atomic_fetch_add(&failed, 1);
	SSL_SESSION_free(session);
	return NULL;
}

/* What is measured is the server: this client looks at no chain. The signature over the handshake is checked by the library. */
static int
any_chain(X509_STORE_CTX *store, void *arg)
{
	(void)store;
	(void)arg;
	return 1;
}

static long
number(const char *s)
{
	return (long)strtoll(s, NULL, 10);
}

int
main(int argc, char **argv)
{
	pthread_t threads[THREADS_MAX];
	long connections = 16;
	bool old = false;
	double t0;
	int c;

	while ((c = getopt(argc, argv, "n:c:r2")) != -1) {
		if (c == 'n')
			count = number(optarg);
		else if (c == 'c')
			connections = number(optarg);
		else if (c == 'r')
			resume = true;
		else if (c == '2')
			old = true;
		else
			return 2;
	}
	if (argc - optind != 2 || count < 1 || connections < 1 || connections > THREADS_MAX ||
	    inet_pton(AF_INET, argv[optind], &server.sin_addr) != 1)
		return 2;
	server.sin_family = AF_INET;
	server.sin_port = htons((uint16_t)number(argv[optind + 1]));
	signal(SIGPIPE, SIG_IGN);
	ctx = SSL_CTX_new(TLS_client_method());
	session_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(ctx, on_session);
	SSL_CTX_set_cert_verify_callback(ctx, any_chain, NULL);
	if (old)
		SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
	t0 = now();
	for (long i = 0; i < connections; i++)
		if (pthread_create(&threads[i], NULL, thread_main, NULL) != 0)
			return 1;
	for (long i = 0; i < connections; i++)
		pthread_join(threads[i], NULL);
	printf("%.1f %ld %ld\n", (double)(count - failed) / (now() - t0), (long)resumed, count - (long)failed);
	return failed > 0;
}
