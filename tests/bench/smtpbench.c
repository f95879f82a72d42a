/*
 * smtpbench: both ends of a relay measurement, event-driven so that they cost little beside the MTA.
 *
 *   smtpbench sink PORT [-a] [-e] [-C CERT -K KEY] [-n COUNT]   accept mail and forget it; after COUNT print the rate and the
 *                                                     longest time between two messages and end (-e: begin again); -a on all of 127/8
 *   smtpbench source PORT -n COUNT -s SESSIONS -l BYTES [-t] [-r RCPT]   send COUNT messages of BYTES each; a % in RCPT is
 *                                                     the message's number, from 0
 *   smtpbench idle PORT -s SESSIONS [-t]              open sessions up to EHLO (in TLS with -t), print "ready", hold until stdin ends
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum mode { SINK, SOURCE, IDLE };
enum step { S_GREETING, S_EHLO, S_STARTTLS, S_EHLO2, S_MAIL, S_DOT, S_HOLD };

struct conn {
	int fd;
	SSL *ssl;
	bool handshake, in_data, done;
	enum step step;
	int awaited;            /* replies still to come for this step */
	size_t matched;         /* of CR LF . CR LF, while in_data */
	char *in;
	size_t in_n;
	char *out;
	size_t out_n, out_at, out_cap;
};

#define IN_CAP 32768u

static enum mode mode;
static int ep, port, sessions = 1, opened, ready;
static long count, begun, done;
static size_t length = 10000;
static bool use_tls;
static SSL_CTX *ctx;
static char *message;
static size_t message_n;
static const char *rcpt = "user@bench.test";
static bool any_address, endless;
static double t0, last, gap;

static double
now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void
die(const char *what)
{
	perror(what);
	exit(1);
}

static void
put(struct conn *c, const char *p, size_t n)
{
	if (c->out_n + n > c->out_cap) {
		c->out_cap = (c->out_n + n) * 2;
		c->out = realloc(c->out, c->out_cap);
		if (c->out == NULL)
			die("memory");
	}
	memcpy(c->out + c->out_n, p, n);
	c->out_n += n;
}

static void
say(struct conn *c, const char *s)
{
	put(c, s, strlen(s));
}

static void
want(struct conn *c, uint32_t events)
{
	struct epoll_event e = { .events = events, .data.ptr = c };

	epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e);
}

static void
flush(struct conn *c)
{
	if (c->out_n == 0 || (c->ssl != NULL && c->handshake))
		return;
	while (c->out_at < c->out_n) {
		ssize_t n = c->ssl != NULL ? SSL_write(c->ssl, c->out + c->out_at, (int)(c->out_n - c->out_at)) :
		    send(c->fd, c->out + c->out_at, c->out_n - c->out_at, MSG_NOSIGNAL);

		if (n <= 0) {
			want(c, EPOLLIN | EPOLLOUT);
			return;
		}
		c->out_at += (size_t)n;
	}
	c->out_n = c->out_at = 0;
	want(c, EPOLLIN);
}

static void
start_tls(struct conn *c)
{
	c->ssl = SSL_new(ctx);
	SSL_set_fd(c->ssl, c->fd);
	SSL_set_mode(c->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	if (mode == SINK)
		SSL_set_accept_state(c->ssl);
	else
		SSL_set_connect_state(c->ssl);
	c->handshake = true;
}

static void
sink_line(struct conn *c, const char *line)
{
	if (strncasecmp(line, "EHLO", 4) == 0) {
		say(c, "250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n");
		say(c, c->ssl != NULL || !use_tls ? "250 SIZE 100000000\r\n" : "250-STARTTLS\r\n250 SIZE 100000000\r\n");
	} else if (strncasecmp(line, "STARTTLS", 8) == 0) {
		say(c, "220 go\r\n");
		flush(c);
		start_tls(c);
	} else if (strncasecmp(line, "DATA", 4) == 0) {
		say(c, "354 go\r\n");
		c->in_data = true;
		c->matched = 2;
	} else if (strncasecmp(line, "QUIT", 4) == 0) {
		say(c, "221 bye\r\n");
		c->done = true;
	} else {
		say(c, "250 2.0.0 Ok\r\n");
	}
}

static void
note_message(void)
{
	double t = now();

	if (done++ == 0)
		t0 = t;
	else if (t - last > gap)
		gap = t - last;
	last = t;
}

/* Content; how many bytes were taken. Only CR LF . CR LF ends it. */
static size_t
sink_data(struct conn *c, const char *p, size_t n)
{
	static const char end[] = "\r\n.\r\n";

	for (size_t i = 0; i < n; i++) {
		c->matched = p[i] == end[c->matched] ? c->matched + 1 : p[i] == '\r' ? 1 : 0;
		if (c->matched < 5)
			continue;
		c->in_data = false;
		note_message();
		say(c, "250 2.0.0 Ok\r\n");
		return i + 1;
	}
	return n;
}

static void
source_next(struct conn *c)
{
	const char *percent = strchr(rcpt, '%');
	char head[512], to[256];

	if (begun >= count) {
		say(c, "QUIT\r\n");
		c->step = S_HOLD;
		return;
	}
	if (percent != NULL)
		snprintf(to, sizeof(to), "%.*s%ld%s", (int)(percent - rcpt), rcpt, begun, percent + 1);
	begun++;
	snprintf(head, sizeof(head), "MAIL FROM:<sender@bench.test>\r\nRCPT TO:<%s>\r\nDATA\r\n", percent != NULL ? to : rcpt);
	say(c, head);
	c->step = S_MAIL;
	c->awaited = 3;
}

static void
client_idle(struct conn *c)
{
	c->step = S_HOLD;
	if (++ready == sessions) {
		puts("ready");
		fflush(stdout);
	}
}

static void
client_reply(struct conn *c, const char *line)
{
	if (strlen(line) > 3 && line[3] == '-')
		return;
	if (line[0] != '2' && line[0] != '3') {
		fprintf(stderr, "refused: %s\n", line);
		exit(1);
	}
	switch (c->step) {
	case S_GREETING:
		say(c, "EHLO bench.test\r\n");
		c->step = use_tls ? S_EHLO : S_EHLO2;
		break;
	case S_EHLO:
		say(c, "STARTTLS\r\n");
		c->step = S_STARTTLS;
		break;
	case S_STARTTLS:
		start_tls(c);
		c->step = S_EHLO2;
		say(c, "EHLO bench.test\r\n");
		break;
	case S_EHLO2:
		if (mode == IDLE)
			client_idle(c);
		else
			source_next(c);
		break;
	case S_MAIL:
		if (--c->awaited == 0) {
			put(c, message, message_n);
			c->step = S_DOT;
		}
		break;
	case S_DOT:
		done++;
		source_next(c);
		break;
	case S_HOLD:
		break;
	}
}

static void
lines(struct conn *c)
{
	size_t at = 0;

	while (at < c->in_n && !(c->ssl != NULL && c->handshake)) {
		char *nl;

		if (c->in_data) {
			at += sink_data(c, c->in + at, c->in_n - at);
			continue;
		}
		nl = memchr(c->in + at, '\n', c->in_n - at);
		if (nl == NULL)
			break;
		*nl = '\0';
		if (mode == SINK)
			sink_line(c, c->in + at);
		else
			client_reply(c, c->in + at);
		at = (size_t)(nl - c->in) + 1;
	}
	memmove(c->in, c->in + at, c->in_n - at);
	c->in_n -= at;
}

/* True when TLS is up (or not used); false while it needs another turn. */
static bool
handshake(struct conn *c)
{
	int r;

	if (c->ssl == NULL || !c->handshake)
		return true;
	r = SSL_do_handshake(c->ssl);
	if (r == 1) {
		c->handshake = false;
		return true;
	}
	r = SSL_get_error(c->ssl, r);
	if (r != SSL_ERROR_WANT_READ && r != SSL_ERROR_WANT_WRITE) {
		ERR_print_errors_fp(stderr);
		exit(1);
	}
	want(c, r == SSL_ERROR_WANT_WRITE ? EPOLLOUT : EPOLLIN);
	return false;
}

static bool
readable(struct conn *c)
{
	if (c->in == NULL && (c->in = malloc(IN_CAP)) == NULL)
		die("memory");
	for (;;) {
		ssize_t n;

		if (!handshake(c))
			return true;
		flush(c);
		n = c->ssl != NULL ? SSL_read(c->ssl, c->in + c->in_n, (int)(IN_CAP - c->in_n)) :
		    recv(c->fd, c->in + c->in_n, IN_CAP - c->in_n, 0);
		if (n <= 0) {
			bool more = c->ssl != NULL ? SSL_get_error(c->ssl, (int)n) == SSL_ERROR_WANT_READ :
			    n < 0 && errno == EAGAIN;

			if (more && c->in_n == 0) {
				free(c->in);
				c->in = NULL;
			}
			return more;
		}
		c->in_n += (size_t)n;
		lines(c);
		flush(c);
		if (c->done && c->out_n == 0)
			return false;
	}
}

static void
drop(struct conn *c)
{
	close(c->fd);
	SSL_free(c->ssl);
	free(c->in);
	free(c->out);
	free(c);
}

static struct conn *
conn_new(int fd)
{
	struct conn *c = calloc(1, sizeof(*c));
	struct epoll_event e = { .events = EPOLLIN, .data.ptr = c };

	if (c == NULL)
		die("memory");
	fcntl(fd, F_SETFL, O_NONBLOCK);
	c->fd = fd;
	epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
	return c;
}

/* As mail clients do: else the end of a message waits for a delayed ACK, and 40 ms of that are all that is measured. */
static void
no_delay(int fd)
{
	int on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static void
connect_one(void)
{
	/* from several addresses, so that per-client limits do not take part */
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_in from = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000000u | (uint32_t)(10 + opened / 40 % 200)) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&from, sizeof(from)) != 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0)
		die("connect");
	no_delay(fd);
	opened++;
	conn_new(fd);
}

static int
listen_on(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(any_address ? INADDR_ANY : INADDR_LOOPBACK) };
	int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct epoll_event e = { .events = EPOLLIN, .data.ptr = NULL };

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) != 0 || listen(fd, 4096) != 0)
		die("listen");
	epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
	return fd;
}

static void
accept_all(int listener)
{
	int fd;

	while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
		struct conn *c = conn_new(fd);

		no_delay(fd);
		say(c, "220 sink ESMTP\r\n");
		flush(c);
	}
}

static void
make_message(void)
{
	size_t cap = length + 500;

	message = malloc(cap);
	if (message == NULL)
		die("memory");
	message_n = (size_t)snprintf(message, cap, "From: <sender@bench.test>\r\nTo: <%s>\r\nSubject: measure\r\n"
	    "Date: Mon, 23 Nov 2026 12:00:00 +0000\r\nMessage-ID: <m@bench.test>\r\n\r\n", rcpt);
	while (message_n + 80 < length) {
		memset(message + message_n, 'a' + (int)(message_n % 23), 72);
		memcpy(message + message_n + 72, "\r\n", 2);
		message_n += 74;
	}
	memcpy(message + message_n, ".\r\n", 3);
	message_n += 3;
}

static long
number(const char *s)
{
	long v = 0;

	while (*s >= '0' && *s <= '9' && v < 1000000000)
		v = v * 10 + (*s++ - '0');
	return v;
}

static void
arguments(int argc, char **argv)
{
	int c;

	if (argc < 3) {
		fprintf(stderr, "usage: smtpbench sink|source|idle PORT ...\n");
		exit(2);
	}
	mode = strcmp(argv[1], "sink") == 0 ? SINK : strcmp(argv[1], "idle") == 0 ? IDLE : SOURCE;
	port = (int)number(argv[2]);
	optind = 3;
	while ((c = getopt(argc, argv, "aetn:s:l:r:C:K:")) != -1) {
		if (c == 't')
			use_tls = true;
		else if (c == 'a')
			any_address = true;
		else if (c == 'e')
			endless = true;
		else if (c == 'n')
			count = number(optarg);
		else if (c == 's')
			sessions = (int)number(optarg);
		else if (c == 'l')
			length = (size_t)number(optarg);
		else if (c == 'r')
			rcpt = optarg;
		else if (c == 'C' && (ctx = SSL_CTX_new(TLS_server_method())) != NULL)
			SSL_CTX_use_certificate_chain_file(ctx, optarg);
		else if (c == 'K' && ctx != NULL)
			SSL_CTX_use_PrivateKey_file(ctx, optarg, SSL_FILETYPE_PEM);
		else
			exit(2);
	}
	use_tls = use_tls || ctx != NULL;
	if (mode != SINK)
		ctx = SSL_CTX_new(TLS_client_method());
}

static void
finish_if_done(void)
{
	double t;

	if (count == 0 || done < count)
		return;
	t = now() - t0;
	printf("{\"messages\": %ld, \"seconds\": %.3f, \"rate\": %.1f, \"longest_gap_ms\": %.1f}\n", done, t, (double)done / t, gap * 1000);
	fflush(stdout);
	if (!endless)
		exit(0);
	done = 0;
	gap = 0;
}

int
main(int argc, char **argv)
{
	int listener = -1;
	struct epoll_event events[256];

	arguments(argc, argv);
	signal(SIGPIPE, SIG_IGN);
	ep = epoll_create1(EPOLL_CLOEXEC);
	make_message();
	t0 = now();
	if (mode == SINK)
		listener = listen_on();
	else
		for (int i = 0; i < sessions; i++)
			connect_one();
	if (mode == IDLE) {
		struct epoll_event e = { .events = EPOLLIN, .data.ptr = &ready };

		epoll_ctl(ep, EPOLL_CTL_ADD, STDIN_FILENO, &e);
	}
	for (;;) {
		int n = epoll_wait(ep, events, 256, -1);

		for (int i = 0; i < n; i++) {
			struct conn *c = events[i].data.ptr;

			if (events[i].data.ptr == &ready)
				return 0;
			if (c == NULL) {
				accept_all(listener);
			} else {
				flush(c);
				if (!readable(c))
					drop(c);
			}
		}
		finish_if_done();
	}
}
