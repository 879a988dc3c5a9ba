/* SPDX-License-Identifier: MIT */
/*
 * Modules and their identities, from what the dynamic linker tells (dl_iterate_phdr).
 *
 * For a forked child the map says which modules it had when it was forked: a module loaded later
 * is not there, and one loaded later at the place of an unloaded one has another identity. For
 * the fork server's children it also tells where they are, for address-space randomisation puts
 * the same modules elsewhere.
 *
 * Private memory only; a death leaves nothing. A death of the sender between two messages is
 * seen by the receiver as the end of the channel.
 */
#include "run/code_map.h"

#include <brood/base.h>

#include "base/memory.h"
#include "sys/kernel.h"
#include "sys/sockets.h"

#include <errno.h>
#include <link.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>

struct module {
    uint64_t base;
    uint64_t identity;
};

struct code_map {
    size_t count, size;
    struct module modules[];
};

enum { FIRST_SIZE = 32, MODULES_PER_MESSAGE = 256, MODULES_MAX = 1 << 20 };

/* ---- identity ---- */

static uint64_t hash(uint64_t seed, const void *data, size_t len)
{
    const unsigned char *bytes = data;

    for (size_t i = 0; i < len; i++)
        seed = (seed ^ bytes[i]) * 0x100000001b3U; /* FNV-1a */
    return seed;
}

static const void *address_of(const struct dl_phdr_info *info, const ElfW(Phdr) * segment)
{
    return (const void *)(uintptr_t)(info->dlpi_addr + segment->p_vaddr);
}

/* Whether a segment's bytes are in memory: those of some notes are only in the file. */
static bool is_loaded(const struct dl_phdr_info *info, const ElfW(Phdr) * segment)
{
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *load = &info->dlpi_phdr[i];

        if (load->p_type == PT_LOAD && (load->p_flags & PF_R) != 0 &&
            segment->p_vaddr >= load->p_vaddr &&
            segment->p_vaddr + segment->p_filesz <= load->p_vaddr + load->p_filesz)
            return true;
    }
    return false;
}

static size_t padded(size_t len, size_t align)
{
    return (len + align - 1) / align * align;
}

/* The build-id in one segment of notes; 0: none. */
static uint64_t build_id_in(const unsigned char *notes, size_t len, size_t align)
{
    size_t at = 0;

    while (len - at >= sizeof(ElfW(Nhdr))) {
        ElfW(Nhdr) note;
        size_t name, description, end;

        memcpy(&note, notes + at, sizeof note);
        name = at + sizeof note;
        description = name + padded(note.n_namesz, align);
        end = description + padded(note.n_descsz, align);
        if (end > len || end <= at)
            return 0;
        if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 &&
            memcmp(notes + name, "GNU", 4) == 0)
            return hash(0xcbf29ce484222325U, notes + description, note.n_descsz);
        at = end;
    }
    return 0;
}

static uint64_t identity_of(const struct dl_phdr_info *info)
{
    uint64_t shape = 0xcbf29ce484222325U;

    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        uint64_t id;

        if (segment->p_type == PT_NOTE && is_loaded(info, segment)) {
            id = build_id_in(address_of(info, segment), segment->p_filesz,
                             segment->p_align == 8 ? 8 : 4);
            if (id != 0)
                return id;
        }
        shape = hash(shape, &segment->p_type, sizeof segment->p_type);
        shape = hash(shape, &segment->p_vaddr, sizeof segment->p_vaddr);
        shape = hash(shape, &segment->p_memsz, sizeof segment->p_memsz);
    }
    if (info->dlpi_name != NULL)
        shape = hash(shape, info->dlpi_name, strlen(info->dlpi_name));
    return shape;
}

/* ---- making one ---- */

static struct code_map *map_of_size(size_t size)
{
    struct code_map *map = brood__alloc(sizeof *map + size * sizeof map->modules[0]);

    if (map != NULL)
        *map = (struct code_map){.size = size};
    return map;
}

static int add_module(struct dl_phdr_info *info, size_t info_len, void *context)
{
    struct code_map **inout_map = context;
    struct code_map *map = *inout_map;

    (void)info_len;
    if (map->count == map->size) {
        map = brood__realloc(map, sizeof *map + 2 * map->size * sizeof map->modules[0]);
        if (map == NULL)
            return -ENOMEM;
        map->size *= 2;
        *inout_map = map;
    }
    map->modules[map->count++] =
        (struct module){.base = info->dlpi_addr, .identity = identity_of(info)};
    return 0;
}

struct code_map *brood__code_map_new(void)
{
    struct code_map *map = map_of_size(FIRST_SIZE);

    if (map == NULL)
        return NULL;
    if (dl_iterate_phdr(add_module, &map) == 0)
        return map;
    brood__free(map);
    return NULL;
}

struct code_map *brood__code_map_copy(const struct code_map *map)
{
    struct code_map *copy = map_of_size(map->count);

    if (copy == NULL)
        return NULL;
    copy->count = map->count;
    memcpy(copy->modules, map->modules, map->count * sizeof map->modules[0]);
    return copy;
}

void brood__code_map_free(struct code_map *map)
{
    brood__free(map);
}

/* ---- finding ---- */

struct search {
    uintptr_t fn;
    struct module module;
};

static int holds_function(struct dl_phdr_info *info, size_t info_len, void *context)
{
    struct search *search = context;

    (void)info_len;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        const uintptr_t start = info->dlpi_addr + segment->p_vaddr;

        if (segment->p_type == PT_LOAD && search->fn >= start &&
            search->fn - start < segment->p_memsz) {
            search->module =
                (struct module){.base = info->dlpi_addr, .identity = identity_of(info)};
            return 1;
        }
    }
    return 0;
}

int brood__code_map_find(const struct code_map *map, uintptr_t fn, uintptr_t *out_there)
{
    struct search search = {.fn = fn};

    if (dl_iterate_phdr(holds_function, &search) == 0)
        return BROOD_EFUNCTION; /* also what was made at run time: nobody knows where it is there */
    for (size_t i = 0; i < map->count; i++) {
        if (map->modules[i].identity == search.module.identity) {
            *out_there = (uintptr_t)(map->modules[i].base + (fn - search.module.base));
            return 0;
        }
    }
    return BROOD_EFUNCTION;
}

/* ---- sending ---- */

int brood__code_map_send(const struct code_map *map, int channel)
{
    uint64_t count = map->count;
    int r = brood__channel_send(channel, &count, sizeof count, NULL, 0, true);

    for (size_t at = 0; r == 0 && at < map->count; at += MODULES_PER_MESSAGE) {
        size_t n = map->count - at < MODULES_PER_MESSAGE ? map->count - at : MODULES_PER_MESSAGE;

        r = brood__channel_send(channel, &map->modules[at], n * sizeof map->modules[0], NULL, 0,
                                true);
    }
    return r;
}

int brood__code_map_refuse(int error, int channel)
{
    return brood__channel_send(channel, &error, sizeof error, NULL, 0, true);
}

/* What a refusal says: no other message is as short. */
static int refusal(const void *data)
{
    int error;

    memcpy(&error, data, sizeof error);
    return error < 0 ? error : -EPROTO;
}

/* Bytes of the next message; a dead peer's last messages come before -EPIPE. */
static int64_t receive(int channel, int peer, int64_t deadline, void *data, size_t size)
{
    struct pollfd fds[] = {{.fd = channel, .events = POLLIN}, {.fd = peer, .events = POLLIN}};
    int64_t r = brood__fd_wait(fds, 2, deadline);

    if (r <= 0)
        return r < 0 ? r : -ETIMEDOUT;
    r = brood__channel_receive(channel, data, size, NULL, NULL, false);
    if (r == (int64_t)sizeof(int))
        return refusal(data);
    return r == 0 || (r == -EAGAIN && fds[1].revents != 0) ? -EPIPE : r;
}

static int receive_modules(struct code_map *map, int channel, int peer, int64_t deadline)
{
    while (map->count < map->size) {
        int64_t r = receive(channel, peer, deadline, &map->modules[map->count],
                            (map->size - map->count) * sizeof map->modules[0]);

        if (r < 0)
            return (int)r;
        map->count += (size_t)r / sizeof map->modules[0];
    }
    return 0;
}

int brood__code_map_receive(struct code_map **out_map, int channel, int peer, int64_t deadline)
{
    struct code_map *map;
    uint64_t count = 0;
    int64_t r = receive(channel, peer, deadline, &count, sizeof count);

    if (r != (int64_t)sizeof count || count > MODULES_MAX)
        return r < 0 ? (int)r : -EPROTO;
    map = map_of_size((size_t)count);
    if (map == NULL)
        return -ENOMEM;
    r = receive_modules(map, channel, peer, deadline);
    if (r < 0)
        brood__free(map);
    else
        *out_map = map;
    return (int)r;
}
