/* SPDX-License-Identifier: MIT */
/*
 * The examples of commands do what the guide says they do; as test_programs.c for the others. Those
 * that ask a name server are given one of ours, a real dnsmasq on the loopback that knows two
 * names, so that no answer depends on a network.
 */
#include "examples/program.h"

#include <brood.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

enum { TRIES = 20 };

/* ---- a name server ---- */

struct server {
    brood_command *command;
    char port[32]; /* for nslookup */
};

/* One that was free a moment ago, for both protocols. */
static int free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof address;
    int datagrams = CHECK_OK(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    int stream = CHECK_OK(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK_OK(bind(datagrams, (struct sockaddr *)&address, sizeof address));
    CHECK_OK(getsockname(datagrams, (struct sockaddr *)&address, &len));
    bool both = bind(stream, (struct sockaddr *)&address, sizeof address) == 0;
    close(datagrams);
    close(stream);
    return both ? ntohs(address.sin_port) : 0;
}

/* Debian has it in a folder that is not in every user's PATH. */
static const char *wider_path(char *buffer, size_t size)
{
    const char *path = getenv("PATH");

    snprintf(buffer, size, "PATH=%s:/usr/sbin:/sbin", path != NULL ? path : "/usr/bin:/bin");
    return buffer;
}

/* Reads what it says until that holds WORDS; false if it ended before. */
static bool says(brood_command *command, const char *words)
{
    int fd = CHECK_OK(brood_command_fd(command, 2));
    char text[4096] = "";

    for (size_t len = 0; strstr(text, words) == NULL;) {
        ssize_t n = read(fd, text + len, sizeof text - 1 - len);
        if (n <= 0)
            return false;
        len += (size_t)n;
        text[len] = '\0';
    }
    return true;
}

/* Whether it runs: somebody else may have taken the port. */
static bool try_server(struct server *server)
{
    char path[8192], port[32];
    const int number = free_port();
    const char *const env[] = {wider_path(path, sizeof path), NULL};
    const brood_command_options options = {
        .in = {.kind = BROOD_NULL}, .err = {.kind = BROOD_PIPE}, .env = env};

    snprintf(port, sizeof port, "--port=%d", number);
    snprintf(server->port, sizeof server->port, "-port=%d", number);
    if (number == 0)
        return false;
    int r = brood_command_start(&server->command,
                                BROOD_ARGV("dnsmasq", "--no-daemon", "--conf-file=/dev/null",
                                           "--no-resolv", "--no-hosts", port,
                                           "--listen-address=127.0.0.1", "--bind-interfaces",
                                           "--cname=www.python.org,python.example",
                                           "--host-record=python.example,192.0.2.7,2001:db8::7",
                                           "--mx-host=python.org,mail.python.org,50"),
                                &options);
    if (r == -ENOENT)
        SKIP("dnsmasq is not installed (Debian's package dnsmasq-base)");
    CHECK_OK(r);
    return says(server->command, "started");
}

static void start_server(struct server *server)
{
    char *path = NULL;

    if (brood_check_output(BROOD_SHELL("command -v nslookup"), NULL, &path, NULL) != 0) {
        free(path);
        SKIP("nslookup is not installed (Debian's package dnsutils)");
    }
    free(path);
    for (int i = 0; i < TRIES; i++) {
        if (try_server(server))
            return;
        brood_command_free(server->command);
        server->command = NULL;
    }
    FAIL("dnsmasq does not start");
}

static void stop_server(struct server *server)
{
    brood_command_free(server->command);
}

/* ---- the examples ---- */

TEST(call_prints_what_nslookup_prints_and_its_exit_code)
{
    static struct run run = {.program = "example-call"};
    struct server server = {.command = NULL};
    char *lines[LINES_MAX], first[128];

    start_server(&server);
    run.argument[0] = "nslookup";
    run.argument[1] = server.port;
    run.argument[2] = "www.python.org";
    run.argument[3] = "127.0.0.1";
    run_program(&run);
    stop_server(&server);
    CHECK_STR(run.error, "");
    size_t count = cut(run.out, lines);
    snprintf(first, sizeof first, "$ nslookup %s www.python.org 127.0.0.1", server.port);
    CHECK_STR(lines[0], first);
    (void)find(lines, count, 1, "Server:.*127\\.0\\.0\\.1");
    (void)find(lines, count, 1, "www\\.python\\.org.*canonical name = python\\.example\\.");
    (void)find(lines, count, 1, "Address: 192\\.0\\.2\\.7");
    CHECK_STR(lines[count - 1], "Exit code: 0");
    CHECK_EQ(run.status, 0);
}

/* Nobody answers to this name; nslookup says so by its exit status. */
TEST(call_gives_the_exit_code_of_a_failure)
{
    static struct run run = {.program = "example-call"};
    struct server server = {.command = NULL};
    char *lines[LINES_MAX];

    start_server(&server);
    run.argument[0] = "nslookup";
    run.argument[1] = server.port;
    run.argument[2] = "nowhere.invalid";
    run.argument[3] = "127.0.0.1";
    run_program(&run);
    stop_server(&server);
    CHECK_STR(lines[cut(run.out, lines) - 1], "Exit code: 1");
    CHECK_EQ(run.status, 1);
}

/* Without a name server that is told to it, only the words of the command are certain. */
TEST(call_alone_runs_the_classic_command)
{
    static struct run run = {.program = "example-call", .variable = "PATH=/nowhere"};

    run_program(&run);
    CHECK_STR(run.out, "$ nslookup www.python.org\n");
    CHECK(strstr(run.error, "No such file or directory") != NULL);
    CHECK_EQ(run.status, 1);
}

TEST(communicate_asks_nslookup_for_the_mail_server)
{
    static struct run run = {.program = "example-communicate"};
    struct server server = {.command = NULL};
    char *lines[LINES_MAX];

    start_server(&server);
    run.argument[0] = "nslookup";
    run.argument[1] = server.port;
    run.argument[2] = "-";
    run.argument[3] = "127.0.0.1";
    run_program(&run);
    stop_server(&server);
    CHECK_STR(run.error, "");
    size_t count = cut(run.out, lines);
    CHECK_STR(lines[0], "$ nslookup");
    (void)find(lines, count, 1, "python\\.org.*mail exchanger = 50 mail\\.python\\.org\\.");
    CHECK_STR(lines[count - 1], "Exit code: 0");
    CHECK_EQ(run.status, 0);
}

TEST(pipeline_tells_the_end_of_each)
{
    static struct run run = {.program = "example-pipeline"};
    char *lines[LINES_MAX];

    run_program(&run);
    CHECK_STR(run.error, "");
    CHECK_EQ(cut(run.out, lines), 6);
    CHECK_STR(lines[0], "7");
    CHECK_STR(lines[1], "17");
    CHECK_STR(lines[2], "27");
    check_line(lines[3], "seq: killed by SIGPIPE after .*");
    check_line(lines[4], "grep: killed by SIGPIPE after .*");
    check_line(lines[5], "head: exited with 0 after .*");
    CHECK_EQ(run.status, 0);
}

TEST(capture_keeps_the_tail_numbers_lines_and_ends_a_grandchild)
{
    static struct run run = {.program = "example-capture"};

    run_program(&run);
    CHECK_STR(run.error, "");
    CHECK_STR(run.out, "6888881 bytes and then\n999999\n1000000\n"
                       "line 1, from stdout: one\nline 2, from stderr: two\nexit status 3\n"
                       "stopped: over its own time limit; the grandchild is gone\n");
    CHECK_EQ(run.status, 0);
}
