/*
 * What was said in an SMTP session, for a notice to the postmaster (notify_classes), and which kinds of trouble there were. Bounded: the
 * beginning is kept, and the latest lines. What must not be in it (passwords, content) its callers leave out.
 */
#pragma once

#include "base/buf.h"

/* Classes of notify_classes that ask for transcripts. */
enum smtp_notice {
	SMTP_NOTICE_POLICY = 1,
	SMTP_NOTICE_PROTOCOL = 2,
	SMTP_NOTICE_DATA = 4,
	SMTP_NOTICE_RESOURCE = 8,
	SMTP_NOTICE_SOFTWARE = 16,
	SMTP_NOTICE_BOUNCE = 32,
};

/* The bits of a value of notify_classes; classes of other notices have none. */
unsigned smtp_notice_classes(struct span list);

/*
 * Is this the sender of mail to a postmaster about mail, ours or another host's? `own`: double_bounce_sender. Trouble with such mail
 * is not told: it would be a notice about a notice.
 */
bool smtp_notice_sender(struct span own, struct span sender);

enum {
	TRANSCRIPT_MAX = 16384,         /* bytes kept */
	TRANSCRIPT_HEAD = 4096,         /* of that, the beginning */
	TRANSCRIPT_LINE_MAX = 512,
	TRANSCRIPT_WRITTEN_MAX = TRANSCRIPT_MAX + 256,
};

struct transcript {
	unsigned wanted;                /* classes; 0 = nothing is kept */
	unsigned classes;               /* those that occurred */
	bool muted;                     /* what happens now is about a notice: no trouble counts */
	bool open;                      /* the last line has no end yet */
	bool cut;                       /* lines were left out behind `head` */
	unsigned lines;
	size_t head, line_n;            /* bytes of the beginning, and of the last line */
	struct buf text;
};

/* `wanted`: bits of enum smtp_notice; without any the others do nothing. */
void transcript_init(struct transcript *t, unsigned wanted);
void transcript_release(struct transcript *t);
/* Lines and trouble are forgotten, not what is wanted. */
void transcript_clear(struct transcript *t);

/* Whole lines, each with this in front ("In: ", "Out:"); their ends may be LF or CRLF, and the last one may have none. */
void transcript_add(struct transcript *t, const char *who, struct span lines);
/* The same in pieces: a line goes on where the last piece stopped. Empty lines do not count. */
void transcript_stream(struct transcript *t, const char *who, struct span bytes);

/* There was trouble of these classes; it does not count while `muted`. */
void transcript_trouble(struct transcript *t, unsigned classes);
/* The wanted classes that occurred. */
static inline unsigned
transcript_due(const struct transcript *t)
{
	return t->classes & t->wanted;
}

/* Append all of it, with a line where something is missing: at most TRANSCRIPT_WRITTEN_MAX bytes. */
void transcript_write(const struct transcript *t, struct buf *out);
