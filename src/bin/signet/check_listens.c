/* signet check: does anybody listen at a socket that the configuration names? A connection is made and closed again. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/fd.h"
#include "signet/check.h"

enum { PATIENCE_MS = 2000 };

/* 0 or -errno. */
static int
wait_connected(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	int n, error = 0;
	socklen_t size = sizeof(error);

	do
		n = poll(&p, 1, PATIENCE_MS);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n == 0 ? -ETIMEDOUT : -errno;
	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 ? -errno : -error;
}

static int
try_connect(const struct sockaddr *to, socklen_t n, int type)
{
	int fd = socket(to->sa_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), r;

	if (fd < 0)
		return -errno;
	r = connect(fd, to, n) == 0 ? 0 : errno == EINPROGRESS ? wait_connected(fd) : -errno;
	/* a UNIX socket whose queue is full: somebody listens */
	if (r == -EAGAIN)
		r = 0;
	fd_close(&fd);
	return r;
}

static int
try_path(const char *path, int type)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	size_t n = strlen(path);

	if (n >= sizeof(un.sun_path))
		return -ENAMETOOLONG;
	memcpy(un.sun_path, path, n);
	return try_connect((const struct sockaddr *)(const void *)&un, sizeof(un), type);
}

int
check_listens_path(const char *path)
{
	return try_path(path, SOCK_STREAM);
}

int
check_takes_datagrams(const char *path)
{
	return try_path(path, SOCK_DGRAM);
}

int
check_listens_inet(const char *host, unsigned port)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };

	if (inet_pton(AF_INET, host, &v4.sin_addr) == 1)
		return try_connect((const struct sockaddr *)(const void *)&v4, sizeof(v4), SOCK_STREAM);
	if (inet_pton(AF_INET6, host, &v6.sin6_addr) == 1)
		return try_connect((const struct sockaddr *)(const void *)&v6, sizeof(v6), SOCK_STREAM);
	return 0;
}
