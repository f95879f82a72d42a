/* signet map --from-sendmail: the TLS part of Sendmail's access database as tables of ours. */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "signet/cli.h"
#include "signet/map.h"
#include "tls/sendmail.h"

struct output {
	const struct cli *cli;
	const char *dir;        /* NULL: standard output */
	int status;
};

static bool
read_input(const char *path, struct buf *text, const char **why_r)
{
	int r = fd_read_file(AT_FDCWD, path, text);

	*why_r = r < 0 ? fd_error(r) : text->full ? "too long" : NULL;
	return *why_r == NULL;
}

/* A file that is there already is the administrator's. */
static void
write_file(struct output *o, const char *name, struct buf *text)
{
	char path[4096];
	int fd, r;

	snprintf(path, sizeof(path), "%s/%s", o->dir, name);
	fd = fd_open(AT_FDCWD, path, O_WRONLY | O_CREAT | O_EXCL, 0644);
	r = fd < 0 ? fd : fd_write_all(fd, text->p, text->n);
	if (r < 0)
		o->status = cli_fail(o->cli, CLI_NO, "%s: %s", path, fd_error(r));
	fd_close(&fd);
}

static void
put(struct output *o, const char *name, struct buf *text)
{
	struct buf shown;

	if (text->n == 0)
		return;
	if (o->dir != NULL) {
		write_file(o, name, text);
		return;
	}
	buf_init(&shown, (size_t)SENDMAIL_TEXT_MAX + 8192);
	buf_addf(&shown, "# file %s\n", name);
	buf_add_span(&shown, buf_span(text));
	if (cli_print(o->cli, &shown) != CLI_DONE)
		o->status = CLI_NO;
	buf_release(&shown);
}

static void
put_all(struct output *o, struct sendmail_tables *t)
{
	char name[100];

	put(o, "tls_clients", &t->clients);
	put(o, "tls_servers", &t->servers);
	put(o, "cert_issuers", &t->issuers);
	put(o, "cert_subjects", &t->subjects);
	for (size_t i = 0; i < t->n_tags; i++) {
		snprintf(name, sizeof(name), "issuers_%.*s", SPAN_ARG(t->tags[i].name));
		if (t->tags[i].text.n == 0)
			buf_add_str(&t->tags[i].text, "# the access database has no issuer with this tag: all are refused\n");
		put(o, name, &t->tags[i].text);
	}
	if (t->main_cf.n > 0 && cli_print(o->cli, &t->main_cf) != CLI_DONE)
		o->status = CLI_NO;
	fprintf(stderr, "%s%s: %u converted, %u without an equivalent\n", buf_cstr(&t->notes), o->cli->verb, t->converted, t->left);
	if (t->left > 0 && o->status == CLI_DONE)
		o->status = CLI_NO;
}

int
map_from_sendmail(const struct cli *cli, const char *dir, const char *file)
{
	struct output o = { .cli = cli, .dir = dir, .status = CLI_DONE };
	struct sendmail_tables t;
	struct fault why = { 0 };
	const char *trouble;
	struct buf text;

	if (dir != NULL && dir[0] != '/')
		return cli_usage(cli, "--output needs a directory that begins with /");
	buf_init(&text, SENDMAIL_TEXT_MAX);
	if (!read_input(file, &text, &trouble)) {
		o.status = cli_fail(cli, CLI_NO, "%s: %s", file, trouble);
	} else {
		if (sendmail_convert(buf_span(&text), file, dir != NULL ? dir : cli->dir, &t, &why))
			put_all(&o, &t);
		else
			o.status = cli_fail(cli, CLI_NO, "%s: %s", file, why.text);
		sendmail_release(&t);
	}
	buf_release(&text);
	return o.status;
}
