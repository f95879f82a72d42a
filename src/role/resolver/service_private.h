/* Inside of the resolver: questions (service.c) and the choice of servers (servers.c). */
#pragma once

#include "base/hmap.h"
#include "base/list.h"
#include "base/loop.h"
#include "role/resolver/native.h"
#include "role/resolver/probe.h"
#include "role/resolver/service.h"

struct question {
	struct hmap_node node;
	struct resolver *resolver;
	struct list waiters;            /* may run empty: the question goes on */
	uint16_t type;
	bool native, started;
	size_t name_bytes;
	char name[];
};

struct waiter {
	struct list of_question;
	struct list due;                /* in order of deadline: all have the same patience */
	struct question *question;
	struct ipc_from from;
	int64_t deadline_us;
};

struct resolver {
	struct loop *loop;
	resolver_reply_fn *reply;
	void *reply_ctx;
	struct hmap questions;
	struct list due;
	size_t n_waiters;
	struct loop_timer deadline;
	int64_t deadline_ms;
	struct native *native;

	struct dns_client *client;      /* NULL while deciding, and when broken */
	enum resolver_mode mode;
	bool validates;
	const char *signatures;         /* do the servers hand out any? "unknown", "yes", "no", "no answer" */
	struct fault broken;
	char in_use[1024];              /* servers, for the status */
	char found[1024];               /* servers of resolv.conf when last read */
	struct arena *settings_arena;
	struct resolver_settings settings;
	struct probe *probe;
	struct loop_timer recheck;
	bool warned;

	uint64_t asked, coalesced, timeouts, refused, by_status[4];
};

void resolver_question_start(struct question *q);
void resolver_fail_all(struct resolver *r, const char *why);

void resolver_servers_init(struct resolver *r);
void resolver_servers_release(struct resolver *r);

/* The servers of a resolv.conf as "addr addr"; "127.0.0.1" when it names none, as resolv.conf(5) says. */
void resolver_read_resolv_conf(const char *path, char *out, size_t bytes);
