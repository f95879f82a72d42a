/* JSON text for verbs with --json. */
#include "base/buf.h"
#include "signet/cli.h"

void
cli_json_string(struct buf *out, const char *text)
{
	buf_addc(out, '"');
	for (const char *p = text; *p != '\0'; p++) {
		unsigned char c = (unsigned char)*p;

		if (c == '"' || c == '\\')
			buf_addf(out, "\\%c", c);
		else if (c < 0x20 || c == 0x7f)
			buf_addf(out, "\\u%04x", (unsigned)c);
		else
			buf_addc(out, *p);
	}
	buf_addc(out, '"');
}
