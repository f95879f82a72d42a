/* The pipe services of a configuration, looked at before mail comes to them. */
#pragma once

struct conf;
struct conf_report;

/*
 * What pipe(8) could not read, or would not do (the command as root), is an error at the line of the service; a user that
 * does not exist is a note, as distributions list services of programs that are not installed.
 */
void pipe_conf_check(const struct conf *conf, struct conf_report *report);
