/* Distinguished names from and to text. */
#include "tls/dn.h"

#include <openssl/err.h>
#include <openssl/objects.h>

#include "base/buf.h"
#include "base/log.h"

/* One value on its way in. */
struct part {
	struct span type, value;
	bool joined;            /* belongs to the part before (RFC 4514 "+") */
};

static int
hex_digit(char c)
{
	if (ascii_isdigit(c))
		return c - '0';
	c = ascii_lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "HH" at `at`, or -1. */
static int
hex_byte(struct span s, size_t at)
{
	int high, low;

	if (at + 2 > s.n)
		return -1;
	high = hex_digit(s.p[at]);
	low = hex_digit(s.p[at + 1]);
	return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* Names of attributes have no case (RFC 4514 section 3); the library's do. */
static int
type_nid(struct span type)
{
	static const char *const names[] = { "CN", "C", "L", "ST", "O", "OU", "DC", "UID", "SN", "GN", "serialNumber",
		"emailAddress", "street", "title", "initials", "postalCode", "dnQualifier", "organizationIdentifier" };
	char text[64];

	if (type.n == 0 || type.n >= sizeof(text))
		return NID_undef;
	memcpy(text, type.p, type.n);
	text[type.n] = '\0';
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (span_eq_ci(type, span_str(names[i])))
			return OBJ_txt2nid(names[i]);
	if (span_eq_ci(type, SPAN("Email")) || span_eq_ci(type, SPAN("E")))
		return NID_pkcs9_emailAddress;
	return OBJ_txt2nid(text);
}

static bool
add_part(X509_NAME *name, const struct part *p, bool front, struct fault *why)
{
	int nid = type_nid(p->type), loc = front ? 0 : -1, set = 0;

	if (nid == NID_undef)
		return fault_set(why, "4.7.0", "unknown attribute \"%.*s\" in a distinguished name", SPAN_ARG(log_esc(p->type)));
	if (p->value.n == 0 || !span_is_utf8(p->value))
		return fault_set(why, "4.7.0", "empty or unusable value of \"%.*s\" in a distinguished name",
		    SPAN_ARG(log_esc(p->type)));
	if (X509_NAME_entry_count(name) >= TLS_DN_PARTS_MAX)
		return fault_set(why, "4.7.0", "more than %d parts in a distinguished name", TLS_DN_PARTS_MAX);
	/* in front of the part before: a value that is joined joins what then stands behind it */
	if (p->joined)
		set = front ? 1 : -1;
	if (X509_NAME_add_entry_by_NID(name, nid, MBSTRING_UTF8, (const unsigned char *)p->value.p, (int)p->value.n, loc,
		set) == 1)
		return true;
	ERR_clear_error();
	return fault_set(why, "4.7.0", "unusable value of \"%.*s\" in a distinguished name", SPAN_ARG(log_esc(p->type)));
}

/* --- "/C=DE/O=x" --- */

/* Does a new part begin at this '/'? A '/' inside a value is followed by no "word=". */
static bool
slash_part(struct span s, size_t at)
{
	size_t i = at + 1;

	while (i < s.n && (ascii_isalnum(s.p[i]) || s.p[i] == '.'))
		i++;
	return i > at + 1 && i < s.n && s.p[i] == '=';
}

static struct span
unplus(struct span s, struct buf *out)
{
	buf_clear(out);
	for (size_t i = 0; i < s.n; i++) {
		int byte = s.p[i] == '+' ? hex_byte(s, i + 1) : -1;

		buf_addc(out, byte >= 0 ? (char)byte : s.p[i]);
		i += byte >= 0 ? 2 : 0;
	}
	return buf_span(out);
}

static bool
parse_slashes(struct span text, X509_NAME *name, struct buf *tmp, struct fault *why)
{
	size_t from = 0;

	while (from < text.n) {
		size_t to = from + 1;
		struct part p = { .joined = false };
		struct span value;

		while (to < text.n && (text.p[to] != '/' || !slash_part(text, to)))
			to++;
		if (!span_cut(span_slice(text, from + 1, to), '=', &p.type, &value))
			return fault_set(why, "4.7.0", "a distinguished name must look like /C=XX/O=Name/CN=name");
		p.value = unplus(value, tmp);
		if (!add_part(name, &p, false, why))
			return false;
		from = to;
	}
	return true;
}

/* --- RFC 4514 --- */

/* The next value up to an unescaped ',' or '+'; `*stop_r` is which one, '\0' at the end. False: a bad escape. */
static bool
take_value(struct span *rest, struct buf *out, char *stop_r)
{
	size_t i = 0, keep = 0;

	buf_clear(out);
	*stop_r = '\0';
	for (; i < rest->n && rest->p[i] != ',' && rest->p[i] != '+'; i++) {
		int byte;

		if (rest->p[i] != '\\') {
			buf_addc(out, rest->p[i]);
			keep = rest->p[i] == ' ' ? keep : out->n;
			continue;
		}
		byte = hex_byte(*rest, i + 1);
		if (byte < 0 && i + 1 >= rest->n)
			return false;
		buf_addc(out, byte >= 0 ? (char)byte : rest->p[i + 1]);
		i += byte >= 0 ? 2 : 1;
		keep = out->n;
	}
	out->n = keep;          /* blanks at the end count only when they are escaped */
	if (i < rest->n)
		*stop_r = rest->p[i];
	*rest = span_from(*rest, i < rest->n ? i + 1 : i);
	return true;
}

static bool
parse_4514(struct span text, X509_NAME *name, struct buf *tmp, struct fault *why)
{
	char stop = ',';

	while (stop != '\0') {
		struct part p = { .joined = stop == '+' };
		struct span value;

		if (!span_cut(text, '=', &p.type, &value))
			return fault_set(why, "4.7.0", "a distinguished name must look like CN=name,O=Name,C=XX or /C=XX/O=Name/CN=name");
		p.type = span_trim(p.type);
		while (value.n > 0 && value.p[0] == ' ')
			value = span_from(value, 1);
		if (!take_value(&value, tmp, &stop))
			return fault_set(why, "4.7.0", "a distinguished name ends in \"\\\"");
		p.value = buf_span(tmp);
		if (!add_part(name, &p, true, why))
			return false;
		text = value;
	}
	return true;
}

X509_NAME *
tls_dn_parse(struct span text, struct fault *why)
{
	X509_NAME *name = X509_NAME_new();
	struct buf tmp;
	bool ok;

	text = span_trim(text);
	buf_init(&tmp, TLS_DN_TEXT_MAX);
	if (text.n == 0 || text.n > TLS_DN_TEXT_MAX || name == NULL)
		ok = fault_set(why, "4.7.0", "an empty distinguished name, or one of more than %d bytes", TLS_DN_TEXT_MAX);
	else if (text.p[0] == '/')
		ok = parse_slashes(text, name, &tmp, why);
	else
		ok = parse_4514(text, name, &tmp, why);
	buf_release(&tmp);
	if (ok)
		return name;
	X509_NAME_free(name);
	return NULL;
}

/* --- to text --- */

/* A value that reads "x/CN=y" must not look like two parts. */
static void
add_plus(struct buf *out, struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if ((c == '/' && slash_part(s, i)) || c <= ' ' || c > '~' || strchr("<>()\"+", c) != NULL)
			buf_addf(out, "+%02X", c);
		else
			buf_addc(out, (char)c);
	}
}

static void
add_entry(struct buf *out, const X509_NAME_ENTRY *e)
{
	ASN1_OBJECT *object = X509_NAME_ENTRY_get_object(e);
	int nid = OBJ_obj2nid(object), n;
	unsigned char *utf8 = NULL;
	char oid[80];

	if (nid != NID_undef)
		snprintf(oid, sizeof(oid), "%s", OBJ_nid2sn(nid));
	else if (OBJ_obj2txt(oid, (int)sizeof(oid), object, 1) <= 0)
		oid[0] = '\0';
	n = ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(e));
	buf_addf(out, "/%s=", oid);
	if (n > 0)
		add_plus(out, span_of(utf8, (size_t)n));
	OPENSSL_free(utf8);
}

struct span
tls_dn_text(const X509_NAME *name, struct arena *a)
{
	struct span text = SPAN("");
	struct buf b;

	buf_init(&b, TLS_DN_TEXT_MAX);
	for (int i = 0; i < X509_NAME_entry_count(name); i++)
		add_entry(&b, X509_NAME_get_entry(name, i));
	ERR_clear_error();
	if (!b.full)
		text = arena_dup(a, buf_span(&b));
	buf_release(&b);
	return text;
}
