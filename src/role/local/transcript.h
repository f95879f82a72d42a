/* Transcripts of SMTP sessions with trouble, as mail to the postmaster (notify_classes). */
#pragma once

#include "role/local/local.h"

/* Before the first. */
void transcript_notices_open(struct local *l);

/*
 * Send one, `m` stays the caller's; nobody waits for it, and what goes wrong is a line of the log. At most TRANSCRIPTS_BURST at once and one more every TRANSCRIPTS_PAUSE_S: who can make trouble
 * can make any amount of it. Those left out are counted in the log.
 */
enum { TRANSCRIPTS_BURST = 100, TRANSCRIPTS_PAUSE_S = 15 };
void transcript_notice(struct local *l, const struct ipc_transcript_notice *m);
