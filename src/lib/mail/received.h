/*
 * The Received header (RFC 5321 section 4.4; forms of Postfix, TLS comments when
 * smtpd_tls_received_header asks for them). Pure: all facts are handed in.
 */
#pragma once

#include "base/arena.h"
#include "base/buf.h"

/* What is known of the TLS session; empty spans and zeros are left out. */
struct received_tls {
	struct span protocol;           /* "TLSv1.3" */
	struct span cipher;
	unsigned used_bits, alg_bits;
	struct span key_exchange;       /* "X25519" */
	struct span server_signature, server_signature_detail;  /* "RSA-PSS", "2048 bits" or curve */
	struct span server_digest;
	struct span client_signature, client_signature_detail;
	struct span client_digest;
	bool peer_asked;                /* we asked for a client certificate */
	bool peer_given;
	bool peer_verified;
	struct span peer_cn, issuer_cn;
	struct span rpk_digest_name, rpk_digest;        /* raw public key: instead of the names */
};

enum received_with {
	RECEIVED_SMTP,
	RECEIVED_ESMTP,
	RECEIVED_LMTP,
};

struct received {
	struct span by_host, mail_name, qid;
	int64_t when_us;                /* wall clock */
	/* Local submission: "by HOST (NAME, from userid N)"; the client members are unused. */
	bool local;
	unsigned long userid;
	/* smtpd_hide_client_session: only "by HOST (NAME) id QID" and the date. */
	bool hide_client;
	struct span helo, client_name, client_addr;
	enum received_with with;
	bool smtputf8, authenticated, tls_used;
	const struct received_tls *tls; /* NULL: no TLS comments wanted */
	struct span tls_suite, tls_group;       /* of a submission under TLS: registered names; "" = no clause (RFC 8314 section 4.3) */
	struct span login;              /* "" unless smtpd_sasl_authenticated_header */
	struct span only_rcpt;          /* internal form; "" unless there is exactly one */
};

/* The word behind "with": ESMTPSA, UTF8SMTP, LMTPS, ... (RFC 3848, RFC 6531 section 4.3). */
struct span received_protocol(const struct received *r, struct arena *a);

/* The whole header in wire form, last CRLF included. */
void received_write(const struct received *r, struct arena *a, struct buf *out);
