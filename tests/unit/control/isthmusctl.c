/* The client program against a socket of ours; its path is $ISTHMUSCTL. */
#include "config/control/socket.h"
#include "tests/lib/test.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static struct {
    char dir[64], path[96];
    uv_loop_t loop;
    uv_async_t stop;
    struct control *control;
    struct control_conf conf;
    struct cmd_set set;
    pthread_t thread;
} w;

static void conns(struct cmd_call *call)
{
    if (cmd_arg_string(call, "filter") != NULL)
        cmd_reply(call, json_array());
    else
        cmd_reply(call, json_pack("[{s:s, s:i, s:s}]", "client", "10.0.0.1:5", "worker", 1, "sni",
                                  "a\033[2J"));
}

static void stats(struct cmd_call *call)
{
    if (cmd_arg_is_true(call, "prometheus"))
        cmd_reply(call, json_string("# TYPE x counter\nx 1\n"));
    else
        cmd_reply(call, json_pack("[{s:s, s:i}]", "name", "x", "value", 1));
}

static void reload(struct cmd_call *call)
{
    cmd_fail(call, "gateway.conf:3: unknown setting \"prot\"", "the running configuration stays");
}

static void check(struct cmd_call *call)
{
    cmd_reply(call, json_pack("s?", cmd_arg_string(call, "file")));
}

static void flight(struct cmd_call *call)
{
    if (cmd_arg_is_true(call, "pcapng"))
        cmd_reply(call, json_pack("{s:s}", "pcapng", "Zm9v"));
    else
        cmd_reply(call, json_pack("{s:s, s:[s, s]}", "flight", cmd_arg_string(call, "flight"),
                                  "lines", "one", "two\033[2J"));
}

/* Three pieces of one byte, then the end; the program of "arp" has four instructions. */
static int n_pieces;

static void capture(struct cmd_call *call)
{
    const char *program = cmd_arg_string(call, "program");
    const bool all = program != NULL && program[0] == '\0';

    n_pieces = 0;
    if (!all && (program == NULL || strlen(program) != 44))
        cmd_fail(call, "not four instructions", "");
    else if (json_integer_value(json_object_get(call->args, "count")) == 7)
        cmd_fail(call, "seven is too much", "");
    else
        cmd_reply(call, json_pack("{s:i}", "capture", 3));
}

static void capture_read(struct cmd_call *call)
{
    if (json_integer_value(json_object_get(call->args, "capture")) != 3)
        cmd_fail(call, "no such capture", "");
    else
        cmd_reply(call, json_pack("{s:s, s:b, s:i, s:i}", "data", n_pieces < 3 ? "Zg==" : "",
                                  "done", n_pieces == 3, "captured", n_pieces, "dropped", 4));
    n_pieces++;
}

static void config(struct cmd_call *call)
{
    cmd_reply(call, json_pack("{s:[i]}", "listeners", 1));
}

static void silent(struct cmd_call *call)
{
    usleep(1500000); /* what is tested: longer than isthmusctl was told to wait */
    cmd_reply(call, json_null());
}

static void on_stop(uv_async_t *a)
{
    control_close(w.control);
    uv_close((uv_handle_t *)a, NULL);
}

static void *run_loop(void *arg)
{
    uv_run(&w.loop, UV_RUN_DEFAULT);
    return NULL;
}

static int setup(void **state)
{
    struct cfg_err err = { "" };

    signal(SIGPIPE, SIG_IGN);
    snprintf(w.dir, sizeof(w.dir), "/tmp/isthmus-control-XXXXXX");
    assert_non_null(mkdtemp(w.dir));
    snprintf(w.path, sizeof(w.path), "%s/control.sock", w.dir);
    w.conf = (struct control_conf){ .socket = w.path, .mode = 0600 };
    cmd_add(&w.set, &(struct cmd){ "conns", "", conns, NULL });
    cmd_add(&w.set, &(struct cmd){ "stats", "", stats, NULL });
    cmd_add(&w.set, &(struct cmd){ "reload", "", reload, NULL });
    cmd_add(&w.set, &(struct cmd){ "check", "", check, NULL });
    cmd_add(&w.set, &(struct cmd){ "config", "", config, NULL });
    cmd_add(&w.set, &(struct cmd){ "drain", "", silent, NULL });
    cmd_add(&w.set, &(struct cmd){ "flight", "", flight, NULL });
    cmd_add(&w.set, &(struct cmd){ "capture", "", capture, NULL });
    cmd_add(&w.set, &(struct cmd){ "capture-read", "", capture_read, NULL });
    uv_loop_init(&w.loop);
    uv_async_init(&w.loop, &w.stop, on_stop);
    w.control = control_open(&w.loop, &w.conf, &w.set, &err);
    assert_non_null(w.control);
    return pthread_create(&w.thread, NULL, run_loop, NULL);
}

static int teardown(void **state)
{
    uv_async_send(&w.stop);
    pthread_join(w.thread, NULL);
    assert_int_equal(uv_loop_close(&w.loop), 0);
    return rmdir(w.dir);
}

/* Runs isthmusctl with these arguments: its exit status, and all it printed. */
static void run(const char *arguments, int status, const char *expected)
{
    char command[512], text[4096];
    size_t n;
    FILE *f;
    int rc;

    snprintf(command, sizeof(command), "ISTHMUS_SOCKET=%s %s %s 2>&1", w.path, getenv("ISTHMUSCTL"),
             arguments);
    f = popen(command, "r");
    n = fread(text, 1, sizeof(text) - 1, f);
    text[n] = '\0';
    rc = pclose(f);
    if (!WIFEXITED(rc) || WEXITSTATUS(rc) != status || strstr(text, expected) == NULL)
        fail_msg("%s: %d, \"%s\"", arguments, rc, text);
}

static void tables_for_people_and_json_for_programs(void **state)
{
    run("conns", 0, "WORKER  CLIENT      SNI\n     1  10.0.0.1:5  a\\x1b[2J\n");
    run("--json conns", 0,
        "[{\"client\": \"10.0.0.1:5\", \"worker\": 1, \"sni\": \"a\\u001B[2J\"}]\n");
    run("conns nobody", 0, "WORKER  CLIENT  LOCAL");
    run("stats", 0, "NAME  VALUE\nx         1\n");
    run("stats --prometheus", 0, "# TYPE x counter\nx 1\n");
    run("config", 0, "{\n  \"listeners\": [\n    1\n  ]\n}\n");
}

static void a_flight_is_lines_or_a_file(void **state)
{
    run("flight 0-7", 0, "flight  0-7\n\nlines:\none\ntwo\\x1b[2J\n");
    run("flight 0-7 --pcapng -", 0, "foo");
    run("flight --pcapng=/no/such/file 0-7", 2, "/no/such/file: No such file");
    run("flight", 2, "it needs a flight");
    run("flight 0-7 --pcapng", 2, "--pcapng needs a value");
}

static void a_capture_is_put_together_from_its_pieces(void **state)
{
    run("capture any '' -", 0,
        "isthmusctl: capturing on any, Ctrl-C ends it\nfff3 packets captured\n4 packets dropped\n");
    run("capture edge arp - --count 5", 0, "3 packets captured");
    run("capture edge arp - --count=7", 1, "seven is too much");
    run("capture edge 'arp or' -", 2, "syntax error");
    run("capture edge arp - --count x", 2, "--count x: not a number");
    run("capture edge arp - --count 0", 2, "--count 0: not a number");
    run("capture edge arp", 2, "it needs a file");
    run("capture edge arp a b", 2, "\"b\" is too much");
    run("capture edge arp /no/such/file", 2, "No such file");
}

static void refusals_say_what_to_do_next(void **state)
{
    run("reload", 1,
        "isthmusctl: gateway.conf:3: unknown setting \"prot\"\n  the running configuration "
        "stays\n");
    run("status", 1, "there is no command \"status\""); /* this daemon has none */
    run("--timeout 1 drain", 2, "no answer in time");
}

static void a_file_is_told_by_its_full_path(void **state)
{
    run("check /../etc/./passwd", 0, "/etc/passwd\n");
    run("check /no/such/file", 2, "No such file");
}

static void a_daemon_that_is_not_there(void **state)
{
    run("--socket /no/such/socket status", 2, "no daemon listens\n  is isthmusd running?");
    run("--socket /etc/passwd status", 2, "no daemon listens");
}

static void misuse_is_told(void **state)
{
    run("", 2, "usage: isthmusctl");
    run("nonsense", 2, "there is no command \"nonsense\"");
    run("stauts", 2, "there is no command \"stauts\"; is \"status\" meant?");
    run("relaod", 2, "is \"reload\" meant?");
    run("log a b", 2, "\"b\" is too much");
    run("drain now", 2, "\"now\" is too much");
    run("stats a b", 2, "\"b\" is too much");
    run("stats --nonsense", 2, "no option --nonsense");
    run("--timeout x status", 2, "not a number of seconds");
    run("--help", 0, "usage: isthmusctl");
    run("help", 0, "Exit status: 0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_for_people_and_json_for_programs),
        cmocka_unit_test(a_flight_is_lines_or_a_file),
        cmocka_unit_test(a_capture_is_put_together_from_its_pieces),
        cmocka_unit_test(refusals_say_what_to_do_next),
        cmocka_unit_test(a_file_is_told_by_its_full_path),
        cmocka_unit_test(a_daemon_that_is_not_there),
        cmocka_unit_test(misuse_is_told),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
