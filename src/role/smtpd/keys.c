/* What smtpd gets from keeper: certificates that change, chains by SNI name, ticket keys that expire. */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/panic.h"
#include "ipc/messages.h"
#include "role/common/chains.h"
#include "role/smtpd/smtpd.h"
#include "tls/keeper.h"

enum { RETRY_MS = 1000, SNI_MAX = 4096, DH_FILE_MAX = 65536 };

void
keys_open(struct smtpd *d)
{
	if (!role_keys_in_process())
		tls_keeper_require(d->role->generation);
	else
		log_warning_once(NULL, "SIGNET_KEYS=in-process: private keys live in this process; this is for benchmarks only");
}

/* --- ticket keys --- */

/* The time to the next keys. Without an answer there are none: old ones never outlive their time. */
static int64_t
refresh_tickets(struct service *svc)
{
	int64_t life_s = svc->p->smtpd_tls_session_cache_timeout_ms / 1000, next_ms = RETRY_MS;
	struct tls_ticket_keys keys = { 0 };

	if (life_s <= 0)
		return INT64_MAX;
	tls_keeper_tickets(life_s, &keys, &next_ms);
	keys.expires_s[1] = clock_wall_us() / US_PER_S + next_ms / 1000;        /* this epoch's end, and that of the next */
	keys.expires_s[0] = keys.expires_s[1] + life_s / 2;
	tls_server_ctx_set_ticket_keys(svc->tls, &keys);
	explicit_bzero(&keys, sizeof(keys));
	return next_ms;
}

void
keys_take_tickets(struct smtpd *d, struct service *svc)
{
	(void)d;
	refresh_tickets(svc);
}

static void
on_tickets(void *ctx)
{
	struct smtpd *d = ctx;
	int64_t next_ms = INT64_MAX, one;

	for (size_t i = 0; i < d->n_services; i++) {
		if (d->services[i].tls == NULL)
			continue;
		one = refresh_tickets(&d->services[i]);
		if (one < next_ms)
			next_ms = one;
	}
	if (next_ms != INT64_MAX)
		loop_timer_set_ms(&d->tickets, next_ms);
}

/* --- certificates that change --- */

static void
renew(struct smtpd *d, struct service *svc)
{
	struct tls_chain_params p;
	struct fault why = { 0 };

	if (!svc->tls_wanted || !tls_keeper_required())
		return;
	if (svc->tls == NULL) {
		if (service_make_tls(d, svc, &why))
			log_info_once(&svc->log, "service %s: TLS is available now", svc->name);
		return;                 /* keeper has said what is wrong with the files */
	}
	if (role_chain_params(svc->cs, &p) && !tls_server_ctx_renew_chain(svc->tls, &p, &why))
		log_warning_once(&svc->log, "service %s: %s; the certificates in use stay", svc->name, why.text);
}

static void
on_change(void *ctx)
{
	struct smtpd *d = ctx;

	for (size_t i = 0; i < d->n_services; i++) {
		keys_forget_sni(&d->services[i]);
		renew(d, &d->services[i]);
	}
	on_tickets(d);
}

void
keys_start(struct smtpd *d)
{
	loop_timer_init(&d->tickets, d->role->loop, on_tickets, d);
	tls_keeper_watch(d->role->loop, on_change, d);
	on_tickets(d);
}

/* --- DH parameters that change --- */

static bool
read_handed(struct smtpd *d, const char *path, struct buf *text, struct fault *why)
{
	int fd = role_handed_file(d->role, path);
	char *room = fd >= 0 ? buf_space(text, DH_FILE_MAX) : NULL;
	ssize_t n = fd < 0 ? fd : room == NULL ? -EFBIG : fd_pread(fd, room, DH_FILE_MAX, 0);

	fd_close(&fd);
	text->n = n > 0 ? (size_t)n : 0;
	return n >= 0 || fault_set(why, NULL, "%s: %s", path, fd_error((int)n));
}

void
keys_file_changed(struct role *r, const char *path)
{
	struct smtpd *d = r->state;
	struct fault why = { 0 };
	struct buf text;
	bool said = false;

	buf_init(&text, DH_FILE_MAX);
	for (size_t i = 0; i < d->n_services; i++) {
		const struct service *svc = &d->services[i];
		bool ok;

		if (svc->tls == NULL || strcmp(svc->p->smtpd_tls_dh1024_param_file, path) != 0)
			continue;
		ok = (text.n > 0 || read_handed(d, path, &text, &why)) && tls_server_ctx_renew_dh(svc->tls, path, buf_span(&text), &why);
		if (!said && ok)
			log_info_once(NULL, "smtpd_tls_dh1024_param_file: %s: the new group is in use", path);
		else if (!said)
			log_warning_once(NULL, "smtpd_tls_dh1024_param_file: %s; the group in use stays", why.text);
		said = true;
	}
	buf_release(&text);
}

/* --- chains by name --- */

struct sni_answer {
	struct hmap_node by_name;
	char *name;
	struct tls_chain *chain;        /* NULL: no entry */
};

static void
drop(struct service *svc, struct sni_answer *a)
{
	hmap_remove(&svc->sni, &a->by_name);
	tls_chain_unref(&a->chain);
	free(a->name);
	free(a);
}

void
keys_forget_sni(struct service *svc)
{
	HMAP_EACH(n, &svc->sni)
		drop(svc, HMAP_ENTRY(n, struct sni_answer, by_name));
}

static struct sni_answer *
find(const struct service *svc, const char *name)
{
	HMAP_EACH_HASH(n, &svc->sni, span_hash(span_str(name))) {
		struct sni_answer *a = HMAP_ENTRY(n, struct sni_answer, by_name);

		if (strcmp(a->name, name) == 0)
			return a;
	}
	return NULL;
}

/* Clients choose the names: a full cache starts anew. */
static struct sni_answer *
keep(struct service *svc, const char *name, struct tls_chain *chain)
{
	struct sni_answer *a = calloc(1, sizeof(*a));

	if (svc->sni.count >= SNI_MAX)
		keys_forget_sni(svc);
	ensure(a != NULL && (a->name = strdup(name)) != NULL);
	a->chain = chain;
	hmap_add(&svc->sni, &a->by_name, span_hash(span_str(name)));
	return a;
}

/* NULL: the tables cannot say. */
static struct sni_answer *
look_up(struct session *s, const char *name)
{
	struct sni_answer *a = find(s->svc, name);
	struct tls_chain *chain = NULL;
	struct fault why = { 0 };

	if (a != NULL)
		return a;
	if (tls_keeper_sni(s->p->tls_server_sni_maps, name, &chain, &why) != TLS_SNI_DEFER)
		return keep(s->svc, name, chain);
	log_warning(&s->log, "TLS SNI %s from %.*s: %s", name, SPAN_ARG(s->facts.namaddr), why.text);
	return NULL;
}

bool
keys_have_sni(const struct service *svc)
{
	return svc->p->tls_server_sni_maps[0] != '\0' && tls_keeper_required();
}

struct tls_chain *
keys_named_chain(struct session *s, const char *name, struct fault *why)
{
	struct sni_answer *a = keys_have_sni(s->svc) ? look_up(s, name) : NULL;

	if (a == NULL || a->chain == NULL) {
		fault_set(why, "4.7.0", "no chain for %s in tls_server_sni_maps", name);
		return NULL;
	}
	return a->chain;
}

void
keys_choose_chain(struct session *s)
{
	const char *name = stream_sni_name(&s->stream);
	struct sni_answer *a = look_up(s, name);

	if (a != NULL && a->chain == NULL)
		log_tls_sni_unmatched(&s->log, s->facts.namaddr, span_str(name));
	stream_set_chain(&s->stream, a != NULL ? a->chain : NULL, a == NULL);
}
