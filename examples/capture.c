/* SPDX-License-Identifier: MIT */
/* What a program writes: only the end of much, each line as it comes, and what came before a time
 * limit, which ends also a grandchild that has left for a session of its own. */
#include <brood/easy.h>
#include <signal.h>

static int number_line(void *arg, int fd, const char *line, size_t len)
{
    int *count = arg;

    printf("line %d, from %s: %.*s", ++*count, fd == 1 ? "stdout" : "stderr", (int)len, line);
    return 0; /* anything else would stop the command */
}

int main(void)
{
    BROOD_AUTO(command) *many = NULL;
    BROOD_AUTO(command) *stuck = NULL;
    int count = 0, r;

    BROOD_MUST(brood_run(&many, BROOD_ARGV("seq", "1000000"),
                         &(brood_command_options){
                             .out = {.kind = BROOD_CAPTURE, .keep = BROOD_KEEP_TAIL, .max = 15}}));
    brood_bytes out = brood_command_out(many);
    printf("%llu bytes and then\n%s", (unsigned long long)out.lost, out.data);

    const brood_stream lines = {.kind = BROOD_CAPTURE,
                                .lines = true,
                                .on_data = number_line,
                                .arg = &count,
                                .max = BROOD_KEEP_NOTHING};
    r = BROOD_MUST(brood_call(BROOD_SHELL("echo one; sleep 0.1; echo two >&2; exit 3"),
                              &(brood_command_options){.out = lines, .err = lines}, NULL));
    printf("exit status %d\n", r);

    r = brood_run(&stuck, BROOD_SHELL("setsid sleep 1000 & echo $!; wait"),
                  &(brood_command_options){.timeout_ms = 500});
    pid_t grandchild = (pid_t)strtol(brood_command_out(stuck).data, NULL, 10);
    printf("%s; the grandchild is %s\n", brood_strerror(r),
           grandchild > 0 && kill(grandchild, 0) == 0 ? "alive" : "gone");
    return r != BROOD_EDEADLINE;
}
