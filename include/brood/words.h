/* SPDX-License-Identifier: MIT */
/*
 * brood/words.h - the words of a command line, and one word for a shell.
 *
 *     char **argv = NULL;
 *     int r = brood_split("grep -n 'two words' file", &argv);    4 words
 *     r = brood_call((const char *const *)argv, NULL, NULL);
 *     free(argv);
 */
#ifndef BROOD_WORDS_H
#define BROOD_WORDS_H

#include <brood/base.h>

BROOD_BEGIN_DECLS

/*
 * brood_split() - the words of LINE, as a POSIX shell would see them: blanks, '...', "...", \.
 *
 * Nothing is expanded or special: no variables, globs, operators or comments. Sets *OUT_ARGV to an
 * array that ends with NULL, one block for free(3). Returns how many words there are, 0 for an
 * empty line; or -EINVAL: an open quote or a backslash at the end; -ENOMEM.
 */
BROOD_API BROOD_MUST_CHECK int brood_split(const char *line, char ***out_argv);
/* TEXT as one word for a POSIX shell, unchanged if it needs no quotes: *OUT_WORD is for free(3).
 * Returns 0, -EINVAL, -ENOMEM. */
BROOD_API BROOD_MUST_CHECK int brood_quote(const char *text, char **out_word);

BROOD_END_DECLS

#endif
