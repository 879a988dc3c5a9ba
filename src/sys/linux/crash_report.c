/* SPDX-License-Identifier: MIT */
/*
 * In the parent: what a crash record tells, as text.
 *
 *     SIGSEGV at address 0x10 (address not mapped)
 *       #0  0x00005581aa0f1234  parse_header+0x1c  demo+0x1234
 *       #1  0x00005581aa0f1301  parse+0x41  demo+0x1301
 *
 * An address of the dead process becomes one of this process by way of the file that was mapped
 * there: the dead one's map tells which byte of which file it was, and our own map where we have
 * the same. So modules may lie elsewhere here (a fork server's workers), and nothing the record
 * says is used as an address or opened as a file: unwinding reads the tables of our own modules,
 * and names come from our own files. A module that only
 * the dead process had is still named, with an offset; through it, as through all code without
 * tables, the way up is guessed, and what was found by searching the stack is marked with "?".
 *
 * Everything in the record may be garbage, and may change while it is read: the head is copied
 * once, its lengths are cut to what there is, and then stack and map are copied. Wrong data make
 * a wrong text of bounded length and nothing else. Costs no more than reading two maps and the
 * symbol tables of the modules that are in the trace. Keeps no state.
 */
#include "base/memory.h"
#include "base/signal_name.h"
#include "sys/file.h"
#include "sys/kernel.h"
#include "sys/linux/crash_record.h"
#include "sys/linux/mapping.h"
#include "sys/linux/symbol.h"
#include "sys/linux/unwind.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <link.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    RANGES_MAX = 256,
    FRAMES_MAX = 32,
    TEXT_SIZE = 16 << 10,
    MODULE_NAME_MAX = 64,
    OWN_MAPS_MAX = 4 << 20
};

/* A frame, as it is written. */
struct place {
    uint64_t pc;
    uint64_t vaddr;              /* of pc, as the module's file counts; 0: unknown */
    struct mapping theirs, ours; /* path_len 0: none */
    bool is_exact;               /* pc is where it was, not where a call returns to */
    bool is_guess;               /* found by searching the stack */
};

struct range {
    uint64_t start, end;
};

struct scene {
    struct crash_head head;
    struct unwind_stack stack;
    struct mappings theirs, ours;
    struct place places[FRAMES_MAX];
    struct symbol symbols[FRAMES_MAX];
    unsigned count;
    struct range code[RANGES_MAX]; /* of files in the dead process */
    unsigned code_count;
    bool is_cut; /* there were more frames */
    char *text;
    size_t len;
    unsigned char stack_bytes[CRASH_STACK_MAX];
    char maps[CRASH_MAPS_MAX];
};

__attribute__((format(printf, 2, 3))) static void add(struct scene *scene, const char *format, ...)
{
    size_t room = TEXT_SIZE - scene->len;
    va_list arguments;
    int len;

    va_start(arguments, format);
    len = vsnprintf(scene->text + scene->len, room, format, arguments);
    va_end(arguments);
    if (len > 0)
        scene->len += (size_t)len < room ? (size_t)len : room - 1;
}

/* ---- the first line ---- */

struct reason {
    int signal, code;
    const char *text;
};

static const struct reason reasons[] = {
    {SIGSEGV, SEGV_MAPERR, "address not mapped"},
    {SIGSEGV, SEGV_ACCERR, "access not allowed"},
    {SIGBUS, BUS_ADRALN, "address not aligned"},
    {SIGBUS, BUS_ADRERR, "beyond the end of a file or memory object"},
    {SIGBUS, BUS_OBJERR, "hardware error"},
    {SIGILL, ILL_ILLOPC, "illegal instruction"},
    {SIGILL, ILL_ILLOPN, "illegal instruction"},
    {SIGILL, ILL_PRVOPC, "privileged instruction"},
    {SIGFPE, FPE_INTDIV, "integer divided by zero"},
    {SIGFPE, FPE_INTOVF, "integer overflow"},
    {SIGFPE, FPE_FLTDIV, "float divided by zero"},
    {SIGFPE, FPE_FLTOVF, "float overflow"},
    {SIGFPE, FPE_FLTINV, "invalid float operation"},
    {SIGTRAP, TRAP_BRKPT, "breakpoint"},
};

static const char *find_reason(const struct crash_head *head)
{
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
        if (reasons[i].signal == head->signal && reasons[i].code == head->code)
            return reasons[i].text;
    return NULL;
}

/* The address that cannot be reached is near the stack pointer: then the stack has no more room. */
static bool is_stack_overflow(const struct crash_head *head)
{
    const uint64_t near = 64 << 10;
    uint64_t sp = head->registers[UNWIND_SP];

    if (!head->has_registers || head->signal != SIGSEGV || head->code <= 0 || head->address == 0)
        return false;
    return head->address - (sp - near) < 2 * near ||
           (head->stack_start > sp && head->address - sp < head->stack_start - sp);
}

static void add_headline(struct scene *scene)
{
    const struct crash_head *head = &scene->head;
    const char *reason = is_stack_overflow(head) ? "stack overflow" : find_reason(head);
    char name[SIGNAL_NAME_SIZE];

    add(scene, "%s", brood__signal_name(head->signal, name));
    if (head->code <= 0) {
        if (head->sender == head->self)
            add(scene, " raised by the process itself");
        else
            add(scene, " sent by process %d", (int)head->sender);
    } else if (head->signal == SIGSEGV || head->signal == SIGBUS) {
        if (head->address == 0 && reason == NULL)
            add(scene, " at an address that is not one"); /* the kernel does not tell which */
        else
            add(scene, " at address 0x%" PRIx64, head->address);
    }
    if (reason != NULL)
        add(scene, " (%s)", reason);
    add(scene, "\n");
    if (head->error == ENOMEM)
        add(scene, "  an allocation had been refused just before (errno ENOMEM)\n");
}

/* ---- where an address is ---- */

struct bias {
    uint64_t address, value;
    bool found;
};

static int visit_module(struct dl_phdr_info *info, size_t size, void *context)
{
    struct bias *bias = context;

    (void)size;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];

        if (part->p_type == PT_LOAD &&
            bias->address - (info->dlpi_addr + part->p_vaddr) < part->p_memsz) {
            bias->value = info->dlpi_addr;
            bias->found = true;
            return 1;
        }
    }
    return 0;
}

/* The first address of the file of MAPPING, if the map tells. */
static uint64_t file_start(struct mappings mappings, const struct mapping *mapping)
{
    struct mapping first;

    while (brood__mapping_next(&mappings, &first))
        if (first.inode == mapping->inode && first.device == mapping->device && first.offset == 0 &&
            first.start <= mapping->start)
            return first.start;
    return mapping->start - mapping->offset;
}

/* Finds out where PLACE is. Returns the address in this process that has the same code, or 0. */
static uint64_t locate(const struct scene *scene, struct place *place)
{
    uint64_t lookup = place->is_exact ? place->pc : place->pc - 1;
    uint64_t here = 0;
    struct bias bias = {0};

    if (brood__mapping_at(scene->theirs, lookup, &place->theirs)) {
        if (!brood__mapping_same(scene->ours, &place->theirs, lookup, &place->ours, &here))
            place->vaddr = place->pc - file_start(scene->theirs, &place->theirs);
    } else if (scene->theirs.at == scene->theirs.end) {
        /* The dead process could not read its map. If it was forked, ours is the same. */
        if (brood__mapping_at(scene->ours, lookup, &place->ours))
            here = lookup;
        place->theirs = place->ours;
    }
    bias.address = here;
    if (here != 0)
        (void)dl_iterate_phdr(visit_module, &bias);
    if (!bias.found)
        return 0;
    place->vaddr = here - bias.value + (place->pc - lookup);
    return here;
}

/* ---- the frames ---- */

static void find_code(struct scene *scene)
{
    struct mappings mappings = scene->theirs.at == scene->theirs.end ? scene->ours : scene->theirs;
    struct mapping mapping;

    while (scene->code_count < RANGES_MAX && brood__mapping_next(&mappings, &mapping))
        if (mapping.is_code && mapping.inode != 0)
            scene->code[scene->code_count++] =
                (struct range){.start = mapping.start, .end = mapping.end};
}

struct guess {
    struct unwind_guess base;
    const struct scene *scene;
};

/* Code that we have is looked at; for other code it is enough to be code. */
static bool is_return(const struct unwind_guess *base, uint64_t pc)
{
    const struct scene *scene = ((const struct guess *)base)->scene;
    struct place place = {.pc = pc};
    bool is_code = false;
    uint64_t here;

    for (unsigned i = 0; i < scene->code_count; i++)
        is_code = is_code || (pc > scene->code[i].start && pc <= scene->code[i].end);
    if (!is_code)
        return false;
    here = locate(scene, &place);
    return here == 0 || brood__unwind_after_call(here + 1);
}

/* Makes FRAME, that of PLACE, the one of its caller. */
static bool go_up(const struct scene *scene, struct unwind_frame *frame, const struct place *place,
                  uint64_t here, bool *out_is_guess)
{
    const struct guess guess = {{.is_return = is_return, .stack = &scene->stack}, scene};
    enum unwind_result result = UNWIND_NO_TABLES;

    *out_is_guess = false;
    if (here != 0)
        result = brood__unwind_by_tables(frame, here, &scene->stack);
    if (result != UNWIND_NO_TABLES)
        return result == UNWIND_STEP;
    if (place->is_exact && place->theirs.path_len == 0 &&
        brood__unwind_bad_call(frame, &guess.base))
        return true;
    if (brood__unwind_by_pointers(frame, &guess.base))
        return true;
    *out_is_guess = true;
    return brood__unwind_by_search(frame, &guess.base);
}

static void find_places(struct scene *scene)
{
    struct unwind_frame frame = {.known = ~(uint64_t)0, .is_signal = true};
    bool is_guess = false;

    if (!UNWIND_KNOWN || !scene->head.has_registers)
        return;
    find_code(scene);
    memcpy(frame.registers, scene->head.registers, sizeof frame.registers);
    while (scene->count < FRAMES_MAX) {
        struct place *place = &scene->places[scene->count];
        uint64_t here;

        *place = (struct place){
            .pc = frame.registers[UNWIND_PC], .is_exact = frame.is_signal, .is_guess = is_guess};
        if (place->pc == 0 && scene->count > 0)
            return;
        here = locate(scene, place);
        scene->count++;
        if (!go_up(scene, &frame, place, here, &is_guess))
            return;
    }
    scene->is_cut = true;
}

static bool same_file(const struct mapping *a, const struct mapping *b)
{
    return a->inode == b->inode && a->device == b->device && a->path_len == b->path_len &&
           memcmp(a->path, b->path, a->path_len) == 0;
}

/* Names for all places in the file of place FIRST, if it is the first one in that file. */
static void name_file(struct scene *scene, unsigned first)
{
    const struct mapping *file = &scene->places[first].ours;
    struct symbol symbols[FRAMES_MAX];
    unsigned which[FRAMES_MAX];
    unsigned count = 0;
    char path[PATH_MAX];

    if (file->path_len == 0 || file->path[0] != '/' || file->path_len >= sizeof path)
        return;
    for (unsigned i = 0; i < scene->count; i++) {
        const struct place *place = &scene->places[i];

        if (place->ours.path_len == 0 || !same_file(&place->ours, file))
            continue;
        if (i < first)
            return;
        which[count] = i;
        symbols[count++] = (struct symbol){.address = place->vaddr - (place->is_exact ? 0 : 1)};
    }
    memcpy(path, file->path, file->path_len);
    path[file->path_len] = '\0';
    brood__symbols_find(path, symbols, count);
    for (unsigned i = 0; i < count; i++)
        scene->symbols[which[i]] = symbols[i];
}

/* The last part of PATH, in which nothing but letters is left: it goes to terminals. */
static void print_name(const struct mapping *mapping, char name[MODULE_NAME_MAX])
{
    size_t start = mapping->path_len, len = 0;

    while (start > 0 && mapping->path[start - 1] != '/')
        start--;
    for (; start < mapping->path_len && len < MODULE_NAME_MAX - 1; start++) {
        char c = mapping->path[start];

        name[len++] = c > ' ' && c < 0x7F ? c : '?';
    }
    name[len] = '\0';
}

static void add_place(struct scene *scene, unsigned index)
{
    const struct place *place = &scene->places[index];
    const struct symbol *symbol = &scene->symbols[index];
    char module[MODULE_NAME_MAX];

    add(scene, "  #%-2u 0x%016" PRIx64, index, place->pc);
    if (symbol->name[0] != '\0')
        add(scene, "  %s+0x%" PRIx64, symbol->name, place->vaddr - symbol->start);
    print_name(&place->theirs, module);
    if (module[0] != '\0')
        add(scene, "  %s+0x%" PRIx64, module, place->vaddr);
    else
        add(scene, "  in no file");
    add(scene, place->is_guess ? "  ?\n" : "\n");
}

/* What stands below the function of the user is brood's, from here to the start of the program:
 * the same in each report. It is cut off where its names can be read. */
static void cut_our_frames(struct scene *scene)
{
    static const char *const mains[] = {"brood__worker_main", "brood__process_main"};
    static const char *const inner[] = {"run_task", "call_items", "call"};
    unsigned end = 0;

    while (end < scene->count && strcmp(scene->symbols[end].name, mains[0]) != 0 &&
           strcmp(scene->symbols[end].name, mains[1]) != 0)
        end++;
    if (end == scene->count)
        return;
    for (unsigned i = 0; i < sizeof inner / sizeof inner[0]; i++)
        if (end > 1 && strcmp(scene->symbols[end - 1].name, inner[i]) == 0)
            end--;
    scene->count = end > 0 ? end : 1;
    scene->is_cut = false;
}

/* ---- the report ---- */

/* Copies what RECORD says, cut to what may be true. */
static void copy_record(struct scene *scene, const struct crash_record *record)
{
    struct crash_head *head = &scene->head;

    memcpy(head, &record->head, sizeof *head);
    if (head->stack_len > CRASH_STACK_MAX)
        head->stack_len = CRASH_STACK_MAX;
    if (head->maps_len > CRASH_MAPS_MAX)
        head->maps_len = CRASH_MAPS_MAX;
    memcpy(scene->stack_bytes, record->stack, head->stack_len);
    memcpy(scene->maps, record->maps, head->maps_len);
    scene->stack = (struct unwind_stack){
        .bytes = scene->stack_bytes, .start = head->stack_start, .len = head->stack_len};
    scene->theirs = (struct mappings){.at = scene->maps, .end = scene->maps + head->maps_len};
}

static void write_report(struct scene *scene)
{
    size_t len = 0;
    char *ours = brood__file_text("/proc/self/maps", OWN_MAPS_MAX, &len);

    if (ours != NULL)
        scene->ours = (struct mappings){.at = ours, .end = ours + len};
    add_headline(scene);
    find_places(scene);
    for (unsigned i = 0; i < scene->count; i++)
        name_file(scene, i);
    cut_our_frames(scene);
    for (unsigned i = 0; i < scene->count; i++)
        add_place(scene, i);
    if (scene->is_cut)
        add(scene, "  ...\n");
    brood__free(ours);
}

char *brood__crash_report(const struct crash_record *record)
{
    struct scene *scene;
    char *text, *shorter;

    if (atomic_load_explicit(&record->state, memory_order_acquire) != CRASH_WRITTEN)
        return NULL;
    scene = brood__alloc(sizeof *scene);
    text = brood__alloc(TEXT_SIZE);
    if (scene == NULL || text == NULL) {
        brood__free(scene);
        brood__free(text);
        return NULL;
    }
    memset(scene, 0, offsetof(struct scene, stack_bytes));
    scene->text = text;
    copy_record(scene, record);
    write_report(scene);
    shorter = brood__realloc(text, scene->len + 1);
    brood__free(scene);
    return shorter == NULL ? text : shorter;
}

bool brood__crash_seen(const struct crash_record *record, int *out_signal, int *out_errno)
{
    int signo, error;

    if (atomic_load_explicit(&record->state, memory_order_acquire) != CRASH_WRITTEN)
        return false;
    signo = record->head.signal;
    error = record->head.error;
    if (out_signal != NULL)
        *out_signal = signo > 0 && signo <= SIGRTMAX ? signo : 0;
    if (out_errno != NULL)
        *out_errno = error > 0 && error < 4096 ? error : 0;
    return true;
}

void brood__crash_clear(struct crash_record *record)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t start = (uintptr_t)record->stack;
    uintptr_t end = (uintptr_t)record + CRASH_RECORD_SIZE;

    if (atomic_load_explicit(&record->state, memory_order_relaxed) == CRASH_NONE)
        return;
    start = (start + page - 1) / page * page;
    end = end / page * page;
    if (start < end)
        (void)brood__memory_advise((void *)start, end - start, MADV_REMOVE);
    atomic_store_explicit(&record->state, CRASH_NONE, memory_order_release);
}
