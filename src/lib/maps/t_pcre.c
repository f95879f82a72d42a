/*
 * pcre: Perl-compatible expressions by PCRE2, with limits: a pattern that explodes on hostile input is
 * MAP_DEFER after some milliseconds, it never holds up the process.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/panic.h"
#include "maps/rules.h"

#define MATCH_LIMIT 200000u
#define DEPTH_LIMIT 10000u
#define HEAP_LIMIT_KB 20000u

struct pcre {
	pcre2_code *code;
	pcre2_match_data *data;
	pcre2_match_context *limits;
};

static uint32_t
flag_bit(char c)
{
	switch (c) {
	case 'i':
		return PCRE2_CASELESS;
	case 'm':
		return PCRE2_MULTILINE;
	case 's':
		return PCRE2_DOTALL;
	case 'x':
		return PCRE2_EXTENDED;
	case 'A':
		return PCRE2_ANCHORED;
	case 'E':
		return PCRE2_DOLLAR_ENDONLY;
	case 'U':
		return PCRE2_UNGREEDY;
	}
	return 0;
}

static bool
flags_of(struct span flags, uint32_t *flags_r, struct fault *why)
{
	*flags_r = PCRE2_CASELESS | PCRE2_DOTALL;
	for (size_t i = 0; i < flags.n; i++) {
		uint32_t bit = flag_bit(flags.p[i]);

		/* X is of the old library and has no meaning in PCRE2 */
		if (bit == 0 && flags.p[i] != 'X')
			return fault_set(why, "4.3.5", "unknown pcre flag \"%c\"", flags.p[i]);
		*flags_r ^= bit;
	}
	return true;
}

static void
release(void *pattern)
{
	struct pcre *p = pattern;

	pcre2_match_context_free(p->limits);
	pcre2_match_data_free(p->data);
	pcre2_code_free(p->code);
}

static void
set_limits(struct pcre *p)
{
	p->data = pcre2_match_data_create_from_pattern(p->code, NULL);
	p->limits = pcre2_match_context_create(NULL);
	if (p->data == NULL || p->limits == NULL)
		panic("out of memory");
	pcre2_set_match_limit(p->limits, MATCH_LIMIT);
	pcre2_set_depth_limit(p->limits, DEPTH_LIMIT);
	pcre2_set_heap_limit(p->limits, HEAP_LIMIT_KB);
}

static void *
compile(struct arena *a, struct span *rest, unsigned *groups_r, struct fault *why)
{
	struct pcre *p = ARENA_NEW(a, struct pcre);
	struct span text;
	uint32_t flags;
	PCRE2_SIZE at;
	int error;

	if (!rules_delimited(rest, &text, why) || !flags_of(rules_flags(rest), &flags, why))
		return NULL;
	/* only a pattern with characters beyond ASCII needs to know about them */
	if (!span_is_ascii(text) && span_is_utf8(text))
		flags |= PCRE2_UTF | PCRE2_MATCH_INVALID_UTF;
	p->code = pcre2_compile((PCRE2_SPTR)text.p, text.n, flags, &error, &at, NULL);
	if (p->code == NULL) {
		PCRE2_UCHAR words[200];

		pcre2_get_error_message(error, words, sizeof(words));
		fault_set(why, "4.3.5", "%s at character %zu of the pattern", (const char *)words, at);
		return NULL;
	}
	set_limits(p);
	pcre2_pattern_info(p->code, PCRE2_INFO_CAPTURECOUNT, groups_r);
	return p;
}

static void
copy_groups(struct pcre *p, int n, struct span key, struct rules_match *m)
{
	const PCRE2_SIZE *v = pcre2_get_ovector_pointer(p->data);

	m->n = (size_t)n < RULES_GROUPS ? (size_t)n : RULES_GROUPS;
	for (size_t i = 0; i < m->n; i++)
		m->groups[i] = v[2 * i] == PCRE2_UNSET ? span_str(NULL) :
		    span_slice(key, v[2 * i], v[2 * i + 1]);
}

static enum map_result
match(void *pattern, struct span key, const void *parsed, struct rules_match *groups_r,
    struct fault *why)
{
	struct pcre *p = pattern;
	int r = pcre2_match(p->code, (PCRE2_SPTR)key.p, key.n, 0, 0, p->data, p->limits);

	(void)parsed;
	if (r == PCRE2_ERROR_NOMATCH)
		return MAP_ABSENT;
	if (r < 0) {
		PCRE2_UCHAR words[200];

		pcre2_get_error_message(r, words, sizeof(words));
		fault_set(why, "4.3.0", "%s", (const char *)words);
		return MAP_DEFER;
	}
	copy_groups(p, r, key, groups_r);
	return MAP_FOUND;
}

static const struct rules_type pcre_rules = {
	.substitutes = true, .empty_value = true, .compile = compile, .match = match, .release = release,
};

static bool
pcre_open(struct table *t, struct fault *why)
{
	return rules_open(t, &pcre_rules, why);
}

const struct table_type table_pcre = {
	"pcre", true, false, pcre_open, rules_find, rules_check, rules_close
};
