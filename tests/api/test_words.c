/* SPDX-License-Identifier: MIT */
/* Lines are taken apart as a shell does it, and what is put into quotes survives a real one. */
#include "api/command_kit.h"

static void check_split(const char *line, const char *const *expected)
{
    char **words = NULL;
    int count = CHECK_OK(brood_split(line, &words));

    for (int i = 0; i < count; i++)
        CHECK_STR(words[i], expected[i]);
    CHECK(expected[count] == NULL && words[count] == NULL);
    free(words);
}

TEST(words_are_what_a_shell_sees)
{
    check_split("grep -n 'two words' file", BROOD_ARGV("grep", "-n", "two words", "file"));
    check_split("  a\t'b'\"c\"d\\ e\n", BROOD_ARGV("a", "bcd e"));
    check_split("'' \"\" x", BROOD_ARGV("", "", "x"));
    check_split("'a\\b' \"a\\b\\\"\\$\\\\\" \\'", BROOD_ARGV("a\\b", "a\\b\"$\\", "'"));
    check_split("a\\\nb \"c\\\nd\" \\\n e", BROOD_ARGV("ab", "cd", "e"));
    check_split("$HOME *.c | x #y", BROOD_ARGV("$HOME", "*.c", "|", "x", "#y"));
    check_split("", (const char *const[]){NULL});
    check_split(" \\\n\t", (const char *const[]){NULL});
}

TEST(what_is_open_at_the_end_is_an_error)
{
    char **words = NULL;
    char *word = NULL;

    CHECK_ERR(brood_split("a 'b", &words), -EINVAL);
    CHECK_ERR(brood_split("a \"b", &words), -EINVAL);
    CHECK_ERR(brood_split("a \"b\\\"", &words), -EINVAL);
    CHECK_ERR(brood_split("a b\\", &words), -EINVAL);
    CHECK_ERR(brood_split(NULL, &words), -EINVAL);
    CHECK_ERR(brood_split("a", NULL), -EINVAL);
    CHECK(words == NULL);
    CHECK_ERR(brood_quote(NULL, &word), -EINVAL);
    CHECK_ERR(brood_quote("a", NULL), -EINVAL);
}

static void check_quote(const char *text, const char *expected)
{
    char *word = NULL;

    CHECK_OK(brood_quote(text, &word));
    CHECK_STR(word, expected);
    free(word);
}

TEST(only_what_needs_quotes_gets_them)
{
    check_quote("plain-1.0_x/y@z:%+,", "plain-1.0_x/y@z:%+,");
    check_quote("", "''");
    check_quote("two words", "'two words'");
    check_quote("it's", "'it'\\''s'");
    check_quote("$(rm -r /)", "'$(rm -r /)'");
    check_quote("~", "'~'");
    check_quote("a=b", "'a=b'");
}

/* Bytes that a word may hold: any but NUL, with more of those that mean something. */
static void make_word(char *text, size_t size)
{
    static const char special[] = " '\"\\$`\n\t*?[]{}()<>|&;#~!=%-";
    size_t len = test_random_below(size);

    for (size_t i = 0; i < len; i++)
        text[i] = test_random_below(2) == 0 ? (char)(1 + test_random_below(255))
                                            : special[test_random_below(sizeof special - 1)];
    text[len] = '\0';
}

TEST(quoted_words_survive_a_shell_and_a_split)
{
    for (unsigned i = 0; i < 100; i++) {
        char text[200], *word = NULL, *line = NULL, *said = NULL, **words = NULL;
        size_t len = 0;

        make_word(text, sizeof text);
        CHECK_OK(brood_quote(text, &word));
        CHECK_EQ(brood_split(word, &words), 1);
        CHECK_STR(words[0], text);
        CHECK(asprintf(&line, "printf %%s %s", word) > 0);
        CHECK_EQ(brood_check_output(BROOD_SHELL(line), NULL, &said, &len), 0);
        CHECK_EQ(len, strlen(text));
        CHECK_STR(said, text);
        free(words);
        free(said);
        free(line);
        free(word);
    }
}

/* The shell is the judge: where it takes a line without errors, its words are ours. */
TEST(random_lines_are_split_as_the_shell_splits_them)
{
    /* No newline: outside of quotes it would end the shell's command. */
    static const char pieces[] = "ab  ''\"\"\\\t";

    for (unsigned i = 0; i < 100; i++) {
        char line[24], script[100], expected[256] = "", *said = NULL, **words = NULL;
        size_t len = test_random_below(sizeof line);
        int count;

        for (size_t j = 0; j < len; j++)
            line[j] = pieces[test_random_below(sizeof pieces - 1)];
        line[len] = '\0';
        count = brood_split(line, &words);
        if (count < 0)
            continue;
        for (int j = 0; j < count; j++)
            (void)snprintf(expected + strlen(expected), sizeof expected - strlen(expected), "<%s>",
                           words[j]);
        (void)snprintf(script, sizeof script, "set -- %s\nfor w; do printf '<%%s>' \"$w\"; done",
                       line);
        CHECK_EQ(brood_check_output(BROOD_SHELL(script), NULL, &said, NULL), 0);
        CHECK_STR(said, expected);
        free(said);
        free(words);
    }
}
