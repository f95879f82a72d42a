/* The ratchet of ticket keys. */
#include "tls/tickets.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>

#include "base/clock.h"
#include "base/panic.h"

static void
expand(const uint8_t root[TLS_TICKET_ROOT_BYTES], const char *label, uint8_t *out, size_t n)
{
	EVP_KDF *hkdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
	EVP_KDF_CTX *ctx = hkdf != NULL ? EVP_KDF_CTX_new(hkdf) : NULL;
	char sha256[] = "SHA256", info[64];
	uint8_t key[TLS_TICKET_ROOT_BYTES];
	int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY, length = snprintf(info, sizeof(info), "%s", label);
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, sha256, 0),
		OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, key, sizeof(key)),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info, (size_t)length),
		OSSL_PARAM_construct_end(),
	};

	memcpy(key, root, sizeof(key));
	ensure(ctx != NULL && EVP_KDF_derive(ctx, out, n, params) == 1);
	OPENSSL_cleanse(key, sizeof(key));
	EVP_KDF_CTX_free(ctx);
	EVP_KDF_free(hkdf);
}

/* The current root's key comes in front; what was in front steps back or, after a longer pause, falls out. */
static void
new_key(struct tls_ticket_line *t, bool keep_last)
{
	memcpy(t->keys.key[1], t->keys.key[0], TLS_TICKET_KEY_BYTES);
	t->keys.count = keep_last ? 2 : 1;
	if (!keep_last)
		OPENSSL_cleanse(t->keys.key[1], TLS_TICKET_KEY_BYTES);
	expand(t->root, "signet ticket key", t->keys.key[0], TLS_TICKET_KEY_BYTES);
}

static void
next_root(struct tls_ticket_line *t)
{
	uint8_t next[TLS_TICKET_ROOT_BYTES];

	expand(t->root, "signet ticket root", next, sizeof(next));
	memcpy(t->root, next, sizeof(next));
	OPENSSL_cleanse(next, sizeof(next));
}

void
tls_ticket_line_init(struct tls_ticket_line *t, int64_t life_s, uint8_t root[TLS_TICKET_ROOT_BYTES], int64_t now_us)
{
	*t = (struct tls_ticket_line){ .epoch_us = life_s * US_PER_S / 2 };
	t->next_us = now_us + t->epoch_us;
	memcpy(t->root, root, TLS_TICKET_ROOT_BYTES);
	OPENSSL_cleanse(root, TLS_TICKET_ROOT_BYTES);
	new_key(t, false);
}

bool
tls_ticket_line_turn(struct tls_ticket_line *t, int64_t now_us)
{
	bool missed = now_us >= t->next_us + t->epoch_us;

	if (now_us < t->next_us)
		return false;
	next_root(t);
	new_key(t, !missed);
	/* after a pause of more than an epoch a fresh one begins now */
	t->next_us = missed ? now_us + t->epoch_us : t->next_us + t->epoch_us;
	return true;
}

void
tls_ticket_line_release(struct tls_ticket_line *t)
{
	OPENSSL_cleanse(t, sizeof(*t));
}
