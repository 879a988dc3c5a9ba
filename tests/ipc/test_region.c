/* SPDX-License-Identifier: MIT */
/*
 * Regions as a process has them: made, opened from a descriptor, mapped once, let go, and nothing
 * left. Whatever an opener is given, it must not crash: descriptors come from other processes.
 */
#include "harness/sweep.h"
#include "harness/test.h"

#include "ipc/block.h"
#include "ipc/chunk.h"
#include "ipc/region.h"
#include "sys/kernel.h"

#include <brood/region.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

static const brood_region_options small = {.size_max = 256 * KIB, .participants_max = 4};

static struct region *make(const brood_region_options *options, uint64_t root_len)
{
    struct region *region = NULL;

    CHECK_OK(brood__region_make(&region, REGION_PLAIN, options, root_len));
    return region;
}

/* FUNCTION in a forked child, which must end well. */
static void in_child(void (*function)(void *context), void *context)
{
    int status = 0;
    pid_t pid = CHECK_OK(fork());

    if (pid == 0) {
        function(context);
        _exit(0);
    }
    CHECK_OK(waitpid(pid, &status, 0));
    CHECK_EQ(status, 0);
}

static bool is_zero(const char *memory, uint64_t len)
{
    for (uint64_t i = 0; i < len; i++)
        if (memory[i] != 0)
            return false;
    return true;
}

static uint64_t resident(int fd)
{
    struct stat status;

    CHECK_OK(fstat(fd, &status));
    return (uint64_t)status.st_blocks * 512;
}

/* ---- making ---- */

TEST(a_region_has_room_for_what_was_asked_and_a_root_in_front)
{
    struct region *region = make(&small, 5000);
    char *root = region->base + region->root;
    uint64_t root_chunks = (5000 + brood__page_size() - 1) / brood__page_size();

    CHECK_EQ(region->root, region->chunks);
    CHECK_EQ(region->chunk_count, 256 * KIB / brood__page_size() + root_chunks);
    CHECK(is_zero(root, 5000));
    CHECK_EQ(brood__block_used(region), root_chunks * brood__page_size());
    CHECK(brood__region_alloc(region, 256 * KIB) != NULL);
    CHECK(brood__region_alloc(region, 1) == NULL);
    brood__region_drop(region);
}

TEST(a_new_region_of_16_gib_takes_little_memory)
{
    struct region *region = make(NULL, 0);

    CHECK(region->len >= 16 * GIB);
    CHECK(resident(region->fd) < MIB);
    brood__region_drop(region);
}

TEST(options_that_make_no_sense_are_refused)
{
    struct region *region = NULL;

    CHECK_ERR(brood__region_make(&region, REGION_PLAIN,
                                 &(brood_region_options){.participants_max = 4095}, 0),
              -EINVAL);
    CHECK_ERR(brood__region_make(&region, REGION_PLAIN,
                                 &(brood_region_options){.reserved = {0, 0, 0, 1}}, 0),
              -EINVAL);
    CHECK_ERR(brood__region_make(&region, REGION_PLAIN,
                                 &(brood_region_options){.size_max = UINT64_MAX}, 0),
              -EFBIG);
    CHECK_ERR(brood__region_make(&region, REGION_PLAIN,
                                 &(brood_region_options){.size_max = (uint64_t)1 << 52}, 0),
              -EFBIG);
    CHECK(region == NULL);
}

static struct rlimit limit_of(uint64_t len)
{
    return (struct rlimit){.rlim_cur = len, .rlim_max = RLIM_INFINITY};
}

TEST(where_addresses_are_limited_a_default_region_is_smaller)
{
    struct region *region = NULL;
    struct rlimit limit;

    if (TEST_ASAN || TEST_TSAN)
        SKIP("a sanitizer needs its addresses");
    limit = limit_of(6 * GIB);
    CHECK_OK(setrlimit(RLIMIT_AS, &limit));
    CHECK_ERR(
        brood__region_make(&region, REGION_PLAIN, &(brood_region_options){.size_max = 16 * GIB}, 0),
        -ENOMEM);
    region = make(NULL, 0);
    CHECK(region->len >= 4 * GIB);
    CHECK(region->len < 6 * GIB);
    brood__region_drop(region);
}

TEST(where_files_are_limited_a_default_region_is_smaller)
{
    struct region *region = NULL;
    struct rlimit limit;

    limit = limit_of(300 * MIB);
    CHECK_OK(setrlimit(RLIMIT_FSIZE, &limit));
    CHECK_ERR(
        brood__region_make(&region, REGION_PLAIN, &(brood_region_options){.size_max = GIB}, 0),
        -EFBIG);
    region = make(NULL, 0);
    CHECK(region->len >= 256 * MIB);
    CHECK(region->len < 300 * MIB);
    brood__region_drop(region);
    limit = limit_of(RLIM_INFINITY);
    CHECK_OK(setrlimit(RLIMIT_FSIZE, &limit));
}

/* ---- opening ---- */

TEST(a_region_that_is_open_already_is_not_mapped_twice)
{
    struct region *region = make(&small, 0);
    struct region *again = NULL;

    CHECK_OK(brood__region_adopt(&again, CHECK_OK(brood__fd_duplicate(region->fd))));
    CHECK(again == region);
    CHECK_EQ(region->users, 2);
    brood__region_drop(again);
    CHECK_EQ(region->users, 1);
    CHECK(brood__region_around(region->base - 1) == NULL);
    again = brood__region_around(region->base + region->len - 1);
    CHECK(again == region);
    brood__region_drop(again);
    brood__region_drop(region);
}

struct opening {
    int fd;
    brood_ref ref;
    const struct region *original;
};

static void open_anew(void *context)
{
    struct opening *opening = context;
    uint64_t offset;
    struct region *region = NULL;
    char *memory;

    CHECK_OK(brood__region_adopt(&region, opening->fd));
    CHECK_EQ(region->number, opening->ref.word[0]);
    offset = brood__region_offset(region, opening->ref);
    CHECK(offset != 0);
    CHECK_STR(region->base + offset, "said by the parent");
    memory = brood__region_alloc(region, 100);
    CHECK(memory != NULL);
    CHECK(memory != region->base + offset);
    memcpy(region->base + offset, "said by the child", sizeof "said by the child");
    CHECK(brood__region_release(region, memory));
    brood__region_drop(region);
}

TEST(who_opens_a_region_sees_what_is_in_it)
{
    struct region *region = make(&small, 0);
    char *text = brood__region_alloc(region, 100);
    struct opening opening = {.fd = CHECK_OK(brood__fd_duplicate(region->fd))};

    CHECK(text != NULL);
    memcpy(text, "said by the parent", sizeof "said by the parent");
    opening.ref = (brood_ref){{region->number, (uint64_t)(text - region->base)}};
    /* A mapping of the parent's would be found by its number, so it goes first. */
    brood__region_drop(region);
    in_child(open_anew, &opening);
    CHECK_OK(brood__region_adopt(&region, opening.fd));
    CHECK_STR(region->base + opening.ref.word[1], "said by the child");
    brood__region_drop(region);
}

TEST(what_is_not_in_a_region_has_no_place_there)
{
    struct region *region = make(&small, 10);

    CHECK_EQ(brood__region_offset(region, (brood_ref){{region->number, region->root}}),
             region->root);
    CHECK_EQ(brood__region_offset(region, (brood_ref){{region->number, 0}}), 0);
    CHECK_EQ(brood__region_offset(region, (brood_ref){{region->number, region->len}}), 0);
    CHECK_EQ(brood__region_offset(region, (brood_ref){{region->number, UINT64_MAX}}), 0);
    CHECK_EQ(brood__region_offset(region, (brood_ref){{region->number + 1, region->root}}), 0);
    CHECK_EQ(brood__region_ref(region, 0).word[0], 0);
    CHECK_EQ(brood__region_ref(region, region->len).word[0], 0);
    brood__region_drop(region);
}

/* ---- what others may give us ---- */

static int refuse(int fd)
{
    struct region *region = NULL;
    int r = brood__region_adopt(&region, fd);

    CHECK(region == NULL);
    CHECK(fcntl(fd, F_GETFD) < 0);
    return r;
}

static int object_of(const void *data, uint64_t len, uint64_t size, int seals)
{
    int fd = CHECK_OK(memfd_create("object", MFD_CLOEXEC | MFD_ALLOW_SEALING));

    CHECK_OK(ftruncate(fd, (off_t)size));
    CHECK_EQ(pwrite(fd, data, len, 0), len);
    CHECK_OK(fcntl(fd, F_ADD_SEALS, seals));
    return fd;
}

static const int all_seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

TEST(a_descriptor_that_is_no_region_is_refused_and_closed)
{
    int ends[2];
    char zeros[4096] = {0};

    CHECK_ERR(refuse(CHECK_OK(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0))), -EINVAL);
    CHECK_OK(pipe2(ends, O_CLOEXEC));
    CHECK_ERR(refuse(ends[0]), -EINVAL);
    CHECK_ERR(refuse(ends[1]), -EINVAL);
    CHECK_ERR(refuse(CHECK_OK(open("/dev/null", O_RDWR | O_CLOEXEC))), -EINVAL);
    CHECK_ERR(refuse(CHECK_OK(open("/", O_RDONLY | O_CLOEXEC))), -EINVAL);
    CHECK_ERR(refuse(CHECK_OK(open("/proc/self/exe", O_RDONLY | O_CLOEXEC))), -EINVAL);
    CHECK_ERR(refuse(object_of(zeros, 0, 0, all_seals)), -EINVAL);
    CHECK_ERR(refuse(object_of(zeros, 100, 100, all_seals)), -EINVAL);
    CHECK_ERR(refuse(object_of(zeros, 4096, MIB, all_seals)), -EINVAL);
}

/* The head of REGION as bytes, with its roster. */
static uint64_t copy_head(const struct region *region, unsigned char *head, uint64_t size)
{
    CHECK(region->table <= size);
    memcpy(head, region->base, region->table);
    return region->table;
}

enum { HEAD_LEN = 80, HEAD_SIZE = 64 << 10 };

TEST(an_object_that_could_be_cut_is_refused)
{
    static unsigned char head[HEAD_SIZE];
    struct region *region = make(&small, 0);
    uint64_t len = copy_head(region, head, sizeof head);
    uint64_t size = region->len;

    brood__region_drop(region);
    CHECK_ERR(refuse(object_of(head, len, size, F_SEAL_GROW | F_SEAL_SEAL)), -EINVAL);
    CHECK_ERR(refuse(object_of(head, len, size, F_SEAL_SHRINK | F_SEAL_SEAL)), -EINVAL);
    CHECK_ERR(refuse(object_of(head, len, size, all_seals | F_SEAL_WRITE)), -EINVAL);
    CHECK_ERR(refuse(object_of(head, len, size - brood__page_size(), all_seals)), BROOD_EABI);
    CHECK_ERR(refuse(object_of(head, len, size + brood__page_size(), all_seals)), BROOD_EABI);
    CHECK_OK(brood__region_adopt(&region, object_of(head, len, size, all_seals)));
    CHECK(brood__region_alloc(region, 256 * KIB) != NULL);
    brood__region_drop(region);
}

/* Each byte of the head, changed: it is refused, or it was of no importance. */
TEST(a_head_with_a_wrong_byte_is_refused_or_harmless)
{
    static unsigned char head[HEAD_SIZE];
    struct region *region = make(&small, 100);
    uint64_t len = copy_head(region, head, sizeof head);
    uint64_t size = region->len;
    unsigned refused = 0;

    brood__region_drop(region);
    for (unsigned i = 0; i < HEAD_LEN; i++) {
        unsigned char bits = (unsigned char)(test_random_below(255) + 1);
        int r;

        head[i] ^= bits;
        r = brood__region_adopt(&region, object_of(head, len, size, all_seals));
        head[i] ^= bits;
        if (r < 0) {
            CHECK(r == -EINVAL || r == BROOD_EABI);
            refused++;
            continue;
        }
        (void)brood__region_alloc(region, 1000);
        brood__region_drop(region);
    }
    /* Not the number, which is 8 bytes, and a byte of the kind, which others may be as well. */
    CHECK(refused > HEAD_LEN - 16);
}

/* Of another number, so that it is not taken for the one that is open. */
static void renumber(unsigned char *object)
{
    memset(object + 16, (int)(1 + test_random_below(255)), 8);
}

TEST(an_object_full_of_garbage_does_no_harm)
{
    static unsigned char object[4 * HEAD_SIZE];
    struct region *region = make(&small, 100);
    uint64_t len = region->chunks;
    unsigned opened = 0;

    CHECK(len <= sizeof object);
    for (unsigned round = 0; round < 200; round++) {
        /* With a good head the garbage behind it is looked at; in half of the rounds the roster is
         * good, too. */
        uint64_t good = round % 2 == 0 ? HEAD_LEN : region->table;
        struct region *other = NULL;

        memcpy(object, region->base, good);
        renumber(object);
        for (uint64_t i = good; i < len; i++)
            object[i] = (unsigned char)test_random();
        memset(object + 128, (int)test_random_below(256), 128); /* the hints */
        if (brood__region_adopt(&other, object_of(object, len, region->len, all_seals)) < 0)
            continue;
        opened++;
        (void)brood__block_used(other);
        (void)brood__region_release(other, other->base + other->chunks);
        (void)brood__region_alloc(other, test_random_below(100 * KIB));
        brood__region_drop(other);
    }
    CHECK(opened >= 50);
    brood__region_drop(region);
}

/* ---- read only for others ---- */

static void read_only(void *context)
{
    struct opening *opening = context;
    struct region *region = NULL;
    void *address = MAP_FAILED;

    CHECK_OK(brood__region_adopt(&region, opening->fd));
    CHECK(region->readonly);
    CHECK(region->roster == NULL);
    CHECK_STR(region->base + opening->ref.word[1], "for all");
    CHECK(brood__region_alloc(region, 10) == NULL);
    CHECK(!brood__region_release(region, region->base + opening->ref.word[1]));
    CHECK_EQ(brood__block_used(region), brood__page_size());
    address = mmap(NULL, brood__page_size(), PROT_READ | PROT_WRITE, MAP_SHARED, region->fd, 0);
    CHECK(address == MAP_FAILED);
    CHECK(mprotect(region->base, brood__page_size(), PROT_READ | PROT_WRITE) < 0);
    CHECK(pwrite(region->fd, "x", 1, 0) < 0);
    brood__region_drop(region);
}

static void write_there(void *context)
{
    struct region *region = context;
    char *memory = brood__region_alloc(region, 10);

    CHECK(memory != NULL);
    memory[0] = 'x';
    CHECK(brood__region_release(region, memory));
}

TEST(a_region_for_reading_is_written_by_its_family_only)
{
    struct region *region =
        make(&(brood_region_options){.size_max = MIB, .readonly_elsewhere = true}, 0);
    char *text = brood__region_alloc(region, 10);
    struct opening opening = {.fd = CHECK_OK(brood__fd_duplicate(region->fd))};

    CHECK(text != NULL);
    memcpy(text, "for all", sizeof "for all");
    opening.ref = (brood_ref){{region->number, (uint64_t)(text - region->base)}};
    in_child(write_there, region);
    memcpy(text, "for all", sizeof "for all");
    brood__region_drop(region);
    in_child(read_only, &opening);
    brood__fd_close(opening.fd);
}

/* ---- memory ---- */

TEST(large_blocks_keep_some_pages_and_give_the_others_back)
{
    struct region *region = make(&(brood_region_options){.size_max = 128 * MIB}, 0);
    uint64_t before = resident(region->fd);

    for (unsigned round = 0; round < 2; round++) {
        char *small_one = brood__region_alloc(region, 8 * MIB);
        char *large = brood__region_alloc(region, 60 * MIB);

        CHECK(small_one != NULL && large != NULL);
        CHECK(is_zero(small_one, 8 * MIB));
        CHECK(is_zero(large, 60 * MIB));
        CHECK(resident(region->fd) >= before + 68 * MIB);
        memset(small_one, 1, 8 * MIB);
        memset(large, 1, 60 * MIB);
        CHECK(brood__region_release(region, small_one));
        CHECK(resident(region->fd) >= before + 68 * MIB);
        CHECK(brood__region_release(region, large));
        CHECK(resident(region->fd) < before + 9 * MIB);
    }
    brood__region_drop(region);
}

/* What is behind the chunk at OFFSET, as the table has it. */
static unsigned pages_at(const struct region *region, uint64_t offset)
{
    const struct block_entry *entries = (const void *)(region->base + region->table);
    uint64_t index = (offset - region->chunks) >> region->chunk_shift;

    return (unsigned)(atomic_load(&entries[index].word) >> 59 & 3);
}

TEST(a_region_for_reading_gives_nothing_back_and_knows_it)
{
    struct region *region =
        make(&(brood_region_options){.size_max = 128 * MIB, .readonly_elsewhere = true}, 0);
    uint64_t before = resident(region->fd);
    char *memory = brood__region_alloc(region, 66 * MIB);
    uint64_t offset;
    unsigned ready;

    CHECK(memory != NULL);
    offset = (uint64_t)(memory - region->base);
    ready = pages_at(region, offset);
    memset(memory, 1, 66 * MIB);
    CHECK(brood__region_release(region, memory));
    CHECK(resident(region->fd) >= before + 66 * MIB);
    CHECK_EQ(pages_at(region, offset), ready);
    CHECK_EQ(pages_at(region, offset + 66 * MIB - 1), ready);
    memory = brood__region_alloc(region, 66 * MIB);
    CHECK(memory != NULL);
    CHECK(is_zero(memory, 66 * MIB));
    brood__region_drop(region);
}

/* ---- what fails ---- */

static void make_and_use(void *context)
{
    struct region *region = NULL;
    int r = brood__region_make(&region, REGION_PLAIN, &small, 3000);

    (void)context;
    if (r < 0) {
        CHECK(r == -ENOMEM || r == -EMFILE || r == -EIO || r == -ENOSYS);
        CHECK(region == NULL);
        return;
    }
    for (unsigned i = 0; i < 20; i++) {
        char *memory = brood__region_alloc(region, 20 * KIB);

        if (memory == NULL)
            continue;
        CHECK(is_zero(memory, 20 * KIB));
        memset(memory, 1, 20 * KIB);
        if (i % 3 != 0)
            CHECK(brood__region_release(region, memory));
    }
    brood__region_drop(region);
}

TEST_LIMIT(whatever_call_fails_a_region_leaves_nothing_behind, 120)
{
    sweep_faults(make_and_use, NULL, NULL);
}

static void open_and_drop(void *context)
{
    const struct opening *opening = context;
    struct region *region = NULL;
    int fd = brood__fd_duplicate(opening->fd);
    int r;

    if (fd < 0)
        return;
    r = brood__region_adopt(&region, fd);
    if (r < 0) {
        CHECK(r == -ENOMEM || r == -EIO);
        return;
    }
    brood__region_drop(region);
}

TEST_LIMIT(whatever_call_fails_opening_leaves_nothing_behind, 120)
{
    struct region *region = make(&small, 0);
    struct opening opening = {.fd = CHECK_OK(brood__fd_duplicate(region->fd))};

    brood__region_drop(region);
    sweep_faults(open_and_drop, &opening, NULL);
    brood__fd_close(opening.fd);
}
