/* Transcripts of SMTP sessions with trouble, as mail to the postmaster (notify_classes). */
#pragma once

#include "role/local/local.h"

void transcript_notices_open(struct local *l);

/*
 * Send one; nobody waits for it. At most TRANSCRIPTS_BURST at once and one more every TRANSCRIPTS_PAUSE_S: who can make trouble
 * can make any amount of it. Those left out are counted in the log.
 */
enum { TRANSCRIPTS_BURST = 100, TRANSCRIPTS_PAUSE_S = 15 };
void transcript_notice(struct local *l, const struct ipc_transcript_notice *m);
