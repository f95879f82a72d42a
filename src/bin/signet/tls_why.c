/* signet tls why: the records that deliveries left (lib/tls/why.h), found by queue id. What does not parse is passed over and counted. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "conf/conf.h"
#include "mail/qid.h"
#include "signet/cli.h"
#include "signet/tls.h"

enum { OUT_MAX = 16 << 20, RECORDS_MAX = 10000 };

struct search {
	const char *qid;
	bool json;
	struct buf out;
	size_t found, damaged;
};

/* ---- finding them */

static void
take_line(struct search *s, struct span line)
{
	struct buf *text = s->json || s->found >= RECORDS_MAX ? NULL : &s->out;

	switch (explain_record_show(line, s->qid, text)) {
	case EXPLAIN_RECORD_OTHER:
		return;
	case EXPLAIN_RECORD_DAMAGED:
		s->damaged++;
		return;
	case EXPLAIN_RECORD_FOUND:
		if (s->json && s->found < RECORDS_MAX)
			buf_add_span(&s->out, line);
		s->found++;
		return;
	}
}

static void
read_file(struct search *s, int dir, const char *name)
{
	int fd = fd_open(dir, name, O_RDONLY | O_NOFOLLOW, 0);
	FILE *f = fd >= 0 ? fdopen(fd, "r") : NULL;
	char *line = NULL;
	size_t room = 0;
	ssize_t n;

	while (f != NULL && (n = getline(&line, &room, f)) > 0)
		take_line(s, span_of(line, (size_t)n));
	free(line);
	if (f != NULL)
		fclose(f);
	else
		fd_close(&fd);
}

static int
is_record_file(const struct dirent *e)
{
	size_t n = strlen(e->d_name);

	return n >= 10 && n < 20 && strspn(e->d_name, "0123456789") == 8 && e->d_name[8] == '.';
}

/* Days in order, and within a day files by number. */
static int
in_order(const struct dirent **x, const struct dirent **y)
{
	const char *a = (*x)->d_name, *b = (*y)->d_name;
	int day = strncmp(a, b, 9);

	return day != 0 ? day : strlen(a) != strlen(b) ? (strlen(a) < strlen(b) ? -1 : 1) : strcmp(a, b);
}

static bool
search_dir(struct search *s, const char *path, struct fault *why)
{
	struct dirent **v;
	int dir = fd_open(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0), n = dir < 0 ? dir : scandirat(dir, ".", &v, is_record_file, in_order);

	if (n < 0) {
		fd_close(&dir);
		return fault_set(why, NULL, "%s: %s", path, fd_error(dir < 0 ? n : -errno));
	}
	for (int i = 0; i < n; i++) {
		read_file(s, dir, v[i]->d_name);
		free(v[i]);
	}
	free(v);
	fd_close(&dir);
	return true;
}

static int
nothing(struct cli *cli, const struct params *p, const char *qid)
{
	if (p->tls_why_retention_time_ms == 0 || p->tls_why_size_limit == 0)
		return cli_fail(cli, CLI_NO, "no record of %s: tls_why_retention_time or tls_why_size_limit is 0, so none are written", qid);
	return cli_fail(cli, CLI_NO, "no record of %s: it was not delivered by SMTP or LMTP yet, or longer ago than tls_why_retention_time (%lld days), or "
	    "tls_why_size_limit was reached", qid, (long long)(p->tls_why_retention_time_ms / 86400000));
}

int
tls_why_command(struct cli *cli, int argc, char **argv)
{
	struct search s = { .qid = NULL };
	struct fault why = { 0 };
	struct conf *conf;
	char path[4200];
	int status = CLI_DONE;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--json") == 0)
			s.json = true;
		else if (argv[i][0] == '-' || s.qid != NULL)
			return cli_usage(cli, "why needs one queue id");
		else
			s.qid = argv[i];
	}
	if (s.qid == NULL || !qid_valid(span_str(s.qid)))
		return cli_usage(cli, s.qid == NULL ? "why needs a queue id" : "%s is not a queue id", s.qid);
	conf = cli_conf_anyway(cli);
	if (conf == NULL)
		return CLI_NO;
	snprintf(path, sizeof(path), "%s/why", conf->params->data_directory);
	buf_init(&s.out, OUT_MAX);
	if (!search_dir(&s, path, &why) && conf->params->tls_why_retention_time_ms > 0)
		status = cli_fail(cli, CLI_NO, "%s", why.text);
	else if (s.found == 0)
		status = nothing(cli, conf->params, s.qid);
	else
		status = cli_print(cli, &s.out);
	if (s.damaged > 0)
		fprintf(stderr, "signet tls: %zu damaged record%s passed over\n", s.damaged, s.damaged == 1 ? " was" : "s were");
	buf_release(&s.out);
	conf_unref(&conf);
	return status;
}
