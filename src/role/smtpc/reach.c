/* Directories of certificates that a client process reads while it runs. */
#include "role/smtpc/reach.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/panic.h"
#include "conf/params.h"

enum { DIRS_MAX = 16 };

struct dirs {
	void (*allow)(void *ctx, const char *path);
	void *ctx;
	char *list[DIRS_MAX];
	size_t count;
};

static void
allow(struct dirs *d, const char *path)
{
	for (size_t i = 0; i < d->count; i++)
		if (strcmp(d->list[i], path) == 0)
			return;
	if (d->count == DIRS_MAX) {
		log_warning_once(NULL, "too many directories of certificates: %s stays out of reach", path);
		return;
	}
	d->list[d->count] = strdup(path);
	ensure(d->list[d->count] != NULL);
	d->count++;
	d->allow(d->ctx, path);
}

/* The directory where the file behind `path` really is: the sandbox knows no symbolic links. */
static void
allow_dir_of(struct dirs *d, const char *path)
{
	char *real = realpath(path, NULL), *slash = real == NULL ? NULL : strrchr(real, '/');

	if (slash != NULL && slash != real) {
		*slash = '\0';
		allow(d, real);
	}
	free(real);
}

/* A CApath, which OpenSSL reads when it needs to, and the places its links point to. */
static void
allow_capath(struct dirs *d, const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *e;
	char name[PATH_MAX];

	allow(d, path);
	while (dir != NULL && (e = readdir(dir)) != NULL) {
		if (e->d_type != DT_LNK)
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
		allow_dir_of(d, name);
	}
	if (dir != NULL)
		closedir(dir);
}

bool
smtpc_serves(const struct conf_service *cs)
{
	return cs->type != CONF_SERVICE_INET && cs->type != CONF_SERVICE_PASS && !cs->disabled &&
	    (strcmp(cs->command, "smtp") == 0 || strcmp(cs->command, "lmtp") == 0);
}

void
smtpc_reach(const struct conf *c, void (*fn)(void *ctx, const char *path), void *ctx)
{
	struct dirs d = { .allow = fn, .ctx = ctx };

	for (size_t i = 0; i < c->service_count; i++) {
		const struct params *p = c->services[i].params;

		if (!smtpc_serves(&c->services[i]))
			continue;
		if (p->smtp_tls_CApath[0] != '\0')
			allow_capath(&d, p->smtp_tls_CApath);
		if (p->smtp_tls_trust_anchor_file[0] != '\0')
			allow_dir_of(&d, p->smtp_tls_trust_anchor_file);
	}
	for (size_t i = 0; i < d.count; i++)
		free(d.list[i]);
}
