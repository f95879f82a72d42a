/* Exit statuses of commands. */
#include "role/local/exits.h"

#include <sysexits.h>

static const struct exit_row {
	int status;
	const char *dsn, *text;
} exit_rows[] = {
	{ EX_USAGE, "5.3.0", "command line usage error" },
	{ EX_DATAERR, "5.6.0", "data format error" },
	{ EX_NOINPUT, "5.3.0", "cannot open input" },
	{ EX_NOUSER, "5.1.1", "user unknown" },
	{ EX_NOHOST, "5.1.2", "host name unknown" },
	{ EX_UNAVAILABLE, "5.3.0", "service unavailable" },
	{ EX_SOFTWARE, "5.3.0", "internal software error" },
	{ EX_OSERR, "4.3.0", "system resource problem" },
	{ EX_OSFILE, "5.3.0", "critical OS file missing" },
	{ EX_CANTCREAT, "5.2.0", "can't create user output file" },
	{ EX_IOERR, "5.3.0", "input/output error" },
	{ EX_TEMPFAIL, "4.3.0", "temporary failure" },
	{ EX_PROTOCOL, "5.5.0", "remote error in protocol" },
	{ EX_NOPERM, "5.7.0", "permission denied" },
	{ EX_CONFIG, "5.3.5", "local configuration error" },
};

static size_t
digits(struct span s, size_t at)
{
	size_t n = 0;

	while (at + n < s.n && n < 4 && ascii_isdigit(s.p[at + n]))
		n++;
	return n;
}

/* Length of the code at the front, 0 when there is none: "D.DDD.DDD", then a blank or the end. */
static size_t
dsn_length(struct span s)
{
	size_t subject, detail;

	if (s.n < 5 || (s.p[0] != '4' && s.p[0] != '5') || s.p[1] != '.')
		return 0;
	subject = digits(s, 2);
	if (subject == 0 || subject > 3 || 2 + subject >= s.n || s.p[2 + subject] != '.')
		return 0;
	detail = digits(s, 3 + subject);
	if (detail == 0 || detail > 3)
		return 0;
	if (3 + subject + detail < s.n && !ascii_isspace(s.p[3 + subject + detail]))
		return 0;
	return 3 + subject + detail;
}

static enum exits_result
result_of(const struct fault *why)
{
	return why->dsn[0] == '4' ? EXITS_DEFERRED : EXITS_BOUNCED;
}

static const struct exit_row *
find_row(int status)
{
	for (size_t i = 0; i < sizeof(exit_rows) / sizeof(exit_rows[0]); i++)
		if (exit_rows[i].status == status)
			return &exit_rows[i];
	return NULL;
}

static const char *
joint(struct span output)
{
	return output.n > 0 ? ". Command output: " : "";
}

enum exits_result
exits_status(int status, struct span command, struct span output, struct fault *why)
{
	const struct exit_row *row = find_row(status);
	size_t n = dsn_length(output);

	if (status == 0)
		return EXITS_SENT;
	if (n > 0) {
		struct span text = span_from(output, n);
		char dsn[10] = "";

		memcpy(dsn, output.p, n < sizeof(dsn) ? n : sizeof(dsn) - 1);
		while (text.n > 0 && ascii_isspace(text.p[0]))
			text = span_from(text, 1);
		fault_set(why, dsn, "%.*s", SPAN_ARG(text));
	} else if (row != NULL) {
		fault_set(why, row->dsn, "%s%s%.*s", row->text, joint(output), SPAN_ARG(output));
	} else {
		fault_set(why, "5.3.0", "Command died with status %d: \"%.*s\"%s%.*s", status,
		    SPAN_ARG(command), joint(output), SPAN_ARG(output));
	}
	return result_of(why);
}

enum exits_result
exits_signal(int signo, struct span command, struct span output, struct fault *why)
{
	fault_set(why, "4.3.0", "Command died with signal %d: \"%.*s\"%s%.*s", signo,
	    SPAN_ARG(command), joint(output), SPAN_ARG(output));
	return EXITS_DEFERRED;
}

enum exits_result
exits_time_limit(struct span command, struct span output, struct fault *why)
{
	fault_set(why, "5.3.0", "Command time limit exceeded: \"%.*s\"%s%.*s", SPAN_ARG(command),
	    joint(output), SPAN_ARG(output));
	return EXITS_BOUNCED;
}
