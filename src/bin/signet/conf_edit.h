/* Changing main.cf in place: everything else in it stays as it is, and readers see the old file or the new one. */
#pragma once

struct cli;

enum conf_edit { CONF_EDIT_NOTHING, CONF_EDIT_SET, CONF_EDIT_DELETE, CONF_EDIT_COMMENT };

/* Set NAME=VALUE, or delete or comment out NAME. Exit status. */
int conf_edit_main(const struct cli *cli, enum conf_edit how, int argc, char **argv);
