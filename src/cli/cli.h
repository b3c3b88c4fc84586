// SPDX-License-Identifier: Apache-2.0
//
// The commands of `csb`. A new command is one file and one row in main.c.
#ifndef CSB_CLI_CLI_H
#define CSB_CLI_CLI_H

#include <stdbool.h>

// Exit codes of csb itself; a run's own exit code is passed on instead.
#define CLI_EXIT_USAGE   2
#define CLI_EXIT_TIMEOUT 124 // as timeout(1)
#define CLI_EXIT_SERVICE 125 // the service failed or could not be reached
#define CLI_EXIT_SIGNAL  128 // plus the signal's number, as a shell does

struct cli_command {
    const char *name;
    const char *usage; // what follows the name
    const char *help;  // one line
    // argv[0] is the whole of its name, "csb sandbox create". Returns the process's exit code.
    int (*run)(int argc, char **argv);
    const char *options;            // the long ones, for completion: "--json --user"; or NULL
    const struct cli_command *subs; // its own commands, ended by an empty entry; or NULL
    const char *words;              // for completion: what its first argument is; or NULL
    bool ids;                       // its arguments are ids of sandboxes
    bool own_help;                  // it answers --help itself
};

// What main.c knows, and what `csb sandbox` and `csb template` do; ended by an empty entry.
extern const struct cli_command cli_commands[];
extern const struct cli_command sandbox_commands[];
extern const struct cli_command template_commands[];
extern const struct cli_command job_commands[];

int cmd_run(int argc, char **argv);
int cmd_sandbox(int argc, char **argv);
int cmd_job(int argc, char **argv);
int cmd_key(int argc, char **argv);
int cmd_tenant(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_template(int argc, char **argv);
int cmd_template_build(int argc, char **argv);
int cmd_template_rm(int argc, char **argv);
int cmd_top(int argc, char **argv);
int cmd_completion(int argc, char **argv);

// `csb sandbox ...`, `csb template ...`
int cmd_sandbox_exec(int argc, char **argv);
int cmd_sandbox_shell(int argc, char **argv);
int cmd_sandbox_cp(int argc, char **argv);
int cmd_sandbox_ls(int argc, char **argv);
int cmd_sandbox_rm(int argc, char **argv);

// The last word of a command's whole name.
const char *cli_word(const char *name);

// Runs argv[1] of the table; without one, or an unknown one, prints how it is used.
int cli_run_sub(const char *name, const struct cli_command *subs, int argc, char **argv);

// The service's address: CSB_URL, else http://127.0.0.1:8000. Borrowed.
const char *cli_url(void);

#endif
