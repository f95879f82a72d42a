/* Records of deliveries (tls/why.h) as text. They were written by us, and are read as if anybody had. */
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "explain/explain.h"

enum { LINE_BYTES_MAX = 4096 };

/* What has no place in a terminal is escaped; missing = empty. */
static struct span
text(const json_t *o, const char *name)
{
	const json_t *v = json_object_get(o, name);

	return json_is_string(v) ? log_esc(span_of(json_string_value(v), json_string_length(v))) : SPAN("");
}

static struct span
item(const json_t *list, size_t i)
{
	const json_t *v = json_array_get(list, i);

	return json_is_string(v) ? log_esc(span_of(json_string_value(v), json_string_length(v))) : SPAN("");
}

static bool
flag(const json_t *o, const char *name)
{
	return json_is_true(json_object_get(o, name));
}

static void
sub(struct buf *out, const char *label, struct span value)
{
	if (value.n > 0)
		buf_addf(out, "  %-12s %.*s\n", label, SPAN_ARG(value));
}

static void
show_chain(struct buf *out, const json_t *chain)
{
	for (size_t i = 0; i < json_array_size(chain); i++) {
		const json_t *one = json_array_get(chain, i);

		buf_addf(out, "  %-12s %zu  CN=%.*s  sha256 %.*s...\n", i == 0 ? "chain" : "", i, SPAN_ARG(item(one, 0)),
		    SPAN_ARG(span_slice(item(one, 1), 0, 32)));
	}
}

static void
show_session(struct buf *out, const json_t *o)
{
	struct span group = text(o, "group");

	if (text(o, "protocol").n == 0)
		return;
	buf_addf(out, "  %-12s %.*s, %.*s%s%.*s%s\n", "connection", SPAN_ARG(text(o, "protocol")), SPAN_ARG(text(o, "cipher")),
	    group.n > 0 ? ", group " : "", SPAN_ARG(group), flag(o, "resumed") ? ", resumed" : "");
	sub(out, "secrecy", flag(o, "forward_secret") ? SPAN("forward secret") : SPAN("not forward secret"));
	sub(out, "server name", text(o, "sni"));
	buf_addf(out, "  %-12s %.*s%s\n", "peer", SPAN_ARG(text(o, "trust")), flag(o, "matched") ? ", what the policy asks for holds" : "");
	sub(out, "matched by", text(o, "matched_by"));
	sub(out, "TLSA record", text(o, "record"));
	sub(out, "reason", text(o, "reason"));
	show_chain(out, json_object_get(o, "chain"));
}

static void
show_trail(struct buf *out, const json_t *o)
{
	const json_t *trail = json_object_get(o, "trail");

	for (size_t i = 0; i < json_array_size(trail); i++) {
		const json_t *step = json_array_get(trail, i);

		buf_addf(out, "  %-12s %.*s: %.*s  [%.*s]\n", i == 0 ? "because" : "", SPAN_ARG(item(step, 0)), SPAN_ARG(item(step, 1)),
		    SPAN_ARG(item(step, 2)));
	}
	if (flag(o, "cut"))
		buf_addf(out, "  %-12s (the record had no room for all)\n", "");
}

static void
show_recipients(struct buf *out, const json_t *o)
{
	const json_t *to = json_object_get(o, "to");
	json_int_t unlisted = json_integer_value(json_object_get(o, "unlisted"));

	for (size_t i = 0; i < json_array_size(to); i++)
		sub(out, i == 0 ? "to" : "", item(to, i));
	if (unlisted > 0)
		buf_addf(out, "  %-12s (and %lld more)\n", "", (long long)unlisted);
}

static void
show_server(struct buf *out, const json_t *o)
{
	struct span asked = text(o, "asked"), level = text(o, "level");

	if (text(o, "host").n == 0) {
		sub(out, "tls", json_integer_value(json_object_get(o, "tried")) > 0 ? SPAN("no server was left") : SPAN("no server was reached"));
		return;
	}
	if (flag(o, "continued"))
		return;
	if (span_eq(asked, level))
		sub(out, "level", level);
	else
		buf_addf(out, "  %-12s %.*s (asked for: %.*s)\n", "level", SPAN_ARG(level), SPAN_ARG(asked));
	sub(out, "tls=", text(o, "tls"));
	sub(out, "not usable", text(o, "unusable"));
	sub(out, "warning", text(o, "because"));
	sub(out, "plainer TLS", text(o, "plainer"));
	sub(out, "handshake", text(o, "failure"));
	sub(out, "TLSRPT", text(o, "tlsrpt"));
	show_session(out, o);
	show_trail(out, o);
}

static void
show(struct buf *out, const json_t *o)
{
	time_t at = (time_t)json_integer_value(json_object_get(o, "time"));
	struct span host = text(o, "host"), address = text(o, "address");
	char stamp[64] = "";
	struct tm tm;

	if (localtime_r(&at, &tm) != NULL)
		strftime(stamp, sizeof(stamp), "%Y-%m-%d %H:%M:%S", &tm);
	buf_addf(out, "%s  %.*s", stamp, SPAN_ARG(text(o, "nexthop")));
	if (host.n > 0)
		buf_addf(out, " by %.*s[%.*s]:%lld", SPAN_ARG(host), SPAN_ARG(address), (long long)json_integer_value(json_object_get(o, "port")));
	buf_addf(out, "\n  %-12s %.*s %.*s %.*s\n", "outcome", SPAN_ARG(text(o, "outcome")), SPAN_ARG(text(o, "dsn")), SPAN_ARG(text(o, "text")));
	show_recipients(out, o);
	show_server(out, o);
}

enum explain_record
explain_record_show(struct span line, const char *qid, struct buf *out)
{
	enum explain_record r = EXPLAIN_RECORD_DAMAGED;
	char needle[64];
	json_t *o;
	const char *id;
	int n = snprintf(needle, sizeof(needle), "\"queue_id\":\"%s\"", qid);

	if (line.n == 0 || n < 0 || (size_t)n >= sizeof(needle) || memmem(line.p, line.n, needle, (size_t)n) == NULL)
		return EXPLAIN_RECORD_OTHER;
	o = line.n > LINE_BYTES_MAX ? NULL : json_loadb(line.p, line.n, JSON_REJECT_DUPLICATES, NULL);
	if (json_is_object(o)) {
		id = json_string_value(json_object_get(o, "queue_id"));
		r = id != NULL && strcmp(id, qid) == 0 ? EXPLAIN_RECORD_FOUND : EXPLAIN_RECORD_OTHER;
		if (r == EXPLAIN_RECORD_FOUND && out != NULL)
			show(out, o);
	}
	json_decref(o);
	return r;
}
