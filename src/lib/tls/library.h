/* The TLS library as a whole: its configuration file, and the option words of main.cf. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/fault.h"

/*
 * Before anything else of TLS, once per process: tls_config_file ("default", "none" or a path) and
 * tls_config_name. False + why when the file cannot be used.
 */
bool tls_library_open(const char *config_file, const char *config_name, struct fault *why);

/*
 * Option bits to turn on (tls_ssl_options) and off (tls_disable_workarounds): names without
 * SSL_OP_, or one hexadecimal mask. NULL = empty. False + why naming the parameter.
 */
bool tls_option_bits(const char *ssl_options, const char *disable_workarounds, uint64_t *on_r, uint64_t *off_r,
    struct fault *why);

/* Memory of the library is wiped when it is freed, from now on. Before anything else of the library; false: too late. */
bool tls_library_wipes_memory(void);
