#include "config/control/flight.h"

#include "config/control/show.h"
#include "dataplane/base/base64.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

json_t *ask_json(int fd, const struct ask_conf *conf, const char *cmd, json_t *args, int *status)
{
    json_t *request = json_pack("{s:s, s:o}", "cmd", cmd, "args", args), *answer, *result = NULL;
    char *line = json_dumps(request, JSON_COMPACT), *text = NULL;
    const int rc = line != NULL ? ask_line(fd, line, &text) : -ENOMEM;

    json_decref(request);
    free(line);
    if (rc < 0) {
        *status = ask_cannot(conf, -rc);
        return NULL;
    }
    answer = json_loads(text, 0, NULL);
    free(text);
    if (json_is_true(json_object_get(answer, "ok"))) {
        result = json_incref(json_object_get(answer, "result"));
    } else if (json_is_object(answer)) {
        *status = show_error(answer) ? 1 : ASK_NOT_ASKED;
    } else {
        fprintf(stderr, "isthmusctl: %s: the answer is none of isthmusd's\n", conf->socket);
        *status = ASK_NOT_ASKED;
    }
    json_decref(answer);
    return result;
}

void *bytes_of(const json_t *text, size_t *len)
{
    const size_t room = json_string_length(text) / 4 * 3 + 1;
    const struct slice digits = { json_string_value(text), json_string_length(text) };
    void *bytes = json_is_string(text) ? malloc(room) : NULL;

    if (bytes != NULL && base64_decode(digits, bytes, room, len))
        return bytes;
    free(bytes);
    return NULL;
}

static int write_file(const char *path, const json_t *text)
{
    const bool is_stdout = strcmp(path, "-") == 0;
    size_t len = 0;
    void *bytes = bytes_of(text, &len);
    FILE *to = is_stdout ? stdout : fopen(path, "wb");
    bool done = bytes != NULL && to != NULL && fwrite(bytes, 1, len, to) == len;

    if (to != NULL)
        done = (is_stdout ? fflush(to) : fclose(to)) == 0 && done;
    free(bytes);
    if (!done)
        fprintf(stderr, "isthmusctl: %s: %s\n", path, strerror(errno));
    return done ? 0 : ASK_NOT_ASKED;
}

int flight_run(const struct ask_conf *conf, json_t *args)
{
    const char *path = json_string_value(json_object_get(args, "pcapng"));
    int status = 0, fd;
    json_t *result;

    if (path == NULL)
        return RUN_AS_USUAL;
    fd = ask_open(conf);
    if (fd < 0)
        return ask_cannot(conf, -fd);
    result = ask_json(
        fd, conf, "flight",
        json_pack("{s:O, s:b}", "flight", json_object_get(args, "flight"), "pcapng", 1), &status);
    close(fd);
    if (result != NULL)
        status = write_file(path, json_object_get(result, "pcapng"));
    json_decref(result);
    return status;
}
