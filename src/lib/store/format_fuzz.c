/* Fuzz: message files as the scan and activation read them, down to the recipients' records. */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/panic.h"
#include "store/flat.h"
#include "store/state.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

/* What is read must be within the file, and what is written again must say the same. */
static void
check_state(struct span records)
{
	struct arena *a = arena_new(64 << 20);
	struct mail_state s, t;
	struct buf b;

	buf_init(&b, 16 << 20);
	state_init(&s, 20, a);
	state_apply(&s, records, a);
	state_write_all(&s, &b);
	state_init(&t, 20, a);
	state_apply(&t, buf_span(&b), a);
	for (size_t i = 0; i < s.n && !b.full; i++)
		ensure(t.rcpts[i].stage == s.rcpts[i].stage);
	buf_release(&b);
	arena_free(&a);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	int result, fd = memfd_create("fuzz", MFD_CLOEXEC);
	struct span envelope, records;
	struct store_place place;
	struct buf data;

	ensure(fd >= 0 && fd_write_all(fd, p, n) == 0);
	buf_init(&data, STORE_ENVELOPE_MAX + STORE_RECORDS_MAX);
	if (flat_read(&store_io_disk, fd, UINT64_MAX, &data, &place, &envelope, &records, &result) ==
	    STORE_FOUND_GOOD && result == 0) {
		ensure(place.tail <= n && envelope.n == place.envelope_bytes && records.n <= n);
		check_state(records);
	}
	check_state(span_of(p, n));
	buf_release(&data);
	fd_close(&fd);
	return 0;
}
