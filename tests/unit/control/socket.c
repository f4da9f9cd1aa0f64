#include "config/control/socket.h"
#include "tests/lib/test.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static struct {
    char dir[64], path[96];
    uv_loop_t loop;
    struct control_socket *control;
    struct control_conf conf;
    struct cmd_set set;
    struct cmd_call *waiting;
} w;

static void ping(struct cmd_call *call)
{
    cmd_reply(call, json_string("pong"));
}

static void later(struct cmd_call *call)
{
    w.waiting = call;
}

static void large(struct cmd_call *call)
{
    char *text = malloc(4 << 20);

    memset(text, 'x', 4 << 20);
    cmd_reply(call, json_stringn(text, 4 << 20));
    free(text);
}

static int setup(void **state)
{
    struct cfg_err err = { "" };

    memset(&w, 0, sizeof(w));
    signal(SIGPIPE, SIG_IGN);
    snprintf(w.dir, sizeof(w.dir), "/tmp/isthmus-control-XXXXXX");
    assert_non_null(mkdtemp(w.dir));
    snprintf(w.path, sizeof(w.path), "%s/run/control.sock", w.dir);
    w.conf = (struct control_conf){ .socket = w.path, .mode = 0666 };
    cmd_add(&w.set, &(struct cmd){ "ping", "", ping, NULL });
    cmd_add(&w.set, &(struct cmd){ "later", "", later, NULL });
    cmd_add(&w.set, &(struct cmd){ "large", "", large, NULL });
    uv_loop_init(&w.loop);
    w.control = control_open(&w.loop, &w.conf, &w.set, &err);
    assert_string_equal(err.text, "");
    return 0;
}

static void spin(unsigned ms)
{
    uint64_t end = uv_hrtime() + ms * UINT64_C(1000000);

    do {
        uv_run(&w.loop, UV_RUN_NOWAIT);
        usleep(200);
    } while (uv_hrtime() < end);
}

/* Turns the loop until @what holds: a busy machine may take its time. */
#define until(what)                                                                                \
    do {                                                                                           \
        for (unsigned i_ = 0; i_ < 10000 && !(what); i_++)                                         \
            spin(1);                                                                               \
        assert_true(what);                                                                         \
    } while (0)

static int teardown(void **state)
{
    char command[160];

    control_close(w.control);
    uv_run(&w.loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&w.loop), 0); /* no handle was left */
    assert_int_equal(access(w.path, F_OK), -1);
    snprintf(command, sizeof(command), "rm -rf %s", w.dir);
    return system(command);
}

static int dial(void)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

    strcpy(at.sun_path, w.path);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    return fd;
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* What comes within some seconds: a line, or "" at the end of the stream. */
static const char *hear(int fd)
{
    static char line[8192];
    size_t n = 0;

    for (unsigned i = 0; i < 50000; i++) {
        ssize_t got;

        uv_run(&w.loop, UV_RUN_NOWAIT);
        got = recv(fd, line + n, 1, 0);
        if (got == 0)
            return "";
        if (got < 0) {
            if (errno != EAGAIN)
                return strerror(errno);
            usleep(200);
            continue;
        }
        if (line[n++] == '\n') {
            line[n] = '\0';
            return line;
        }
    }
    return "nothing";
}

static void asks_and_is_answered(void **state)
{
    int a = dial(), b = dial();

    say(a, "{\"cmd\":\"ping\"}\n{\"cmd\":\"ping\"}\n");
    say(b, "{\"cmd\":\"ping\"}\n");
    assert_string_equal(hear(a), "{\"ok\":true,\"result\":\"pong\"}\n");
    assert_string_equal(hear(b), "{\"ok\":true,\"result\":\"pong\"}\n");
    assert_string_equal(hear(a), "{\"ok\":true,\"result\":\"pong\"}\n");
    shutdown(a, SHUT_WR);
    assert_string_equal(hear(a), "");
    close(a);
    close(b);
    spin(5);
    assert_int_equal(control_counters(w.control)->clients, 2);
    assert_int_equal(control_counters(w.control)->dialog.commands, 3);
}

static void a_half_closed_client_hears_its_answer(void **state)
{
    int fd = dial();

    say(fd, "{\"cmd\":\"later\"}\n");
    shutdown(fd, SHUT_WR);
    until(w.waiting != NULL);
    cmd_reply(w.waiting, json_integer(1));
    assert_string_equal(hear(fd), "{\"ok\":true,\"result\":1}\n");
    assert_string_equal(hear(fd), "");
    close(fd);
}

static void a_client_may_go_before_the_answer(void **state)
{
    int fd = dial();

    say(fd, "{\"cmd\":\"later\"}\n");
    until(w.waiting != NULL);
    close(fd);
    spin(5);
    cmd_reply(w.waiting, json_integer(1)); /* nobody reads it: the write fails */
    spin(5);
    fd = dial();
    say(fd, "{\"cmd\":\"ping\"}\n");
    assert_string_equal(hear(fd), "{\"ok\":true,\"result\":\"pong\"}\n");
    close(fd);
}

static void the_daemon_may_close_before_the_answer(void **state)
{
    int fd = dial();

    say(fd, "{\"cmd\":\"later\"}\n");
    until(w.waiting != NULL);
    control_close(w.control);
    spin(5);
    cmd_fail(w.waiting, "too late", "");
    assert_string_equal(hear(fd), "");
    close(fd);
    w.control = NULL;
}

static void an_unanswered_command_is_answered_for(void **state)
{
    int fd = dial();

    control_set_times(w.control, &(struct control_times){ 1000, 20, 1000 });
    say(fd, "{\"cmd\":\"later\"}\n");
    assert_non_null(strstr(hear(fd), "takes too long"));
    assert_int_equal(control_counters(w.control)->timed_out, 1);
    say(fd, "{\"cmd\":\"ping\"}\n");
    assert_string_equal(hear(fd), "{\"ok\":true,\"result\":\"pong\"}\n");
    cmd_reply(w.waiting, json_integer(1));
    close(fd);
}

static void silent_clients_and_those_that_do_not_read_are_let_go(void **state)
{
    int silent, deaf;

    control_set_times(w.control, &(struct control_times){ 20, 1000, 20 });
    silent = dial();
    deaf = dial();
    say(deaf, "{\"cmd\":\"large\"}\n{\"cmd\":\"large\"}\n");
    until(control_counters(w.control)->slow == 2);
    assert_int_equal(control_counters(w.control)->dialog.commands, 1);
    assert_string_equal(hear(silent), "");
    close(silent);
    close(deaf);
}

static void a_large_answer_arrives_whole(void **state)
{
    size_t n = 0, expected = (4 << 20) + strlen("{\"ok\":true,\"result\":\"\"}\n");
    static char bytes[65536];
    int fd = dial();

    say(fd, "{\"cmd\":\"large\"}\n");
    for (unsigned i = 0; i < 10000 && n < expected; i++) {
        ssize_t got;

        uv_run(&w.loop, UV_RUN_NOWAIT);
        got = recv(fd, bytes, sizeof(bytes), 0);
        if (got > 0)
            n += (size_t)got;
        else
            usleep(100);
    }
    assert_int_equal(n, expected);
    close(fd);
}

static void only_so_many_clients(void **state)
{
    int fds[CONTROL_CLIENTS + 1];

    for (unsigned i = 0; i <= CONTROL_CLIENTS; i++)
        fds[i] = dial();
    assert_non_null(strstr(hear(fds[CONTROL_CLIENTS]), "too many clients"));
    assert_string_equal(hear(fds[CONTROL_CLIENTS]), "");
    assert_int_equal(control_counters(w.control)->refused_full, 1);
    close(fds[CONTROL_CLIENTS]);
    say(fds[0], "{\"cmd\":\"ping\"}\n");
    assert_string_equal(hear(fds[0]), "{\"ok\":true,\"result\":\"pong\"}\n");
    shutdown(fds[0], SHUT_WR);
    assert_string_equal(hear(fds[0]), "");
    close(fds[0]);
    spin(1); /* its place is free */
    fds[0] = dial();
    say(fds[0], "{\"cmd\":\"ping\"}\n");
    assert_string_equal(hear(fds[0]), "{\"ok\":true,\"result\":\"pong\"}\n");
    for (unsigned i = 0; i < CONTROL_CLIENTS; i++)
        close(fds[i]);
}

static void a_line_too_long_is_refused(void **state)
{
    static char bytes[DIALOG_LINE_MAX];
    int fd = dial();

    memset(bytes, 'x', sizeof(bytes));
    for (size_t at = 0; at < sizeof(bytes);) {
        ssize_t n = send(fd, bytes + at, sizeof(bytes) - at, MSG_NOSIGNAL);

        spin(1);
        at += n > 0 ? (size_t)n : 0;
    }
    assert_non_null(strstr(hear(fd), "too long"));
    assert_string_equal(hear(fd), "");
    close(fd);
}

static void other_users_are_refused(void **state)
{
    int status;
    pid_t pid;

    if (geteuid() != 0)
        skip();
    assert_int_equal(chmod(w.dir, 0755), 0);
    pid = fork();
    if (pid == 0) {
        char line[256] = "";
        struct pollfd p;

        if (setuid(65534) != 0)
            _exit(9);
        p = (struct pollfd){ dial(), POLLIN, 0 };
        if (poll(&p, 1, 2000) != 1 || recv(p.fd, line, sizeof(line) - 1, 0) <= 0)
            _exit(8);
        _exit(strstr(line, "this user may not ask") != NULL ? 0 : 7);
    }
    while (waitpid(pid, &status, WNOHANG) == 0)
        spin(2);
    assert_int_equal(status, 0);
    assert_int_equal(control_counters(w.control)->refused_uid, 1);
    assert_int_equal(control_counters(w.control)->clients, 0);
}

static void the_file_has_its_mode(void **state)
{
    struct stat st;

    assert_int_equal(stat(w.path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0666);
}

static void refused(const struct control_conf *conf, const char *words)
{
    struct cfg_err err = { "" };

    assert_null(control_open(&w.loop, conf, &w.set, &err));
    if (strstr(err.text, words) == NULL)
        fail_msg("%s", err.text);
    spin(2);
}

static void a_leftover_is_replaced_and_a_living_daemon_is_not(void **state)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    struct control_conf conf = { .socket = at.sun_path, .mode = 0600 };
    struct cfg_err err = { "" };
    struct control_socket *second;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    refused(&w.conf, "another daemon listens there");
    assert_int_equal(access(w.path, F_OK), 0);

    snprintf(at.sun_path, sizeof(at.sun_path), "%s/left", w.dir);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    close(fd); /* the file stays, as after a crash */
    second = control_open(&w.loop, &conf, &w.set, &err);
    assert_string_equal(err.text, "");
    control_close(second);
    spin(2);
    assert_int_equal(access(at.sun_path, F_OK), -1);

    fd = open(at.sun_path, O_CREAT | O_WRONLY, 0600);
    close(fd);
    refused(&conf, "exists, and is not a socket");
    assert_int_equal(access(at.sun_path, F_OK), 0);
    unlink(at.sun_path);

    snprintf(at.sun_path, sizeof(at.sun_path), "%s/no/such/dir", w.dir);
    refused(&conf, "No such file");
}

static void a_path_too_long_for_a_socket_is_refused(void **state)
{
    char path[200];

    memset(path, 'a', sizeof(path));
    path[0] = '/';
    path[sizeof(path) - 1] = '\0';
    refused(&(struct control_conf){ .socket = path }, "too long");
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(asks_and_is_answered),
        CASE(a_half_closed_client_hears_its_answer),
        CASE(a_client_may_go_before_the_answer),
        CASE(the_daemon_may_close_before_the_answer),
        CASE(an_unanswered_command_is_answered_for),
        CASE(silent_clients_and_those_that_do_not_read_are_let_go),
        CASE(a_large_answer_arrives_whole),
        CASE(only_so_many_clients),
        CASE(a_line_too_long_is_refused),
        CASE(other_users_are_refused),
        CASE(the_file_has_its_mode),
        CASE(a_leftover_is_replaced_and_a_living_daemon_is_not),
        CASE(a_path_too_long_for_a_socket_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
