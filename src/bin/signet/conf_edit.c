/* Changing main.cf in place. */
#include "signet/conf_edit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "conf/conf.h"
#include "signet/cli.h"

#define MAIN_MAX (4U << 20)

struct change {
	struct span name, value;
	bool written;
};

struct edit {
	const struct cli *cli;
	enum conf_edit how;
	struct change *changes;
	size_t count;
	struct buf out;
};

static bool
parse_change(const struct edit *e, const char *arg, struct change *c)
{
	bool has_value = span_cut(span_str(arg), '=', &c->name, &c->value);

	c->name = span_trim(c->name);
	c->value = span_trim(c->value);
	c->written = false;
	if (has_value != (e->how == CONF_EDIT_SET) || !conf_is_name(c->name) || strpbrk(arg, "\r\n") != NULL) {
		cli_usage(e->cli, e->how == CONF_EDIT_SET ? "this is not NAME=VALUE: %s" : "this is no name: %s", arg);
		return false;
	}
	return true;
}

static struct change *
find_change(struct edit *e, struct span line)
{
	struct span name, value;

	if (!span_cut(line, '=', &name, &value))
		return NULL;
	for (size_t i = 0; i < e->count; i++)
		if (span_eq(e->changes[i].name, span_trim(name)))
			return &e->changes[i];
	return NULL;
}

static void
write_change(struct edit *e, struct change *c)
{
	if (!c->written && e->how == CONF_EDIT_SET)
		buf_addf(&e->out, "%.*s =%s%.*s\n", SPAN_ARG(c->name), c->value.n > 0 ? " " : "", SPAN_ARG(c->value));
	c->written = true;
}

/* Line by line: a changed definition goes with its continuation lines, comments stay. */
static void
rewrite(struct edit *e, struct span text)
{
	struct change *inside = NULL;
	struct span line;

	while (text.n > 0) {
		bool blank, more = span_cut(text, '\n', &line, &text);
		struct span t = span_trim(line);

		blank = t.n == 0 || t.p[0] == '#';
		if (!blank && line.p[0] != ' ' && line.p[0] != '\t') {
			inside = find_change(e, line);
			if (inside != NULL)
				write_change(e, inside);
		}
		if (blank || inside == NULL)
			buf_add_span(&e->out, line);
		else if (e->how == CONF_EDIT_COMMENT)
			buf_addf(&e->out, "#%.*s", SPAN_ARG(line));
		if (blank || inside == NULL || e->how == CONF_EDIT_COMMENT)
			buf_addc(&e->out, '\n');
		(void)more;
	}
	for (size_t i = 0; i < e->count; i++)
		write_change(e, &e->changes[i]);
}

/* Write beside the file with its owner and mode, sync, rename. 0 or -errno. */
static int
replace(const struct edit *e, const char *path, const struct stat *st)
{
	struct buf temp;
	int fd, err;

	buf_init(&temp, 8192);
	buf_addf(&temp, "%s.signet-%d", path, (int)getpid());
	fd = fd_open(AT_FDCWD, buf_cstr(&temp), O_WRONLY | O_CREAT | O_EXCL, st->st_mode & 07777);
	err = fd < 0 ? fd : fd_write_all(fd, e->out.p, e->out.n);
	if (err >= 0)
		err = fd_set_owner(fd, st->st_uid, st->st_gid, st->st_mode & 07777);
	if (err >= 0)
		err = fd_fsync(fd);
	fd_close(&fd);
	if (err >= 0)
		err = fd_rename(AT_FDCWD, buf_cstr(&temp), AT_FDCWD, path);
	if (err < 0)
		(void)unlink(buf_cstr(&temp));
	buf_release(&temp);
	return err;
}

static int
edit_file(struct edit *e, const char *path)
{
	struct buf text;
	struct stat st;
	int err, fd = fd_open(AT_FDCWD, path, O_RDONLY, 0);

	buf_init(&text, MAIN_MAX);
	err = fd < 0 ? fd : fd_stat(fd, &st);
	fd_close(&fd);
	if (err >= 0)
		err = fd_read_file(AT_FDCWD, path, &text);
	if (err >= 0) {
		rewrite(e, buf_span(&text));
		err = replace(e, path, &st);
	}
	buf_release(&text);
	return err < 0 ? cli_fail(e->cli, CLI_NO, "%s: %s", path, fd_error(err)) : CLI_DONE;
}

int
conf_edit_main(const struct cli *cli, enum conf_edit how, int argc, char **argv)
{
	struct edit e = { .cli = cli, .how = how, .count = (size_t)argc };
	char path[4096];
	char *real;
	int status = CLI_DONE;

	e.changes = calloc(e.count, sizeof(*e.changes));
	if (e.changes == NULL)
		abort();
	for (size_t i = 0; i < e.count && status == CLI_DONE; i++)
		if (!parse_change(&e, argv[i], &e.changes[i]))
			status = CLI_USAGE;
	snprintf(path, sizeof(path), "%s/main.cf", cli->dir);
	real = realpath(path, NULL);    /* a link stays a link */
	buf_init(&e.out, MAIN_MAX + (1U << 20));
	if (status == CLI_DONE)
		status = edit_file(&e, real != NULL ? real : path);
	buf_release(&e.out);
	free(real);
	free(e.changes);
	return status;
}
