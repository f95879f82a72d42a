/* One question to the control role at a time. */
#include "signet/control.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/fd.h"
#include "conf/conf.h"
#include "conf/params.h"

bool
control_open(struct control *c, const struct conf *conf, struct fault *why)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int n = snprintf(to.sun_path, sizeof(to.sun_path), "%s/public/control", conf->params->queue_directory);

	*c = (struct control){ .fd = -1, .next_id = 1 };
	buf_init(&c->in, 8u << 20);
	if (n >= (int)sizeof(to.sun_path))
		return fault_set(why, NULL, "queue_directory %s is too long a path", conf->params->queue_directory);
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof(to)) != 0) {
		fault_set(why, NULL, "cannot reach signetd at %s: %s; is it running?", to.sun_path, fd_error(-errno));
		control_close(c);
		return false;
	}
	return true;
}

void
control_close(struct control *c)
{
	fd_close(&c->fd);
	buf_release(&c->in);
}

bool
control_ask(struct control *c, unsigned type, struct span payload, unsigned answer, int timeout_ms,
    struct span *payload_r, int *fd_r, struct fault *why)
{
	uint64_t id;
	int passed = -1;
	int r = ipc_write_blocking(c->fd, type, c->next_id++, payload, -1);

	if (r < 0)
		return fault_set(why, NULL, "cannot ask signetd: %s", fd_error(r));
	r = ipc_read_blocking(c->fd, timeout_ms, &c->in, &id, payload_r, &passed);
	if (fd_r != NULL)
		*fd_r = passed;
	else
		fd_close(&passed);
	if (r <= 0)
		return fault_set(why, NULL, "signetd did not answer: %s", r == 0 ? "it closed the connection" : fd_error(r));
	if ((unsigned)r != answer)
		return fault_set(why, NULL, "signetd answered with %s", ipc_type_name((unsigned)r));
	return true;
}
