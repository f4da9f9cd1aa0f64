#include "config/model/telemetry.h"
#include "config/file/objects.h"

#define A struct access_log_conf
static const struct field access_log_fields[] = {
    FIELD(FIELD_TEXT, A, name, .required = true, .help = "What a chain calls it."),
    FIELD(FIELD_TEXT, A, path, .required = true,
          .help = "File that lines are appended to, or \"/dev/stdout\"."),
    FIELD(FIELD_TEXT, A, format,
          .help =
              "In Envoy's format language, without the newline at the end. Default: Istio's line."),
};
const struct object object_access_log =
    OBJECT("access_logs", A, access_log_fields, .where_at = offsetof(A, where),
           .help = "Where a line for each request or connection goes.");

#define C struct control_conf
static const struct field control_fields[] = {
    FIELD(FIELD_TEXT, C, socket, .def_text = "/run/isthmus/control.sock",
          .help = "Unix socket that `isthmusctl` talks to."),
    FIELD(FIELD_OCTAL, C, mode, .max = 0777, .def = 0600, .help = "Mode of the socket."),
    FIELD_AS("drain_time", FIELD_DURATION, C, drain_time_us, .max = DAYS, .def = 45 * SECONDS,
             .help = "How long open streams may go on after `drain` or `stop`."),
};
const struct object object_control =
    OBJECT("control", C, control_fields, .where_at = offsetof(C, where),
           .help = "How the running daemon is asked.");
