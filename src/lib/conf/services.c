/* What becomes of the commands of master.cf: few processes of ours do the work of Postfix's many. */
#include "conf/conf_private.h"

static const struct command_row {
	const char *command;
	enum conf_command_kind kind;
	const char *why;        /* of a refusal */
} commands[] = {
	{ "smtpd", CONF_COMMAND_OURS, NULL },
	{ "smtp", CONF_COMMAND_OURS, NULL },
	{ "lmtp", CONF_COMMAND_OURS, NULL },
	{ "local", CONF_COMMAND_OURS, NULL },
	{ "virtual", CONF_COMMAND_OURS, NULL },
	{ "pipe", CONF_COMMAND_OURS, NULL },
	{ "error", CONF_COMMAND_OURS, NULL },
	{ "discard", CONF_COMMAND_OURS, NULL },
	/* their work is done by ours, under these names in tables and logs */
	{ "anvil", CONF_COMMAND_INTERNAL, NULL },
	{ "bounce", CONF_COMMAND_INTERNAL, NULL },
	{ "cleanup", CONF_COMMAND_INTERNAL, NULL },
	{ "flush", CONF_COMMAND_INTERNAL, NULL },
	{ "nqmgr", CONF_COMMAND_INTERNAL, NULL },
	{ "oqmgr", CONF_COMMAND_INTERNAL, NULL },
	{ "pickup", CONF_COMMAND_INTERNAL, NULL },
	{ "postlogd", CONF_COMMAND_INTERNAL, NULL },
	{ "proxymap", CONF_COMMAND_INTERNAL, NULL },
	{ "qmgr", CONF_COMMAND_INTERNAL, NULL },
	{ "scache", CONF_COMMAND_INTERNAL, NULL },
	{ "showq", CONF_COMMAND_INTERNAL, NULL },
	{ "tlsmgr", CONF_COMMAND_INTERNAL, NULL },
	{ "trivial-rewrite", CONF_COMMAND_INTERNAL, NULL },
	{ "verify", CONF_COMMAND_INTERNAL, NULL },
	{ "dnsblog", CONF_COMMAND_REFUSED, "asks DNS lists for postscreen" },
	{ "postscreen", CONF_COMMAND_REFUSED, "keeps unwanted clients away from smtpd" },
	{ "qmqpd", CONF_COMMAND_REFUSED, "receives mail by QMQP" },
	{ "spawn", CONF_COMMAND_REFUSED, "runs a command for each connection" },
	{ "tlsproxy", CONF_COMMAND_REFUSED, "does TLS for postscreen and reused connections" },
};

enum conf_command_kind
conf_command_kind(const char *command, const char **why_r)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(commands[i].command, command) == 0) {
			*why_r = commands[i].why;
			return commands[i].kind;
		}
	*why_r = "is no command that Signet knows";
	return CONF_COMMAND_REFUSED;
}
