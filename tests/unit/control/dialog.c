#include "config/control/dialog.h"
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>

/* A dialog whose answers are kept, and whose commands answer when the test says so. */
struct world {
    struct cmd_set set;
    struct dialog *d;
    struct dialog_counters n;
    struct cmd_call *waiting; /* "later" was asked */
    char sent[4096];          /* all answers */
    bool ended;
};

static struct world w;

static void on_send(struct dialog *d, char *line, size_t len)
{
    strncat(w.sent, line, MIN(len, sizeof(w.sent) - strlen(w.sent) - 1));
    free(line);
}

static void on_end(struct dialog *d)
{
    w.ended = true;
}

static const struct dialog_ops ops = { on_send, on_end };

static void echo(struct cmd_call *call)
{
    cmd_reply(call, json_pack("{s:s?}", "text", cmd_arg_string(call, "text")));
}

static void refuse(struct cmd_call *call)
{
    cmd_fail(call, "no", "ask another time");
}

static void later(struct cmd_call *call)
{
    assert_null(w.waiting);
    w.waiting = call;
}

static void nothing(struct cmd_call *call)
{
    cmd_reply(call, json_string("\xff")); /* not UTF-8: jansson makes no string of it */
}

static void answer_it(void)
{
    struct cmd_call *call = w.waiting;

    w.waiting = NULL;
    cmd_reply(call, json_integer(42));
}

static int setup(void **state)
{
    w = (struct world){ .d = malloc(sizeof(*w.d)) };
    cmd_add(&w.set, &(struct cmd){ "echo", "says it again", echo, NULL });
    cmd_add(&w.set, &(struct cmd){ "refuse", "never", refuse, NULL });
    cmd_add(&w.set, &(struct cmd){ "later", "in a while", later, NULL });
    cmd_add(&w.set, &(struct cmd){ "nothing", "badly", nothing, NULL });
    dialog_init(w.d, &w.set, &ops, &w.n);
    return 0;
}

static int teardown(void **state)
{
    if (w.d != NULL)
        dialog_fini(w.d);
    free(w.d);
    return 0;
}

static void say(const char *text)
{
    size_t room;
    char *to = dialog_room(w.d, &room);

    assert_true(strlen(text) <= room);
    memcpy(to, text, strlen(text));
    dialog_received(w.d, strlen(text));
}

/* What was answered to the last line; the answer has left. */
static void answered(const char *line)
{
    assert_int_equal(w.d->state, DIALOG_ANSWERING);
    assert_string_equal(w.sent, line);
    w.sent[0] = '\0';
    dialog_sent(w.d);
}

static void a_line_is_a_question(void **state)
{
    say("{\"cmd\": \"echo\", \"args\": {\"text\": \"hello\"}}\n");
    answered("{\"ok\":true,\"result\":{\"text\":\"hello\"}}\n");
    say("{\"cmd\": \"ec");
    assert_int_equal(w.d->state, DIALOG_IDLE);
    say("ho\"}\r\n");
    answered("{\"ok\":true,\"result\":{\"text\":null}}\n");
    say("\n\r\n\n");
    assert_int_equal(w.d->state, DIALOG_IDLE);
    assert_int_equal(w.n.commands, 2);
    assert_int_equal(w.n.failed, 0);
}

static void an_error_says_what_to_do_next(void **state)
{
    say("{\"cmd\":\"refuse\"}\n");
    answered("{\"ok\":false,\"error\":\"no\",\"hint\":\"ask another time\"}\n");
    say("{\"cmd\":\"nothing\"}\n");
    answered("{\"ok\":false,\"error\":\"the answer could not be put into words\","
             "\"hint\":\"see the log\"}\n");
    say("{\"cmd\":\"nonsense\"}\n");
    answered("{\"ok\":false,\"error\":\"there is no command \\\"nonsense\\\"\","
             "\"hint\":\"ask for \\\"help\\\"\"}\n");
    assert_int_equal(w.n.failed, 3);
}

static void what_is_no_question_is_refused(void **state)
{
    static const char *const lines[] = {
        "[]\n",
        "\"echo\"\n",
        "{}\n",
        "{\"cmd\":1}\n",
        "{\"cmd\":\"echo\",\"args\":[]}\n",
        "{\"cmd\":\"echo\",\"arguments\":{}}\n",
        "{\"cmd\":\"echo\",\"cmd\":\"echo\"}\n",
        "{\"cmd\":\"echo\"} {}\n",
        "GET / HTTP/1.1\n",
        "{\"cmd\":\"\xff\"}\n",
        "{\"cmd\":\"echo\\u0000\"}\n",
        "{\n",
    };

    for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
        say(lines[i]);
        assert_int_equal(w.d->state, DIALOG_ANSWERING);
        if (strncmp(w.sent, "{\"ok\":false,\"error\":\"not ", 24) != 0)
            fail_msg("%s -> %s", lines[i], w.sent);
        w.sent[0] = '\0';
        dialog_sent(w.d);
    }
    assert_int_equal(w.n.failed, ARRAY_SIZE(lines));
}

static void help_lists_the_rows(void **state)
{
    say("{\"cmd\":\"help\"}\n");
    assert_non_null(strstr(w.sent, "{\"command\":\"refuse\",\"help\":\"never\"}"));
    dialog_sent(w.d);
}

static void answers_come_in_order(void **state)
{
    say("{\"cmd\":\"later\"}\n{\"cmd\":\"echo\"}\n{\"cmd\":\"refuse\"}\n");
    assert_int_equal(w.d->state, DIALOG_ASKED);
    assert_string_equal(dialog_command(w.d), "later");
    assert_string_equal(w.sent, "");
    answer_it();
    answered("{\"ok\":true,\"result\":42}\n");
    answered("{\"ok\":true,\"result\":{\"text\":null}}\n");
    answered("{\"ok\":false,\"error\":\"no\",\"hint\":\"ask another time\"}\n");
    assert_int_equal(w.d->state, DIALOG_IDLE);
}

static void a_client_that_has_gone_is_not_answered(void **state)
{
    say("{\"cmd\":\"later\"}\n");
    dialog_fini(w.d);
    free(w.d);
    w.d = NULL;
    answer_it(); /* the sanitizer watches */
    assert_string_equal(w.sent, "");
}

static void a_command_that_takes_too_long_is_answered_for(void **state)
{
    struct cmd_call *late;

    say("{\"cmd\":\"later\"}\n{\"cmd\":\"later\"}\n");
    late = w.waiting;
    w.waiting = NULL;
    dialog_timed_out(w.d);
    assert_non_null(strstr(w.sent, "takes too long"));
    w.sent[0] = '\0';
    dialog_sent(w.d);
    assert_int_equal(w.d->state, DIALOG_ASKED);
    cmd_reply(late, json_true()); /* must not answer the second question */
    assert_string_equal(w.sent, "");
    answer_it();
    answered("{\"ok\":true,\"result\":42}\n");
}

static void an_end_waits_for_what_was_asked(void **state)
{
    say("{\"cmd\":\"echo\"}\n{\"cmd\":\"echo\"}\nrest without an end");
    answered("{\"ok\":true,\"result\":{\"text\":null}}\n");
    assert_false(w.ended);
    answered("{\"ok\":true,\"result\":{\"text\":null}}\n");
    assert_int_equal(w.d->state, DIALOG_IDLE);
    dialog_eof(w.d);
    assert_true(w.ended);
}

static void a_line_without_an_end_is_refused_once_and_ends_it(void **state)
{
    size_t room;
    char *to = dialog_room(w.d, &room);

    assert_int_equal(room, DIALOG_LINE_MAX);
    memset(to, 'x', room);
    dialog_received(w.d, room - 1);
    assert_int_equal(w.d->state, DIALOG_IDLE);
    dialog_room(w.d, &room);
    assert_int_equal(room, 1);
    dialog_received(w.d, 1);
    assert_non_null(strstr(w.sent, "too long"));
    assert_int_equal(w.n.too_long, 1);
    assert_false(w.ended);
    dialog_sent(w.d);
    assert_true(w.ended);
}

static void the_longest_line_is_read(void **state)
{
    size_t room;
    char *to;

    say("{\"cmd\":\"echo\"}\n");
    dialog_sent(w.d);
    to = dialog_room(w.d, &room); /* all of it, though a line was read before */
    assert_int_equal(room, DIALOG_LINE_MAX);
    memset(to, ' ', room);
    memcpy(to, "{\"cmd\":\"echo\"}", 14);
    to[room - 1] = '\n';
    w.sent[0] = '\0';
    dialog_received(w.d, room);
    answered("{\"ok\":true,\"result\":{\"text\":null}}\n");
}

static void names_are_taken_once(void **state)
{
    struct cmd_set set = { .n = 0 };
    char names[CMD_MAX][8];

    for (unsigned i = 0; i < CMD_MAX; i++) {
        snprintf(names[i], sizeof(names[i]), "c%u", i);
        assert_true(cmd_add(&set, &(struct cmd){ names[i], "", echo, NULL }));
        assert_false(cmd_add(&set, &(struct cmd){ names[0], "", echo, NULL }));
    }
    assert_false(cmd_add(&set, &(struct cmd){ "one more", "", echo, NULL }));
    assert_ptr_equal(cmd_find(&set, "c7"), &set.rows[7]);
    assert_null(cmd_find(&set, "c"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_line_is_a_question, setup, teardown),
        cmocka_unit_test_setup_teardown(an_error_says_what_to_do_next, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_no_question_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(help_lists_the_rows, setup, teardown),
        cmocka_unit_test_setup_teardown(answers_come_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(a_client_that_has_gone_is_not_answered, setup, teardown),
        cmocka_unit_test_setup_teardown(a_command_that_takes_too_long_is_answered_for, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_end_waits_for_what_was_asked, setup, teardown),
        cmocka_unit_test_setup_teardown(a_line_without_an_end_is_refused_once_and_ends_it, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_longest_line_is_read, setup, teardown),
        cmocka_unit_test_setup_teardown(names_are_taken_once, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
