/* Any bytes as a text to be signed: a shape is found or not, and only one side's. */
#include "tls/schemes.h"

#include "base/panic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span text = span_of(data, size);
	enum tls_shape shape = tls_shape_of(text);

	/* a byte less is never the same kind of message */
	if (shape != TLS_SHAPE_NONE && size > 0)
		ensure(tls_shape_of(span_slice(text, 0, size - 1)) == TLS_SHAPE_NONE);
	return 0;
}
