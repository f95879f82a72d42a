/* Compiling the parameters of intake. */
#include "intake/conf.h"

#include "base/span.h"
#include "conf/params.h"
#include "maps/maps.h"
#include "maps/strlist.h"

#define SEPARATORS ", \t\r\n"

bool
intake_list_has(const char *list, const char *word, size_t n)
{
	struct span rest = span_str(list), token;

	while (span_token(&rest, SEPARATORS, &token))
		if (span_eq_ci(token, span_of(word, n)))
			return true;
	return false;
}

struct word_bit {
	const char *word;
	unsigned bit;
};

static const struct word_bit classes[] = {
	{ "envelope_sender", INTAKE_ENVELOPE_SENDER },
	{ "envelope_recipient", INTAKE_ENVELOPE_RECIPIENT },
	{ "header_sender", INTAKE_HEADER_SENDER },
	{ "header_recipient", INTAKE_HEADER_RECIPIENT },
	{ NULL, 0 },
};

static const struct word_bit propagates[] = {
	{ "canonical", INTAKE_PROPAGATE_CANONICAL },
	{ "virtual", INTAKE_PROPAGATE_VIRTUAL },
	{ "alias", INTAKE_PROPAGATE_ALIAS },
	{ "forward", INTAKE_PROPAGATE_FORWARD },
	{ "include", INTAKE_PROPAGATE_INCLUDE },
	{ "generic", INTAKE_PROPAGATE_GENERIC },
	{ NULL, 0 },
};

static unsigned
bits(const char *list, const struct word_bit *words)
{
	unsigned b = 0;

	for (; words->word != NULL; words++)
		if (intake_list_has(list, words->word, strlen(words->word)))
			b |= words->bit;
	return b;
}

static int
octal(struct span s, size_t *used_r)
{
	int v = 0;
	size_t n = 0;

	while (n < 3 && n < s.n && s.p[n] >= '0' && s.p[n] <= '7')
		v = v * 8 + s.p[n++] - '0';
	*used_r = n;
	return v & 255;
}

/* C escapes as in the manual of message_reject_characters: \a \b \f \n \r \t \v \\ and \ooo. */
static void
compile_chars(const char *text, unsigned bit, uint8_t set[256])
{
	static const char names[] = "abfnrtv\\", values[] = "\a\b\f\n\r\t\v\\";
	struct span s = span_str(text);

	while (s.n > 0) {
		unsigned char c = (unsigned char)s.p[0];
		size_t used = 1;

		if (c == '\\' && s.n > 1) {
			const char *hit = strchr(names, s.p[1]);

			s = span_from(s, 1);
			if (hit != NULL)
				c = (unsigned char)values[hit - names];
			else
				c = (unsigned char)octal(s, &used);
			if (used == 0) {        /* "\x": the byte itself */
				c = (unsigned char)s.p[0];
				used = 1;
			}
		}
		set[c] |= (uint8_t)bit;
		s = span_from(s, used);
	}
}

static bool
open_maps(const char *spec, const char *name, const struct maps_env *env, struct maps **maps_r,
    struct fault *why)
{
	if (maps_open(span_str(spec), 0, env, maps_r, why))
		return true;
	fault_prefix(why, "%s: ", name);
	return false;
}

static bool
open_list(const char *spec, const char *name, unsigned flags, const struct maps_env *env,
    struct strlist **list_r, struct fault *why)
{
	if (strlist_open(span_str(spec), flags, env, list_r, why))
		return true;
	fault_prefix(why, "%s: ", name);
	return false;
}

#define OPEN(c, name) open_maps((c)->p->name, #name, env, &(c)->name, why)

static bool
open_checks(struct intake_conf *c, const struct maps_env *env, struct fault *why)
{
	return OPEN(c, header_checks) && OPEN(c, mime_header_checks) && OPEN(c, nested_header_checks) &&
	    OPEN(c, body_checks);
}

static bool
open_rewriting(struct intake_conf *c, const struct maps_env *env, struct fault *why)
{
	return OPEN(c, canonical_maps) && OPEN(c, sender_canonical_maps) &&
	    OPEN(c, recipient_canonical_maps) && OPEN(c, sender_bcc_maps) &&
	    OPEN(c, recipient_bcc_maps) && OPEN(c, virtual_alias_maps) &&
	    open_list(c->p->mydestination, "mydestination", STRLIST_DOMAIN, env, &c->mydestination, why) &&
	    open_list(c->p->masquerade_exceptions, "masquerade_exceptions", 0, env,
	    &c->masquerade_exceptions, why);
}

bool
intake_conf_init(struct intake_conf *c, const struct params *p, const struct maps_env *env,
    struct fault *why)
{
	*c = (struct intake_conf){ .p = p };
	c->canonical_classes = bits(p->canonical_classes, classes);
	c->sender_canonical_classes = bits(p->sender_canonical_classes, classes);
	c->recipient_canonical_classes = bits(p->recipient_canonical_classes, classes);
	c->masquerade_classes = bits(p->masquerade_classes, classes);
	c->propagate = bits(p->propagate_unmatched_extensions, propagates);
	for (unsigned i = 128; i < 256; i++)
		c->bytes[i] = INTAKE_BYTE_8BIT;
	c->bytes['\r'] = c->bytes['\n'] = INTAKE_BYTE_CRLF;
	compile_chars(p->message_reject_characters, INTAKE_BYTE_REJECT, c->bytes);
	compile_chars(p->message_strip_characters, INTAKE_BYTE_STRIP, c->bytes);
	c->any_unwanted = p->message_reject_characters[0] != '\0' || p->message_strip_characters[0] != '\0';
	return open_checks(c, env, why) && open_rewriting(c, env, why);
}

void
intake_conf_release(struct intake_conf *c)
{
	maps_unref(&c->header_checks);
	maps_unref(&c->mime_header_checks);
	maps_unref(&c->nested_header_checks);
	maps_unref(&c->body_checks);
	maps_unref(&c->canonical_maps);
	maps_unref(&c->sender_canonical_maps);
	maps_unref(&c->recipient_canonical_maps);
	maps_unref(&c->sender_bcc_maps);
	maps_unref(&c->recipient_bcc_maps);
	maps_unref(&c->virtual_alias_maps);
	strlist_free(&c->mydestination);
	strlist_free(&c->masquerade_exceptions);
}
