/*
 * The policy delegation protocol (tls-server.md section 9), pure: what a request says and what a
 * reply means. Lines "name=value", an empty line ends. No sockets here: role/smtpd/policyd.c.
 */
#pragma once

#include "base/buf.h"
#include "base/fault.h"

#define POLICYD_REQUEST_MAX 65536u
#define POLICYD_REPLY_MAX 8192u         /* a reply that has not ended by then is no reply */

/* What is known at this moment. An empty span is sent as "name=". Values are made one clean line each. */
struct policyd_request {
	struct span protocol_state, protocol_name;
	struct span client_address, client_name, client_port, reverse_client_name;
	struct span server_address, server_port;
	struct span helo_name, sender, recipient;
	unsigned recipient_count;
	struct span queue_id, instance;
	uint64_t size;
	struct span etrn_domain;
	bool stress;
	struct span sasl_method, sasl_username, sasl_sender;
	/* Subject and issuer are CNs, sent as xtext: leave them empty unless the certificate is trusted. */
	struct span ccert_subject, ccert_issuer, ccert_fingerprint, ccert_pubkey_fingerprint;
	struct span encryption_protocol, encryption_cipher;
	unsigned encryption_keysize;    /* bits in use; 0 without TLS: sent empty */
	struct span tls_sni;
	struct span policy_context, compatibility_level, mail_version;
};

/* Append the request, every attribute in the order of section 9.1. False when `out` is too small. */
bool policyd_request_write(const struct policyd_request *r, struct buf *out);

enum policyd_result {
	POLICYD_MORE,           /* not all of it has come */
	POLICYD_DONE,           /* `action_r` points into `bytes` */
	POLICYD_BAD,            /* no reply of this protocol: the connection is of no use */
};

/*
 * Look at all bytes that came for one request. A reply is exactly one "action=..." line and an
 * empty line; anything missing, repeated or added is BAD with `why`, and so is a byte behind it
 * (requests are not pipelined), a NUL, a reply over POLICYD_REPLY_MAX, and with `utf8`
 * (smtputf8_enable) an action that is not UTF-8. Lines may end in CRLF.
 */
enum policyd_result policyd_reply_parse(struct span bytes, bool utf8, struct span *action_r, struct fault *why);
