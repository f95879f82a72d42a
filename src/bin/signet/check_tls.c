/* signet check: anchors, digests and protocols; levels that keep mail out. */
#include <dirent.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "conf/params.h"
#include "conf/words.h"
#include "signet/check.h"
#include "tls/policy.h"

struct tls_check {
	const struct checker *c;
	const struct conf_item *items;
	size_t n;
};

/* The item when it is worth looking at: set, with a value. */
static const struct conf_item *
wanted(const struct tls_check *t, const char *name)
{
	const struct conf_item *i = check_find(t->items, t->n, name);

	if (i == NULL || i->file == NULL || i->value == NULL || *i->value == '\0')
		return NULL;
	return i;
}

static const char *
openssl_reason(void)
{
	const char *text = ERR_reason_error_string(ERR_peek_last_error());

	return text != NULL ? text : "unknown reason";
}

static bool
is_readable(const struct tls_check *t, const struct conf_item *i, const char *path)
{
	int err = fd_access(path, R_OK);

	if (err < 0)
		check_say(t->c, CONF_ERROR, i, "name a file that exists and can be read by root", "%s: %s", path,
		    fd_error(err));
	return err >= 0;
}

static void
check_files(const struct tls_check *t, const char *name)
{
	const struct conf_item *i = wanted(t, name);
	struct span rest = span_str(i != NULL ? i->value : NULL), one;
	char path[4096];

	while (word_next(&rest, &one)) {
		snprintf(path, sizeof(path), "%.*s", SPAN_ARG(one));
		is_readable(t, i, path);
	}
}

static void
check_anchors(const struct tls_check *t, const char *name)
{
	const struct conf_item *i = wanted(t, name);
	X509_STORE *store;

	if (i == NULL || !is_readable(t, i, i->value))
		return;
	store = X509_STORE_new();
	ERR_clear_error();
	if (X509_STORE_load_file(store, i->value) != 1)
		check_say(t->c, CONF_ERROR, i, "it must hold certificates in PEM form", "%s: %s", i->value, openssl_reason());
	X509_STORE_free(store);
	ERR_clear_error();
}

/* "1a2b3c4d.0": only what is named so is found. */
static void
check_hashed(const struct tls_check *t, const char *name)
{
	const struct conf_item *i = wanted(t, name);
	struct dirent *e;
	DIR *dir = i != NULL ? opendir(i->value) : NULL;
	bool found = false;
	char fix[4200];

	if (dir == NULL)
		return;                 /* said by check_files() */
	while (!found && (e = readdir(dir)) != NULL)
		found = strlen(e->d_name) > 9 && strspn(e->d_name, "0123456789abcdef") == 8 && e->d_name[8] == '.';
	closedir(dir);
	snprintf(fix, sizeof(fix), "openssl rehash %s", i->value);
	if (!found)
		check_say(t->c, CONF_WARNING, i, fix, "%s: no certificate is named by its hash there, so none is trusted", i->value);
}

static void
check_digest(const struct tls_check *t, const char *name)
{
	const struct conf_item *i = wanted(t, name);

	if (i != NULL && EVP_get_digestbyname(i->value) == NULL)
		check_say(t->c, CONF_ERROR, i, "sha256, sha512, ...", "no such digest: %s", i->value);
}

static void
check_protocols(const struct tls_check *t, const char *name)
{
	const struct conf_item *i = wanted(t, name);
	struct tls_protocols p;
	struct fault why;

	if (i != NULL && !tls_protocols_parse(span_str(i->value), &p, &why))
		check_say(t->c, CONF_ERROR, i, ">=TLSv1.2 for example", "%s", why.text);
}

static void
check_side(const struct tls_check *t, const char *prefix)
{
	char a[64];

	check_chains(t->c, t->items, t->n, prefix);
	snprintf(a, sizeof(a), "%s_CAfile", prefix);
	check_anchors(t, a);
	snprintf(a, sizeof(a), "%s_CApath", prefix);
	check_files(t, a);
	check_hashed(t, a);
	snprintf(a, sizeof(a), "%s_fingerprint_digest", prefix);
	check_digest(t, a);
	snprintf(a, sizeof(a), "%s_protocols", prefix);
	check_protocols(t, a);
	snprintf(a, sizeof(a), "%s_mandatory_protocols", prefix);
	check_protocols(t, a);
}

/* ---- levels */

static bool
is_port_25(const char *service)
{
	const char *colon = strrchr(service, ':');
	const char *port = colon != NULL ? colon + 1 : service;

	return strcmp(port, "25") == 0 || strcmp(port, "smtp") == 0;
}

static bool
has_certificate(const struct params *p)
{
	return *p->smtpd_tls_chain_files != '\0' || *p->smtpd_tls_cert_file != '\0' || *p->smtpd_tls_eccert_file != '\0' ||
	    *p->smtpd_tls_dcert_file != '\0';
}

static void
check_server_level(const struct checker *c, const struct conf_service *s)
{
	const struct params *p = s->params;
	const char *level = p->smtpd_tls_security_level;
	bool mandatory = *level != '\0' ? strcmp(level, "none") != 0 && strcmp(level, "may") != 0 : p->smtpd_enforce_tls;
	bool used = mandatory || strcmp(level, "may") == 0 || p->smtpd_use_tls || p->smtpd_tls_wrappermode;

	if (s->disabled)
		return;
	if (mandatory && !p->smtpd_tls_wrappermode && is_port_25(s->name))
		conf_report_add(c->report, CONF_WARNING, s->file, s->line,
		    "use smtpd_tls_security_level = may on port 25, and smtpd_tls_policy_maps or reject_plaintext_session "
		    "for clients that must encrypt",
		    "service %s demands TLS on port 25: servers that do not offer it cannot send mail here (RFC 3207 section 4)",
		    s->name);
	if (used && !has_certificate(p))
		conf_report_add(c->report, CONF_WARNING, s->file, s->line,
		    "set smtpd_tls_chain_files; smtpd_tls_cert_file = none says that anonymous suites are meant",
		    "service %s has no certificate: %s", s->name, p->smtpd_tls_wrappermode ? "every client is turned away" :
		    mandatory ? "it demands TLS and cannot offer it, so no mail is taken" : "STARTTLS is not offered");
}

static bool
needs_anchors(const char *level)
{
	return strcmp(level, "verify") == 0 || strcmp(level, "secure") == 0;
}

static void
check_client_level(const struct tls_check *t, const struct params *p)
{
	const struct conf_item *i = wanted(t, "smtp_tls_security_level");

	if (i == NULL || !needs_anchors(p->smtp_tls_security_level) || *p->smtp_tls_CAfile != '\0' ||
	    *p->smtp_tls_CApath != '\0' || *p->smtp_tls_trust_anchor_file != '\0')
		return;
	check_say(t->c, CONF_WARNING, i, "set smtp_tls_CApath = /etc/ssl/certs or smtp_tls_CAfile",
	    "no certification authority is trusted, so no server can be verified and all mail waits");
}

/* Strangers come to a service with these settings. */
static bool
is_public(const struct checker *c, const struct conf_service *s)
{
	for (size_t i = 0; i < c->conf->service_count; i++) {
		const struct conf_service *one = &c->conf->services[i];

		if (one->set == s->set && !one->disabled && strcmp(one->command, "smtpd") == 0 && is_port_25(one->name) &&
		    !one->params->smtpd_tls_wrappermode)
			return true;
	}
	return false;
}

static void
check_service(const struct checker *c, const struct conf_service *s)
{
	struct tls_check t = { .c = c };
	struct conf_item *items = conf_items(s, &t.n);

	t.items = items;
	check_side(&t, "smtp_tls");
	check_side(&t, "lmtp_tls");
	check_side(&t, "smtpd_tls");
	check_sni(c, items, t.n);
	check_ccert(c, s, items, t.n);
	check_client_level(&t, s->params);
	check_tls_policy(c, s, is_public(c, s));
	check_tls_client(c, s);
	conf_items_free(&items);
}

/* A collector that is there when it is needed. */
static void
check_collector(const struct checker *c, const struct conf_service *s)
{
	const struct params *p = s->params;
	const char *name = p->smtp_tlsrpt_socket_name;
	char path[4096];
	int r;

	if (!p->smtp_tlsrpt_enable || name[0] == '\0')
		return;
	snprintf(path, sizeof(path), "%s%s%s", name[0] == '/' ? "" : p->queue_directory, name[0] == '/' ? "" : "/", name);
	r = check_takes_datagrams(path);
	if (r < 0 && r != -ENAMETOOLONG)
		conf_report_add(c->report, CONF_WARNING, s->file, s->line, "start tlsrpt-collectd with this socketname, writable by mail_owner; until then no TLS reports are made",
		    "service %s: smtp_tlsrpt_socket_name = %s: %s: %s", s->name, name, path, fd_error(r));
}

void
check_tls(const struct checker *c)
{
	check_service(c, c->conf->none);
	for (size_t i = 0; i < c->conf->service_count; i++) {
		const struct conf_service *s = &c->conf->services[i];

		if (s->set != c->conf->none->set)
			check_service(c, s);
		if (strcmp(s->command, "smtp") == 0 && !s->disabled && s->type != CONF_SERVICE_INET)
			check_collector(c, s);
		if (strcmp(s->command, "smtpd") == 0) {
			check_server_level(c, s);
			check_tls_server(c, s);
		}
	}
}
