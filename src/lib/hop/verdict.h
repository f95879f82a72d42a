/*
 * What a handshake and its verdict come to, in the words of the log and of deferrals: the same for a delivery and for
 * `signet tls probe`.
 */
#pragma once

#include "hop/hop.h"

struct log;
struct stream;
struct tls_verdict;

/*
 * The tls= field: "[prefix]level[suffix]"; where less came of it than was asked for, "[prefix]asked:level[suffix]", and
 * "asked:none" when it ended in clear (suffix ":none").
 */
void hop_tls_state(const struct tls_decision *d, const char *prefix, const char *suffix, char state_r[80]);

/* STARTTLS was not announced, or was refused with `reply`. True: go on in clear; else `why` says why not. */
bool hop_no_starttls(const struct tls_decision *d, const char *peer, struct fault *why);
bool hop_starttls_refused(const struct tls_decision *d, const char *peer, struct span reply, struct fault *why);

/* What of a verdict is said: features of smtp_tls_loglevel. */
struct hop_telling {
	bool summary, peercert, matches;
	bool untrusted;         /* also where the level lets anybody pass */
	bool sessions;
};
void hop_log_verdict(const struct log *l, struct stream *s, const struct tls_decision *d, const struct tls_verdict *v,
    struct span peer_port, const struct hop_telling *tell, struct arena *a);
/* Why the server is not who it should be; nothing when it is. */
void hop_log_mismatch(const struct log *l, const struct tls_decision *d, const struct tls_verdict *v, struct span peer_port);
void hop_log_handshake_failed(const struct log *l, const struct stream *s, struct span peer_port, const char *reason);
/* TLSA records that say nothing to us; a weaker digest beside a stronger one is as it should be. */
void hop_log_unusable(const struct log *l, const struct hop_address *addr, const struct tls_decision *d, struct arena *a);
