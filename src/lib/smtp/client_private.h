/* What the files of the client engine share. */
#pragma once

#include "smtp/client.h"

/* EHLO's keywords (client_caps.c). */
void smtpc_caps_parse(struct smtpc_caps *caps, struct span text, unsigned discard);

/* XFORWARD (client_xforward.c): the attributes announced, the number of commands for this transaction, and the nth of them. */
unsigned smtpc_xforward_caps(struct span words);
unsigned smtpc_xforward_plan(struct smtpc *c);
void smtpc_xforward_render(struct smtpc *c, size_t nth);

/* The session is over: `fault` and `failed_at` are set, SMTPC_FAILED is said next. */
void smtpc_fail(struct smtpc *c, enum smtpc_step at, const char *dsn, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* The reply at hand refuses: one that says that we do not speak its language (RFC 5321 section 4.2.1: x0z, 555) is trouble. */
void smtpc_note_refusal(struct smtpc *c);

/* Transactions (client_tx.c). */
/* Render every command that may go out now. */
void smtpc_tx_render(struct smtpc *c);
/* The answer to the step at the receive cursor. */
void smtpc_tx_reply(struct smtpc *c);
/* Is an answer due? */
bool smtpc_tx_due(const struct smtpc *c);
/* Is everything sent and answered? */
bool smtpc_tx_ended(const struct smtpc *c);
/* The piece of content at hand is written. */
void smtpc_tx_piece_done(struct smtpc *c);

/* Content (client_content.c): up to `count` pieces of what is left. */
int smtpc_content_output(struct smtpc *c, struct iovec *v, int count);
void smtpc_content_sent(struct smtpc *c, size_t n);
