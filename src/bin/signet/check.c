/* signet check: everything that can be said about the configuration without starting it, each finding with its place and a fix. */
#include "base/buf.h"
#include "conf/conf.h"
#include "signet/cli.h"

int
verb_check(struct cli *cli, int argc, char **argv)
{
	struct conf_report report;
	struct conf *conf = NULL;
	struct buf out;
	int status;

	if (argc > 1)
		return cli_usage(cli, "unexpected word: %s", argv[1]);
	conf_report_init(&report);
	buf_init(&out, 8U << 20);
	conf_load(cli->dir, &conf, &report);
	conf_report_print(&report, CONF_NOTE, &out);
	status = cli_print(cli, &out);
	if (status == CLI_DONE && report.errors > 0)
		status = CLI_NO;
	buf_release(&out);
	conf_report_release(&report);
	conf_unref(&conf);
	return status;
}
