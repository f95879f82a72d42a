/*
 * Login at servers (RFC 4954): who we are there, which mechanism the security options allow, and the
 * mechanisms themselves: CRAM-MD5 (RFC 2195), PLAIN (RFC 4616), LOGIN.
 */
#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/text.h"
#include "maps/addrkeys.h"
#include "maps/strlist.h"
#include "role/smtpc/smtpc.h"

/* What a mechanism lacks; smtp_sasl_security_options names what must not be lacking. */
enum {
	WEAK_PLAINTEXT = 1,             /* the password crosses the wire */
	WEAK_ACTIVE = 2,                /* no protection against an active attacker */
	WEAK_DICTIONARY = 4,
	WEAK_ONE_SIDED = 8,             /* the server does not prove that it knows the password */
	WEAK_PAST = 16,                 /* no forward secrecy */
};

static const struct mechanism {
	const char *name;
	unsigned weak;
} mechanisms[] = {
	/* in the order of our preference */
	{ "CRAM-MD5", WEAK_ACTIVE | WEAK_DICTIONARY | WEAK_ONE_SIDED | WEAK_PAST },
	{ "PLAIN", WEAK_PLAINTEXT | WEAK_ACTIVE | WEAK_DICTIONARY | WEAK_ONE_SIDED | WEAK_PAST },
	{ "LOGIN", WEAK_PLAINTEXT | WEAK_ACTIVE | WEAK_DICTIONARY | WEAK_ONE_SIDED | WEAK_PAST },
};

struct sasl {
	const struct mechanism *mech;
	struct login login;
	unsigned step;
	bool loop;                      /* more challenges than the mechanism has */
};

/* RFC 4954 section 4: a command line longer than this carries no initial response. */
#define INITIAL_MAX 360

/* ---- who we are */

static void
take_login(struct delivery *d, struct span value, struct login *login_r)
{
	const char *delimiter = d->svc->p->smtp_sasl_password_result_delimiter;
	ptrdiff_t at = delimiter[0] == '\0' ? -1 : span_find(value, span_str(delimiter));

	login_r->found = true;
	login_r->user = at < 0 ? value : span_slice(value, 0, (size_t)at);
	login_r->password = at < 0 ? SPAN("") : span_from(value, (size_t)at + strlen(delimiter));
}

static enum map_result
find_key(struct delivery *d, struct span key, struct login *login_r, struct fault *why)
{
	struct map_hit hit;
	enum map_result r = maps_find(d->svc->passwords, key, d->asks, d->arena, &hit, why);

	if (r == MAP_FOUND)
		take_login(d, hit.value, login_r);
	return r;
}

static enum map_result
find_sender(struct delivery *d, struct login *login_r, struct fault *why)
{
	struct map_hit hit;
	enum map_result r;

	if (!d->svc->p->smtp_sender_dependent_authentication || d->env.sender.n == 0)
		return MAP_ABSENT;
	const struct addrkey_query q = { .addr = d->env.sender, .delimiter = d->svc->p->recipient_delimiter,
		.keys = ADDRKEY_FULL | ADDRKEY_NOEXT | ADDRKEY_AT_DOMAIN };

	r = addrkeys_find(d->svc->passwords, &q, d->asks, d->arena, &hit, NULL, why);
	if (r == MAP_FOUND)
		take_login(d, hit.value, login_r);
	return r;
}

static bool
wanted(const struct delivery *d)
{
	return d->svc->p->smtp_sasl_auth_enable && d->svc->passwords != NULL && !maps_empty(d->svc->passwords);
}

enum map_result
sasl_login_by_hop(struct delivery *d, struct span nexthop, struct fault *why)
{
	enum map_result r;

	d->login = (struct login){ 0 };
	d->login_by_hop = false;
	if (!wanted(d))
		return MAP_ABSENT;
	r = find_sender(d, &d->login, why);
	if (r == MAP_ABSENT)
		r = find_key(d, nexthop, &d->login, why);
	d->login_by_hop = r == MAP_FOUND;
	return r;
}

enum map_result
sasl_login_by_host(struct delivery *d, struct span host, struct login *login_r, struct fault *why)
{
	*login_r = (struct login){ 0 };
	return wanted(d) ? find_key(d, host, login_r, why) : MAP_ABSENT;
}

/* ---- which mechanism */

static unsigned
forbidden(const char *options)
{
	static const struct {
		const char *word;
		unsigned bit;
	} words[] = {
		{ "noplaintext", WEAK_PLAINTEXT }, { "noactive", WEAK_ACTIVE }, { "nodictionary", WEAK_DICTIONARY },
		{ "mutual_auth", WEAK_ONE_SIDED }, { "forward_secrecy", WEAK_PAST },
	};
	struct span list = span_str(options), word;
	unsigned bits = 0;

	while (span_token(&list, ", \t\r\n", &word))
		for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
			if (span_eq_ci(word, span_str(words[i].word)))
				bits |= words[i].bit;
	return bits;            /* noanonymous: we have no anonymous mechanism */
}

static const char *
options_for(const struct conn *c)
{
	const struct params *p = c->svc->p;

	if (!c->tls_done)
		return p->smtp_sasl_security_options;
	return c->matched ? p->smtp_sasl_tls_verified_security_options : p->smtp_sasl_tls_security_options;
}

static bool
filter_allows(struct conn *c, const char *name)
{
	if (c->svc->mechanisms == NULL)
		return true;
	return strlist_find(c->svc->mechanisms, span_str(name), NULL, c->arena, NULL, NULL) == MAP_FOUND;
}

static bool
is_offered(const struct conn *c, const char *name)
{
	struct span list = span_str(c->l.engine.caps.auth), word;

	while (span_token(&list, " ", &word))
		if (span_eq_ci(word, span_str(name)))
			return true;
	return false;
}

static const struct mechanism *
choose(struct conn *c)
{
	unsigned bad = forbidden(options_for(c));

	for (size_t i = 0; i < sizeof(mechanisms) / sizeof(mechanisms[0]); i++) {
		const struct mechanism *m = &mechanisms[i];

		if ((m->weak & bad) == 0 && is_offered(c, m->name) && filter_allows(c, m->name))
			return m;
	}
	return NULL;
}

/* ---- the mechanisms */

static struct span
plain_text(const struct conn *c)
{
	const struct login *l = &c->sasl->login;
	size_t n = l->user.n + l->password.n + 2;
	char *p = arena_alloc(c->arena, n);     /* zeroed: the authorization identity stays empty */

	memcpy(p + 1, l->user.p, l->user.n);
	if (l->password.n > 0)
		memcpy(p + 2 + l->user.n, l->password.p, l->password.n);
	return span_of(p, n);
}

static struct span
cram_md5(const struct conn *c, struct span challenge)
{
	const struct login *l = &c->sasl->login;
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned n = 0;
	struct buf hex;
	struct span s;

	if (HMAC(EVP_md5(), l->password.p, (int)l->password.n, (const unsigned char *)challenge.p, challenge.n, digest,
	    &n) == NULL)
		return SPAN("");
	buf_init(&hex, 128);
	text_hex(&hex, span_of(digest, n));
	s = arena_printf(c->arena, "%.*s %.*s", SPAN_ARG(l->user), SPAN_ARG(buf_span(&hex)));
	buf_release(&hex);
	return s;
}

/* The answer to the challenge of this step; false: there should have been none. */
static bool
answer(struct conn *c, struct span challenge, struct span *answer_r)
{
	struct sasl *s = c->sasl;
	unsigned step = s->step++;

	if (strcmp(s->mech->name, "LOGIN") == 0) {
		*answer_r = step == 0 ? s->login.user : s->login.password;
		return step < 2;
	}
	if (step > 0)
		return false;
	*answer_r = strcmp(s->mech->name, "PLAIN") == 0 ? plain_text(c) : cram_md5(c, challenge);
	return true;
}

bool
sasl_begin(struct conn *c, const struct login *login, struct fault *why)
{
	const struct mechanism *m = choose(c);
	struct span initial = { NULL, 0 };

	if (m == NULL)
		return fault_set(why, "4.7.0", "SASL authentication failed: server %s offered no compatible "
		    "authentication mechanisms for this type of connection security", c->l.peer);
	c->sasl = ARENA_NEW(c->arena, struct sasl);
	c->sasl->mech = m;
	c->sasl->login = (struct login){ true, arena_dup(c->arena, login->user), arena_dup(c->arena, login->password) };
	if (strcmp(m->name, "PLAIN") == 0 && login->user.n + login->password.n < INITIAL_MAX) {
		initial = plain_text(c);
		c->sasl->step = 1;
	}
	smtpc_auth(&c->l.engine, span_str(m->name), initial, loop_now_us(c->role->loop));
	return true;
}

bool
sasl_step(struct conn *c)
{
	int64_t now = loop_now_us(c->role->loop);
	struct span text = span_trim(span_from(c->l.engine.reply.text, 4)), reply;
	struct buf challenge;

	if (c->sasl->loop)
		return false;           /* each answer has its deadline: without an end there would be none */

	buf_init(&challenge, 16384);
	if (!text_unbase64(&challenge, text) || !answer(c, buf_span(&challenge), &reply)) {
		c->sasl->loop = true;
		smtpc_auth_cancel(&c->l.engine, now);
	} else {
		smtpc_auth_respond(&c->l.engine, reply, now);
	}
	buf_release(&challenge);
	return true;
}

void
sasl_refused(const struct conn *c, struct fault *why)
{
	const struct smtp_reply *r = &c->l.engine.reply;
	char dsn[10];

	if (c->sasl->loop) {
		fault_set(why, "4.7.0", "SASL authentication failed; authentication protocol loop with server %s", c->l.peer);
		return;
	}
	snprintf(dsn, sizeof(dsn), "%s", r->dsn);
	if (dsn[0] != '4' && (dsn[0] != '5' || c->svc->p->smtp_sasl_auth_soft_bounce))
		dsn[0] = '4';
	fault_set(why, dsn, "SASL authentication failed; server %s said: %.*s", c->l.peer,
	    SPAN_ARG(span_slice(r->text, 0, 300)));
}
