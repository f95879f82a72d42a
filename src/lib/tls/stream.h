/*
 * One non-blocking byte stream over a connected socket, in clear or under TLS. It makes no
 * sockets, has no timers, keeps no plaintext: the owner watches the descriptor, keeps its
 * own buffers and deadlines, and throws away what it had read before STARTTLS.
 *
 * The descriptor stays the caller's: stream_release does not close it. Once TLS has begun
 * the struct must stay where it is. SIGPIPE must be ignored by the process.
 */
#pragma once

#include <sys/uio.h>

#include "base/fault.h"
#include "base/ioq.h"
#include "tls/info.h"
#include "tls/server_ctx.h"
#include "tls/verify.h"

enum stream_result {
	STREAM_DONE,            /* something was read, written, or the step is finished */
	STREAM_WANT_READ,       /* call again when the descriptor is readable */
	STREAM_WANT_WRITE,      /* ... writable */
	STREAM_WANT_CHAIN,      /* server: answer stream_sni_name() with stream_set_chain() first */
	STREAM_EOF,             /* the peer closed; under TLS also without close_notify */
	STREAM_ERROR,           /* see stream_failure() */
};

/* Why a step failed, in the shapes the log needs ("SSL_connect error to ...: <text>"). */
struct stream_failure {
	char text[128];         /* "-1", "lost connection", "Connection reset by peer" */
	char library[4][512];   /* OpenSSL's error stack: each a "TLS library problem: ..." line */
	unsigned n_library;
};

/* What goes on inside, for high log levels (tls-server.md section 8). Called from within other calls: only log there. */
enum stream_trace {
	STREAM_TRACE_STATE,     /* the library's state machine: "SSL_accept:before SSL initialization" */
	STREAM_TRACE_CHAIN,     /* the peer's chain: "depth=1 verify=1 subject=/CN=Root" */
	STREAM_TRACE_TICKET,    /* "Issuing session ticket, key expiration: 1790000000" */
	STREAM_TRACE_SESSION,   /* the client's cache: "looking for session <key> in smtp cache" */
	STREAM_TRACE_BYTES,     /* "0000 16 03 01 ..."; "  client_version=0x303 (TLS 1.2)" */
};

struct stream_tracer {
	void (*line)(void *ctx, enum stream_trace kind, const char *text);
	void *ctx;
	bool steps : 1, chain : 1, tickets : 1; /* tickets: a client's sessions, too */
	const char *cache;                      /* a client's: "smtp", "lmtp" */
	bool handshake_bytes : 1, all_bytes : 1;
	bool messages : 1;                      /* of the handshake, in words */
	size_t bytes_left;                      /* of dumps and words: no more than this (smtp_tls_trace_size_limit, smtpd_tls_trace_size_limit) */
};

struct stream_tls;

struct stream {
	int fd;
	SSL *ssl;               /* NULL = in clear */
	struct stream_tls *tls; /* allocated with `ssl` */
	struct stream_tracer *tracer;   /* the owner's; NULL = nobody looks */
	bool server : 1;
	bool handshaken : 1;
	bool sent_close : 1;
	bool broken : 1;        /* fatal TLS error: no shutdown alert may be sent */
	bool resumed : 1;       /* after the handshake: an old session was used */
	bool last_words : 1;    /* what is written now goes out with stream_shutdown() */
};

void stream_init(struct stream *s, int fd);
/* Frees TLS state; harmless in clear. */
void stream_release(struct stream *s);

/*
 * Begin TLS on this descriptor. The decision must live until the handshake and verdict are
 * done. `session_key` empty = do not resume. False + why when it cannot even begin (local
 * trouble: treat as a failed handshake).
 */
bool stream_start_client(struct stream *s, struct tls_client_ctx *ctx, const struct tls_decision *d,
    struct span session_key, int64_t now_s, struct fault *why);
/* `with_sni` = the service has SNI chains: a valid name makes stream_handshake return WANT_CHAIN once. */
bool stream_start_server(struct stream *s, struct tls_server_ctx *ctx, bool with_sni, struct fault *why);

/* From now on. `t` must live as long as the stream; before stream_start_*. */
void stream_set_tracer(struct stream *s, struct stream_tracer *t);

/* Advance the handshake: DONE, WANT_*, EOF (peer closed), ERROR. */
enum stream_result stream_handshake(struct stream *s);
/* What went wrong in the last ERROR or EOF of a handshake. */
const struct stream_failure *stream_failure(const struct stream *s);

/* Server, after WANT_CHAIN: the name asked for, lower case. */
const char *stream_sni_name(const struct stream *s);
/* A server name of the client's that is no DNS name, printable; it was ignored. NULL: there was none. */
const char *stream_bad_sni(const struct stream *s);
/* The chain for that name; NULL = the default one. `failed` = table error: the handshake ends with an alert. */
void stream_set_chain(struct stream *s, struct tls_chain *chain, bool failed);

/* Client, after the handshake: who is there. A resumed session keeps its verdict. */
const struct tls_verdict *stream_verdict(struct stream *s, int64_t now_s);
/* How the keys came about; false in clear. */
bool stream_exchange(struct stream *s, struct tls_exchange *x_r);
/* Facts for log lines and the Received header; false in clear. Text lives in `a`. */
bool stream_info(struct stream *s, const char *digest_name, struct arena *a, struct tls_info *info_r);

/* Up to n bytes. DONE with *got_r > 0, WANT_*, EOF, ERROR. */
enum stream_result stream_read(struct stream *s, void *p, size_t n, size_t *got_r);
/* As much as goes. DONE with *sent_r > 0, WANT_*, ERROR. After WANT_*, repeat with the same bytes in front. */
enum stream_result stream_writev(struct stream *s, const struct iovec *v, int count, size_t *sent_r);
/* Write and consume a queue until it is empty (DONE) or the socket is full. */
enum stream_result stream_flush(struct stream *s, struct ioq *q);
/* Bytes already decrypted or in the TLS buffers: the descriptor will not become readable for them. */
bool stream_pending(const struct stream *s);
/* Before waiting for the peer: what waits for our next words (a ticket) goes out without them, if the socket takes it. */
void stream_push(struct stream *s);
/* What is written from now on goes out with stream_shutdown(), which must follow; nothing in clear. */
void stream_last_words(struct stream *s);
/* Send close_notify (once, without waiting for the peer's). DONE, WANT_WRITE or ERROR. Nothing in clear. */
enum stream_result stream_shutdown(struct stream *s);

static inline bool
stream_is_tls(const struct stream *s)
{
	return s->ssl != NULL;
}
