/* signet tls why: the records that deliveries left (lib/tls/why.h), found by queue id. What does not parse is passed over and counted. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "conf/conf.h"
#include "mail/qid.h"
#include "signet/cli.h"
#include "signet/tls.h"

enum { LINE_BYTES_MAX = 4096, OUT_MAX = 16 << 20, RECORDS_MAX = 10000 };

struct search {
	const char *qid;
	char needle[64];
	bool json;
	struct buf out;
	size_t found, damaged;
};

/* ---- one record as text */

static const char *
text(const json_t *o, const char *name)
{
	const char *s = json_string_value(json_object_get(o, name));

	return s != NULL ? s : "";
}

static void
sub(struct buf *out, const char *label, const char *value)
{
	if (value[0] != '\0')
		buf_addf(out, "  %-12s %.*s\n", label, SPAN_ARG(log_esc(span_str(value))));
}

static void
show_session(struct buf *out, const json_t *o)
{
	size_t i;
	json_t *one;

	if (text(o, "protocol")[0] == '\0')
		return;
	buf_addf(out, "  %-12s %s, %s%s%s%s\n", "connection", text(o, "protocol"), text(o, "cipher"), text(o, "group")[0] != '\0' ? ", group " : "",
	    text(o, "group"), json_is_true(json_object_get(o, "resumed")) ? ", resumed" : "");
	sub(out, "secrecy", json_is_true(json_object_get(o, "forward_secret")) ? "forward secret" : "not forward secret");
	sub(out, "server name", text(o, "sni"));
	buf_addf(out, "  %-12s %s%s\n", "peer", text(o, "trust"), json_is_true(json_object_get(o, "matched")) ? ", what the policy asks for holds" : "");
	sub(out, "matched by", text(o, "matched_by"));
	sub(out, "reason", text(o, "reason"));
	json_array_foreach(json_object_get(o, "chain"), i, one)
		buf_addf(out, "  %-12s %zu  CN=%.*s  sha256 %.32s...\n", i == 0 ? "chain" : "", i,
		    SPAN_ARG(log_esc(span_str(json_string_value(json_array_get(one, 0)) != NULL ? json_string_value(json_array_get(one, 0)) : ""))),
		    json_string_value(json_array_get(one, 1)) != NULL ? json_string_value(json_array_get(one, 1)) : "");
}

static void
show_trail(struct buf *out, const json_t *o)
{
	size_t i;
	json_t *step;

	json_array_foreach(json_object_get(o, "trail"), i, step) {
		const char *rule = json_string_value(json_array_get(step, 0)), *result = json_string_value(json_array_get(step, 1)),
		    *source = json_string_value(json_array_get(step, 2));

		if (rule != NULL && result != NULL && source != NULL)
			buf_addf(out, "  %-12s %.*s: %s  [%s]\n", i == 0 ? "because" : "", SPAN_ARG(log_esc(span_str(rule))), result, source);
	}
	if (json_is_true(json_object_get(o, "cut")))
		buf_addf(out, "  %-12s (the record had no room for all)\n", "");
}

static void
show(struct buf *out, const json_t *o)
{
	time_t at = (time_t)json_integer_value(json_object_get(o, "time"));
	char stamp[40] = "";
	struct tm tm;

	if (localtime_r(&at, &tm) != NULL)
		strftime(stamp, sizeof(stamp), "%Y-%m-%d %H:%M:%S", &tm);
	buf_addf(out, "%s  %.*s", stamp, SPAN_ARG(log_esc(span_str(text(o, "nexthop")))));
	if (text(o, "host")[0] != '\0')
		buf_addf(out, " by %.*s[%s]:%d", SPAN_ARG(log_esc(span_str(text(o, "host")))), text(o, "address"), (int)json_integer_value(json_object_get(o, "port")));
	buf_addf(out, "\n  %-12s %s %s %.*s\n", "outcome", text(o, "outcome"), text(o, "dsn"), SPAN_ARG(log_esc(span_str(text(o, "text")))));
	if (text(o, "host")[0] == '\0') {
		sub(out, "tls", "no server was reached");
		return;
	}
	if (strcmp(text(o, "asked"), text(o, "level")) == 0)
		sub(out, "level", text(o, "level"));
	else
		buf_addf(out, "  %-12s %s (asked for: %s)\n", "level", text(o, "level"), text(o, "asked"));
	sub(out, "tls=", text(o, "tls"));
	sub(out, "not usable", text(o, "unusable"));
	sub(out, "warning", text(o, "because"));
	show_session(out, o);
	show_trail(out, o);
}

/* ---- finding them */

static void
take_line(struct search *s, const char *line, size_t n)
{
	json_t *o;

	if (memmem(line, n, s->needle, strlen(s->needle)) == NULL)
		return;
	o = n > LINE_BYTES_MAX ? NULL : json_loadb(line, n, JSON_REJECT_DUPLICATES, NULL);
	if (o == NULL || !json_is_object(o)) {
		s->damaged++;
	} else if (strcmp(text(o, "queue_id"), s->qid) == 0 && s->found < RECORDS_MAX) {
		s->found++;
		if (s->json)
			buf_add_span(&s->out, span_of(line, n));
		else
			show(&s->out, o);
	}
	json_decref(o);
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
		take_line(s, line, (size_t)n);
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
	conf = cli_conf(cli);
	if (conf == NULL)
		return CLI_NO;
	snprintf(s.needle, sizeof(s.needle), "\"queue_id\":\"%s\"", s.qid);
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
