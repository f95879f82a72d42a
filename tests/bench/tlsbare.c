/*
 * tlsbare: the least that a STARTTLS server can be, to show what the TLS library and the kernel leave to be won.
 *
 *   tlsbare ADDRESS PORT CERT KEY [PROCESSES]
 *
 * PROCESSES (2) event loops on one port; each answers EHLO, STARTTLS and QUIT, with tickets as the library makes them and
 * the private key in the process. No log, no limits, no time-outs, no policy, no mail. Ends on SIGTERM.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PROCESSES_MAX = 64 };

struct session {
	int fd;
	SSL *ssl;
	bool shaken;
};

static SSL_CTX *ctx;
static pid_t children[PROCESSES_MAX];
static int n_children;

static void
session_end(struct session *s)
{
	SSL_free(s->ssl);
	close(s->fd);
	free(s);
}

static bool
say(struct session *s, const char *text)
{
	int n = (int)strlen(text);

	return (s->ssl != NULL ? SSL_write(s->ssl, text, n) : (int)write(s->fd, text, (size_t)n)) == n;
}

/* A command is one packet here: the client waits for each answer. */
static bool
command(struct session *s, const char *line)
{
	if (strncmp(line, "EHLO ", 5) == 0)
		return say(s, s->ssl != NULL ? "250-bare\r\n250 8BITMIME\r\n" : "250-bare\r\n250-STARTTLS\r\n250 8BITMIME\r\n");
	if (strncmp(line, "STARTTLS", 8) != 0 || s->ssl != NULL || !say(s, "220 go\r\n"))
		return false;
	s->ssl = SSL_new(ctx);
	if (s->ssl == NULL || SSL_set_fd(s->ssl, s->fd) != 1)
		return false;
	SSL_set_accept_state(s->ssl);
	return true;
}

static bool
wants_more(struct session *s, int r)
{
	return r <= 0 && SSL_get_error(s->ssl, r) == SSL_ERROR_WANT_READ;
}

/* False when the session is over. */
static bool
step(struct session *s)
{
	char in[1024];
	int n;

	if (s->ssl == NULL) {
		n = (int)read(s->fd, in, sizeof(in) - 1);
	} else {
		if (!s->shaken) {
			int r = SSL_do_handshake(s->ssl);

			s->shaken = r == 1;
			if (r != 1)
				return wants_more(s, r);
		}
		n = SSL_read(s->ssl, in, sizeof(in) - 1);
		if (wants_more(s, n))
			return true;
	}
	if (n <= 0)
		return false;
	in[n] = '\0';
	return command(s, in);
}

static void
take(int listener, int epoll)
{
	int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), on = 1;
	struct session *s = fd >= 0 ? calloc(1, sizeof(*s)) : NULL;
	struct epoll_event e = { .events = EPOLLIN, .data.ptr = s };

	if (s == NULL)
		return;
	s->fd = fd;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (!say(s, "220 bare ESMTP\r\n") || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) != 0)
		session_end(s);
}

static void
serve(int listener)
{
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event e = { .events = EPOLLIN }, got[64];

	epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &e);
	for (;;) {
		int n = epoll_wait(epoll, got, 64, -1);

		for (int i = 0; i < n; i++)
			if (got[i].data.ptr == NULL)
				take(listener, epoll);
			else if (!step(got[i].data.ptr))
				session_end(got[i].data.ptr);
	}
}

static int
listen_on(const char *address, const char *port)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)strtoll(port, NULL, 10)) };

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (inet_pton(AF_INET, address, &a.sin_addr) != 1 || bind(fd, (struct sockaddr *)&a, sizeof(a)) != 0 || listen(fd, 1024) != 0) {
		perror("tlsbare: listen");
		exit(1);
	}
	return fd;
}

static void
on_term(int signal_number)
{
	(void)signal_number;
	for (int i = 0; i < n_children; i++)
		kill(children[i], SIGKILL);
	_exit(0);
}

int
main(int argc, char **argv)
{
	long processes = argc > 5 ? strtoll(argv[5], NULL, 10) : 2;
	int listener;

	if (argc < 5 || processes < 1 || processes > PROCESSES_MAX)
		return 2;
	signal(SIGPIPE, SIG_IGN);
	ctx = SSL_CTX_new(TLS_server_method());
	if (ctx == NULL || SSL_CTX_use_certificate_chain_file(ctx, argv[3]) != 1 || SSL_CTX_use_PrivateKey_file(ctx, argv[4], SSL_FILETYPE_PEM) != 1)
		return 1;
	SSL_CTX_set_num_tickets(ctx, 1);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"bare", 4);
	listener = listen_on(argv[1], argv[2]);
	for (n_children = 0; n_children < processes; n_children++) {
		children[n_children] = fork();
		if (children[n_children] == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			serve(listener);
		}
	}
	signal(SIGTERM, on_term);
	while (wait(NULL) > 0 || errno == EINTR)
		;
	return 1;
}
