/* Inside of the conversion of Sendmail's access database. */
#pragma once

#include "base/fault.h"
#include "base/hmap.h"
#include "tls/sendmail.h"

enum sm_tag { SM_CLT, SM_SRV, SM_RCPT, SM_TRY, SM_FEATURES, SM_ISSUER, SM_SUBJECT, SM_OPTIONS, SM_OTHER, SM_TAGS };

struct sm_row {
	unsigned line;
	enum sm_tag tag;
	struct span label;      /* as written: "TLS_Clt:host" */
	struct span word;       /* the tag as written */
	struct span key, value; /* behind the tag; key lower case */
	struct hmap_node by_key;        /* of its tag */
	bool done;
};

struct sm {
	const char *file, *dir;
	struct arena *a;
	struct sm_row *rows;
	size_t n;
	struct hmap index[SM_TAGS];
	struct hmap written;    /* keys of the table of servers */
	struct sendmail_tables *t;
	bool asks_certs, sasl_noted, name_noted, dane_noted;
};

/* sendmail.c */
struct sm_row *sm_find(struct sm *m, enum sm_tag tag, struct span key);
/* The row that Sendmail would find for a key: itself, its parents or networks, the bare tag. */
struct sm_row *sm_effective(struct sm *m, enum sm_tag tag, struct span key);
bool sm_is_address(struct span key);
void sm_note(struct sm *m, const struct sm_row *r, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* The same for an entry that is left out. */
void sm_leave(struct sm *m, struct sm_row *r, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void sm_done(struct sm *m, struct sm_row *r);
/* "+HH" decoded, in `a`. */
struct span sm_plain(struct sm *m, struct span s);
/* A table of issuers for CITag; NULL: no name for a file, or too many. */
struct sendmail_tag *sm_tag_table(struct sm *m, struct span name);

/* sendmail_clients.c: TLS_Clt and Srv_Features. sendmail_servers.c: TLS_Srv, TLS_Rcpt, Try_TLS. */
void sm_clients(struct sm *m);
void sm_servers(struct sm *m);
