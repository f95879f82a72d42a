/* Sendmail's access database: reading it, and what belongs to no side: certificates that may relay, main.cf, notes. */
#include "tls/sendmail.h"

#include <stdlib.h>

#include "base/fault.h"
#include "base/log.h"
#include "tls/dn.h"
#include "tls/sendmail_private.h"

static const struct tag_row {
	const char *word;
	enum sm_tag tag;
} tag_rows[] = {
	{ "TLS_Clt", SM_CLT },
	{ "TLS_Srv", SM_SRV },
	{ "TLS_Rcpt", SM_RCPT },
	{ "Try_TLS", SM_TRY },
	{ "Srv_Features", SM_FEATURES },
	{ "CERTISSUER", SM_ISSUER },
	{ "CERTSUBJECT", SM_SUBJECT },
	{ "TLS_Clt_Features", SM_OPTIONS },
	{ "TLS_Srv_Features", SM_OPTIONS },
};

/* --- notes --- */

__attribute__((format(printf, 3, 0))) static void
note(struct sm *m, const struct sm_row *r, const char *fmt, va_list ap)
{
	struct span label = log_esc(span_slice(r->label, 0, 200));

	buf_addf(&m->t->notes, "%s:%u: %.*s: ", m->file, r->line, SPAN_ARG(label));
	buf_vaddf(&m->t->notes, fmt, ap);
	buf_addc(&m->t->notes, '\n');
}

void
sm_note(struct sm *m, const struct sm_row *r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	note(m, r, fmt, ap);
	va_end(ap);
}

void
sm_leave(struct sm *m, struct sm_row *r, const char *fmt, ...)
{
	va_list ap;

	if (r->done)
		return;
	r->done = true;
	m->t->left++;
	va_start(ap, fmt);
	note(m, r, fmt, ap);
	va_end(ap);
}

void
sm_done(struct sm *m, struct sm_row *r)
{
	if (!r->done)
		m->t->converted++;
	r->done = true;
}

/* --- reading --- */

struct sm_row *
sm_find(struct sm *m, enum sm_tag tag, struct span key)
{
	HMAP_EACH_HASH(n, &m->index[tag], span_hash(key)) {
		struct sm_row *r = HMAP_ENTRY(n, struct sm_row, by_key);

		if (span_eq(r->key, key))
			return r;
	}
	return NULL;
}

bool
sm_is_address(struct span key)
{
	for (size_t i = 0; i < key.n; i++)
		if (!ascii_isdigit(key.p[i]) && key.p[i] != '.' && span_index(key, ':') < 0)
			return false;
	return key.n > 0;
}

struct sm_row *
sm_effective(struct sm *m, enum sm_tag tag, struct span key)
{
	bool address = sm_is_address(key);
	char cut = span_index(key, ':') >= 0 ? ':' : '.';
	struct sm_row *r = NULL;

	while (key.n > 0 && r == NULL) {
		ptrdiff_t at = address ? span_rindex(key, cut) : span_index(key, cut);

		r = sm_find(m, tag, key);
		key = at < 0 ? SPAN("") : address ? span_slice(key, 0, (size_t)at) : span_from(key, (size_t)at + 1);
	}
	return r != NULL ? r : sm_find(m, tag, SPAN(""));
}

static void
find_tag(struct sm_row *r, struct span rest)
{
	r->tag = SM_OTHER;
	for (size_t i = 0; i < sizeof(tag_rows) / sizeof(tag_rows[0]); i++)
		if (span_eq_ci(r->word, span_str(tag_rows[i].word)))
			r->tag = tag_rows[i].tag;
	r->key = rest;
}

static void
take_line(struct sm *m, unsigned line, struct span text)
{
	struct sm_row *r = &m->rows[m->n];
	struct span rest = text, key;
	bool plain;

	if (!span_token(&rest, " \t", &r->label) || r->label.p[0] == '#')
		return;
	r->line = line;
	r->value = span_trim(rest);
	if (!span_cut(r->label, ':', &r->word, &key))
		key = SPAN("");
	find_tag(r, key);
	/* distinguished names keep their case for the eye; our tables fold it */
	plain = r->tag == SM_ISSUER || r->tag == SM_SUBJECT || r->tag == SM_OTHER;
	r->key = plain ? key : arena_lower(m->a, key);
	if (!plain && span_starts(r->key, SPAN("ipv6:")))
		r->key = span_from(r->key, 5);
	m->n++;
	if (r->tag == SM_OTHER || r->tag == SM_OPTIONS)
		return;
	if (sm_find(m, r->tag, r->key) != NULL)
		sm_leave(m, r, "given before; the first one counts");
	else
		hmap_add(&m->index[r->tag], &r->by_key, span_hash(r->key));
}

static bool
read_all(struct sm *m, struct span text, struct fault *why)
{
	size_t lines = 1;
	struct span line;
	unsigned at = 0;
	bool more;

	for (size_t i = 0; i < text.n; i++)
		lines += text.p[i] == '\n';
	if (text.n > SENDMAIL_TEXT_MAX || lines > SENDMAIL_ROWS_MAX)
		return fault_set(why, "", "more than %d bytes or %d lines", SENDMAIL_TEXT_MAX, SENDMAIL_ROWS_MAX);
	m->rows = ARENA_ARRAY(m->a, struct sm_row, lines);
	do {
		more = span_cut(text, '\n', &line, &text);
		at++;
		if (line.n > SENDMAIL_LINE_MAX || span_index(line, '\0') >= 0)
			return fault_set(why, "", "line %u is longer than %d bytes or has a NUL in it", at, SENDMAIL_LINE_MAX);
		take_line(m, at, span_trim(line));
	} while (more);
	return true;
}

/* --- values --- */

static bool
take_bits(struct span text, unsigned *bits_r)
{
	uint64_t bits;

	if (!span_u64(text, 1024, &bits))
		return false;
	*bits_r = (unsigned)bits;
	return true;
}

static bool
take_base(struct span base, struct sendmail_demand *d)
{
	d->verify = span_starts_ci(base, SPAN("VERIFY"));
	if (span_eq_ci(base, SPAN("VERIFY")))
		return true;
	if (span_starts_ci(base, SPAN("VERIFY:")))
		return take_bits(span_from(base, 7), &d->bits);
	return span_starts_ci(base, SPAN("ENCR:")) && take_bits(span_from(base, 5), &d->bits);
}

static bool
take_ext(struct span ext, struct sendmail_demand *d)
{
	static const struct span none = { "", 0 };
	struct { const char *word; struct span *to; } const rows[] = { { "CN:", &d->cn }, { "CS:", &d->cs }, { "CI:", &d->ci },
		{ "CITag:", &d->citag } };

	if (span_eq_ci(ext, SPAN("CN"))) {
		d->cn_host = true;
		return true;
	}
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct span word = span_str(rows[i].word);

		if (!span_starts_ci(ext, word))
			continue;
		if (rows[i].to->n > none.n)
			return false;
		*rows[i].to = span_from(ext, word.n);
		return rows[i].to->n > 0;
	}
	return false;
}

bool
sendmail_demand_parse(struct span value, struct sendmail_demand *d_r)
{
	struct span base, ext;
	ptrdiff_t at;
	bool more;

	*d_r = (struct sendmail_demand){ .action = SENDMAIL_DEFAULT };
	if (span_starts_ci(value, SPAN("PERM+")))
		d_r->action = SENDMAIL_PERM;
	else if (span_starts_ci(value, SPAN("TEMP+")))
		d_r->action = SENDMAIL_TEMP;
	if (d_r->action != SENDMAIL_DEFAULT)
		value = span_from(value, 5);
	more = span_cut(value, '+', &base, &value);
	if (!take_base(base, d_r))
		return false;
	while (more) {
		at = span_find(value, SPAN("++"));
		ext = at < 0 ? value : span_slice(value, 0, (size_t)at);
		more = at >= 0;
		value = more ? span_from(value, (size_t)at + 2) : SPAN("");
		if (!take_ext(ext, d_r))
			return false;
	}
	return true;
}

struct span
sm_plain(struct sm *m, struct span s)
{
	struct buf b;
	struct span out;

	buf_init(&b, SENDMAIL_LINE_MAX);
	for (size_t i = 0; i < s.n; i++) {
		static const char hex[] = "0123456789abcdef";
		ptrdiff_t high = -1, low = -1;

		if (s.p[i] == '+' && i + 2 < s.n) {
			high = span_index(span_str(hex), ascii_lower(s.p[i + 1]));
			low = span_index(span_str(hex), ascii_lower(s.p[i + 2]));
		}
		buf_addc(&b, high >= 0 && low >= 0 ? (char)(high * 16 + low) : s.p[i]);
		i += high >= 0 && low >= 0 ? 2 : 0;
	}
	out = arena_dup(m->a, buf_span(&b));
	buf_release(&b);
	return out;
}

/* --- tables of issuers --- */

static bool
is_file_name(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!ascii_isalnum(s.p[i]) && s.p[i] != '_' && s.p[i] != '-')
			return false;
	return s.n > 0 && s.n < 64;
}

/* A key that our tables would find: the name read and written again. False: it is none. */
static bool
dn_key(struct sm *m, struct span text, struct span *key_r)
{
	X509_NAME *name = tls_dn_parse(text, NULL);

	if (name == NULL)
		return false;
	*key_r = tls_dn_text(name, m->a);
	X509_NAME_free(name);
	return key_r->n > 0;
}

struct sendmail_tag *
sm_tag_table(struct sm *m, struct span name)
{
	struct sendmail_tables *t = m->t;
	struct sendmail_tag *tag;
	struct span key;

	for (size_t i = 0; i < t->n_tags; i++)
		if (span_eq_ci(t->tags[i].name, name))
			return &t->tags[i];
	if (!is_file_name(name) || t->n_tags == SENDMAIL_TAGS_MAX)
		return NULL;
	tag = &t->tags[t->n_tags++];
	tag->name = arena_lower(m->a, name);
	buf_init(&tag->text, SENDMAIL_TEXT_MAX);
	for (size_t i = 0; i < m->n; i++) {
		struct sm_row *r = &m->rows[i];

		if (r->tag != SM_OTHER || !span_eq_ci(r->word, name))
			continue;
		if (!dn_key(m, r->key, &key))
			sm_leave(m, r, "not a distinguished name");
		else if (!span_eq_ci(r->value, SPAN("OK")))
			sm_leave(m, r, "only OK accepts an issuer; without an entry it is refused as well");
		else if (buf_addf(&tag->text, "%.*s OK\n", SPAN_ARG(key)))
			sm_done(m, r);
	}
	return tag;
}

/* --- CERTISSUER, CERTSUBJECT --- */

static void
one_issuer(struct sm *m, struct sm_row *r)
{
	struct span key;

	if (!dn_key(m, r->key, &key)) {
		sm_leave(m, r, "not a distinguished name");
	} else if (span_eq_ci(r->value, SPAN("RELAY"))) {
		buf_addf(&m->t->issuers, "%.*s OK\n", SPAN_ARG(key));
		sm_done(m, r);
	} else if (span_eq_ci(r->value, SPAN("SUBJECT"))) {
		buf_addf(&m->t->issuers, "%.*s check_ccert_access { texthash:%s/cert_subjects { search_order = subject_dn } }\n", SPAN_ARG(key),
		    m->dir);
		sm_done(m, r);
	} else {
		sm_leave(m, r, "neither RELAY nor SUBJECT: it grants nothing");
	}
}

static void
one_subject(struct sm *m, struct sm_row *r)
{
	struct span key;

	if (!dn_key(m, r->key, &key)) {
		sm_leave(m, r, "not a distinguished name");
	} else if (!span_eq_ci(r->value, SPAN("RELAY"))) {
		sm_leave(m, r, "not RELAY: it grants nothing");
	} else {
		buf_addf(&m->t->subjects, "%.*s OK\n", SPAN_ARG(key));
		sm_done(m, r);
	}
}

/* --- what is left, and main.cf --- */

static void
leftover(struct sm *m, struct sm_row *r)
{
	if (r->tag == SM_OPTIONS)
		sm_leave(m, r, "no equivalent: write ciphers=, protocols=, exclude= or chain= into the peer's entry by hand");
	else if (r->tag == SM_ISSUER)
		one_issuer(m, r);
	else if (r->tag == SM_SUBJECT)
		one_subject(m, r);
	else if (r->tag == SM_OTHER)
		sm_leave(m, r, "not about TLS: see check_client_access, check_sender_access, transport_maps, relay_domains");
	else
		sm_leave(m, r, "Sendmail accepts the peer for a value of this shape; write \"may\" where a demand on a parent must not apply");
}

static void
write_main_cf(struct sm *m)
{
	struct sendmail_tables *t = m->t;
	struct buf *b = &t->main_cf;

	if (t->clients.n > 0)
		buf_addf(b, "smtpd_tls_policy_maps = texthash:%s/tls_clients\n", m->dir);
	if (t->servers.n > 0)
		buf_addf(b, "smtp_tls_policy_maps = texthash:%s/tls_servers\n", m->dir);
	if (m->asks_certs || t->issuers.n > 0)
		buf_addf(b, "# Sendmail asks every client for a certificate\nsmtpd_tls_ask_ccert = yes\n");
	if (t->issuers.n > 0)
		buf_addf(b, "# in front of reject_unauth_destination: who may relay\nsmtpd_relay_restrictions = permit_mynetworks, check_ccert_access "
		    "{ texthash:%s/cert_issuers { search_order = issuer_dn } }, reject_unauth_destination\n", m->dir);
}

static bool
too_long(const struct sendmail_tables *t)
{
	bool full = t->clients.full || t->servers.full || t->issuers.full || t->subjects.full || t->main_cf.full || t->notes.full;

	for (size_t i = 0; i < t->n_tags; i++)
		full = full || t->tags[i].text.full;
	return full;
}

bool
sendmail_convert(struct span text, const char *file, const char *dir, struct sendmail_tables *t_r, struct fault *why)
{
	struct sm m = { .file = file, .dir = dir, .a = arena_new((size_t)1 << 30), .t = t_r };
	struct buf *all[] = { &t_r->clients, &t_r->servers, &t_r->issuers, &t_r->subjects, &t_r->main_cf, &t_r->notes };
	bool ok;

	memset(t_r, 0, sizeof(*t_r));
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		buf_init(all[i], SENDMAIL_TEXT_MAX);
	for (size_t i = 0; i < SM_TAGS; i++)
		hmap_init(&m.index[i]);
	hmap_init(&m.written);
	ok = read_all(&m, text, why);
	if (ok) {
		sm_clients(&m);
		sm_servers(&m);
		for (size_t i = 0; i < m.n; i++)
			leftover(&m, &m.rows[i]);
		write_main_cf(&m);
		ok = !too_long(t_r) || fault_set(why, "", "the tables would be longer than %d bytes", SENDMAIL_TEXT_MAX);
	}
	for (size_t i = 0; i < SM_TAGS; i++)
		hmap_release(&m.index[i]);
	hmap_release(&m.written);
	/* names of tags live on */
	for (size_t i = 0; i < t_r->n_tags; i++)
		t_r->tags[i].name = span_str(strndup(t_r->tags[i].name.p, t_r->tags[i].name.n));
	arena_free(&m.a);
	return ok;
}

void
sendmail_release(struct sendmail_tables *t)
{
	buf_release(&t->clients);
	buf_release(&t->servers);
	buf_release(&t->issuers);
	buf_release(&t->subjects);
	buf_release(&t->main_cf);
	buf_release(&t->notes);
	for (size_t i = 0; i < t->n_tags; i++) {
		free((void *)(uintptr_t)t->tags[i].name.p);
		buf_release(&t->tags[i].text);
	}
}
