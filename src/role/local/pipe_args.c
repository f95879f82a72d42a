/* pipe(8): attributes and macros. */
#include "role/local/pipe_args.h"

#include "mail/address.h"

#define WORDS_MAX 1024

static bool
set_flag(struct pipe_args *p, char c, struct fault *why)
{
	static const char letters[] = "BDFORXhqu.>";
	bool *const flags[] = {
		&p->blank_line, &p->delivered_to, &p->from_line, &p->original_to, &p->return_path, &p->final,
		&p->fold_domain, &p->quote, &p->fold_local, &p->quote_dot, &p->quote_from,
	};
	const char *at = strchr(letters, c);

	if (c == '\0' || at == NULL)
		return fault_set(why, "4.3.5", "flags=%c is not known to pipe", c);
	*flags[at - letters] = true;
	return true;
}

static int
octal(struct span *s)
{
	int value = 0, n = 0;

	while (n < 3 && s->n > 0 && s->p[0] >= '0' && s->p[0] <= '7') {
		value = value * 8 + (s->p[0] - '0');
		*s = span_from(*s, 1);
		n++;
	}
	return n > 0 ? value & 255 : -1;
}

/* C escapes: \a \b \f \n \r \t \v \ddd \\. */
static struct span
unescape(struct span s, struct arena *a)
{
	static const char names[] = "abfnrtv\\", values[] = "\a\b\f\n\r\t\v\\";
	char *out = arena_alloc(a, s.n + 1);
	size_t n = 0;

	while (s.n > 0) {
		char c = s.p[0];
		const char *at;
		int code;

		s = span_from(s, 1);
		if (c != '\\' || s.n == 0) {
			out[n++] = c;
			continue;
		}
		code = octal(&s);
		at = code < 0 ? memchr(names, s.p[0], sizeof(names) - 1) : NULL;
		if (code >= 0) {
			out[n++] = (char)code;
			continue;
		}
		out[n++] = at != NULL ? values[at - names] : s.p[0];
		s = span_from(s, 1);
	}
	return span_of(out, n);
}

static bool
set_flags(struct pipe_args *p, struct span value, struct fault *why)
{
	for (size_t i = 0; i < value.n; i++)
		if (!set_flag(p, value.p[i], why))
			return false;
	return true;
}

static bool
set_attribute(struct pipe_args *p, struct span name, struct span value, struct arena *a, struct fault *why)
{
	if (span_eq(name, SPAN("flags")))
		return set_flags(p, value, why);
	if (span_eq(name, SPAN("user"))) {
		span_cut(value, ':', &p->user, &p->group);
	} else if (span_eq(name, SPAN("directory"))) {
		p->directory = value;
	} else if (span_eq(name, SPAN("eol"))) {
		p->eol = unescape(value, a);
		if (p->eol.n > 16)
			return fault_set(why, "4.3.5", "pipe: eol= is too long");
	} else if (span_eq(name, SPAN("null_sender"))) {
		p->null_sender = value;
		p->null_sender_set = true;
	} else if (span_eq(name, SPAN("size"))) {
		if (!span_u64(value, UINT64_MAX, &p->size))
			return fault_set(why, "4.3.5", "pipe: size=%.*s is no number", SPAN_ARG(value));
	} else {
		return fault_set(why, "4.3.5", "pipe: attribute %.*s= is not supported", SPAN_ARG(name));
	}
	return true;
}

/* "{ words with blanks }" is one word, without its braces. */
static struct span
unbrace(struct span s)
{
	if (s.n >= 2 && s.p[0] == '{' && s.p[s.n - 1] == '}')
		return span_trim(span_slice(s, 1, s.n - 1));
	return s;
}

static bool
take_argv(struct pipe_args *p, struct span first, struct span rest, struct arena *a, struct fault *why)
{
	struct span word;

	p->argv = ARENA_ARRAY(a, struct span, WORDS_MAX);
	if (first.n > 0)
		p->argv[p->argc++] = unbrace(first);
	while (span_token_brace(&rest, " \t", &word)) {
		if (p->argc == WORDS_MAX)
			return fault_set(why, "4.3.5", "pipe: more than %d words in argv=", WORDS_MAX);
		p->argv[p->argc++] = unbrace(word);
	}
	return p->argc > 0 || fault_set(why, "4.3.5", "pipe: argv= names no command");
}

bool
pipe_args_parse(struct span text, struct arena *a, struct pipe_args *p, struct fault *why)
{
	struct span word, name, value;

	*p = (struct pipe_args){ .eol = SPAN("\n") };
	while (span_token_brace(&text, " \t", &word)) {
		word = unbrace(word);
		span_cut(word, '=', &name, &value);
		name = span_trim(name);
		value = span_trim(value);
		if (span_eq(name, SPAN("argv"))) {
			if (p->user.n == 0)
				return fault_set(why, "4.3.5", "pipe: user= is missing");
			return take_argv(p, value, text, a, why);
		}
		if (!set_attribute(p, name, value, a, why))
			return false;
	}
	return fault_set(why, "4.3.5", "pipe: argv= is missing");
}

struct span
pipe_args_sender(const struct pipe_args *p, const struct pipe_facts *f, struct arena *a)
{
	if (f->sender.n > 0)
		return p->quote ? address_external(f->sender, a) : f->sender;
	return p->null_sender_set ? p->null_sender : SPAN("MAILER-DAEMON");
}

/* ---- macros */

struct expander {
	const struct pipe_args *p;
	const struct pipe_facts *f;
	const struct pipe_rcpt *rcpt;           /* the one this word is for */
	struct arena *a;
	bool per_rcpt;                          /* some macro was about the recipient */
};

static struct span
folded(struct expander *x, struct span s, bool fold)
{
	return fold ? arena_lower(x->a, s) : s;
}

static struct span
whole_address(struct expander *x, struct span addr)
{
	struct span local, domain;

	if (!address_split(addr, &local, &domain))
		addr = folded(x, local, x->p->fold_local);
	else
		addr = arena_printf(x->a, "%.*s@%.*s", SPAN_ARG(folded(x, local, x->p->fold_local)),
		    SPAN_ARG(folded(x, domain, x->p->fold_domain)));
	return x->p->quote ? address_external(addr, x->a) : addr;
}

enum part { PART_USER, PART_EXTENSION, PART_MAILBOX };

static struct span
local_part(struct expander *x, enum part part)
{
	struct span local, domain, user, ext = { 0 };

	address_split(x->rcpt->addr, &local, &domain);
	local = folded(x, local, x->p->fold_local);
	if (!address_split_extension(local, x->f->delimiter, true, &user, &ext))
		ext = (struct span){ 0 };
	x->per_rcpt = true;
	return part == PART_USER ? user : part == PART_EXTENSION ? ext : local;
}

static bool
rcpt_macro(struct expander *x, struct span name, struct span *value_r)
{
	struct span local;

	if (span_eq(name, SPAN("recipient"))) {
		*value_r = whole_address(x, x->rcpt->addr);
	} else if (span_eq(name, SPAN("original_recipient"))) {
		*value_r = whole_address(x, x->rcpt->orig.n > 0 ? x->rcpt->orig : x->rcpt->addr);
	} else if (span_eq(name, SPAN("user"))) {
		*value_r = local_part(x, PART_USER);
	} else if (span_eq(name, SPAN("extension"))) {
		*value_r = local_part(x, PART_EXTENSION);
	} else if (span_eq(name, SPAN("mailbox"))) {
		*value_r = local_part(x, PART_MAILBOX);
	} else if (span_eq(name, SPAN("domain"))) {
		/* Like Postfix: the domain does not make a word one per recipient. */
		address_split(x->rcpt->addr, &local, value_r);
		*value_r = folded(x, *value_r, x->p->fold_domain);
		return true;
	} else {
		return false;
	}
	x->per_rcpt = true;
	return true;
}

static bool
message_macro(struct expander *x, struct span name, struct span *value_r)
{
	const struct pipe_facts *f = x->f;
	const struct { const char *name; struct span value; } rows[] = {
		{ "client_address", f->client_addr }, { "client_helo", f->client_helo },
		{ "client_hostname", f->client_name }, { "client_port", f->client_port },
		{ "client_protocol", f->client_protocol }, { "envid", f->envid },
		{ "queue_id", f->qid }, { "sasl_method", f->sasl_method },
		{ "sasl_sender", f->sasl_sender }, { "sasl_username", f->sasl_username },
		{ "sender", pipe_args_sender(x->p, f, x->a) },
		{ "nexthop", folded(x, f->nexthop, x->p->fold_domain) },
		{ "size", arena_printf(x->a, "%llu", (unsigned long long)f->size) },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (span_eq(name, span_str(rows[i].name))) {
			*value_r = rows[i].value;
			return true;
		}
	return false;
}

/* The name behind '$': $name, ${name} or $(name); `*rest` moves behind it. Empty: no name. */
static struct span
macro_name(struct span *rest)
{
	size_t n = 0;
	char close = '\0';
	struct span name;

	if (rest->n > 0 && (rest->p[0] == '{' || rest->p[0] == '(')) {
		close = rest->p[0] == '{' ? '}' : ')';
		*rest = span_from(*rest, 1);
	}
	while (n < rest->n && (ascii_isalnum(rest->p[n]) || rest->p[n] == '_'))
		n++;
	name = span_slice(*rest, 0, n);
	if (close != '\0') {
		if (n >= rest->n || rest->p[n] != close)
			return (struct span){ 0 };
		n++;
	}
	*rest = span_from(*rest, n);
	return name;
}

static bool
expand_word(struct expander *x, struct span word, struct buf *out, struct fault *why)
{
	while (word.n > 0) {
		ptrdiff_t at = span_index(word, '$');
		struct span name, value;

		buf_add_span(out, span_slice(word, 0, at < 0 ? word.n : (size_t)at));
		if (at < 0)
			return true;
		word = span_from(word, (size_t)at + 1);
		if (word.n > 0 && word.p[0] == '$') {
			buf_addc(out, '$');
			word = span_from(word, 1);
			continue;
		}
		name = macro_name(&word);
		if (name.n == 0 || (!rcpt_macro(x, name, &value) && !message_macro(x, name, &value)))
			return fault_set(why, "4.3.5", "pipe: unknown macro $%.*s", SPAN_ARG(name));
		/* A NUL would end the word early. */
		for (size_t i = 0; i < value.n; i++)
			buf_addc(out, value.p[i] == '\0' ? '_' : value.p[i]);
	}
	return true;
}

bool
pipe_args_expand(const struct pipe_args *p, const struct pipe_facts *f, struct arena *a, struct buf *out,
    struct fault *why)
{
	for (size_t w = 0; w < p->argc; w++)
		for (size_t i = 0; i < f->rcpt_count; i++) {
			struct expander x = { .p = p, .f = f, .rcpt = &f->rcpts[i], .a = a };

			if (!expand_word(&x, p->argv[w], out, why))
				return false;
			buf_addc(out, '\0');
			if (!x.per_rcpt)
				break;
		}
	if (out->full)
		return fault_set(why, "4.3.5", "pipe: the command line is too long");
	return true;
}
