/* signetd: the daemon. With --role it is one of the processes that master starts. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "role/local/pipe_check.h"
#include "role/roles.h"
#include "role/smtpd/acl.h"
#include "tls/library.h"

static const struct role_spec *const role_table[] = {
	&control_role,
	&deliver_role,
	&keeper_role,
	&local_role,
	&log_role,
	&lookup_role,
	&queue_role,
	&resolver_role,
	&smtpc_role,
	&smtpd_role,
	NULL,
};

static const char usage[] =
    "usage: signetd [-c DIR] [-V]\n"
    "  -c DIR  configuration directory with main.cf and master.cf (default $MAIL_CONFIG or /etc/signet)\n"
    "  -V      print the version\n"
    "It stays in the foreground; SIGHUP reloads, SIGTERM stops. See signetd(8).\n";

/* What the libraries cannot judge. */
static void
judge(const struct conf *conf, struct conf_report *report)
{
	acl_conf_check(conf, report);
	pipe_conf_check(conf, report);
}

static int
run_role(const char *name)
{
	for (size_t i = 0; role_table[i] != NULL; i++)
		if (strcmp(ipc_role_name(role_table[i]->role), name) == 0)
			role_main(role_table[i]);
	fprintf(stderr, "signetd: no role \"%s\"\n", name);
	return 2;
}

int
main(int argc, char **argv)
{
	static char program[PATH_MAX], dir[PATH_MAX];
	const char *config = getenv("MAIL_CONFIG");
	struct master_options o = { .judge = judge };
	ssize_t n = readlink("/proc/self/exe", program, sizeof(program) - 1);
	int c;

	if (!tls_library_wipes_memory()) {
		fputs("signetd: the TLS library was in use before main()\n", stderr);
		return 1;
	}
	if (argc == 3 && strcmp(argv[1], "--role") == 0)
		return run_role(argv[2]);
	while ((c = getopt(argc, argv, "c:V")) != -1) {
		if (c == 'c') {
			config = optarg;
		} else if (c == 'V') {
			printf("signetd %s\n", SIGNET_VERSION);
			return 0;
		} else {
			fputs(usage, stderr);
			return 2;
		}
	}
	if (optind != argc || n <= 0) {
		fputs(usage, stderr);
		return 2;
	}
	if (config == NULL)
		config = "/etc/signet";
	if (realpath(config, dir) == NULL) {
		fprintf(stderr, "signetd: configuration directory %s: %m\n", config);
		return 1;
	}
	o.config_dir = dir;
	o.program = program;
	return master_main(&o);
}
