/* pickup: what `signet send` left in the maildrop while the daemon was down goes into the queue. */
#pragma once

#include "role/local/local.h"

struct maildrop;

/* Looks at once, and then every minute. */
struct maildrop *maildrop_new(struct local *l);
/* Begin nothing new. */
void maildrop_stop(struct maildrop *m);
