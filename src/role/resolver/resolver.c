/* resolver: the one process that asks name servers, with one validated cache for all. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/panic.h"
#include "role/common/confine.h"
#include "role/resolver/service.h"
#include "role/roles.h"

/* A question that is not answered by then is given up; unbound itself may go on for the cache. */
enum { DEADLINE_MS = 40000, PROBE_MS = 3000, OTHER_FILES = 128 };

static struct resolver_settings
settings_of(const struct params *p, unsigned sockets_max)
{
	return (struct resolver_settings){
		.servers = p->dns_servers,
		.stub_zones = p->dns_stub_zones,
		.root_hints_file = p->dns_root_hints_file,
		.anchor_files = p->dnssec_trust_anchor_files,
		.resolv_conf = "/etc/resolv.conf",
		.sockets_max = sockets_max,
		.deadline_ms = DEADLINE_MS,
		.probe_ms = PROBE_MS,
	};
}

static void
send_answer(void *ctx, struct ipc_from to, const struct dns_answer *d)
{
	struct role *r = ctx;
	struct ipc_resolver_answer m = { 0 };
	struct arena *a = NULL;
	struct dns_answer fail;
	struct buf b;

	buf_init(&b, 262144);
	if (!dns_answer_write(&b, d)) {
		a = arena_new(1 << 20);
		buf_clear(&b);
		dns_answer_fail(&fail, a, d->name, (enum dns_type)d->type, "the answer is too large");
		(void)dns_answer_write(&b, &fail);
	}
	m.answer = buf_span(&b);
	ipc_reply_resolver_answer(r->hub, to, &m);
	arena_free(&a);
	buf_release(&b);
}

static void
on_ask(void *ctx, struct ipc_from from, struct ipc_resolver_ask *m)
{
	struct role *r = ctx;

	resolver_ask(r->state, from, m->name, m->rrtype, m->native);
}

static void
allow_dir_of(struct role *r, const char *files)
{
	struct span rest = span_str(files), one;
	char dir[4096];
	ptrdiff_t slash;

	while (span_token(&rest, " \t\r\n,", &one)) {
		slash = span_rindex(one, '/');
		if (slash <= 0 || (size_t)slash >= sizeof(dir))
			continue;
		memcpy(dir, one.p, (size_t)slash);
		dir[slash] = '\0';
		role_allow_dir(r, dir, false);
	}
}

static void
resolver_open(struct role *r)
{
	allow_dir_of(r, r->conf->params->dnssec_trust_anchor_files);
	allow_dir_of(r, r->conf->params->dns_root_hints_file);
	/* where /etc/resolv.conf may point to, and what native lookups load and ask */
	role_allow_dir(r, "/run", false);
	role_allow_dir(r, "/lib", false);
	role_allow_dir(r, "/usr/lib", false);
	role_allow_dir(r, "/dev", false);
}

static unsigned
sockets_max(void)
{
	uint64_t files = confine_raise_files();

	return files > 4096 + OTHER_FILES ? 4096 : files > 2 * OTHER_FILES ? (unsigned)files - OTHER_FILES : OTHER_FILES;
}

static void
resolver_start(struct role *r)
{
	struct resolver_settings s = settings_of(r->conf->params, sockets_max());

	r->state = resolver_new(r->loop, &s, send_answer, r);
}

static bool
same(const char *a, const char *b)
{
	return strcmp(a, b) == 0;
}

/* A reload that does not touch DNS keeps the cache. */
static void
on_reconf(struct role *r, const struct conf *old)
{
	const struct params *p = r->conf->params, *o = old->params;
	struct resolver_settings s = settings_of(p, sockets_max());

	if (!same(p->dns_servers, o->dns_servers) || !same(p->dns_stub_zones, o->dns_stub_zones) ||
	    !same(p->dns_root_hints_file, o->dns_root_hints_file) ||
	    !same(p->dnssec_trust_anchor_files, o->dnssec_trust_anchor_files))
		resolver_reconf(r->state, &s);
}

static void
on_peer_down(struct role *r, struct ipc_peer *p)
{
	resolver_forget(r->state, ipc_peer_id(p));
}

static void
on_status(struct role *r, struct buf *json)
{
	resolver_status(r->state, json);
}

const struct role_spec resolver_role = {
	.role = IPC_ROLE_RESOLVER,
	.on = {
		.resolver_ask = on_ask,
	},
	.network = true,
	.open = resolver_open,
	.start = resolver_start,
	.reconf = on_reconf,
	.peer_down = on_peer_down,
	.status = on_status,
};
