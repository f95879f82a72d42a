/*
 * The network. A connection is a pair of local sockets, so that what one side sends is there when the other looks:
 * no packet is ever under way while time jumps. Servers are real to the last byte, TLS included, and do what the
 * script says; a client of ours talks to smtpd.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "base/fd.h"
#include "dns/dns.h"
#include "kit/certs.h"
#include "sim/sim.h"

enum { RULES_MAX = 32, GREYS_MAX = 200, LINE_MAX_BYTES = 65536, CLIENT_PATIENCE_S = 600 };

enum reach { REACH_UP, REACH_DOWN, REACH_SILENT };
enum tls_mode { TLS_MODE_NONE, TLS_MODE_CERT, TLS_MODE_SELF, TLS_MODE_BROKEN };

/* What the server says to a line that begins with `verb` (and contains `with`); NULL reply = nothing at all. */
struct rule {
	const char *verb, *with, *reply;
};

struct host {
	struct list node;
	const char *text;               /* address */
	uint8_t ip[16];
	size_t ip_n;
	enum reach reach;
	enum tls_mode tls;
	SSL_CTX *ctx;
	const char *offers;             /* NULL = the usual */
	struct rule rules[RULES_MAX];
	size_t n_rules;
	int64_t grey_us;                /* 0 = no greylisting */
	struct { const char *who; int64_t first_us; } greys[GREYS_MAX];
	size_t n_greys;
};

struct server {
	struct list node;
	struct host *h;
	int fd;
	struct loop_fd watch;
	SSL *ssl;
	bool shaking, in_data;
	struct buf in, out, content;
	char *sender;
	char *rcpts[100];
	size_t n_rcpts;
};

struct net_client {
	int fd;
	struct loop_fd watch;
	struct buf in;
	bool whole, closed;
};

static struct loop *loop;
static struct list hosts, servers;
static struct kit_cert ca;
static struct { const char *name; struct kit_cert cert; } certs[64];
static size_t n_certs;
static int door = -1, coming[16];
static size_t n_coming;
static struct { const char *address; } ends[4096];      /* by descriptor: who is at the other end */

int __wrap_connect(int fd, const struct sockaddr *sa, socklen_t n);
int __real_connect(int fd, const struct sockaddr *sa, socklen_t n);
int __wrap_accept4(int fd, struct sockaddr *sa, socklen_t *n, int flags);
int __real_accept4(int fd, struct sockaddr *sa, socklen_t *n, int flags);
int __wrap_getpeername(int fd, struct sockaddr *sa, socklen_t *n);
int __wrap_getsockname(int fd, struct sockaddr *sa, socklen_t *n);

static const char *
text_of(struct span s)
{
	return arena_cstr(sim_arena, s);
}

/* ---- certificates: one authority, one certificate a name */

static const struct kit_cert *
cert_for(struct span name)
{
	for (size_t i = 0; i < n_certs; i++)
		if (span_eq(name, span_str(certs[i].name)))
			return &certs[i].cert;
	if (n_certs == sizeof(certs) / sizeof(certs[0]))
		sim_fail("too many certificates");
	certs[n_certs].name = text_of(name);
	certs[n_certs].cert = kit_cert((struct kit_cert_spec){ .cn = certs[n_certs].name, .issuer = &ca,
		.san = arena_printf(sim_arena, "DNS:%.*s", SPAN_ARG(name)).p });
	return &certs[n_certs++].cert;
}

struct span
net_key_digest(struct span name)
{
	unsigned char *der = NULL, *digest = arena_alloc(sim_arena, EVP_MAX_MD_SIZE);
	int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert_for(name)->cert), &der);
	unsigned digest_n = 0;

	if (n <= 0 || EVP_Digest(der, (size_t)n, digest, &digest_n, EVP_sha256(), NULL) != 1)
		sim_fail("no digest of the key of %.*s", SPAN_ARG(name));
	OPENSSL_free(der);
	return span_of(digest, digest_n);
}

static void
write_authority(const char *dir)
{
	char path[512];
	FILE *f;

	ca = kit_cert((struct kit_cert_spec){ .cn = "Simulated CA", .ca = true });
	snprintf(path, sizeof(path), "%s/ca.pem", dir);
	f = fopen(path, "w");
	if (f == NULL || PEM_write_X509(f, ca.cert) != 1)
		sim_fail("cannot write %s", path);
	fclose(f);
}

static SSL_CTX *
ctx_for(enum tls_mode mode, struct span name)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	struct kit_cert own = { 0 };
	const struct kit_cert *c = &own;

	if (mode == TLS_MODE_CERT)
		c = cert_for(name);
	else
		own = kit_cert((struct kit_cert_spec){ .cn = text_of(name), .san = arena_printf(sim_arena, "DNS:%.*s", SPAN_ARG(name)).p });
	if (ctx == NULL || SSL_CTX_use_certificate(ctx, c->cert) != 1 || SSL_CTX_use_PrivateKey(ctx, c->key) != 1)
		sim_fail("cannot set up TLS of a server");
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	if (c == &own)
		kit_cert_free(&own);
	return ctx;
}

/* ---- servers: what the script says about them */

static struct host *
host_find(const uint8_t *ip, size_t n)
{
	LIST_EACH(node, &hosts) {
		struct host *h = LIST_ITEM(node, struct host, node);

		if (h->ip_n == n && memcmp(h->ip, ip, n) == 0)
			return h;
	}
	return NULL;
}

static struct host *
host_of(struct span address)
{
	struct host *h;
	uint8_t ip[16];
	size_t n;

	if (!dns_address_parse(address, ip, &n))
		return NULL;
	h = host_find(ip, n);
	if (h != NULL)
		return h;
	h = arena_alloc(sim_arena, sizeof(*h));
	h->text = text_of(address);
	memcpy(h->ip, ip, n);
	h->ip_n = n;
	list_push_back(&hosts, &h->node);
	return h;
}

static const char *
set_tls(struct host *h, struct span rest)
{
	static const struct { const char *word; enum tls_mode mode; } modes[] = {
		{ "none", TLS_MODE_NONE }, { "as", TLS_MODE_CERT }, { "self", TLS_MODE_SELF }, { "broken", TLS_MODE_BROKEN },
	};
	struct span word;

	if (!span_token(&rest, " ", &word))
		return "host ADDRESS tls none, tls broken, tls as NAME or tls self NAME";
	rest = span_trim(rest);
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		if (span_eq(word, span_str(modes[i].word))) {
			bool named = modes[i].mode == TLS_MODE_CERT || modes[i].mode == TLS_MODE_SELF;

			if (named != (rest.n > 0))
				return named ? "a name belongs to that certificate" : "no name belongs there";
			h->tls = modes[i].mode;
			if (h->ctx != NULL)
				SSL_CTX_free(h->ctx);
			h->ctx = named ? ctx_for(h->tls, rest) : NULL;
			return NULL;
		}
	return "host ADDRESS tls none, tls broken, tls as NAME or tls self NAME";
}

static const char *
add_rule(struct host *h, struct span rest)
{
	static const char *const verbs[] = { "greeting", "EHLO", "HELO", "STARTTLS", "MAIL", "RCPT", "DATA", "end", "RSET", "QUIT" };
	struct span verb, with;
	size_t i = 0;

	if (h->n_rules == RULES_MAX)
		return "too many replies of one server; \"host ADDRESS forget\" forgets them";
	if (!span_token(&rest, " ", &verb) || (rest = span_trim(rest)).n == 0)
		return "host ADDRESS says VERB REPLY";
	span_cut(verb, '=', &verb, &with);
	while (i < sizeof(verbs) / sizeof(verbs[0]) && !span_eq(verb, span_str(verbs[i])))
		i++;
	if (i == sizeof(verbs) / sizeof(verbs[0]))
		return "a server answers to greeting, EHLO, HELO, STARTTLS, MAIL, RCPT, DATA, end, RSET, QUIT";
	if (!span_eq(rest, SPAN("nothing")) && !span_eq(rest, SPAN("close")) && (rest.n < 5 || rest.p[0] < '2' || rest.p[0] > '5'))
		return "a reply is a code and a text, \"nothing\" or \"close\"";
	h->rules[h->n_rules++] = (struct rule){ verbs[i], text_of(with), text_of(rest) };
	return NULL;
}

static const char *
set_grey(struct host *h, struct span rest)
{
	uint64_t minutes;

	if (rest.n < 2 || rest.p[rest.n - 1] != 'm' || !span_u64(span_slice(rest, 0, rest.n - 1), 100000, &minutes))
		return "host ADDRESS greylists MINUTESm";
	h->grey_us = (int64_t)minutes * 60 * US_PER_S;
	return NULL;
}

const char *
net_host_command(struct span address, struct span verb, struct span rest)
{
	struct host *h = host_of(address);
	bool alone = rest.n == 0;

	if (h == NULL)
		return "host needs an IP address";
	if (span_eq(verb, SPAN("up")) && alone)
		h->reach = REACH_UP;
	else if (span_eq(verb, SPAN("down")) && alone)
		h->reach = REACH_DOWN;
	else if (span_eq(verb, SPAN("silent")) && alone)
		h->reach = REACH_SILENT;
	else if (span_eq(verb, SPAN("forget")) && alone)
		h->n_rules = 0;
	else if (span_eq(verb, SPAN("offers")))
		h->offers = text_of(rest);
	else if (span_eq(verb, SPAN("tls")))
		return set_tls(h, rest);
	else if (span_eq(verb, SPAN("says")))
		return add_rule(h, rest);
	else if (span_eq(verb, SPAN("greylists")))
		return set_grey(h, rest);
	else
		return "host ADDRESS up, down, silent, forget, offers WORDS, tls ..., says VERB REPLY, greylists MINUTESm";
	return NULL;
}

/* ---- servers at work */

static void
server_free(struct server *v)
{
	loop_fd_release(&v->watch);
	SSL_free(v->ssl);
	fd_close(&v->fd);
	buf_release(&v->in);
	buf_release(&v->out);
	buf_release(&v->content);
	free(v->sender);
	for (size_t i = 0; i < v->n_rcpts; i++)
		free(v->rcpts[i]);
	list_remove(&v->node);
	free(v);
}

/* Bytes, 0 = closed, -1 = not now. */
static int
server_read(struct server *v, char *p, size_t n)
{
	ssize_t got;

	if (v->ssl != NULL) {
		int r;

		ERR_clear_error();
		r = SSL_read(v->ssl, p, (int)n);
		return r > 0 ? r : SSL_get_error(v->ssl, r) == SSL_ERROR_WANT_READ ? -1 : 0;
	}
	got = fd_read(v->fd, p, n);
	return got >= 0 ? (int)got : got == -EAGAIN ? -1 : 0;
}

static void
server_flush(struct server *v)
{
	while (v->out.n > 0) {
		ssize_t put;

		ERR_clear_error();
		put = v->ssl != NULL ? SSL_write(v->ssl, v->out.p, (int)v->out.n) : fd_write(v->fd, v->out.p, v->out.n);
		if (put <= 0)
			break;
		buf_consume(&v->out, (size_t)put);
	}
	loop_fd_want(&v->watch, v->out.n > 0 ? LOOP_READ | LOOP_WRITE : LOOP_READ);
}

/* What the script wants said; NULL = the usual. */
static const char *
scripted(const struct host *h, const char *verb, struct span line)
{
	for (size_t i = 0; i < h->n_rules; i++)
		if (strcmp(h->rules[i].verb, verb) == 0 && (h->rules[i].with[0] == '\0' || span_find(line, span_str(h->rules[i].with)) >= 0))
			return h->rules[i].reply;
	return NULL;
}

static void
say_hello(struct server *v)
{
	const char *offers = v->h->offers != NULL ? v->h->offers : "PIPELINING 8BITMIME ENHANCEDSTATUSCODES";
	struct span rest = span_str(offers), word;

	buf_add_str(&v->out, "250-server.example\r\n");
	if (v->h->tls != TLS_MODE_NONE && v->ssl == NULL)
		buf_add_str(&v->out, "250-STARTTLS\r\n");
	while (span_token(&rest, " ", &word))
		buf_addf(&v->out, "250-%.*s\r\n", SPAN_ARG(word));
	buf_add_str(&v->out, "250 SIZE 10000000\r\n");
}

/* "you@x" of "RCPT TO:<you@x> ..." */
static struct span
path_of(struct span line)
{
	struct span head, tail;

	if (!span_cut(line, '<', &head, &tail) || !span_cut(tail, '>', &head, &tail))
		return SPAN("");
	return head;
}

/* The first to come waits. */
static bool
grey(struct server *v, struct span rcpt)
{
	struct host *h = v->h;
	struct span who = arena_printf(sim_arena, "%s %.*s", v->sender != NULL ? v->sender : "", SPAN_ARG(rcpt));

	if (h->grey_us == 0)
		return false;
	for (size_t i = 0; i < h->n_greys; i++)
		if (span_eq(who, span_str(h->greys[i].who)))
			return clock_since_start_us() < h->greys[i].first_us + h->grey_us;
	if (h->n_greys == GREYS_MAX)
		sim_fail("too many for the grey list");
	h->greys[h->n_greys].who = who.p;
	h->greys[h->n_greys++].first_us = clock_since_start_us();
	return true;
}

static void
forget_mail(struct server *v)
{
	free(v->sender);
	v->sender = NULL;
	while (v->n_rcpts > 0)
		free(v->rcpts[--v->n_rcpts]);
}

static void
take_mail(struct server *v)
{
	for (size_t i = 0; i < v->n_rcpts; i++)
		claim_arrived(span_str(v->h->text), v->ssl != NULL, span_str(v->sender != NULL ? v->sender : ""), span_str(v->rcpts[i]),
		    buf_span(&v->content));
	forget_mail(v);
}

static const struct verb {
	const char *word, *reply;
} verbs[] = {
	{ "EHLO", NULL }, { "HELO", "250 server.example" }, { "STARTTLS", "220 2.0.0 Ready to start TLS" }, { "MAIL", "250 2.1.0 Ok" },
	{ "RCPT", "250 2.1.5 Ok" }, { "DATA", "354 Go ahead" }, { "RSET", "250 2.0.0 Ok" }, { "QUIT", "221 2.0.0 Bye" },
};

/* What a line that was answered with yes brings about. */
static void
act(struct server *v, const char *verb, struct span line)
{
	struct span path = path_of(line);

	if (strcmp(verb, "MAIL") == 0) {
		forget_mail(v);
		v->sender = strndup(path.p, path.n);
	} else if (strcmp(verb, "RCPT") == 0 && v->n_rcpts < 100) {
		v->rcpts[v->n_rcpts++] = strndup(path.p, path.n);
	} else if (strcmp(verb, "RSET") == 0) {
		forget_mail(v);
	} else if (strcmp(verb, "DATA") == 0) {
		v->in_data = true;
		buf_clear(&v->content);
	} else if (strcmp(verb, "STARTTLS") == 0) {
		v->shaking = true;
	}
}

/* The reply; false = the server closes. */
static bool
answer(struct server *v, const char *verb, struct span line, const char *usual)
{
	const char *reply = scripted(v->h, verb, line);

	if (reply == NULL)
		reply = usual;
	if (reply == NULL) {
		say_hello(v);
		return true;
	}
	if (strcmp(reply, "close") == 0)
		return false;
	if (strcmp(reply, "nothing") == 0)
		return true;
	buf_addf(&v->out, "%s\r\n", reply);
	if (reply[0] == '2' || reply[0] == '3')
		act(v, verb, line);
	return true;
}

static bool
take_line(struct server *v, struct span line)
{
	if (v->in_data && !span_eq(line, SPAN("."))) {
		buf_add_span(&v->content, line.n > 0 && line.p[0] == '.' ? span_from(line, 1) : line);
		buf_add_str(&v->content, "\n");
		return true;
	}
	if (v->in_data) {
		const char *reply = scripted(v->h, "end", line);

		v->in_data = false;
		if (reply == NULL || (reply[0] != '4' && reply[0] != '5'))
			take_mail(v);   /* also when the answer is lost */
		return answer(v, "end", line, "250 2.0.0 Ok: taken");
	}
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (span_starts_ci(line, span_str(verbs[i].word))) {
			if (i == 4 && grey(v, path_of(line)))
				return answer(v, "grey", line, "450 4.7.1 Greylisted, come back later");
			if (i == 2 && v->h->tls == TLS_MODE_NONE)
				return answer(v, verbs[i].word, line, "502 5.5.1 Not here");
			if (i == 5 && v->n_rcpts == 0)
				return answer(v, verbs[i].word, line, "554 5.5.1 No recipients");
			return answer(v, verbs[i].word, line, verbs[i].reply);
		}
	return answer(v, "?", line, "500 5.5.2 What?");
}

/* STARTTLS was answered with yes. False = gone. */
static bool
begin_tls(struct server *v)
{
	buf_clear(&v->in);
	if (v->out.n > 0)
		return true;
	if (v->h->ctx == NULL) {        /* broken */
		server_free(v);
		return false;
	}
	v->ssl = SSL_new(v->h->ctx);
	if (v->ssl == NULL || SSL_set_fd(v->ssl, v->fd) != 1)
		sim_fail("SSL_new");
	SSL_set_accept_state(v->ssl);
	return true;
}

static bool
take_lines(struct server *v)
{
	ptrdiff_t lf;

	while (!v->shaking && (lf = span_index(buf_span(&v->in), '\n')) >= 0) {
		struct span line = span_trim(span_slice(buf_span(&v->in), 0, (size_t)lf));
		bool go_on = take_line(v, arena_dup(sim_arena, line));

		buf_consume(&v->in, (size_t)lf + 1);
		if (!go_on) {
			server_flush(v);
			server_free(v);
			return false;
		}
	}
	server_flush(v);
	return !v->shaking || begin_tls(v);
}

/* False = gone. */
static bool
shake(struct server *v)
{
	int r;

	ERR_clear_error();
	r = SSL_do_handshake(v->ssl);
	if (r == 1) {
		v->shaking = false;
		return true;
	}
	if (SSL_get_error(v->ssl, r) == SSL_ERROR_WANT_READ)
		return false;
	server_free(v);
	return false;
}

static void
server_ready(void *ctx, unsigned ready)
{
	struct server *v = ctx;
	char bytes[16384];
	int got;

	if (ready & LOOP_WRITE)
		server_flush(v);
	if (v->shaking && v->ssl == NULL && (!begin_tls(v) || v->ssl == NULL))
		return;
	if (v->shaking && !shake(v))
		return;
	while ((got = server_read(v, bytes, sizeof(bytes))) > 0) {
		buf_add(&v->in, bytes, (size_t)got);
		if (!take_lines(v))
			return;
		if (v->shaking)
			return;
	}
	if (got == 0)
		server_free(v);
}

static void
server_new(struct host *h, int fd)
{
	struct server *v = calloc(1, sizeof(*v));

	if (v == NULL)
		sim_fail("out of memory");
	*v = (struct server){ .h = h, .fd = fd };
	buf_init(&v->in, 1 << 20);
	buf_init(&v->out, 1 << 20);
	buf_init(&v->content, 16 << 20);
	list_push_back(&servers, &v->node);
	loop_fd_init(&v->watch, loop, fd, server_ready, v);
	loop_fd_want(&v->watch, LOOP_READ);
	if (!answer(v, "greeting", SPAN(""), "220 server.example ESMTP"))
		server_free(v);
	else
		server_flush(v);
}

/* ---- connections */

/* Put `from` in the place of `fd`. */
static void
become(int fd, int from)
{
	if (dup3(from, fd, O_CLOEXEC) < 0)
		sim_fail("dup3");
	close(from);
}

/* A descriptor that never becomes writable: the peer does not answer. */
static int
connect_silent(int fd)
{
	become(fd, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	(void)fd_write(fd, &(uint64_t){ UINT64_MAX - 1 }, sizeof(uint64_t));
	errno = EINPROGRESS;
	return -1;
}

static int
failed(int error)
{
	errno = error;
	return -1;
}

int
__wrap_connect(int fd, const struct sockaddr *sa, socklen_t n)
{
	const struct sockaddr_in *v4 = (const void *)sa;
	const struct sockaddr_in6 *v6 = (const void *)sa;
	bool six = sa->sa_family == AF_INET6;
	struct host *h;
	int pair[2];

	if (sa->sa_family != AF_INET && !six)
		return __real_connect(fd, sa, n);
	h = six ? host_find(v6->sin6_addr.s6_addr, 16) : host_find((const uint8_t *)&v4->sin_addr, 4);
	if (h == NULL)
		return failed(EHOSTUNREACH);
	if (h->reach == REACH_DOWN || ntohs(six ? v6->sin6_port : v4->sin_port) != 25)
		return failed(ECONNREFUSED);
	if (h->reach == REACH_SILENT)
		return connect_silent(fd);
	if (fd_socketpair(SOCK_STREAM, pair) < 0)
		return failed(EMFILE);
	become(fd, pair[0]);
	server_new(h, pair[1]);
	return failed(EINPROGRESS);
}

int
__wrap_accept4(int fd, struct sockaddr *sa, socklen_t *n, int flags)
{
	uint64_t one;

	if (fd != door)
		return __real_accept4(fd, sa, n, flags);
	if (n_coming == 0)
		return failed(EAGAIN);
	(void)fd_read(door, &one, sizeof(one));
	return coming[--n_coming];
}

static int
address_at(const char *text, unsigned port, struct sockaddr *sa, socklen_t *n)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };

	if (inet_pton(AF_INET, text, &v4.sin_addr) != 1)
		sim_fail("%s is no IPv4 address", text);
	memcpy(sa, &v4, *n < sizeof(v4) ? *n : sizeof(v4));
	*n = sizeof(v4);
	return 0;
}

int
__wrap_getpeername(int fd, struct sockaddr *sa, socklen_t *n)
{
	if (fd < 0 || (size_t)fd >= sizeof(ends) / sizeof(ends[0]) || ends[fd].address == NULL)
		return failed(ENOTCONN);
	return address_at(ends[fd].address, 40000, sa, n);
}

int
__wrap_getsockname(int fd, struct sockaddr *sa, socklen_t *n)
{
	(void)fd;
	return address_at("203.0.113.1", 25, sa, n);
}

int
net_door(void)
{
	return door;
}

void
net_init(struct loop *l, const char *dir)
{
	loop = l;
	list_init(&servers);
	list_init(&hosts);
	door = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
	if (door < 0)
		sim_fail("eventfd");
	write_authority(dir);
}

/* ---- a client of smtpd */

static bool
whole_reply(struct span text)
{
	struct span line;

	while (span_cut(text, '\n', &line, &text))
		if (line.n > 3 && line.p[3] == ' ')
			return true;
	return false;
}

static void
client_ready(void *ctx, unsigned ready)
{
	struct net_client *c = ctx;
	char bytes[4096];
	ssize_t got;

	(void)ready;
	while ((got = fd_read(c->fd, bytes, sizeof(bytes))) > 0)
		buf_add(&c->in, bytes, (size_t)got);
	if (got != -EAGAIN) {
		c->closed = true;
		loop_fd_want(&c->watch, 0);
	}
	c->whole = whole_reply(buf_span(&c->in));
	if (c->whole || c->closed)
		loop_stop(loop);
}

struct net_client *
net_client_open(const char *address)
{
	struct net_client *c = calloc(1, sizeof(*c));
	int pair[2];

	if (c == NULL || fd_socketpair(SOCK_STREAM, pair) < 0 || (size_t)pair[1] >= sizeof(ends) / sizeof(ends[0]) ||
	    n_coming == sizeof(coming) / sizeof(coming[0]))
		sim_fail("no connection for a client");
	c->fd = pair[0];
	ends[pair[1]].address = address;
	buf_init(&c->in, LINE_MAX_BYTES);
	loop_fd_init(&c->watch, loop, c->fd, client_ready, c);
	loop_fd_want(&c->watch, LOOP_READ);
	coming[n_coming++] = pair[1];
	(void)fd_write(door, &(uint64_t){ 1 }, sizeof(uint64_t));
	return c;
}

const char *
net_client_say(struct net_client *c, struct span line)
{
	int64_t patience = clock_since_start_us() + CLIENT_PATIENCE_S * US_PER_S;
	const char *reply;

	c->whole = false;
	while (line.n > 0 && !c->closed) {
		ssize_t put = fd_write(c->fd, line.p, line.n);

		if (put > 0)
			line = span_from(line, (size_t)put);
		else if (put != -EAGAIN)
			c->closed = true;
		else
			clock_run_until(loop, clock_since_start_us());
	}
	while (!c->whole && !c->closed && clock_since_start_us() < patience)
		clock_run_until(loop, patience);
	if (!c->whole)
		return NULL;
	reply = text_of(span_trim(buf_span(&c->in)));
	buf_clear(&c->in);
	return reply;
}

void
net_client_close(struct net_client **cp)
{
	struct net_client *c = *cp;

	loop_fd_release(&c->watch);
	fd_close(&c->fd);
	buf_release(&c->in);
	free(c);
	*cp = NULL;
}
