/* SPDX-License-Identifier: MIT */
/*
 * The options: a table, and switches that say what each one does.
 *
 * TABLE is the only list of them. The parser gives it to getopt_long(3), --help prints the lines
 * that have a help text, and the completions are made from the same lines.
 *
 * Names and meanings are those of GNU parallel where it has the option.
 */
#include "options.h"

#include <brood.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

/* clang-format off */
enum id {
    ID_FIRST = 256,
    ARG_FILE, ARG_FILE_SEP, ARG_SEP, BAR, BLOCK, COLSEP, COMPLETION, CONTEXT, CPU_TIME, DELAY,
    DELIMITER, DRY_RUN, END_OF_FILE, ENV, ETA, FILES, GROUP, HALT, HEADER, HELP, IGNORED, JOBLOG,
    JOBS, JSON, KEEP, LINE_BUFFER, LINES_MAX, LINK, LOAD, MANY, ARGS_MAX, ARGS_FIXED, MEMORY_FREE,
    MEMORY, NAMESPACE, NICE, NO_KEEP, NULL_ENDS, PIPE, PLUS, PROGRESS, QUOTE, RECORD_END,
    RECORD_START, REMOVE_SEPARATOR, REPLACE, REPLACE_OLD, REPORT, RESULTS, RESUME, RESUME_FAILED,
    RETRIES, RETRY_FAILED, RUN_NONEMPTY, SHUFFLE, SILENT, SIZE_MAX_, SLOT_VARIABLE,
    STOP_SEQUENCE, TAG, TAG_TEXT, TEMPORARY, TIMEOUT, TOTAL, TRIM, UNGROUP, VERBOSE, VERBOSE_ERROR,
    VERSION, DIRECTORY, XARGS, EXACT, NAME_STEM, NAME_BASE, NAME_DIRECTORY, NAME_BASE_STEM,
    NAME_SEQUENCE, NAME_SLOT,
};
/* clang-format on */

#define NO ARGUMENT_NONE
#define ARG ARGUMENT_NEEDED
#define MAY ARGUMENT_MAY
#define MAP VERB_MAP
#define RUN VERB_RUN
#define BOTH (VERB_MAP | VERB_RUN)

/* clang-format off */
static const struct option_line table[] = {
    {ARG_FILE, "arg-file", 'a', ARG, "FILE", "inputs are the lines of FILE; - is stdin", MAP},
    {NULL_ENDS, "null", '0', NO, NULL, "inputs end in a NUL byte instead of a newline", MAP},
    {DELIMITER, "delimiter", 'd', ARG, "TEXT", "inputs end in TEXT, as \\t, \\0, \\x2c", MAP},
    {COLSEP, "colsep", 'C', ARG, "REGEX", "split each input there: {1} {2} ...", MAP},
    {HEADER, "header", 0, ARG, ":", "the first line names the columns: {name}", MAP},
    {TRIM, "trim", 0, ARG, "l|r|lr|n", "cut blanks off the inputs", MAP},
    {END_OF_FILE, NULL, 'E', ARG, "TEXT", "the input TEXT ends the inputs", MAP},
    {END_OF_FILE, "eof", 'e', MAY, "TEXT", NULL, MAP},
    {LINK, "link", 0, NO, NULL, "inputs in step, not every combination", MAP},
    {LINK, "xapply", 0, NO, NULL, NULL, MAP},
    {RUN_NONEMPTY, "no-run-if-empty", 'r', NO, NULL, "leave out empty inputs", MAP},
    {SHUFFLE, "shuf", 0, NO, NULL, "in random order", MAP},
    {ARG_SEP, "arg-sep", 0, ARG, "WORD", "instead of :::", MAP},
    {ARG_FILE_SEP, "arg-file-sep", 0, ARG, "WORD", "instead of ::::", MAP},

    {REPLACE, NULL, 'I', ARG, "TEXT", "instead of {}", MAP},
    {REPLACE_OLD, "replace", 'i', MAY, "TEXT", NULL, MAP},
    {PLUS, "plus", 0, NO, NULL, "more replacements: {+/} {..} {:2} {%.gz} {/a/b}", MAP},
    {QUOTE, "quote", 'q', NO, NULL, "the words of the command mean nothing to a shell", MAP},
    {NAME_STEM, "extensionreplace", 0, ARG, "TEXT", "instead of {.}", MAP},
    {NAME_STEM, "er", 0, ARG, "TEXT", NULL, MAP},
    {NAME_BASE, "basenamereplace", 0, ARG, "TEXT", "instead of {/}", MAP},
    {NAME_BASE, "bnr", 0, ARG, "TEXT", NULL, MAP},
    {NAME_DIRECTORY, "dirnamereplace", 0, ARG, "TEXT", "instead of {//}", MAP},
    {NAME_DIRECTORY, "dnr", 0, ARG, "TEXT", NULL, MAP},
    {NAME_BASE_STEM, "basenameextensionreplace", 0, ARG, "TEXT", "instead of {/.}", MAP},
    {NAME_BASE_STEM, "bner", 0, ARG, "TEXT", NULL, MAP},
    {NAME_SEQUENCE, "seqreplace", 0, ARG, "TEXT", "instead of {#}", MAP},
    {NAME_SLOT, "slotreplace", 0, ARG, "TEXT", "instead of {%}", MAP},

    {CONTEXT, NULL, 'X', NO, NULL, "many inputs a command: x{}y gives xay xby", MAP},
    {MANY, NULL, 'm', NO, NULL, "many inputs a command: x{}y gives xa by", MAP},
    {XARGS, "xargs", 0, NO, NULL, "as -m, one command filled after the other", MAP},
    {ARGS_MAX, "max-args", 'n', ARG, "N", "at most N inputs a command", MAP},
    {ARGS_FIXED, "max-replace-args", 'N', ARG, "N", "the same, as {1} ... {N}; of records", MAP},
    {LINES_MAX, NULL, 'L', ARG, "N", "at most N lines; a blank at the end continues one", MAP},
    {LINES_MAX, "max-lines", 'l', MAY, "N", NULL, MAP},
    {SIZE_MAX_, "max-chars", 's', ARG, "N", "commands shorter than N bytes", MAP},
    {EXACT, "exit", 'x', NO, NULL, "give up if N inputs do not fit", MAP},

    {PIPE, "pipe", 0, NO, NULL, "cut stdin into blocks, each the stdin of a command", MAP},
    {PIPE, "spreadstdin", 0, NO, NULL, NULL, MAP},
    {BLOCK, "block", 0, ARG, "SIZE", "bytes of a block; default 1M", MAP},
    {BLOCK, "block-size", 0, ARG, "SIZE", NULL, MAP},
    {RECORD_START, "recstart", 0, ARG, "TEXT", "records begin so", MAP},
    {RECORD_END, "recend", 0, ARG, "TEXT", "records end so; default \\n", MAP},
    {REMOVE_SEPARATOR, "remove-rec-sep", 0, NO, NULL, "and that is left out", MAP},
    {REMOVE_SEPARATOR, "removerecsep", 0, NO, NULL, NULL, MAP},
    {REMOVE_SEPARATOR, "rrs", 0, NO, NULL, NULL, MAP},

    {JOBS, "jobs", 'j', ARG, "N", "at once: 8, 50%, +2, -1, 0: no limit; or a file", MAP},
    {JOBS, "max-procs", 'P', ARG, "N", NULL, MAP},
    {DELAY, "delay", 0, ARG, "TIME", "between two starts", MAP},
    {LOAD, "load", 0, ARG, "N", "start none while the load is N or more", MAP},
    {MEMORY_FREE, "memfree", 0, ARG, "SIZE", "start none while less memory is available", MAP},
    {NICE, "nice", 0, ARG, "N", "be nice", BOTH},
    {DIRECTORY, "workdir", 0, ARG, "DIR", "run there", BOTH},
    {DIRECTORY, "wd", 0, ARG, "DIR", NULL, BOTH},
    {ENV, "env", 0, ARG, "NAME", "hand on a variable (all are); NAME=VALUE sets one", BOTH},
    {SLOT_VARIABLE, "process-slot-var", 0, ARG, "NAME", "a variable with the slot, from 0", MAP},
    {TIMEOUT, "timeout", 0, ARG, "TIME", "stop a job after 10, 1m30s; 200% of the median", BOTH},
    {STOP_SEQUENCE, "term-seq", 0, ARG, "SEQ", "how to stop; default TERM,350,KILL,25", BOTH},
    {RETRIES, "retries", 0, ARG, "N", "start a failing job up to N times", MAP},
    {HALT, "halt", 0, ARG, "WHEN,WHY", "end early: now|soon,fail|success|done=N or N%", MAP},
    {HALT, "halt-on-error", 0, ARG, "WHEN,WHY", NULL, MAP},
    {DRY_RUN, "dry-run", 0, NO, NULL, "print the commands instead", MAP},
    {DRY_RUN, "dryrun", 0, NO, NULL, NULL, MAP},
    {VERBOSE, NULL, 'v', NO, NULL, "print each command on stdout, in front of its output", MAP},
    {VERBOSE_ERROR, "verbose", 't', NO, NULL, "print each command on stderr", MAP},
    {SILENT, "silent", 0, NO, NULL, NULL, MAP},

    {KEEP, "keep-order", 'k', NO, NULL, "output in the order of the inputs", MAP},
    {NO_KEEP, "no-keep-order", 0, NO, NULL, NULL, MAP},
    {GROUP, "group", 0, NO, NULL, "output of a job in one piece, when it ends: the default", MAP},
    {LINE_BUFFER, "line-buffer", 0, NO, NULL, "output as it comes, in whole lines", MAP},
    {LINE_BUFFER, "linebuffer", 0, NO, NULL, NULL, MAP},
    {LINE_BUFFER, "lb", 0, NO, NULL, NULL, MAP},
    {UNGROUP, "ungroup", 'u', NO, NULL, "output as it comes", MAP},
    {TAG, "tag", 0, NO, NULL, "each line begins with the inputs", MAP},
    {TAG_TEXT, "tagstring", 0, ARG, "TEXT", "each line begins with TEXT, {} and all", MAP},
    {FILES, "files", 0, NO, NULL, "keep output in files, print their names", MAP},
    {FILES, "output-as-files", 0, NO, NULL, NULL, MAP},
    {FILES, "outputasfiles", 0, NO, NULL, NULL, MAP},
    {RESULTS, "results", 0, ARG, "NAME", "into files: a directory, a name with {}, .csv", MAP},
    {RESULTS, "res", 0, ARG, "NAME", NULL, MAP},
    {JOBLOG, "joblog", 0, ARG, "FILE", "a line for each job; +FILE appends", MAP},
    {JOBLOG, "jl", 0, ARG, "FILE", NULL, MAP},
    {RESUME, "resume", 0, NO, NULL, "leave out what the joblog or results have", MAP},
    {RESUME_FAILED, "resume-failed", 0, NO, NULL, "the same, but run again what failed", MAP},
    {RETRY_FAILED, "retry-failed", 0, NO, NULL, "run again what failed, as the joblog has it", MAP},
    {TEMPORARY, "tmpdir", 0, ARG, "DIR", "for large output; default $TMPDIR or /tmp", MAP},
    {PROGRESS, "progress", 0, NO, NULL, "show how far it is", MAP},
    {BAR, "bar", 0, NO, NULL, "the same as a bar", MAP},
    {ETA, "eta", 0, NO, NULL, "and how long it takes", MAP},
    {TOTAL, "total-jobs", 0, ARG, "N", "how many inputs there are, for these", MAP},
    {TOTAL, "total", 0, ARG, "N", NULL, MAP},

    {MEMORY, "mem", 0, ARG, "SIZE", "end a job whose processes use more together", BOTH},
    {CPU_TIME, "cpu-time", 0, ARG, "TIME", "end a job whose processes use more together", BOTH},
    {NAMESPACE, "contain", 0, NO, NULL, "in a PID namespace if that can be had", BOTH},
    {REPORT, "report", 0, ARG, "FILE", "how it ended into FILE; - is stderr", RUN},
    {JSON, "json", 0, NO, NULL, "the report as JSON", RUN},
    {COMPLETION, "completion", 0, ARG, "SHELL", "print completions for bash, zsh or fish", BOTH},
    {HELP, "help", 'h', NO, NULL, "print this", BOTH},
    {VERSION, "version", 'V', NO, NULL, "print the version", BOTH},

    {IGNORED, "gnu", 0, NO, NULL, NULL, MAP},
    {IGNORED, "plain", 0, NO, NULL, NULL, MAP},
    {IGNORED, "will-cite", 0, NO, NULL, NULL, MAP},
};
/* clang-format on */

#define TABLE_COUNT (sizeof table / sizeof table[0])

static size_t whole_number(const char *name, const char *value)
{
    const double number = parse_size(value);

    if (number < 0 || number > 1e15)
        die("%s needs a number such as 10 or 1k, not '%s'", name, value);
    return (size_t)number;
}

static double amount(const char *name, const char *value, double parsed)
{
    if (parsed < 0)
        die("%s cannot be '%s'; write it as 10, 1.5 or with a unit", name, value);
    return parsed;
}

static void limit_args(struct options *options, const char *name, const char *value)
{
    options->has_args_max = true;
    options->args_max = whole_number(name, value);
}

static void check_trim(struct options *options, const char *value)
{
    if (strcmp(value, "n") != 0 && strcmp(value, "l") != 0 && strcmp(value, "r") != 0 &&
        strcmp(value, "lr") != 0 && strcmp(value, "rl") != 0)
        die("--trim is one of n, l, r, lr, not '%s'", value);
    options->trim = value;
}

/* clang-format off */

/* Inputs, the command, packing and pipe. False if ID is none of these. */
static bool apply_inputs(struct options *options, enum id id, const char *value)
{
    switch (id) {
    case ARG_FILE: list_add(&options->files, text_copy(value)); break;
    case ARG_FILE_SEP: options->separator_files = value; break;
    case ARG_SEP: options->separator_words = value; break;
    case NULL_ENDS: options->delimiter = "\\0"; break;
    case DELIMITER: options->delimiter = value; break;
    case COLSEP: options->column_separator = value; break;
    case HEADER: options->header = value; break;
    case TRIM: check_trim(options, value); break;
    case END_OF_FILE: options->end_of_file = value; break;
    case LINK: options->link = true; break;
    case RUN_NONEMPTY: options->skip_empty = true; break;
    case SHUFFLE: options->shuffle = true; break;
    case REPLACE: options->replace[REPLACE_ALL] = value; break;
    case REPLACE_OLD: options->replace[REPLACE_ALL] = value == NULL ? "{}" : value; break;
    case NAME_STEM: options->replace[REPLACE_STEM] = value; break;
    case NAME_BASE: options->replace[REPLACE_BASE] = value; break;
    case NAME_DIRECTORY: options->replace[REPLACE_DIRECTORY] = value; break;
    case NAME_BASE_STEM: options->replace[REPLACE_BASE_STEM] = value; break;
    case NAME_SEQUENCE: options->replace[REPLACE_SEQUENCE] = value; break;
    case NAME_SLOT: options->replace[REPLACE_SLOT] = value; break;
    case PLUS: options->plus = true; break;
    case QUOTE: options->quote = true; break;
    case CONTEXT: options->context = true; break;
    case MANY: options->many = true; break;
    case XARGS: options->xargs = true; break;
    case ARGS_MAX: limit_args(options, "-n", value); break;
    case ARGS_FIXED:
        limit_args(options, "-N", value);
        options->fixed = true;
        break;
    case LINES_MAX:
        limit_args(options, "-L", value == NULL ? "1" : value);
        options->has_lines_max = true;
        break;
    case SIZE_MAX_: options->command_max = whole_number("-s", value); break;
    case EXACT: options->exact = true; break;
    case PIPE: options->pipe = true; break;
    case BLOCK: options->block_size = amount("--block", value, parse_size(value)); break;
    case RECORD_START: options->record_start = value; break;
    case RECORD_END: options->record_end = value; break;
    case REMOVE_SEPARATOR: options->remove_separator = true; break;
    default: return false;
    }
    return true;
}

static bool apply_running(struct options *options, enum id id, const char *value)
{
    char *end;

    switch (id) {
    case JOBS: options->jobs = value; break;
    case DELAY: options->delay_s = amount("--delay", value, parse_duration(value)); break;
    case LOAD: options->load = value; break;
    case MEMORY_FREE: options->memory_free = value; break;
    case NICE:
        options->nice = (int)strtol(value, &end, 10);
        options->has_nice = true;
        if (*value == '\0' || *end != '\0')
            die("--nice needs a number from -20 to 19, not '%s'", value);
        break;
    case DIRECTORY: options->directory = value; break;
    case ENV: list_add(&options->environment, text_copy(value)); break;
    case SLOT_VARIABLE: options->slot_variable = value; break;
    case TIMEOUT: options->timeout = value; break;
    case STOP_SEQUENCE: options->stop_sequence = value; break;
    case RETRIES: options->retries = (int)whole_number("--retries", value); break;
    case HALT: options->halt = value; break;
    case DRY_RUN: options->dry_run = true; break;
    case VERBOSE: options->verbose++; break;
    case VERBOSE_ERROR: options->verbose_error = true; break;
    case SILENT: options->verbose = 0; break;
    case MEMORY: options->memory_max = amount("--mem", value, parse_size(value)); break;
    case CPU_TIME: options->cpu_time_s = amount("--cpu-time", value, parse_duration(value)); break;
    case NAMESPACE: options->namespace_wanted = true; break;
    case REPORT: options->report = value; break;
    case JSON: options->json = true; break;
    default: return false;
    }
    return true;
}

static bool apply_output(struct options *options, enum id id, const char *value)
{
    switch (id) {
    case KEEP: options->keep_order = true; break;
    case NO_KEEP: options->keep_order = false; break;
    case GROUP: options->grouping = GROUP_JOB; break;
    case LINE_BUFFER: options->grouping = GROUP_LINES; break;
    case UNGROUP: options->grouping = GROUP_NONE; break;
    case TAG: options->tag = true; break;
    case TAG_TEXT: options->tag_text = value; break;
    case FILES: options->files_only = true; break;
    case RESULTS: options->results = value; break;
    case JOBLOG: options->joblog = value; break;
    case RESUME: options->resume = true; break;
    case RESUME_FAILED: options->resume_failed = true; break;
    case RETRY_FAILED: options->retry_failed = true; break;
    case TEMPORARY: options->temporary = value; break;
    case PROGRESS: options->progress = true; break;
    case BAR: options->bar = true; break;
    case ETA: options->eta = true; break;
    case TOTAL: options->total = amount("--total-jobs", value, parse_size(value)); break;
    default: return false;
    }
    return true;
}

/* clang-format on */

static void apply(struct options *options, enum verb verb, enum id id, const char *value)
{
    if (id == HELP) {
        options_help(verb, stdout);
        exit(0);
    }
    if (id == VERSION) {
        printf("brood %s\n", brood_version());
        exit(0);
    }
    if (id == COMPLETION) {
        if (!options_completion(value, stdout))
            die("completions are made for bash, zsh and fish, not for '%s'", value);
        exit(0);
    }
    if (!apply_inputs(options, id, value) && !apply_running(options, id, value))
        (void)apply_output(options, id, value);
}

static const struct option_line *line_of(int found, int index, const struct option *longs)
{
    for (size_t i = 0; i < TABLE_COUNT; i++)
        if (found == 1000 ? table[i].name == longs[index].name : table[i].letter == found)
            return &table[i];
    return NULL;
}

/* What getopt_long() needs, of the lines that VERB has. */
static void for_getopt(enum verb verb, struct option *longs, char *letters)
{
    size_t long_count = 0, letter_count = 2;

    memcpy(letters, "+:", 3);
    for (size_t i = 0; i < TABLE_COUNT; i++) {
        if ((table[i].verbs & (int)verb) == 0)
            continue;
        if (table[i].name != NULL)
            longs[long_count++] = (struct option){table[i].name, (int)table[i].kind, NULL, 1000};
        if (table[i].letter == '\0')
            continue;
        letters[letter_count++] = table[i].letter;
        for (int colons = 0; colons < (int)table[i].kind; colons++)
            letters[letter_count++] = ':';
        letters[letter_count] = '\0';
    }
    longs[long_count] = (struct option){0};
}

int options_read(struct options *options, enum verb verb, int argc, char **argv)
{
    struct option longs[TABLE_COUNT + 1];
    char letters[3 * TABLE_COUNT + 3];
    int found, index = 0;

    for_getopt(verb, longs, letters);
    optind = 0;
    while ((found = getopt_long(argc, argv, letters, longs, &index)) != -1) {
        const struct option_line *line = line_of(found, index, longs);

        if (found == ':')
            die("option '%s' needs a value; see --help", argv[optind - 1]);
        if (found == '?' || line == NULL)
            die("there is no option '%s', or it is not the only one that begins so; see --help",
                argv[optind - 1]);
        apply(options, verb, (enum id)line->id, optarg);
    }
    return optind;
}

static const char intro_map[] =
    "Usage: brood map [options] command [words] ::: inputs\n"
    "       brood map [options] command [words] < inputs\n"
    "       brood map --pipe [options] command [words] < data\n"
    "\n"
    "Runs the command for each input, several at a time.\n"
    "\n"
    "  brood map gzip ::: *.log                    each file, on all CPUs\n"
    "  ls *.jpg | brood map convert {} {.}.png     {} is the input, {.} without extension\n"
    "  brood map -j2 -k curl -s {1}/{2} :::: hosts ::: a b    every host with a and with b\n"
    "  brood map --pipe --block 10M grep x < big   stdin in pieces\n"
    "\n"
    "Replaced in the command: {} the input, {.} without extension, {/} without directory, {//} "
    "its\n"
    "directory, {/.} without both, {#} number of the job, {%} its slot, {2} {2.} {-1} the input "
    "of\n"
    "one source or column, {name} by --header. Without any of these, {} stands at the end.\n"
    "Inputs: ::: words, :::: files, :::+ and ::::+ in step with the source before; else stdin.\n"
    "Nothing that a job started outlives it, or brood.\n";

static const char intro_run[] =
    "Usage: brood run [options] [--] command [words]\n"
    "\n"
    "Runs one command with limits. When it ends, is stopped, or brood ends in whatever way, all "
    "of\n"
    "its descendants are gone.\n"
    "\n"
    "  brood run --timeout 10m -- make check       stopped after 10 minutes, with all it started\n"
    "  brood run --mem 2G --report - -- ./train    ended when over 2 GiB; says what it used\n";

static void help_line(const struct option_line *line, FILE *out)
{
    const bool both = line->letter != '\0' && line->name != NULL;
    char letter[3] = {'-', line->letter, '\0'};
    char name[64];

    snprintf(name, sizeof name, "%s%s%s%s%s%s", line->letter != '\0' ? letter : "  ",
             both ? ", " : "  ", line->name != NULL ? "--" : "",
             line->name != NULL ? line->name : "", line->argument != NULL ? " " : "",
             line->argument != NULL ? line->argument : "");
    fprintf(out, "  %-30s %s\n", name, line->help);
}

void options_help(enum verb verb, FILE *out)
{
    fputs(verb == VERB_MAP ? intro_map : intro_run, out);
    fputs("\nOptions:\n", out);
    for (size_t i = 0; i < TABLE_COUNT; i++)
        if (table[i].help != NULL && (table[i].verbs & (int)verb) != 0)
            help_line(&table[i], out);
    fputs(verb == VERB_MAP
              ? "\nExit status: 0 all succeeded; 1-100 so many failed; 101 more; 255 a mistake.\n"
                "More: man brood\n"
              : "\nExit status: that of the command; 124 over its time, 137 killed or over its\n"
                "memory, 128+N by signal N; 126 and 127 not started; 255 a mistake.\n"
                "More: man brood\n",
          out);
}

static void complete_bash(FILE *out)
{
    fputs("_brood() {\n    local word=${COMP_WORDS[COMP_CWORD]} words='map run --help "
          "--version'\n    case ${COMP_WORDS[1]} in\n",
          out);
    for (int verb = VERB_MAP; verb <= VERB_RUN; verb *= 2) {
        fprintf(out, "    %s) words='", verb == VERB_MAP ? "map" : "run");
        for (size_t i = 0; i < TABLE_COUNT; i++)
            if (table[i].name != NULL && (table[i].verbs & verb) != 0 && table[i].help != NULL)
                fprintf(out, "--%s ", table[i].name);
        fputs("';;\n", out);
    }
    fputs("    esac\n"
          "    if [[ $COMP_CWORD == 1 || $word == -* ]]; then\n"
          "        COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n"
          "    else\n"
          "        COMPREPLY=($(compgen -f -c -- \"$word\"))\n"
          "    fi\n}\ncomplete -o filenames -F _brood brood\n",
          out);
}

/* TEXT inside single quotes; zsh's brackets and colons escaped if ZSH. */
static void print_escaped(FILE *out, const char *string, bool zsh)
{
    for (; *string != '\0'; string++) {
        if (*string == '\'')
            fputs("'\\'", out);
        else if (*string == '\\' || (zsh && strchr("[]:", *string) != NULL))
            fputc('\\', out);
        fputc(*string, out);
    }
}

static void complete_zsh(FILE *out)
{
    fputs("#compdef brood\n_brood() {\n    local -a verbs map run\n"
          "    verbs=('map:a command for each input' 'run:one command with limits')\n",
          out);
    for (int verb = VERB_MAP; verb <= VERB_RUN; verb *= 2) {
        fprintf(out, "    %s=(\n", verb == VERB_MAP ? "map" : "run");
        for (size_t i = 0; i < TABLE_COUNT; i++) {
            if (table[i].name == NULL || (table[i].verbs & verb) == 0 || table[i].help == NULL)
                continue;
            fprintf(out, "        '--%s[", table[i].name);
            print_escaped(out, table[i].help, true);
            fputs("]", out);
            if (table[i].kind == ARGUMENT_NEEDED) {
                fputs(":", out);
                print_escaped(out, table[i].argument, true);
                fputs(":_files", out);
            }
            fputs("'\n", out);
        }
        fputs("    )\n", out);
    }
    fputs("    if (( CURRENT == 2 )); then _describe verb verbs; return; fi\n"
          "    case $words[2] in\n"
          "    map) shift words; (( CURRENT-- )); _arguments -S $map '*::command:_normal';;\n"
          "    run) shift words; (( CURRENT-- )); _arguments -S $run '*::command:_normal';;\n"
          "    esac\n}\n"
          "if [ \"$funcstack[1]\" = _brood ]; then _brood \"$@\"; else compdef _brood brood; fi\n",
          out);
}

static void complete_fish(FILE *out)
{
    fputs("complete -c brood -n __fish_use_subcommand -a map -d 'a command for each input'\n"
          "complete -c brood -n __fish_use_subcommand -a run -d 'one command with limits'\n",
          out);
    for (int verb = VERB_MAP; verb <= VERB_RUN; verb *= 2)
        for (size_t i = 0; i < TABLE_COUNT; i++) {
            if ((table[i].verbs & verb) == 0 || table[i].help == NULL)
                continue;
            fprintf(out, "complete -c brood -n '__fish_seen_subcommand_from %s'",
                    verb == VERB_MAP ? "map" : "run");
            if (table[i].letter != '\0')
                fprintf(out, " -s %c", table[i].letter);
            if (table[i].name != NULL)
                fprintf(out, " -l %s", table[i].name);
            fputs(table[i].kind == ARGUMENT_NEEDED ? " -r -d '" : " -d '", out);
            print_escaped(out, table[i].help, false);
            fputs("'\n", out);
        }
}

bool options_completion(const char *shell, FILE *out)
{
    if (strcmp(shell, "bash") == 0)
        complete_bash(out);
    else if (strcmp(shell, "zsh") == 0)
        complete_zsh(out);
    else if (strcmp(shell, "fish") == 0)
        complete_fish(out);
    else
        return false;
    return true;
}
