/* Questions to keeper over one channel, one at a time, each with a deadline. */
#include "tls/keeper.h"

#include <errno.h>
#include <poll.h>
#include <time.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/panic.h"
#include "ipc/ipc_private.h"
#include "ipc/messages.h"
#include "tls/credentials.h"
#include "tls/schemes.h"

enum { ANSWER_MS = 1000, AGAIN_MS = 5, OVERDUE_MS = 5000 };
enum { CHAINS_ARE_HERE, CHAINS_ABSENT, CHAINS_BROKEN, CHAINS_LATER };

static struct keeper {
	bool required;
	uint32_t generation;
	int fd;                 /* -1 = none */
	uint64_t last_id;
	int64_t overdue_us;     /* an answer did not come in time: no new questions before */
	bool changed;           /* keeper said so */
	bool silent_logged;
	struct buf out, in;
	struct arena *arena;
	struct loop *loop;
	struct loop_fd watch;
	struct loop_task tell;
	void (*on_change)(void *ctx);
	void *on_change_ctx;
} self = { .fd = -1 };

/* --- the channel --- */

static void
set_up(void)
{
	if (self.arena != NULL)
		return;
	buf_init(&self.out, IPC_FRAME_MAX);
	buf_init(&self.in, IPC_FRAME_MAX);
	self.arena = arena_new(IPC_ARENA_MAX);
}

void
tls_keeper_require(uint32_t generation)
{
	set_up();
	self.required = true;
	self.generation = generation;
}

bool
tls_keeper_required(void)
{
	return self.required;
}

static void
hang_up(void)
{
	if (self.loop != NULL && self.fd >= 0)
		loop_fd_release(&self.watch);
	fd_close(&self.fd);
}

static void
note_change(void)
{
	if (!self.changed && self.loop != NULL)
		loop_defer(self.loop, &self.tell);
	self.changed = true;
}

static void
on_tell(void *ctx)
{
	(void)ctx;
	self.changed = false;
	if (self.on_change != NULL)
		self.on_change(self.on_change_ctx);
}

/* The next message if one is there within `wait_ms`: its type, 0 for none. A dead channel is closed. */
static int
receive(int wait_ms, uint64_t *id_r, struct span *payload_r)
{
	struct pollfd p = { self.fd, POLLIN, 0 };
	int fd = -1, type;

	if (self.fd < 0 || poll(&p, 1, wait_ms) <= 0)
		return 0;
	type = ipc_read_blocking(self.fd, ANSWER_MS, &self.in, id_r, payload_r, &fd);
	fd_close(&fd);
	if (type <= 0) {
		hang_up();
		return 0;
	}
	/* it speaks again: what could not be asked meanwhile is asked now */
	if (type == IPC_KEEPER_CHANGED || self.overdue_us != 0)
		note_change();
	self.overdue_us = 0;
	return type;
}

/* What comes unasked: news, and answers that were late. */
static void
on_readable(void *ctx, unsigned ready)
{
	struct span payload;
	uint64_t id;

	(void)ctx;
	(void)ready;
	while (receive(0, &id, &payload) > 0)
		;
}

static void
start_watching(void)
{
	if (self.loop == NULL || self.fd < 0)
		return;
	loop_fd_init(&self.watch, self.loop, self.fd, on_readable, NULL);
	loop_fd_want(&self.watch, LOOP_READ);
}

void
tls_keeper_set_channel(int fd)
{
	set_up();
	hang_up();
	self.fd = fd;
	self.overdue_us = 0;
	self.silent_logged = false;
	start_watching();
	note_change();
}

void
tls_keeper_watch(struct loop *l, void (*changed)(void *ctx), void *ctx)
{
	self.loop = l;
	self.on_change = changed;
	self.on_change_ctx = ctx;
	self.changed = false;
	loop_task_init(&self.tell, on_tell, NULL);
	start_watching();
}

void
tls_keeper_release(void)
{
	hang_up();
	if (self.loop != NULL)
		loop_task_cancel(&self.tell);
	if (self.arena != NULL) {
		buf_release(&self.out);
		buf_release(&self.in);
		arena_free(&self.arena);
	}
	self = (struct keeper){ .fd = -1 };
}

/* --- questions --- */

static bool
silent(struct fault *why, const char *text)
{
	if (!self.silent_logged)
		log_warning_once(NULL, "keeper: %s: TLS handshakes that need a private key fail until it answers", text);
	self.silent_logged = true;
	return fault_set(why, "4.7.5", "%s", text);
}

/* May a question be put now? Not while an answer is overdue, unless it has come meanwhile. */
static bool
ready(struct fault *why)
{
	struct span payload;
	uint64_t id;

	while (self.overdue_us != 0 && receive(0, &id, &payload) > 0)
		;
	if (self.fd < 0)
		return silent(why, "the process that holds the private keys is not there");
	if (self.overdue_us != 0 && clock_mono_us() < self.overdue_us)
		return silent(why, "no answer within a second, not asked again yet");
	return true;
}

bool
tls_keeper_ready(struct fault *why)
{
	return !self.required || ready(why);
}

/* Chains and ticket keys of a process that starts: keeper may be starting, too, and reads its files first. */
static int
patience_ms(void)
{
	return self.loop == NULL ? TLS_KEEPER_START_MS : ANSWER_MS;
}

/* Send what stands in self.out and wait for its answer. */
static bool
ask(unsigned type, unsigned answer, int wait_ms, struct span *payload_r, struct fault *why)
{
	int64_t deadline = clock_mono_us() + (int64_t)wait_ms * 1000;
	uint64_t id, want = ++self.last_id;
	int r, got;

	if (!ready(why))
		return false;
	r = ipc_write_within(self.fd, ANSWER_MS, type, want, buf_span(&self.out), -1);
	if (r < 0) {
		hang_up();
		return silent(why, fd_error(r));
	}
	while (clock_mono_us() < deadline) {
		got = receive((int)((deadline - clock_mono_us()) / 1000) + 1, &id, payload_r);
		if (self.fd < 0)
			return silent(why, "the process that holds the private keys ended");
		if (got == (int)answer && id == want) {
			self.silent_logged = false;
			return true;
		}
	}
	self.overdue_us = clock_mono_us() + (int64_t)OVERDUE_MS * 1000;
	return silent(why, "no answer within a second");
}

static void
pause_ms(long ms)
{
	struct timespec t = { .tv_nsec = ms * 1000000 };

	nanosleep(&t, NULL);
}

/* --- keys --- */

bool
tls_keeper_sign(const uint8_t key[TLS_KEY_ID_BYTES], uint16_t scheme, struct span text, uint8_t *sig_r, size_t *n,
    struct fault *why)
{
	struct ipc_keeper_sign m = { .key = span_of(key, TLS_KEY_ID_BYTES), .scheme = scheme, .text = text };
	struct ipc_keeper_signed got;
	struct span payload;

	set_up();
	buf_clear(&self.out);
	arena_clear(self.arena);
	ipc_encode_keeper_sign(&self.out, &m);
	if (self.out.full)
		return fault_set(why, "4.7.5", "the handshake is too long to be signed");
	if (!ask(IPC_KEEPER_SIGN, IPC_KEEPER_SIGNED, ANSWER_MS, &payload, why))
		return false;
	if (!ipc_decode_keeper_signed(payload, self.arena, &got))
		return fault_set(why, "4.7.5", "garbled answer");
	if (!got.ok || got.signature.n > *n)
		return fault_set(why, "4.7.5", "%.*s", SPAN_ARG(got.why));
	memcpy(sig_r, got.signature.p, got.signature.n);
	*n = got.signature.n;
	return true;
}

bool
tls_keeper_decrypt(const uint8_t key[TLS_KEY_ID_BYTES], uint16_t client_version, uint16_t version, struct span text,
    uint8_t premaster_r[48], struct fault *why)
{
	struct ipc_keeper_decrypt m = { .key = span_of(key, TLS_KEY_ID_BYTES), .client_version = client_version,
		.version = version, .text = text };
	struct ipc_keeper_decrypted got;
	struct span payload;

	set_up();
	buf_clear(&self.out);
	arena_clear(self.arena);
	ipc_encode_keeper_decrypt(&self.out, &m);
	if (!ask(IPC_KEEPER_DECRYPT, IPC_KEEPER_DECRYPTED, ANSWER_MS, &payload, why))
		return false;
	if (!ipc_decode_keeper_decrypted(payload, self.arena, &got))
		return fault_set(why, "4.7.5", "garbled answer");
	if (!got.ok || got.premaster.n != 48)
		return fault_set(why, "4.7.5", "%.*s", SPAN_ARG(got.why));
	memcpy(premaster_r, got.premaster.p, 48);
	explicit_bzero(self.in.p, self.in.n);
	return true;
}

/* --- chains --- */

void
tls_chain_spec(const struct tls_chain_params *p, struct buf *spec_r)
{
	const char *parts[] = { p->prefix, p->chain_files, p->cert_file, p->key_file, p->eccert_file, p->eckey_file,
		p->dcert_file, p->dkey_file };

	buf_clear(spec_r);
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		buf_add_str(spec_r, parts[i]);
		buf_addc(spec_r, '\n');
	}
}

static X509 *
parse_cert(struct span der)
{
	const unsigned char *p = (const unsigned char *)der.p;

	return d2i_X509(NULL, &p, (long)der.n);
}

static bool
push_chain(struct tls_chain *c, const struct ipc_kchain *k, struct fault *why)
{
	X509 *leaf = k->n_certs > 0 ? parse_cert(k->certs[0].der) : NULL, *cert;
	STACK_OF(X509) *issuers = sk_X509_new_null();
	EVP_PKEY *key = NULL;
	bool ok = leaf != NULL && issuers != NULL;

	for (size_t i = 1; ok && i < k->n_certs; i++) {
		cert = parse_cert(k->certs[i].der);
		ok = cert != NULL && sk_X509_push(issuers, cert) > 0;
	}
	if (!ok)
		fault_set(why, "4.7.5", "keeper: unreadable certificate");
	if (ok) {
		key = tls_keeper_key(X509_get0_pubkey(leaf), why);
		ok = key != NULL && tls_chain_push(c, leaf, issuers, key);
	}
	EVP_PKEY_free(key);
	X509_free(leaf);
	sk_X509_pop_free(issuers, X509_free);
	return ok;
}

/* Ask (the question stands in self.out) until keeper has read its files, or time is over. */
static int
ask_chains(unsigned type, int wait_ms, struct tls_chain **chain_r, struct fault *why)
{
	int64_t deadline_us = clock_mono_us() + (int64_t)wait_ms * 1000;
	struct ipc_keeper_chains_are got;
	struct span payload;

	*chain_r = NULL;
	for (;;) {
		arena_clear(self.arena);
		if (!ask(type, IPC_KEEPER_CHAINS_ARE, wait_ms, &payload, why))
			return CHAINS_BROKEN;
		if (!ipc_decode_keeper_chains_are(payload, self.arena, &got)) {
			fault_set(why, "4.7.5", "keeper: garbled answer");
			return CHAINS_BROKEN;
		}
		if (got.state != CHAINS_LATER)
			break;
		if (clock_mono_us() > deadline_us) {
			fault_set(why, "4.7.5", "keeper has not read the certificates in time");
			return CHAINS_BROKEN;
		}
		pause_ms(AGAIN_MS);
	}
	if (got.state == CHAINS_BROKEN)
		fault_set(why, "4.7.5", "%.*s", SPAN_ARG(got.why));
	if (got.state != CHAINS_ARE_HERE)
		return got.state;
	*chain_r = tls_chain_new();
	for (size_t i = 0; i < got.n_chains; i++)
		if (!push_chain(*chain_r, &got.chains[i], why)) {
			tls_chain_unref(chain_r);
			return CHAINS_BROKEN;
		}
	return CHAINS_ARE_HERE;
}

bool
tls_keeper_chains(const struct tls_chain_params *p, struct tls_chain **chain_r, struct fault *why)
{
	struct ipc_keeper_chains m = { .generation = self.generation };
	struct buf spec;
	int state;

	*chain_r = NULL;
	buf_init(&spec, 65536);
	tls_chain_spec(p, &spec);
	m.spec = buf_span(&spec);
	set_up();
	buf_clear(&self.out);
	ipc_encode_keeper_chains(&self.out, &m);
	state = ask_chains(IPC_KEEPER_CHAINS, patience_ms(), chain_r, why);
	buf_release(&spec);
	return state == CHAINS_ARE_HERE || state == CHAINS_ABSENT;
}

enum tls_sni
tls_keeper_sni(const char *maps, const char *name, struct tls_chain **chain_r, struct fault *why)
{
	struct ipc_keeper_sni m = { .generation = self.generation, .maps = span_str(maps), .name = span_str(name) };

	set_up();
	buf_clear(&self.out);
	ipc_encode_keeper_sni(&self.out, &m);
	switch (ask_chains(IPC_KEEPER_SNI, ANSWER_MS, chain_r, why)) {
	case CHAINS_ARE_HERE:
		return TLS_SNI_FOUND;
	case CHAINS_ABSENT:
		return TLS_SNI_ABSENT;
	default:
		return TLS_SNI_DEFER;
	}
}

/* --- tickets --- */

bool
tls_keeper_tickets(int64_t life_s, struct tls_ticket_keys *keys_r, int64_t *next_ms_r)
{
	struct ipc_keeper_tickets m = { .generation = self.generation, .life_s = (uint32_t)life_s };
	struct ipc_keeper_ticket_keys got;
	struct fault why = { 0 };
	struct span payload = { 0 };
	int64_t deadline = clock_mono_us() + (int64_t)patience_ms() * 1000;

	*keys_r = (struct tls_ticket_keys){ 0 };
	*next_ms_r = ANSWER_MS;
	set_up();
	do {
		buf_clear(&self.out);
		arena_clear(self.arena);
		ipc_encode_keeper_tickets(&self.out, &m);
		if (!ask(IPC_KEEPER_TICKETS, IPC_KEEPER_TICKET_KEYS, patience_ms(), &payload, &why) ||
		    !ipc_decode_keeper_ticket_keys(payload, self.arena, &got))
			return false;
		if (got.state == CHAINS_LATER)
			pause_ms(AGAIN_MS);
	} while (got.state == CHAINS_LATER && clock_mono_us() < deadline);
	keys_r->count = (unsigned)(got.keys.n / TLS_TICKET_KEY_BYTES);
	if (got.state != CHAINS_ARE_HERE || keys_r->count > 2 || got.keys.n % TLS_TICKET_KEY_BYTES != 0) {
		keys_r->count = 0;
		return false;
	}
	memcpy(keys_r->key, got.keys.p, got.keys.n);
	explicit_bzero(self.in.p, self.in.n);
	*next_ms_r = got.next_ms;
	return true;
}
