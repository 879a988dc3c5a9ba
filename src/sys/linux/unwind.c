/* SPDX-License-Identifier: MIT */
/*
 * Unwinding by .eh_frame, for one frame at a time.
 *
 *     PT_GNU_EH_FRAME   sorted table:  code address -> FDE
 *     FDE  ->  CIE      a program that builds the row of rules valid at one address:
 *                       CFA = register + offset;  register i is saved at CFA + offset; ...
 *
 * The tables are those of the modules loaded in this process and so can be trusted as much as
 * its code; the registers and the stack cannot, they come from a process that crashed. All reads
 * of the stack go through brood__unwind_read(), which knows only the copy, and all reads of tables
 * through a reader that ends with their segment. Loops are bounded by lengths.
 *
 * The tables are read inside of dl_iterate_phdr(), so that nobody unloads the module meanwhile.
 * Formats: the DWARF standard 6.4, and the LSB's chapter on exception frames. Keeps no state.
 *
 * Not here: code without tables (unwind_guess.c).
 */
#include "sys/linux/unwind.h"

#include <link.h>
#include <stddef.h>
#include <string.h>

/* ---- bytes ---- */

struct reader {
    const unsigned char *at, *end;
    bool bad; /* it would have read beyond the end; everything read after that is 0 */
};

static uint64_t read_fixed(struct reader *reader, unsigned size)
{
    uint64_t value = 0;

    if (reader->bad || (size_t)(reader->end - reader->at) < size) {
        reader->bad = true;
        return 0;
    }
    memcpy(&value, reader->at, size); /* both machines are little-endian */
    reader->at += size;
    return value;
}

static uint64_t read_leb(struct reader *reader, bool is_signed)
{
    uint64_t value = 0;
    unsigned shift = 0;
    uint64_t byte;

    do {
        byte = read_fixed(reader, 1);
        if (shift < 64)
            value |= (byte & 0x7F) << shift;
        shift += 7;
    } while (byte & 0x80);
    if (is_signed && shift < 64 && (byte & 0x40))
        value |= ~(uint64_t)0 << shift;
    return value;
}

static uint64_t read_unsigned(struct reader *reader)
{
    return read_leb(reader, false);
}

static int64_t read_signed(struct reader *reader)
{
    return (int64_t)read_leb(reader, true);
}

static void skip(struct reader *reader, uint64_t len)
{
    if (reader->bad || (uint64_t)(reader->end - reader->at) < len)
        reader->bad = true;
    else
        reader->at += len;
}

/* A reader of the next LEN bytes, which this one steps over. */
static struct reader part(struct reader *reader, uint64_t len)
{
    struct reader inner = {.at = reader->at};

    skip(reader, len);
    inner.end = reader->at;
    inner.bad = reader->bad;
    return inner;
}

enum { ENCODING_OMIT = 0xFF, ENCODING_PC = 0x10, ENCODING_DATA = 0x30 };

/* A pointer in one of the encodings of .eh_frame; DATA is what "data relative" is relative to. */
static uint64_t read_pointer(struct reader *reader, unsigned encoding, uint64_t data)
{
    uint64_t base = (uint64_t)(uintptr_t)reader->at;
    uint64_t value = 0;

    if (encoding == ENCODING_OMIT)
        return 0;
    switch (encoding & 0x0F) {
    case 0x00:
    case 0x04:
    case 0x0C:
        value = read_fixed(reader, 8);
        break;
    case 0x01:
        value = read_unsigned(reader);
        break;
    case 0x02:
        value = read_fixed(reader, 2);
        break;
    case 0x03:
        value = read_fixed(reader, 4);
        break;
    case 0x09:
        value = (uint64_t)read_signed(reader);
        break;
    case 0x0A:
        value = (uint64_t)(int16_t)read_fixed(reader, 2);
        break;
    case 0x0B:
        value = (uint64_t)(int32_t)read_fixed(reader, 4);
        break;
    default:
        reader->bad = true;
        break;
    }
    if ((encoding & 0x70) == ENCODING_PC)
        return value + base;
    return (encoding & 0x70) == ENCODING_DATA ? value + data : value;
}

/* ---- rules ---- */

enum rule_kind {
    RULE_SAME = 0,
    RULE_UNDEFINED,
    RULE_AT_OFFSET,     /* saved at CFA + value */
    RULE_IS_OFFSET,     /* is CFA + value */
    RULE_REGISTER,      /* is in another register */
    RULE_AT_EXPRESSION, /* saved at the result */
    RULE_IS_EXPRESSION  /* is the result */
};

struct rule {
    enum rule_kind kind;
    int64_t value;
    struct reader expression;
};

struct row {
    struct rule rules[UNWIND_REGISTERS];
    struct rule cfa; /* RULE_REGISTER: register + offset, or RULE_IS_EXPRESSION */
    uint64_t cfa_register;
    bool is_signed; /* aarch64: the return address carries an authentication code */
};

/* What an FDE and its CIE say. */
struct entry {
    uint64_t code_begin, code_len;
    uint64_t code_align, return_column;
    int64_t data_align;
    unsigned pointer_encoding;
    bool is_signal, has_augmentation;
    struct reader initial, program;
};

enum { SAVED_ROWS = 4 };

struct machine {
    const struct entry *entry;
    uint64_t address; /* of the code that the row is valid for, so far */
    struct row row, initial;
    struct row saved[SAVED_ROWS];
    unsigned saved_count;
};

static void set_rule(struct machine *machine, uint64_t number, enum rule_kind kind, int64_t value)
{
    if (number < UNWIND_REGISTERS) /* vector registers do not matter here */
        machine->row.rules[number] = (struct rule){.kind = kind, .value = value};
}

static void set_expression(struct machine *machine, uint64_t number, enum rule_kind kind,
                           struct reader *reader)
{
    struct reader expression = part(reader, read_unsigned(reader));

    if (number < UNWIND_REGISTERS)
        machine->row.rules[number] = (struct rule){.kind = kind, .expression = expression};
}

static void set_cfa(struct machine *machine, uint64_t number, int64_t offset)
{
    machine->row.cfa = (struct rule){.kind = RULE_REGISTER, .value = offset};
    machine->row.cfa_register = number;
}

static void restore_rule(struct machine *machine, uint64_t number)
{
    if (number < UNWIND_REGISTERS)
        machine->row.rules[number] = machine->initial.rules[number];
}

/* Instructions about where the CFA is, and rows; false: not one of these. */
static bool run_cfa(struct machine *machine, unsigned code, struct reader *reader)
{
    int64_t align = machine->entry->data_align;
    uint64_t number;

    switch (code) {
    case 0x0A: /* remember_state */
        if (machine->saved_count == SAVED_ROWS)
            reader->bad = true;
        else
            machine->saved[machine->saved_count++] = machine->row;
        return true;
    case 0x0B: /* restore_state */
        if (machine->saved_count == 0)
            reader->bad = true;
        else
            machine->row = machine->saved[--machine->saved_count];
        return true;
    case 0x0C: /* def_cfa */
        number = read_unsigned(reader);
        set_cfa(machine, number, (int64_t)read_unsigned(reader));
        return true;
    case 0x0D: /* def_cfa_register */
        set_cfa(machine, read_unsigned(reader), machine->row.cfa.value);
        return true;
    case 0x0E: /* def_cfa_offset */
        set_cfa(machine, machine->row.cfa_register, (int64_t)read_unsigned(reader));
        return true;
    case 0x0F: /* def_cfa_expression */
        machine->row.cfa = (struct rule){.kind = RULE_IS_EXPRESSION};
        machine->row.cfa.expression = part(reader, read_unsigned(reader));
        return true;
    case 0x12: /* def_cfa_sf */
        number = read_unsigned(reader);
        set_cfa(machine, number, read_signed(reader) * align);
        return true;
    case 0x13: /* def_cfa_offset_sf */
        set_cfa(machine, machine->row.cfa_register, read_signed(reader) * align);
        return true;
    default:
        return false;
    }
}

/* Instructions about one register. */
static void run_register(struct machine *machine, unsigned code, struct reader *reader)
{
    int64_t align = machine->entry->data_align;
    uint64_t number = read_unsigned(reader);

    switch (code) {
    case 0x05: /* offset_extended */
        set_rule(machine, number, RULE_AT_OFFSET, (int64_t)read_unsigned(reader) * align);
        break;
    case 0x06: /* restore_extended */
        restore_rule(machine, number);
        break;
    case 0x07: /* undefined */
        set_rule(machine, number, RULE_UNDEFINED, 0);
        break;
    case 0x08: /* same_value */
        set_rule(machine, number, RULE_SAME, 0);
        break;
    case 0x09: /* register */
        set_rule(machine, number, RULE_REGISTER, (int64_t)read_unsigned(reader));
        break;
    case 0x10: /* expression */
        set_expression(machine, number, RULE_AT_EXPRESSION, reader);
        break;
    case 0x11: /* offset_extended_sf */
        set_rule(machine, number, RULE_AT_OFFSET, read_signed(reader) * align);
        break;
    case 0x14: /* val_offset */
        set_rule(machine, number, RULE_IS_OFFSET, (int64_t)read_unsigned(reader) * align);
        break;
    case 0x15: /* val_offset_sf */
        set_rule(machine, number, RULE_IS_OFFSET, read_signed(reader) * align);
        break;
    case 0x16: /* val_expression */
        set_expression(machine, number, RULE_IS_EXPRESSION, reader);
        break;
    default:
        reader->bad = true;
        break;
    }
}

/* One instruction without a register in its first byte. */
static void run_extended(struct machine *machine, unsigned code, struct reader *reader)
{
    uint64_t align = machine->entry->code_align;

    switch (code) {
    case 0x00: /* nop */
        break;
    case 0x01: /* set_loc */
        machine->address = read_pointer(reader, machine->entry->pointer_encoding, 0);
        break;
    case 0x02: /* advance_loc1 */
        machine->address += read_fixed(reader, 1) * align;
        break;
    case 0x03: /* advance_loc2 */
        machine->address += read_fixed(reader, 2) * align;
        break;
    case 0x04: /* advance_loc4 */
        machine->address += read_fixed(reader, 4) * align;
        break;
    case 0x2D: /* aarch64: negate_ra_state */
        machine->row.is_signed = !machine->row.is_signed;
        break;
    case 0x2E: /* GNU_args_size */
        (void)read_unsigned(reader);
        break;
    default:
        if (!run_cfa(machine, code, reader))
            run_register(machine, code, reader);
        break;
    }
}

/* Runs PROGRAM as far as it concerns the code at HERE. */
static bool run(struct machine *machine, struct reader program, uint64_t here)
{
    while (!program.bad && program.at < program.end && machine->address <= here) {
        unsigned byte = (unsigned)read_fixed(&program, 1);
        unsigned low = byte & 0x3F;

        switch (byte >> 6) {
        case 1: /* advance_loc */
            machine->address += low * machine->entry->code_align;
            break;
        case 2: /* offset */
            set_rule(machine, low, RULE_AT_OFFSET,
                     (int64_t)read_unsigned(&program) * machine->entry->data_align);
            break;
        case 3: /* restore */
            restore_rule(machine, low);
            break;
        default:
            run_extended(machine, low, &program);
            break;
        }
    }
    return !program.bad;
}

/* ---- expressions: just what signal frames and procedure linkage tables use ---- */

enum { EXPRESSION_STACK = 16 };

struct evaluation {
    const struct unwind_frame *frame;
    const struct unwind_stack *stack;
    uint64_t values[EXPRESSION_STACK];
    unsigned count;
    bool bad;
};

static void push(struct evaluation *evaluation, uint64_t value)
{
    if (evaluation->count == EXPRESSION_STACK)
        evaluation->bad = true;
    else
        evaluation->values[evaluation->count++] = value;
}

static uint64_t pop(struct evaluation *evaluation)
{
    if (evaluation->count == 0) {
        evaluation->bad = true;
        return 0;
    }
    return evaluation->values[--evaluation->count];
}

static void push_register(struct evaluation *evaluation, unsigned number, int64_t offset)
{
    if (number >= UNWIND_REGISTERS || !(evaluation->frame->known >> number & 1))
        evaluation->bad = true;
    else
        push(evaluation, evaluation->frame->registers[number] + (uint64_t)offset);
}

static void combine(struct evaluation *evaluation, unsigned code)
{
    uint64_t right = pop(evaluation);
    uint64_t left = pop(evaluation);

    switch (code) {
    case 0x1A: /* and */
        push(evaluation, left & right);
        break;
    case 0x1C: /* minus */
        push(evaluation, left - right);
        break;
    case 0x22: /* plus */
        push(evaluation, left + right);
        break;
    case 0x24: /* shl */
        push(evaluation, right < 64 ? left << right : 0);
        break;
    case 0x2A: /* ge */
        push(evaluation, (int64_t)left >= (int64_t)right);
        break;
    default:
        evaluation->bad = true;
        break;
    }
}

static void evaluate_one(struct evaluation *evaluation, struct reader *reader)
{
    unsigned code = (unsigned)read_fixed(reader, 1);
    uint64_t value = 0;

    if (code >= 0x30 && code <= 0x4F) { /* lit0 to lit31 */
        push(evaluation, code - 0x30);
    } else if (code >= 0x70 && code <= 0x8F) { /* breg0 to breg31 */
        push_register(evaluation, code - 0x70, read_signed(reader));
    } else if (code == 0x06) { /* deref */
        if (!brood__unwind_read(evaluation->stack, pop(evaluation), &value))
            evaluation->bad = true;
        push(evaluation, value);
    } else if (code == 0x08) { /* const1u */
        push(evaluation, read_fixed(reader, 1));
    } else if (code == 0x0A) { /* const2u */
        push(evaluation, read_fixed(reader, 2));
    } else if (code == 0x0C) { /* const4u */
        push(evaluation, read_fixed(reader, 4));
    } else if (code == 0x23) { /* plus_uconst */
        push(evaluation, pop(evaluation) + read_unsigned(reader));
    } else {
        combine(evaluation, code);
    }
}

static bool evaluate(struct reader expression, const struct unwind_frame *frame,
                     const struct unwind_stack *stack, const uint64_t *first, uint64_t *out_value)
{
    struct evaluation evaluation = {.frame = frame, .stack = stack};

    if (first != NULL)
        push(&evaluation, *first);
    while (!expression.bad && !evaluation.bad && expression.at < expression.end)
        evaluate_one(&evaluation, &expression);
    *out_value = pop(&evaluation);
    return !expression.bad && !evaluation.bad;
}

/* ---- applying a row ---- */

static bool find_cfa(const struct row *row, const struct unwind_frame *frame,
                     const struct unwind_stack *stack, uint64_t *out_cfa)
{
    if (row->cfa.kind == RULE_IS_EXPRESSION)
        return evaluate(row->cfa.expression, frame, stack, NULL, out_cfa);
    if (row->cfa.kind != RULE_REGISTER || row->cfa_register >= UNWIND_REGISTERS ||
        !(frame->known >> row->cfa_register & 1))
        return false;
    *out_cfa = frame->registers[row->cfa_register] + (uint64_t)row->cfa.value;
    return true;
}

/* The value that RULE gives to register NUMBER of the caller; false: it is lost. */
static bool apply(const struct rule *rule, unsigned number, uint64_t cfa,
                  const struct unwind_frame *frame, const struct unwind_stack *stack,
                  uint64_t *out_value)
{
    uint64_t source = number, address;

    switch (rule->kind) {
    case RULE_UNDEFINED:
        return false;
    case RULE_AT_OFFSET:
        return brood__unwind_read(stack, cfa + (uint64_t)rule->value, out_value);
    case RULE_IS_OFFSET:
        *out_value = cfa + (uint64_t)rule->value;
        return true;
    case RULE_AT_EXPRESSION:
        return evaluate(rule->expression, frame, stack, &cfa, &address) &&
               brood__unwind_read(stack, address, out_value);
    case RULE_IS_EXPRESSION:
        return evaluate(rule->expression, frame, stack, &cfa, out_value);
    case RULE_REGISTER:
        source = (uint64_t)rule->value;
        break;
    case RULE_SAME:
        break;
    }
    if (source >= UNWIND_REGISTERS || !(frame->known >> source & 1))
        return false;
    *out_value = frame->registers[source];
    return true;
}

static void set(struct unwind_frame *frame, unsigned number, uint64_t value)
{
    frame->registers[number] = value;
    frame->known |= (uint64_t)1 << number;
}

static bool step(const struct machine *machine, struct unwind_frame *frame,
                 const struct unwind_stack *stack)
{
    const struct row *row = &machine->row;
    uint64_t column = machine->entry->return_column;
    struct unwind_frame caller = {.is_signal = machine->entry->is_signal};
    uint64_t cfa, pc;

    if (!find_cfa(row, frame, stack, &cfa))
        return false;
    for (unsigned i = 0; i < UNWIND_REGISTERS; i++) {
        uint64_t value;

        if (apply(&row->rules[i], i, cfa, frame, stack, &value))
            set(&caller, i, value);
    }
    if (column >= UNWIND_REGISTERS || !(caller.known >> column & 1))
        return false;
    pc = caller.registers[column];
    if (row->is_signed)
        pc &= ((uint64_t)1 << 48) - 1;
    set(&caller, UNWIND_PC, pc);
    if (row->rules[UNWIND_SP].kind == RULE_SAME)
        set(&caller, UNWIND_SP, cfa);
    /* Stacks grow down, so whoever called has the higher one: a chain cannot be a circle. */
    if (!machine->entry->is_signal && caller.registers[UNWIND_SP] <= frame->registers[UNWIND_SP] &&
        UNWIND_LINK < 0)
        return false;
    *frame = caller;
    return true;
}

/* ---- tables ---- */

static void read_augmentation(struct entry *entry, struct reader *cie, const char *letters)
{
    struct reader data;

    if (letters[0] != 'z')
        return;
    entry->has_augmentation = true;
    data = part(cie, read_unsigned(cie));
    for (const char *letter = letters + 1; *letter != '\0' && !data.bad; letter++) {
        if (*letter == 'R')
            entry->pointer_encoding = (unsigned)read_fixed(&data, 1);
        else if (*letter == 'P')
            (void)read_pointer(&data, (unsigned)read_fixed(&data, 1), 0);
        else if (*letter == 'L')
            (void)read_fixed(&data, 1);
        else if (*letter == 'S')
            entry->is_signal = true;
        else if (*letter != 'B')
            return;
    }
}

/* The length of the entry at READER, and a reader of what follows it. */
static struct reader open_entry(struct reader *reader)
{
    uint64_t len = read_fixed(reader, 4);

    if (len == 0xFFFFFFFF)
        len = read_fixed(reader, 8);
    return part(reader, len);
}

static bool read_cie(struct entry *entry, struct reader reader)
{
    struct reader cie = open_entry(&reader);
    const char *letters;
    unsigned version;

    if (read_fixed(&cie, 4) != 0)
        return false;
    version = (unsigned)read_fixed(&cie, 1);
    letters = (const char *)cie.at;
    while (read_fixed(&cie, 1) != 0 && !cie.bad)
        continue;
    if (cie.bad || (version != 1 && version != 3))
        return false;
    entry->code_align = read_unsigned(&cie);
    entry->data_align = read_signed(&cie);
    entry->return_column = version == 1 ? read_fixed(&cie, 1) : read_unsigned(&cie);
    read_augmentation(entry, &cie, letters);
    entry->initial = cie;
    return !cie.bad;
}

/* SEGMENT is all that may be read; AT is where the FDE begins. */
static bool read_fde(struct entry *entry, struct reader segment, uint64_t at)
{
    const unsigned char *low = segment.at;
    struct reader fde;
    uint64_t back, here;

    if (at < (uint64_t)(uintptr_t)low || at >= (uint64_t)(uintptr_t)segment.end)
        return false;
    skip(&segment, at - (uint64_t)(uintptr_t)low);
    fde = open_entry(&segment);
    here = (uint64_t)(fde.at - low);
    back = read_fixed(&fde, 4);
    if (fde.bad || back == 0 || back > here)
        return false;
    if (!read_cie(entry, (struct reader){.at = low + (here - back), .end = segment.end}))
        return false;
    entry->code_begin = read_pointer(&fde, entry->pointer_encoding, 0);
    entry->code_len = read_pointer(&fde, entry->pointer_encoding & 0x0F, 0);
    if (entry->has_augmentation)
        skip(&fde, read_unsigned(&fde));
    entry->program = fde;
    return !fde.bad;
}

/* The FDE for the code at HERE by the sorted table at HEADER, or 0. */
static uint64_t search_table(struct reader segment, uint64_t header, uint64_t here)
{
    struct reader reader = segment;
    unsigned version, pointer, counting, table;
    uint64_t count, low = 0, high;

    skip(&reader, header - (uint64_t)(uintptr_t)segment.at);
    version = (unsigned)read_fixed(&reader, 1);
    pointer = (unsigned)read_fixed(&reader, 1);
    counting = (unsigned)read_fixed(&reader, 1);
    table = (unsigned)read_fixed(&reader, 1);
    (void)read_pointer(&reader, pointer, header);
    count = read_pointer(&reader, counting, header);
    /* All linkers write this one kind of table: pairs of 4 bytes, relative to the header. */
    if (reader.bad || version != 1 || table != 0x3B || count == 0 ||
        count > (uint64_t)(reader.end - reader.at) / 8)
        return 0;
    high = count;
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        int32_t start;

        memcpy(&start, reader.at + middle * 8, sizeof start);
        if (header + (uint64_t)start <= here)
            low = middle;
        else
            high = middle;
    }
    skip(&reader, low * 8 + 4);
    return header + (uint64_t)(int32_t)read_fixed(&reader, 4);
}

struct search {
    struct unwind_frame *frame;
    const struct unwind_stack *stack;
    uint64_t here;
    enum unwind_result result;
};

static void step_by_table(struct search *search, struct reader segment, uint64_t header)
{
    struct entry entry = {.pointer_encoding = 0};
    struct machine machine = {.entry = &entry};
    uint64_t fde = search_table(segment, header, search->here);

    if (fde == 0 || !read_fde(&entry, segment, fde) ||
        search->here - entry.code_begin >= entry.code_len)
        return;
    search->result = UNWIND_END;
    machine.address = entry.code_begin;
    if (!run(&machine, entry.initial, search->here))
        return;
    machine.initial = machine.row;
    if (run(&machine, entry.program, search->here) && step(&machine, search->frame, search->stack))
        search->result = UNWIND_STEP;
}

static bool holds(const ElfW(Phdr) * part, uint64_t base, uint64_t address)
{
    return part->p_type == PT_LOAD && address - (base + part->p_vaddr) < part->p_memsz;
}

static int visit_module(struct dl_phdr_info *info, size_t size, void *context)
{
    struct search *search = context;
    const ElfW(Phdr) *table = NULL;
    bool is_it = false;

    (void)size;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        is_it = is_it || holds(&info->dlpi_phdr[i], info->dlpi_addr, search->here);
        if (info->dlpi_phdr[i].p_type == PT_GNU_EH_FRAME)
            table = &info->dlpi_phdr[i];
    }
    if (!is_it)
        return 0;
    for (unsigned i = 0; table != NULL && i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        uint64_t header = info->dlpi_addr + table->p_vaddr;
        uintptr_t start = (uintptr_t)(info->dlpi_addr + segment->p_vaddr);

        if (holds(segment, info->dlpi_addr, header) && (segment->p_flags & PF_R))
            step_by_table(search,
                          (struct reader){.at = (const unsigned char *)start,
                                          .end = (const unsigned char *)start + segment->p_memsz},
                          header);
    }
    return 1;
}

enum unwind_result brood__unwind_by_tables(struct unwind_frame *frame, uint64_t here,
                                           const struct unwind_stack *stack)
{
    struct search search = {.frame = frame, .stack = stack, .here = here};

    (void)dl_iterate_phdr(visit_module, &search);
    return search.result;
}
