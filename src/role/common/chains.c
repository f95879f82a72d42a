/* Chain parameters of services. */
#include "role/common/chains.h"

#include <stdlib.h>

#include "conf/params.h"
#include "hop/hop.h"
#include "ipc/messages.h"
#include "tls/keeper.h"

bool
role_chain_params(const struct conf_service *cs, struct tls_chain_params *p_r)
{
	const struct params *p = cs->params;
	bool inet = cs->type == CONF_SERVICE_INET, lmtp = strcmp(cs->command, "lmtp") == 0;

	if (inet && strcmp(cs->command, "smtpd") == 0) {
		*p_r = (struct tls_chain_params){ "smtpd_tls", p->smtpd_tls_chain_files, p->smtpd_tls_cert_file,
			p->smtpd_tls_key_file, p->smtpd_tls_eccert_file, p->smtpd_tls_eckey_file, p->smtpd_tls_dcert_file,
			p->smtpd_tls_dkey_file };
		return !cs->disabled;
	}
	if (inet || cs->type == CONF_SERVICE_PASS || (!lmtp && strcmp(cs->command, "smtp") != 0))
		return false;
	hop_chain_params(p, lmtp ? "lmtp" : "smtp", p_r);
	return !cs->disabled;
}

static bool
names_file(const char *value)
{
	return value[0] != '\0' && strcmp(value, "none") != 0;
}

bool
role_chain_configured(const struct tls_chain_params *p)
{
	return p->chain_files[0] != '\0' || names_file(p->cert_file) || names_file(p->eccert_file) || names_file(p->dcert_file);
}

void
role_chain_each_file(const struct tls_chain_params *p, void (*fn)(void *ctx, struct span path), void *ctx)
{
	const char *legacy[] = { p->cert_file, p->key_file, p->eccert_file, p->eckey_file, p->dcert_file, p->dkey_file };
	struct span rest = span_str(p->chain_files), one;

	while (span_token(&rest, " ,\t\r\n", &one))
		fn(ctx, one);
	for (size_t i = 0; i < sizeof(legacy) / sizeof(legacy[0]); i++)
		if (names_file(legacy[i]))
			fn(ctx, span_str(legacy[i]));
}

bool
role_keys_in_process(void)
{
	const char *value = getenv("SIGNET_KEYS");

	return value != NULL && strcmp(value, "in-process") == 0;
}

bool
role_keys_take_channel(struct role *r, unsigned role, unsigned index, int fd)
{
	(void)r;
	(void)index;
	if (role != IPC_ROLE_KEEPER)
		return false;
	tls_keeper_set_channel(fd);
	return true;
}
