/* SPDX-License-Identifier: MIT */
/*
 * Symbol tables, read from the file: .symtab has the static functions too, .dynsym is there in
 * stripped files as well.
 *
 * The file is read and not mapped, as somebody may truncate it meanwhile. All that it says is
 * checked against nothing but itself, so all lengths are bounded, and a wrong file gives wrong
 * names and nothing worse. Keeps no state.
 */
#include "sys/linux/symbol.h"

#include "base/memory.h"
#include "sys/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdbool.h>
#include <string.h>

enum { SECTIONS_MAX = 4096, SYMBOLS_AT_ONCE = 1024 };

static const uint64_t SYMBOLS_MAX = 4 << 20; /* of one file; it takes 0.1 s to read so many */

/* LEN bytes, all of them. */
static bool read_all(int fd, void *data, size_t len, uint64_t offset)
{
    size_t have = 0;

    if (offset > INT64_MAX - len)
        return false;
    while (have < len) {
        int64_t r = brood__fd_read_at(fd, (char *)data + have, len - have, offset + have);

        if (r <= 0)
            return false;
        have += (size_t)r;
    }
    return true;
}

static bool is_native(const ElfW(Ehdr) * header)
{
    const unsigned char class = sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32;

    return memcmp(header->e_ident, ELFMAG, SELFMAG) == 0 && header->e_ident[EI_CLASS] == class &&
           header->e_ident[EI_DATA] == ELFDATA2LSB && header->e_shentsize == sizeof(ElfW(Shdr));
}

/* A better answer for any of SYMBOLS? Then the name is read at once: better ones are rare. */
static void consider(int fd, const ElfW(Sym) * entry, const ElfW(Shdr) * strings,
                     struct symbol *symbols, unsigned count)
{
    unsigned type = entry->st_info & 0xF;

    if ((type != STT_FUNC && type != STT_GNU_IFUNC) || entry->st_shndx == SHN_UNDEF ||
        entry->st_name >= strings->sh_size)
        return;
    for (unsigned i = 0; i < count; i++) {
        struct symbol *symbol = &symbols[i];
        uint64_t len = strings->sh_size - entry->st_name;

        if (symbol->address - entry->st_value >= (entry->st_size == 0 ? 1 : entry->st_size) ||
            (symbol->name[0] != '\0' && entry->st_value <= symbol->start))
            continue;
        if (len > SYMBOL_NAME_SIZE - 1)
            len = SYMBOL_NAME_SIZE - 1;
        if (!read_all(fd, symbol->name, len, strings->sh_offset + entry->st_name))
            len = 0;
        symbol->name[len] = '\0';
        symbol->start = entry->st_value;
        symbol->len = entry->st_size;
    }
}

static void scan(int fd, const ElfW(Shdr) * table, const ElfW(Shdr) * strings,
                 struct symbol *symbols, unsigned count)
{
    uint64_t total = table->sh_size / sizeof(ElfW(Sym));
    ElfW(Sym) *entries = brood__alloc(SYMBOLS_AT_ONCE * sizeof *entries);

    if (total > SYMBOLS_MAX)
        total = SYMBOLS_MAX;
    for (uint64_t i = 0; entries != NULL && i < total; i += SYMBOLS_AT_ONCE) {
        size_t some = total - i < SYMBOLS_AT_ONCE ? total - i : SYMBOLS_AT_ONCE;

        if (table->sh_offset > INT64_MAX ||
            !read_all(fd, entries, some * sizeof *entries, table->sh_offset + i * sizeof *entries))
            break;
        for (size_t j = 0; j < some; j++)
            consider(fd, &entries[j], strings, symbols, count);
    }
    brood__free(entries);
}

static void scan_sections(int fd, const ElfW(Ehdr) * header, struct symbol *symbols, unsigned count)
{
    size_t total = header->e_shnum < SECTIONS_MAX ? header->e_shnum : SECTIONS_MAX;
    ElfW(Shdr) *sections = brood__alloc_zeroed(total, sizeof *sections);

    if (sections != NULL && read_all(fd, sections, total * sizeof *sections, header->e_shoff))
        for (size_t i = 0; i < total; i++)
            if ((sections[i].sh_type == SHT_SYMTAB || sections[i].sh_type == SHT_DYNSYM) &&
                sections[i].sh_link < total)
                scan(fd, &sections[i], &sections[sections[i].sh_link], symbols, count);
    brood__free(sections);
}

void brood__symbols_find(const char *path, struct symbol *symbols, unsigned count)
{
    int fd = brood__fd_open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    ElfW(Ehdr) header;

    if (fd < 0)
        return;
    if (read_all(fd, &header, sizeof header, 0) && is_native(&header))
        scan_sections(fd, &header, symbols, count);
    brood__fd_close(fd);
}
