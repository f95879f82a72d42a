/* Calls that base has a better one for: using one is a compile error (HACKING.md "Banned calls"). */
#pragma once

/* First the headers that declare them (and, fortified, define them inline). */
#include <alloca.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SIGNET_BANNED(name, instead) name##_is_banned_use_##instead

#undef strcpy
#undef strcat
#undef strncpy
#undef strncat
#undef sprintf
#undef vsprintf
#undef strtok
#undef gets
#undef atoi
#undef atol
#undef strtol
#undef strtoul
#undef sscanf
#undef alloca
#undef gmtime
#undef localtime
#undef ctime
#undef mktemp
#undef system
#undef popen
#define strcpy(...) SIGNET_BANNED(strcpy, buf_add)
#define strcat(...) SIGNET_BANNED(strcat, buf_add)
#define strncpy(...) SIGNET_BANNED(strncpy, buf_add)
#define strncat(...) SIGNET_BANNED(strncat, buf_add)
#define sprintf(...) SIGNET_BANNED(sprintf, buf_addf)
#define vsprintf(...) SIGNET_BANNED(vsprintf, buf_vaddf)
#define strtok(...) SIGNET_BANNED(strtok, span_cut)
#define gets(...) SIGNET_BANNED(gets, fd_read)
#define atoi(...) SIGNET_BANNED(atoi, span_u64)
#define atol(...) SIGNET_BANNED(atol, span_u64)
#define strtol(...) SIGNET_BANNED(strtol, span_u64)
#define strtoul(...) SIGNET_BANNED(strtoul, span_u64)
#define sscanf(...) SIGNET_BANNED(sscanf, rd)
#define alloca(...) SIGNET_BANNED(alloca, arena_alloc)
#define gmtime(...) SIGNET_BANNED(gmtime, gmtime_r)
#define localtime(...) SIGNET_BANNED(localtime, localtime_r)
#define ctime(...) SIGNET_BANNED(ctime, date_rfc5322)
#define mktemp(...) SIGNET_BANNED(mktemp, fd_open_new)
#define system(...) SIGNET_BANNED(system, deliver)
#define popen(...) SIGNET_BANNED(popen, deliver)
