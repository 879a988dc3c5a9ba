/* SPDX-License-Identifier: MIT */
/*
 * The environment of a command, and where its program is sought.
 *
 * Only the array is new: the strings are the caller's, and the kernel copies them in execve(2).
 * Later entries win over earlier ones. Where nothing is asked for, not even the array is new.
 *
 * Private memory only; a death leaves nothing.
 */
#include "run/command_environment.h"

#include "base/memory.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

extern char **environ;

static size_t name_len(const char *entry)
{
    return strcspn(entry, "=");
}

static bool is_same_name(const char *entry, const char *name, size_t len)
{
    return strncmp(entry, name, len) == 0 && (entry[len] == '=' || entry[len] == '\0');
}

static size_t count_of(const char *const *entries)
{
    size_t count = 0;

    while (entries != NULL && entries[count] != NULL)
        count++;
    return count;
}

static size_t without(const char **entries, size_t count, const char *name, size_t len)
{
    size_t kept = 0;

    for (size_t i = 0; i < count; i++)
        if (!is_same_name(entries[i], name, len))
            entries[kept++] = entries[i];
    return kept;
}

int brood__environment_make(const brood_command_options *options, const char *const **out_entries,
                            const char ***out_own)
{
    const char *const *ours = (const char *const *)environ;
    size_t count = options->env_clear ? 0 : count_of(ours);
    const char **entries;

    *out_own = NULL;
    if (options->env == NULL && !options->env_clear && ours != NULL) {
        *out_entries = ours;
        return 0;
    }
    entries = brood__alloc((count + count_of(options->env) + 1) * sizeof *entries);
    if (entries == NULL)
        return -ENOMEM;
    if (ours != NULL && count > 0)
        memcpy(entries, ours, count * sizeof *entries);
    for (const char *const *entry = options->env; entry != NULL && *entry != NULL; entry++) {
        size_t len = name_len(*entry);

        count = without(entries, count, *entry, len);
        if ((*entry)[len] == '=')
            entries[count++] = *entry;
    }
    entries[count] = NULL;
    *out_entries = *out_own = entries;
    return 0;
}

/* ---- candidates ---- */

const char *brood__environment_path(const char *const *entries)
{
    for (; *entries != NULL; entries++)
        if (strncmp(*entries, "PATH=", 5) == 0)
            return *entries + 5;
    return "/bin:/usr/bin"; /* as execvp(3) has it */
}

static size_t join(char *out, const char *folder, size_t folder_len, const char *name)
{
    const size_t name_size = strlen(name) + 1;
    const size_t slash = folder_len > 0 && folder[folder_len - 1] != '/';

    if (out != NULL) {
        memcpy(out, folder, folder_len);
        memcpy(out + folder_len, "/", slash);
        memcpy(out + folder_len + slash, name, name_size);
    }
    return folder_len + slash + name_size;
}

size_t brood__candidates(const char *name, const char *path, char *out, uint32_t *out_count)
{
    size_t len = 0;

    *out_count = 0;
    if (strchr(name, '/') != NULL) {
        *out_count = 1;
        return join(out, "", 0, name);
    }
    for (;;) {
        size_t folder_len = strcspn(path, ":");

        len += join(out == NULL ? NULL : out + len, path, folder_len, name);
        (*out_count)++;
        if (path[folder_len] == '\0')
            return len;
        path += folder_len + 1;
    }
}
