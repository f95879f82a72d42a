/* Fuzz: rule tables. First line: the key; the rest is the source of a cidr, regexp or pcre table by its first byte. */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/panic.h"
#include "maps/maps.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static int text_fd = -1;

/* Each table gets the text of this round, whatever its path. */
static int
open_text(void *ctx, const char *path)
{
	(void)ctx;
	(void)path;
	return fcntl(text_fd, F_DUPFD_CLOEXEC, 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static const char *const specs[] = { "cidr:/dev/null", "regexp:/dev/null", "pcre:/dev/null", "texthash:/dev/null" };
	struct maps_env env = { .data_directory = "", .default_database_type = "cdb", .alias_tables = "",
		.open = open_text };
	struct span key, text;
	struct arena *a;
	struct map_hit hit;
	struct maps *m;

	if (n < 2 || n > 20000)
		return 0;
	log_set_sink(log_sink_none, NULL, NULL);
	span_cut(span_of(p + 1, n - 1), '\n', &key, &text);
	text_fd = fd_sealed("text", text);
	ensure(text_fd >= 0);
	a = arena_new(4 << 20);
	ensure(maps_open(span_str(specs[p[0] % 4]), 0, &env, &m, NULL));
	if (maps_find(m, key, NULL, a, &hit, NULL) == MAP_FOUND)
		ensure(hit.value.n <= MAPS_VALUE_MAX && hit.line > 0);
	maps_unref(&m);
	arena_free(&a);
	fd_close(&text_fd);
	return 0;
}
