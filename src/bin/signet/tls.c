/* signet tls: what TLS policy means for a destination, before and after. */
#include "signet/tls.h"

#include <string.h>

#include "signet/cli.h"

static const struct word_row {
	const char *word;
	cli_verb_fn *run;
} words[] = {
	{ "explain", tls_explain },
	{ "why", tls_why_command },
	{ "tlsa", tls_tlsa_command },
	{ "probe", tls_probe_command },
};

int
verb_tls(struct cli *cli, int argc, char **argv)
{
	if (cli->linked_as != NULL)     /* posttls-finger */
		return tls_probe_command(cli, argc, argv);
	for (size_t i = 0; argc > 1 && i < sizeof(words) / sizeof(words[0]); i++)
		if (strcmp(argv[1], words[i].word) == 0)
			return words[i].run(cli, argc - 1, argv + 1);
	if (argc < 2)
		return cli_usage(cli, "what about it?");
	return cli_usage(cli, "unknown word %s", argv[1]);
}
