/* keeper: its page of the tree of processes, and the questions that its main thread answers. */
#include "role/keeper/keeper.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/panic.h"
#include "base/rand.h"
#include "ipc/ipc_private.h"
#include "role/common/chains.h"
#include "role/common/confine.h"
#include "role/roles.h"

/* SETTLE: files that belong together arrive one after the other. LOOK_AGAIN: tables look at their files once a second. */
enum { SETTLE_MS = 300, LOOK_AGAIN_MS = 1500, SWEEP_MS = 10000, KEEP_S = 60 };
enum { ANSWER_MAX = 4 << 20, SECURE_BYTES = 4 << 20 };

static struct keeper keeper;

bool
keeper_level_may(const struct conf_service *cs)
{
	const struct params *p = cs->params;
	enum tls_server_level level;
	const char *warning;
	struct fault why;

	return tls_server_level_parse(p->smtpd_tls_security_level, p->smtpd_use_tls, p->smtpd_enforce_tls,
		   p->smtpd_tls_wrappermode, &level, &warning, &why) && level == TLS_SERVER_MAY;
}

/* --- files --- */

struct opening {
	struct keeper *k;
	bool *asked;            /* NULL: what is not here cannot be had */
};

static int
open_handed(void *ctx, const char *path)
{
	struct opening *o = ctx;
	struct ipc_keeper_open m = { .path = span_str(path) };
	int fd = role_handed_file(o->k->role, path);

	if (fd != -EAGAIN)
		return fd;
	if (o->asked == NULL)
		return -ENOENT;
	*o->asked = true;
	ipc_send_keeper_open(ipc_peer_at(o->k->role->hub, IPC_ROLE_MASTER, 0), &m);
	return fd;
}

struct tls_opener
keeper_opener(struct keeper *k, bool *asked_r)
{
	static struct opening o;

	o = (struct opening){ k, asked_r };
	return (struct tls_opener){ open_handed, &o };
}

/* --- what is wanted --- */

void
keeper_sweep_keys(struct keeper *k)
{
	int64_t now = clock_mono_us(), keep_us = k->role->conf->params->reload_drain_time_ms * 1000 + KEEP_S * US_PER_S;

	ring_begin(k->ring);
	chains_sweep(k, now - keep_us);
	sni_sweep(k, now - keep_us);
	ring_end(k->ring, now, keep_us);
}

static void
on_sweep(void *ctx)
{
	struct keeper *k = ctx;

	keeper_sweep_keys(k);
	loop_timer_set_ms(&k->sweep, SWEEP_MS);
}

static void
on_settle(void *ctx)
{
	struct keeper *k = ctx;

	chains_reload(k);
	sni_mark_stale(k);
	server_tell_changed(k->server);
}

static void
on_again(void *ctx)
{
	struct keeper *k = ctx;

	sni_mark_stale(k);
	server_tell_changed(k->server);
}

static void
keeper_file_changed(struct role *r, const char *path)
{
	struct keeper *k = r->state;

	chains_file_changed(k, path);
	loop_timer_set_ms(&k->settle, SETTLE_MS);
	if (!list_empty(&k->sni))
		loop_timer_set_ms(&k->again, LOOK_AGAIN_MS);
}

/* --- ticket keys --- */

static struct ticket_line *
find_line(struct keeper *k, int64_t life_s)
{
	LIST_EACH(n, &k->lines) {
		struct ticket_line *l = LIST_ITEM(n, struct ticket_line, node);

		if (l->life_s == life_s)
			return l;
	}
	return NULL;
}

static void
line_free(struct ticket_line *l)
{
	list_remove(&l->node);
	tls_ticket_line_release(&l->line);
	free(l);
}

static void
want_line(struct keeper *k, int64_t life_s)
{
	uint8_t root[TLS_TICKET_ROOT_BYTES];
	struct ticket_line *l = find_line(k, life_s);

	if (l == NULL) {
		l = calloc(1, sizeof(*l));
		ensure(l != NULL);
		l->life_s = life_s;
		rand_bytes(root, sizeof(root));
		tls_ticket_line_init(&l->line, life_s, root, clock_mono_us());
		list_push_back(&k->lines, &l->node);
	}
	l->wanted = true;
}

/* Every line moves on when its time comes, asked or not: old keys are gone on time. */
static void
turn_lines(void *ctx)
{
	struct keeper *k = ctx;
	int64_t now = clock_mono_us(), next = now + 3600 * US_PER_S;

	LIST_EACH(n, &k->lines) {
		struct ticket_line *l = LIST_ITEM(n, struct ticket_line, node);

		tls_ticket_line_turn(&l->line, now);
		if (l->line.next_us < next)
			next = l->line.next_us;
	}
	loop_timer_set_ms(&k->epoch, (next - now) / 1000 + 1);
}

static void
lines_configure(struct keeper *k)
{
	const struct conf *c = k->role->conf;

	LIST_EACH(n, &k->lines)
		LIST_ITEM(n, struct ticket_line, node)->wanted = false;
	for (size_t i = 0; i < c->service_count; i++) {
		const struct conf_service *cs = &c->services[i];
		int64_t life_s = cs->params->smtpd_tls_session_cache_timeout_ms / 1000;

		if (cs->type == CONF_SERVICE_INET && !cs->disabled && strcmp(cs->command, "smtpd") == 0 && life_s > 0)
			want_line(k, life_s);
	}
	LIST_EACH(n, &k->lines)
		if (!LIST_ITEM(n, struct ticket_line, node)->wanted)
			line_free(LIST_ITEM(n, struct ticket_line, node));
	turn_lines(k);
}

/* --- answers --- */

static void
add_cert(struct ipc_kcert *c, X509 *cert, struct arena *a)
{
	unsigned char *der = NULL;
	int n = i2d_X509(cert, &der);

	c->der = n > 0 ? arena_dup(a, span_of(der, (size_t)n)) : SPAN("");
	OPENSSL_free(der);
}

static void
add_chains(struct ipc_keeper_chains_are *m, const struct tls_chain *c, struct arena *a)
{
	STACK_OF(X509) *issuers;
	EVP_PKEY *key;
	X509 *leaf;

	m->chains = ARENA_ARRAY(a, struct ipc_kchain, tls_chain_count(c));
	for (size_t i = 0; tls_chain_at(c, i, &leaf, &issuers, &key); i++) {
		struct ipc_kchain *to = &m->chains[m->n_chains++];
		int n = sk_X509_num(issuers) > 0 ? sk_X509_num(issuers) : 0;

		to->certs = ARENA_ARRAY(a, struct ipc_kcert, (size_t)n + 1);
		add_cert(&to->certs[to->n_certs++], leaf, a);
		for (int j = 0; j < n; j++)
			add_cert(&to->certs[to->n_certs++], sk_X509_value(issuers, j), a);
	}
}

static void
answer_chains(struct keeper *k, struct ask *ask, enum chain_state state, const struct tls_chain *c, const char *why)
{
	struct ipc_keeper_chains_are m = { .state = (uint8_t)state, .why = span_str(why) };
	struct arena *a = arena_new(ANSWER_MAX);
	struct buf b;

	if (state == CHAIN_HERE)
		add_chains(&m, c, a);
	buf_init(&b, IPC_FRAME_MAX);
	ipc_encode_keeper_chains_are(&b, &m);
	server_answer(k->server, ask, IPC_KEEPER_CHAINS_ARE, buf_span(&b));
	buf_release(&b);
	arena_free(&a);
}

static void
on_chains(struct keeper *k, struct ask *ask, const struct ipc_keeper_chains *m)
{
	const struct chain_set *s = chains_find(k, m->spec);

	if (m->generation > k->role->generation)
		answer_chains(k, ask, CHAIN_LATER, NULL, "");
	else if (s == NULL)
		answer_chains(k, ask, CHAIN_BROKEN, NULL, "keeper: the configuration has no such certificates");
	else
		answer_chains(k, ask, s->state, s->chain, s->why.text);
}

static void
on_sni(struct keeper *k, struct ask *ask, const struct ipc_keeper_sni *m)
{
	struct tls_chain *chain = NULL;
	struct fault why = { 0 };
	enum chain_state state = CHAIN_LATER;

	if (m->generation <= k->role->generation)
		state = sni_find(k, m->maps, m->name, &chain, &why);
	answer_chains(k, ask, state, chain, why.text);
}

static void
on_tickets(struct keeper *k, struct ask *ask, const struct ipc_keeper_tickets *m)
{
	struct ticket_line *l = find_line(k, m->life_s);
	struct ipc_keeper_ticket_keys answer = { .state = m->generation > k->role->generation ? CHAIN_LATER : CHAIN_ABSENT };
	struct buf b;
	int64_t now = clock_mono_us();

	if (l != NULL) {
		tls_ticket_line_turn(&l->line, now);
		answer.state = CHAIN_HERE;
		answer.next_ms = (uint32_t)((l->line.next_us - now) / 1000 + 1);
		answer.keys = span_of(l->line.keys.key, l->line.keys.count * sizeof(l->line.keys.key[0]));
	}
	buf_init(&b, 4096);
	ipc_encode_keeper_ticket_keys(&b, &answer);
	server_answer(k->server, ask, IPC_KEEPER_TICKET_KEYS, buf_span(&b));
	explicit_bzero(b.p, b.n);
	buf_release(&b);
}

static void
on_ask(void *ctx, struct ask *ask)
{
	struct keeper *k = ctx;
	struct arena *a = arena_new(1u << 20);
	union {
		struct ipc_keeper_chains chains;
		struct ipc_keeper_sni sni;
		struct ipc_keeper_tickets tickets;
	} m;
	struct span payload = buf_span(&ask->payload);

	if (ask->type == IPC_KEEPER_CHAINS && ipc_decode_keeper_chains(payload, a, &m.chains))
		on_chains(k, ask, &m.chains);
	else if (ask->type == IPC_KEEPER_SNI && ipc_decode_keeper_sni(payload, a, &m.sni))
		on_sni(k, ask, &m.sni);
	else if (ask->type == IPC_KEEPER_TICKETS && ipc_decode_keeper_tickets(payload, a, &m.tickets))
		on_tickets(k, ask, &m.tickets);
	else
		server_refuse(k->server, ask, "a message that cannot be read");
	arena_free(&a);
}

/* --- life --- */

static struct keeper *
state(struct role *r)
{
	struct keeper *k = &keeper;

	if (r->state != NULL)
		return k;
	*k = (struct keeper){ .role = r };
	k->ring = ring_new();
	k->server = server_new(k->ring);
	list_init(&k->sets);
	list_init(&k->sni);
	list_init(&k->lines);
	r->state = k;
	return k;
}

static bool
keeper_take_peer(struct role *r, unsigned role, unsigned index, int fd)
{
	if (role != IPC_ROLE_SMTPD && role != IPC_ROLE_SMTPC)
		return false;
	server_add(state(r)->server, role, index, fd);
	return true;
}

static void
configure(struct keeper *k)
{
	lines_configure(k);
	if (role_keys_in_process())
		return;         /* the benchmark's comparison: nobody asks */
	chains_configure(k);
	sni_configure(k);
	keeper_sweep_keys(k);
}

/*
 * Where not all memory can be locked (a limit that nobody may raise) the library's own small
 * locked heap takes the secret numbers of keys; it holds about a thousand RSA keys.
 */
static void
lock_numbers(const struct role *r)
{
	if (r->memory_locked)
		return;
	if (CRYPTO_secure_malloc_init(SECURE_BYTES, 32) == 1)
		log_info(NULL, "only the secret numbers of keys are locked in memory");
	else
		log_warning(NULL, "memory cannot be locked: private keys may be written to swap space");
}

static void
keeper_start(struct role *r)
{
	struct keeper *k = state(r);

	lock_numbers(r);
	loop_timer_init(&k->settle, r->loop, on_settle, k);
	loop_timer_init(&k->again, r->loop, on_again, k);
	loop_timer_init(&k->sweep, r->loop, on_sweep, k);
	loop_timer_init(&k->epoch, r->loop, turn_lines, k);
	configure(k);
	loop_timer_set_ms(&k->sweep, SWEEP_MS);
	server_start(k->server, r->loop, confine_cores(), on_ask, k);
}

static void
keeper_reconf(struct role *r, const struct conf *old)
{
	(void)old;
	configure(r->state);
}

static void
keeper_status(struct role *r, struct buf *json)
{
	struct keeper *k = r->state;
	struct server_counts c = server_counts(k->server);

	buf_addf(json, "\"keys\": %zu, \"askers\": %u, \"signatures\": %llu, \"refused\": %llu", ring_count(k->ring), c.askers,
	    (unsigned long long)c.signatures, (unsigned long long)c.refused);
}

const struct role_spec keeper_role = {
	.role = IPC_ROLE_KEEPER,
	.keys = true,
	.start = keeper_start,
	.take_peer = keeper_take_peer,
	.file_changed = keeper_file_changed,
	.reconf = keeper_reconf,
	.status = keeper_status,
};
