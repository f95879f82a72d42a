/* Dates for headers. */
#include "mail/date.h"

#include <time.h>

static const char *const days[] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
static const char *const months[] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug",
	"Sep", "Oct", "Nov", "Dec" };

static struct tm
local_time(int64_t wall_us)
{
	time_t t = (time_t)(wall_us / 1000000);
	struct tm tm = { 0 };

	localtime_r(&t, &tm);
	return tm;
}

struct span
date_rfc5322_plain(int64_t wall_us, struct arena *a)
{
	struct tm tm = local_time(wall_us);
	long off = tm.tm_gmtoff / 60;
	long abs = off < 0 ? -off : off;

	/* Not strftime: day and month names must not follow the locale. */
	return arena_printf(a, "%s, %d %s %d %02d:%02d:%02d %c%02ld%02ld", days[tm.tm_wday], tm.tm_mday,
	    months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec,
	    off < 0 ? '-' : '+', abs / 60, abs % 60);
}

/* Zone names come from files and the environment: only harmless ones are shown. */
static bool
zone_name_ok(struct span name)
{
	for (size_t i = 0; i < name.n; i++)
		if (!ascii_isalnum(name.p[i]) && name.p[i] != '+' && name.p[i] != '-')
			return false;
	return name.n > 0 && name.n < 10;
}

struct span
date_rfc5322(int64_t wall_us, struct arena *a)
{
	struct tm tm = local_time(wall_us);
	struct span plain = date_rfc5322_plain(wall_us, a);
	struct span zone = span_str(tm.tm_zone);

	if (!zone_name_ok(zone))
		return plain;
	return arena_printf(a, "%.*s (%.*s)", SPAN_ARG(plain), SPAN_ARG(zone));
}

struct span
date_compact(int64_t wall_us, struct arena *a)
{
	time_t t = (time_t)(wall_us / 1000000);
	struct tm tm = { 0 };

	gmtime_r(&t, &tm);
	return arena_printf(a, "%04d%02d%02d%02d%02d%02d", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
	    tm.tm_hour, tm.tm_min, tm.tm_sec);
}
