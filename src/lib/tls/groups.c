/* Group lists: probing, and the order in which a client offers them. */
#include "tls/groups.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "base/log.h"
#include "tls/policy_private.h"

/* What "DEFAULT" stands for on the client side. */
#define OWN_DEFAULT "X25519MLKEM768 X25519 X448 prime256v1 secp384r1 secp521r1 ffdhe2048 ffdhe3072"

/* --- what the library has --- */

static bool
group_known(SSL_CTX *scratch, struct span name, char text[64])
{
	if (name.n == 0 || name.n >= 64)
		return false;
	memcpy(text, name.p, name.n);
	text[name.n] = '\0';
	return SSL_CTX_set1_groups_list(scratch, text) == 1;
}

static bool
in_list(struct span list, struct span name)
{
	struct span one;

	while (span_token(&list, ":", &one))
		if (span_eq_ci(one, name))
			return true;
	return false;
}

static void
put(struct buf *list, struct span name)
{
	if (in_list(buf_span(list), name))
		return;
	if (list->n > 0)
		buf_addc(list, ':');
	buf_add_span(list, name);
}

static void
probe_into(SSL_CTX *scratch, struct span names, struct buf *list)
{
	struct span one;
	char text[64];

	while (span_token(&names, TLS_LIST_SEPS, &one)) {
		/* "if known" to newer libraries, which then take anything; to older ones it is part of the name */
		if (span_starts(one, SPAN("?")))
			one = span_from(one, 1);
		if (group_known(scratch, one, text))
			put(list, one);
	}
}

/* The library's DEFAULT would hide what is in it. */
static void
probe_default(SSL_CTX *scratch, struct buf *list)
{
	struct buf known;
	struct span rest, one;

	if (!in_list(buf_span(list), SPAN("DEFAULT")))
		return;
	buf_init(&known, 4096);
	buf_add_span(&known, buf_span(list));
	buf_clear(list);
	for (rest = buf_span(&known); span_token(&rest, ":", &one);) {
		if (span_eq_ci(one, SPAN("DEFAULT")))
			probe_into(scratch, SPAN(OWN_DEFAULT), list);
		else
			put(list, one);
	}
	buf_release(&known);
}

static void
probe(struct span curves, struct span ffdhe, bool expand, struct buf *list_r)
{
	SSL_CTX *scratch;

	buf_clear(list_r);
	if (span_trim(curves).n == 0 && span_trim(ffdhe).n == 0)
		return;
	scratch = SSL_CTX_new(TLS_method());
	if (scratch == NULL)
		return;
	probe_into(scratch, curves, list_r);
	probe_into(scratch, ffdhe, list_r);
	if (list_r->n == 0) {
		log_warning_once(NULL, "no usable key exchange group in \"%.*s %.*s\", using the built-in list",
		    SPAN_ARG(log_esc(curves)), SPAN_ARG(log_esc(ffdhe)));
		probe_into(scratch, SPAN("X25519 X448 prime256v1 secp384r1 secp521r1 ffdhe2048 ffdhe3072"), list_r);
	}
	if (expand)
		probe_default(scratch, list_r);
	SSL_CTX_free(scratch);
	ERR_clear_error();
}

void
tls_groups_probe(struct span curves, struct span ffdhe, struct buf *list_r)
{
	probe(curves, ffdhe, false, list_r);
}

void
tls_groups_probe_client(struct span curves, struct span ffdhe, struct buf *list_r)
{
	probe(curves, ffdhe, true, list_r);
}

/* --- names --- */

static struct span
unmarked(struct span name)
{
	while (name.n > 0 && (name.p[0] == '?' || name.p[0] == '*'))
		name = span_from(name, 1);
	return name;
}

bool
tls_group_is_pq(struct span name)
{
	return span_find_ci(name, SPAN("MLKEM")) >= 0 || span_find_ci(name, SPAN("KYBER")) >= 0;
}

size_t
tls_group_share_bytes(struct span name)
{
	static const struct {
		const char *name;
		size_t bytes;
	} known[] = {
		{ "X25519MLKEM768", 1216 }, { "SecP256r1MLKEM768", 1249 }, { "SecP384r1MLKEM1024", 1665 },
		{ "MLKEM512", 800 }, { "MLKEM768", 1184 }, { "MLKEM1024", 1568 },
		{ "X25519", 32 }, { "X448", 56 }, { "prime256v1", 65 }, { "P-256", 65 }, { "secp256r1", 65 },
	};

	name = unmarked(name);
	for (unsigned i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (span_eq_ci(name, span_str(known[i].name)))
			return known[i].bytes;
	return 0;
}

static bool
any_classical(struct span words)
{
	struct span one;

	while (span_token(&words, TLS_LIST_SEPS "/", &one))
		if (!tls_group_is_pq(one))
			return true;
	return false;
}

bool
tls_groups_have_classical(struct span curves, struct span ffdhe)
{
	return (span_trim(curves).n == 0 && span_trim(ffdhe).n == 0) || any_classical(curves) || any_classical(ffdhe);
}

/* --- order --- */

struct span
tls_groups_first(struct span list)
{
	struct span one;

	return span_token(&list, ":/", &one) ? one : SPAN("");
}

void
tls_groups_classical(struct span list, struct buf *list_r)
{
	struct span one;

	buf_clear(list_r);
	while (span_token(&list, ":/", &one))
		if (!tls_group_is_pq(one))
			put(list_r, unmarked(one));
}

static bool
marked(struct span list)
{
	return memchr(list.p, '*', list.n) != NULL || memchr(list.p, '/', list.n) != NULL;
}

void
tls_groups_small_first(struct span list, struct buf *list_r)
{
	struct span rest = list, one;

	buf_clear(list_r);
	if (list.n == 0 || marked(list)) {
		buf_add_span(list_r, list);
		return;
	}
	while (list_r->n == 0 && span_token(&rest, ":", &one))
		if (!tls_group_is_pq(one))
			put(list_r, one);
	for (rest = list; span_token(&rest, ":", &one);)
		put(list_r, one);
}

static bool
is_common(struct span name)
{
	return span_eq_ci(name, SPAN("X25519")) || span_eq_ci(name, SPAN("prime256v1")) ||
	    span_eq_ci(name, SPAN("P-256")) || span_eq_ci(name, SPAN("secp256r1"));
}

void
tls_groups_shorten(struct span list, unsigned max, struct buf *list_r)
{
	struct span first = tls_groups_first(list);

	buf_clear(list_r);
	for (int common = 1; common >= 0; common--) {
		struct span rest = list, one;

		while (max > 0 && span_token(&rest, ":", &one))
			if ((span_eq(one, first) || is_common(one) == (common == 1)) &&
			    !in_list(buf_span(list_r), one)) {
				put(list_r, one);
				max--;
			}
	}
}
