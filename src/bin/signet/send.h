/* Parts of `signet send`: the message, the way into the running daemon, the maildrop. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/fault.h"
#include "mail/envelope.h"

struct params;

struct send_mail {
	struct arena *arena;
	const struct params *p;
	const char *login;              /* of the user who runs us */
	struct envelope env;
	bool sender_given;
	struct span full_name;
	int fd;                         /* content in wire form, without the dots of SMTP; -1 = none yet */
	uint64_t size;
	struct span head;               /* its header block, at most a megabyte of it */
};

/*
 * Read a message from `in` into `m->fd`: lines get CRLF, a leading "From " line of mbox is dropped, unless
 * `dots_are_text` a line with a dot alone ends it. Sets the envelope's eightbit.
 */
bool send_read(struct send_mail *m, int in, bool dots_are_text, struct fault *why);
/* Recipients from To, Cc and Bcc, or from their Resent- forms where there are any (sendmail -t). */
void send_extract(struct send_mail *m);
/* A From header in front, when there is none and the sender's full name is known. */
bool send_add_from(struct send_mail *m, struct fault *why);

enum send_result {
	SEND_DONE,              /* taken by the daemon, or safe in the maildrop */
	SEND_REFUSED,           /* for good, for some recipients at least: `why` */
	SEND_LATER,             /* the daemon cannot take it now */
};
/* Hand the message to the daemon over its submission socket. Refused recipients are named on standard error. */
enum send_result send_smtp(struct send_mail *m, struct fault *why);
/* Ask the daemon about each recipient without sending anything; answers go to standard output (sendmail -bv). */
enum send_result send_verify(struct send_mail *m, struct fault *why);
/* Keep it in the maildrop until the daemon is there. */
enum send_result send_drop(struct send_mail *m, struct fault *why);

/* Connect to the submission socket; a descriptor or -errno. */
int send_connect(const struct params *p);
/* sendmail -bs: an SMTP session between standard input and output and the daemon. Exit status. */
int send_session(const struct params *p);
