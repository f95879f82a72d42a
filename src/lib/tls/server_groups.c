/* Forward secrecy of the server: EECDH grades, key exchange groups, DH parameters (section 4). */
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/rd.h"
#include "tls/credentials.h"
#include "tls/groups.h"
#include "tls/policy_private.h"
#include "tls/server_private.h"

enum { DH_BITS_LEAST = 1024, DH_BITS_GOOD = 2048, LIST_MAX = 4096 };

/* The curves that a client may name in supported_groups (RFC 8446 section 4.2.7), and what they are called here. */
static const struct curve {
	unsigned id;
	const char *name, *alias, *alias2;
} curves[] = {
	{ 23, "prime256v1", "P-256", "secp256r1" },
	{ 24, "secp384r1", "P-384", NULL },
	{ 25, "secp521r1", "P-521", NULL },
	{ 26, "brainpoolP256r1", NULL, NULL },
	{ 27, "brainpoolP384r1", NULL, NULL },
	{ 28, "brainpoolP512r1", NULL, NULL },
	{ 29, "X25519", NULL, NULL },
	{ 30, "X448", NULL, NULL },
	{ 0x11eb, "SecP256r1MLKEM768", NULL, NULL },
	{ 0x11ec, "X25519MLKEM768", NULL, NULL },
	{ 0x11ed, "SecP384r1MLKEM1024", NULL, NULL },
};

static const struct curve *
curve_find(struct span name)
{
	for (size_t i = 0; i < sizeof(curves) / sizeof(curves[0]); i++)
		if (span_eq_ci(name, span_str(curves[i].name)) ||
		    (curves[i].alias != NULL && span_eq_ci(name, span_str(curves[i].alias))) ||
		    (curves[i].alias2 != NULL && span_eq_ci(name, span_str(curves[i].alias2))))
			return &curves[i];
	return NULL;
}

/* --- grades --- */

enum grade { GRADE_AUTO, GRADE_NONE, GRADE_STRONG, GRADE_ULTRA };

static enum grade
grade_of(const char *word)
{
	if (strcmp(word, "none") == 0)
		return GRADE_NONE;
	if (strcmp(word, "strong") == 0)
		return GRADE_STRONG;
	return strcmp(word, "ultra") == 0 ? GRADE_ULTRA : GRADE_AUTO;
}

void
tls_server_cipher_rules(const struct tls_server_params *p, struct buf *list)
{
	if (p->mandatory || p->no_rsa_exchange)
		buf_add_str(list, ":!kRSA");    /* no forward secrecy: for listeners that would take plaintext as well */
	if (grade_of(p->eecdh_grade) == GRADE_NONE)
		buf_add_str(list, ":!kEECDH");
}

/* Append the names of `from` that are not there yet under any of their names. */
static void
add_curves(struct buf *menu, struct span from)
{
	struct span one;

	while (span_token(&from, TLS_LIST_SEPS, &one)) {
		const struct curve *c = curve_find(one);
		struct span there = buf_span(menu), word;
		bool dup = false;

		while (c != NULL && span_token(&there, " ", &word))
			dup |= curve_find(word) == c;
		if (!dup)
			buf_addf(menu, "%s%.*s", menu->n > 0 ? " " : "", SPAN_ARG(one));
	}
}

/*
 * The menu of curves. A grade's own list stands in front and the rest of the menu behind it; a list that is not the
 * built-in one is all there is, as FORWARD_SECRECY_README foretold for ordered lists.
 */
static void
build_menu(const struct tls_server_params *p, struct buf *menu, struct buf *first)
{
	enum grade g = grade_of(p->eecdh_grade);
	const char *own = g == GRADE_STRONG ? p->eecdh_strong_curve : p->eecdh_ultra_curve;
	const char *built_in = g == GRADE_STRONG ? "prime256v1" : "secp384r1";

	if (g == GRADE_STRONG || g == GRADE_ULTRA) {
		add_curves(first, span_str(own));
		add_curves(menu, buf_span(first));
		if (strcmp(own, built_in) != 0 && first->n > 0)
			return;
	}
	add_curves(menu, span_str(p->eecdh_auto_curves));
}

/* --- DH --- */

static EVP_PKEY *
parse_group(struct span text, const char **why_r)
{
	BIO *in = BIO_new_mem_buf(text.n > 0 ? text.p : "", (int)text.n);
	EVP_PKEY *group = in != NULL ? PEM_read_bio_Parameters(in, NULL) : NULL;

	*why_r = "there are no DH parameters in it";
	ERR_clear_error();
	if (group != NULL && !EVP_PKEY_is_a(group, "DH") && !EVP_PKEY_is_a(group, "DHX")) {
		EVP_PKEY_free(group);
		group = NULL;
	}
	BIO_free(in);
	return group;
}

static EVP_PKEY *
read_group(const char *path, const char **why_r)
{
	EVP_PKEY *group = NULL;
	struct buf b;
	int r;

	buf_init(&b, TLS_FILE_MAX);
	r = fd_read_file(AT_FDCWD, path, &b);
	if (r < 0)
		*why_r = fd_error(r);
	else
		group = parse_group(buf_span(&b), why_r);
	buf_release(&b);
	return group;
}

/* Takes `group`, which may be NULL (`*why_r` says why). Its bits; 0: as before. */
static int
use_group(SSL_CTX *ctx, EVP_PKEY *group, const char *path, const char **why_r)
{
	int bits = group != NULL ? EVP_PKEY_get_bits(group) : 0;

	if (group != NULL && SSL_CTX_set0_tmp_dh_pkey(ctx, group) != 1) {
		*why_r = bits < DH_BITS_LEAST ? "a group of less than 1024 bits is not taken by the TLS library" : tls_library_error();
		EVP_PKEY_free(group);
		bits = 0;
	}
	if (bits > 0)
		SSL_CTX_set_dh_auto(ctx, 0);
	if (bits > 0 && bits < DH_BITS_GOOD)
		log_warning_once(NULL, "smtpd_tls_dh1024_param_file: %s: a group of %d bits is weak, and some clients refuse it; "
		    "2048 or more is better", path, bits);
	ERR_clear_error();
	return bits;
}

static void
set_dh(SSL_CTX *ctx, const char *path)
{
	const char *why = NULL;

	SSL_CTX_set_dh_auto(ctx, 1);
	if (path[0] == '\0' || strcmp(path, "auto") == 0)
		return;
	if (use_group(ctx, read_group(path, &why), path, &why) == 0)
		log_warning_once(NULL, "smtpd_tls_dh1024_param_file: %s: %s; the library chooses the group", path, why);
}

bool
tls_server_ctx_renew_dh(struct tls_server_ctx *c, const char *path, struct span pem, struct fault *why)
{
	const char *words = NULL;

	return use_group(c->ctx, parse_group(pem, &words), path, &words) > 0 || fault_set(why, NULL, "%s: %s", path, words);
}

/* --- the whole --- */

bool
tls_server_set_groups(struct tls_server_ctx *c, const struct tls_server_params *p, struct fault *why)
{
	struct buf list, menu, first;

	buf_init(&list, LIST_MAX);
	buf_init(&menu, LIST_MAX);
	buf_init(&first, LIST_MAX);
	build_menu(p, &menu, &first);
	tls_groups_probe(buf_span(&menu), span_str(p->ffdhe_auto_groups), &list);
	c->groups = strdup(buf_cstr(&list));
	c->preferred = strdup(buf_cstr(&first));
	buf_release(&list);
	buf_release(&menu);
	buf_release(&first);
	set_dh(c->ctx, p->dh1024_param_file);
	return c->groups[0] == '\0' || SSL_CTX_set1_groups_list(c->ctx, c->groups) == 1 ||
	    fault_set(why, NULL, "key exchange groups \"%s\": %s", c->groups, tls_library_error());
}

static bool
client_has(struct span groups, unsigned id)
{
	struct rd r = rd_init(groups);
	struct span list = rd_bytes(&r, rd_be16(&r));

	r = rd_init(list);
	while (!r.bad && r.p < r.end)
		if (rd_be16(&r) == id)
			return !r.bad;
	return false;
}

void
tls_server_choose_curve(const struct tls_server_ctx *c, SSL *ssl)
{
	struct span rest = span_str(c->preferred), one;
	const unsigned char *p;
	char name[32];
	size_t n;

	if (rest.n == 0 || SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_supported_groups, &p, &n) != 1)
		return;
	while (span_token(&rest, " ", &one)) {
		const struct curve *curve = curve_find(one);

		if (curve == NULL || !client_has(span_of(p, n), curve->id))
			continue;
		snprintf(name, sizeof(name), "%s", curve->name);
		if (SSL_set1_groups_list(ssl, name) == 1)
			break;          /* else the library does not know it, and the next is tried */
	}
	ERR_clear_error();
}
