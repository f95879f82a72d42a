/*
 * Sendmail's access database, its TLS part, as tables of ours (`signet map --from-sendmail`).
 * Text in, text out. What is written never demands less of a peer than the entry it comes from;
 * what cannot be said in our tables is left out and noted with its line, never weakened.
 */
#pragma once

#include "base/arena.h"
#include "base/buf.h"

struct fault;

enum { SENDMAIL_TEXT_MAX = 64 << 20, SENDMAIL_LINE_MAX = 8192, SENDMAIL_ROWS_MAX = 200000, SENDMAIL_TAGS_MAX = 32 };

/* CITag:TAG: the entries "TAG:<issuer>" become a table for issuer_maps. */
struct sendmail_tag {
	struct span name;       /* lower case, letters, digits, '_' and '-' */
	struct buf text;
};

struct sendmail_tables {
	struct buf clients;     /* smtpd_tls_policy_maps */
	struct buf servers;     /* smtp_tls_policy_maps */
	struct buf issuers;     /* check_ccert_access with search_order = issuer_dn */
	struct buf subjects;    /* ... subject_dn, asked by entries of `issuers` */
	struct sendmail_tag tags[SENDMAIL_TAGS_MAX];
	size_t n_tags;
	struct buf main_cf;     /* lines for main.cf */
	struct buf notes;       /* "FILE:LINE: KEY: text", one a line */
	unsigned converted;     /* entries that are in the tables */
	unsigned left;          /* entries without an equivalent: each has a note */
};

/*
 * Convert `text`. `file` names it in notes; `dir` is where the tables will lie (absolute), for
 * references between them. False + why: too long, or too many entries. Release in any case.
 */
bool sendmail_convert(struct span text, const char *file, const char *dir, struct sendmail_tables *t_r, struct fault *why);
void sendmail_release(struct sendmail_tables *t);

/* --- one value of TLS_Clt, TLS_Srv, TLS_Rcpt, for tests --- */

enum sendmail_action { SENDMAIL_DEFAULT, SENDMAIL_TEMP, SENDMAIL_PERM };

struct sendmail_demand {
	enum sendmail_action action;
	bool verify;            /* else only encryption */
	unsigned bits;          /* 0 = any */
	bool cn_host;           /* +CN alone */
	struct span cn, cs, ci, citag;  /* "+HH" still in place */
};

/* "[PERM+|TEMP+] VERIFY[:bits] | ENCR:bits [+ext[++ext]...]". False: Sendmail would ignore it. */
bool sendmail_demand_parse(struct span value, struct sendmail_demand *d_r);
