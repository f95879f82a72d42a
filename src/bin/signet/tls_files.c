/*
 * Anchors and certificates of ours: a decision that needs a broken one cannot be carried out (tls-client.md 20.2). A child
 * opens what the client role opens, becomes what that becomes, and looks from there.
 */
#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "conf/conf.h"
#include "role/common/confine.h"
#include "role/common/role.h"
#include "role/smtpc/reach.h"
#include "signet/tls.h"
#include "tls/client_ctx.h"

enum { DIRS_MAX = 64 };

struct reach {
	struct arena *a;
	struct confine_dir list[DIRS_MAX];
	size_t n;
};

static void
allow(void *ctx, const char *path)
{
	struct reach *r = ctx;

	if (r->n < DIRS_MAX)
		r->list[r->n++].path = arena_cstr(r->a, span_str(path));
}

static bool
become_client(const struct conf *c, struct arena *a, struct fault *why)
{
	struct reach r = { .a = a };

	role_reach(c, allow, &r);
	smtpc_reach(c, allow, &r);
	if (geteuid() == 0 && !confine_user(role_user(c->params, true, false), why))
		return false;
	confine_no_new_privs();
	(void)confine_files(r.list, r.n, why);  /* where the kernel has none, delivery has none either */
	return true;
}

/* Why not; empty = it can. */
static void
look_for(struct tls_client_ctx *ctx, const struct hop *h, const struct hop_address *addr, struct fault *why)
{
	struct arena *a = arena_new(TLS_HOST_ARENA_MAX);
	struct tls_decision d;

	fault_clear(why);
	if (hop_decide(h, addr, a, &d) && !d.skip_host && (d.try_tls || d.wrapper)) {
		if (ctx != NULL)
			(void)tls_client_ctx_usable(ctx, &d, why);
		else if (tls_level_needs_tls(d.level) || d.wrapper)
			fault_set(why, "4.7.5", "TLS is required, but our TLS engine is unavailable");
	}
	arena_free(&a);
}

_Noreturn static void
child(int out, const struct conf *c, const struct hop *h)
{
	struct fault why = { 0 };
	struct tls_client_ctx *ctx = hop_tls_ctx_new(h->svc, 1, &why);

	if (!become_client(c, h->arena, &why))
		_exit(1);
	for (size_t i = 0; i < h->count; i++) {
		look_for(ctx, h, &h->list[i], &why);
		if (fd_write_all(out, why.text, sizeof(why.text)) < 0)
			_exit(1);
	}
	_exit(0);
}

/* As many texts as there are addresses. */
static bool
read_answers(int from, struct hop *h)
{
	struct fault why = { 0 };

	for (size_t i = 0; i < h->count; i++) {
		ssize_t n = 1;

		for (size_t got = 0; got < sizeof(why.text); got += (size_t)n) {
			n = fd_read(from, why.text + got, sizeof(why.text) - got);
			if (n <= 0)
				return false;
		}
		why.text[sizeof(why.text) - 1] = '\0';
		h->list[i].local = arena_dup(h->arena, span_str(why.text));
	}
	return true;
}

bool
tls_look_at_files(const struct conf *c, struct hop *h, struct fault *why)
{
	int ends[2], status;
	pid_t pid;
	bool ok;

	if (!tls_params_want_tls(&h->svc->tls))
		return true;
	if (pipe(ends) != 0)
		return fault_set(why, NULL, "pipe: %s", fd_error(-errno));
	pid = fork();
	if (pid == 0)
		child(ends[1], c, h);
	fd_close(&ends[1]);
	ok = pid > 0 && read_answers(ends[0], h);
	fd_close(&ends[0]);
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		continue;
	return ok || fault_set(why, NULL, "cannot look at certificates the way the process does that delivers (user %s)", role_user(c->params, true, false));
}
