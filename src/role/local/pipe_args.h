/* The attributes of a pipe(8) service in master.cf, and the words of its command for one delivery. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/fault.h"

struct pipe_args {
	bool blank_line, delivered_to, from_line, original_to, return_path, final, fold_domain, quote, fold_local,
	    quote_dot, quote_from;              /* flags= B D F O R X h q u . > */
	struct span user, group;                /* user=name[:group] */
	struct span directory;
	struct span eol;
	struct span null_sender;
	bool null_sender_set;
	uint64_t size;                          /* 0 = no limit */
	struct span *argv;
	size_t argc;
};

/* Read what stands behind "pipe". Everything unknown, and chroot=, is refused by name. */
bool pipe_args_parse(struct span text, struct arena *a, struct pipe_args *p_r, struct fault *why);

struct pipe_rcpt {
	struct span addr, orig;                 /* internal form */
};

struct pipe_facts {
	struct span sender, nexthop, qid, envid, client_addr, client_helo, client_name, client_port,
	    client_protocol, sasl_method, sasl_sender, sasl_username;
	uint64_t size;
	const struct pipe_rcpt *rcpts;
	size_t rcpt_count;
	const char *delimiter;                  /* recipient_delimiter */
};

/* The sender as the command sees it: the null sender has a name there. */
struct span pipe_args_sender(const struct pipe_args *p, const struct pipe_facts *f, struct arena *a);

/*
 * The command's words, each ended by NUL. A word with a macro about one recipient comes once per
 * recipient. False: an unknown macro (`why`).
 */
bool pipe_args_expand(const struct pipe_args *p, const struct pipe_facts *f, struct arena *a, struct buf *out,
    struct fault *why);
