/* Which certificates a service of master.cf uses: the same answer in master (who opens the files), keeper and the workers. */
#pragma once

#include "base/arena.h"
#include "conf/conf.h"
#include "tls/client_ctx.h"

/* The chain parameters of an smtpd, smtp or lmtp service; false for any other. The strings are the configuration's. */
bool role_chain_params(const struct conf_service *cs, struct tls_chain_params *p_r);
/* Is anything configured? "none" alone (anonymous ciphers) is nothing. */
bool role_chain_configured(const struct tls_chain_params *p);
/* Call `fn` for each file that they name. */
void role_chain_each_file(const struct tls_chain_params *p, void (*fn)(void *ctx, struct span path), void *ctx);
/* The benchmark's comparison (tests/bench): SIGNET_KEYS=in-process in signetd's environment keeps private keys in the workers. */
bool role_keys_in_process(void);

struct role;
/* take_peer of a role that signs: keeper's descriptor goes to the TLS library. False: another role's, not ours. */
bool role_keys_take_channel(struct role *r, unsigned role, unsigned index, int fd);
