/*
 * A name server for tests: nsd on a free port of a 127 address, zones signed on the spot.
 * Needs the Debian packages nsd and ldnsutils; kit_nsd_missing() says so, and the test is
 * skipped by name.
 */
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "kit/kit.h"

struct kit_nsd {
	char dir[256];
	char conf[4096];
	char address[64];       /* "127.0.0.77@5353" */
	unsigned port;
	pid_t pid;
};

/* Words for the skip message, NULL when all is there. */
static inline const char *
kit_nsd_missing(void)
{
	static const char *const need[] = { "/usr/sbin/nsd", "/usr/bin/ldns-keygen", "/usr/bin/ldns-signzone" };

	for (size_t i = 0; i < 3; i++)
		if (access(need[i], X_OK) != 0)
			return need[i];
	return NULL;
}

/* Run a program in `dir` to its end; its output (at most 4000 bytes) in `out`. */
static inline bool
kit_run_program(const char *dir, char *const argv[], char out[4096])
{
	int pipe_fd[2], status = 0;
	pid_t pid;
	size_t n = 0;
	ssize_t got;

	assert_int_equal(pipe(pipe_fd), 0);
	pid = fork();
	if (pid == 0) {
		if (chdir(dir) != 0 || dup2(pipe_fd[1], 1) < 0 || dup2(pipe_fd[1], 2) < 0)
			_exit(126);
		execv(argv[0], argv);
		_exit(127);
	}
	close(pipe_fd[1]);
	while (n < 4000 && (got = read(pipe_fd[0], out + n, 4000 - n)) > 0)
		n += (size_t)got;
	out[n] = '\0';
	close(pipe_fd[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* A UDP socket bound to `ip` on a port that is free for UDP and TCP: a server that never answers. */
static inline int
kit_deaf_server(const char *ip, unsigned *port_r)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	socklen_t n = sizeof(a);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	inet_pton(AF_INET, ip, &a.sin_addr);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
	*port_r = ntohs(a.sin_port);
	return fd;
}

/* True when port 53 of `ip` may be bound: resolv.conf and root hints cannot name another. */
static inline bool
kit_port_53_is_free(const char *ip)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(53) };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool ok;

	inet_pton(AF_INET, ip, &a.sin_addr);
	ok = bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0;
	close(fd);
	return ok;
}

/* `port` 0 = any that is free. */
static inline void
kit_nsd_init(struct kit_nsd *s, const char *ip, unsigned port)
{
	int fd = kit_deaf_server(ip, &s->port);

	close(fd);
	if (port != 0)
		s->port = port;
	s->pid = 0;
	snprintf(s->dir, sizeof(s->dir), "%s", kit_dir());
	snprintf(s->address, sizeof(s->address), "%s@%u", ip, s->port);
	snprintf(s->conf, sizeof(s->conf), "server:\n ip-address: %s\n port: %u\n server-count: 1\n username: \"\"\n"
	    " database: \"\"\n zonesdir: \"%s\"\n pidfile: \"\"\n xfrdfile: \"\"\n zonelistfile: \"\"\n"
	    " xfrdir: \"%s\"\n chroot: \"\"\nremote-control:\n control-enable: no\n", ip, s->port, s->dir, s->dir);
}

static inline void
kit_nsd_add(struct kit_nsd *s, const char *zone, const char *file)
{
	size_t n = strlen(s->conf);

	snprintf(s->conf + n, sizeof(s->conf) - n, "zone:\n name: \"%s\"\n zonefile: \"%s\"\n", zone, file);
}

/* The file of a zone; the root's is "root". */
static inline const char *
kit_zone_file(const char *zone)
{
	return strcmp(zone, ".") == 0 ? "root" : zone;
}

/* A zone file with SOA and NS in front of `records`; its name below kit_dir(). */
static inline void
kit_zone(struct kit_nsd *s, const char *zone, const char *records)
{
	const char *dot = strcmp(zone, ".") == 0 ? "" : ".";
	char text[8192];

	snprintf(text, sizeof(text), "$ORIGIN %.200s%s\n$TTL 600\n@ IN SOA ns root 1 3600 600 86400 120\n@ IN NS ns\n"
	    "ns IN A %.*s\n%s", zone, dot, (int)strcspn(s->address, "@"), s->address,
	    records);
	kit_file(kit_zone_file(zone), text);
	kit_nsd_add(s, zone, kit_zone_file(zone));
}

/* A key for `zone`; writes its DNSKEY line to `anchor_file` and its file name (without suffix) to `key_r`. */
static inline void
kit_zone_key(struct kit_nsd *s, const char *zone, const char *anchor_file, char key_r[256])
{
	char algorithm[] = "ECDSAP256SHA256", program[] = "/usr/bin/ldns-keygen", k[] = "-k", a[] = "-a", out[4096];
	char name[128], path[600];
	char *argv[] = { program, k, a, algorithm, name, NULL };
	struct buf b;

	snprintf(name, sizeof(name), "%s", zone);
	assert_true(kit_run_program(s->dir, argv, out));
	out[strcspn(out, "\n")] = '\0';
	snprintf(key_r, 256, "%.200s", out);
	snprintf(path, sizeof(path), "%s/%s.key", s->dir, key_r);
	buf_init(&b, 1 << 16);
	assert_true(fd_read_file(AT_FDCWD, path, &b) >= 0);
	kit_file(anchor_file, buf_cstr(&b));
	buf_release(&b);
}

/* The same zone, signed with a fresh key whose anchor is in `anchor_file`. */
static inline void
kit_signed_zone(struct kit_nsd *s, const char *zone, const char *records, const char *anchor_file)
{
	char program[] = "/usr/bin/ldns-signzone", file[128], key[256], out[4096], signed_file[140];
	char o[] = "-o", origin[128];
	char *argv[] = { program, o, origin, file, key, NULL };
	size_t conf = strlen(s->conf);

	kit_zone(s, zone, records);
	s->conf[conf] = '\0';           /* the signed file is served, not the plain one */
	kit_zone_key(s, zone, anchor_file, key);
	snprintf(origin, sizeof(origin), "%s", zone);
	snprintf(file, sizeof(file), "%s", kit_zone_file(zone));
	if (!kit_run_program(s->dir, argv, out))
		fail_msg("ldns-signzone: %s", out);
	snprintf(signed_file, sizeof(signed_file), "%s.signed", kit_zone_file(zone));
	kit_nsd_add(s, zone, signed_file);
}

/* True when something answers a query at the server's port. */
static inline bool
kit_nsd_answers(const struct kit_nsd *s)
{
	static const char query[] = "\x12\x34\0\0\0\1\0\0\0\0\0\0\0\0\2\0\1";
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)s->port) };
	struct timeval patience = { .tv_usec = 100000 };
	char ip[64], in[512];
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ssize_t n;

	snprintf(ip, sizeof(ip), "%s", s->address);
	ip[strcspn(ip, "@")] = '\0';
	inet_pton(AF_INET, ip, &a.sin_addr);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	n = send(fd, query, sizeof(query) - 1, 0);
	n = n > 0 ? recv(fd, in, sizeof(in), 0) : -1;
	if (n < 0)
		usleep(20000);
	close(fd);
	return n > 0;
}

static inline void
kit_nsd_start(struct kit_nsd *s)
{
	char program[] = "/usr/sbin/nsd", d[] = "-d", c[] = "-c", path[512];
	char *argv[] = { program, d, c, path, NULL };

	snprintf(path, sizeof(path), "%s", kit_file(s->address, s->conf));
	s->pid = fork();
	if (s->pid == 0) {
		int null = open("/dev/null", O_WRONLY);

		if (chdir(s->dir) != 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0)
			_exit(126);
		setpgid(0, 0);
		execv(argv[0], argv);
		_exit(127);
	}
	for (int i = 0; !kit_nsd_answers(s); i++)
		assert_true(i < 600);
}

static inline void
kit_nsd_stop(struct kit_nsd *s)
{
	int status;

	if (s->pid <= 0)
		return;
	kill(s->pid, SIGTERM);
	waitpid(s->pid, &status, 0);
	s->pid = 0;
}
