/*
 * Values that only the TLS policy and the resolver of services can judge: cipher exclusions, fingerprints, server names, ports.
 * Looked at before anything starts or a reload takes effect, as the processes that deliver could only die of them.
 */
#pragma once

#include "conf/conf.h"

/*
 * The first mistake of each smtp or lmtp service of `c` becomes an error of `report`, with the file and line where it is set: exclusions
 * of ciphers (OpenSSL's words without an operator), fingerprints (tls-client section 6), server names (RFC 6066 section 3),
 * digests (RFC 7672 section 3 by tls_dane_digests), ports (RFC 6335 names or numbers). `c` stays the caller's and is not kept;
 * texts are copied into the report. No file and no network is touched; without a finding nothing is added, and there is no
 * other way to fail.
 */
void hop_conf_check(const struct conf *c, struct conf_report *report);
