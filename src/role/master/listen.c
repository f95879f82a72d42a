/* The sockets: every inet service of master.cf on its addresses, and our own unix sockets in public/. */
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/panic.h"
#include "role/master/master.h"

#define BACKLOG 1024

static struct listener *
find(struct master *m, const char *service, const char *address)
{
	LIST_EACH(n, &m->listeners) {
		struct listener *l = LIST_ITEM(n, struct listener, node);

		if (strcmp(l->service, service) == 0 && strcmp(l->address, address) == 0)
			return l;
	}
	return NULL;
}

static void
add(struct master *m, const char *service, const char *address, int fd, bool path)
{
	struct listener *l = calloc(1, sizeof(*l));

	if (l == NULL || (l->service = strdup(service)) == NULL || (l->address = strdup(address)) == NULL)
		panic("out of memory");
	l->fd = fd;
	l->seen = true;
	l->submit_path = path;
	list_push_back(&m->listeners, &l->node);
}

static int
bind_inet(const struct addrinfo *ai)
{
	int on = 1, fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (ai->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if (bind(fd, ai->ai_addr, ai->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
		int r = -errno;

		fd_close(&fd);
		return r;
	}
	return fd;
}

static void
show_address(const struct addrinfo *ai, char *out, size_t n)
{
	char host[64], port[16];

	getnameinfo(ai->ai_addr, ai->ai_addrlen, host, sizeof(host), port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV);
	snprintf(out, n, ai->ai_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

static bool
protocol_wanted(const struct conf_service *s, int family)
{
	struct span rest = span_str(s->params->inet_protocols), word;

	while (span_token(&rest, ", \t", &word))
		if (span_eq_ci(word, SPAN("all")) ||
		    span_eq_ci(word, family == AF_INET6 ? SPAN("ipv6") : SPAN("ipv4")))
			return true;
	return false;
}

/* What to do about it; "" = nobody knows. */
static const char *
advice(int error)
{
	switch (error) {
	case -EADDRINUSE:
		return "; another program has it: ss -ltnp says which";
	case -EADDRNOTAVAIL:
		return "; this host does not have the address: ip addr says which it has";
	case -EACCES:
		return "; ports below 1024 are root's";
	}
	return "";
}

static bool
one_address(struct master *m, const struct conf_service *s, const struct addrinfo *ai)
{
	struct listener *l;
	char shown[96];
	int fd;

	show_address(ai, shown, sizeof(shown));
	l = find(m, s->name, shown);
	if (l != NULL) {
		l->seen = true;
		return true;
	}
	fd = bind_inet(ai);
	/* a host without this protocol or address (an address that ::1 names, IPv6 switched off) is no fault of "all" */
	if (fd == -EAFNOSUPPORT || (fd == -EADDRNOTAVAIL && ai->ai_family == AF_INET6))
		return true;
	if (fd < 0) {
		log_error(NULL, "%s:%u: service %s: cannot listen on %s: %s%s", s->file, s->line, s->name, shown, fd_error(fd), advice(fd));
		return false;
	}
	add(m, s->name, shown, fd, false);
	return true;
}

static bool
host_and_port(struct master *m, const struct conf_service *s, const char *host, const char *port)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE }, *list = NULL;
	int r = getaddrinfo(host, port, &hints, &list);
	bool ok = true;

	if (r != 0) {
		log_error(NULL, "%s:%u: service %s: %s%s%s: %s", s->file, s->line, s->name, host != NULL ? host : "",
		    host != NULL ? ":" : "", port, r == EAI_SERVICE ? "no such port; write its number" : gai_strerror(r));
		return false;
	}
	for (const struct addrinfo *ai = list; ai != NULL && ok; ai = ai->ai_next)
		if (protocol_wanted(s, ai->ai_family))
			ok = one_address(m, s, ai);
	freeaddrinfo(list);
	return ok;
}

/* "port", "host:port", "[v6]:port"; without a host: inet_interfaces. */
static bool
inet_service(struct master *m, const struct conf_service *s)
{
	struct span name = span_str(s->name), rest, word;
	ptrdiff_t colon = span_rindex(name, ':');
	char host[256], port[64];
	bool ok = true;

	if (colon >= 0) {
		struct span h = span_slice(name, 0, (size_t)colon);

		if (h.n >= 2 && h.p[0] == '[' && h.p[h.n - 1] == ']')
			h = span_slice(h, 1, h.n - 1);
		snprintf(host, sizeof(host), "%.*s", SPAN_ARG(h));
		snprintf(port, sizeof(port), "%s", name.p + colon + 1);
		return host_and_port(m, s, host[0] != '\0' ? host : NULL, port);
	}
	rest = span_str(s->params->inet_interfaces);
	while (ok && span_token(&rest, ", \t", &word)) {
		if (span_eq_ci(word, SPAN("all")))
			return host_and_port(m, s, NULL, s->name);
		if (span_eq_ci(word, SPAN("loopback-only"))) {
			ok = host_and_port(m, s, "127.0.0.1", s->name) && host_and_port(m, s, "::1", s->name);
			continue;
		}
		if (word.n >= 2 && word.p[0] == '[')
			word = span_slice(word, 1, word.n - 1);
		snprintf(host, sizeof(host), "%.*s", SPAN_ARG(word));
		ok = host_and_port(m, s, host, s->name);
	}
	return ok;
}

static bool
unix_socket(struct master *m, const struct conf *conf, const char *name)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	char path[sizeof(at.sun_path)];
	int fd, n = snprintf(path, sizeof(path), "%s/public/%s", conf->params->queue_directory, name);
	struct listener *l = find(m, name, path);

	if (l != NULL) {
		l->seen = true;
		return true;
	}
	if (n >= (int)sizeof(path)) {
		log_error(NULL, "parameter queue_directory: %s is too long for the socket %s in it (at most %zu bytes)",
		    conf->params->queue_directory, name, sizeof(path) - 8 - strlen(name));
		return false;
	}
	memcpy(at.sun_path, path, (size_t)n + 1);
	unlink(path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) != 0 || listen(fd, BACKLOG) != 0) {
		log_error(NULL, "cannot listen on %s: %s", path, fd_error(-errno));
		fd_close(&fd);
		return false;
	}
	chmod(path, 0666);      /* who may do what is decided by SO_PEERCRED */
	add(m, name, path, fd, true);
	return true;
}

bool
listeners_open(struct master *m, const struct conf *conf)
{
	bool ok = true;

	LIST_EACH(n, &m->listeners)
		LIST_ITEM(n, struct listener, node)->seen = false;
	for (size_t i = 0; i < conf->service_count; i++) {
		const struct conf_service *s = &conf->services[i];

		if (s->type == CONF_SERVICE_INET && !s->disabled && strcmp(s->command, "smtpd") == 0)
			ok = inet_service(m, s) && ok;
	}
	return unix_socket(m, conf, "submit") && unix_socket(m, conf, "control") && ok;
}

void
listeners_close(struct master *m, bool only_unseen)
{
	LIST_EACH(n, &m->listeners) {
		struct listener *l = LIST_ITEM(n, struct listener, node);

		if (only_unseen && l->seen)
			continue;
		if (l->submit_path)
			unlink(l->address);
		list_remove(&l->node);
		fd_close(&l->fd);
		free(l->service);
		free(l->address);
		free(l);
	}
}
