/* signet check: AUTH in the SMTP server: is somebody listening where the authentication service should be. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "conf/params.h"
#include "signet/check.h"

#define NOWHERE "in Dovecot: service auth { unix_listener PATH { mode = 0660, user = who smtpd runs as } }, or inet_listener { port = PORT }; until then AUTH is not offered"

static void
socket_path(const struct params *p, struct span text, char path[4096])
{
	if (span_starts(text, SPAN("unix:")))
		text = span_from(text, 5);
	if (text.n > 0 && text.p[0] == '/')
		snprintf(path, 4096, "%.*s", SPAN_ARG(text));
	else
		snprintf(path, 4096, "%s/%.*s", p->queue_directory, SPAN_ARG(text));
}

/* "host:port" */
static int
listens(struct span text)
{
	ptrdiff_t colon = span_rindex(text, ':');
	struct span host = span_slice(text, 0, colon > 0 ? (size_t)colon : 0);
	char name[256];
	uint64_t port;

	if (host.n > 2 && host.p[0] == '[' && host.p[host.n - 1] == ']')
		host = span_slice(host, 1, host.n - 1);
	if (host.n == 0 || host.n >= sizeof(name) || !span_u64(span_from(text, (size_t)colon + 1), 65535, &port))
		return 0;               /* said elsewhere, or the name of a port */
	snprintf(name, sizeof(name), "%.*s", SPAN_ARG(span_eq_ci(host, SPAN("localhost")) ? SPAN("127.0.0.1") : host));
	return check_listens_inet(name, (unsigned)port);
}

static void
check_socket(const struct checker *c, const struct conf_service *s)
{
	struct span text = span_str(s->params->smtpd_sasl_path);
	char path[4096];
	struct stat st = { .st_mode = S_IFSOCK };
	int r;

	if (span_starts(text, SPAN("inet:"))) {
		r = listens(span_from(text, 5));
	} else {
		socket_path(s->params, text, path);
		r = fd_stat_path(path, &st);
		if (r >= 0 && S_ISSOCK(st.st_mode))
			r = check_listens_path(path);
	}
	if (r < 0)
		conf_report_add(c->report, CONF_WARNING, s->file, s->line, NOWHERE,
		    "service %s: smtpd_sasl_path = %s: there is no authentication service: %s", s->name, s->params->smtpd_sasl_path,
		    fd_error(r));
	else if (!S_ISSOCK(st.st_mode))
		conf_report_add(c->report, CONF_ERROR, s->file, s->line, "name the socket of Dovecot's unix_listener",
		    "service %s: smtpd_sasl_path = %s: this is not a socket", s->name, s->params->smtpd_sasl_path);
}

/* Passwords in clear are a choice; it should be one. */
static void
check_clear(const struct checker *c, const struct conf_service *s)
{
	const struct params *p = s->params;

	if (p->smtpd_tls_auth_only || p->smtpd_tls_wrappermode || strcmp(p->smtpd_tls_security_level, "encrypt") == 0 ||
	    p->smtpd_enforce_tls || strstr(p->smtpd_sasl_security_options, "noplaintext") != NULL)
		return;
	conf_report_add(c->report, CONF_WARNING, s->file, s->line,
	    "set smtpd_tls_auth_only = yes, or smtpd_tls_security_level = encrypt for this service",
	    "service %s: AUTH takes passwords in clear text", s->name);
}

/* A certificate is a password here: who gives them out? */
static void
check_external(const struct checker *c, const struct conf_service *s)
{
	const struct params *p = s->params;

	if (!p->smtpd_tls_ask_ccert || !p->tls_append_default_CA ||
	    span_find_ci(span_str(p->smtpd_sasl_mechanism_filter), SPAN("!external")) >= 0)
		return;
	conf_report_add(c->report, CONF_WARNING, s->file, s->line,
	    "set tls_append_default_CA = no, and only the authority that knows your users in smtpd_tls_CAfile",
	    "service %s: with AUTH EXTERNAL, any public authority's certificate with the CN of a user logs in as that user", s->name);
}

void
check_sasl(const struct checker *c)
{
	for (size_t i = 0; i < c->conf->service_count; i++) {
		const struct conf_service *s = &c->conf->services[i];

		if (s->disabled || strcmp(s->command, "smtpd") != 0 || !s->params->smtpd_sasl_auth_enable)
			continue;
		check_socket(c, s);
		check_clear(c, s);
		check_external(c, s);
	}
}
