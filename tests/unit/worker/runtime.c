#include "dataplane/worker/runtime.h"
#include "config/file/file.h"
#include "tests/lib/test.h"

#include <stdio.h>

#define MACHINE(address)                                                                           \
    "machine = { ports = ( { name = \"p\"; device = \"af_packet\"; interface = \"v\";\n"           \
    "  addresses = [ \"" address "\" ]; } ); };\n"

static const struct {
    const char *text, *reason; /* NULL: it is right */
} rows[] = {
    { MACHINE("10.0.0.1/24"), NULL },
    { MACHINE("2001:db8::1/64"), NULL },
    { MACHINE("10.0.0.1/24") "clusters = ( { name = \"c\";\n"
                             "  endpoints = [ \"10.0.0.2:80\", \"[2001:db8::2]:80\" ]; } );",
      NULL },
    { MACHINE("10.0.0.1/24") "clusters = ( { name = \"c\"; } );\n"
                             "listeners = ( { name = \"l\"; address = \"[::]:80\";\n"
                             "  filter_chains = ( { tcp = { cluster = \"c\"; }; } ); } );",
      NULL },
    { MACHINE("10.0.0.1/24") "access_logs = ( { name = \"a\"; path = \"/dev/null\";\n"
                             "  format = \"%PROTOCOL% %NOTHING%\"; } );",
      "conf:3: access log a: the access log has no operator %NOTHING%" },
    { MACHINE("10.0.0.1/24") "access_logs = ( { name = \"a\"; path = \"/dev/null\";\n"
                             "  format = \"%\"; } );",
      "conf:3: access log a: " },
    { MACHINE("10.0.0.1/24") "secrets = ( { name = \"s\"; trusted_ca = \"/nowhere/ca.pem\"; } );",
      "/nowhere/ca.pem" },
};

/* So `isthmusd --check` says what starting or reloading would say. */
static void what_the_model_cannot_see_is_refused_with_its_line(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct cfg_err err = { "" };
        struct snapshot *s;
        int rc;

        if (file_read_text("conf", rows[i].text, strlen(rows[i].text), &s, &err) < 0)
            fail_msg("%s", err.text);
        rc = runtime_check(s, &err);
        if (rows[i].reason == NULL) {
            assert_int_equal(rc, 0);
        } else {
            assert_true(rc < 0);
            if (strstr(err.text, rows[i].reason) == NULL)
                fail_msg("\"%s\" does not hold \"%s\"", err.text, rows[i].reason);
        }
        snapshot_put(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_model_cannot_see_is_refused_with_its_line),
    };

    return cmocka_run_group_tests_name("runtime", tests, NULL, NULL);
}
