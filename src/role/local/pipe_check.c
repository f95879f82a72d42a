/* The pipe services of master.cf: their attributes, and who the command would run as. */
#include "role/local/pipe_check.h"

#include <pwd.h>
#include <string.h>

#include "conf/conf.h"
#include "role/local/pipe_args.h"

static void
check_user(const struct conf_service *s, const struct pipe_args *args, struct arena *a, struct conf_report *report)
{
	const struct passwd *pw = getpwnam(arena_cstr(a, args->user));

	if (pw == NULL)
		conf_report_add(report, CONF_NOTE, s->file, s->line, "create the user, or take the service out",
		    "service %s: pipe: user=%.*s does not exist: mail for this service would wait", s->name, SPAN_ARG(args->user));
	else if (pw->pw_uid == 0)
		conf_report_add(report, CONF_ERROR, s->file, s->line, "name a user for this command",
		    "service %s: pipe: user=%.*s: no command runs as root", s->name, SPAN_ARG(args->user));
}

void
pipe_conf_check(const struct conf *conf, struct conf_report *report)
{
	for (size_t i = 0; i < conf->service_count; i++) {
		const struct conf_service *s = &conf->services[i];
		struct fault why = { 0 };
		struct pipe_args args;
		struct arena *a;

		if (s->disabled || strcmp(s->command, "pipe") != 0)
			continue;
		a = arena_new(1u << 20);
		if (!pipe_args_parse(span_str(s->args), a, &args, &why))
			conf_report_add(report, CONF_ERROR, s->file, s->line, "see pipe(8)", "service %s: %s", s->name, why.text);
		else
			check_user(s, &args, a, report);
		arena_free(&a);
	}
}
