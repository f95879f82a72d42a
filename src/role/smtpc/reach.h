/* The file system of a client process: the same answer in the role, which gives up the rest, and in `signet tls explain`. */
#pragma once

#include "conf/conf.h"

/* Is this a service that the client role delivers for? */
bool smtpc_serves(const struct conf_service *cs);
/* Call `allow` for each directory that it needs beside those of every role. */
void smtpc_reach(const struct conf *c, void (*allow)(void *ctx, const char *path), void *ctx);
