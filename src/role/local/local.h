/* What the files of the local role share: its state, compiled parameters, and the words of its log lines. */
#pragma once

#include "base/list.h"
#include "intake/conf.h"
#include "role/common/role.h"

struct strlist;

/* Parameters of one service of master.cf, compiled; services with the same values share one. */
struct agent_conf {
	const struct params *p;
	struct maps *alias_maps, *mailbox_command_maps, *mailbox_transport_maps, *fallback_transport_maps;
	struct maps *virtual_mailbox_maps, *virtual_uid_maps, *virtual_gid_maps;
	struct maps *local_filter, *virtual_filter, *pipe_filter;       /* delivery status */
	struct strlist *mydestination;
	bool delivered_in_command, delivered_in_file, delivered_in_forward;
};

enum { AGENT_CONFS_MAX = 64 };

struct local {
	struct role *role;
	struct arena *arena;                    /* as long as the process */
	struct agent_conf confs[AGENT_CONFS_MAX];
	size_t n_confs;
	struct intake_conf intake;
	struct route *route;            /* which addresses are ourselves: for intake */
	char cleanup_tag[80], bounce_tag[80], pickup_tag[80];
	struct list deliveries, bounces, submissions;
	size_t n_deliveries, n_bounces, n_submissions;
	uint64_t delivered, composed, picked;
	struct maildrop *maildrop;
	uint32_t qid_counter;
	struct list transcripts;        /* transcript.c */
	unsigned transcripts_left;      /* that may be sent before the next refill */
	unsigned transcripts_dropped;
	int64_t transcripts_us;         /* when there was one more last */
};

/* The role's state, empty; r->state is it. */
struct local *local_new(struct role *r);

/* The compiled parameters of a service; NULL with `why` when a table cannot work. */
struct agent_conf *local_agent_conf(struct local *l, const struct params *p, struct fault *why);

/* Drain: call whenever a delivery, bounce or submission ends. */
void local_check_idle(struct local *l);

/* A queue id of ours, unique on this machine. */
void local_make_qid(struct local *l, char *out);

/* Is `word` in a list such as "command, file, forward"? */
bool local_list_has(const char *list, const char *word);
