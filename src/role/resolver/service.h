/*
 * The resolver's work without its process: which servers to use, questions that several ask
 * at once, deadlines, limits. One validated cache for the whole system.
 */
#pragma once

#include "dns/client.h"
#include "ipc/ipc.h"

struct loop;
struct resolver;

/* The parameters; strings are copied. */
struct resolver_settings {
	const char *servers;            /* dns_servers */
	const char *stub_zones;         /* dns_stub_zones */
	const char *root_hints_file;    /* dns_root_hints_file */
	const char *anchor_files;       /* dnssec_trust_anchor_files */
	const char *resolv_conf;        /* "/etc/resolv.conf" */
	unsigned sockets_max;
	int64_t deadline_ms;            /* of one question */
	int64_t probe_ms;
};

/* How answers are got; for `signet status` and the log. */
enum resolver_mode {
	RESOLVER_DECIDING,      /* questions wait */
	RESOLVER_CONFIGURED,    /* dns_servers */
	RESOLVER_FORWARDING,    /* resolv.conf: its servers hand out signatures */
	RESOLVER_RECURSING,     /* from the root */
	RESOLVER_UNVALIDATED,   /* resolv.conf without DNSSEC: said loudly, tried again later */
	RESOLVER_BROKEN,        /* the settings cannot be used: every question fails */
};
const char *resolver_mode_name(enum resolver_mode mode);

/* `d` dies with the call. */
typedef void resolver_reply_fn(void *ctx, struct ipc_from to, const struct dns_answer *d);

struct resolver *resolver_new(struct loop *l, const struct resolver_settings *s, resolver_reply_fn *reply, void *ctx);
void resolver_free(struct resolver **r);
/* New settings: questions under way are asked again with them. */
void resolver_reconf(struct resolver *r, const struct resolver_settings *s);

/* Every question gets exactly one reply; only a refusal comes from inside this call. */
void resolver_ask(struct resolver *r, struct ipc_from from, struct span name, uint16_t type, bool native);
/* The asker is gone: no replies to it. */
void resolver_forget(struct resolver *r, uint64_t peer_id);

enum resolver_mode resolver_mode(const struct resolver *r);
bool resolver_validates(const struct resolver *r);
/* JSON members (no braces). */
void resolver_status(const struct resolver *r, struct buf *json);
