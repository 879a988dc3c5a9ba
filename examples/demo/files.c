/* SPDX-License-Identifier: MIT */
/*
 * A walk through a tree of files: names sorted, so that two runs do the same work. What cannot
 * be read is passed over, for a system's tree has such corners; only the folder that was asked
 * for must be readable.
 */
#include "files.h"

#include <brood/easy.h>
#include <dirent.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void add(struct files *files, char *path)
{
    if (files->count % 256 == 0) {
        size_t size = (files->count + 256) * sizeof *files->paths;
        files->paths = BROOD_MUST_HAVE(realloc(files->paths, size));
    }
    files->paths[files->count++] = path;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int no_dots(const struct dirent *entry)
{
    return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

static char *joined(const char *folder, const char *name)
{
    size_t size = strlen(folder) + strlen(name) + 2;
    char *path = BROOD_MUST_HAVE(malloc(size));

    snprintf(path, size, "%s%s%s", folder, folder[strlen(folder) - 1] == '/' ? "" : "/", name);
    return path;
}

static void visit(struct files *files, char *path, size_t count_max)
{
    struct stat status;

    if (lstat(path, &status) < 0) {
        free(path);
        return;
    }
    if (S_ISDIR(status.st_mode)) {
        (void)files_find(files, path, count_max); /* an unreadable corner is passed over */
    } else if (S_ISREG(status.st_mode) && status.st_size > 0 && status.st_size <= FILE_LEN_MAX &&
               access(path, R_OK) == 0) {
        add(files, path);
        return;
    }
    free(path);
}

int files_find(struct files *files, const char *folder, size_t count_max)
{
    struct dirent **entries = NULL;
    int count = scandir(folder, &entries, no_dots, by_name);

    if (count < 0)
        return -errno;
    for (int i = 0; i < count; i++) {
        if (files->count < count_max)
            visit(files, joined(folder, entries[i]->d_name), count_max);
        free(entries[i]);
    }
    free(entries);
    return 0;
}

void files_done(struct files *files)
{
    for (size_t i = 0; i < files->count; i++)
        free(files->paths[i]);
    free(files->paths);
    *files = (struct files){NULL, 0};
}
