/* unix: the system's users and groups, where blocking is allowed (lookup role, command line). */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>

#include "base/fd.h"
#include "base/panic.h"
#include "maps/maps_private.h"

#define ENTRY_FIRST 4096u
#define ENTRY_MAX (1u << 20)

typedef enum map_result unix_get_fn(const char *name, struct buf *room, const struct lookup *q,
    struct span *value_r, int *error_r);

/* A user in passwd(5) form. */
static enum map_result
get_user(const char *name, struct buf *room, const struct lookup *q, struct span *value_r, int *error_r)
{
	struct passwd pw, *hit = NULL;

	*error_r = getpwnam_r(name, &pw, room->p, room->cap, &hit);
	if (hit == NULL)
		return *error_r == 0 ? MAP_ABSENT : MAP_DEFER;
	*value_r = arena_printf(q->a, "%s:%s:%u:%u:%s:%s:%s", pw.pw_name, pw.pw_passwd, pw.pw_uid,
	    pw.pw_gid, pw.pw_gecos, pw.pw_dir, pw.pw_shell);
	return MAP_FOUND;
}

static enum map_result
get_group(const char *name, struct buf *room, const struct lookup *q, struct span *value_r, int *error_r)
{
	struct group gr, *hit = NULL;
	struct buf out;

	*error_r = getgrnam_r(name, &gr, room->p, room->cap, &hit);
	if (hit == NULL)
		return *error_r == 0 ? MAP_ABSENT : MAP_DEFER;
	buf_init(&out, MAPS_VALUE_MAX);
	buf_addf(&out, "%s:%s:%u:", gr.gr_name, gr.gr_passwd, gr.gr_gid);
	for (char **m = gr.gr_mem; *m != NULL; m++)
		buf_addf(&out, "%s%s", m == gr.gr_mem ? "" : ",", *m);
	*value_r = arena_dup(q->a, buf_span(&out));
	*error_r = out.full ? E2BIG : 0;
	buf_release(&out);
	return *error_r == 0 ? MAP_FOUND : MAP_DEFER;
}

/* Some systems report "no such user" as one of these (getpwnam_r(3)). */
static bool
means_absent(int error)
{
	return error == ENOENT || error == ESRCH || error == EBADF || error == EPERM;
}

static enum map_result
unix_find(struct table *t, const struct lookup *q, struct map_hit *hit, struct fault *why)
{
	unix_get_fn *get = span_starts(t->name, SPAN("passwd")) ? get_user : get_group;
	enum map_result r = MAP_DEFER;
	int error = ERANGE;
	struct span value;

	if (memchr(q->key.p, '\0', q->key.n) != NULL)
		return MAP_ABSENT;      /* the C library would read a shorter name */
	for (size_t n = ENTRY_FIRST; n <= ENTRY_MAX && error == ERANGE; n *= 4) {
		struct buf room;

		buf_init(&room, n);
		if (buf_space(&room, n) == NULL)
			panic("buf_space");
		r = get(arena_cstr(q->a, q->key), &room, q, &value, &error);
		buf_release(&room);
	}
	if (r == MAP_FOUND)
		return table_hit(t, q, value, span_str(NULL), 0, hit);
	if (r == MAP_DEFER && !means_absent(error))
		return table_defer(t, why, fd_error(-error));
	return MAP_ABSENT;
}

static bool
unix_open(struct table *t, struct fault *why)
{
	return table_remote_unix.open(t, why);
}

const struct table_type table_unix = { "unix", false, true, unix_open, unix_find, NULL, NULL };
