#include "config/control/socket.h"

#include "tests/lib/test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_MS 5000
#define LARGE (8u << 20)

/* The server, its loop, and the calls that wait; clients are plain sockets of this thread. */
static char dir[64], path[128];
static uv_loop_t loop;
static struct cmd_set cmds;
static struct control *control;
static struct cmd_call *waiting[CONTROL_CLIENTS];
static unsigned n_waiting;

static void run_echo(struct cmd_call *call)
{
    cmd_reply(call, json_incref((json_t *)(uintptr_t)call->args));
}

static void run_later(struct cmd_call *call)
{
    waiting[n_waiting++] = call;
}

static void run_large(struct cmd_call *call)
{
    char *text = malloc(LARGE);

    memset(text, 'x', LARGE);
    cmd_reply(call, json_stringn(text, LARGE));
    free(text);
}

static void run_fail(struct cmd_call *call)
{
    cmd_fail(call, "not like this", "like that");
}

static void run_latin1(struct cmd_call *call)
{
    cmd_reply(call, json_stringn_nocheck("caf\xe9", 4));
}

static const struct cmd rows[] = {
    { "echo", "answers its arguments", run_echo, NULL },
    { "later", "answers when the test does", run_later, NULL },
    { "large", "answers more than a socket holds", run_large, NULL },
    { "fail", "does not do it", run_fail, NULL },
    { "latin1", "answers what JSON cannot say", run_latin1, NULL },
};

static struct control *try_open(struct cfg_err *err)
{
    struct control_conf conf = { .socket = path, .mode = 0600 };

    *err = (struct cfg_err){ "" };
    return control_open(&loop, &conf, &cmds, err);
}

static int start(void **state)
{
    struct cfg_err err;

    strcpy(dir, "/tmp/isthmus-control-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/run/control.sock", dir);
    uv_loop_init(&loop);
    n_waiting = 0;
    cmds.n = 0;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
        assert_true(cmd_add(&cmds, &rows[i]));
    assert_false(cmd_add(&cmds, &rows[0]));
    control = try_open(&err);
    if (control == NULL)
        fail_msg("%s", err.text);
    return 0;
}

static void close_all(void)
{
    control_close(control);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0); /* every handle has gone */
}

static int stop(void **state)
{
    char run[128];

    close_all();
    assert_int_equal(access(path, F_OK), -1);
    snprintf(run, sizeof(run), "%s/run", dir);
    rmdir(run);
    assert_int_equal(rmdir(dir), 0);
    return 0;
}

/* --- a client -------------------------------------------------------------------------------- */

static int dial(void)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    strcpy(at.sun_path, path);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static uint64_t now_ms(void)
{
    return uv_hrtime() / 1000000;
}

static void turn(void)
{
    uv_run(&loop, UV_RUN_NOWAIT);
    usleep(200); /* between two looks: every wait is for a condition */
}

static void say_bytes(int fd, const char *text, size_t len)
{
    uint64_t until = now_ms() + PATIENCE_MS;

    while (len > 0 && now_ms() < until) {
        ssize_t n = send(fd, text, len, MSG_NOSIGNAL);

        if (n > 0) {
            text += n;
            len -= (size_t)n;
        }
        turn();
    }
    assert_int_equal(len, 0);
}

static void say(int fd, const char *text)
{
    say_bytes(fd, text, strlen(text));
}

/* One byte, 0 at the end of the stream, or fails: nothing came in time. */
static int next_byte(int fd, char *c)
{
    uint64_t until = now_ms() + PATIENCE_MS;

    while (now_ms() < until) {
        ssize_t n = recv(fd, c, 1, 0);

        if (n >= 0 || errno == ECONNRESET)
            return n == 1;
        turn();
    }
    fail_msg("no answer");
    return 0;
}

static json_t *hear(int fd)
{
    static char line[65536];
    size_t len = 0;
    json_t *answer;
    char c;

    while (next_byte(fd, &c) == 1 && c != '\n' && len < sizeof(line))
        line[len++] = c;
    answer = json_loadb(line, len, 0, NULL);
    assert_true(json_is_object(answer));
    return answer;
}

static void hear_end(int fd)
{
    char c;

    assert_int_equal(next_byte(fd, &c), 0);
    close(fd);
}

static void hear_ok(int fd, const char *expected)
{
    json_t *answer = hear(fd), *result = json_loads(expected, JSON_DECODE_ANY, NULL);

    assert_true(json_is_true(json_object_get(answer, "ok")));
    assert_true(json_equal(json_object_get(answer, "result"), result));
    json_decref(answer);
    json_decref(result);
}

static void hear_error(int fd, const char *part)
{
    json_t *answer = hear(fd);
    const char *error = json_string_value(json_object_get(answer, "error"));

    assert_true(json_is_false(json_object_get(answer, "ok")));
    assert_non_null(error);
    assert_true(json_string_length(json_object_get(answer, "hint")) > 0);
    if (strstr(error, part) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", part, error);
    json_decref(answer);
}

static void until_waiting(unsigned n)
{
    uint64_t until = now_ms() + PATIENCE_MS;

    while (n_waiting < n && now_ms() < until)
        turn();
    assert_int_equal(n_waiting, n);
}

static void until_equal(const uint64_t *counter, uint64_t value)
{
    uint64_t until = now_ms() + PATIENCE_MS;

    while (*counter != value && now_ms() < until)
        turn();
    assert_int_equal(*counter, value);
}

/* --- one question ---------------------------------------------------------------------------- */

static void a_question_is_answered(void **state)
{
    int fd = dial();

    say(fd, "{\"cmd\": \"echo\", \"args\": {\"a\": [1, \"\\u00e9\"]}}\n");
    hear_ok(fd, "{\"a\": [1, \"\\u00e9\"]}");
    say(fd, "{\"cmd\": \"echo\"}\r\n\n\n");
    hear_ok(fd, "{}");
    close(fd);
}

static void a_command_says_no_with_a_hint(void **state)
{
    int fd = dial();

    say(fd, "{\"cmd\": \"fail\"}\n");
    hear_error(fd, "not like this");
    assert_int_equal(control_counters(control)->dialog.failed, 1);
    close(fd);
}

static void what_is_no_request_is_refused_and_the_dialog_goes_on(void **state)
{
    static const struct {
        const char *line, *error;
    } wrong[] = {
        { "{\"cmd\": \"nonsense\"}", "no command \"nonsense\"" },
        { "hello", "not JSON" },
        { "{\"cmd\": \"echo\"", "not JSON" },
        { "[]", "not a request" },
        { "{}", "not a request" },
        { "{\"cmd\": 5}", "not a request" },
        { "{\"cmd\": \"echo\", \"args\": []}", "not a request" },
        { "{\"cmd\": \"echo\", \"more\": 1}", "not a request" },
        { "{\"cmd\": \"echo\", \"cmd\": \"fail\"}", "not JSON" },
        { "\xff\xfe", "not JSON" },
    };
    int fd = dial();

    for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
        say(fd, wrong[i].line);
        say(fd, "\n");
        hear_error(fd, wrong[i].error);
    }
    say(fd, "{\"cmd\": \"echo\"}\n");
    hear_ok(fd, "{}");
    close(fd);
}

static void an_error_that_cuts_a_character_is_still_told(void **state)
{
    int fd = dial();

    say(fd, "{\"cmd\": \"x");
    for (unsigned i = 0; i < 40; i++)
        say(fd, "\u00e9");
    say(fd, "\"}\n");
    hear_error(fd, "no command \"x");
    say(fd, "{\"cmd\": \"latin1\"}\n");
    hear_error(fd, "put into words");
    close(fd);
}

static void a_line_too_long_ends_the_dialog(void **state)
{
    static char line[DIALOG_LINE_MAX];
    int fd = dial();

    memset(line, ' ', sizeof(line));
    memcpy(line, "{\"cmd\": \"echo\"}", 15);
    line[sizeof(line) - 1] = '\n';
    say_bytes(fd, line, sizeof(line)); /* just short enough */
    hear_ok(fd, "{}");
    line[sizeof(line) - 1] = ' ';
    say_bytes(fd, line, sizeof(line));
    hear_error(fd, "too long");
    hear_end(fd);
    assert_int_equal(control_counters(control)->dialog.too_long, 1);
}

/* --- several --------------------------------------------------------------------------------- */

static void several_lines_at_once_are_answered_in_order(void **state)
{
    int fd = dial();

    say(fd, "{\"cmd\":\"echo\",\"args\":{\"n\":1}}\n{\"cmd\":\"fail\"}\n"
            "{\"cmd\":\"echo\",\"args\":{\"n\":3}}\n");
    hear_ok(fd, "{\"n\": 1}");
    hear_error(fd, "not like this");
    hear_ok(fd, "{\"n\": 3}");
    close(fd);
}

static void bytes_may_come_one_by_one(void **state)
{
    const char *line = "{\"cmd\":\"echo\",\"args\":{\"n\":1}}\n";
    int fd = dial();

    for (; *line != '\0'; line++) {
        say_bytes(fd, line, 1);
        turn();
    }
    hear_ok(fd, "{\"n\": 1}");
    close(fd);
}

static void the_last_question_before_the_end_is_answered(void **state)
{
    int fd = dial();

    say(fd, "{\"cmd\":\"echo\"}\n{\"cmd\":\"echo\",\"args\":{\"n\":2}}\nrest");
    shutdown(fd, SHUT_WR);
    hear_ok(fd, "{}");
    hear_ok(fd, "{\"n\": 2}");
    hear_end(fd);
}

static void an_answer_may_come_later_and_others_do_not_wait(void **state)
{
    int slow = dial(), quick = dial();

    say(slow, "{\"cmd\":\"later\",\"args\":{\"n\":1}}\n{\"cmd\":\"echo\"}\n");
    until_waiting(1);
    say(quick, "{\"cmd\":\"echo\",\"args\":{\"n\":2}}\n");
    hear_ok(quick, "{\"n\": 2}");
    cmd_reply(waiting[0], json_string("done"));
    hear_ok(slow, "\"done\"");
    hear_ok(slow, "{}");
    close(slow);
    close(quick);
}

static void a_client_may_vanish_while_its_call_waits(void **state)
{
    int fd = dial();

    say(fd, "{\"cmd\":\"later\"}\n");
    until_waiting(1);
    close(fd);
    for (unsigned i = 0; i < 10; i++)
        turn();
    cmd_reply(waiting[0], json_string("to nobody"));
    fd = dial();
    say(fd, "{\"cmd\":\"echo\"}\n");
    hear_ok(fd, "{}");
    close(fd);
}

static void a_call_may_be_answered_after_the_socket_has_gone(void **state)
{
    int fd = dial();

    say(fd, "{\"cmd\":\"later\",\"args\":{\"n\":1}}\n");
    until_waiting(1);
    close_all();
    assert_int_equal(json_integer_value(json_object_get(waiting[0]->args, "n")), 1);
    cmd_fail(waiting[0], "the daemon stops", "");
    close(fd);
    uv_loop_init(&loop);
    control = NULL; /* stop() has nothing to close */
}

static void a_command_that_takes_too_long_is_told_and_its_answer_dropped(void **state)
{
    int fd;

    control_set_times(control, &(struct control_times){ 60000, 20, 60000 });
    fd = dial();
    say(fd, "{\"cmd\":\"later\"}\n");
    hear_error(fd, "too long");
    until_equal(&control_counters(control)->timed_out, 1);
    cmd_reply(waiting[0], json_string("too late"));
    say(fd, "{\"cmd\":\"echo\"}\n");
    hear_ok(fd, "{}");
    close(fd);
}

/* --- who takes too much ---------------------------------------------------------------------- */

static void who_does_not_read_is_let_go(void **state)
{
    int fd;

    control_set_times(control, &(struct control_times){ 60000, 60000, 50 });
    fd = dial();
    say(fd, "{\"cmd\":\"large\"}\n");
    until_equal(&control_counters(control)->slow, 1);
    close(fd);
}

static void who_is_silent_is_let_go(void **state)
{
    int fd;

    control_set_times(control, &(struct control_times){ 50, 60000, 60000 });
    fd = dial();
    hear_end(fd);
    assert_int_equal(control_counters(control)->slow, 1);
}

static void one_client_too_many_is_told_so(void **state)
{
    int fds[CONTROL_CLIENTS], late;

    for (unsigned i = 0; i < CONTROL_CLIENTS; i++) {
        fds[i] = dial();
        turn();
    }
    late = dial();
    hear_error(late, "too many clients");
    hear_end(late);
    assert_int_equal(control_counters(control)->refused_full, 1);
    for (unsigned i = 0; i < CONTROL_CLIENTS; i++) {
        say(fds[i], "{\"cmd\":\"echo\"}\n");
        hear_ok(fds[i], "{}");
        close(fds[i]);
    }
    for (unsigned i = 0; i < 10; i++)
        turn();
    late = dial();
    say(late, "{\"cmd\":\"echo\"}\n");
    hear_ok(late, "{}");
    close(late);
}

static void another_user_is_refused_whatever_the_mode_of_the_file(void **state)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    char answer[256] = "", run[128];
    int status, fd;
    pid_t child;

    if (geteuid() != 0)
        skip();
    snprintf(run, sizeof(run), "%s/run", dir);
    chmod(dir, 0755);
    chmod(run, 0755);
    chmod(path, 0666);
    strcpy(at.sun_path, path);
    child = fork();
    if (child == 0) {
        if (setuid(65534) != 0)
            _exit(2);
        fd = socket(AF_UNIX, SOCK_STREAM, 0);
        if (connect(fd, (struct sockaddr *)&at, sizeof(at)) != 0 ||
            recv(fd, answer, sizeof(answer) - 1, 0) <= 0)
            _exit(3);
        _exit(strstr(answer, "this user may not ask") != NULL ? 0 : 4);
    }
    until_equal(&control_counters(control)->refused_uid, 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* --- the file -------------------------------------------------------------------------------- */

static void the_file_has_the_mode_that_was_asked_for(void **state)
{
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void a_second_daemon_does_not_take_the_socket_away(void **state)
{
    struct cfg_err err;
    int fd;

    assert_null(try_open(&err));
    assert_non_null(strstr(err.text, "another daemon listens there"));
    fd = dial();
    say(fd, "{\"cmd\":\"echo\"}\n");
    hear_ok(fd, "{}");
    close(fd);
}

static void a_socket_left_by_a_crash_is_replaced(void **state)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    struct cfg_err err;

    control_close(control);
    uv_run(&loop, UV_RUN_DEFAULT);
    strcpy(at.sun_path, path);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    close(fd);
    assert_int_equal(access(path, F_OK), 0);
    control = try_open(&err);
    assert_non_null(control);
    a_question_is_answered(state);
}

static void a_file_that_is_no_socket_is_left_alone(void **state)
{
    struct cfg_err err;
    FILE *f;

    control_close(control);
    uv_run(&loop, UV_RUN_DEFAULT);
    f = fopen(path, "w");
    assert_non_null(f);
    fclose(f);
    control = try_open(&err);
    assert_null(control);
    assert_non_null(strstr(err.text, "is not a socket"));
    assert_int_equal(unlink(path), 0);
}

static void a_path_that_is_too_long_is_refused(void **state)
{
    char saved[sizeof(path)];
    struct cfg_err err;

    memcpy(saved, path, sizeof(path));
    memset(path, 'x', sizeof(path) - 1);
    assert_null(try_open(&err));
    assert_true(err.text[0] != '\0');
    memcpy(path, saved, sizeof(path));
}

/* One missing directory is made; of two, the error is not called a lack of permission. */
static void a_missing_directory_is_called_missing(void **state)
{
    char saved[sizeof(path)];
    struct cfg_err err;

    memcpy(saved, path, sizeof(path));
    memcpy(path, "/no/such/directory", sizeof("/no/such/directory"));
    assert_null(try_open(&err));
    assert_non_null(strstr(err.text, "No such file or directory"));
    memcpy(path, saved, sizeof(path));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_question_is_answered),
        TEST(a_command_says_no_with_a_hint),
        TEST(what_is_no_request_is_refused_and_the_dialog_goes_on),
        TEST(an_error_that_cuts_a_character_is_still_told),
        TEST(a_line_too_long_ends_the_dialog),
        TEST(several_lines_at_once_are_answered_in_order),
        TEST(bytes_may_come_one_by_one),
        TEST(the_last_question_before_the_end_is_answered),
        TEST(an_answer_may_come_later_and_others_do_not_wait),
        TEST(a_client_may_vanish_while_its_call_waits),
        TEST(a_call_may_be_answered_after_the_socket_has_gone),
        TEST(a_command_that_takes_too_long_is_told_and_its_answer_dropped),
        TEST(who_does_not_read_is_let_go),
        TEST(who_is_silent_is_let_go),
        TEST(one_client_too_many_is_told_so),
        TEST(another_user_is_refused_whatever_the_mode_of_the_file),
        TEST(the_file_has_the_mode_that_was_asked_for),
        TEST(a_second_daemon_does_not_take_the_socket_away),
        TEST(a_socket_left_by_a_crash_is_replaced),
        TEST(a_file_that_is_no_socket_is_left_alone),
        TEST(a_path_that_is_too_long_is_refused),
        TEST(a_missing_directory_is_called_missing),
    };

    signal(SIGPIPE, SIG_IGN); /* as the daemon does */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
