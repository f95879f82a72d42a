/* One question to the control role at a time. */
#include "signet/control.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/arena.h"
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

const char *
control_dnssec_trouble(const json_t *role)
{
	const char *signatures = json_string_value(json_object_get(role, "signatures"));

	if (signatures == NULL || strcmp(signatures, "unknown") == 0)
		return "";
	if (strcmp(signatures, "no answer") == 0)
		return "DNS: the servers of dns_servers do not answer";
	if (!json_is_true(json_object_get(role, "dnssec")))
		return "DNSSEC: off, no answer is secure and DANE finds no records";
	return strcmp(signatures, "no") == 0 ? "DNSSEC: the servers of dns_servers hand out no signatures, so every answer is refused as bogus" : "";
}

void
control_dnssec(struct control *c, char text_r[200])
{
	struct arena *a = arena_new(8u << 20);
	struct ipc_master_answer answer = { 0 };
	struct span payload;
	json_t *all = NULL, *item;
	size_t i;

	text_r[0] = '\0';
	if (control_ask(c, IPC_MASTER_STATUS, SPAN(""), IPC_MASTER_ANSWER, 5000, &payload, NULL, NULL) && ipc_decode_master_answer(payload, a, &answer))
		all = json_loadb(answer.text.p, answer.text.n, 0, NULL);
	json_array_foreach(json_object_get(all, "roles"), i, item)
		if (text_r[0] == '\0')
			snprintf(text_r, 200, "%s", control_dnssec_trouble(item));
	json_decref(all);
	arena_free(&a);
}
