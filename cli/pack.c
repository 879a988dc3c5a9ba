/* SPDX-License-Identifier: MIT */
/*
 * Packing inputs into commands.
 *
 * A batch is filled with records until it has as many as -n, -N or -L say, or until one more would
 * make the command too long; that one then begins the next batch. With -X and -m the batch that
 * meets the end of the inputs is cut into as many equal parts as there are slots, so that the end
 * of a long list keeps all of them busy.
 *
 * Lengths are counted up record by record, never by expanding the command again.
 */
#include "pack.h"

#include <stdint.h>
#include <stdlib.h>

/* A string for execve(2) is shorter than 32 pages, and some of that is kept back. */
#define COMMAND_LEN_MAX 130000

struct batch {
    struct list *records;
    size_t count, room;
};

struct pack {
    const struct options *options;
    struct inputs *inputs;
    struct template *template;
    size_t slots, records_max, len_max, base_len;
    struct batch batch;
    size_t batch_next, part; /* shares of the batch that are still to be given */
    struct list ahead;       /* a record that is read and not used */
    bool has_ahead;
    struct list *all; /* by pack_count_all() */
    size_t all_count, all_next;
    bool counted;
    size_t read;
};

static bool packs_many(const struct options *options)
{
    return options->context || options->many || options->xargs || options->has_args_max;
}

struct pack *pack_new(const struct options *options, struct inputs *inputs,
                      struct template *template, size_t slots)
{
    struct pack *pack = memory_get(sizeof *pack);
    const bool in_place = options->many || options->xargs;

    pack->options = options;
    pack->inputs = inputs;
    pack->template = template;
    pack->slots = slots;
    pack->len_max = options->command_max > 0 ? options->command_max : COMMAND_LEN_MAX;
    pack->records_max = 1;
    if (options->has_args_max)
        pack->records_max = options->args_max;
    else if (packs_many(options))
        pack->records_max = SIZE_MAX;
    if (options->context || options->fixed || (options->has_lines_max && !in_place))
        template_repeat_words(template);
    pack->base_len = template_base_len(template);
    return pack;
}

static bool read_record(struct pack *pack, struct list *out)
{
    if (pack->has_ahead) {
        *out = pack->ahead;
        pack->ahead = (struct list){0};
        pack->has_ahead = false;
        return true;
    }
    *out = (struct list){0};
    if (inputs_next(pack->inputs, out)) {
        pack->read++;
        return true;
    }
    list_done(out);
    return false;
}

static void put_back(struct pack *pack, struct list record)
{
    pack->ahead = record;
    pack->has_ahead = true;
}

static bool at_end(struct pack *pack)
{
    struct list record;

    if (!pack->has_ahead && read_record(pack, &record))
        put_back(pack, record);
    return !pack->has_ahead;
}

static void batch_add(struct batch *batch, struct list record)
{
    if (batch->count == batch->room) {
        batch->room = batch->room == 0 ? 16 : 2 * batch->room;
        batch->records = memory_grow(batch->records, batch->room * sizeof *batch->records);
    }
    batch->records[batch->count++] = record;
}

static size_t record_len(const struct pack *pack, const struct list *record, size_t index)
{
    size_t len = 0;

    for (size_t i = 0; i < record->count; i++)
        len += template_argument_len(pack->template, record->at[i], index + i);
    return len;
}

static void check_first(const struct pack *pack, const struct list *record, size_t len)
{
    if (len >= pack->len_max && (packs_many(pack->options) || pack->options->command_max > 0))
        die("the command is too long (%zu bytes, %zu are the limit) with the input '%s'", len,
            pack->len_max - 1, record->count > 0 ? record->at[0] : "");
}

/* Reads as many records as one command takes. False if there is none. */
static bool fill(struct pack *pack)
{
    const bool measures = packs_many(pack->options) || pack->options->command_max > 0;
    size_t len = pack->base_len, args = 0;
    struct list record;

    pack->batch.count = pack->batch_next = 0;
    while (pack->batch.count < pack->records_max && read_record(pack, &record)) {
        const size_t more = measures ? record_len(pack, &record, args) : 0;

        if (pack->batch.count == 0)
            check_first(pack, &record, len + more);
        if (pack->batch.count > 0 && len + more >= pack->len_max) {
            if (pack->options->exact)
                die("%zu inputs do not fit into one command of %zu bytes", pack->records_max,
                    pack->len_max - 1);
            put_back(pack, record);
            break;
        }
        len += more;
        args += record.count;
        batch_add(&pack->batch, record);
    }
    return pack->batch.count > 0;
}

/* -n 0: one input is read, and none is put in. */
static bool next_without_arguments(struct pack *pack)
{
    struct list record;

    if (!read_record(pack, &record))
        return false;
    list_done(&record);
    return true;
}

static bool next_packed(struct pack *pack, struct list *out_args)
{
    size_t end;

    if (pack->records_max == 0)
        return next_without_arguments(pack);
    if (pack->batch_next == pack->batch.count) {
        if (!fill(pack))
            return false;
        pack->part = pack->batch.count;
        if ((pack->options->context || pack->options->many) && pack->slots > 1 && at_end(pack))
            pack->part = (pack->batch.count + pack->slots - 1) / pack->slots;
    }
    end = pack->batch_next + pack->part;
    if (end > pack->batch.count)
        end = pack->batch.count;
    while (pack->batch_next < end) {
        struct list *record = &pack->batch.records[pack->batch_next++];

        if (out_args->count == 0) {
            list_done(out_args);
            *out_args = *record;
            continue;
        }
        for (size_t i = 0; i < record->count; i++)
            list_add(out_args, record->at[i]);
        free(record->at);
    }
    return true;
}

bool pack_next(struct pack *pack, struct list *out_args)
{
    if (!pack->counted)
        return next_packed(pack, out_args);
    if (pack->all_next == pack->all_count)
        return false;
    list_done(out_args);
    *out_args = pack->all[pack->all_next++];
    return true;
}

size_t pack_count_all(struct pack *pack)
{
    size_t room = 0;
    struct list args = {0};

    while (!pack->counted && next_packed(pack, &args)) {
        if (pack->all_count == room) {
            room = room == 0 ? 64 : 2 * room;
            pack->all = memory_grow(pack->all, room * sizeof *pack->all);
        }
        pack->all[pack->all_count++] = args;
        args = (struct list){0};
    }
    pack->counted = true;
    return pack->all_count;
}

void pack_free(struct pack *pack)
{
    for (size_t i = pack->batch_next; i < pack->batch.count; i++)
        list_done(&pack->batch.records[i]);
    for (size_t i = pack->all_next; i < pack->all_count; i++)
        list_done(&pack->all[i]);
    free(pack->batch.records);
    free(pack->all);
    list_done(&pack->ahead);
    free(pack);
}
