/* Parts of `signet tls probe`: options, one conversation, what is shown. */
#pragma once

#include "conf/conf.h"
#include "hop/link.h"
#include "hop/verdict.h"
#include "signet/tls.h"
#include "tls/verify.h"

struct cli;

/* ---- tls_probe_options.c */

enum { PROBE_OVERRIDES_MAX = 256, PROBE_SERVERS_MAX = 100 };

struct probe_options {
	struct arena *a;
	bool finger;                    /* -l: as posttls-finger does, not as configured */
	bool lmtp, json, pem, chat;
	struct hop_telling tell;
	bool cache;                     /* of -L */
	bool steps, handshake_bytes, all_bytes;
	unsigned verbose;
	int64_t delay_s;                /* of -r; 0 = no reconnection */
	unsigned reconnects;            /* of -m */
	const char *service;            /* of master.cf; NULL = the first */
	const char *destination;
	const char *const *match;
	size_t n_match;
	/* What of the configuration they change, in order; names of the SMTP client's parameters until probe_options_apply(). */
	struct conf_override over[PROBE_OVERRIDES_MAX];
	size_t n_over;
	bool anchors_given;             /* -A */
	bool files_given;               /* -F, -P, -k, -K, -H: one that cannot be read is a mistake on the command line */
};

/* CLI_DONE, or the status after the one line that says what is wrong. */
int probe_options_parse(struct probe_options *o, const struct cli *cli, int argc, char **argv);

/* ---- what is known of one server that was spoken to (tls_probe_talk.c) */

enum probe_result {
	PROBE_NONE,                     /* nothing that says anything: the next server's turn */
	PROBE_MET,
	PROBE_NOT_MET,
};

struct probe_cert {
	struct span subject, issuer, cert_fp, pkey_fp, pem;
};

struct probe_server {
	const struct hop *hop;          /* the decision's facts */
	struct hop_address *addr;
	struct tls_decision decision;
	bool connected, offered, tls_done;
	enum probe_result result;
	struct fault why;               /* result NOT_MET or NONE */
	char state[80];                 /* tls= of a delivery */
	struct span name, greeting_host;
	struct tls_info info;
	struct tls_verdict verdict;
	struct probe_cert *chain;
	size_t n_chain;
	bool resumed;
	unsigned reconnected;           /* times; the members above are of the first connection */
	struct span names[16];          /* servers behind this address, by what they call themselves */
	size_t n_names;
};

struct probe {
	struct cli *cli;
	struct probe_options o;
	struct arena *a;
	struct conf *conf;
	const struct conf_service *cs;
	struct tls_asks asks;
	struct hop_service svc, secure; /* `secure`: what -l dane comes down to without records */
	struct hop_own own;
	struct hop_bind bind;
	struct hop hop, hop_secure;
	struct tls_client_ctx *tls;
	struct fault tls_fault;
	const char *user;               /* that we became; NULL = nobody else */
	struct probe_server servers[PROBE_SERVERS_MAX];
	size_t n_servers;
	enum probe_result result;
	struct fault why;
	json_t *lines;                  /* --json: what would have been printed */
	struct span *held;              /* lines that wait */
	size_t n_held;
	bool hold;
	bool broken;                    /* standard output */
};

/* One conversation, or several with -r. The server's decision is made; fills the rest. */
void probe_talk(struct probe *p, struct probe_server *s);

/* ---- tls_probe_show.c */

/* Everything that is printed is a line of the log; from here on they go to standard output or into `lines`. */
void probe_lines_begin(struct probe *p);
void probe_lines_end(void);
/* What waited: print it, or forget it. */
void probe_lines_release(struct probe *p, bool print);
void probe_say(struct probe *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Is anything said of TLS (-L none: no)? */
bool probe_tells(const struct probe *p);
/* The table's entry, or the parameter that decides. */
void probe_show_policy(struct probe *p);
void probe_show_decision(struct probe *p, const struct probe_server *s);
void probe_take_chain(struct probe *p, struct probe_server *s, SSL *ssl);
void probe_show_chain(struct probe *p, const struct probe_server *s);
void probe_show_result(struct probe *p);
int probe_show_json(struct probe *p, int status);
